//! Senders and a receiver on one loop, with default buffers.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use uv_sys::fault::{self, Feature};
use uv_udp::{Loop, RunMode, Udp};

use super::harness::*;

/// The form of receiving.
const FORMS: [&str; 4] = ["each", "batch", "into", "batch into"];

fn count_received(udp: &Udp, form: &str) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    let add = move |datagrams: usize| counted.set(counted.get() + datagrams);
    match form {
        "each" => udp.recv_start(move |_, received| add(usize::from(received.is_ok()))),
        "batch" => udp.recv_batch_start(move |_, received| add(received.unwrap().count())),
        "into" => udp.recv_into_start(
            |_, length| Some(vec![0; length - 1]),
            move |_, _, outcome| add(outcome.unwrap().len()),
        ),
        _ => udp.recv_into_start(
            |_, length| Some(vec![0; 4 * length]),
            move |_, buffer, outcome| {
                let buffer = buffer.unwrap();
                let arrivals = outcome.unwrap().iter();
                add(arrivals
                    .map(|arrival| arrival.segments(&buffer).len())
                    .sum());
            },
        ),
    }
    .unwrap();
    udp.unreference();
    count
}

/// Queues `each` datagrams of `size` bytes on each handle at once, three times, and checks that all
/// arrive.
fn all_arrive(ip: IpAddr, form: &str, senders: usize, each: usize, size: usize) {
    let event_loop = Loop::new().unwrap();
    let (udp, address) = bound(&event_loop, ip);
    let received = count_received(&udp, form);
    let handles: Vec<_> = (0..senders)
        .map(|_| connected(&event_loop, address))
        .collect();
    for burst in 1..=3 {
        for sender in handles.iter().cycle().take(senders * each) {
            let sent = sender.send(&vec![7; size], |_: &Udp, result| result.unwrap());
            sent.unwrap();
        }
        event_loop.run(RunMode::Default).unwrap();
        settle(&event_loop);
        let what = format!("{senders} times {each} of {size} bytes to {ip}, {form}");
        assert_eq!(received.get(), burst * senders * each, "{what}, {burst}");
    }
}

fn in_all_forms(mut check: impl FnMut(IpAddr, &str)) {
    for (ip, form) in loopbacks()
        .into_iter()
        .flat_map(|ip| FORMS.map(|form| (ip, form)))
    {
        check(ip, form);
    }
}

#[test]
fn a_burst_of_one_handle_arrives_at_a_receiver_on_its_loop() {
    in_all_forms(|ip, form| {
        for size in [0, 8, 45, 200, 500, 1_000, 1_200, 1_400, 9_000] {
            all_arrive(ip, form, 1, 300, size);
        }
    });
}

#[test]
fn a_burst_of_several_handles_arrives_at_a_receiver_on_their_loop() {
    in_all_forms(|ip, form| {
        for (senders, each) in [(2, 300), (4, 64), (16, 64), (30, 10), (60, 5)] {
            all_arrive(ip, form, senders, each, 1_200);
        }
    });
}

#[test]
fn bursts_arrive_on_the_same_loop_without_coalescing() {
    fault::lack([Feature::Gro]);
    in_all_forms(|ip, form| {
        for (senders, size) in [(1, 1_000), (1, 45), (4, 1_200)] {
            all_arrive(ip, form, senders, 300, size);
        }
    });
    fault::clear();
}
