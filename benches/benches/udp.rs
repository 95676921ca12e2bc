//! Benches of UDP handles: the cost of a datagram out, in, and for a round trip.

mod config;

use std::cell::Cell;
use std::hint::black_box;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::rc::Rc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use uv_udp::{Errno, Loop, RunMode, Transmit, Udp};

const SMALL: usize = 45;
/// Bytes in a datagram of a burst: 64 of them are one message.
const SIZE: usize = 1_000;
const BURST: usize = 64;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A handle connected to a socket that is not read. The kernel drops what exceeds its buffer, so
/// only sending is measured.
fn into_the_void(event_loop: &Loop) -> (Udp, UdpSocket) {
    let void = UdpSocket::bind(any()).unwrap();
    let udp = Udp::new(event_loop);
    udp.connect(void.local_addr().unwrap()).unwrap();
    (udp, void)
}

/// Two handles that are connected to each other.
fn pair(event_loop: &Loop) -> (Udp, Udp) {
    let (one, other) = (Udp::new(event_loop), Udp::new(event_loop));
    for udp in [&one, &other] {
        udp.bind(any()).unwrap();
    }
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

fn out(c: &mut Criterion) {
    let event_loop = Loop::new().unwrap();
    let (udp, void) = into_the_void(&event_loop);
    let stranger = void.local_addr().unwrap();
    let mut group = c.benchmark_group("udp");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a send that the policy refuses", |b| {
        b.iter(|| {
            let refused = udp.send_to(black_box(&[7; SMALL]), stranger, uv_udp::ignore);
            assert_eq!(refused, Err(Errno::EISCONN));
        });
    });
    group.bench_function("a connected try_send", |b| {
        b.iter(|| udp.try_send(black_box(&[7; SMALL])).unwrap());
    });
    for count in [1, BURST] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} sends and their completions"), |b| {
            b.iter(|| {
                for _ in 0..count {
                    udp.send(black_box(&[7; SIZE]), |_, result| result.unwrap())
                        .unwrap();
                }
                while udp.send_queue_count() > 0 {
                    event_loop.run(RunMode::NoWait).unwrap();
                }
            });
        });
    }
    group.finish();
}

/// Benches datagrams that arrive as one message; `start` counts them.
fn receive(c: &mut Criterion, name: &str, count: usize, start: impl Fn(&Udp, Rc<Cell<usize>>)) {
    let event_loop = Loop::new().unwrap();
    let (sender, receiver) = pair(&event_loop);
    let received = Rc::new(Cell::new(0));
    start(&receiver, Rc::clone(&received));
    let data = vec![7; count * SIZE];
    let size = NonZeroU16::new(SIZE as u16).unwrap();
    let mut group = c.benchmark_group("udp");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function(name, |b| {
        b.iter(|| {
            received.set(0);
            assert_eq!(
                sender.try_transmit(&Transmit::new(&data).with_segment_size(size)),
                Ok(data.len())
            );
            while received.get() < count {
                event_loop.run(RunMode::NoWait).unwrap();
            }
        });
    });
    group.finish();
}

fn each(c: &mut Criterion) {
    for count in [1, BURST] {
        let name = format!("{count} datagrams received");
        receive(c, &name, count, |udp, received| {
            udp.recv_start(move |_, datagram| {
                received.set(received.get() + 1);
                black_box(datagram.unwrap().data);
            })
            .unwrap();
        });
    }
}

/// Splits coalesced messages with the callback's iterator.
fn split(c: &mut Criterion) {
    receive(
        c,
        "a coalesced buffer split into 64",
        BURST,
        |udp, received| {
            udp.recv_batch_start(move |_, batch| {
                for datagram in batch.unwrap() {
                    black_box(datagram.data);
                    received.set(received.get() + 1);
                }
            })
            .unwrap();
        },
    );
}

fn ping_pong(c: &mut Criterion) {
    rounds(c, "a round of ping-pong on one loop", &[]);
}

fn rounds(c: &mut Criterion, name: &str, switches: &[Switch]) {
    let event_loop = Loop::new().unwrap();
    let (one, other) = pair(&event_loop);
    ask_for(&one, switches);
    ask_for(&other, switches);
    let rounds = Rc::new(Cell::new(0_u64));
    other
        .recv_start(|udp, received| {
            udp.try_send(received.unwrap().data).unwrap();
        })
        .unwrap();
    let left = Rc::clone(&rounds);
    one.recv_start(move |udp, received| {
        let data = received.unwrap().data;
        left.set(left.get() - 1);
        if left.get() == 0 {
            udp.event_loop().unwrap().stop();
        } else {
            udp.try_send(data).unwrap();
        }
    })
    .unwrap();
    let mut group = c.benchmark_group("udp");
    group.throughput(Throughput::Elements(1));
    group.bench_function(name, |b| {
        b.iter_custom(|count| {
            rounds.set(count);
            let start = std::time::Instant::now();
            one.try_send(&[7; SMALL]).unwrap();
            event_loop.run(RunMode::Default).unwrap();
            start.elapsed()
        });
    });
    group.finish();
}

type Switch = fn(&Udp, bool) -> uv_udp::Result<()>;

/// Each kind of metadata by itself, and all kinds.
const METADATA: [(&str, &[Switch]); 7] = [
    ("nothing", &[]),
    ("the TOS", &[|udp: &Udp, on| udp.options().set_recv_tos(on)]),
    ("the TTL", &[|udp: &Udp, on| udp.options().set_recv_ttl(on)]),
    (
        "the destination",
        &[|udp: &Udp, on| udp.options().set_recv_packet_info(on)],
    ),
    (
        "the time",
        &[|udp: &Udp, on| udp.options().set_recv_timestamps(on)],
    ),
    (
        "the drops",
        &[|udp: &Udp, on| udp.options().set_recv_drops(on)],
    ),
    (
        "everything",
        &[
            |udp: &Udp, on| udp.options().set_recv_tos(on),
            |udp: &Udp, on| udp.options().set_recv_ttl(on),
            |udp: &Udp, on| udp.options().set_recv_packet_info(on),
            |udp: &Udp, on| udp.options().set_recv_timestamps(on),
            |udp: &Udp, on| udp.options().set_recv_drops(on),
        ],
    ),
];

fn ask_for(udp: &Udp, switches: &[Switch]) {
    switches.iter().for_each(|set| set(udp, true).unwrap());
}

/// The cost of metadata. "Nothing" is the same as the workloads above.
fn beside(c: &mut Criterion) {
    for (what, switches) in METADATA {
        let name = format!("64 datagrams received with {what} beside them");
        receive(c, &name, BURST, |udp, received| {
            ask_for(udp, switches);
            udp.recv_start(move |_, datagram| {
                received.set(received.get() + 1);
                black_box(datagram.unwrap().metadata);
            })
            .unwrap();
        });
        let name = format!("a round of ping-pong with {what} beside it");
        rounds(c, &name, switches);
    }
}

criterion_group! {
    name = benches;
    config = config::config();
    targets = out, each, split, ping_pong, beside
}
criterion_main!(benches);
