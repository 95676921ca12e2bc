//! A panic in a callback reaches the caller of `run`. The loop stays usable, and no other call is
//! lost.

use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use uv_core::{Check, Idle, Interest, Loop, Phase, Prepare, RunMode, Timer};

use super::support::{Count, Event, Log, Probe, run_to_panic};

const OOPS: &str = "oops";

/// Three probes in one phase, of which the middle one panics the first time.
fn three(event_loop: &Loop, ran: &Log<usize>, phase: Phase) -> Vec<Rc<Probe>> {
    (0..3)
        .map(|name| {
            let log = ran.clone();
            let mut first = true;
            Probe::on(event_loop, phase, move |_| {
                log.add(name);
                if name == 1 && std::mem::take(&mut first) {
                    panic!("oops");
                }
            })
        })
        .collect()
}

#[test]
fn a_panic_in_a_phase_does_not_affect_other_handles() {
    for phase in [
        Phase::Completions,
        Phase::Flush,
        Phase::Dispatch,
        Phase::Deadline,
    ] {
        let (event_loop, ran) = (Loop::new().unwrap(), Log::new());
        let probes = three(&event_loop, &ran, phase);
        for probe in &probes {
            probe.set_active(true);
            match phase {
                Phase::Deadline => probe.set_deadline(0),
                phase => probe.schedule(phase),
            }
        }
        assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
        assert_eq!(ran, [0, 1], "{phase:?}");
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(ran, [0, 1, 2], "{phase:?}");
        // The probe that panicked can be scheduled again.
        probes[1].schedule(Phase::Flush);
        probes[1].set_deadline(0);
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(
            ran.len(),
            3 + usize::from(matches!(phase, Phase::Flush | Phase::Deadline))
        );
    }
}

#[test]
fn a_panic_in_a_timer_affects_neither_other_timers_nor_its_repetition() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    for name in 0..3 {
        let log = ran.clone();
        let repeat = Duration::from_nanos(u64::from(name == 1));
        Timer::new(&event_loop)
            .start(Duration::from_nanos(1), repeat, move |timer| {
                log.add(name);
                if name == 1 {
                    if log.len() > 3 {
                        timer.close(|_| ()).unwrap();
                    } else {
                        panic!("oops");
                    }
                }
            })
            .unwrap();
    }
    assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(ran, [0, 1, 2, 1]);
}

#[test]
fn a_panic_in_a_hook_skips_later_hooks_in_that_iteration_only() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let hooks: Vec<_> = (0..3)
        .map(|name| {
            let log = ran.clone();
            let hook = Prepare::new(&event_loop);
            let mut first = true;
            hook.start(move |_| {
                log.add(name);
                if name == 1 && std::mem::take(&mut first) {
                    panic!("oops");
                }
            })
            .unwrap();
            hook
        })
        .collect();
    assert_eq!(run_to_panic(&event_loop, RunMode::Once), OOPS);
    hooks[0].stop().unwrap();
    ran.take();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(ran, [1, 2], "the hook that panicked is still started");
}

#[test]
fn a_panic_in_every_kind_of_hook_reaches_the_caller_of_run() {
    let event_loop = Loop::new().unwrap();
    let (idle, prepare, check) = (
        Idle::new(&event_loop),
        Prepare::new(&event_loop),
        Check::new(&event_loop),
    );
    macro_rules! panic_once {
        ($hook:ident) => {
            $hook
                .start(|hook| {
                    hook.stop().unwrap();
                    panic!("{}", stringify!($hook));
                })
                .unwrap()
        };
    }
    panic_once!(idle);
    panic_once!(prepare);
    panic_once!(check);
    for _ in 0..3 {
        let panic = catch_unwind(AssertUnwindSafe(|| event_loop.run(RunMode::NoWait))).unwrap_err();
        drop(panic);
    }
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
}

#[test]
fn a_panic_in_a_post_does_not_affect_other_posts() {
    let event_loop = Loop::new().unwrap();
    for name in 0..4 {
        event_loop
            .proxy()
            .post(move |event_loop| {
                event_loop.local(Log::new).add(name);
                if name == 1 {
                    event_loop
                        .proxy()
                        .post(|event_loop| event_loop.local(Log::new).add(4))
                        .unwrap();
                    panic!("oops");
                }
            })
            .unwrap();
    }
    assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
    assert!(event_loop.alive());
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(*event_loop.local(Log::<i32>::new), [0, 1, 2, 3, 4]);
}

#[test]
fn a_panic_in_on_ready_does_not_affect_other_reports() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let mut pairs = Vec::new();
    for name in 0..3 {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.send(b"x").unwrap();
        let (log, socket) = (ran.clone(), ours.try_clone().unwrap());
        let probe = Probe::watching(&event_loop, ours, Interest::READABLE, move |_, _| {
            socket.recv(&mut [0]).unwrap();
            log.add(name);
            if log.len() == 2 {
                panic!("oops");
            }
        });
        pairs.push((probe, theirs));
    }
    assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
    assert_eq!(ran.len(), 2);
    event_loop.run(RunMode::NoWait).unwrap();
    let mut ran = ran.take();
    ran.sort_unstable();
    assert_eq!(ran, [0, 1, 2]);
}

#[test]
fn a_panic_in_a_close_callback_closes_the_handle_and_does_not_affect_others() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let timers: Vec<_> = (0..3).map(|_| Timer::new(&event_loop)).collect();
    for (name, timer) in timers.iter().enumerate() {
        let log = ran.clone();
        timer
            .close(move |_| {
                log.add(name);
                if name == 1 {
                    panic!("oops");
                }
            })
            .unwrap();
    }
    assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
    assert!(event_loop.alive());
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(ran, [0, 1, 2]);
}

#[test]
fn a_closing_phase_that_panicked_is_repeated() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let probe = Probe::new(&event_loop, move |_, events| {
        assert_eq!(events, Event::Phase(Phase::Closing));
        if counted.up() < 3 {
            panic!("oops");
        }
    });
    probe.close().unwrap();
    for _ in 0..2 {
        assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
    }
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(calls.get(), 3);
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(false));
    assert_eq!(calls.get(), 3);
}

#[test]
fn a_loop_can_close_its_handles_while_the_thread_unwinds() {
    struct ClosesOnDrop(Loop, Timer, Count);
    impl Drop for ClosesOnDrop {
        fn drop(&mut self) {
            let closed = self.2.clone();
            self.1.close(closed.counts()).unwrap();
            // The thread unwinds, but this run does not panic.
            for _ in 0..3 {
                self.0.run(RunMode::NoWait).unwrap();
            }
            assert!(!self.0.alive());
        }
    }
    let closed = Count::default();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let event_loop = Loop::new().unwrap();
        let timer = Timer::new(&event_loop);
        let _closes = ClosesOnDrop(event_loop, timer, closed.clone());
        panic!("oops");
    }));
    assert!(unwound.is_err());
    assert_eq!(closed.get(), 1);
}

#[test]
fn a_stop_applies_to_the_run_that_a_panic_ended() {
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    let counted = fired.clone();
    Timer::new(&event_loop)
        .start(Duration::ZERO, Duration::from_nanos(1), move |timer| {
            timer.event_loop().unwrap().stop();
            if counted.up() == 1 {
                panic!("oops");
            }
        })
        .unwrap();
    assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
    assert_eq!(event_loop.run(RunMode::Default), Ok(true));
    assert_eq!(fired.get(), 2);
}

#[test]
fn a_loop_can_run_again_after_a_panic() {
    let event_loop = Loop::new().unwrap();
    event_loop.proxy().post(|_| panic!("oops")).unwrap();
    assert_eq!(run_to_panic(&event_loop, RunMode::Default), OOPS);
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
}
