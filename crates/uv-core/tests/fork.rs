//! A forked child uses a loop without an effect on its parent. Runs without the test harness,
//! because a child would lack its threads.

use std::cell::{Cell, RefCell};
use std::os::unix::net::UnixDatagram;
use std::rc::{Rc, Weak};
use std::time::Duration;

use uv_core::{Errno, Handle, Interest, Loop, Phase, PollSource, RunMode, Source, Timer};
use uv_sys::fault::in_child;

fn main() {
    let tests: [(&str, fn()); 5] = [
        (
            "a_child_that_drops_the_loop_leaves_the_parent_whole",
            drops_the_loop,
        ),
        (
            "a_child_that_closes_and_stops_leaves_the_parent_whole",
            closes_and_stops,
        ),
        (
            "a_childs_loop_does_not_run_until_it_is_made_anew",
            does_not_run,
        ),
        ("a_loop_made_anew_hears_what_the_parents_hears", hears),
        (
            "a_child_made_in_a_callback_can_make_its_loop_anew",
            in_a_callback,
        ),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

/// Reads datagrams, and counts them.
struct Ear {
    handle: Handle,
    poll: RefCell<Option<PollSource>>,
    ours: UnixDatagram,
    heard: Cell<usize>,
}

impl Source for Ear {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, _: Interest) {
        self.ours.recv(&mut [0; 8]).unwrap();
        self.heard.set(self.heard.get() + 1);
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        if matches!(phase, Phase::Closing | Phase::LoopDropped) {
            drop(self.poll.take());
        }
    }
}

struct Scene {
    event_loop: Loop,
    ear: Rc<Ear>,
    theirs: UnixDatagram,
}

impl Scene {
    fn new() -> Self {
        let event_loop = Loop::new().unwrap();
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let watched = ours.try_clone().unwrap();
        let ear = Rc::new_cyclic(|this: &Weak<Ear>| Ear {
            handle: Handle::new(&event_loop, this.clone()),
            poll: RefCell::new(None),
            ours,
            heard: Cell::new(0),
        });
        let poll = ear.handle.register(watched.into()).unwrap();
        poll.set_interest(Interest::READABLE).unwrap();
        *ear.poll.borrow_mut() = Some(poll);
        ear.handle.set_active(true);
        event_loop.run(RunMode::NoWait).unwrap();
        Self {
            event_loop,
            ear,
            theirs,
        }
    }

    /// The loop reports its descriptor, and runs its timers and posts.
    fn assert_whole(&self) {
        let before = self.ear.heard.get();
        self.theirs.send(b"datagram").unwrap();
        while self.ear.heard.get() == before {
            self.event_loop.run(RunMode::Once).unwrap();
        }
        let proxy = self.event_loop.proxy();
        assert!(self.event_loop.poll_timeout().unwrap().is_none());
        proxy.post(Loop::stop).unwrap();
        assert!(
            self.event_loop.has_events().unwrap(),
            "the wake-up of a post"
        );
        assert_eq!(self.event_loop.run(RunMode::Default), Ok(true));
        let timer = Timer::new(&self.event_loop);
        let stop = |timer: &Timer| timer.event_loop().unwrap().stop();
        timer.start(Duration::ZERO, Duration::ZERO, stop).unwrap();
        assert_eq!(self.event_loop.run(RunMode::Default), Ok(true));
    }
}

fn drops_the_loop() {
    let mut scene = Some(Scene::new());
    assert_eq!(in_child(|| drop(scene.take())), Ok(Some(0)));
    scene.unwrap().assert_whole();
}

fn closes_and_stops() {
    let scene = Scene::new();
    let stops = || {
        let poll = scene.ear.poll.borrow();
        assert_eq!(poll.as_ref().unwrap().set_interest(Interest::NONE), Ok(()));
        let _ = scene.event_loop.poll_timeout();
    };
    assert_eq!(in_child(stops), Ok(Some(0)));
    let closes = || {
        for handle in scene.event_loop.handles() {
            handle.close().unwrap();
        }
    };
    assert_eq!(in_child(closes), Ok(Some(0)));
    let drops = || drop(scene.ear.poll.take());
    assert_eq!(in_child(drops), Ok(Some(0)));
    scene.assert_whole();
}

fn does_not_run() {
    let scene = Scene::new();
    // Other threads see the loop asleep.
    scene.event_loop.poll_timeout().unwrap();
    let child = || {
        let Scene {
            event_loop, ear, ..
        } = &scene;
        event_loop.proxy().post(|_| unreachable!()).unwrap();
        for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
            assert_eq!(event_loop.run(mode), Err(Errno::ESTALE));
        }
        assert_eq!(event_loop.poll_timeout(), Err(Errno::ESTALE));
        assert_eq!(event_loop.has_events(), Err(Errno::ESTALE));
        let other = ear.handle.register(UnixDatagram::unbound().unwrap().into());
        assert_eq!(
            other.unwrap().set_interest(Interest::READABLE),
            Err(Errno::ESTALE)
        );
    };
    assert_eq!(in_child(child), Ok(Some(0)));
    assert!(
        !scene.event_loop.has_events().unwrap(),
        "the child woke its parent"
    );
    assert_eq!(
        scene.event_loop.reinit_after_fork(),
        Ok(()),
        "it is its own"
    );
    scene.assert_whole();
}

fn hears() {
    let scene = Scene::new();
    let child = || {
        let both = Interest::READABLE | Interest::WRITABLE;
        // The poller does not have this change yet: the new one gets it.
        for interest in [Interest::NONE, both, Interest::READABLE] {
            let poll = scene.ear.poll.borrow();
            poll.as_ref().unwrap().request_interest(interest).unwrap();
        }
        scene.event_loop.reinit_after_fork().unwrap();
        scene.assert_whole();
        scene.ear.handle.close().unwrap();
        assert_eq!(scene.event_loop.run(RunMode::Default), Ok(false));
    };
    assert_eq!(in_child(child), Ok(Some(0)));
    scene.assert_whole();
    // A grandchild.
    let child = || {
        scene.event_loop.reinit_after_fork().unwrap();
        assert_eq!(
            in_child(|| scene
                .event_loop
                .reinit_after_fork()
                .map(|()| scene.assert_whole())
                .unwrap()),
            Ok(Some(0))
        );
        scene.assert_whole();
    };
    assert_eq!(in_child(child), Ok(Some(0)));
    scene.assert_whole();
}

fn in_a_callback() {
    let scene = Scene::new();
    let timer = Timer::new(&scene.event_loop);
    let callback = |timer: &Timer| {
        let event_loop = timer.event_loop().unwrap();
        let made_anew = || {
            event_loop.reinit_after_fork().unwrap();
            event_loop.stop();
        };
        assert_eq!(in_child(made_anew), Ok(Some(0)));
        event_loop.stop();
    };
    timer
        .start(Duration::ZERO, Duration::ZERO, callback)
        .unwrap();
    assert_eq!(scene.event_loop.run(RunMode::Default), Ok(true));
    scene.assert_whole();
}
