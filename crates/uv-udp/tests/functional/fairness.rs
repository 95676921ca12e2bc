//! The budget of a receiving phase: a callback that causes more deliveries does not stop the loop.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use uv_udp::{Loop, RunMode, Timer, Udp};

use super::harness::*;

/// Receive callbacks between two ticks of a timer that is due in every iteration. The budget of a
/// phase is 128 datagrams, and a handle has at most a few phases in an iteration.
const MANY: usize = 1000;
/// Ticks that a test waits for.
const TICKS: usize = 20;

/// Counts receive callbacks between the ticks of a timer that is due in every iteration.
#[derive(Clone, Default)]
struct Pace(Rc<Counts>);

#[derive(Default)]
struct Counts {
    calls: Cell<usize>,
    since_tick: Cell<usize>,
    most: Cell<usize>,
    ticks: Cell<usize>,
}

impl Pace {
    /// Counts a callback, and stops the handle after too many in a row.
    fn call(&self, udp: &Udp) -> bool {
        let counts = &self.0;
        counts.calls.set(counts.calls.get() + 1);
        counts.since_tick.set(counts.since_tick.get() + 1);
        counts
            .most
            .set(counts.most.get().max(counts.since_tick.get()));
        let goes_on = counts.since_tick.get() <= MANY;
        if !goes_on {
            udp.recv_stop().unwrap();
            udp.event_loop().unwrap().stop();
        }
        goes_on
    }

    fn tick(self, timer: &Timer) {
        self.0.since_tick.set(0);
        self.0.ticks.set(self.0.ticks.get() + 1);
        if self.0.ticks.get() == TICKS {
            timer.event_loop().unwrap().stop();
        } else {
            start_tick(timer, self);
        }
    }

    fn check(&self, event_loop: &Loop, what: &str) {
        start_tick(&Timer::new(event_loop), self.clone());
        event_loop.run(RunMode::Default).unwrap();
        let (calls, most) = (self.0.calls.get(), self.0.most.get());
        assert!(most <= MANY, "{what}: {most} callbacks in a row");
        assert_eq!(self.0.ticks.get(), TICKS, "{what}");
        assert!(calls >= TICKS / 2, "{what}: only {calls} callbacks");
    }
}

fn start_tick(timer: &Timer, pace: Pace) {
    let mut pace = Some(pace);
    timer
        .start(Duration::ZERO, Duration::ZERO, move |timer| {
            pace.take().unwrap().tick(timer);
        })
        .unwrap();
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Each,
    Batch,
    Into,
    BatchInto,
}

const FORMS: [Form; 4] = [Form::Each, Form::Batch, Form::Into, Form::BatchInto];

/// Starts receiving in a form. The callback gets only whether there were datagrams.
fn start(udp: &Udp, form: Form, mut callback: impl FnMut(&Udp) + 'static) {
    let started = match form {
        Form::Each => udp.recv_start(move |udp, _| callback(udp)),
        Form::Batch => udp.recv_batch_start(move |udp, batch| {
            let count = batch.map_or(1, Iterator::count);
            (0..count).for_each(|_| callback(udp));
        }),
        Form::Into => udp.recv_into_start(
            |_, _| Some(vec![0; 100]),
            move |udp, _, outcome| {
                if !matches!(outcome, Ok([])) {
                    callback(udp);
                }
            },
        ),
        Form::BatchInto => udp.recv_into_start(
            |_, slot| Some(vec![0; 4 * slot]),
            move |udp, _, outcome| {
                let count = outcome.map_or(1, <[_]>::len);
                (0..count).for_each(|_| callback(udp));
            },
        ),
    };
    started.unwrap();
}

fn each_form(check: impl Fn(IpAddr, Form)) {
    for ip in loopbacks() {
        FORMS.into_iter().for_each(|form| check(ip, form));
    }
}

#[test]
fn a_callback_that_receives_its_own_sends_does_not_delay_a_timer() {
    each_form(|ip, form| {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (sender, _) = raw(ip);
        let pace = Pace::default();
        let (count, more) = (pace.clone(), sender.try_clone().unwrap());
        start(&udp, form, move |udp| {
            if count.call(udp) {
                let _ = more.send_to(b"more", address);
                let _ = more.send_to(b"more", address);
            }
        });
        sender.send_to(b"first", address).unwrap();
        pace.check(&event_loop, &format!("{ip} {form:?}"));
    });
}

#[test]
fn filtered_datagrams_count_against_the_budget_of_a_phase() {
    each_form(|ip, form| {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (stranger, _) = raw(ip);
        for _ in 0..200 {
            stranger.send_to(b"stranger", address).unwrap();
        }
        udp.connect(raw(ip).1).unwrap();
        start(&udp, form, |_| panic!("a stranger's datagram"));
        event_loop.run(RunMode::NoWait).unwrap();
        let turned_away = udp.counters().filtered;
        assert!(turned_away < 200, "{ip} {form:?}: all in one turn");
        settle(&event_loop);
        assert_eq!(udp.counters().filtered, 200, "{ip} {form:?}");
    });
}

#[test]
fn datagrams_are_delivered_even_if_each_error_causes_more() {
    each_form(|ip, form| {
        for sends in [1, 2, 3] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let nobody = dead(ip);
            udp.options().set_recv_errors(true).unwrap();
            let calls = Rc::new(Cell::new(0_usize));
            let count = Rc::clone(&calls);
            start(&udp, form, move |udp| {
                count.set(count.get() + 1);
                for _ in 0..sends {
                    // Each of them causes an error.
                    let _ = udp.try_send_to(b"again", nobody);
                }
            });
            udp.try_send_to(b"first", nobody).unwrap();
            run_until(&event_loop, || calls.get() > MANY);
            let (sender, _) = raw(ip);
            for _ in 0..4 {
                sender.send_to(b"datagram", address).unwrap();
            }
            let before = calls.get();
            while udp.counters().datagrams_received < 4 {
                event_loop.run(RunMode::NoWait).unwrap();
                let errors = calls.get() - before;
                assert!(errors <= 10 * MANY, "{ip} {form:?} {sends}: errors only");
            }
        }
    });
}
