//! Descriptors in the loop's poller.

use std::cell::RefCell;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::rc::Rc;

use uv_core::{Errno, Interest, Loop, Phase, RunMode};

use super::embedding::is_readable;
use super::support::{Count, Event, Log, Probe};

const BOTH: Interest = Interest::READABLE.union(Interest::WRITABLE);

fn readable_pair() -> (UnixDatagram, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.send(b"datagram").unwrap();
    (ours, theirs)
}

#[test]
fn a_descriptor_is_reported_for_its_interest() {
    for interest in [Interest::READABLE, Interest::WRITABLE, BOTH] {
        let event_loop = Loop::new().unwrap();
        let (ours, _theirs) = readable_pair();
        let events = Log::new();
        let log = events.clone();
        let _probe = Probe::watching(&event_loop, ours, interest, move |_, ready| log.add(ready));
        event_loop.run(RunMode::Once).unwrap();
        assert_eq!(events, [interest]);
    }
}

#[test]
fn reports_are_level_triggered() {
    let event_loop = Loop::new().unwrap();
    let (ours, theirs) = readable_pair();
    let socket = ours.try_clone().unwrap();
    let reports = Count::default();
    let counted = reports.clone();
    let _probe = Probe::watching(&event_loop, ours, Interest::READABLE, move |_, _| {
        counted.up();
    });
    for expected in 1..=3 {
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(
            reports.get(),
            expected,
            "an unread datagram is reported again"
        );
    }
    socket.recv(&mut [0; 8]).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(reports.get(), 3, "a datagram that was read is not");
    theirs.send(b"another").unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(reports.get(), 4);
}

#[test]
fn a_change_of_interest_applies_from_the_next_poll_on() {
    let event_loop = Loop::new().unwrap();
    let (ours, _theirs) = readable_pair();
    let events = Log::new();
    let log = events.clone();
    let probe = Probe::watching(&event_loop, ours, Interest::READABLE, move |_, ready| {
        log.add(ready)
    });
    for (interest, reports) in [
        (Interest::WRITABLE, 1),
        (Interest::NONE, 0),
        (BOTH, 1),
        (Interest::READABLE, 1),
    ] {
        probe.set_interest(Interest::NONE).unwrap();
        probe.set_interest(interest).unwrap();
        assert_eq!(probe.interest(), interest);
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(events.take(), vec![interest; reports]);
    }
}

#[test]
fn a_descriptor_has_no_interest_at_first() {
    let event_loop = Loop::new().unwrap();
    let (ours, theirs) = readable_pair();
    drop(theirs);
    let probe = Probe::watching(&event_loop, ours, Interest::NONE, |_, ready| {
        panic!("{ready:?}")
    });
    assert_eq!(probe.interest(), Interest::NONE);
    event_loop.run(RunMode::NoWait).unwrap();
}

#[test]
fn stopping_and_starting_between_two_polls_makes_no_system_call() {
    let event_loop = Loop::new().unwrap();
    let (ours, _theirs) = readable_pair();
    let probe = Probe::watching(&event_loop, ours, Interest::READABLE, |_, _| ());
    for interest in [Interest::NONE, Interest::READABLE, Interest::NONE] {
        probe.set_interest(interest).unwrap();
        assert!(
            is_readable(&event_loop),
            "the change is made when the loop polls"
        );
    }
    event_loop.run(RunMode::NoWait).unwrap();
    assert!(!is_readable(&event_loop));
}

#[test]
fn a_hang_up_is_reported_as_ready_for_everything() {
    let event_loop = Loop::new().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    let events = Log::new();
    let log = events.clone();
    let _probe = Probe::watching(&event_loop, ours, Interest::READABLE, move |_, ready| {
        log.add(ready)
    });
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events, [BOTH]);
}

#[test]
fn watching_a_file_returns_eperm() {
    let event_loop = Loop::new().unwrap();
    let probe = Probe::new(&event_loop, |_, _| ());
    let file = File::open("/proc/self/exe").unwrap();
    assert_eq!(probe.watch(file, Interest::READABLE), Err(Errno::EPERM));
}

#[test]
fn a_poll_source_lends_its_descriptor_and_closes_it_when_it_is_dropped() {
    let event_loop = Loop::new().unwrap();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let probe = Probe::new(&event_loop, |_, _| ());
    let source = probe.register(ours.into()).unwrap();
    assert_eq!(source.interest(), Interest::NONE);
    let mut lent = UnixStream::from(source.as_fd().try_clone_to_owned().unwrap());
    lent.write_all(b"x").unwrap();
    drop(lent);
    theirs.read_exact(&mut [0]).unwrap();
    theirs.set_nonblocking(true).unwrap();
    assert_eq!(
        theirs.read(&mut [0]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    drop(source);
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
}

/// A probe that counts its calls.
fn counting(event_loop: &Loop) -> (Rc<Probe>, Count) {
    let events = Count::default();
    let counted = events.clone();
    let count = move |_: &Rc<Probe>, _| {
        counted.up();
    };
    (Probe::new(event_loop, count), events)
}

#[test]
fn a_replacement_is_reported_once_it_is_watched() {
    let event_loop = Loop::new().unwrap();
    let ((old, _to_old), (new, _to_new)) = (readable_pair(), readable_pair());
    let (probe, events) = counting(&event_loop);
    let source = probe.register(old.into()).unwrap();
    source.set_interest(Interest::READABLE).unwrap();
    source.set_interest(BOTH).unwrap();
    let number = source.as_fd().as_raw_fd();
    source.replace(new.into()).unwrap();
    assert_eq!(source.as_fd().as_raw_fd(), number);
    assert_eq!(source.interest(), Interest::NONE);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events.get(), 0, "it is not watched yet");
    source.set_interest(Interest::READABLE).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events.get(), 1);
}

#[test]
fn a_replacement_is_watched_even_if_the_poller_had_lost_the_old_one() {
    let event_loop = Loop::new().unwrap();
    let ((old, _to_old), (new, _to_new)) = (readable_pair(), readable_pair());
    let (probe, events) = counting(&event_loop);
    let source = probe.register(old.into()).unwrap();
    source.set_interest(Interest::READABLE).unwrap();
    // As a forked process does that shares the poller.
    rustix::event::epoll::delete(&event_loop, &source).unwrap();
    source.replace(new.into()).unwrap();
    source.set_interest(Interest::READABLE).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events.get(), 1);
}

#[test]
fn a_handle_closed_by_an_earlier_report_gets_no_report() {
    let event_loop = Loop::new().unwrap();
    let (first, _a) = readable_pair();
    let (second, _b) = readable_pair();
    let events = Log::new();
    let probes = Rc::new(RefCell::new(Vec::<Rc<Probe>>::new()));
    for (name, socket) in [("first", first), ("second", second)] {
        let (log, both) = (events.clone(), Rc::clone(&probes));
        let probe = Probe::watching(&event_loop, socket, Interest::READABLE, move |_, _| {
            log.add(name);
            for probe in both.take() {
                probe.close().unwrap();
            }
        });
        probes.borrow_mut().push(probe);
    }
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
}

#[test]
fn a_closing_handle_runs_only_the_closing_phase() {
    let event_loop = Loop::new().unwrap();
    let (ours, _theirs) = readable_pair();
    let events = Log::new();
    let log = events.clone();
    let probe = Probe::new(&event_loop, move |_, what| log.add(what));
    probe.watch(ours, Interest::READABLE).unwrap();
    probe.set_deadline(0);
    for phase in [Phase::Completions, Phase::Flush, Phase::Dispatch] {
        probe.schedule(phase);
    }
    probe.close().unwrap();
    probe.set_deadline(0);
    for phase in [Phase::Completions, Phase::Flush, Phase::Dispatch] {
        probe.schedule(phase);
    }
    for _ in 0..3 {
        event_loop.run(RunMode::NoWait).unwrap();
    }
    assert_eq!(events, [Event::Phase(Phase::Closing)]);
}

#[test]
fn a_closed_handles_descriptor_is_not_polled_while_its_source_is_held() {
    let event_loop = Loop::new().unwrap();
    let (ours, _theirs) = readable_pair();
    let probe = Probe::watching(&event_loop, ours, Interest::READABLE, |_, _| ());
    probe.close().unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert!(
        !is_readable(&event_loop),
        "its reports would keep the loop from waiting"
    );
    assert_eq!(probe.set_interest(Interest::READABLE), Err(Errno::EBADF));

    // A new handle in the same slot gets no reports of it.
    let (quiet, _theirs) = UnixDatagram::pair().unwrap();
    let _other = Probe::watching(
        &event_loop,
        quiet,
        Interest::READABLE,
        |_, _| unreachable!(),
    );
    event_loop.run(RunMode::NoWait).unwrap();
}

#[test]
fn a_dropped_handles_descriptor_is_not_polled_while_its_source_is_held() {
    let event_loop = Loop::new().unwrap();
    let (ours, _theirs) = readable_pair();
    let probe = Probe::new(&event_loop, |_, _| ());
    let source = probe.register(ours.into()).unwrap();
    source.set_interest(Interest::READABLE).unwrap();
    drop(probe);
    assert!(!is_readable(&event_loop));
    assert_eq!(source.set_interest(Interest::READABLE), Err(Errno::EBADF));
}

#[test]
fn a_descriptor_cannot_be_registered_or_watched_without_handle_and_loop() {
    let event_loop = Loop::new().unwrap();
    let probe = Probe::new(&event_loop, |_, _| ());
    let (ours, _theirs) = readable_pair();
    let source = probe.register(ours.into()).unwrap();
    let (ours, _theirs) = readable_pair();
    let closed = Probe::new(&event_loop, |_, _| ());
    closed.close().unwrap();
    assert_eq!(closed.watch(ours, Interest::READABLE), Err(Errno::EBADF));
    drop(event_loop);
    assert_eq!(source.set_interest(Interest::READABLE), Err(Errno::EBADF));
    let (ours, _theirs) = readable_pair();
    assert_eq!(probe.watch(ours, Interest::READABLE), Err(Errno::EBADF));
}

#[test]
fn many_ready_descriptors_are_all_reported() {
    const SOCKETS: usize = 300;
    let event_loop = Loop::new().unwrap();
    let seen = Count::default();
    // Many duplicates of one datagram socket.
    let (ours, _theirs) = readable_pair();
    let probes: Vec<_> = (0..SOCKETS)
        .map(|_| {
            let counted = seen.clone();
            let copy = ours.try_clone().unwrap();
            Probe::watching(&event_loop, copy, Interest::READABLE, move |probe, _| {
                counted.up();
                probe.close().unwrap();
                probe.unwatch();
            })
        })
        .collect();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(seen.get(), SOCKETS);
    drop(probes);
}

#[test]
fn a_closed_handle_returns_a_refused_descriptor() {
    let event_loop = Loop::new().unwrap();
    let probe = Probe::new(&event_loop, |_, _| ());
    probe.close().unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let (errno, ours) = probe.register(ours.into()).unwrap_err();
    assert_eq!(errno, Errno::EBADF);
    theirs.send(b"open still").unwrap();
    let mut text = [0; 16];
    assert_eq!(UnixDatagram::from(ours).recv(&mut text).unwrap(), 10);
}
