//! Benches of the loop: iterations, timers, posts, requests and the dispatch of readiness.

mod config;

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uv_core::{
    Handle, Interest, Loop, Payload, Phase, PollSource, RequestQueue, RunMode, Source, Timer,
};

const HOUR: Duration = Duration::from_secs(3600);
const TIMERS: usize = 1_000;

fn iterations(c: &mut Criterion) {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, Duration::ZERO, |_| ()).unwrap();
    let mut group = c.benchmark_group("core");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an iteration with nothing to do", |b| {
        b.iter(|| event_loop.run(RunMode::NoWait).unwrap());
    });
    group.finish();
}

fn timers(c: &mut Criterion) {
    let event_loop = Loop::new().unwrap();
    let timers: Vec<_> = (0..TIMERS).map(|_| Timer::new(&event_loop)).collect();
    let start_all = |timeout| {
        for timer in &timers {
            timer.start(timeout, HOUR, |_| ()).unwrap();
        }
    };
    let mut group = c.benchmark_group("core");
    group.throughput(Throughput::Elements(TIMERS as u64));
    group.bench_function("start and stop a thousand timers", |b| {
        b.iter(|| {
            start_all(HOUR);
            timers.iter().for_each(|timer| timer.stop().unwrap());
        });
    });
    group.bench_function("start and fire a thousand timers", |b| {
        b.iter(|| {
            start_all(Duration::ZERO);
            event_loop.run(RunMode::NoWait).unwrap()
        });
    });
    start_all(HOUR);
    group.bench_function("restart a thousand timers", |b| {
        b.iter(|| timers.iter().for_each(|timer| timer.again().unwrap()));
    });
    group.finish();
}

fn posts(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a post from another thread", |b| {
        b.iter_custom(|posts| {
            let event_loop = Loop::new().unwrap();
            let (proxy, alive) = (event_loop.proxy(), event_loop.proxy().keep_alive());
            let both = Arc::new(Barrier::new(2));
            let start = Arc::clone(&both);
            let thread = thread::spawn(move || {
                start.wait();
                for _ in 1..posts {
                    proxy.post(|_| ()).unwrap();
                }
                proxy.post(Loop::stop).unwrap();
            });
            both.wait();
            let start = Instant::now();
            event_loop.run(RunMode::Default).unwrap();
            let elapsed = start.elapsed();
            thread.join().unwrap();
            drop(alive);
            elapsed
        });
    });
    group.finish();
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    for count in [1, 64] {
        let mut queue = RequestQueue::<(), usize>::new(Rc::default());
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("push, complete and pop {count} requests"), |b| {
            b.iter(|| {
                for index in 0..count {
                    let payload = Payload::Bytes(black_box(&[7; 45]));
                    queue.push(payload, (), index).unwrap();
                }
                drain(&mut queue);
            });
        });
    }
    let mut queue = RequestQueue::<(), usize>::new(Rc::default());
    group.bench_function("push, complete and pop 64 equal requests", |b| {
        b.iter(|| {
            let payload = black_box(&[7; 45]);
            queue.push(Payload::Bytes(payload), (), 0).unwrap();
            for index in 1..64 {
                queue.push_alike(payload, &(), index).unwrap();
            }
            drain(&mut queue);
        });
    });
    group.finish();
}

fn drain(queue: &mut RequestQueue<(), usize>) {
    queue.complete(queue.pending_count(), Ok(()));
    while queue.pop_completed().is_some() {}
}

/// A source that is always ready, and counts its calls.
struct Ready {
    handle: Handle,
    poll: RefCell<Option<PollSource>>,
    told: Cell<u64>,
}

impl Source for Ready {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, _: Interest) {
        self.told.set(self.told.get() + 1);
    }

    fn on_phase(self: Rc<Self>, _: Phase) {}
}

impl Ready {
    fn new(event_loop: &Loop) -> Rc<Self> {
        let ready = Rc::new_cyclic(|this: &Weak<Self>| Self {
            handle: Handle::new(event_loop, this.clone()),
            poll: RefCell::new(None),
            told: Cell::new(0),
        });
        let socket = UdpSocket::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        socket
            .send_to(b"unread", socket.local_addr().unwrap())
            .unwrap();
        let source = ready.handle.register(socket.into()).unwrap();
        source.set_interest(Interest::READABLE).unwrap();
        *ready.poll.borrow_mut() = Some(source);
        ready.handle.set_active(true);
        ready
    }
}

fn dispatch(c: &mut Criterion) {
    let mut group = c.benchmark_group("core");
    for count in [1, 64] {
        let event_loop = Loop::new().unwrap();
        let sources: Vec<_> = (0..count).map(|_| Ready::new(&event_loop)).collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("dispatch to {count} sources"), |b| {
            b.iter(|| event_loop.run(RunMode::NoWait).unwrap());
        });
        assert!(sources.iter().all(|source| source.told.get() > 0));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = config::config();
    targets = iterations, timers, posts, requests, dispatch
}
criterion_main!(benches);
