//! Idle, prepare and check hooks.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use uv_core::{Check, HookPhase, Idle, Loop, Phase, Prepare, RunMode, Timer};

use super::support::{Count, Log, Probe};

#[test]
fn hooks_run_once_per_iteration_until_they_are_stopped() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let (idle, prepare, check) = (
        Idle::new(&event_loop),
        Prepare::new(&event_loop),
        Check::new(&event_loop),
    );
    let log = ran.clone();
    check.start(move |_| log.add("check")).unwrap();
    let log = ran.clone();
    prepare.start(move |_| log.add("prepare")).unwrap();
    let log = ran.clone();
    idle.start(move |_| log.add("idle")).unwrap();
    assert!(idle.is_active() && prepare.is_active() && check.is_active());
    for _ in 0..2 {
        event_loop.run(RunMode::Once).unwrap();
        assert_eq!(ran.take(), ["idle", "prepare", "check"]);
    }
    idle.stop().unwrap();
    prepare.stop().unwrap();
    prepare.stop().unwrap();
    assert!(!prepare.is_active());
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(ran, ["check"]);
}

#[test]
fn starting_a_started_hook_keeps_its_callback() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let hook = Check::new(&event_loop);
    for name in ["first", "second"] {
        let log = ran.clone();
        hook.start(move |_| log.add(name)).unwrap();
    }
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(ran.take(), ["first"]);
    hook.stop().unwrap();
    let log = ran.clone();
    hook.start(move |_| log.add("third")).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(ran, ["third"]);
}

#[test]
fn only_an_idle_hook_keeps_the_loop_from_waiting() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::from_secs(3600), Duration::ZERO, |_| ())
        .unwrap();
    let prepare = Prepare::new(&event_loop);
    prepare.start(|_| ()).unwrap();
    assert_ne!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
    let idle = Idle::new(&event_loop);
    idle.start(|_| ()).unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
    event_loop.run(RunMode::Once).unwrap();
    idle.stop().unwrap();
    assert_ne!(event_loop.poll_timeout(), Ok(Some(Duration::ZERO)));
}

#[test]
fn a_hook_may_stop_itself() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let hook = Prepare::new(&event_loop);
    hook.start(move |hook| {
        counted.up();
        hook.stop().unwrap();
    })
    .unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_hook_started_by_a_hook_first_runs_in_the_next_iteration() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let (first, second) = (Check::new(&event_loop), Check::new(&event_loop));
    let started = second.clone();
    first
        .start(move |_| {
            started.start(counted.counts()).unwrap();
        })
        .unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(calls.get(), 0);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(calls.get(), 1);
}

/// Three hooks, of which `index` acts on `other` in the first iteration. Returns those that ran.
fn three(index: usize, other: usize, act: fn(&Prepare)) -> [Vec<usize>; 2] {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let hooks: Vec<_> = (0..3).map(|_| Prepare::new(&event_loop)).collect();
    for (name, hook) in hooks.iter().enumerate() {
        let (log, target) = (ran.clone(), hooks[other].clone());
        let mut act = (name == index).then_some(act);
        hook.start(move |_| {
            log.add(name);
            if let Some(act) = act.take() {
                act(&target);
            }
        })
        .unwrap();
    }
    [(); 2].map(|()| {
        event_loop.run(RunMode::NoWait).unwrap();
        ran.take()
    })
}

#[test]
fn a_hook_may_stop_or_close_later_ones_without_affecting_others() {
    let close = |hook: &Prepare| hook.close(|_| ()).unwrap();
    for act in [|hook: &Prepare| hook.stop().unwrap(), close] {
        assert_eq!(three(0, 0, act), [vec![0, 1, 2], vec![1, 2]]);
        assert_eq!(three(0, 1, act), [vec![0, 2], vec![0, 2]]);
        assert_eq!(three(0, 2, act), [vec![0, 1], vec![0, 1]]);
        assert_eq!(three(1, 0, act), [vec![0, 1, 2], vec![1, 2]]);
        assert_eq!(three(2, 0, act), [vec![0, 1, 2], vec![1, 2]]);
        assert_eq!(three(2, 2, act), [vec![0, 1, 2], vec![0, 1]]);
    }
}

#[test]
fn a_hook_restarted_by_another_runs_at_most_once_per_iteration() {
    let again = |hook: &Prepare| {
        hook.stop().unwrap();
        hook.start(|_| ()).unwrap();
    };
    assert_eq!(three(0, 2, again), [vec![0, 1], vec![0, 1]]);
    assert_eq!(three(2, 0, again), [vec![0, 1, 2], vec![1, 2]]);
}

#[test]
fn a_closed_hook_is_not_called_again_in_the_iteration_of_its_close() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let log = ran.clone();
    let check = Check::new(&event_loop);
    check.start(move |_| log.add("check")).unwrap();
    let log = ran.clone();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, move |_| {
            let log = log.clone();
            check.close(move |_| log.add("closed")).unwrap();
        })
        .unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(ran, ["closed"]);
}

#[test]
fn a_closed_idle_hook_no_longer_keeps_the_loop_from_waiting() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let idle = Idle::new(&event_loop);
    idle.start(calls.counts()).unwrap();
    idle.close(|_| ()).unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(calls.get(), 0);
    assert_eq!(event_loop.poll_timeout(), Ok(None));
}

#[test]
fn setting_a_hook_twice_runs_it_once_per_iteration() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let probe = Probe::on(&event_loop, Phase::Hook, calls.counts()).hook(HookPhase::Check);
    probe.set_hook(HookPhase::Check);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(calls.get(), 1);
    probe.clear_hook();
    probe.clear_hook();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn the_last_hook_place_replaces_the_one_before() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let log = ran.clone();
    let flush = Probe::on(&event_loop, Phase::Flush, move |flush| {
        log.add("flush");
        flush.schedule(Phase::Flush);
    });
    flush.schedule(Phase::Flush);
    let log = ran.clone();
    let probe =
        Probe::on(&event_loop, Phase::Hook, move |_| log.add("hook")).hook(HookPhase::Prepare);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(ran.take(), ["hook", "flush"]);
    probe.set_hook(HookPhase::Check);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(ran, ["flush", "hook"]);
}

#[test]
fn closing_a_handle_removes_its_hook() {
    let event_loop = Loop::new().unwrap();
    let calls = Log::new();
    let log = calls.clone();
    let probe = Probe::new(&event_loop, move |_, events| log.add(events)).hook(HookPhase::Idle);
    probe.close().unwrap();
    for _ in 0..3 {
        event_loop.run(RunMode::NoWait).unwrap();
    }
    assert_eq!(calls, [super::support::Event::Phase(Phase::Closing)]);
    assert_eq!(Rc::strong_count(&probe), 1, "the loop has released it");
}

#[test]
fn the_loop_keeps_a_started_hook_alive() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let hook = Prepare::new(&event_loop);
    hook.start(move |hook| {
        if counted.up() == 3 {
            hook.stop().unwrap();
        }
    })
    .unwrap();
    drop(hook);
    let idle = Idle::new(&event_loop);
    idle.start(|_| ()).unwrap();
    idle.unreference();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(calls.get(), 3);
}

#[test]
fn an_iteration_with_hooks_timers_and_phases_allocates_nothing() {
    let event_loop = Loop::new().unwrap();
    let mut hooks = Vec::new();
    for place in [HookPhase::Idle, HookPhase::Prepare, HookPhase::Check] {
        for _ in 0..3 {
            hooks.push(Probe::on(&event_loop, Phase::Hook, |_| ()).hook(place));
        }
    }
    // Set and cleared in each iteration.
    let comes = Rc::new(RefCell::new(None::<Rc<Probe>>));
    let goes = Rc::clone(&comes);
    hooks.push(
        Probe::on(&event_loop, Phase::Hook, move |_| {
            if let Some(probe) = &*goes.borrow() {
                probe.clear_hook();
                probe.set_hook(HookPhase::Check);
            }
        })
        .hook(HookPhase::Check),
    );
    *comes.borrow_mut() = Some(Probe::on(&event_loop, Phase::Hook, |_| ()).hook(HookPhase::Check));
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::from_nanos(1), |_| ())
        .unwrap();
    for phase in [Phase::Completions, Phase::Flush, Phase::Dispatch] {
        let probe = Probe::on(&event_loop, phase, move |probe| probe.schedule(phase));
        probe.schedule(phase);
        hooks.push(probe);
    }
    let iterate = || {
        for _ in 0..100 {
            event_loop.run(RunMode::NoWait).unwrap();
        }
    };
    iterate();
    let allocated = allocation_counter::measure(iterate);
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
