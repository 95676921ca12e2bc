//! tokio: a current-thread runtime, one task per sender and per receiver.
//!
//! A sender task sends as many datagrams as others keep outstanding, then yields to the runtime,
//! which runs the receivers and polls. Receivers wait for readiness once and drain the socket with
//! `try_recv_from`. tokio sends from one slice, so the five slices of the pummel are gathered
//! first. The timers are `tokio_util`'s `DelayQueue`, which tokio's documentation names for many
//! timeouts; a million `Sleep`s are slower.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::{
    net::UdpSocket,
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::yield_now,
};
use tokio_util::time::DelayQueue;

use super::{Bench, Peer};
use crate::{
    measure::{Counters, Failure, Measurement, Meter, Outcome, Params},
    net::{self, Footprint, allow_descriptors, would_block},
    threads::{self, Handover, Shared},
    workload::{
        ActiveSets, BURST, LARGE, POSTED_SENDS_WINDOW, POSTS_WINDOW, SMALL, Workload,
        gathered_slices, payload, timer_delays,
    },
};

/// tokio on one thread.
pub const PEER: Peer = Peer {
    name: "tokio",
    about: "tokio's current-thread runtime, a task per sender and receiver; DelayQueue for timers, an unbounded \
            channel for posts",
    runs: RUNS,
    lacks: &[],
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
    (Workload::Timers1m, timers),
    (Workload::Posts, posts),
    (Workload::PostsSend, posts_send),
];

/// Bytes of a receive buffer. It lives on the stack between two awaits, so it is not part of a
/// task.
const BUFFER: usize = 2048;
/// Items taken from a channel at once, at most.
const ITEMS: usize = 1024;

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs `future` as a task of `runtime` to its end. Other tasks end with the runtime.
pub(super) fn run<F>(runtime: &Runtime, future: F) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    runtime
        .block_on(runtime.spawn(future))
        .unwrap_or_else(|error| Err(io::Error::other(error).into()))
}

/// Receives until the socket fails.
async fn receive(socket: UdpSocket, counters: Arc<Counters>) -> io::Result<()> {
    loop {
        socket.readable().await?;
        let mut buffer = [0; BUFFER];
        while would_block(socket.try_recv_from(&mut buffer))?.is_some() {
            counters.delivered.add(1);
        }
    }
}

fn pummel(params: &Params, pairs: usize) -> Outcome {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let counters = Arc::<Counters>::default();
    let mut senders = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        let receiver = UdpSocket::from_std(net::socket()?)?;
        let to = receiver.local_addr()?;
        runtime.spawn(receive(receiver, Arc::clone(&counters)));
        senders.push((UdpSocket::from_std(net::socket()?)?, to));
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

async fn send_slices(sender: &UdpSocket, to: SocketAddr, counters: &Counters) -> io::Result<()> {
    sender.send_to(&gathered_slices(), to).await?;
    counters.sent.add(1);
    Ok(())
}

fn burst(params: &Params, size: usize, outstanding: usize) -> Outcome {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let (sender, receiver) = net::sender_and_receiver()?;
    let sender = UdpSocket::from_std(sender)?;
    let data = payload(size);
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    runtime.spawn(receive(
        UdpSocket::from_std(receiver)?,
        Arc::clone(&counters),
    ));
    run(&runtime, async move {
        while meter.tick() {
            for _ in 0..outstanding {
                sender.send(&data).await?;
                counters.sent.add(1);
            }
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
            let receiver = UdpSocket::from_std(net::socket()?)?;
            let _ = publish.send(receiver.local_addr()?);
            runtime.block_on(async move {
                while !shared.silent() {
                    receiver.readable().await?;
                    let mut buffer = [0; BUFFER];
                    // A flood never empties the socket: the end of the round ends the drain.
                    while !shared.silent()
                        && would_block(receiver.try_recv_from(&mut buffer))?.is_some()
                    {
                        shared.counters.delivered.add(1);
                    }
                }
                Ok(())
            })
        },
        |shared, address| {
            let runtime = runtime()?;
            let _entered = runtime.enter();
            let sender = net::socket()?;
            sender.connect(address)?;
            let sender = UdpSocket::from_std(sender)?;
            let data = payload(LARGE);
            runtime.block_on(async move {
                while !shared.stopped() {
                    sender.send(&data).await?;
                    shared.counters.sent.add(1);
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
    let (left, right) = (UdpSocket::from_std(left)?, UdpSocket::from_std(right)?);
    runtime.spawn(async move {
        let mut buffer = [0; BUFFER];
        while let Ok(len) = right.recv(&mut buffer).await {
            if right.send(&buffer[..len]).await.is_err() {
                break;
            }
        }
    });
    let data = payload(SMALL);
    let mut meter = Meter::new(params);
    let counters = meter.counters();
    run(&runtime, async move {
        let mut buffer = [0; BUFFER];
        loop {
            left.send(&data).await?;
            left.recv(&mut buffer).await?;
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
    let sender = UdpSocket::from_std(net::socket()?)?;
    let source = sender.local_addr()?;
    let mut addresses = Vec::with_capacity(params.handles);
    let before = Footprint::now();
    for _ in 0..params.handles {
        let handle = net::socket()?;
        handle.connect(source)?;
        addresses.push(handle.local_addr()?);
        runtime.spawn(receive(UdpSocket::from_std(handle)?, Arc::clone(&counters)));
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
                sender.send_to(&data, *to).await?;
                counters.sent.add(1);
            }
            yield_now().await;
        }
        let mut measured = meter.finish()?;
        measured.bytes_per_handle = bytes_per_handle;
        Ok(measured)
    })
}

fn timers(params: &Params) -> Outcome {
    let runtime = runtime()?;
    let count = params.timers;
    run(&runtime, async move {
        let began = Instant::now();
        let mut queue = DelayQueue::with_capacity(count);
        for delay in timer_delays(count) {
            queue.insert((), Duration::from_millis(delay));
        }
        let mut fired = 0;
        while std::future::poll_fn(|context| queue.poll_expired(context))
            .await
            .is_some()
        {
            fired += 1;
        }
        Ok(Measurement::of(fired, began.elapsed()))
    })
}

type Job = Box<dyn FnOnce() + Send>;

fn posts(params: &Params) -> Outcome {
    threads::handover(
        params,
        Handover::Closures {
            window: POSTS_WINDOW,
        },
        |_, publish: mpsc::Sender<UnboundedSender<Job>>| {
            let (sender, receiver) = unbounded_channel();
            let _ = publish.send(sender);
            run_jobs(receiver)
        },
        |shared, remote| {
            let _ = remote.send(Box::new(move || shared.counters.delivered.add(1)));
        },
        drop,
    )
}

fn run_jobs(mut jobs: UnboundedReceiver<Job>) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async move {
        let mut batch = Vec::with_capacity(ITEMS);
        while jobs.recv_many(&mut batch, ITEMS).await > 0 {
            batch.drain(..).for_each(|job| job());
        }
    });
    Ok(())
}

fn posts_send(params: &Params) -> Outcome {
    let data = payload(SMALL);
    threads::handover(
        params,
        Handover::Sends {
            window: POSTED_SENDS_WINDOW,
        },
        |shared, publish: mpsc::Sender<UnboundedSender<Vec<u8>>>| {
            let (sender, receiver) = unbounded_channel();
            let _ = publish.send(sender);
            carry_out_sends(shared, receiver)
        },
        |_, remote| {
            let _ = remote.send(data.clone());
        },
        drop,
    )
}

fn carry_out_sends(
    shared: &'static Shared,
    mut sends: UnboundedReceiver<Vec<u8>>,
) -> Result<(), Failure> {
    let runtime = runtime()?;
    let _entered = runtime.enter();
    let (sender, receiver) = net::sender_and_receiver()?;
    let sender = UdpSocket::from_std(sender)?;
    let receiver = UdpSocket::from_std(receiver)?;
    runtime.spawn(async move {
        let mut buffer = [0; BUFFER];
        while receiver.recv_from(&mut buffer).await.is_ok() {
            shared.counters.delivered.add(1);
        }
    });
    runtime.block_on(async move {
        let mut batch = Vec::with_capacity(ITEMS);
        while sends.recv_many(&mut batch, ITEMS).await > 0 {
            for data in batch.drain(..) {
                sender.send(&data).await?;
                shared.counters.sent.add(1);
            }
        }
        Ok(())
    })
}
