//! The loop: the order of its phases, timers, posts from other threads, and how long it runs.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

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
        "run inside a callback is EDEADLK, not a hang.",
        run_inside,
    ),
    Rule::once(
        "loop/stop-ends-run-after-the-iteration",
        "stop ends run after the current iteration, or the next run at once, and only that one.",
        stop,
    ),
    Rule::once(
        "loop/once-waits-and-no-wait-does-not",
        "run(Once) waits for something to happen, run(NoWait) does not, and both do one iteration.",
        run_modes,
    ),
    Rule::once(
        "loop/a-panic-leaves-it-usable",
        "After a panic in a timer callback the loop runs on, and what was due still fires.",
        panic_in_timer,
    ),
    Rule::each(
        "loop/can-be-embedded-in-another",
        "A loop can be driven by another one that waits for its descriptor as long as poll_timeout says.",
        embedded,
    ),
    Rule::once(
        "timers/fire-in-due-order-and-ties-in-start-order",
        "Timers fire in the order in which they are due; those due together in the order in which they were started.",
        due_order,
    ),
    Rule::once(
        "timers/never-fire-early",
        "No timer fires before its time by the loop's clock, and it fires once.",
        never_early,
    ),
    Rule::once(
        "timers/count-from-the-call",
        "A timer that a callback starts after long work fires its timeout after that call, and not earlier.",
        from_the_call,
    ),
    Rule::once(
        "timers/repeat-until-stopped",
        "A repeating timer fires until it is stopped, and again starts it anew.",
        repeat,
    ),
    Rule::once(
        "remote/posts-run-in-order-on-the-loop",
        "Closures posted by another thread run on the loop's thread, in the order of posting, also when it sleeps.",
        posts,
    ),
    Rule::once(
        "remote/keep-alive-keeps-the-loop-running",
        "A loop with nothing to do runs while somebody keeps it alive.",
        keep_alive,
    ),
    Rule::once(
        "remote/posting-to-a-loop-that-is-gone-is-ecanceled",
        "Posting to a loop that is gone is ECANCELED; the closure is dropped, and so are those that had not run.",
        post_to_nobody,
    ),
    Rule::each(
        "remote/a-handle-sends-for-other-threads",
        "Another thread sends through a handle by its remote end, in order, also while the loop sleeps.",
        remote_sends,
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
    // Registering may take a poll.
    stage.a_little_longer()?;
    // Asked for backwards.
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
    sender.send(b"flushed", |_, _| ())?;
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
    ensure_eq!(socket.recv_text()?, "flushed", "what the flush sent");
    Ok(())
}

/// A callback of anything.
fn each<A: ?Sized>(mut work: impl FnMut() + 'static) -> impl FnMut(&A) + 'static {
    move |_| work()
}

/// Posts what need not be `Send`, because it never leaves the thread: by way of a hook that the post stops.
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

/// Waits as another loop does.
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
    // A post makes it readable too.
    ensure_eq!(
        event_loop.poll_timeout()?,
        None,
        "the timeout before a post"
    );
    let remote = event_loop.proxy();
    let poster = thread::spawn(move || remote.post(|_| ()));
    // For as long as it said: asked again while the post is on its way, it says that there is something to do.
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

fn due_order(stage: &Stage) -> Verdict {
    let fired = Log::default();
    let timeouts = [3, 1, 2, 1, 3, 0, 2, 0];
    let timers: Vec<_> = timeouts
        .iter()
        .map(|_| Timer::new(&stage.event_loop))
        .collect();
    // Between which times each is due: however slow this process is, it was started between two readings of the clock.
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
        // It is open.
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
            // It is open.
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

fn posts(stage: &Stage) -> Verdict {
    let (remote, alive) = (
        stage.event_loop.proxy(),
        stage.event_loop.proxy().keep_alive(),
    );
    let (tell, told) = mpsc::channel();
    let (awake, woken) = mpsc::channel();
    let poster = thread::spawn(move || {
        for number in 0..1000 {
            let tell = tell.clone();
            remote.post(move |_| {
                // The rule listens until the end.
                let _ = tell.send((number, thread::current().id()));
            })?;
            if number % 100 == 0 {
                // Until the loop has nothing to do and goes to sleep.
                let awake = awake.clone();
                remote.post(move |_| {
                    // The other side waits for it.
                    let _ = awake.send(());
                })?;
                woken.recv().map_err(|_| Errno::ECANCELED)?;
            }
        }
        remote.post(Loop::stop)
    });
    stage.to_the_end()?;
    drop(alive);
    ensure_eq!(
        poster.join().unwrap_or(Err(Errno::ECANCELED)),
        Ok(()),
        "the posts"
    );
    let here = thread::current().id();
    let ran: Vec<_> = told.try_iter().collect();
    ensure!(
        ran == (0..1000).map(|number| (number, here)).collect::<Vec<_>>(),
        "{} posts ran, or out of order",
        ran.len()
    );
    Ok(())
}

fn keep_alive(stage: &Stage) -> Verdict {
    let alive = stage.event_loop.proxy().keep_alive();
    ensure!(stage.event_loop.alive(), "the loop is not alive");
    let second = stage.event_loop.proxy().keep_alive();
    drop(second);
    let waker = thread::spawn(move || drop(alive));
    // Ends when the other thread lets it.
    stage.to_the_end()?;
    ensure!(!stage.event_loop.alive(), "the loop is still alive");
    ensure!(waker.join().is_ok(), "the other thread panicked");
    Ok(())
}

fn post_to_nobody(_: &Stage) -> Verdict {
    let event_loop = Loop::new()?;
    let remote = event_loop.proxy();
    let (tell, told) = mpsc::channel::<()>();
    let early = tell.clone();
    remote.post(move |_| drop(early))?;
    drop(event_loop);
    ensure_eq!(
        remote.post(move |_| drop(tell)),
        Err(Errno::ECANCELED),
        "post"
    );
    // All senders are gone with their closures.
    ensure_eq!(told.recv(), Err(mpsc::RecvError), "what the closures sent");
    Ok(())
}

fn remote_sends(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (connected, unconnected) = (stage.connected(peer.address())?, stage.bound()?);
    let (first, second, to) = (connected.sender()?, unconnected.sender()?, peer.address());
    let (remote, alive) = (
        stage.event_loop.proxy(),
        stage.event_loop.proxy().keep_alive(),
    );
    let sender = thread::spawn(move || {
        for number in 0..50 {
            first.send(format!("connected {number}").into_bytes())?;
        }
        for number in 0..50 {
            second.send_to(format!("unconnected {number}").into_bytes(), to)?;
        }
        remote.post(move |_| drop(alive))
    });
    stage.to_the_end()?;
    ensure_eq!(
        sender.join().unwrap_or(Err(Errno::ECANCELED)),
        Ok(()),
        "the posts"
    );
    let texts = peer.recv_texts(100)?;
    for (prefix, source) in [("connected", &connected), ("unconnected", &unconnected)] {
        let expected: Vec<_> = (0..50).map(|number| format!("{prefix} {number}")).collect();
        let of_it: Vec<_> = texts
            .iter()
            .filter(|text| text.starts_with(prefix))
            .cloned()
            .collect();
        ensure_eq!(of_it, expected, "what {:?} sent", source.local_addr());
    }
    let remote = connected.sender()?;
    connected.close(|_| ())?;
    stage.to_the_end()?;
    // Nothing happens any more.
    remote.send(b"too late".to_vec())?;
    stage.to_the_end()?;
    ensure_eq!(peer.rest()?, [""; 0], "what arrived after the close");
    Ok(())
}
