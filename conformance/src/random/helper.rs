//! Another thread, which sends through handles.

use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::mpsc;
use std::thread::{JoinHandle, spawn};

use uv_udp::{Udp, UdpSender};

use super::ledger::{Stream, datagram};
use super::process::OneCpu;

/// An order to the thread.
pub(super) struct Order {
    pub(super) sender: Sender,
    pub(super) stream: Stream,
    pub(super) ids: Range<usize>,
    pub(super) length: usize,
}

pub(super) enum Sender {
    /// To the handle's peer.
    ToPeer(UdpSender),
    To(UdpSender, SocketAddr),
    /// By a function that runs on the loop.
    Post(UdpSender, fn(&Udp, usize, usize), usize),
    /// From a raw socket to a handle.
    Peer(UdpSocket, SocketAddr),
}

pub(super) struct Helper {
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<()>,
}

impl Helper {
    /// Starts a thread that stays on one of its CPUs.
    pub(super) fn new(any: usize) -> Self {
        let (orders, receiver) = mpsc::channel::<Order>();
        let thread = spawn(move || {
            let _pinned = OneCpu::new(any);
            receiver.into_iter().for_each(|order| execute(&order));
        });
        Self { orders, thread }
    }

    pub(super) fn ask(&self, order: Order) {
        // The thread lives as long as this.
        let _ = self.orders.send(order);
    }

    /// Waits until all orders are done.
    pub(super) fn join(self) {
        drop(self.orders);
        let _ = self.thread.join();
    }
}

fn execute(order: &Order) {
    let (stream, length) = (order.stream, order.length);
    for id in order.ids.clone() {
        let data = || datagram(stream, id, length);
        // A dropped loop refuses, and a socket may be full: no promise covers these datagrams.
        match &order.sender {
            Sender::ToPeer(sender) => {
                let _ = sender.send(data());
            }
            Sender::To(sender, to) => {
                let _ = sender.send_to(data(), *to);
            }
            Sender::Post(sender, work, to) => {
                let (work, to) = (*work, *to);
                let _ = sender.post(move |udp| work(udp, to, length));
            }
            Sender::Peer(socket, to) => {
                let _ = socket.send_to(&data(), *to);
            }
        }
    }
}
