//! The floor: the minimal system calls of a workload, in an order in which each succeeds at once,
//! batched and segmented where possible. There is no loop, queue or callback; the difference to a
//! library is its cost.
//!
//! `raw` does not poll: it sends, then receives the same datagrams. It calls sendmsg(2) and
//! recvmsg(2), which slices, segments, control messages and truncation need. `raw-plain` shows
//! their cost: the same with send(2), sendto(2), recv(2) and recvfrom(2). `raw-epoll` and
//! `raw-epoll-plain` are the ping-pong of a hand-written epoll loop.

mod sys;

use std::{
    io::{self, IoSlice},
    net::UdpSocket,
};

use self::sys::Epoll;
use super::{Bench, Peer};
use crate::{
    measure::{Meter, Outcome, Params},
    net::{allow_descriptors, connected_pair, sender_and_receiver, socket, would_block},
    threads,
    workload::{ActiveSets, BURST, LARGE, SLICES, SMALL, Workload, gathered_slices, payload},
};

/// The bare system calls.
pub const PEER: Peer = Peer {
    name: "raw",
    about: "the minimal system calls of the workload: sendmsg and recvmsg in turn, UDP_SEGMENT and UDP_GRO \
            for bursts, sendmmsg for the fan-out; no loop",
    runs: RUNS,
    lacks: &[
        (Workload::Timers1m, "a timer queue is not a system call"),
        (Workload::Posts, "no system call runs a closure"),
        (Workload::PostsSend, "any thread may call sendmsg itself"),
    ],
    otherwise: "",
    prepare: None,
};

/// The same without message headers.
pub const PLAIN: Peer = Peer {
    name: "raw-plain",
    about: "send, sendto (of slices gathered first), recv and recvfrom in turn; no loop",
    runs: &[
        (Workload::Pummel1, |params| pummel(params, Calls::Plain, 1)),
        (Workload::Pummel10, |params| {
            pummel(params, Calls::Plain, 10)
        }),
        (Workload::Pummel100, |params| {
            pummel(params, Calls::Plain, 100)
        }),
        (Workload::Connected1, |params| {
            connected(params, Calls::Plain)
        }),
        (Workload::PingPong45, |params| {
            pingpong(params, Calls::Plain)
        }),
    ],
    lacks: &[],
    otherwise: "",
    prepare: None,
};

/// A hand-written epoll loop.
pub const EPOLL: Peer = Peer {
    name: "raw-epoll",
    about: "a hand-written loop of epoll_wait (level-triggered), recvmsg and sendmsg",
    runs: &[(Workload::PingPong45, |params| {
        pingpong_epoll(params, Calls::Messages)
    })],
    lacks: &[],
    otherwise: "",
    prepare: None,
};

/// A hand-written epoll loop without message headers.
pub const EPOLL_PLAIN: Peer = Peer {
    name: "raw-epoll-plain",
    about: "a hand-written loop of epoll_wait (level-triggered), recv and send",
    runs: &[(Workload::PingPong45, |params| {
        pingpong_epoll(params, Calls::Plain)
    })],
    lacks: &[],
    otherwise: "",
    prepare: None,
};

const RUNS: &[(Workload, Bench)] = &[
    (Workload::Pummel1, |params| {
        pummel(params, Calls::Messages, 1)
    }),
    (Workload::Pummel10, |params| {
        pummel(params, Calls::Messages, 10)
    }),
    (Workload::Pummel100, |params| {
        pummel(params, Calls::Messages, 100)
    }),
    (Workload::Connected1, |params| {
        connected(params, Calls::Messages)
    }),
    (Workload::Burst45, |params| burst(params, SMALL)),
    (Workload::Burst1200, |params| burst(params, LARGE)),
    (Workload::TwoLoops1200, two_loops),
    (Workload::PingPong45, |params| {
        pingpong(params, Calls::Messages)
    }),
    (Workload::Fanout10k, fanout),
];

/// Bytes of a receive buffer: the largest datagram or coalesced buffer.
const BUFFER: usize = 65_536;
/// Bytes of one `UDP_SEGMENT` send, at most: an IPv4 datagram.
const MAX_SEGMENTED: usize = 65_507;
/// Segments of one `UDP_SEGMENT` send that every kernel with segmentation takes, at most.
const MAX_SEGMENTS: usize = 64;

/// The system calls for single datagrams.
#[derive(Clone, Copy)]
enum Calls {
    /// sendmsg(2) and recvmsg(2).
    Messages,
    /// send(2), sendto(2), recv(2) and recvfrom(2).
    Plain,
}

impl Calls {
    /// Sends to the connected peer.
    fn send(self, socket: &UdpSocket, data: &[u8]) -> io::Result<usize> {
        match self {
            Calls::Messages => sys::send(socket, &[IoSlice::new(data)], None),
            Calls::Plain => socket.send(data),
        }
    }

    /// Receives on an unconnected socket.
    fn recv_from_anyone(self, socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Calls::Messages => sys::recv(socket, buffer),
            Calls::Plain => socket.recv_from(buffer).map(|(len, _)| len),
        }
    }

    /// Receives on a connected socket, whose source is known.
    fn recv(self, socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Calls::Messages => sys::recv(socket, buffer),
            Calls::Plain => socket.recv(buffer),
        }
    }
}

fn pummel(params: &Params, calls: Calls, pairs: usize) -> Outcome {
    let mut lanes = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let receiver = socket()?;
        let to = receiver.local_addr()?;
        lanes.push((socket()?, receiver, to, sys::address(to)?));
    }
    let slices = SLICES.map(IoSlice::new);
    let mut buffer = vec![0; BUFFER];
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    while meter.tick() {
        for (sender, receiver, to, raw_to) in &lanes {
            match calls {
                Calls::Messages => sys::send(sender, &slices, Some(raw_to))?,
                Calls::Plain => sender.send_to(&gathered_slices(), to)?,
            };
            counters.sent.add(1);
            if would_block(calls.recv_from_anyone(receiver, &mut buffer))?.is_some() {
                counters.delivered.add(1);
            }
        }
    }
    meter.finish()
}

fn connected(params: &Params, calls: Calls) -> Outcome {
    let (sender, receiver) = sender_and_receiver()?;
    let data = payload(SMALL);
    let mut buffer = vec![0; BUFFER];
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    while meter.tick() {
        calls.send(&sender, &data)?;
        counters.sent.add(1);
        if would_block(calls.recv_from_anyone(&receiver, &mut buffer))?.is_some() {
            counters.delivered.add(1);
        }
    }
    meter.finish()
}

/// `BURST` datagrams of `size` bytes, cut into as few segmented sends as the kernel allows.
struct Burst {
    data: Vec<u8>,
    size: usize,
}

impl Burst {
    fn new(size: usize) -> Burst {
        Burst {
            data: payload(size * BURST),
            size,
        }
    }

    /// Sends all of it. Returns how many datagrams the kernel took.
    fn send(&self, socket: &UdpSocket) -> io::Result<usize> {
        let at_once = self.size * MAX_SEGMENTS.min(MAX_SEGMENTED / self.size);
        let mut sent = 0;
        for chunk in self.data.chunks(at_once) {
            match would_block(sys::send_segments(socket, chunk, self.size as u16))? {
                Some(bytes) => sent += bytes / self.size,
                None => break,
            }
        }
        Ok(sent)
    }
}

/// Receives with one system call. Returns the number of datagrams.
fn recv_some(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    let (bytes, segment) = sys::recv_coalesced(socket, buffer)?;
    Ok(bytes.div_ceil(segment.max(1)).max(1))
}

fn burst(params: &Params, size: usize) -> Outcome {
    let (sender, receiver) = sender_and_receiver()?;
    sys::enable_coalescing(&receiver)?;
    let burst = Burst::new(size);
    let mut buffer = vec![0; BUFFER];
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    while meter.tick() {
        let mut waiting = burst.send(&sender)?;
        counters.sent.add(waiting as u64);
        while waiting > 0 {
            let Some(received) = would_block(recv_some(&receiver, &mut buffer))? else {
                break;
            };
            counters.delivered.add(received as u64);
            waiting = waiting.saturating_sub(received);
        }
    }
    meter.finish()
}

fn two_loops(params: &Params) -> Outcome {
    threads::two_loops(
        params,
        |shared, publish| {
            let receiver = socket()?;
            receiver.set_nonblocking(false)?;
            sys::enable_coalescing(&receiver)?;
            let _ = publish.send(receiver.local_addr()?);
            let mut buffer = vec![0; BUFFER];
            while !shared.silent() {
                let received = recv_some(&receiver, &mut buffer)?;
                shared.counters.delivered.add(received as u64);
            }
            Ok(())
        },
        |shared, address| {
            let sender = socket()?;
            sender.set_nonblocking(false)?;
            sender.connect(address)?;
            let burst = Burst::new(LARGE);
            while !shared.stopped() {
                let sent = burst.send(&sender)?;
                shared.counters.sent.add(sent as u64);
            }
            Ok(())
        },
    )
}

fn pingpong(params: &Params, calls: Calls) -> Outcome {
    let (left, right) = connected_pair()?;
    let data = payload(SMALL);
    let mut buffer = vec![0; BUFFER];
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    loop {
        calls.send(&left, &data)?;
        calls.recv(&right, &mut buffer)?;
        calls.send(&right, &data)?;
        calls.recv(&left, &mut buffer)?;
        counters.delivered.add(1);
        if !meter.lap() {
            return meter.finish();
        }
    }
}

fn pingpong_epoll(params: &Params, calls: Calls) -> Outcome {
    const LEFT: u64 = 0;
    const RIGHT: u64 = 1;
    let (left, right) = connected_pair()?;
    let epoll = Epoll::new()?;
    epoll.add(&left, LEFT)?;
    epoll.add(&right, RIGHT)?;
    let data = payload(SMALL);
    let mut buffer = vec![0; BUFFER];
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    calls.send(&left, &data)?;
    loop {
        let ready = epoll.wait(&mut events)?;
        for event in &events[..ready] {
            let socket = if event.u64 == LEFT { &left } else { &right };
            calls.recv(socket, &mut buffer)?;
            if event.u64 == LEFT {
                counters.delivered.add(1);
                if !meter.lap() {
                    return meter.finish();
                }
            }
            calls.send(socket, &data)?;
        }
    }
}

fn fanout(params: &Params) -> Outcome {
    allow_descriptors(params.handles)?;
    let sender = socket()?;
    let source = sender.local_addr()?;
    let mut handles = Vec::with_capacity(params.handles);
    let mut addresses = Vec::with_capacity(params.handles);
    for _ in 0..params.handles {
        let handle = socket()?;
        handle.connect(source)?;
        addresses.push(sys::address(handle.local_addr()?)?);
        handles.push(handle);
    }
    let mut active = ActiveSets::new(params.handles);
    let data = payload(SMALL);
    let mut buffer = vec![0; BUFFER];
    let mut headers = Vec::new();
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    while meter.tick() {
        let set = active.next_set();
        let sent = sys::send_to_each(&sender, &data, &addresses[set.clone()], &mut headers)?;
        counters.sent.add(sent as u64);
        for handle in &handles[set][..sent] {
            if would_block(sys::recv(handle, &mut buffer))?.is_some() {
                counters.delivered.add(1);
            }
        }
    }
    meter.finish()
}
