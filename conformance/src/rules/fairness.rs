//! No busy loop and no starvation: a flooded handle leaves room for others.

use std::cell::Cell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use uv_udp::{Errno, Prepare, Result, RunMode, Timer, Udp};

use crate::raw::DeadPeer;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "fairness/one-iteration-does-not-drain-a-flood",
        "A handle with a full buffer delivers only a part of it in one iteration.",
        one_iteration,
    ),
    Rule::each(
        "fairness/a-flood-leaves-room-for-timers",
        "Timers fire while a handle receives an endless flood.",
        room_for_timers,
    ),
    Rule::each(
        "fairness/a-flood-leaves-room-for-other-handles",
        "Another handle receives and sends while one receives an endless flood.",
        room_for_handles,
    ),
    Rule::each(
        "fairness/a-flood-leaves-room-for-the-other-direction",
        "A handle that receives an endless flood still sends.",
        room_for_sending,
    ),
    Rule::once(
        "fairness/a-flood-leaves-room-for-posts",
        "Closures that another thread posts run while a handle receives an endless flood.",
        room_for_posts,
    ),
    Rule::each(
        "fairness/errors-that-cause-errors-leave-room-for-timers",
        "Timers fire while a receive callback answers each error with two sends to a dead peer.",
        errors_that_cause_errors,
    ),
    Rule::each(
        "fairness/reconnecting-per-datagram-leaves-room-for-timers",
        "Timers fire while a receive callback reconnects per datagram of a peer that sends faster.",
        reconnecting_per_datagram,
    ),
    Rule::each(
        "fairness/two-floods-share-the-loop",
        "Two handles with endless floods get about the same number of datagrams.",
        two_floods,
    ),
    Rule::each(
        "fairness/sending-without-end-leaves-room-for-receiving",
        "A handle that sends endlessly still receives, and timers fire.",
        endless_sending,
    ),
    Rule::once(
        "fairness/an-idle-loop-sleeps",
        "A loop without events runs no iterations.",
        idle_loop_sleeps,
    ),
    Rule::each(
        "traps/64-outstanding-reach-a-receiver-on-the-same-loop",
        "With 64 outstanding sends, at least 99 % reach a receiver on the same loop.",
        sixty_four_outstanding,
    ),
    Rule::each(
        "traps/many-senders-reach-a-receiver-on-the-same-loop",
        "All of 64 datagrams from each of sixteen handles reach a receiver on the same loop.",
        many_senders,
    ),
];

/// A handle that sends every received datagram to itself: an endless flood of 100 datagrams.
fn endless_flood(stage: &Stage) -> std::result::Result<(Udp, Counter), Broken> {
    let (udp, turns) = (stage.bound()?, Counter::default());
    let (here, count) = (udp.local_addr()?, turns.clone());
    udp.recv_start(move |udp, received| {
        count.up();
        if let Ok(datagram) = received {
            // Only a closed handle refuses.
            let _ = udp.send_to(datagram.data, here, uv_udp::ignore);
        }
    })?;
    for _ in 0..100 {
        udp.send_to(b"round and round", here, uv_udp::ignore)?;
    }
    stage.until("the flood is there", || turns.get() > 100)?;
    Ok((udp, turns))
}

/// Calls run once, until `stop` is called, during a flood.
fn floods_until_stopped(stage: &Stage, turns: &Counter) -> Verdict {
    stage.to_the_end()?;
    let before = turns.get();
    stage.until("the flood goes on", || turns.get() > before + 100)
}

fn one_iteration(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    let inbox = Inbox::of(&udp)?;
    for _ in 0..200 {
        peer.send("flood", udp.local_addr()?)?;
    }
    let mut turns = Vec::new();
    while inbox.len() < 200 && turns.len() < 1000 {
        let before = inbox.len();
        stage.event_loop.run(RunMode::NoWait)?;
        turns.push(inbox.len() - before);
    }
    ensure_eq!(inbox.len(), 200, "datagrams delivered");
    let most = turns.iter().max().copied().unwrap_or(0);
    ensure!(most < 200, "one iteration delivered all of them");
    stage.note(format_args!("{most} in one iteration at most"));
    Ok(())
}

fn room_for_timers(stage: &Stage) -> Verdict {
    let (flooded, turns) = endless_flood(stage)?;
    let (timer, event_loop, fired) = (
        Timer::new(&stage.event_loop),
        stage.event_loop.clone(),
        Counter::default(),
    );
    let count = fired.clone();
    let each = Duration::from_millis(1);
    timer.start(each, each, move |_| {
        count.up();
        if count.get() == 5 {
            event_loop.stop();
        }
    })?;
    floods_until_stopped(stage, &turns)?;
    ensure!(fired.get() >= 5, "the timer fired {} times", fired.get());
    flooded.recv_stop()?;
    Ok(())
}

fn room_for_handles(stage: &Stage) -> Verdict {
    let (_, turns) = endless_flood(stage)?;
    let peer = stage.raw()?;
    let (other, event_loop, rounds) = (
        stage.connected(peer.address())?,
        stage.event_loop.clone(),
        Counter::default(),
    );
    let count = rounds.clone();
    let sender = stage.connected(other.local_addr()?)?;
    other.connect(sender.local_addr()?)?;
    // Two more handles exchange datagrams.
    other.recv_start(|other, received| answer(other, received.is_ok()))?;
    sender.recv_start(move |sender, received| {
        count.up();
        answer(sender, received.is_ok());
        if count.get() == 20 {
            event_loop.stop();
        }
    })?;
    sender.send(b"ping", uv_udp::ignore)?;
    floods_until_stopped(stage, &turns)?;
    ensure!(rounds.get() >= 20, "{} rounds", rounds.get());
    Ok(())
}

fn answer(udp: &Udp, received: bool) {
    if received {
        // Only a closed handle refuses.
        let _ = udp.send(b"pong", uv_udp::ignore);
    }
}

fn room_for_sending(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (flooded, turns) = endless_flood(stage)?;
    let (event_loop, sent) = (stage.event_loop.clone(), Rc::new(Cell::new(None)));
    let result = Rc::clone(&sent);
    flooded.send_to(b"out", peer.address(), move |_, outcome| {
        result.set(Some(outcome));
        event_loop.stop();
    })?;
    floods_until_stopped(stage, &turns)?;
    ensure_eq!(sent.get(), Some(Ok(())), "the result of the send");
    ensure_eq!(peer.recv_text()?, "out", "the received datagrams");
    Ok(())
}

fn room_for_posts(stage: &Stage) -> Verdict {
    let (_, turns) = endless_flood(stage)?;
    let remote = stage.event_loop.proxy();
    let poster = thread::spawn(move || {
        (0..10).try_for_each(|_| remote.post(|_| ()))?;
        remote.post(uv_udp::Loop::stop)
    });
    floods_until_stopped(stage, &turns)?;
    ensure_eq!(
        poster.join().unwrap_or(Err(Errno::ECANCELED)),
        Ok(()),
        "the posts"
    );
    Ok(())
}

/// Receive callbacks between two ticks of a timer that is due in every iteration. A read delivers
/// 128 datagrams and errors, and a handle has at most a few reads in an iteration.
const MANY_CALLS: usize = 1000;
/// Ticks to wait for.
const TICKS: usize = 20;

/// Counts receive callbacks between the ticks of a timer that is due in every iteration.
#[derive(Clone, Default)]
struct Pace {
    calls: Counter,
    ticks: Counter,
    at_last_tick: Rc<Cell<usize>>,
    /// Whether there were too many between two ticks.
    starved: Rc<Cell<bool>>,
}

impl Pace {
    /// Counts a callback. Stops the handle after too many since the last tick.
    fn call(&self, udp: &Udp) -> bool {
        self.calls.up();
        if self.calls.get() - self.at_last_tick.get() > MANY_CALLS {
            self.starved.set(true);
            // Only a closed handle refuses.
            let _ = udp.recv_stop();
        }
        !self.starved.get()
    }

    fn tick(self, timer: &Timer) -> Result<()> {
        timer.start(Duration::ZERO, Duration::ZERO, move |timer| {
            self.ticks.up();
            self.at_last_tick.set(self.calls.get());
            if self.ticks.get() < TICKS && !self.starved.get() {
                // Only a closed handle refuses.
                let _ = self.clone().tick(timer);
            } else if let Some(event_loop) = timer.event_loop() {
                event_loop.stop();
            }
        })
    }

    fn check(&self, stage: &Stage) -> Verdict {
        let timer = Timer::new(&stage.event_loop);
        self.clone().tick(&timer)?;
        stage.to_the_end()?;
        ensure!(
            !self.starved.get(),
            "more than {MANY_CALLS} callbacks between two ticks"
        );
        ensure_eq!(self.ticks.get(), TICKS, "ticks");
        let calls = self.calls.get();
        ensure!(calls >= TICKS / 2, "only {calls} callbacks");
        stage.note(format_args!("{calls} callbacks in {TICKS} ticks"));
        Ok(())
    }
}

fn errors_that_cause_errors(stage: &Stage) -> Verdict {
    let dead = DeadPeer::new(stage.family)?;
    let (udp, pace) = (stage.connected(dead.address())?, Pace::default());
    let count = pace.clone();
    udp.recv_start(move |udp, _| {
        if count.call(udp) {
            // This callback gets their errors.
            let _ = udp.try_send(b"again");
            let _ = udp.try_send(b"and again");
        }
    })?;
    udp.try_send(b"first")?;
    pace.check(stage)
}

fn reconnecting_per_datagram(stage: &Stage) -> Verdict {
    let (peer, pace) = (Rc::new(stage.raw()?), Pace::default());
    let (count, sender, address) = (pace.clone(), Rc::clone(&peer), peer.address());
    let udp = stage.connected(address)?;
    let here = udp.local_addr()?;
    udp.recv_start(move |udp, _| {
        if count.call(udp) {
            // A full buffer drops datagrams; enough arrive.
            let _ = sender.send("more", here);
            let _ = sender.send("and more", here);
            // A failure ends receiving, which the rule notices.
            let _ = udp.disconnect().and_then(|()| udp.connect(address));
        }
    })?;
    for _ in 0..10 {
        peer.send("first", here)?;
    }
    pace.check(stage)?;
    ensure_eq!(udp.peer_addr()?, address, "the peer");
    Ok(())
}

fn two_floods(stage: &Stage) -> Verdict {
    let (peer, event_loop) = (stage.raw()?, stage.event_loop.clone());
    let inboxes = [Counter::default(), Counter::default()];
    let mut addresses = Vec::new();
    for inbox in &inboxes {
        let (udp, count) = (stage.bound()?, inbox.clone());
        addresses.push(udp.local_addr()?);
        udp.recv_start(move |_, _| count.up())?;
    }
    // More datagrams per iteration than a handle reads in one.
    let (prepare, counts) = (Prepare::new(&stage.event_loop), inboxes.clone());
    prepare.start(move |_| {
        for &address in &addresses {
            // A full buffer drops datagrams; enough arrive.
            let _ = (0..200).try_for_each(|_| peer.send("flood", address));
        }
        if counts.iter().map(Counter::get).sum::<usize>() >= 5000 {
            event_loop.stop();
        }
    })?;
    stage.to_the_end()?;
    let [one, other] = inboxes.map(|inbox| inbox.get());
    ensure!(
        one.min(other) * 2 >= one.max(other),
        "one got {one}, the other {other}"
    );
    Ok(())
}

fn send_for_ever(udp: &Udp) -> Result<()> {
    udp.send(b"again", |udp, _| {
        // Only a closed handle refuses.
        let _ = send_for_ever(udp);
    })
}

fn endless_sending(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    for _ in 0..64 {
        send_for_ever(&udp)?;
    }
    let (timer, event_loop, fired) = (
        Timer::new(&stage.event_loop),
        stage.event_loop.clone(),
        Counter::default(),
    );
    let count = fired.clone();
    let each = Duration::from_millis(1);
    timer.start(each, each, move |_| {
        count.up();
        event_loop.stop();
    })?;
    for round in 1..=5 {
        peer.send("answer", udp.local_addr()?)?;
        while inbox.len() < round {
            let before = fired.get();
            stage.to_the_end()?;
            ensure!(fired.get() > before, "the timer did not fire");
            ensure!(before < 5000, "it does not receive while it sends");
        }
    }
    Ok(())
}

fn idle_loop_sleeps(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (first, second) = (stage.bound()?, stage.connected(peer.address())?);
    let inbox = Inbox::of(&first)?;
    inbox.listen(&second)?;
    // Some earlier activity has ended.
    second.try_send(b"hello")?;
    peer.send("answer", second.local_addr()?)?;
    peer.send("hello", first.local_addr()?)?;
    stage.until("both arrive", || inbox.len() == 2)?;
    let (prepare, turns) = (Prepare::new(&stage.event_loop), Counter::default());
    let count = turns.clone();
    prepare.start(move |_| count.up())?;
    stage.for_a_while(Duration::from_millis(50))?;
    ensure!(turns.get() <= 10, "{} iterations in 50 ms", turns.get());
    stage.note(format_args!("{} iterations in 50 ms", turns.get()));
    Ok(())
}

/// The remaining sends, shared by all outstanding ones.
fn send_the_rest(udp: &Udp, size: usize, left: &Rc<Cell<usize>>, failed: &Counter) {
    const DATA: [u8; 1200] = [7; 1200];
    let Some(less) = left.get().checked_sub(1) else {
        return;
    };
    left.set(less);
    let (more, failures) = (Rc::clone(left), failed.clone());
    let sent = udp.send(&DATA[..size], move |udp, result| {
        if result.is_err() {
            failures.up();
        }
        send_the_rest(udp, size, &more, &failures);
    });
    if sent.is_err() {
        failed.up();
    }
}

fn sixty_four_outstanding(stage: &Stage) -> Verdict {
    const ALL: usize = 20_000;
    for size in [45, 1200] {
        let receiver = stage.bound()?;
        let sender = stage.connected(receiver.local_addr()?)?;
        let (received, failed) = (Counter::default(), Counter::default());
        let (count, over) = (received.clone(), Rc::new(Cell::new(false)));
        let end = Rc::clone(&over);
        receiver.recv_start(move |_, datagram| match datagram {
            Ok(datagram) if datagram.data == b"the end" => end.set(true),
            Ok(_) => count.up(),
            Err(_) => {}
        })?;
        // Ends the loop after the last send.
        receiver.unreference();
        let left = Rc::new(Cell::new(ALL));
        for _ in 0..64 {
            send_the_rest(&sender, size, &left, &failed);
        }
        stage.to_the_end()?;
        stage.a_little_longer()?;
        sender.try_send(b"the end")?;
        receiver.reference();
        stage.until("the last datagram arrives", || over.get())?;
        ensure_eq!(failed.get(), 0, "sends that failed");
        let share = 100.0 * received.get() as f64 / ALL as f64;
        ensure!(
            100 * received.get() >= 99 * ALL,
            "{share:.1} % of the datagrams of {size} bytes arrived"
        );
        stage.note(format_args!("{share:.1} % of those of {size} bytes"));
        receiver.close(|_| ())?;
    }
    Ok(())
}

fn many_senders(stage: &Stage) -> Verdict {
    const SENDERS: usize = 16;
    const EACH: usize = 64;
    let receiver = stage.bound()?;
    let (received, failed) = (Counter::default(), Counter::default());
    let count = received.clone();
    receiver.recv_start(move |_, datagram| {
        if datagram.is_ok() {
            count.up();
        }
    })?;
    receiver.unreference();
    let senders = (0..SENDERS)
        .map(|_| stage.connected(receiver.local_addr()?))
        .collect::<std::result::Result<Vec<_>, Broken>>()?;
    for sender in senders.iter().cycle().take(SENDERS * EACH) {
        let failures = failed.clone();
        sender.send(&[7; 1200], move |_, result| {
            if result.is_err() {
                failures.up();
            }
        })?;
    }
    stage.to_the_end()?;
    stage.a_little_longer()?;
    ensure_eq!(failed.get(), 0, "sends that failed");
    ensure_eq!(received.get(), SENDERS * EACH, "datagrams that arrived");
    Ok(())
}
