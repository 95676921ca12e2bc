//! quinn-udp: the system calls of a QUIC endpoint, with segmentation, coalescing and recvmmsg(2). A
//! tokio current-thread runtime drives it, as in quinn and in the crate's own benchmark.
//!
//! Workloads with single datagrams receive into one buffer. The bursts receive into [`BATCH_SIZE`]
//! buffers, each as long as the kernel coalesces.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    sync::Arc,
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket, task::yield_now};

use super::{
    Bench, Peer,
    tokio_peer::{run, runtime},
};
use crate::{
    measure::{Counters, Meter, Outcome, Params},
    net::{self, Footprint, allow_descriptors},
    threads,
    workload::{ActiveSets, BURST, LARGE, SMALL, Workload, gathered_slices, payload},
};

/// quinn-udp on tokio.
pub const PEER: Peer = Peer {
    name: "quinn-udp",
    about: "quinn-udp's UdpSocketState on tokio sockets of a current-thread runtime, with segmentation and coalescing",
    runs: RUNS,
    lacks: &[],
    otherwise: "quinn-udp has system calls only, no loop",
    prepare: None,
};

const RUNS: &[(Workload, Bench)] = &[
    (Workload::Pummel1, |params| pummel(params, 1)),
    (Workload::Pummel10, |params| pummel(params, 10)),
    (Workload::Pummel100, |params| pummel(params, 100)),
    (Workload::Connected1, connected),
    (Workload::Burst45, |params| burst(params, SMALL)),
    (Workload::Burst1200, |params| burst(params, LARGE)),
    (Workload::TwoLoops1200, two_loops),
    (Workload::PingPong45, pingpong),
    (Workload::Fanout10k, fanout),
];

/// Bytes of a buffer for one datagram.
const ONE: usize = 2048;
/// Bytes of one segmented send, at most: an IPv4 datagram.
const MAX_SEGMENTED: usize = 65_507;

/// A socket with quinn-udp's state.
struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
}

impl Socket {
    fn new(socket: std::net::UdpSocket) -> io::Result<Socket> {
        Ok(Socket {
            state: UdpSocketState::new((&socket).into())?,
            io: UdpSocket::from_std(socket)?,
        })
    }

    async fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let send = || self.state.try_send((&self.io).into(), transmit);
        self.io.async_io(Interest::WRITABLE, send).await
    }

    /// Receives one datagram into a buffer on the stack, which is not part of the task.
    async fn recv_one(&self) -> io::Result<()> {
        let recv = || {
            let mut buffer = [0; ONE];
            let mut meta = [RecvMeta::default()];
            let mut slices = [IoSliceMut::new(&mut buffer)];
            self.state.recv((&self.io).into(), &mut slices, &mut meta)
        };
        self.io.async_io(Interest::READABLE, recv).await.map(drop)
    }

    /// Receives until `got` returns `false`; `got` is called with the number of datagrams of each
    /// read.
    async fn recv_batches(&self, mut got: impl FnMut(u64) -> bool) -> io::Result<()> {
        let mut memory = vec![vec![0; LARGE * self.state.gro_segments()]; BATCH_SIZE];
        let mut slices: Vec<_> = memory
            .iter_mut()
            .map(|each| IoSliceMut::new(each))
            .collect();
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        loop {
            let recv = || self.state.recv((&self.io).into(), &mut slices, &mut metas);
            let count = self.io.async_io(Interest::READABLE, recv).await?;
            let datagrams = |meta: &RecvMeta| meta.len.div_ceil(meta.stride.max(1)).max(1);
            if !got(metas[..count].iter().map(datagrams).sum::<usize>() as u64) {
                return Ok(());
            }
        }
    }

    /// Sends `data` as datagrams of `size` bytes, in messages as long as the kernel segments.
    async fn send_burst(&self, data: &[u8], size: usize, to: SocketAddr) -> io::Result<()> {
        let segments = self.state.max_gso_segments().min(MAX_SEGMENTED / size);
        for chunk in data.chunks(size * segments) {
            let segment_size = (chunk.len() > size).then_some(size);
            self.send(&transmit(chunk, segment_size, to)).await?;
        }
        Ok(())
    }
}

fn transmit(contents: &[u8], segment_size: Option<usize>, destination: SocketAddr) -> Transmit<'_> {
    Transmit {
        destination,
        ecn: None,
        contents,
        segment_size,
        src_ip: None,
    }
}

async fn receive_ones(socket: Socket, counters: Arc<Counters>) {
    while socket.recv_one().await.is_ok() {
        counters.delivered.add(1);
    }
}

fn pummel(params: &Params, pairs: usize) -> Outcome {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let counters = Arc::<Counters>::default();
    let mut senders = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let receiver = Socket::new(net::socket()?)?;
        let to = receiver.io.local_addr()?;
        runtime.spawn(receive_ones(receiver, Arc::clone(&counters)));
        senders.push((Socket::new(net::socket()?)?, to));
    }
    let metered = senders.pop();
    for (sender, to) in senders {
        let counters = Arc::clone(&counters);
        runtime.spawn(async move {
            while send_slices(&sender, to, &counters).await.is_ok() {
                yield_now().await;
            }
        });
    }
    let mut meter = Meter::over(Arc::clone(&counters), params);
    run(&runtime, async move {
        let (sender, to) = metered.ok_or_else(|| io::Error::other("no pairs"))?;
        while meter.tick() {
            send_slices(&sender, to, &counters).await?;
            yield_now().await;
        }
        meter.finish()
    })
}

async fn send_slices(sender: &Socket, to: SocketAddr, counters: &Counters) -> io::Result<()> {
    let data = gathered_slices();
    sender.send(&transmit(&data, None, to)).await?;
    counters.sent.add(1);
    Ok(())
}

fn connected(params: &Params) -> Outcome {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let (sender, receiver) = net::sender_and_receiver()?;
    let to = receiver.local_addr()?;
    let sender = Socket::new(sender)?;
    let data = payload(SMALL);
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    runtime.spawn(receive_ones(Socket::new(receiver)?, Arc::clone(&counters)));
    run(&runtime, async move {
        while meter.tick() {
            sender.send(&transmit(&data, None, to)).await?;
            counters.sent.add(1);
            yield_now().await;
        }
        meter.finish()
    })
}

fn burst(params: &Params, size: usize) -> Outcome {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let (sender, receiver) = net::sender_and_receiver()?;
    let to = receiver.local_addr()?;
    let sender = Socket::new(sender)?;
    let receiver = Socket::new(receiver)?;
    let data = payload(size * BURST);
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    let received = Arc::clone(&counters);
    runtime.spawn(async move {
        let count = |datagrams| {
            received.delivered.add(datagrams);
            true
        };
        receiver.recv_batches(count).await
    });
    run(&runtime, async move {
        while meter.tick() {
            sender.send_burst(&data, size, to).await?;
            counters.sent.add(BURST as u64);
            yield_now().await;
        }
        meter.finish()
    })
}

fn two_loops(params: &Params) -> Outcome {
    threads::two_loops(
        params,
        |shared, publish| {
            let runtime = runtime()?;
            let _entered = runtime.enter();
            let receiver = Socket::new(net::socket()?)?;
            let _ = publish.send(receiver.io.local_addr()?);
            let count = |datagrams| {
                shared.counters.delivered.add(datagrams);
                !shared.silent()
            };
            Ok(runtime.block_on(receiver.recv_batches(count))?)
        },
        |shared, address| {
            let runtime = runtime()?;
            let _entered = runtime.enter();
            let sender = net::socket()?;
            sender.connect(address)?;
            let sender = Socket::new(sender)?;
            let data = payload(LARGE * BURST);
            runtime.block_on(async move {
                while !shared.stopped() {
                    sender.send_burst(&data, LARGE, address).await?;
                    shared.counters.sent.add(BURST as u64);
                }
                Ok(())
            })
        },
    )
}

fn pingpong(params: &Params) -> Outcome {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let (left, right) = net::connected_pair()?;
    let (to_left, to_right) = (left.local_addr()?, right.local_addr()?);
    let (left, right) = (Socket::new(left)?, Socket::new(right)?);
    let data = payload(SMALL);
    let reply = data.clone();
    runtime.spawn(async move {
        while right.recv_one().await.is_ok() {
            if right.send(&transmit(&reply, None, to_left)).await.is_err() {
                break;
            }
        }
    });
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    run(&runtime, async move {
        loop {
            left.send(&transmit(&data, None, to_right)).await?;
            left.recv_one().await?;
            counters.delivered.add(1);
            if !meter.lap() {
                return meter.finish();
            }
        }
    })
}

fn fanout(params: &Params) -> Outcome {
    allow_descriptors(params.handles)?;
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let counters = Arc::<Counters>::default();
    let sender = Socket::new(net::socket()?)?;
    let source = sender.io.local_addr()?;
    let mut addresses = Vec::with_capacity(params.handles);
    let before = Footprint::now();
    for _ in 0..params.handles {
        let handle = net::socket()?;
        handle.connect(source)?;
        addresses.push(handle.local_addr()?);
        runtime.spawn(receive_ones(Socket::new(handle)?, Arc::clone(&counters)));
    }
    // Each task must run once before it waits.
    runtime.block_on(yield_now());
    let bytes_per_handle = before.per_handle(params.handles);
    let mut active = ActiveSets::new(params.handles);
    let data = payload(SMALL);
    let mut meter = Meter::over(Arc::clone(&counters), params);
    run(&runtime, async move {
        while meter.tick() {
            for to in &addresses[active.next_set()] {
                sender.send(&transmit(&data, None, *to)).await?;
                counters.sent.add(1);
            }
            yield_now().await;
        }
        let mut measured = meter.finish()?;
        measured.bytes_per_handle = bytes_per_handle;
        Ok(measured)
    })
}
