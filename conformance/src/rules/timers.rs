//! Timers.

use std::time::{Duration, Instant};

use uv_core::{Errno, Timer};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Log};

pub(super) const RULES: &[Rule] = &[
    Rule::once(
        "timers/fire-in-due-order-and-ties-in-start-order",
        "Timers fire in the order of their due times, and with equal ones in the order of their starts.",
        due_order,
    ),
    Rule::once(
        "timers/never-fire-early",
        "A timer fires once, and never before its time by the loop's clock.",
        never_early,
    ),
    Rule::once(
        "timers/count-from-the-call",
        "A timer that a callback starts after long work fires its timeout after that call.",
        from_the_call,
    ),
    Rule::once(
        "timers/repeat-until-stopped",
        "A repeating timer fires until it is stopped, and again restarts it.",
        repeat,
    ),
];

fn due_order(stage: &Stage) -> Verdict {
    let fired = Log::default();
    let timeouts = [3, 1, 2, 1, 3, 0, 2, 0];
    let timers: Vec<_> = timeouts
        .iter()
        .map(|_| Timer::new(&stage.event_loop))
        .collect();
    // The earliest and the latest due time of each timer, from clock readings around its start.
    let mut due = Vec::new();
    for ((number, timer), &timeout) in timers.iter().enumerate().zip(&timeouts) {
        let (log, timeout) = (fired.clone(), Duration::from_millis(timeout));
        let earliest = Instant::now() + timeout;
        timer.start(timeout, Duration::ZERO, move |_| log.push(number))?;
        due.push((earliest, Instant::now() + timeout));
    }
    stage.to_the_end()?;
    let fired = fired.all();
    ensure_eq!(fired.len(), timeouts.len(), "timers that fired");
    for (place, &after) in fired.iter().enumerate() {
        for &before in &fired[..place] {
            let late = due[after].1 < due[before].0;
            let overtaken = timeouts[after] == timeouts[before] && after < before;
            ensure!(!late && !overtaken, "the order is {fired:?}");
        }
    }
    Ok(())
}

fn from_the_call(stage: &Stage) -> Verdict {
    const WORK: Duration = Duration::from_millis(20);
    let (timer, early) = (Timer::new(&stage.event_loop), Log::default());
    let log = early.clone();
    timer.start(Duration::ZERO, Duration::ZERO, move |timer| {
        let begin = Instant::now();
        while begin.elapsed() < WORK {
            std::hint::spin_loop();
        }
        let (log, due) = (log.clone(), Instant::now() + WORK / 2);
        let check = move |_: &Timer| log.push(Instant::now() < due);
        let _ = timer.start(WORK / 2, Duration::ZERO, check);
    })?;
    stage.to_the_end()?;
    ensure_eq!(early.all(), [false], "whether the timer was early");
    Ok(())
}

fn never_early(stage: &Stage) -> Verdict {
    let early = Log::default();
    let timers: Vec<_> = (0..50).map(|_| Timer::new(&stage.event_loop)).collect();
    for (number, timer) in timers.iter().enumerate() {
        let timeout = Duration::from_micros(100 * (number as u64 * 7 % 50));
        let (log, event_loop, began) = (
            early.clone(),
            stage.event_loop.clone(),
            stage.event_loop.now(),
        );
        timer.start(timeout, Duration::ZERO, move |_| {
            let passed = u128::from(event_loop.now().saturating_sub(began));
            log.push(passed < timeout.as_nanos());
        })?;
    }
    stage.to_the_end()?;
    ensure_eq!(early.all(), [false; 50], "timers that were early");
    Ok(())
}

fn repeat(stage: &Stage) -> Verdict {
    let (timer, fired) = (Timer::new(&stage.event_loop), Counter::default());
    ensure_eq!(
        timer.again(),
        Err(Errno::EINVAL),
        "again on a timer that was never started"
    );
    let count = fired.clone();
    let each = Duration::from_millis(1);
    timer.start(Duration::ZERO, each, move |timer| {
        count.up();
        if count.get() % 3 == 0 {
            let _ = timer.stop();
        }
    })?;
    stage.to_the_end()?;
    ensure_eq!(fired.get(), 3, "times fired until stopped");
    timer.again()?;
    ensure!(
        timer.is_active() && timer.due_in() <= each,
        "the timer after again"
    );
    stage.to_the_end()?;
    ensure_eq!(fired.get(), 6, "times fired in all");
    Ok(())
}
