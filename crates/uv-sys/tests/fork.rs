//! A forked child uses a poller without an effect on its parent. Runs without the test harness,
//! because a child would lack its threads.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::Duration;

use uv_sys::fault::in_child;
use uv_sys::{Errno, Interest, PollEvents, Poller, Registration};

const LONG: Option<Duration> = Some(Duration::from_secs(30));

fn main() {
    let tests: [(&str, fn()); 5] = [
        (
            "dropping_everything_in_a_child_leaves_the_parents_watches",
            dropping_everything,
        ),
        (
            "watching_nothing_in_a_child_is_not_the_parents",
            watching_nothing,
        ),
        ("a_stale_poller_refuses_what_would_reach_the_parent", stale),
        ("a_renewed_poller_is_the_childs_own", renewed),
        ("a_grandchild_renews_anew", grandchild),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

struct Watched {
    poller: Poller,
    registration: Registration,
    sender: UdpSocket,
}

fn watched() -> Watched {
    let poller = Poller::new().unwrap();
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    let registration = poller.register(receiver.into(), 7, Interest::READABLE);
    let registration = registration.map_err(|(errno, _)| errno).unwrap();
    Watched {
        poller,
        registration,
        sender,
    }
}

fn keys(poller: &Poller, timeout: Option<Duration>) -> Vec<usize> {
    let mut events = PollEvents::with_capacity(8);
    poller.wait(&mut events, timeout).unwrap();
    events.iter().map(|event| event.key).collect()
}

/// The parent's poller reports its descriptor and its notifications.
fn assert_whole(watched: &Watched) {
    watched.poller.notify().unwrap();
    assert!(watched.poller.has_events().unwrap(), "a notification");
    assert_eq!(keys(&watched.poller, LONG), []);
    assert!(!watched.poller.has_events().unwrap());
    watched.sender.send(b"x").unwrap();
    assert_eq!(keys(&watched.poller, LONG), [7]);
    assert_eq!(watched.registration.interest(), Interest::READABLE);
}

fn dropping_everything() {
    let watched = watched();
    let mut room = Some(watched);
    assert_eq!(in_child(|| drop(room.take())), Ok(Some(0)));
    assert_whole(room.as_ref().unwrap());
}

fn watching_nothing() {
    let watched = watched();
    let child = || {
        assert_eq!(watched.registration.set_interest(Interest::NONE), Ok(()));
        assert_eq!(watched.registration.interest(), Interest::NONE);
        assert!(
            watched
                .registration
                .replace(UdpSocket::bind("127.0.0.1:0").unwrap().into())
                .is_ok()
        );
    };
    assert_eq!(in_child(child), Ok(Some(0)));
    assert_whole(&watched);
}

fn stale() {
    let watched = watched();
    assert!(!watched.poller.is_stale());
    let child = || {
        let Watched {
            poller,
            registration,
            ..
        } = &watched;
        assert!(poller.is_stale());
        let both = Interest::READABLE | Interest::WRITABLE;
        assert_eq!(registration.set_interest(both), Err(Errno::ESTALE));
        let mut events = PollEvents::with_capacity(8);
        assert_eq!(
            poller.wait(&mut events, Some(Duration::ZERO)),
            Err(Errno::ESTALE)
        );
        assert_eq!(
            (poller.notify(), poller.has_events()),
            (Err(Errno::ESTALE), Err(Errno::ESTALE))
        );
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (errno, _) = poller
            .register(other.into(), 1, Interest::READABLE)
            .unwrap_err();
        assert_eq!(errno, Errno::ESTALE);
    };
    assert_eq!(in_child(child), Ok(Some(0)));
    assert!(
        !watched.poller.has_events().unwrap(),
        "the child's notification"
    );
    assert_whole(&watched);
}

fn renewed() {
    let watched = watched();
    let child = || {
        let Watched {
            poller,
            registration,
            sender,
        } = &watched;
        let lent = poller.as_fd();
        poller.renew().unwrap();
        assert!(!poller.is_stale() && lent.try_clone_to_owned().is_ok());
        assert_eq!(registration.interest(), Interest::NONE);
        assert_eq!(keys(poller, Some(Duration::ZERO)), []);
        registration.set_interest(Interest::READABLE).unwrap();
        sender.send(b"for both").unwrap();
        assert_eq!(keys(poller, LONG), [7]);
        registration.set_interest(Interest::NONE).unwrap();
        poller.notify().unwrap();
        assert_eq!(keys(poller, LONG), []);
    };
    assert_eq!(in_child(child), Ok(Some(0)));
    assert_eq!(
        keys(&watched.poller, LONG),
        [7],
        "what the child did not read"
    );
    UdpSocket::from(watched.registration.as_fd().try_clone_to_owned().unwrap())
        .recv(&mut [0; 8])
        .unwrap();
    assert!(
        !watched.poller.has_events().unwrap(),
        "the child's notification"
    );
    assert_eq!(watched.poller.renew(), Ok(()), "it is the parent's own");
    assert_whole(&watched);
}

fn grandchild() {
    let watched = watched();
    let child = || {
        watched.poller.renew().unwrap();
        watched
            .registration
            .set_interest(Interest::READABLE)
            .unwrap();
        let grandchild = || {
            assert_eq!(watched.registration.set_interest(Interest::NONE), Ok(()));
            watched.poller.renew().unwrap();
            watched
                .registration
                .set_interest(Interest::READABLE)
                .unwrap();
            assert_whole(&watched);
            UdpSocket::from(watched.registration.as_fd().try_clone_to_owned().unwrap())
                .recv(&mut [0; 8])
                .unwrap();
        };
        assert_eq!(in_child(grandchild), Ok(Some(0)));
        assert_whole(&watched);
        UdpSocket::from(watched.registration.as_fd().try_clone_to_owned().unwrap())
            .recv(&mut [0; 8])
            .unwrap();
    };
    assert_eq!(in_child(child), Ok(Some(0)));
    assert_whole(&watched);
}
