//! Heap allocations per datagram: none, or the box of a callback that captures variables.
//!
//! Every test counts the allocations of its own thread. It is a binary of its own because counting
//! takes a global allocator.

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::{Duration, Instant};

use uv_udp::{Errno, Loop, Result, RunMode, Transmit, Udp};

/// Repetitions before the count: all queues have their greatest length, and the predictors are
/// stable.
const WARM_UP: usize = 100;
/// The deadline of a test.
const DEADLINE: Duration = Duration::from_secs(60);
/// Repetitions that are counted.
const COUNTED: u64 = 100;

/// Allocations in a number of repetitions of `work`.
fn allocations(mut work: impl FnMut()) -> u64 {
    (0..WARM_UP).for_each(|_| work());
    allocation_counter::measure(|| (0..COUNTED).for_each(|_| work())).count_total
}

const ANY: &str = "127.0.0.1:0";

fn bound(event_loop: &Loop) -> (Udp, SocketAddr) {
    let udp = Udp::new(event_loop);
    udp.bind(ANY.parse().unwrap()).unwrap();
    let address = udp.local_addr().unwrap();
    (udp, address)
}

/// A receiver that reads nothing: the kernel drops datagrams that do not fit.
fn sink() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(ANY).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Two handles that are connected to each other.
fn pair(event_loop: &Loop) -> (Udp, Udp) {
    let ((one, address), (other, other_address)) = (bound(event_loop), bound(event_loop));
    one.connect(other_address).unwrap();
    other.connect(address).unwrap();
    (one, other)
}

fn run_until(event_loop: &Loop, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        event_loop.run(RunMode::NoWait).unwrap();
        assert!(start.elapsed() < DEADLINE, "it never came");
    }
}

/// Iterations with nothing to do.
fn run_idly(event_loop: &Loop) {
    for _ in 0..3 {
        event_loop.run(RunMode::NoWait).unwrap();
    }
}

fn segments() -> NonZeroU16 {
    NonZeroU16::new(100).unwrap()
}

#[test]
fn a_direct_send_allocates_nothing() {
    let event_loop = Loop::new().unwrap();
    let (_sink, address) = sink();
    let (connected, unconnected) = (Udp::new(&event_loop), Udp::new(&event_loop));
    connected.connect(address).unwrap();
    let segmented = [7; 6_400];
    let run = [Transmit::new(&segmented[..100]); 64];
    let lengths: [_; 64] = std::array::from_fn(|index| Transmit::new(&segmented[..index]));
    let addressed = lengths.map(|transmit| transmit.with_destination(address));

    let count = allocations(|| assert_eq!(connected.try_send(b"one"), Ok(3)));
    assert_eq!(count, 0, "try_send");
    let count = allocations(|| assert_eq!(unconnected.try_send_to(b"one", address), Ok(3)));
    assert_eq!(count, 0, "try_send_to");
    for (name, batch) in [("a run", run), ("a mixture", lengths)] {
        let count = allocations(|| assert_eq!(connected.try_transmit_batch(&batch), Ok(64)));
        assert_eq!(count, 0, "try_transmit_batch of {name}");
    }
    let count = allocations(|| assert_eq!(unconnected.try_transmit_batch(&addressed), Ok(64)));
    assert_eq!(count, 0, "try_transmit_batch with destinations");
    connected.set_send_queue_limit(Some(1_000_000));
    let count = allocations(|| assert_eq!(connected.try_transmit_batch(&run), Ok(64)));
    assert_eq!(count, 0, "try_transmit_batch with a limit");
    let count = allocations(|| {
        let sent = connected.try_transmit(&Transmit::new(&segmented).with_segment_size(segments()));
        assert_eq!(sent, Ok(6_400));
    });
    assert_eq!(count, 0, "try_transmit with segments");
}

/// Sends a number of datagrams of each length, and runs the loop until all callbacks were called.
fn send(
    event_loop: &Loop,
    count: usize,
    lengths: &[usize],
    mut send: impl FnMut(&[u8]),
    done: &Udp,
) {
    for index in 0..count {
        send(&[7; 1_500][..lengths[index % lengths.len()]]);
    }
    run_until(event_loop, || done.send_queue_count() == 0);
}

#[test]
fn a_send_with_a_callback_that_captures_nothing_allocates_nothing() {
    let event_loop = Loop::new().unwrap();
    let (_sink, address) = sink();
    let (connected, unconnected) = (Udp::new(&event_loop), Udp::new(&event_loop));
    connected.connect(address).unwrap();
    for burst in [1, 64] {
        for lengths in [&[0][..], &[45], &[1_200], &[1, 2, 3, 1_200]] {
            let plain = |data: &[u8]| connected.send(data, |_, result| result.unwrap()).unwrap();
            let count = allocations(|| send(&event_loop, burst, lengths, plain, &connected));
            assert_eq!(count, 0, "send of {burst} datagrams of {lengths:?} bytes");
            let addressed = |data: &[u8]| {
                let sent = unconnected.send_to(data, address, |_, result| result.unwrap());
                sent.unwrap();
            };
            let count = allocations(|| send(&event_loop, burst, lengths, addressed, &unconnected));
            assert_eq!(
                count, 0,
                "send_to of {burst} datagrams of {lengths:?} bytes"
            );
        }
    }
}

#[test]
fn a_send_with_a_callback_that_captures_something_allocates_its_box() {
    let event_loop = Loop::new().unwrap();
    let (_sink, address) = sink();
    let udp = Udp::new(&event_loop);
    udp.connect(address).unwrap();
    let completed = Rc::new(Cell::new(0));
    for burst in [1, 64] {
        let count = allocations(|| {
            let capturing = |data: &[u8]| {
                let completed = Rc::clone(&completed);
                let callback = move |_: &Udp, result: Result<()>| {
                    result.unwrap();
                    completed.set(completed.get() + 1);
                };
                udp.send(data, callback).unwrap();
            };
            send(&event_loop, burst, &[45], capturing, &udp);
        });
        assert_eq!(count, COUNTED * burst as u64, "bursts of {burst}");
    }
    assert_eq!(completed.get(), (WARM_UP + COUNTED as usize) * 65);
}

/// Sends a number of datagrams from the same loop.
type Sending = fn(&Udp, usize);

fn singles(sender: &Udp, count: usize) {
    for _ in 0..count {
        sender.try_send(&[7; 100]).unwrap();
    }
}

fn run(sender: &Udp, count: usize) {
    let data = &[7; 6_400][..count * 100];
    assert_eq!(
        sender.try_transmit(&Transmit::new(data).with_segment_size(segments())),
        Ok(count * 100)
    );
}

/// Allocations while a receiver gets datagrams, which `start` counts.
fn receive(start: impl FnOnce(&Udp, Rc<Cell<usize>>), count: usize, sending: Sending) -> u64 {
    let event_loop = Loop::new().unwrap();
    let (sender, receiver) = pair(&event_loop);
    let received = Rc::new(Cell::new(0));
    start(&receiver, Rc::clone(&received));
    let allocated = allocations(|| {
        received.set(0);
        sending(&sender, count);
        run_until(&event_loop, || received.get() == count);
        // Includes the reads after the last datagram.
        run_idly(&event_loop);
    });
    receiver.close(|_| ()).unwrap();
    event_loop.run(RunMode::Default).unwrap();
    allocated
}

const ARRIVALS: [(&str, usize, Sending); 3] = [
    ("one datagram", 1, singles),
    ("a burst", 40, singles),
    ("a coalesced burst", 64, run),
];

#[test]
fn receiving_allocates_nothing() {
    for (name, count, sending) in ARRIVALS {
        let start = |udp: &Udp, received: Rc<Cell<usize>>| {
            let callback =
                move |_: &Udp, datagram: std::result::Result<uv_udp::Datagram<'_>, _>| {
                    assert_eq!(datagram.unwrap().data.len(), 100);
                    received.set(received.get() + 1);
                };
            udp.recv_start(callback).unwrap();
        };
        assert_eq!(receive(start, count, sending), 0, "{name}");
    }
}

#[test]
fn receiving_batches_allocates_nothing() {
    for (name, count, sending) in ARRIVALS {
        let start = |udp: &Udp, received: Rc<Cell<usize>>| {
            let callback = move |_: &Udp, batch: std::result::Result<uv_udp::Batch<'_>, _>| {
                received.set(received.get() + batch.unwrap().count());
            };
            udp.recv_batch_start(callback).unwrap();
        };
        assert_eq!(receive(start, count, sending), 0, "{name}");
    }
}

#[test]
fn receiving_into_the_users_memory_allocates_nothing() {
    for (name, count, sending) in ARRIVALS {
        let start = |udp: &Udp, received: Rc<Cell<usize>>| {
            let pool = Rc::new(RefCell::new(vec![vec![0; 2_048]]));
            let supply = Rc::clone(&pool);
            udp.recv_into_start(
                move |_, _| supply.borrow_mut().pop(),
                move |_, buffer, outcome| {
                    pool.borrow_mut().extend(buffer);
                    received.set(received.get() + usize::from(!outcome.unwrap().is_empty()));
                },
            )
            .unwrap();
        };
        assert_eq!(receive(start, count, sending), 0, "{name}");
    }
}

#[test]
fn receiving_many_into_the_users_memory_allocates_nothing() {
    for (name, count, sending) in ARRIVALS {
        let start = |udp: &Udp, received: Rc<Cell<usize>>| {
            let pool = Rc::new(RefCell::new(vec![vec![0; 300_000]]));
            let supply = Rc::clone(&pool);
            udp.recv_into_start(
                move |_, _| supply.borrow_mut().pop(),
                move |_, buffer, outcome| {
                    pool.borrow_mut().extend(buffer);
                    let bytes: usize = outcome.unwrap().iter().map(|arrival| arrival.len).sum();
                    received.set(received.get() + bytes / 100);
                },
            )
            .unwrap();
        };
        assert_eq!(receive(start, count, sending), 0, "{name}");
    }
}

#[test]
fn a_ping_pong_allocates_nothing() {
    let event_loop = Loop::new().unwrap();
    let (one, other) = pair(&event_loop);
    let rounds = Rc::new(Cell::new(0));
    other
        .recv_start(|udp, received| {
            let echoed = udp.send(received.unwrap().data, |_, result| result.unwrap());
            echoed.unwrap();
        })
        .unwrap();
    let counter = Rc::clone(&rounds);
    one.recv_start(move |udp, received| {
        counter.set(counter.get() + 1);
        match udp.try_send(received.unwrap().data) {
            Ok(_) => {}
            Err(error) => assert_eq!(error, Errno::EAGAIN),
        }
    })
    .unwrap();
    one.try_send(b"ping").unwrap();
    let count = allocations(|| {
        let goal = rounds.get() + 10;
        run_until(&event_loop, || rounds.get() >= goal);
    });
    assert_eq!(count, 0);
}
