//! A loop inside another one, which uses only poll(2).

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use uv_core::{Idle, Interest, Loop, RunMode, Timer};

use super::support::{Count, Log, Probe};

/// One iteration of the outer loop.
fn wait(fd: impl AsFd, timeout: Option<Duration>) -> bool {
    let timeout = timeout.map(|timeout| Timespec::try_from(timeout).unwrap());
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    loop {
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.unwrap() > 0,
        }
    }
}

pub(super) fn is_readable(event_loop: &Loop) -> bool {
    wait(event_loop, Some(Duration::ZERO))
}

/// Drives `event_loop` while it is alive, and returns the number of runs.
fn drive(event_loop: &Loop) -> usize {
    let mut calls = 0;
    loop {
        let timeout = event_loop.poll_timeout().unwrap();
        // After `poll_timeout`: the end of the last `KeepAlive` now wakes the wait.
        if !event_loop.alive() {
            return calls;
        }
        wait(event_loop, timeout);
        event_loop.run(RunMode::NoWait).unwrap();
        calls += 1;
    }
}

#[test]
fn an_outer_loop_can_drive_timers_descriptors_posts_and_closes() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let log = ran.clone();
    let _watching = Probe::watching(&event_loop, ours, Interest::READABLE, move |probe, _| {
        let mut bytes = [0; 8];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(bytes[..length], *b"datagram");
        log.add("datagram");
        probe.close().unwrap();
        let closed = log.clone();
        Timer::new(&probe.event_loop().unwrap())
            .close(move |_| closed.add("closed"))
            .unwrap();
    });
    let (log, proxy, alive) = (
        ran.clone(),
        event_loop.proxy(),
        event_loop.proxy().keep_alive(),
    );
    let mut theirs = Some((theirs, proxy, alive));
    Timer::new(&event_loop)
        .start(Duration::from_millis(2), Duration::ZERO, move |_| {
            log.add("timer");
            let (theirs, proxy, alive) = theirs.take().unwrap();
            thread::spawn(move || {
                proxy
                    .post(move |_| {
                        theirs.send(b"datagram").unwrap();
                    })
                    .unwrap();
                drop(alive);
            });
        })
        .unwrap();
    drive(&event_loop);
    assert_eq!(ran, ["timer", "datagram", "closed"]);
}

#[test]
fn the_descriptor_is_readable_while_something_is_ready() {
    let event_loop = Loop::new().unwrap();
    assert!(!is_readable(&event_loop));
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let _watching = Probe::watching(&event_loop, ours, Interest::READABLE, move |_, _| {
        socket.recv(&mut [0; 8]).unwrap();
    });
    theirs.send(b"datagram").unwrap();
    assert!(is_readable(&event_loop));
    event_loop.run(RunMode::NoWait).unwrap();
    assert!(!is_readable(&event_loop));
}

/// Drives `event_loop` inside tokio, whose reactor is edge-triggered.
async fn drive_in_tokio(event_loop: &Loop) {
    let fd = event_loop.as_fd().try_clone_to_owned().unwrap();
    // SAFETY: the `AsyncFd` owns the descriptor, which stays open until it is dropped.
    let fd = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) };
    let fd = fd.unwrap();
    loop {
        let timeout = event_loop.poll_timeout().unwrap();
        if !event_loop.alive() {
            return;
        }
        let readable = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, fd.readable()).await.ok(),
            None => Some(fd.readable().await),
        };
        event_loop.run(RunMode::NoWait).unwrap();
        if let Some(readable) = readable
            && !event_loop.has_events().unwrap()
        {
            readable.unwrap().clear_ready();
        }
    }
}

#[test]
fn an_edge_triggered_reactor_misses_no_work() {
    const DATAGRAMS: usize = 100;
    let event_loop = Loop::new().unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (socket, heard) = (ours.try_clone().unwrap(), Count::default());
    let count = heard.clone();
    // Reads one datagram per report, so that each run leaves the others.
    let _watching = Probe::watching(&event_loop, ours, Interest::READABLE, move |probe, _| {
        socket.recv(&mut [0; 8]).unwrap();
        if count.up() == DATAGRAMS {
            probe.close().unwrap();
        }
    });
    let mut left = DATAGRAMS;
    Timer::new(&event_loop)
        .start(Duration::ZERO, Duration::from_millis(1), move |timer| {
            while left > 0 && theirs.send(b"datagram").is_ok() {
                left -= 1;
            }
            if left == 0 {
                timer.stop().unwrap();
            }
        })
        .unwrap();
    let proxy = event_loop.proxy();
    let alive = proxy.keep_alive();
    let thread = thread::spawn(move || {
        proxy.post(|_| ()).unwrap();
        drop(alive);
    });
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(drive_in_tokio(&event_loop));
    assert_eq!(heard.get(), DATAGRAMS);
    thread.join().unwrap();
}

#[test]
fn has_events_does_not_consume_events() {
    let event_loop = Loop::new().unwrap();
    assert_eq!(event_loop.has_events(), Ok(false));
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let _watching = Probe::watching(&event_loop, ours, Interest::READABLE, move |_, _| {
        socket.recv(&mut [0; 8]).unwrap();
    });
    theirs.send(b"datagram").unwrap();
    assert_eq!([(); 2].map(|()| event_loop.has_events()), [Ok(true); 2]);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(event_loop.has_events(), Ok(false));
}

#[test]
fn poll_timeout_applies_changes_of_interest() {
    let event_loop = Loop::new().unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.send(b"datagram").unwrap();
    let watching = Probe::watching(&event_loop, ours, Interest::READABLE, |_, _| ());
    watching.set_interest(Interest::NONE).unwrap();
    event_loop.poll_timeout().unwrap();
    assert!(!is_readable(&event_loop));
}

#[test]
fn poll_timeout_is_zero_while_the_loop_has_work() {
    let event_loop = Loop::new().unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(None));
    let idle = Idle::new(&event_loop);
    idle.start(|idle| idle.close(|_| ()).unwrap()).unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
    assert_eq!(drive(&event_loop), 1);
    Timer::new(&event_loop).close(|_| ()).unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
    assert_eq!(drive(&event_loop), 1);
    event_loop.stop();
    assert_eq!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
}

#[test]
fn the_last_keep_alive_wakes_an_outer_loop() {
    let event_loop = Loop::new().unwrap();
    let alive = event_loop.proxy().keep_alive();
    assert_eq!(event_loop.poll_timeout(), Ok(None));
    drop(alive);
    assert!(is_readable(&event_loop));
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(false));
    assert!(!is_readable(&event_loop));
}

#[test]
fn unreferenced_handles_do_not_make_an_outer_loop_spin() {
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, fired.counts())
        .unwrap();
    timer.unreference();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let watching = Probe::watching(&event_loop, ours, Interest::READABLE, move |_, _| {
        socket.recv(&mut [0; 8]).unwrap();
    });
    watching.set_ref(false);
    theirs.send(b"datagram").unwrap();
    assert!(is_readable(&event_loop));
    assert_eq!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(false));
    assert!(!is_readable(&event_loop));
    assert_eq!(event_loop.poll_timeout(), Ok(None));
    assert_eq!(fired.get(), 1);
}

#[test]
fn a_timer_started_between_runs_counts_from_the_call() {
    let event_loop = Loop::new().unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    event_loop.poll_timeout().unwrap();
    let before = event_loop.now();
    while event_loop.now() < before + 100_000 {
        std::hint::spin_loop();
    }
    let timer = Timer::new(&event_loop);
    timer
        .start(
            Duration::from_nanos(100_000),
            Duration::ZERO,
            move |timer| {
                assert!(timer.event_loop().unwrap().now() >= before + 200_000);
            },
        )
        .unwrap();
    drive(&event_loop);
}
