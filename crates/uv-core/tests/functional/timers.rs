//! Timers, and the deadlines below them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use uv_core::{Errno, Loop, Phase, RunMode, Timer};

use super::support::{Count, CountsDrop, Log, Probe, inside};

const HOUR: Duration = Duration::from_secs(3600);

fn nanos(nanoseconds: u64) -> Duration {
    Duration::from_nanos(nanoseconds)
}

/// Sets deadlines or starts timers inside an iteration, where the loop's clock stands still, and
/// returns the order in which they ran.
fn order_of(start: impl FnOnce(&Loop, &Log<&'static str>) + 'static) -> Vec<&'static str> {
    let event_loop = Loop::new().unwrap();
    let fired = Log::new();
    let log = fired.clone();
    inside(&event_loop, move |event_loop| start(event_loop, &log));
    event_loop.run(RunMode::Default).unwrap();
    fired.take()
}

/// A deadline this many nanoseconds after the loop's clock.
fn deadline(
    event_loop: &Loop,
    log: &Log<&'static str>,
    name: &'static str,
    nanoseconds: u64,
) -> Rc<Probe> {
    let log = log.clone();
    let probe = Probe::on(event_loop, Phase::Deadline, move |probe| {
        log.add(name);
        probe.set_active(false);
    });
    probe.set_active(true);
    probe.set_deadline(event_loop.now() + nanoseconds);
    probe
}

/// Starts a timer that is due at once: later than those that were started before, and earlier than
/// those after.
fn due_at_once(timer: &Timer, log: &Log<&'static str>, name: &'static str) {
    let log = log.clone();
    timer
        .start(Duration::ZERO, Duration::ZERO, move |_| log.add(name))
        .unwrap();
}

#[test]
fn a_timer_fires_once_and_becomes_inactive() {
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    let counted = fired.clone();
    let timer = Timer::new(&event_loop);
    assert!(!timer.is_active());
    timer
        .start(nanos(1), Duration::ZERO, move |timer| {
            counted.up();
            assert!(!timer.is_active());
        })
        .unwrap();
    assert!(timer.is_active());
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(fired.get(), 1);
    assert_eq!(timer.due_in(), Duration::ZERO);
}

#[test]
fn deadlines_run_in_due_order_to_the_nanosecond() {
    let fired = order_of(|event_loop, log| {
        for (name, nanoseconds) in [("c", 1_001), ("a", 999), ("d", 2_000_000), ("b", 1_000)] {
            deadline(event_loop, log, name, nanoseconds);
        }
    });
    assert_eq!(fired, ["a", "b", "c", "d"]);
}

#[test]
fn deadlines_due_at_the_same_time_run_in_the_order_of_setting() {
    let fired = order_of(|event_loop, log| {
        let first = deadline(event_loop, log, "first, set again", 1_000);
        deadline(event_loop, log, "second", 1_000);
        deadline(event_loop, log, "third", 1_000);
        first.set_deadline(event_loop.now() + 1_000);
    });
    assert_eq!(fired, ["second", "third", "first, set again"]);
}

#[test]
fn timers_due_at_the_same_time_fire_in_start_order() {
    let fired = order_of(|event_loop, log| {
        let timers = [(); 3].map(|()| Timer::new(event_loop));
        for (timer, name) in timers.iter().zip(["", "second", "third"]) {
            due_at_once(timer, log, name);
        }
        due_at_once(&timers[0], log, "first, started again");
    });
    assert_eq!(fired, ["second", "third", "first, started again"]);
}

#[test]
fn setting_a_deadline_replaces_an_earlier_or_later_one() {
    let fired = order_of(|event_loop, log| {
        let later = deadline(event_loop, log, "3", 1);
        deadline(event_loop, log, "2", 2_000);
        let earlier = deadline(event_loop, log, "1", 4_000);
        later.set_deadline(event_loop.now() + 3_000);
        earlier.set_deadline(event_loop.now() + 1_000);
    });
    assert_eq!(fired, ["1", "2", "3"]);
}

#[test]
fn moved_deadlines_run_in_due_order() {
    let fired = order_of(|event_loop, log| {
        let moved = deadline(event_loop, log, "a", 1_000);
        deadline(event_loop, log, "b", 2_000);
        for nanoseconds in [9_000, 500, 8_000, 3_000] {
            moved.set_deadline(event_loop.now() + nanoseconds);
        }
        moved.clear_deadline();
        moved.set_deadline(event_loop.now() + 1_500);
    });
    assert_eq!(fired, ["a", "b"]);
}

/// Stays in a callback until the system's clock has passed `nanoseconds` more than the loop's.
fn work(event_loop: &Loop, nanoseconds: u64) {
    let other = Loop::new().unwrap();
    let end = event_loop.now() + nanoseconds;
    while other.now() <= end {
        std::hint::spin_loop();
    }
}

#[test]
fn a_timeout_counts_from_the_call_and_not_from_the_loops_clock() {
    const WORK: u64 = 200_000;
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    let counted = fired.clone();
    inside(&event_loop, move |event_loop| {
        let _ = event_loop.now();
        work(event_loop, WORK);
        let due = event_loop.now() + WORK + 100_000;
        let timer = Timer::new(event_loop);
        let count = counted.clone();
        let check = move |timer: &Timer| {
            assert!(timer.event_loop().unwrap().now() >= due);
            count.up();
        };
        timer.start(nanos(100_000), Duration::ZERO, check).unwrap();
        assert!(timer.due_in() <= nanos(100_000));
        let again = Timer::new(event_loop);
        let count = counted.clone();
        again
            .start(HOUR, nanos(100_000), move |timer| {
                assert!(timer.event_loop().unwrap().now() >= due);
                count.up();
                timer.stop().unwrap();
            })
            .unwrap();
        again.again().unwrap();
        let probe = Probe::on(event_loop, Phase::Deadline, move |probe| {
            assert!(probe.event_loop().unwrap().now() >= due);
            counted.up();
            probe.set_active(false);
        });
        probe.set_timeout(nanos(100_000));
        probe.set_active(true);
    });
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(fired.get(), 3);
}

#[test]
fn a_late_repeating_timer_is_due_one_repeat_value_after_its_call() {
    const REPEAT: u64 = 100_000;
    let event_loop = Loop::new().unwrap();
    let times = Log::new();
    let (log, clock) = (times.clone(), Loop::new().unwrap());
    // Due in the same iteration and before it, so that its first call comes long after the loop
    // read its clock.
    let late = Timer::new(&event_loop);
    late.start(Duration::ZERO, Duration::ZERO, move |timer| {
        work(&timer.event_loop().unwrap(), 3 * REPEAT);
        log.add(clock.now());
    })
    .unwrap();
    let (log, clock) = (times.clone(), Loop::new().unwrap());
    Timer::new(&event_loop)
        .start(Duration::ZERO, nanos(REPEAT), move |timer| {
            log.add(clock.now());
            if log.len() == 3 {
                timer.stop().unwrap();
            }
        })
        .unwrap();
    event_loop.run(RunMode::Default).unwrap();
    let times = times.take();
    assert_eq!(times.len(), 3);
    assert!(times[2] >= times[0] + REPEAT, "{times:?}");
}

#[test]
fn again_restarts_a_repeating_timer_with_its_repeat_value() {
    let event_loop = Loop::new().unwrap();
    let done = Count::default();
    let counted = done.clone();
    inside(&event_loop, move |event_loop| {
        let timer = Timer::new(event_loop);
        assert_eq!(timer.again(), Err(Errno::EINVAL), "never started");
        timer.start(HOUR, nanos(7), |_| ()).unwrap();
        assert!(timer.due_in() <= HOUR && timer.due_in() > HOUR / 2);
        timer.again().unwrap();
        assert!(timer.due_in() <= nanos(7));
        timer.stop().unwrap();
        timer.again().unwrap();
        assert!(timer.is_active());
        timer.stop().unwrap();
        counted.up();
    });
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(done.get(), 1);
}

#[test]
fn again_has_no_effect_on_a_timer_that_does_not_repeat() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, Duration::ZERO, |_| ()).unwrap();
    timer.stop().unwrap();
    assert_eq!(timer.again(), Ok(()));
    assert!(!timer.is_active());
}

#[test]
fn a_new_repeat_value_applies_from_the_next_callback_on() {
    let event_loop = Loop::new().unwrap();
    let seen = Log::new();
    let log = seen.clone();
    inside(&event_loop, move |event_loop| {
        let timer = Timer::new(event_loop);
        timer
            .start(nanos(10), nanos(20), move |timer| {
                log.add(timer.due_in());
                match log.len() {
                    1 => timer.set_repeat(HOUR),
                    _ => timer.stop().unwrap(),
                }
            })
            .unwrap();
        assert_eq!(timer.repeat(), nanos(20));
    });
    event_loop.run(RunMode::Default).unwrap();
    let seen = seen.take();
    assert!(seen[0] <= nanos(20));
    assert!(seen[1] <= HOUR && seen[1] > HOUR / 2);
}

#[test]
fn the_longest_timeouts_do_not_overflow() {
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer.start(Duration::MAX, Duration::MAX, |_| ()).unwrap();
    assert!(timer.due_in() > Duration::from_secs(500 * 365 * 24 * 3600));
    assert_eq!(timer.repeat(), nanos(u64::MAX));
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(true));
    assert!(event_loop.poll_timeout().unwrap().is_some());
    timer.again().unwrap();
    assert_eq!(event_loop.run(RunMode::NoWait), Ok(true));
}

#[test]
fn a_stopped_timer_does_not_fire_even_if_it_was_due_already() {
    let fired = order_of(|event_loop, log| {
        let (late, ran) = (Timer::new(event_loop), log.clone());
        let stopped = late.clone();
        Timer::new(event_loop)
            .start(Duration::ZERO, Duration::ZERO, move |_| {
                ran.add("early");
                stopped.stop().unwrap();
            })
            .unwrap();
        due_at_once(&late, log, "late");
    });
    assert_eq!(fired, ["early"]);
}

#[test]
fn a_due_timer_restarted_by_an_earlier_one_fires_at_its_new_time_only() {
    let fired = order_of(|event_loop, log| {
        let (late, ran) = (Timer::new(event_loop), log.clone());
        let restarted = late.clone();
        Timer::new(event_loop)
            .start(Duration::ZERO, Duration::ZERO, move |timer| {
                ran.add("early");
                due_at_once(&restarted, &ran, "late, started again");
                due_at_once(timer, &ran, "last");
            })
            .unwrap();
        due_at_once(&late, log, "late");
    });
    assert_eq!(fired, ["early", "late, started again", "last"]);
}

#[test]
fn a_timer_may_close_itself_or_another_in_its_callback() {
    let ran = order_of(|event_loop, log| {
        let (other, ran) = (Timer::new(event_loop), log.clone());
        let closed_by_it = other.clone();
        Timer::new(event_loop)
            .start(Duration::ZERO, nanos(1), move |timer| {
                ran.add("fired");
                let closed = ran.clone();
                timer.close(move |_| closed.add("closed itself")).unwrap();
                let closed = ran.clone();
                closed_by_it
                    .close(move |_| closed.add("closed the other"))
                    .unwrap();
            })
            .unwrap();
        due_at_once(&other, log, "other");
    });
    assert_eq!(ran, ["fired", "closed itself", "closed the other"]);
}

#[test]
fn a_callback_may_give_its_timer_another_callback() {
    let event_loop = Loop::new().unwrap();
    let (ran, drops) = (Log::new(), Count::default());
    let (log, counts) = (ran.clone(), CountsDrop(drops.clone()));
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::ZERO, Duration::ZERO, move |timer| {
            log.add("first");
            due_at_once(timer, &log, "second");
            assert_eq!(counts.0.get(), 0, "freed when it returns, not before");
        })
        .unwrap();
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(ran, ["first", "second"]);
    assert_eq!(drops.get(), 1);
}

#[test]
fn a_wait_ends_at_the_next_deadline() {
    let event_loop = Loop::new().unwrap();
    assert_eq!(event_loop.poll_timeout(), Ok(None));
    let probe = Probe::on(&event_loop, Phase::Deadline, |_| ());
    assert_eq!(probe.deadline(), None);
    let hour = HOUR.as_nanos() as u64;
    let before = event_loop.now();
    probe.set_deadline(before + 2 * hour);
    let timer = Timer::new(&event_loop);
    timer.start(HOUR, Duration::ZERO, |_| ()).unwrap();
    let left = event_loop.poll_timeout().unwrap().unwrap();
    assert!(left <= HOUR);
    timer.stop().unwrap();
    assert!(event_loop.poll_timeout().unwrap().unwrap() > HOUR);
    assert_eq!(probe.deadline(), Some(before + 2 * hour));
    probe.clear_deadline();
    assert_eq!(probe.deadline(), None);
    assert_eq!(event_loop.poll_timeout(), Ok(None));
}

#[test]
fn a_deadline_is_cleared_before_its_phase() {
    let event_loop = Loop::new().unwrap();
    let calls = Count::default();
    let counted = calls.clone();
    let probe = Probe::on(&event_loop, Phase::Deadline, move |probe| {
        assert_eq!(probe.deadline(), None);
        if counted.up() == 1 {
            probe.set_deadline(0);
        }
    });
    probe.set_deadline(0);
    for expected in [1, 2, 2] {
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(calls.get(), expected);
    }
}

/// A change of one of several deadlines.
#[derive(Clone, Copy, Debug)]
enum Change {
    Set(u64),
    Clear,
    Close,
    /// The last reference to the inactive handle is dropped, and a new handle takes its place.
    Replace,
}

const HANDLES: usize = 8;
/// In the first nanoseconds of the process, and after the end of the clock.
const DUES: [u64; 6] = [0, 1, 2, 3, u64::MAX - 1, u64::MAX];

fn change() -> impl Strategy<Value = (usize, Change)> {
    let change = prop_oneof![
        8 => prop::sample::select(&DUES[..]).prop_map(Change::Set),
        3 => Just(Change::Clear),
        1 => Just(Change::Close),
        1 => Just(Change::Replace),
    ];
    (0..HANDLES, change)
}

type Changes = Vec<(usize, Change)>;

/// Rounds of changes, each followed by an iteration, and the changes that callbacks make.
fn history() -> impl Strategy<Value = (Vec<Changes>, Vec<Changes>)> {
    (
        prop::collection::vec(prop::collection::vec(change(), 0..12), 1..8),
        prop::collection::vec(prop::collection::vec(change(), 0..3), 0..20),
    )
}

/// The model: a simple list of deadlines.
struct Model {
    /// Due time and order of setting, for each handle.
    due: [Option<(u64, u64)>; HANDLES],
    closed: [bool; HANDLES],
    names: [usize; HANDLES],
    set: u64,
    made: usize,
}

impl Model {
    fn new() -> Self {
        Self {
            due: [None; HANDLES],
            closed: [false; HANDLES],
            names: std::array::from_fn(|index| index),
            set: 0,
            made: 0,
        }
    }

    fn change(&mut self, (index, change): (usize, Change)) {
        match change {
            Change::Set(due) if !self.closed[index] => {
                self.set += 1;
                self.due[index] = Some((due, self.set));
            }
            Change::Set(_) => {}
            Change::Clear => self.due[index] = None,
            Change::Close => {
                self.due[index] = None;
                self.closed[index] = true;
            }
            Change::Replace => {
                self.due[index] = None;
                self.closed[index] = false;
                self.made += 1;
                self.names[index] = HANDLES + self.made;
            }
        }
    }

    fn iterate(&mut self, calls: &mut std::vec::IntoIter<Changes>) -> Vec<usize> {
        let mut due: Vec<_> = self
            .due
            .into_iter()
            .flatten()
            .filter(|due| due.0 < 4)
            .collect();
        due.sort_unstable();
        let mut fired = Vec::new();
        for moment in due {
            let Some(index) = self.due.iter().position(|due| *due == Some(moment)) else {
                continue;
            };
            self.due[index] = None;
            fired.push(self.names[index]);
            for change in calls.next().unwrap_or_default() {
                self.change(change);
            }
        }
        fired
    }
}

/// The same with a loop.
struct Real {
    event_loop: Loop,
    probes: RefCell<Vec<Rc<Probe>>>,
    made: Count,
    calls: RefCell<std::vec::IntoIter<Changes>>,
    fired: Log<usize>,
}

impl Real {
    fn probe(self: &Rc<Self>, name: usize) -> Rc<Probe> {
        let this = Rc::downgrade(self);
        Probe::on(&self.event_loop, Phase::Deadline, move |_| {
            let Some(this) = this.upgrade() else { return };
            this.fired.add(name);
            let changes = this.calls.borrow_mut().next();
            for change in changes.unwrap_or_default() {
                this.change(change);
            }
        })
    }

    fn change(self: &Rc<Self>, (index, change): (usize, Change)) {
        let probe = Rc::clone(&self.probes.borrow()[index]);
        match change {
            Change::Set(due) => probe.set_deadline(due),
            Change::Clear => probe.clear_deadline(),
            Change::Close => drop(probe.close()),
            Change::Replace => {
                let name = HANDLES + self.made.up();
                self.probes.borrow_mut()[index] = self.probe(name);
            }
        }
    }
}

proptest! {
    #[test]
    fn deadlines_run_as_in_a_simple_model((rounds, calls) in history()) {
        let mut model = Model::new();
        let mut model_turns = calls.clone().into_iter();
        let real = Rc::new(Real {
            event_loop: Loop::new().unwrap(),
            probes: RefCell::default(),
            made: Count::default(),
            calls: RefCell::new(calls.into_iter()),
            fired: Log::new(),
        });
        *real.probes.borrow_mut() = (0..HANDLES).map(|name| real.probe(name)).collect();
        // Keeps the loop alive.
        let alive = real.event_loop.proxy().keep_alive();
        for round in rounds {
            for change in round {
                model.change(change);
                real.change(change);
            }
            real.event_loop.run(RunMode::NoWait).unwrap();
            prop_assert_eq!(real.fired.take(), model.iterate(&mut model_turns));
            let next = model.due.into_iter().flatten().min();
            let timeout = real.event_loop.poll_timeout().unwrap();
            prop_assert_eq!(next.is_none(), timeout.is_none());
            prop_assert_eq!(next.is_some_and(|due| due.0 < 4), timeout == Some(Duration::ZERO));
        }
        drop(alive);
    }
}

#[test]
fn many_timers_that_start_one_another_all_fire() {
    const TIMERS: usize = 500;
    const EACH: usize = 20;
    let event_loop = Loop::new().unwrap();
    let fired = Count::default();
    for index in 0..TIMERS {
        let (fired, mut left) = (fired.clone(), EACH);
        let timer = Timer::new(&event_loop);
        timer
            .start(
                nanos(index as u64 * 37 % 1_000),
                nanos(1 + index as u64 % 7),
                move |timer| {
                    fired.up();
                    left -= 1;
                    if left == 0 {
                        timer.close(|_| ()).unwrap();
                    }
                },
            )
            .unwrap();
    }
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(fired.get(), TIMERS * EACH);
}
