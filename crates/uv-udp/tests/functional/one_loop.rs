//! Senders and a receiver on one loop, with default buffers.

use std::cell::Cell;
use std::rc::Rc;

use uv_udp::{Loop, RunMode, Udp};

use super::harness::*;

/// Queues `each` datagrams of `size` bytes on each of so many handles, all at once, and says how many of them arrive.
fn arrived(ip: std::net::IpAddr, senders: usize, each: usize, size: usize) -> usize {
    let lp = Loop::new().unwrap();
    let (udp, address) = bound(&lp, ip);
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    udp.recv_start(move |_, received| {
        assert_eq!(received.unwrap().data.len(), size);
        counted.set(counted.get() + 1);
    })
    .unwrap();
    udp.unreference();
    let senders: Vec<_> = (0..senders).map(|_| connected(&lp, address)).collect();
    for _ in 0..each {
        for sender in &senders {
            sender
                .send(&vec![7; size], |_: &Udp, result| result.unwrap())
                .unwrap();
        }
    }
    lp.run(RunMode::Default).unwrap();
    settle(&lp);
    count.get()
}

#[test]
fn all_that_a_handle_queues_at_once_arrives_whatever_its_size() {
    for ip in loopbacks() {
        for size in [0, 8, 45, 200, 500, 1_200, 1_400, 9_000] {
            assert_eq!(arrived(ip, 1, 500, size), 500, "{size} bytes to {ip}");
        }
    }
}

#[test]
fn all_that_several_handles_queue_at_once_arrives_at_one_of_their_loop() {
    for ip in loopbacks() {
        for (senders, each) in [(4, 64), (16, 64), (16, 300), (30, 10)] {
            let all = arrived(ip, senders, each, 1_200);
            assert_eq!(all, senders * each, "{senders} times {each} to {ip}");
        }
    }
}
