//! Run modes, stop, liveness, and the order of an iteration.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use uv_core::{
    Check, HookPhase, Idle, Interest, Loop, MAX_UNPOLLED_ITERATIONS, Phase, Prepare, RunMode, Timer,
};

use super::support::{Count, Log, Probe, inside};

fn readable_pair() -> (UnixDatagram, UnixDatagram) {
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    theirs.send(b"ready").unwrap();
    (ours, theirs)
}

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn default_runs_until_no_handle_is_active() {
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    for milliseconds in 0..3 {
        let fired = fired.clone();
        let timeout = Duration::from_millis(milliseconds);
        Timer::new(&event_loop)
            .start(timeout, Duration::ZERO, fired.counts())
            .unwrap();
    }
    assert!(event_loop.alive());
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(fired.get(), 3);
    assert!(!event_loop.alive());
}

#[test]
fn no_mode_waits_when_nothing_keeps_the_loop_alive() {
    let event_loop = Loop::new().unwrap();
    for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
        assert_eq!(event_loop.run(mode), Ok(false));
    }
}

#[test]
fn once_runs_a_timer_that_becomes_due_just_before_the_loop_would_wait() {
    let event_loop = Loop::new().unwrap();
    let (fired, prepare) = (Count::default(), Prepare::new(&event_loop));
    let (counted, timer) = (fired.clone(), Timer::new(&event_loop));
    prepare
        .start(move |_| {
            timer
                .start(Duration::ZERO, Duration::ZERO, counted.counts())
                .unwrap();
        })
        .unwrap();
    event_loop.run(RunMode::Once).unwrap();
    assert_eq!(fired.get(), 1);
}

#[test]
fn once_does_not_wait_after_it_found_work() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, Duration::ZERO, |_| ()).unwrap();
    let ran = Log::new();
    let noted = ran.clone();
    Timer::new(&event_loop)
        .start(Duration::ZERO, Duration::ZERO, move |_| noted.add("timer"))
        .unwrap();
    assert_eq!(event_loop.run(RunMode::Once), Ok(true));
    assert_eq!(ran, ["timer"]);

    let noted = ran.clone();
    let probe = Probe::on(&event_loop, Phase::Completions, move |_| {
        noted.add("completion")
    });
    probe.schedule(Phase::Completions);
    assert_eq!(event_loop.run(RunMode::Once), Ok(true));
    assert_eq!(ran, ["timer", "completion"]);
}

#[test]
fn a_zero_timeout_waits_for_the_next_iteration_in_every_mode() {
    for mode in [RunMode::Once, RunMode::NoWait] {
        let event_loop = Loop::new().unwrap();
        let fired = Count::default();
        let counted = fired.clone();
        fn again(timer: &Timer, fired: Count) {
            let start = move |timer: &Timer| {
                fired.up();
                again(timer, fired.clone());
            };
            timer.start(Duration::ZERO, Duration::ZERO, start).unwrap();
        }
        let timer = Timer::new(&event_loop);
        again(&timer, counted);
        for iteration in 1..=3 {
            event_loop.run(mode).unwrap();
            assert_eq!(fired.get(), iteration, "{mode:?}");
        }
    }
}

#[test]
fn once_and_nowait_run_unreferenced_handles() {
    for mode in [RunMode::Once, RunMode::NoWait] {
        let event_loop = Loop::new().unwrap();
        let fired = Count::default();
        let timer = Timer::new(&event_loop);
        timer
            .start(Duration::ZERO, Duration::ZERO, fired.counts())
            .unwrap();
        timer.unreference();
        assert_eq!(event_loop.run(mode), Ok(false));
        assert_eq!(fired.get(), 1, "{mode:?}");
    }
}

#[test]
fn stop_ends_the_run_after_the_current_iteration() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let (first, noted) = (ran.clone(), ran.clone());
    let idle = Idle::new(&event_loop);
    idle.start(move |idle| {
        first.add("idle");
        idle.event_loop().unwrap().stop();
    })
    .unwrap();
    let check = Check::new(&event_loop);
    check.start(move |_| noted.add("check")).unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(true));
    assert_eq!(ran.take(), ["idle", "check"]);
    assert_eq!(event_loop.run(RunMode::Default), Ok(true));
    assert_eq!(ran, ["idle", "check"]);
}

#[test]
fn stop_before_a_run_ends_that_one_and_not_the_next() {
    let event_loop = Loop::new().unwrap();
    let ran = Count::default();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, ran.counts())
        .unwrap();
    for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
        event_loop.stop();
        assert_eq!(event_loop.run(mode), Ok(true));
        assert_eq!(ran.get(), 0);
    }
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(ran.get(), 1);
}

#[test]
fn stop_keeps_the_loop_from_waiting() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, Duration::ZERO, |_| ()).unwrap();
    let prepare = Prepare::new(&event_loop);
    prepare
        .start(|prepare| prepare.event_loop().unwrap().stop())
        .unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(true));
    assert_eq!(event_loop.run(RunMode::Once), Ok(true));
}

#[test]
fn an_unreferenced_handle_does_not_keep_the_loop_running() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, Duration::ZERO, |_| ()).unwrap();
    assert!(timer.has_ref());
    timer.unreference();
    timer.unreference();
    assert!(!timer.has_ref() && timer.is_active() && !event_loop.alive());
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));

    timer.reference();
    assert!(event_loop.alive());
    timer.stop().unwrap();
    assert!(!event_loop.alive());
}

#[test]
fn referencing_an_inactive_handle_does_not_keep_the_loop_running() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.unreference();
    timer.reference();
    assert!(!event_loop.alive());
    timer.unreference();
    timer.start(HOUR, Duration::ZERO, |_| ()).unwrap();
    assert!(!event_loop.alive());
    timer.close(|_| ()).unwrap();
    assert!(
        event_loop.alive(),
        "a closing handle keeps the loop alive, also unreferenced"
    );
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
}

#[test]
fn an_unreferenced_timer_fires_while_something_else_keeps_the_loop_running() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    inside(&event_loop, {
        let ran = ran.clone();
        move |event_loop| {
            for (name, milliseconds) in [("referenced", 2), ("unreferenced", 1)] {
                let (timer, ran) = (Timer::new(event_loop), ran.clone());
                timer
                    .start(
                        Duration::from_millis(milliseconds),
                        Duration::ZERO,
                        move |_| ran.add(name),
                    )
                    .unwrap();
                if name == "unreferenced" {
                    timer.unreference();
                }
            }
        }
    });
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
    assert_eq!(ran, ["unreferenced", "referenced"]);
}

#[test]
fn another_loop_may_run_inside_a_callback() {
    let event_loop = Loop::new().unwrap();
    let inner = Loop::new().unwrap();
    let fired = Count::default();
    let counts = fired.counts();
    inside(&event_loop, move |_| {
        Timer::new(&inner)
            .start(Duration::ZERO, Duration::ZERO, counts)
            .unwrap();
        assert_eq!(inner.run(RunMode::Default), Ok(false));
    });
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(fired.get(), 1);
}

type Words = Log<&'static str>;

#[test]
fn the_phases_of_an_iteration_run_in_the_documented_order() {
    let event_loop = Loop::new().unwrap();
    // The one log of this loop, so that a post from another thread can find it.
    let ran = event_loop.local(Words::new);
    macro_rules! note {
        ($word:expr) => {{
            let (ran, word) = (Words::clone(&ran), $word);
            move |_: &_| ran.add(word)
        }};
    }
    let mut probes = Vec::new();
    for (place, word) in [
        (HookPhase::Check, "check"),
        (HookPhase::Prepare, "prepare"),
        (HookPhase::Idle, "idle"),
    ] {
        probes.push(Probe::on(&event_loop, Phase::Hook, note!(word)).hook(place));
    }
    for (phase, word) in [
        (Phase::Dispatch, "dispatch"),
        (Phase::Flush, "flush"),
        (Phase::Completions, "completions"),
    ] {
        let probe = Probe::on(&event_loop, phase, note!(word));
        probe.schedule(phase);
        probes.push(probe);
    }
    let (ours, _theirs) = readable_pair();
    let ready = note!("dispatch");
    probes.push(Probe::watching(
        &event_loop,
        ours,
        Interest::READABLE,
        move |probe, _| ready(probe),
    ));
    Timer::new(&event_loop).close(note!("closing")).unwrap();
    event_loop
        .proxy()
        .post(|event_loop| event_loop.local(Words::new).add("post"))
        .unwrap();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, note!("timer"))
        .unwrap();

    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(
        *ran,
        [
            "timer",
            "completions",
            "post",
            "idle",
            "prepare",
            "flush",
            "dispatch",
            "dispatch",
            "check",
            "closing"
        ]
    );
}

#[test]
fn a_handle_that_reschedules_itself_runs_in_the_next_iteration() {
    for phase in [Phase::Completions, Phase::Flush, Phase::Dispatch] {
        let event_loop = Loop::new().unwrap();
        let calls = Count::default();
        let counted = calls.clone();
        let probe = Probe::on(&event_loop, phase, move |probe| {
            counted.up();
            probe.schedule(phase);
        });
        probe.set_active(true);
        probe.schedule(phase);
        probe.schedule(phase);
        for iteration in 1..=3 {
            event_loop.run(RunMode::NoWait).unwrap();
            assert_eq!(calls.get(), iteration, "{phase:?}");
        }
    }
}

#[test]
fn handles_run_in_the_order_of_scheduling() {
    let event_loop = Loop::new().unwrap();
    let ran = Log::new();
    let probes: Vec<_> = (0..5)
        .map(|index| {
            let ran = ran.clone();
            Probe::on(&event_loop, Phase::Flush, move |_| ran.add(index))
        })
        .collect();
    for index in [3, 1, 4, 0, 2, 3] {
        let probe: &Probe = &probes[index];
        probe.schedule(Phase::Flush);
    }
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(ran, [3, 1, 4, 0, 2]);
}

#[test]
fn scheduling_twice_runs_once_and_is_visible() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let probe = Probe::on(&event_loop, Phase::Flush, move |probe| {
        assert!(!probe.is_scheduled(Phase::Flush));
        counted.up();
    });
    for _ in 0..2 {
        probe.schedule(Phase::Flush);
        assert!(probe.is_scheduled(Phase::Flush) && !probe.is_scheduled(Phase::Dispatch));
    }
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn scheduling_does_not_keep_a_handle_alive() {
    let event_loop = Loop::new().unwrap();
    let probe = Probe::new(&event_loop, |_, events| panic!("{events:?}"));
    probe.schedule(Phase::Completions);
    assert!(!event_loop.alive());
    drop(probe);
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(false));
}

#[test]
fn after_poll_runs_after_the_next_poll_and_lets_the_loop_wait() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let probe = Probe::on(&event_loop, Phase::AfterPoll, calls.counts());
    probe.schedule(Phase::AfterPoll);
    assert_eq!(event_loop.poll_timeout(), Ok(None));
    event_loop.run(RunMode::NoWait).unwrap();
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn other_phases_cannot_be_scheduled() {
    let event_loop = Loop::new().unwrap();
    let probe = Probe::new(&event_loop, |_, events| panic!("{events:?}"));
    for phase in [
        Phase::Deadline,
        Phase::Hook,
        Phase::Closing,
        Phase::LoopDropped,
    ] {
        probe.schedule(phase);
    }
    event_loop.run(RunMode::NoWait).unwrap();
    drop(probe);
}

/// A handle with work in every iteration.
fn busy(event_loop: &Loop, mut turn: impl FnMut() + 'static) -> std::rc::Rc<Probe> {
    let probe = Probe::on(event_loop, Phase::Dispatch, move |probe| {
        probe.schedule(Phase::Dispatch);
        turn();
    });
    probe.set_active(true);
    probe.schedule(Phase::Dispatch);
    probe
}

#[test]
fn a_busy_handle_does_not_starve_polled_handles() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let _busy = busy(&event_loop, move || {
        counted.up();
    });
    let (ours, _theirs) = readable_pair();
    let _watching = Probe::watching(&event_loop, ours, Interest::READABLE, |probe, _| {
        probe.event_loop().unwrap().stop();
    });
    event_loop.run(RunMode::Default).unwrap();
    assert!(
        calls.get() <= MAX_UNPOLLED_ITERATIONS as usize + 1,
        "{calls:?}"
    );
}

#[test]
fn a_loop_that_flushes_polls_after_at_most_four_flushes() {
    let event_loop = Loop::new().unwrap();
    let flushes = Count::default();
    let counted = flushes.clone();
    let sender = Probe::on(&event_loop, Phase::Flush, move |probe| {
        probe.schedule(Phase::Flush);
        counted.up();
    });
    sender.set_active(true);
    sender.schedule(Phase::Flush);
    let (ours, _theirs) = readable_pair();
    let (seen, most) = (flushes.clone(), Log::new());
    let (log, mut before) = (most.clone(), 0);
    let _receiver = Probe::watching(&event_loop, ours, Interest::READABLE, move |probe, _| {
        log.add(seen.get() - before);
        before = seen.get();
        if log.len() == 20 {
            probe.event_loop().unwrap().stop();
        }
    });
    event_loop.run(RunMode::Default).unwrap();
    let most = most.take().into_iter().max();
    assert!(
        most <= Some(4),
        "{most:?} flushes between two calls of the receiver"
    );
}

#[test]
fn force_poll_polls_once_in_this_iteration() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let asks = Probe::on(&event_loop, Phase::Flush, move |probe| {
        probe.schedule(Phase::Flush);
        if counted.up() == 1 {
            probe.event_loop().unwrap().force_poll();
        }
    });
    asks.set_active(true);
    asks.schedule(Phase::Flush);
    let (ours, _theirs) = readable_pair();
    let (seen, events) = (calls.clone(), Log::new());
    let log = events.clone();
    let _watching = Probe::watching(&event_loop, ours, Interest::READABLE, move |probe, _| {
        log.add(seen.get());
        if log.len() == 2 {
            probe.event_loop().unwrap().stop();
        }
    });
    event_loop.run(RunMode::Default).unwrap();
    let events = events.take();
    assert_eq!(events[0], 1);
    assert!(events[1] > 2, "{events:?}");
}

#[test]
fn end_flush_lets_waiting_handles_flush_first_in_the_next_iteration() {
    let event_loop = Loop::new().unwrap();
    let calls = Log::new();
    let _probes: Vec<_> = (0..3)
        .map(|number| {
            let log = calls.clone();
            let probe = Probe::on(&event_loop, Phase::Flush, move |probe| {
                log.add((probe.event_loop().unwrap().iteration_count(), number));
                probe.schedule(Phase::Flush);
                if number != 1 {
                    probe.event_loop().unwrap().end_flush();
                }
            });
            probe.set_active(true);
            probe.schedule(Phase::Flush);
            probe
        })
        .collect();
    assert_eq!(event_loop.iteration_count(), 0);
    for _ in 0..4 {
        event_loop.run(RunMode::NoWait).unwrap();
    }
    // Probe 1 does not end the phase, so probe 2 runs in the same iteration.
    let expected = [(1, 0), (2, 1), (2, 2), (3, 0), (4, 1), (4, 2)];
    assert_eq!(calls, expected);
}

#[test]
fn a_busy_handle_does_not_delay_a_due_timer() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let _busy = busy(&event_loop, move || {
        counted.up();
    });
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, |timer| {
            timer.event_loop().unwrap().stop();
        })
        .unwrap();
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(calls.get(), 1);
}

#[test]
fn with_an_idle_hook_the_loop_polls_in_every_iteration() {
    let event_loop = Loop::new().unwrap();
    let iterations = Count::default();
    let idle = Idle::new(&event_loop);
    idle.start(iterations.counts()).unwrap();
    let (ours, _theirs) = readable_pair();
    let _watching = Probe::watching(&event_loop, ours, Interest::READABLE, |probe, _| {
        probe.event_loop().unwrap().stop();
    });
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(iterations.get(), 1, "with an idle hook no poll is skipped");
}

#[test]
fn the_clock_stands_still_inside_an_iteration_until_it_is_updated() {
    let event_loop = Loop::new().unwrap();
    let done = Count::default();
    let counted = done.clone();
    inside(&event_loop, move |event_loop| {
        let before = event_loop.now();
        pass(Duration::from_micros(100));
        assert_eq!(event_loop.now(), before);
        event_loop.update_time();
        assert!(event_loop.now() >= before + 100_000);
        counted.up();
    });
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(done.get(), 1);
}

#[test]
fn the_clock_advances_outside_of_run() {
    let event_loop = Loop::new().unwrap();
    for _ in 0..2 {
        let before = event_loop.now();
        pass(Duration::from_micros(100));
        assert!(event_loop.now() >= before + 100_000);
        event_loop.run(RunMode::NoWait).unwrap();
    }
}

#[test]
fn a_loop_has_one_local_value_per_type() {
    let (event_loop, other) = (Loop::new().unwrap(), Loop::new().unwrap());
    let one = event_loop.local(Count::default);
    assert_eq!(one.up(), 1);
    assert_eq!(event_loop.local(|| -> Count { unreachable!() }).get(), 1);
    assert_eq!(other.local(Count::default).get(), 0);
}

/// Lets time pass on the monotonic clock.
fn pass(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
