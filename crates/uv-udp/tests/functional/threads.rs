//! Handles reached from other threads.

use std::net::SocketAddr;

use uv_udp::{Errno, Loop, MAX_DATAGRAM, RunMode, Udp};

use super::harness::*;

#[test]
fn other_threads_send_through_a_sender() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let remote = udp.sender().unwrap();
        let alive = event_loop.proxy().keep_alive();
        let thread = std::thread::spawn(move || {
            for number in 0..50 {
                remote.send(vec![number; 10]).unwrap();
            }
            remote.post(|udp| udp.close(|_| ()).unwrap()).unwrap();
            drop(alive);
        });
        event_loop.run(RunMode::Default).unwrap();
        thread.join().unwrap();
        event_loop.run(RunMode::Default).unwrap();
        assert_eq!(
            all(&peer),
            (0..50).map(|number| vec![number; 10]).collect::<Vec<_>>()
        );
        assert!(udp.is_closing());
    }
}

#[test]
fn a_sender_of_a_closed_handle_does_nothing_and_of_a_dropped_loop_is_ecanceled() {
    let event_loop = Loop::new().unwrap();
    let (udp, _) = bound(&event_loop, "127.0.0.1".parse().unwrap());
    let remote = udp.sender().unwrap();
    udp.close(|_| ()).unwrap();
    event_loop.run(RunMode::Default).unwrap();
    remote.post(|_| unreachable!()).unwrap();
    event_loop.run(RunMode::Default).unwrap();
    drop(event_loop);
    assert_eq!(remote.send(vec![1]), Err(Errno::ECANCELED));
}

#[test]
fn a_sender_of_a_closing_handle_does_nothing() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let remote = udp.sender().unwrap();
        udp.close(|_| ()).unwrap();
        // They run before the closing callback.
        remote.post(|_| unreachable!()).unwrap();
        remote.send(vec![1]).unwrap();
        remote.send_to(vec![2], address).unwrap();
        event_loop.run(RunMode::Default).unwrap();
        assert_eq!(udp.counters().errors, [], "nothing was refused");
        assert!(all(&peer).is_empty());
    }
}

#[test]
fn a_sender_checks_payload_and_destination_at_once() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = Udp::new(&event_loop);
        let remote = udp.sender().unwrap();
        let (_peer, address) = raw(ip);
        let (zero, long) = (SocketAddr::new(ip, 0), vec![7; MAX_DATAGRAM + 1]);
        assert_eq!(remote.send(long.clone()), Err(Errno::EMSGSIZE));
        assert_eq!(remote.send_to(long, address), Err(Errno::EMSGSIZE));
        assert_eq!(remote.send_to(vec![1], zero), Err(Errno::EINVAL));
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(udp.counters().errors, [], "nothing was asked for");
        assert_eq!(remote.send(vec![7; MAX_DATAGRAM]), Ok(()));
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(udp.counters().errors, [(Errno::EDESTADDRREQ, 1)]);
    }
}

#[test]
fn a_sender_keeps_neither_its_handle_nor_the_loop_alive_without_keep_alive() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let remote = udp.sender().unwrap();
        assert!(!event_loop.alive());
        assert_eq!(
            event_loop.run(RunMode::Default),
            Ok(false),
            "nothing to wait for"
        );

        let alive = remote.keep_alive();
        assert!(event_loop.alive());
        let sender = remote.clone();
        let thread = std::thread::spawn(move || {
            sender.send(vec![1]).unwrap();
            drop(alive);
        });
        assert_eq!(event_loop.run(RunMode::Default), Ok(false));
        thread.join().unwrap();
        assert_eq!(all(&peer), [[1]], "the loop waited for the thread");

        let alive = remote.keep_alive();
        drop(udp);
        remote
            .post(|_| unreachable!("of a dropped handle"))
            .unwrap();
        event_loop.run(RunMode::NoWait).unwrap();
        assert!(event_loop.alive());
        drop(alive);
        assert!(!event_loop.alive());
    }
}
