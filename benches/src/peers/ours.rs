//! This project: `uv-udp` on `uv-core`'s loop, with its plain calls and no tuning.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use uv_udp::{Check, Errno, Loop, LoopProxy, RunMode, Timer, Udp, UdpSender};

use super::{Bench, Peer};
use crate::{
    measure::{Counters, Failure, Measurement, Meter, Outcome, Params},
    net::{Footprint, allow_descriptors},
    threads::{self, Handover},
    workload::{
        ActiveSets, BURST, LARGE, POSTED_SENDS_WINDOW, POSTS_WINDOW, SLICES, SMALL, Workload,
        payload, timer_delays,
    },
};

/// The peer that all others are compared with.
pub const PEER: Peer = Peer {
    name: "uv-udp",
    about: "this project's UDP handles on its own loop: send, recv_start, Timer and LoopProxy as they come",
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

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::Io(io::Error::from(errno))
    }
}

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A loop that a meter stops.
struct Metered {
    event_loop: Loop,
    meter: Rc<RefCell<Meter>>,
    counters: Arc<Counters>,
}

impl Metered {
    fn new(params: &Params) -> Result<Metered, Failure> {
        let meter = Meter::new(params);
        Ok(Metered {
            event_loop: Loop::new()?,
            counters: meter.counters(),
            meter: Rc::new(RefCell::new(meter)),
        })
    }

    /// A bound handle whose datagrams are counted.
    fn receiver(&self) -> Result<SocketAddr, Failure> {
        counting_receiver(&self.event_loop, Arc::clone(&self.counters))
    }

    /// A bound handle whose datagrams are counted, each as an iteration: for workloads with one per
    /// iteration.
    fn metering_receiver(&self) -> Result<SocketAddr, Failure> {
        let (meter, counters) = (Rc::clone(&self.meter), Arc::clone(&self.counters));
        let receiver = Udp::new(&self.event_loop);
        receiver.bind(LOOPBACK)?;
        receiver.recv_start(move |receiver, received| {
            if received.is_ok() {
                counters.delivered.add(1);
            }
            if !meter.borrow_mut().tick() {
                stop(receiver.event_loop());
            }
        })?;
        Ok(receiver.local_addr()?)
    }

    /// Runs the loop until a receiver stops it.
    fn run_metered(self) -> Outcome {
        self.event_loop.run(RunMode::Default)?;
        self.meter.borrow_mut().finish()
    }

    /// Runs the loop until the meter, which is asked once per iteration, stops it.
    fn run(self) -> Outcome {
        let check = Check::new(&self.event_loop);
        let meter = Rc::clone(&self.meter);
        check.start(move |check| {
            if !meter.borrow_mut().tick() {
                stop(check.event_loop());
            }
        })?;
        self.event_loop.run(RunMode::Default)?;
        self.meter.borrow_mut().finish()
    }
}

fn stop(event_loop: Option<Loop>) {
    if let Some(event_loop) = event_loop {
        event_loop.stop();
    }
}

fn counting_receiver(event_loop: &Loop, counters: Arc<Counters>) -> Result<SocketAddr, Failure> {
    let receiver = Udp::new(event_loop);
    receiver.bind(LOOPBACK)?;
    receiver.recv_start(move |_, received| {
        if received.is_ok() {
            counters.delivered.add(1);
        }
    })?;
    Ok(receiver.local_addr()?)
}

/// The state of a sender with sends outstanding, kept by the handle so that the callback captures
/// nothing.
struct Lane {
    data: Vec<u8>,
    to: Option<SocketAddr>,
    counters: Arc<Counters>,
}

impl Lane {
    fn send(&self, udp: &Udp) -> Result<(), Errno> {
        match self.to {
            Some(to) => udp.send_to(&SLICES.map(IoSlice::new), to, send_again),
            None => udp.send(&self.data, send_again),
        }
    }
}

/// Keeps a send outstanding: its completion sends the next datagram.
fn send_again(udp: &Udp, result: Result<(), Errno>) {
    let Some(lane) = udp.data::<Lane>() else {
        return;
    };
    if result.is_ok() {
        lane.counters.sent.add(1);
    }
    // Only a closed handle refuses, which ends the sender.
    let _ = lane.send(udp);
}

/// Keeps `outstanding` sends of `udp` outstanding.
fn keep_sending(udp: &Udp, lane: Lane, outstanding: usize) -> Result<(), Errno> {
    let lane = Rc::new(lane);
    udp.set_data(Some(lane.clone()));
    (0..outstanding).try_for_each(|_| lane.send(udp))
}

fn pummel(params: &Params, pairs: usize) -> Outcome {
    let metered = Metered::new(params)?;
    for _ in 0..pairs {
        let lane = Lane {
            data: Vec::new(),
            to: Some(metered.metering_receiver()?),
            counters: Arc::clone(&metered.counters),
        };
        keep_sending(&Udp::new(&metered.event_loop), lane, 1)?;
    }
    metered.run_metered()
}

fn burst(params: &Params, size: usize, outstanding: usize) -> Outcome {
    let metered = Metered::new(params)?;
    let sender = Udp::new(&metered.event_loop);
    sender.connect(if outstanding == 1 {
        metered.metering_receiver()?
    } else {
        metered.receiver()?
    })?;
    let lane = Lane {
        data: payload(size),
        to: None,
        counters: Arc::clone(&metered.counters),
    };
    keep_sending(&sender, lane, outstanding)?;
    if outstanding == 1 {
        metered.run_metered()
    } else {
        metered.run()
    }
}

/// Runs `event_loop` until `done`, which is asked once per iteration.
fn run_until(event_loop: &Loop, done: impl Fn() -> bool + 'static) -> Result<(), Failure> {
    let check = Check::new(event_loop);
    check.start(move |check| {
        if done() {
            stop(check.event_loop());
        }
    })?;
    event_loop.run(RunMode::Default)?;
    Ok(())
}

fn two_loops(params: &Params) -> Outcome {
    threads::two_loops(
        params,
        |shared, publish| {
            let event_loop = Loop::new()?;
            let receiver = Udp::new(&event_loop);
            receiver.bind(LOOPBACK)?;
            let counted = Arc::clone(&shared);
            receiver.recv_start(move |_, received| {
                if received.is_ok() {
                    counted.counters.delivered.add(1);
                }
            })?;
            let _ = publish.send(receiver.local_addr()?);
            run_until(&event_loop, move || shared.silent())
        },
        |shared, address| {
            let event_loop = Loop::new()?;
            let sender = Udp::new(&event_loop);
            sender.connect(address)?;
            let lane = Flood {
                data: payload(LARGE),
                shared: Arc::clone(&shared),
            };
            let lane = Rc::new(lane);
            sender.set_data(Some(lane.clone()));
            (0..BURST).try_for_each(|_| lane.send(&sender))?;
            run_until(&event_loop, move || shared.stopped())
        },
    )
}

/// A [`Lane`] whose counters another thread reads.
struct Flood {
    data: Vec<u8>,
    shared: Arc<threads::Shared>,
}

impl Flood {
    fn send(&self, udp: &Udp) -> Result<(), Errno> {
        udp.send(&self.data, |udp, result| {
            if let Some(flood) = udp.data::<Flood>() {
                let sent = u64::from(result.is_ok());
                flood.shared.counters.sent.add(sent);
                let _ = flood.send(udp);
            }
        })
    }
}

fn pingpong(params: &Params) -> Outcome {
    let event_loop = Loop::new()?;
    let (left, right) = (Udp::new(&event_loop), Udp::new(&event_loop));
    left.bind(LOOPBACK)?;
    right.connect(left.local_addr()?)?;
    left.connect(right.local_addr()?)?;
    let meter = Rc::new(RefCell::new(Meter::new(params)));
    let counters = meter.borrow().counters();
    right.recv_start(|right, received| {
        if let Ok(ball) = received {
            let _ = right.send(ball.data, uv_udp::ignore);
        }
    })?;
    let lap = Rc::clone(&meter);
    left.recv_start(move |left, received| {
        if let Ok(ball) = received {
            counters.delivered.add(1);
            if !lap.borrow_mut().lap() {
                stop(left.event_loop());
            }
            let _ = left.send(ball.data, uv_udp::ignore);
        }
    })?;
    left.send(&payload(SMALL), uv_udp::ignore)?;
    event_loop.run(RunMode::Default)?;
    meter.borrow_mut().finish()
}

/// The destinations, set after set.
struct Fan {
    addresses: Vec<SocketAddr>,
    active: RefCell<ActiveSets>,
    data: Vec<u8>,
    counters: Arc<Counters>,
}

impl Fan {
    /// Sends to each handle of the next set; the last completion continues with the set after it.
    fn send(&self, sender: &Udp) {
        let set = self.active.borrow_mut().next_set();
        for to in &self.addresses[set] {
            let _ = sender.send_to(&self.data, *to, |sender, result| {
                let Some(fan) = sender.data::<Fan>() else {
                    return;
                };
                fan.counters.sent.add(u64::from(result.is_ok()));
                if sender.send_queue_count() == 0 {
                    fan.send(sender);
                }
            });
        }
    }
}

fn fanout(params: &Params) -> Outcome {
    allow_descriptors(params.handles)?;
    let metered = Metered::new(params)?;
    let sender = Udp::new(&metered.event_loop);
    sender.bind(LOOPBACK)?;
    let source = sender.local_addr()?;
    let mut addresses = Vec::with_capacity(params.handles);
    let before = Footprint::now();
    for _ in 0..params.handles {
        let handle = Udp::new(&metered.event_loop);
        handle.connect(source)?;
        let counters = Arc::clone(&metered.counters);
        handle.recv_start(move |_, received| {
            if received.is_ok() {
                counters.delivered.add(1);
            }
        })?;
        addresses.push(handle.local_addr()?);
    }
    let bytes_per_handle = before.per_handle(params.handles);
    let fan = Rc::new(Fan {
        addresses,
        active: RefCell::new(ActiveSets::new(params.handles)),
        data: payload(SMALL),
        counters: Arc::clone(&metered.counters),
    });
    sender.set_data(Some(fan.clone()));
    fan.send(&sender);
    let mut measured = metered.run()?;
    measured.bytes_per_handle = bytes_per_handle;
    Ok(measured)
}

fn timers(params: &Params) -> Outcome {
    let fired = Rc::new(Cell::new(0));
    let event_loop = Loop::new()?;
    let began = Instant::now();
    for delay in timer_delays(params.timers) {
        let fired = Rc::clone(&fired);
        Timer::new(&event_loop).start(Duration::from_millis(delay), Duration::ZERO, move |_| {
            fired.set(fired.get() + 1);
        })?;
    }
    event_loop.run(RunMode::Default)?;
    Ok(Measurement::of(fired.get(), began.elapsed()))
}

fn posts(params: &Params) -> Outcome {
    threads::handover(
        params,
        Handover::Closures {
            window: POSTS_WINDOW,
        },
        |_, publish| {
            let event_loop = Loop::new()?;
            let alive = event_loop.proxy().keep_alive();
            let _ = publish.send(event_loop.proxy());
            event_loop.run(RunMode::Default)?;
            drop(alive);
            Ok(())
        },
        |shared, remote: &LoopProxy| {
            // Only a loop that ended refuses.
            let _ = remote.post(move |_| shared.counters.delivered.add(1));
        },
        |remote| {
            let _ = remote.post(Loop::stop);
        },
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
            let event_loop = Loop::new()?;
            let receiver = Udp::new(&event_loop);
            receiver.bind(LOOPBACK)?;
            receiver.recv_start(move |_, received| {
                if received.is_ok() {
                    shared.counters.delivered.add(1);
                }
            })?;
            let sender = Udp::new(&event_loop);
            sender.connect(receiver.local_addr()?)?;
            let _ = publish.send(sender.sender()?);
            event_loop.run(RunMode::Default)?;
            Ok(())
        },
        move |shared, remote: &UdpSender| {
            let data = data.clone();
            let _ = remote.post(move |udp| {
                let _ = udp.send(&data, move |_, result| {
                    shared.counters.sent.add(u64::from(result.is_ok()));
                });
            });
        },
        |remote| {
            let _ = remote.post(|udp| stop(udp.event_loop()));
        },
    )
}
