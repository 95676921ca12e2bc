//! mio: readiness from `Poll`, non-blocking calls on its sockets. Each socket is drained until it
//! would block, as mio's documentation demands for edge-triggered events.
//!
//! mio has no send requests. Where others keep sends outstanding, each sender sends as many per
//! iteration, and an iteration with datagrams to send polls without waiting. mio sends from one
//! slice, so the five slices of the pummel are gathered first; five slices cost the kernel more.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, Waker, net::UdpSocket};

use super::{Bench, Peer};
use crate::{
    measure::{Counters, Failure, Meter, Outcome, Params},
    net::{self, Footprint, allow_descriptors, would_block},
    threads::{self, Handover, LockedQueue, Shared},
    workload::{
        ActiveSets, BURST, LARGE, POSTED_SENDS_WINDOW, POSTS_WINDOW, SMALL, Workload,
        gathered_slices, payload,
    },
};

/// mio with its own sockets and waker.
pub const PEER: Peer = Peer {
    name: "mio",
    about: "mio's Poll and UdpSocket, sockets drained until they would block; a Waker with a locked queue for posts",
    runs: RUNS,
    lacks: &[(Workload::Timers1m, "mio has no timers")],
    otherwise: "",
    prepare: None,
};

const RUNS: &[(Workload, Bench)] = &[
    (Workload::Pummel1, |params| pummel(params, 1)),
    (Workload::Pummel10, |params| pummel(params, 10)),
    (Workload::Pummel100, |params| pummel(params, 100)),
    (Workload::Connected1, |params| burst(params, SMALL, 1)),
    (Workload::Burst45, |params| burst(params, SMALL, BURST)),
    (Workload::Burst1200, |params| burst(params, LARGE, BURST)),
    (Workload::TwoLoops1200, two_loops),
    (Workload::PingPong45, pingpong),
    (Workload::Fanout10k, fanout),
    (Workload::Posts, posts),
    (Workload::PostsSend, posts_send),
];

/// Bytes of a receive buffer: the largest datagram.
const BUFFER: usize = 65_536;
/// Events fetched by one poll.
const EVENTS: usize = 1024;
const WAKER: Token = Token(usize::MAX);

/// A poll with its sockets, which are reported by their index.
struct Readers {
    poll: Poll,
    events: Events,
    sockets: Vec<UdpSocket>,
    buffer: Vec<u8>,
}

impl Readers {
    fn new() -> io::Result<Readers> {
        Ok(Readers {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            sockets: Vec::new(),
            buffer: vec![0; BUFFER],
        })
    }

    fn add(&mut self, socket: std::net::UdpSocket) -> io::Result<SocketAddr> {
        let mut socket = UdpSocket::from_std(socket);
        let token = Token(self.sockets.len());
        self.poll
            .registry()
            .register(&mut socket, token, Interest::READABLE)?;
        let address = socket.local_addr();
        self.sockets.push(socket);
        address
    }

    /// A sender that reports when it is writable again.
    fn sender(&self, socket: std::net::UdpSocket) -> io::Result<UdpSocket> {
        let mut socket = UdpSocket::from_std(socket);
        self.poll
            .registry()
            .register(&mut socket, WAKER, Interest::WRITABLE)?;
        Ok(socket)
    }

    /// One iteration without waiting: drains every readable socket.
    fn drain(&mut self, counters: &Counters) -> io::Result<()> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
        self.receive(counters)
    }

    /// Drains the sockets that the last poll reported as readable.
    fn receive(&mut self, counters: &Counters) -> io::Result<()> {
        for event in &self.events {
            let Some(socket) = self.sockets.get(event.token().0) else {
                continue;
            };
            while would_block(socket.recv_from(&mut self.buffer))?.is_some() {
                counters.delivered.add(1);
            }
        }
        Ok(())
    }
}

fn pummel(params: &Params, pairs: usize) -> Outcome {
    let mut readers = Readers::new()?;
    let mut senders = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let to = readers.add(net::socket()?)?;
        senders.push((readers.sender(net::socket()?)?, to));
    }
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    while meter.tick() {
        for (sender, to) in &senders {
            if would_block(sender.send_to(&gathered_slices(), *to))?.is_some() {
                counters.sent.add(1);
            }
        }
        readers.drain(&counters)?;
    }
    meter.finish()
}

fn burst(params: &Params, size: usize, outstanding: usize) -> Outcome {
    let (sender, receiver) = net::sender_and_receiver()?;
    let mut readers = Readers::new()?;
    readers.add(receiver)?;
    let sender = readers.sender(sender)?;
    let data = payload(size);
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    while meter.tick() {
        send_burst(&sender, &data, outstanding, &counters)?;
        readers.drain(&counters)?;
    }
    meter.finish()
}

fn send_burst(
    sender: &UdpSocket,
    data: &[u8],
    count: usize,
    counters: &Counters,
) -> io::Result<()> {
    for _ in 0..count {
        if would_block(sender.send(data))?.is_none() {
            break;
        }
        counters.sent.add(1);
    }
    Ok(())
}

fn two_loops(params: &Params) -> Outcome {
    threads::two_loops(
        params,
        |shared, publish| {
            let mut readers = Readers::new()?;
            let _ = publish.send(readers.add(net::socket()?)?);
            while !shared.silent() {
                readers.poll.poll(&mut readers.events, None)?;
                // A flood never empties the socket: the end of the round ends the drain.
                while !shared.silent()
                    && would_block(readers.sockets[0].recv_from(&mut readers.buffer))?.is_some()
                {
                    shared.counters.delivered.add(1);
                }
            }
            Ok(())
        },
        |shared, address| {
            let mut readers = Readers::new()?;
            let sender = readers.sender(net::socket()?)?;
            sender.connect(address)?;
            let data = payload(LARGE);
            while !shared.stopped() {
                send_burst(&sender, &data, BURST, &shared.counters)?;
                readers.drain(&shared.counters)?;
            }
            Ok(())
        },
    )
}

fn pingpong(params: &Params) -> Outcome {
    let (left, right) = net::connected_pair()?;
    let mut readers = Readers::new()?;
    readers.add(left)?;
    readers.add(right)?;
    let data = payload(SMALL);
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    readers.sockets[0].send(&data)?;
    loop {
        readers.poll.poll(&mut readers.events, None)?;
        for event in &readers.events {
            let index = event.token().0;
            let socket = &readers.sockets[index];
            while would_block(socket.recv(&mut readers.buffer))?.is_some() {
                if index == 0 {
                    counters.delivered.add(1);
                    if !meter.lap() {
                        return meter.finish();
                    }
                }
                socket.send(&data)?;
            }
        }
    }
}

fn fanout(params: &Params) -> Outcome {
    allow_descriptors(params.handles)?;
    let mut readers = Readers::new()?;
    let sender = readers.sender(net::socket()?)?;
    let source = sender.local_addr()?;
    let mut addresses = Vec::with_capacity(params.handles);
    let before = Footprint::now();
    for _ in 0..params.handles {
        let handle = net::socket()?;
        handle.connect(source)?;
        addresses.push(readers.add(handle)?);
    }
    let bytes_per_handle = before.per_handle(params.handles);
    let mut active = ActiveSets::new(params.handles);
    let data = payload(SMALL);
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    while meter.tick() {
        for to in &addresses[active.next_set()] {
            if would_block(sender.send_to(&data, *to))?.is_some() {
                counters.sent.add(1);
            }
        }
        readers.drain(&counters)?;
    }
    let mut measured = meter.finish()?;
    measured.bytes_per_handle = bytes_per_handle;
    Ok(measured)
}

/// The end of a loop for other threads; `None` in the queue ends the loop.
struct Remote<T> {
    queue: LockedQueue<Option<T>>,
    waker: Waker,
}

impl<T> Remote<T> {
    fn post(&self, item: Option<T>) {
        // Only the first item of a batch wakes the loop, which takes the whole batch.
        if self.queue.push(item) {
            let _ = self.waker.wake();
        }
    }
}

/// Runs a loop that does `work` with each item posted and then drains `readers`, until it is ended.
fn serve<T>(
    mut readers: Readers,
    shared: &'static Shared,
    publish: &mpsc::Sender<Arc<Remote<T>>>,
    mut work: impl FnMut(T) -> io::Result<()>,
) -> Result<(), Failure> {
    let remote = Arc::new(Remote {
        queue: LockedQueue::default(),
        waker: Waker::new(readers.poll.registry(), WAKER)?,
    });
    let _ = publish.send(Arc::clone(&remote));
    let mut batch = Vec::new();
    loop {
        readers.poll.poll(&mut readers.events, None)?;
        if readers.events.iter().any(|event| event.token() == WAKER) {
            remote.queue.swap(&mut batch);
            for item in batch.drain(..) {
                match item {
                    Some(item) => work(item)?,
                    None => return Ok(()),
                }
            }
        }
        readers.receive(&shared.counters)?;
    }
}

type Job = Box<dyn FnOnce() + Send>;

fn posts(params: &Params) -> Outcome {
    threads::handover(
        params,
        Handover::Closures {
            window: POSTS_WINDOW,
        },
        |shared, publish| {
            serve(Readers::new()?, shared, &publish, |job: Job| {
                job();
                Ok(())
            })
        },
        |shared, remote| remote.post(Some(Box::new(move || shared.counters.delivered.add(1)))),
        |remote| remote.post(None),
    )
}

fn posts_send(params: &Params) -> Outcome {
    let data = payload(SMALL);
    threads::handover(
        params,
        Handover::Sends {
            window: POSTED_SENDS_WINDOW,
        },
        |shared, publish| {
            let (sender, receiver) = net::sender_and_receiver()?;
            let mut readers = Readers::new()?;
            readers.add(receiver)?;
            let sender = UdpSocket::from_std(sender);
            serve(readers, shared, &publish, |data: Vec<u8>| {
                sender.send(&data)?;
                shared.counters.sent.add(1);
                Ok(())
            })
        },
        |_, remote| remote.post(Some(data.clone())),
        |remote| remote.post(None),
    )
}
