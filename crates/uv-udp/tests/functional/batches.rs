//! Batches whose callback leaves datagrams.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use uv_udp::{Batch, Check, Loop, RunMode, Transmit, Udp};

use super::harness::*;

fn send_numbers(socket: &UdpSocket, to: SocketAddr, numbers: std::ops::Range<u8>) {
    for number in numbers {
        socket.send_to(&[number], to).unwrap();
    }
}

/// A handle that gets 0 to 9 in one read.
fn ten(event_loop: &Loop, ip: IpAddr) -> (Udp, SocketAddr, UdpSocket) {
    let (udp, address) = bound(event_loop, ip);
    let (socket, _) = raw(ip);
    send_numbers(&socket, address, 0..10);
    (udp, address, socket)
}

/// Takes a number of datagrams from the batch.
fn take(batch: &mut Batch<'_>, count: usize, log: &Log<u8>) {
    batch
        .take(count)
        .for_each(|datagram| log.add(datagram.data[0]));
}

fn numbers(of: std::ops::Range<u8>) -> Vec<u8> {
    of.collect()
}

#[test]
fn datagrams_left_in_a_batch_are_delivered_again_before_all_others() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address, socket) = ten(&event_loop, ip);
        let (taken, sender) = (Log::new(), socket.try_clone().unwrap());
        let (log, first) = (taken.clone(), Cell::new(true));
        udp.recv_batch_start(move |_, batch| {
            let mut batch = batch.unwrap();
            if first.replace(false) {
                send_numbers(&sender, address, 10..15);
                take(&mut batch, 3, &log);
            } else {
                take(&mut batch, 100, &log);
            }
        })
        .unwrap();
        run_until(&event_loop, || taken.len() == 15);
        assert_eq!(taken.get(), numbers(0..15));
        let counted = udp.counters();
        assert_eq!(
            (counted.datagrams_received, counted.bytes_received),
            (15, 15)
        );
    }
}

#[test]
fn datagrams_left_of_a_coalesced_message_are_delivered_again() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let sender = connected(&event_loop, address);
        let taken = Log::new();
        let (log, calls) = (taken.clone(), Rc::new(Cell::new(0)));
        let count = Rc::clone(&calls);
        udp.recv_batch_start(move |_, batch| {
            count.set(count.get() + 1);
            // Sometimes one datagram, or a message as a whole.
            let mut batch = batch.unwrap();
            if count.get() % 2 == 0 {
                take(&mut batch, 2, &log);
            } else if let Some(run) = batch.next_segments() {
                run.for_each(|datagram| log.add(datagram.data[0]));
            }
        })
        .unwrap();
        for burst in 1..6 {
            let size = std::num::NonZeroU16::new(1).unwrap();
            let data = numbers(0..40);
            assert_eq!(
                sender.try_transmit(&Transmit::new(&data).with_segment_size(size)),
                Ok(40)
            );
            run_until(&event_loop, || taken.len() == 40 * burst);
            assert_eq!(taken.get()[40 * (burst - 1)..], data);
        }
    }
}

#[test]
fn dropping_a_clone_of_a_batch_returns_nothing() {
    let event_loop = Loop::new().unwrap();
    let (udp, _, _socket) = ten(&event_loop, loopbacks()[0]);
    let taken = Log::new();
    let log = taken.clone();
    udp.recv_batch_start(move |_, batch| {
        let mut batch = batch.unwrap();
        drop(batch.clone());
        take(&mut batch, 100, &log);
    })
    .unwrap();
    settle(&event_loop);
    assert_eq!(taken.get(), numbers(0..10));
}

#[test]
fn a_callback_that_takes_nothing_is_called_once_per_iteration() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, ..) = ten(&event_loop, ip);
        let (calls, iterations) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (count, turns) = (Rc::clone(&calls), Rc::clone(&iterations));
        udp.recv_batch_start(move |_, _| count.set(count.get() + 1))
            .unwrap();
        let check = Check::new(&event_loop);
        check
            .start(move |check| {
                turns.set(turns.get() + 1);
                if turns.get() == 100 {
                    check.event_loop().unwrap().stop();
                }
            })
            .unwrap();
        event_loop.run(RunMode::Default).unwrap();
        assert!(calls.get() > 50, "{} calls", calls.get());
        assert!(
            calls.get() <= 100,
            "{} calls in 100 iterations",
            calls.get()
        );
        assert_eq!(udp.counters().datagrams_received, 0);
        udp.recv_stop().unwrap();
        let heard = listen(&udp);
        run_until(&event_loop, || heard.len() == 10);
        let heard: Vec<u8> = heard
            .get()
            .into_iter()
            .map(|each| each.unwrap().0[0])
            .collect();
        assert_eq!(heard, numbers(0..10));
        assert_eq!(udp.counters().datagrams_received, 10);
    }
}

#[test]
fn after_a_stop_in_a_callback_the_next_start_delivers_the_rest_of_the_batch() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, ..) = ten(&event_loop, ip);
        let taken = Log::new();
        let log = taken.clone();
        udp.recv_batch_start(move |udp, batch| {
            take(&mut batch.unwrap(), 4, &log);
            udp.recv_stop().unwrap();
        })
        .unwrap();
        settle(&event_loop);
        assert_eq!(taken.get(), numbers(0..4));
        let rest = listen(&udp);
        run_until(&event_loop, || rest.len() == 6);
        assert_eq!(rest.get()[0].as_ref().unwrap().0, [4]);
    }
}

#[test]
fn after_a_connect_in_a_callback_only_the_new_peers_rest_is_delivered() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let ((one, _), (other, to_other)) = (raw(ip), raw(ip));
        for number in 0..5 {
            send_numbers(&one, address, number..number + 1);
            send_numbers(&other, address, 10 + number..11 + number);
        }
        let taken = Log::new();
        let log = taken.clone();
        udp.recv_batch_start(move |udp, batch| {
            let mut batch = batch.unwrap();
            if udp.is_connected() {
                take(&mut batch, 100, &log);
            } else {
                take(&mut batch, 4, &log);
                udp.connect(to_other).unwrap();
            }
        })
        .unwrap();
        settle(&event_loop);
        assert_eq!(taken.get(), [0, 10, 1, 11, 12, 13, 14]);
        assert_eq!(udp.counters().filtered, 3);
    }
}

#[test]
fn datagrams_of_a_replaced_socket_follow_the_rest_of_a_batch() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, to_peer) = raw(ip);
        let udp = connected(&event_loop, to_peer);
        let here = udp.local_addr().unwrap();
        send_numbers(&peer, here, 0..10);
        let (taken, sender) = (Log::new(), peer.try_clone().unwrap());
        let (log, first) = (taken.clone(), Cell::new(true));
        udp.recv_batch_start(move |udp, batch| {
            let mut batch = batch.unwrap();
            if first.replace(false) {
                take(&mut batch, 3, &log);
                send_numbers(&sender, here, 10..13);
                udp.disconnect().unwrap();
                udp.connect(to_peer).unwrap();
            } else {
                take(&mut batch, 100, &log);
            }
        })
        .unwrap();
        run_until(&event_loop, || taken.len() == 13);
        assert_eq!(taken.get(), numbers(0..13));
    }
}

#[test]
fn a_panic_loses_only_datagrams_that_were_taken() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, ..) = ten(&event_loop, ip);
        let taken = Log::new();
        let log = taken.clone();
        udp.recv_batch_start(move |_, batch| {
            let mut batch = batch.unwrap();
            let first = log.len() == 0;
            take(&mut batch, 3, &log);
            assert!(!first, "as planned");
        })
        .unwrap();
        let mut panics = 0;
        for _ in 0..50 {
            let run = catch_unwind(AssertUnwindSafe(|| event_loop.run(RunMode::NoWait)));
            panics += usize::from(run.is_err());
        }
        assert_eq!((taken.get(), panics), (numbers(0..10), 1));
    }
}

#[test]
fn after_a_close_in_a_callback_nothing_is_delivered_again() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, ..) = ten(&event_loop, ip);
        let taken = Log::new();
        let log = taken.clone();
        udp.recv_batch_start(move |udp, batch| {
            take(&mut batch.unwrap(), 3, &log);
            udp.close(|_| ()).unwrap();
        })
        .unwrap();
        assert_eq!(event_loop.run(RunMode::Default), Ok(false));
        assert_eq!(taken.get(), numbers(0..3));
        // One that is lent when the handle closes.
        let (udp, ..) = ten(&event_loop, ip);
        udp.recv_batch_start(move |udp, batch| {
            let _lent = batch.unwrap();
            udp.close(|_| ()).unwrap();
        })
        .unwrap();
        assert_eq!(event_loop.run(RunMode::Default), Ok(false));
        assert_eq!(udp.counters().datagrams_received, 0);
    }
}
