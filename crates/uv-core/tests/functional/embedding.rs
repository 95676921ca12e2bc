//! A loop inside another one, which is made of nothing but poll(2).

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use uv_core::{Idle, Interest, Loop, RunMode, Timer};

use super::support::{Count, Log, Probe};

/// One turn of the outer loop: what waits, and for how long, is its business alone.
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

pub(super) fn is_readable(lp: &Loop) -> bool {
    wait(lp, Some(Duration::ZERO))
}

/// Drives `lp` until it has nothing left to run for, and says how often it ran it.
fn drive(lp: &Loop) -> usize {
    let mut turns = 0;
    loop {
        let timeout = lp.poll_timeout().unwrap();
        // After `poll_timeout`: what ends the loop's life from here on wakes the wait.
        if !lp.alive() {
            return turns;
        }
        wait(lp, timeout);
        lp.run(RunMode::NoWait).unwrap();
        turns += 1;
    }
}

#[test]
fn an_outer_loop_can_drive_timers_descriptors_posts_and_closes() {
    let lp = Loop::new().unwrap();
    let ran = Log::new();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let log = ran.clone();
    let _watching = Probe::watching(&lp, ours, Interest::READABLE, move |probe, _| {
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
    let (log, remote, alive) = (ran.clone(), lp.remote(), lp.remote().keep_alive());
    let mut theirs = Some((theirs, remote, alive));
    Timer::new(&lp)
        .start(Duration::from_millis(2), Duration::ZERO, move |_| {
            log.add("timer");
            let (theirs, remote, alive) = theirs.take().unwrap();
            thread::spawn(move || {
                remote
                    .post(move |_| {
                        theirs.send(b"datagram").unwrap();
                    })
                    .unwrap();
                drop(alive);
            });
        })
        .unwrap();
    drive(&lp);
    assert_eq!(ran, ["timer", "datagram", "closed"]);
}

#[test]
fn the_descriptor_is_readable_while_something_is_ready() {
    let lp = Loop::new().unwrap();
    assert!(!is_readable(&lp));
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let _watching = Probe::watching(&lp, ours, Interest::READABLE, move |_, _| {
        socket.recv(&mut [0; 8]).unwrap();
    });
    theirs.send(b"datagram").unwrap();
    assert!(is_readable(&lp));
    lp.run(RunMode::NoWait).unwrap();
    assert!(!is_readable(&lp));
}

/// Drives `lp` inside tokio, whose reactor reports changes only.
async fn drive_in_tokio(lp: &Loop) {
    let fd = lp.as_fd().try_clone_to_owned().unwrap();
    // SAFETY: the `AsyncFd` owns the descriptor, which stays open until it is dropped.
    let fd = unsafe { AsyncFd::register_with_interest(fd, tokio::io::Interest::READABLE) };
    let fd = fd.unwrap();
    loop {
        let timeout = lp.poll_timeout().unwrap();
        if !lp.alive() {
            return;
        }
        let readable = match timeout {
            Some(timeout) => tokio::time::timeout(timeout, fd.readable()).await.ok(),
            None => Some(fd.readable().await),
        };
        lp.run(RunMode::NoWait).unwrap();
        if let Some(readable) = readable
            && !lp.has_events().unwrap()
        {
            readable.unwrap().clear_ready();
        }
    }
}

#[test]
fn a_reactor_that_reports_changes_only_leaves_nothing_undone() {
    const DATAGRAMS: usize = 100;
    let lp = Loop::new().unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (socket, heard) = (ours.try_clone().unwrap(), Count::default());
    let count = heard.clone();
    // One datagram in a turn, so that each run leaves the others undone.
    let _watching = Probe::watching(&lp, ours, Interest::READABLE, move |probe, _| {
        socket.recv(&mut [0; 8]).unwrap();
        if count.up() == DATAGRAMS {
            probe.close().unwrap();
        }
    });
    let mut left = DATAGRAMS;
    Timer::new(&lp)
        .start(Duration::ZERO, Duration::from_millis(1), move |timer| {
            while left > 0 && theirs.send(b"datagram").is_ok() {
                left -= 1;
            }
            if left == 0 {
                timer.stop().unwrap();
            }
        })
        .unwrap();
    let remote = lp.remote();
    let alive = remote.keep_alive();
    let thread = thread::spawn(move || {
        remote.post(|_| ()).unwrap();
        drop(alive);
    });
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(drive_in_tokio(&lp));
    assert_eq!(heard.get(), DATAGRAMS);
    thread.join().unwrap();
}

#[test]
fn a_loop_knows_whether_there_are_events_without_taking_them() {
    let lp = Loop::new().unwrap();
    assert_eq!(lp.has_events(), Ok(false));
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let _watching = Probe::watching(&lp, ours, Interest::READABLE, move |_, _| {
        socket.recv(&mut [0; 8]).unwrap();
    });
    theirs.send(b"datagram").unwrap();
    assert_eq!([(); 2].map(|()| lp.has_events()), [Ok(true); 2]);
    lp.run(RunMode::NoWait).unwrap();
    assert_eq!(lp.has_events(), Ok(false));
}

#[test]
fn a_change_of_interest_is_made_before_an_outer_loop_waits() {
    let lp = Loop::new().unwrap();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.send(b"datagram").unwrap();
    let watching = Probe::watching(&lp, ours, Interest::READABLE, |_, _| ());
    watching.set_interest(Interest::NONE).unwrap();
    lp.poll_timeout().unwrap();
    assert!(!is_readable(&lp));
}

#[test]
fn a_loop_with_something_to_do_asks_not_to_be_waited_for() {
    let lp = Loop::new().unwrap();
    assert_eq!(lp.poll_timeout(), Ok(None));
    let idle = Idle::new(&lp);
    idle.start(|idle| idle.close(|_| ()).unwrap()).unwrap();
    assert_eq!(lp.poll_timeout(), Ok(Some(Duration::ZERO)));
    assert_eq!(drive(&lp), 1);
    Timer::new(&lp).close(|_| ()).unwrap();
    assert_eq!(lp.poll_timeout(), Ok(Some(Duration::ZERO)));
    assert_eq!(drive(&lp), 1);
    lp.stop();
    assert_eq!(lp.poll_timeout(), Ok(Some(Duration::ZERO)));
}

#[test]
fn the_last_keep_alive_wakes_an_outer_loop() {
    let lp = Loop::new().unwrap();
    let alive = lp.remote().keep_alive();
    assert_eq!(lp.poll_timeout(), Ok(None));
    drop(alive);
    assert!(is_readable(&lp));
    assert_eq!(lp.run(RunMode::NoWait), Ok(false));
    assert!(!is_readable(&lp));
}

#[test]
fn unreferenced_handles_do_not_make_an_outer_loop_spin() {
    let lp = Loop::new().unwrap();
    let fired = Count::default();
    let timer = Timer::new(&lp);
    timer
        .start(Duration::ZERO, Duration::ZERO, fired.counts())
        .unwrap();
    timer.unreference();
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    let socket = ours.try_clone().unwrap();
    let watching = Probe::watching(&lp, ours, Interest::READABLE, move |_, _| {
        socket.recv(&mut [0; 8]).unwrap();
    });
    watching.set_ref(false);
    theirs.send(b"datagram").unwrap();
    assert!(is_readable(&lp));
    assert_eq!(lp.poll_timeout(), Ok(Some(Duration::ZERO)));
    assert_eq!(lp.run(RunMode::NoWait), Ok(false));
    assert!(!is_readable(&lp));
    assert_eq!(lp.poll_timeout(), Ok(None));
    assert_eq!(fired.get(), 1);
}

#[test]
fn a_timer_that_an_outer_loop_starts_counts_from_now_and_not_from_the_last_iteration() {
    let lp = Loop::new().unwrap();
    lp.run(RunMode::NoWait).unwrap();
    lp.poll_timeout().unwrap();
    let before = lp.now();
    while lp.now() < before + 100_000 {
        std::hint::spin_loop();
    }
    let timer = Timer::new(&lp);
    timer
        .start(
            Duration::from_nanos(100_000),
            Duration::ZERO,
            move |timer| {
                assert!(timer.event_loop().unwrap().now() >= before + 200_000);
            },
        )
        .unwrap();
    drive(&lp);
}
