//! The life of a handle, from first use to close, with and without its loop.

use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use uv_core::{Check, Errno, Idle, Interest, Loop, Phase, Prepare, RunMode, Source, Timer};

use super::support::{Count, CountsDrop, Event, Log, Probe, inside};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn the_loop_keeps_an_active_handle_alive() {
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, fired.counts())
        .unwrap();
    drop(timer);
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(fired.get(), 1);
}

#[test]
fn only_references_keep_an_inactive_handle_alive() {
    let event_loop = Loop::new().unwrap();
    let drops = Count::default();
    let counts = CountsDrop(drops.clone());
    let timer = Timer::new(&event_loop);
    timer
        .start(HOUR, Duration::ZERO, move |_| assert_eq!(counts.0.get(), 0))
        .unwrap();
    timer.stop().unwrap();
    let other = timer.clone();
    drop(timer);
    assert_eq!(drops.get(), 0);
    drop(other);
    assert_eq!(drops.get(), 1);
    assert!(event_loop.handles().is_empty());
}

#[test]
fn a_timer_without_references_is_freed_once_it_fired() {
    let event_loop = Loop::new().unwrap();
    let drops = Count::default();
    let counts = CountsDrop(drops.clone());
    Timer::new(&event_loop)
        .start(Duration::ZERO, Duration::ZERO, move |_| {
            assert_eq!(counts.0.get(), 0)
        })
        .unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_dropped_handle_misses_its_deadline() {
    let event_loop = Loop::new().unwrap();
    let probe = Probe::new(&event_loop, |_, events| panic!("{events:?}"));
    probe.set_deadline(0);
    drop(probe);
    event_loop.run(RunMode::NoWait).unwrap();
}

#[test]
fn a_handle_closes_in_the_closing_phase_and_not_inside_the_call() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let log = ran.clone();
    inside(&event_loop, move |event_loop| {
        let timer = Timer::new(event_loop);
        let closed = log.clone();
        timer
            .close(move |timer| {
                assert!(timer.is_closing());
                closed.add("closed");
            })
            .unwrap();
        assert!(timer.is_closing());
        log.add("close returned");
    });
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(false));
    assert_eq!(ran, ["close returned", "closed"]);
}

#[test]
fn the_close_callback_runs_once_and_is_freed() {
    let event_loop = Loop::new().unwrap();
    let (closed, drops) = (Count::default(), Count::default());
    let counts = CountsDrop(drops.clone());
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::from_nanos(1), move |_| {
            panic!("{}", counts.0.get());
        })
        .unwrap();
    timer.close(closed.counts()).unwrap();
    for mode in [RunMode::Default, RunMode::NoWait, RunMode::Once] {
        assert_eq!(event_loop.run(mode), Ok(false));
        assert_eq!((closed.get(), drops.get()), (1, 1));
    }
}

#[test]
fn a_close_callback_may_close_other_handles() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let log = ran.clone();
    let (first, second) = (Timer::new(&event_loop), Timer::new(&event_loop));
    let chained = second.clone();
    first
        .close(move |_| {
            log.add("first");
            chained.close(move |_| log.add("second")).unwrap();
        })
        .unwrap();
    drop((first, second));
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(ran, ["first", "second"]);
}

#[test]
fn handles_close_in_the_order_of_their_close_calls() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let timers: Vec<_> = (0..4).map(|_| Timer::new(&event_loop)).collect();
    for index in [2, 0, 3, 1] {
        let log = ran.clone();
        timers[index].close(move |_| log.add(index)).unwrap();
    }
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(ran, [2, 0, 3, 1]);
}

#[test]
fn closing_twice_is_an_error_and_drops_the_second_callback() {
    let event_loop = Loop::new().unwrap();
    let (closed, drops) = (Count::default(), Count::default());
    let timer = Timer::new(&event_loop);
    timer.close(closed.counts()).unwrap();
    for expected in 1..=2 {
        let counts = CountsDrop(drops.clone());
        let result = timer.close(move |_| panic!("{}", counts.0.get()));
        assert_eq!(result, Err(Errno::EBADF));
        assert_eq!(drops.get(), expected);
        event_loop.run(RunMode::Default).unwrap();
        assert_eq!(closed.get(), 1);
    }
}

/// Every fallible call on the handle returns `EBADF`.
fn assert_unusable(timer: &Timer, hooks: (&Idle, &Prepare, &Check), probe: &Probe) {
    let (idle, prepare, check) = hooks;
    let results = [
        timer.start(Duration::ZERO, Duration::ZERO, |_| unreachable!()),
        timer.stop(),
        timer.again(),
        timer.close(|_| unreachable!()),
        idle.start(|_| unreachable!()),
        idle.stop(),
        idle.close(|_| unreachable!()),
        prepare.start(|_| unreachable!()),
        check.stop(),
        probe.check_open(),
        probe.close(),
        probe
            .register(UnixDatagram::unbound().unwrap().into())
            .map(drop)
            .map_err(|(errno, _)| errno),
    ];
    assert_eq!(results, [Err(Errno::EBADF); 12]);
    assert!(timer.id().is_err() && idle.id().is_err() && probe.id().is_err());
    assert!(timer.is_closing() && prepare.is_closing() && probe.is_closing());

    // Infallible calls have no effect.
    probe.set_deadline(0);
    probe.clear_deadline();
    probe.schedule(Phase::Completions);
    probe.set_hook(uv_core::HookPhase::Idle);
    probe.clear_hook();
    probe.set_active(true);
    probe.set_ref(false);
    probe.set_ref(true);
    timer.reference();
    assert!(!probe.is_active() && !timer.is_active() && !check.is_active());
    assert_eq!(probe.deadline(), None);
    assert_eq!(timer.due_in(), Duration::ZERO);
}

#[test]
fn a_closed_handle_cannot_be_used() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, HOUR, |_| ()).unwrap();
    let (idle, prepare, check) = (
        Idle::new(&event_loop),
        Prepare::new(&event_loop),
        Check::new(&event_loop),
    );
    check.start(|_| unreachable!()).unwrap();
    let probe = Probe::new(&event_loop, |_, events| {
        assert_eq!(events, Event::Phase(Phase::Closing))
    });
    probe.close().unwrap();
    timer.close(|_| ()).unwrap();
    idle.close(|_| ()).unwrap();
    prepare.close(|_| ()).unwrap();
    check.close(|_| ()).unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_unusable(&timer, (&idle, &prepare, &check), &probe);
    assert!(timer.event_loop().is_some());
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert!(event_loop.handles().is_empty());
}

#[test]
fn a_handle_cannot_be_used_after_its_loop_was_dropped() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, HOUR, |_| unreachable!()).unwrap();
    let (idle, prepare, check) = (
        Idle::new(&event_loop),
        Prepare::new(&event_loop),
        Check::new(&event_loop),
    );
    check.start(|_| unreachable!()).unwrap();
    let probe = Probe::new(&event_loop, |_, events| {
        assert_eq!(events, Event::Phase(Phase::LoopDropped))
    });
    probe.set_active(true);
    drop(event_loop);
    assert_unusable(&timer, (&idle, &prepare, &check), &probe);
    assert!(timer.event_loop().is_none() && probe.event_loop().is_none());
}

#[test]
fn a_dropped_loop_calls_nothing_and_frees_callbacks_that_hold_their_handle() {
    let event_loop = Loop::new().unwrap();
    let drops = Count::default();
    let counts = || CountsDrop(drops.clone());
    macro_rules! holds_itself {
        ($handle:expr) => {{
            let held = ($handle.clone(), counts());
            move |_: &_| unreachable!("{:?}, {}", held.0, held.1.0.get())
        }};
    }

    let active = Timer::new(&event_loop);
    active.start(HOUR, HOUR, holds_itself!(active)).unwrap();
    let stopped = Timer::new(&event_loop);
    stopped.start(HOUR, HOUR, holds_itself!(stopped)).unwrap();
    stopped.stop().unwrap();
    let closing = Timer::new(&event_loop);
    closing.start(HOUR, HOUR, holds_itself!(closing)).unwrap();
    closing.close(holds_itself!(closing)).unwrap();
    let never_started = Timer::new(&event_loop);
    never_started.close(holds_itself!(never_started)).unwrap();
    let hook = Prepare::new(&event_loop);
    hook.start(holds_itself!(hook)).unwrap();
    let closing_hook = Idle::new(&event_loop);
    closing_hook.close(holds_itself!(closing_hook)).unwrap();
    drop((active, stopped, closing, never_started, hook, closing_hook));
    assert_eq!(drops.get(), 0);
    drop(event_loop);
    assert_eq!(drops.get(), 7);
}

/// A probe whose callback holds the probe.
fn self_holding(event_loop: &Loop, drops: &Count) -> Rc<Probe> {
    let room = Rc::new(RefCell::new(None::<Rc<Probe>>));
    let (held, counts) = (Rc::clone(&room), CountsDrop(drops.clone()));
    let probe = Probe::new(event_loop, move |_, events| {
        assert_eq!(events, Event::Phase(Phase::LoopDropped));
        assert!(held.borrow().is_some() && counts.0.get() < usize::MAX);
    });
    *room.borrow_mut() = Some(Rc::clone(&probe));
    probe
}

#[test]
fn every_handle_with_a_slot_runs_the_loop_dropped_phase() {
    let (event_loop, drops) = (Loop::new().unwrap(), Count::default());
    let ask: [fn(&Probe); 6] = [
        |probe| probe.set_active(true),
        |probe| probe.set_deadline(u64::MAX),
        |probe| probe.set_hook(uv_core::HookPhase::Check),
        |probe| probe.close().unwrap(),
        |probe| assert!(probe.id().is_ok()),
        |probe| {
            let (socket, _) = UnixDatagram::pair().unwrap();
            probe.watch(socket, Interest::READABLE).unwrap();
        },
    ];
    for ask in ask {
        ask(&self_holding(&event_loop, &drops));
    }
    drop(event_loop);
    assert_eq!(drops.get(), 6);
}

#[test]
fn captures_may_use_their_handle_while_the_loop_is_dropped() {
    struct UsesOnDrop(Timer);
    impl Drop for UsesOnDrop {
        fn drop(&mut self) {
            assert_eq!(self.0.stop(), Err(Errno::EBADF));
            assert!(self.0.event_loop().is_none());
        }
    }
    let event_loop = Loop::new().unwrap();
    let (first, second) = (Timer::new(&event_loop), Timer::new(&event_loop));
    for (timer, other) in [(&first, &second), (&second, &first)] {
        let uses = UsesOnDrop(other.clone());
        timer
            .start(HOUR, HOUR, move |_| assert!(uses.0.is_active()))
            .unwrap();
    }
    drop(event_loop);
}

#[test]
fn a_callback_may_drop_the_last_references_to_handles() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let (mine, other) = (Rc::new(RefCell::new(None)), Timer::new(&event_loop));
    other.start(Duration::ZERO, Duration::ZERO, |_| ()).unwrap();
    let mut held = Some((Rc::clone(&mine), other));
    let log = ran.clone();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, move |_| {
            if let Some((mine, other)) = held.take() {
                drop(mine.take());
                other.stop().unwrap();
                drop(other);
            }
            log.add("called");
        })
        .unwrap();
    *mine.borrow_mut() = Some(timer);
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(ran, ["called"]);
    assert!(event_loop.handles().is_empty());
}

#[test]
fn a_handle_is_found_by_its_id_until_it_is_closed_or_dropped() {
    let event_loop = Loop::new().unwrap();
    let (first, second) = (Timer::new(&event_loop), Timer::new(&event_loop));
    let (closed, dropped) = (first.id().unwrap(), second.id().unwrap());
    assert_ne!(closed, dropped);
    assert_eq!(first.id(), Ok(closed));
    assert!(event_loop.handle(closed).is_some());
    assert_eq!(event_loop.handles().len(), 2);
    first.close(|_| ()).unwrap();
    event_loop.run(RunMode::Default).unwrap();
    drop(second);
    assert!(event_loop.handle(closed).is_none() && event_loop.handle(dropped).is_none());

    // Other handles take their slots, but not their ids.
    let others = [Timer::new(&event_loop), Timer::new(&event_loop)];
    for other in &others {
        let id = other.id().unwrap();
        assert!(id != closed && id != dropped);
    }
    assert!(event_loop.handle(closed).is_none() && event_loop.handle(dropped).is_none());
}

#[test]
fn another_loop_does_not_find_the_id() {
    let (event_loop, other) = (Loop::new().unwrap(), Loop::new().unwrap());
    let (ours, theirs) = (Timer::new(&event_loop), Timer::new(&other));
    let (id, _) = (ours.id().unwrap(), theirs.id().unwrap());
    assert!(other.handle(id).is_none());
}

#[test]
fn the_handle_found_by_an_id_is_the_same_handle() {
    let event_loop = Loop::new().unwrap();
    let probe = Probe::new(&event_loop, |_, _| ());
    let found = event_loop.source::<Probe>(probe.id().unwrap()).unwrap();
    assert!(Rc::ptr_eq(&found, &probe));
}

#[test]
fn a_handle_cannot_become_active_while_it_is_made() {
    struct Early(uv_core::Handle);
    impl Source for Early {
        fn handle(&self) -> &uv_core::Handle {
            &self.0
        }
        fn on_phase(self: Rc<Self>, _: Phase) {}
    }
    let event_loop = Loop::new().unwrap();
    let early = Rc::new_cyclic(|this: &std::rc::Weak<Early>| {
        let handle = uv_core::Handle::new(&event_loop, this.clone());
        // The loop could not keep it alive.
        handle.set_active(true);
        handle.schedule(Phase::Completions);
        Early(handle)
    });
    assert!(!early.0.is_active() && !event_loop.alive());
    drop(early);
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
}

#[test]
fn a_schedule_during_construction_can_be_repeated() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    struct Early(uv_core::Handle, Count);
    impl Source for Early {
        fn handle(&self) -> &uv_core::Handle {
            &self.0
        }
        fn on_phase(self: Rc<Self>, _: Phase) {
            self.1.up();
        }
    }
    let early = Rc::new_cyclic(|this: &std::rc::Weak<Early>| {
        let handle = uv_core::Handle::new(&event_loop, this.clone());
        handle.schedule(Phase::Flush);
        Early(handle, calls.clone())
    });
    early.0.schedule(Phase::Flush);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_clone_of_the_loop_is_the_same_loop() {
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, fired.counts())
        .unwrap();
    let other = event_loop.clone();
    drop(event_loop);
    assert_eq!(timer.event_loop().unwrap().run(RunMode::Default), Ok(false));
    assert_eq!(fired.get(), 1);
    drop(other);
    assert!(timer.event_loop().is_none());
}

#[test]
fn debug_output_names_the_state_of_a_handle() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, HOUR, |_| ()).unwrap();
    assert!(format!("{timer:?}").contains("ACTIVE"));
    assert!(format!("{event_loop:?}").contains("alive: true"));
}
