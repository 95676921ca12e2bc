//! Another thread, which asks handles to send.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::{Sender, channel};
use std::thread::{JoinHandle, spawn};

use uv_udp::{Udp, UdpRemote};

use super::ledger::{Stream, datagram};

/// What the thread is to send.
pub(super) struct Order {
    pub(super) remote: UdpRemote,
    pub(super) stream: Stream,
    pub(super) ids: Range<usize>,
    pub(super) length: usize,
    pub(super) how: How,
}

pub(super) enum How {
    Send,
    SendTo(SocketAddr),
    /// Runs on the loop.
    Post(fn(&Udp, usize, usize), usize),
}

pub(super) struct Helper {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl Helper {
    pub(super) fn new() -> Self {
        let (orders, receiver) = channel::<Order>();
        let thread = spawn(move || receiver.into_iter().for_each(|order| carry_out(&order)));
        Self { orders, thread }
    }

    pub(super) fn ask(&self, order: Order) {
        // The thread is there as long as this is.
        let _ = self.orders.send(order);
    }

    /// Waits for all that was asked for.
    pub(super) fn join(self) {
        drop(self.orders);
        let _ = self.thread.join();
    }
}

fn carry_out(order: &Order) {
    let Order {
        remote,
        stream,
        ids,
        length,
        how,
    } = order;
    for id in ids.clone() {
        // A loop that is gone refuses; nothing is lost that anybody was promised.
        let _ = match how {
            How::Send => remote.send(datagram(*stream, id, *length)),
            How::SendTo(to) => remote.send_to(datagram(*stream, id, *length), *to),
            How::Post(work, to) => {
                let (work, to, length) = (*work, *to, *length);
                remote.post(move |udp| work(udp, to, length))
            }
        };
    }
}
