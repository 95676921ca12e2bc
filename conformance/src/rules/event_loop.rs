//! The loop: its phases and modes, and embedding.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use uv_core::{Check, Errno, Idle, Loop, Prepare, RunMode, Timer};

use crate::raw::DEADLINE;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox, Log, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "loop/phases-run-in-order",
        "One iteration runs timers, completions, posts, idle, prepare, flush, dispatch, check and closing, in this order.",
        phases,
    ),
    Rule::once(
        "loop/run-inside-a-callback-is-edeadlk",
        "run inside a callback is EDEADLK.",
        run_inside,
    ),
    Rule::once(
        "loop/stop-ends-run-after-the-iteration",
        "stop ends the current run after its iteration, or the next run at once, and no other run.",
        stop,
    ),
    Rule::once(
        "loop/once-waits-and-no-wait-does-not",
        "run(Once) waits for an event, run(NoWait) does not, and both run one iteration.",
        run_modes,
    ),
    Rule::once(
        "loop/a-panic-leaves-it-usable",
        "After a panic in a timer callback the loop is usable, and due timers still fire.",
        panic_in_timer,
    ),
    Rule::each(
        "loop/can-be-embedded-in-another",
        "Another loop can drive this one: it polls the descriptor for as long as poll_timeout.",
        embedded,
    ),
    Rule::once(
        "loop/keep-alive-keeps-it-running",
        "A loop without active handles runs while a keep-alive guard exists.",
        keep_alive,
    ),
];

fn phases(stage: &Stage) -> Verdict {
    let (peer, order) = (stage.raw()?, Log::default());
    let enter = |name: &'static str| {
        let log = order.clone();
        move || log.push(name)
    };
    let (receiver, sender, closing) = (
        stage.bound()?,
        stage.connected(peer.address())?,
        stage.bound()?,
    );
    let here = receiver.local_addr()?;
    let dispatch = enter("dispatch");
    receiver.recv_start(move |_, _| dispatch())?;
    // The registration may need a poll.
    stage.a_little_longer()?;
    // Registered in the reverse order.
    let close = enter("closing");
    closing.close(move |_| close())?;
    let check = Check::new(&stage.event_loop);
    check.start(each(enter("check")))?;
    peer.send("hello", here)?;
    let (arrived, socket) = (Rc::new(Cell::new(0)), Rc::new(peer));
    let prepare = Prepare::new(&stage.event_loop);
    let (before, seen, log) = (Rc::clone(&socket), Rc::clone(&arrived), enter("prepare"));
    prepare.start(each(move || {
        log();
        seen.set(before.rest().map_or(0, |rest| rest.len()));
    }))?;
    let idle = Idle::new(&stage.event_loop);
    idle.start(each(enter("idle")))?;
    let post = order.clone();
    post_from_here(&stage.event_loop, move || post.push("post"))?;
    let completion = enter("completion");
    sender.send(b"at once", move |_, _| completion())?;
    sender.send(b"flushed", uv_udp::ignore)?;
    let timer = Timer::new(&stage.event_loop);
    timer.start(Duration::ZERO, Duration::ZERO, each(enter("timer")))?;
    stage.event_loop.run(RunMode::NoWait)?;
    let expected = [
        "timer",
        "completion",
        "post",
        "idle",
        "prepare",
        "dispatch",
        "check",
        "closing",
    ];
    ensure_eq!(order.all(), expected, "the order");
    ensure_eq!(arrived.get(), 1, "datagrams that were out before the flush");
    ensure_eq!(socket.recv_text()?, "flushed", "the datagrams of the flush");
    Ok(())
}

/// A callback for any type.
fn each<A: ?Sized>(mut work: impl FnMut() + 'static) -> impl FnMut(&A) + 'static {
    move |_| work()
}

/// Posts a closure that is not `Send`, through a hook on this thread that the post stops.
fn post_from_here(event_loop: &Loop, work: impl FnOnce() + 'static) -> Result<(), Errno> {
    thread_local! {
        static WORK: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
    }
    WORK.set(Some(Box::new(work)));
    event_loop.proxy().post(|_| {
        if let Some(work) = WORK.take() {
            work();
        }
    })
}

fn run_inside(stage: &Stage) -> Verdict {
    let (timer, seen, event_loop) = (
        Timer::new(&stage.event_loop),
        Log::default(),
        stage.event_loop.clone(),
    );
    let log = seen.clone();
    timer.start(Duration::ZERO, Duration::ZERO, move |_| {
        for mode in [RunMode::Default, RunMode::Once, RunMode::NoWait] {
            log.push(event_loop.run(mode));
        }
    })?;
    stage.to_the_end()?;
    ensure_eq!(
        seen.all(),
        [Err(Errno::EDEADLK); 3],
        "run inside a callback"
    );
    stage.to_the_end()
}

fn stop(stage: &Stage) -> Verdict {
    let (idle, turns) = (Idle::new(&stage.event_loop), Counter::default());
    let (count, event_loop) = (turns.clone(), stage.event_loop.clone());
    idle.start(move |_| {
        count.up();
        if count.get() == 3 {
            event_loop.stop();
        }
    })?;
    stage.to_the_end()?;
    ensure_eq!(turns.get(), 3, "iterations before stop");
    stage.event_loop.stop();
    stage.to_the_end()?;
    ensure_eq!(turns.get(), 3, "iterations after a stop from outside");
    stage.event_loop.run(RunMode::Once)?;
    ensure_eq!(turns.get(), 4, "iterations of the run after that");
    Ok(())
}

fn run_modes(stage: &Stage) -> Verdict {
    let (prepare, turns, timer, fired) = (
        Prepare::new(&stage.event_loop),
        Counter::default(),
        Timer::new(&stage.event_loop),
        Counter::default(),
    );
    ensure_eq!(
        stage.event_loop.run(RunMode::Once),
        Ok(false),
        "run(Once) of a loop with nothing to do"
    );
    let (count, fires) = (turns.clone(), fired.clone());
    prepare.start(move |_| count.up())?;
    ensure_eq!(
        stage.event_loop.run(RunMode::NoWait),
        Ok(true),
        "run(NoWait)"
    );
    ensure_eq!(turns.get(), 1, "iterations of run(NoWait)");
    timer.start(Duration::from_millis(20), Duration::ZERO, move |_| {
        fires.up()
    })?;
    ensure_eq!(stage.event_loop.run(RunMode::Once), Ok(true), "run(Once)");
    ensure_eq!(
        (turns.get(), fired.get()),
        (2, 1),
        "iterations, and timers fired by run(Once)"
    );
    Ok(())
}

fn panic_in_timer(stage: &Stage) -> Verdict {
    let fired = Log::default();
    let timers: Vec<_> = (0..3).map(|_| Timer::new(&stage.event_loop)).collect();
    for (number, timer) in timers.iter().enumerate() {
        let log = fired.clone();
        timer.start(Duration::ZERO, Duration::ZERO, move |_| {
            log.push(number);
            if number == 1 {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        })?;
    }
    let run = std::panic::AssertUnwindSafe(|| stage.event_loop.run(RunMode::Default));
    ensure!(
        std::panic::catch_unwind(run).is_err(),
        "no panic reached the caller of run"
    );
    stage.to_the_end()?;
    ensure_eq!(fired.all(), [0, 1, 2], "timers that fired");
    Ok(())
}

/// Polls the descriptor for poll_timeout, as an embedding loop does.
fn wait_for(event_loop: &Loop) -> Result<bool, Broken> {
    let timeout = event_loop.poll_timeout()?.unwrap_or(DEADLINE).min(DEADLINE);
    readable_within(event_loop, timeout)
}

fn readable_within(event_loop: &Loop, timeout: Duration) -> Result<bool, Broken> {
    let timeout = Timespec::try_from(timeout).map_err(Broken::new)?;
    let mut descriptors = [PollFd::new(event_loop, PollFlags::IN)];
    let ready = poll(&mut descriptors, Some(&timeout)).map_err(std::io::Error::from)?;
    Ok(ready > 0)
}

fn embedded(stage: &Stage) -> Verdict {
    let (peer, results, event_loop) = (stage.raw()?, Results::default(), &stage.event_loop);
    ensure_eq!(
        event_loop.poll_timeout()?,
        None,
        "the timeout of a loop with nothing to do"
    );
    let udp = stage.connected(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    event_loop.run(RunMode::NoWait)?;
    ensure_eq!(
        event_loop.poll_timeout()?,
        None,
        "the timeout with a handle that receives"
    );
    peer.send("hello", udp.local_addr()?)?;
    ensure!(
        wait_for(event_loop)?,
        "the descriptor is not readable with a datagram there"
    );
    for _ in 0..3 {
        event_loop.run(RunMode::NoWait)?;
    }
    ensure_eq!(inbox.texts(), ["hello"], "the inbox");
    udp.send(b"x", results.of(0))?;
    ensure_eq!(
        event_loop.poll_timeout()?,
        Some(Duration::ZERO),
        "the timeout with a completion to call"
    );
    stage.until("the send completes", || results.len() == 1)?;
    let (timer, fired) = (Timer::new(event_loop), Counter::default());
    let count = fired.clone();
    timer.start(Duration::from_millis(5), Duration::ZERO, move |_| {
        count.up()
    })?;
    let timeout = event_loop.poll_timeout()?;
    ensure!(
        timeout.is_some_and(|timeout| timeout <= Duration::from_millis(5)),
        "{timeout:?} with a timer of 5 ms"
    );
    for _ in 0..100 {
        if fired.get() > 0 {
            break;
        }
        wait_for(event_loop)?;
        event_loop.run(RunMode::NoWait)?;
    }
    ensure_eq!(fired.get(), 1, "timers fired");
    readable_after_a_post(event_loop)
}

/// A post makes the descriptor readable too.
fn readable_after_a_post(event_loop: &Loop) -> Verdict {
    ensure_eq!(
        event_loop.poll_timeout()?,
        None,
        "the timeout before a post"
    );
    let proxy = event_loop.proxy();
    let poster = thread::spawn(move || proxy.post(|_| ()));
    // poll_timeout is taken again after the post: pending work makes it 0.
    ensure!(
        readable_within(event_loop, DEADLINE)?,
        "the descriptor is not readable after a post"
    );
    ensure_eq!(
        poster.join().unwrap_or(Err(Errno::ECANCELED)),
        Ok(()),
        "the post"
    );
    Ok(())
}

fn keep_alive(stage: &Stage) -> Verdict {
    let alive = stage.event_loop.proxy().keep_alive();
    ensure!(stage.event_loop.alive(), "the loop is not alive");
    let second = stage.event_loop.proxy().keep_alive();
    drop(second);
    let waker = thread::spawn(move || drop(alive));
    // The other thread drops the guard.
    stage.to_the_end()?;
    ensure!(!stage.event_loop.alive(), "the loop is still alive");
    ensure!(waker.join().is_ok(), "the other thread panicked");
    Ok(())
}
