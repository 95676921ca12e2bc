use std::io::{ErrorKind, Read, Write};
use std::mem::ManuallyDrop;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use uv_sys::message::sendmsg;
use uv_sys::socket::connect;
use uv_sys::{Errno, Family, Interest, PollEvent, PollEvents, Poller, Registration, Transmit};

use crate::util::{bound, nobody, pair};

const LONG: Option<Duration> = Some(Duration::from_secs(60));
const NOW: Option<Duration> = Some(Duration::ZERO);

fn register(
    poller: &Poller,
    fd: impl Into<OwnedFd>,
    key: usize,
    interest: Interest,
) -> Registration {
    poller
        .register(fd.into(), key, interest)
        .map_err(|(errno, _)| errno)
        .unwrap()
}

/// The events of one wait.
fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<PollEvent> {
    let mut events = PollEvents::with_capacity(8);
    poller.wait(&mut events, timeout).unwrap();
    events.iter().collect()
}

fn readable(key: usize) -> PollEvent {
    PollEvent {
        key,
        readable: true,
        writable: false,
    }
}

#[test]
fn a_ready_descriptor_is_reported_until_it_is_not_ready() {
    let (sender, receiver) = pair(Family::V4);
    let poller = Poller::new().unwrap();
    let registration = register(&poller, receiver, 7, Interest::READABLE);
    assert_eq!(wait(&poller, NOW), []);
    sender.send(b"x").unwrap();
    assert_eq!(wait(&poller, LONG), [readable(7)]);
    assert_eq!(wait(&poller, None), [readable(7)]);
    uv_sys::message::recvmsg(&registration, &mut [], uv_sys::RecvOptions::default()).unwrap();
    assert_eq!(wait(&poller, NOW), []);
}

#[test]
fn interest_can_change() {
    let (sender, receiver) = pair(Family::V6);
    let poller = Poller::new().unwrap();
    let registration = register(&poller, receiver, 0, Interest::NONE);
    sender.send(b"x").unwrap();
    for (interest, expected) in [
        (Interest::NONE, None),
        (Interest::READABLE, Some((true, false))),
        (Interest::READABLE | Interest::WRITABLE, Some((true, true))),
        (Interest::WRITABLE, Some((false, true))),
        (Interest::WRITABLE, Some((false, true))),
        (Interest::NONE, None),
        (Interest::NONE, None),
        (Interest::READABLE, Some((true, false))),
    ] {
        registration.set_interest(interest).unwrap();
        assert_eq!(registration.interest(), interest);
        let events = wait(&poller, NOW);
        assert_eq!(
            events.first().map(|event| (event.readable, event.writable)),
            expected
        );
    }
}

#[test]
fn without_interest_errors_are_not_reported_either() {
    let socket = bound(Family::V4);
    connect(&socket, &nobody(Family::V4)).unwrap();
    let poller = Poller::new().unwrap();
    let registration = register(&poller, socket, 1, Interest::NONE);
    sendmsg(&registration, &Transmit::new("anyone?")).unwrap();
    assert_eq!(wait(&poller, NOW), []);
    registration.set_interest(Interest::READABLE).unwrap();
    assert!(wait(&poller, LONG)[0].readable);
}

#[test]
fn keys_distinguish_descriptors() {
    let poller = Poller::new().unwrap();
    let keys = [0, 1, usize::MAX / 2, usize::MAX - 1];
    let registrations =
        keys.map(|key| register(&poller, bound(Family::V4), key, Interest::WRITABLE));
    let mut seen: Vec<_> = wait(&poller, LONG).iter().map(|event| event.key).collect();
    seen.sort_unstable();
    assert_eq!(seen, keys);
    assert_eq!(registrations.map(|registration| registration.key()), keys);
}

#[test]
fn further_ready_descriptors_are_reported_by_later_waits() {
    let poller = Poller::new().unwrap();
    let _registrations: Vec<_> = (0..5)
        .map(|key| register(&poller, bound(Family::V4), key, Interest::WRITABLE))
        .collect();
    let mut events = PollEvents::with_capacity(0);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..5 {
        poller.wait(&mut events, LONG).unwrap();
        assert_eq!(events.iter().count(), 1);
        seen.extend(events.iter().map(|event| event.key));
    }
    assert_eq!(seen.len(), 5);
}

#[test]
fn register_returns_a_refused_descriptor() {
    let poller = Poller::new().unwrap();
    let (errno, fd) = poller
        .register(bound(Family::V4).into(), usize::MAX, Interest::READABLE)
        .unwrap_err();
    assert_eq!(errno, Errno::EINVAL);
    assert!(UdpSocket::from(fd).local_addr().is_ok());
    let file = std::fs::File::open("/proc/self/stat").unwrap();
    let (errno, fd) = poller
        .register(file.into(), 1, Interest::READABLE)
        .unwrap_err();
    assert_eq!(errno, Errno::EPERM);
    assert!(std::fs::File::from(fd).read(&mut [0; 8]).unwrap() > 0);
}

#[test]
fn into_fd_returns_the_descriptor_and_ends_the_watch() {
    let (sender, receiver) = pair(Family::V4);
    let poller = Poller::new().unwrap();
    let registration = register(&poller, receiver, 7, Interest::READABLE);
    sender.send(b"hello").unwrap();
    assert_eq!(wait(&poller, LONG).len(), 1);
    let receiver = UdpSocket::from(registration.into_fd());
    assert_eq!(wait(&poller, NOW), []);
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 5);
    // It may be registered again.
    let _registration = register(&poller, receiver, 8, Interest::WRITABLE);
    assert_eq!(wait(&poller, LONG)[0].key, 8);
}

#[test]
fn a_descriptor_that_is_replaced_keeps_its_number_and_key_and_is_not_watched() {
    let (one, mut other) = UnixStream::pair().unwrap();
    let (sender, receiver) = pair(Family::V4);
    let poller = Poller::new().unwrap();
    let registration = register(&poller, one, 7, Interest::READABLE);
    other.write_all(b"old").unwrap();
    let number = registration.as_fd().as_raw_fd();
    registration.replace(receiver.into()).unwrap();
    assert_eq!(registration.as_fd().as_raw_fd(), number);
    assert_eq!(registration.interest(), Interest::NONE);
    sender.send(b"hello").unwrap();
    assert_eq!(wait(&poller, NOW), []);
    registration.set_interest(Interest::READABLE).unwrap();
    assert_eq!(wait(&poller, LONG), [readable(7)]);
    let gone = other.read(&mut [0; 8]).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::ConnectionReset, "it is closed");
    let receiver = UdpSocket::from(registration.into_fd());
    assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 5);
}

#[test]
fn dropping_a_registration_closes_the_descriptor() {
    let (one, mut other) = UnixStream::pair().unwrap();
    let poller = Poller::new().unwrap();
    drop(register(&poller, one, 1, Interest::READABLE));
    assert_eq!(other.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(wait(&poller, NOW), []);
}

#[test]
fn a_registration_outlives_its_poller_and_can_be_forgotten() {
    let poller = Poller::new().unwrap();
    let registration = register(&poller, bound(Family::V4), 1, Interest::READABLE);
    // Not dropped before the poller, as if forgotten; dropped at the end for leak checkers.
    let forgotten = ManuallyDrop::new(register(&poller, bound(Family::V4), 2, Interest::WRITABLE));
    assert_eq!(wait(&poller, LONG)[0].key, 2);
    drop(poller);
    registration.set_interest(Interest::WRITABLE).unwrap();
    drop(ManuallyDrop::into_inner(forgotten));
}

#[test]
fn a_notification_wakes_the_next_wait_once() {
    let poller = Poller::new().unwrap();
    for _ in 0..3 {
        poller.notify().unwrap();
        poller.notify().unwrap();
        assert_eq!(wait(&poller, None), []);
        let begin = Instant::now();
        assert_eq!(wait(&poller, Some(Duration::from_millis(20))), []);
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}

#[test]
fn a_notification_from_another_thread_wakes_the_wait() {
    let poller = Poller::new().unwrap();
    let remote = poller.clone();
    let thread = std::thread::spawn(move || {
        for _ in 0..100 {
            remote.notify().unwrap();
        }
    });
    assert_eq!(wait(&poller, None), []);
    thread.join().unwrap();
}

#[test]
fn events_beside_a_notification_are_reported_then_or_next() {
    let (sender, receiver) = pair(Family::V4);
    let poller = Poller::new().unwrap();
    let _registration = register(&poller, receiver, 3, Interest::READABLE);
    sender.send(b"x").unwrap();
    poller.notify().unwrap();
    let mut events = wait(&poller, None);
    if events.is_empty() {
        events = wait(&poller, LONG);
    }
    assert_eq!(events, [readable(3)]);
    assert_eq!(wait(&poller, NOW), [readable(3)]);
}

#[test]
fn timeouts_are_kept() {
    let poller = Poller::new().unwrap();
    for timeout in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_micros(300),
        Duration::from_millis(3),
    ] {
        let begin = Instant::now();
        assert_eq!(wait(&poller, Some(timeout)), []);
        assert!(begin.elapsed() >= timeout);
    }
    // A timeout beyond the clock has no limit.
    poller.notify().unwrap();
    assert_eq!(wait(&poller, Some(Duration::MAX)), []);
}

#[test]
fn a_poller_can_be_watched_by_another_one() {
    let (sender, receiver) = pair(Family::V4);
    let inner = Poller::new().unwrap();
    let _registration = register(&inner, receiver, 1, Interest::READABLE);
    let outer = Poller::new().unwrap();
    use std::os::fd::AsFd;
    let watched = inner.as_fd().try_clone_to_owned().unwrap();
    let _watched = register(&outer, watched, 2, Interest::READABLE);
    assert_eq!(wait(&outer, NOW), []);
    sender.send(b"x").unwrap();
    assert_eq!(wait(&outer, LONG), [readable(2)]);
    assert_eq!(wait(&inner, NOW), [readable(1)]);
}
