//! Temporary refusals of the kernel, and waits that signals interrupt.

use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use uv_core::{Errno, Interest, Loop, Prepare, RunMode, Timer};
use uv_sys::fault::{self, Call, Fault};

use super::support::{Count, Event, Log, Probe};

/// A probe that reads one datagram.
fn probe(event_loop: &Loop, events: &Log<Event>) -> (Rc<Probe>, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let (socket, log) = (ours.try_clone().unwrap(), events.clone());
    let probe = Probe::new(event_loop, move |probe, what| {
        if what == Event::Ready(Interest::READABLE) {
            socket.recv(&mut [0; 8]).unwrap();
            probe.set_active(false);
        }
        log.add(what);
    });
    probe.watch(ours, Interest::READABLE).unwrap();
    probe.set_active(true);
    (probe, theirs)
}

fn refuse(error: Errno, times: usize) {
    fault::script(Call::EpollCtl, vec![Fault::Errno(error); times]);
}

#[test]
fn a_refused_watch_is_retried_without_a_busy_loop() {
    for error in [Errno::ENOMEM, Errno::ENOSPC] {
        let event_loop = Loop::new().unwrap();
        let events = Log::new();
        let (probe, theirs) = probe(&event_loop, &events);
        probe.set_interest(Interest::NONE).unwrap();
        event_loop.run(RunMode::NoWait).unwrap();
        refuse(error, 4);
        probe.request_interest(Interest::READABLE).unwrap();
        theirs.send(b"datagram").unwrap();
        let waits = fault::calls(Call::EpollWait);
        event_loop.run(RunMode::Default).unwrap();
        assert_eq!(events, [Event::Ready(Interest::READABLE)]);
        let waits = fault::calls(Call::EpollWait) - waits;
        assert!(waits <= 4 + 2, "{waits} waits for four attempts");
    }
}

#[test]
fn a_long_refused_watch_is_reported_once_and_retried() {
    let event_loop = Loop::new().unwrap();
    let events = Log::new();
    let (probe, theirs) = probe(&event_loop, &events);
    probe.set_interest(Interest::NONE).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    refuse(Errno::ENOSPC, 10);
    probe.request_interest(Interest::READABLE).unwrap();
    theirs.send(b"datagram").unwrap();
    event_loop.run(RunMode::Default).unwrap();
    let expected = [
        Event::Refused(Errno::ENOSPC),
        Event::Ready(Interest::READABLE),
    ];
    assert_eq!(events, expected);
}

#[test]
fn an_impossible_watch_is_reported_at_once_and_not_retried() {
    let event_loop = Loop::new().unwrap();
    let events = Log::new();
    let (probe, theirs) = probe(&event_loop, &events);
    probe.set_interest(Interest::NONE).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    refuse(Errno::EPERM, 1);
    probe.request_interest(Interest::READABLE).unwrap();
    assert_eq!(probe.interest(), Interest::READABLE);
    theirs.send(b"datagram").unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events, [Event::Refused(Errno::EPERM)]);
    assert_eq!(
        probe.interest(),
        Interest::NONE,
        "so that it can be requested"
    );
    probe.set_interest(Interest::READABLE).unwrap();
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(events.len(), 2);
}

#[test]
fn a_refused_change_affects_neither_other_changes_nor_the_run() {
    let event_loop = Loop::new().unwrap();
    let events = Log::new();
    let probes = [(); 3].map(|()| probe(&event_loop, &events));
    let both = Interest::READABLE | Interest::WRITABLE;
    for (probe, _) in &probes {
        probe.set_interest(both).unwrap();
        probe.set_interest(Interest::READABLE).unwrap();
        probe.set_interest(both).unwrap();
    }
    refuse(Errno::ENOMEM, 1);
    let before = fault::calls(Call::EpollCtl);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(fault::calls(Call::EpollCtl) - before, 3);
    while fault::calls(Call::EpollCtl) - before < 4 {
        event_loop.run(RunMode::NoWait).unwrap();
    }
    events.take();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events, [Event::Ready(Interest::WRITABLE); 3]);
}

#[test]
fn poll_timeout_includes_the_retry_of_a_refused_change() {
    let event_loop = Loop::new().unwrap();
    let events = Log::new();
    let (probe, _theirs) = probe(&event_loop, &events);
    probe.set_interest(Interest::NONE).unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(None));
    refuse(Errno::ENOMEM, 1);
    probe.request_interest(Interest::READABLE).unwrap();
    let timeout = event_loop.poll_timeout().unwrap().unwrap();
    assert!(timeout <= Duration::from_millis(1));
    while event_loop.poll_timeout().unwrap().is_some() {}
    refuse(Errno::EPERM, 1);
    probe
        .set_interest(Interest::READABLE | Interest::WRITABLE)
        .unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
    assert_eq!(events.len(), 0);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(events, [Event::Refused(Errno::EPERM)]);
}

#[test]
fn a_closed_handle_gets_no_refusal() {
    let event_loop = Loop::new().unwrap();
    let events = Log::new();
    let (probe, _theirs) = probe(&event_loop, &events);
    probe.set_interest(Interest::NONE).unwrap();
    event_loop.poll_timeout().unwrap();
    refuse(Errno::EPERM, 1);
    probe.request_interest(Interest::READABLE).unwrap();
    event_loop.poll_timeout().unwrap();
    probe.close().unwrap();
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(events, [Event::Phase(uv_core::Phase::Closing)]);
}

#[test]
fn a_run_continues_to_wait_after_signals() {
    for mode in [RunMode::Once, RunMode::Default] {
        let event_loop = Loop::new().unwrap();
        let (fired, iterations) = (Count::default(), Count::default());
        let prepare = Prepare::new(&event_loop);
        prepare.start(iterations.counts()).unwrap();
        prepare.unreference();
        Timer::new(&event_loop)
            .start(Duration::from_millis(2), Duration::ZERO, fired.counts())
            .unwrap();
        fault::script(Call::EpollWait, [Fault::Errno(Errno::EINTR); 50]);
        event_loop.run(mode).unwrap();
        assert_eq!(fired.get(), 1, "{mode:?}");
        // Default runs one more iteration after the wait.
        assert!(iterations.get() <= 2, "{mode:?}: {iterations:?}");
        fault::clear();
    }
}

#[test]
fn a_signal_does_not_hide_another_thread() {
    let event_loop = Loop::new().unwrap();
    let (proxy, alive) = (event_loop.proxy(), event_loop.proxy().keep_alive());
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let by_post = std::sync::Arc::clone(&ran);
    fault::script(Call::EpollWait, [Fault::Errno(Errno::EINTR); 50]);
    let thread = std::thread::spawn(move || {
        proxy
            .post(move |_| by_post.store(true, std::sync::atomic::Ordering::Relaxed))
            .unwrap();
        drop(alive);
    });
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert!(ran.load(std::sync::atomic::Ordering::Relaxed));
    thread.join().unwrap();
    fault::clear();
}
