//! Full send buffers and ENOBUFS: sends wait without busy polling, and keep their order and their
//! peer.

use std::net::SocketAddr;
use std::time::Duration;

use uv_udp::{Check, Errno, Prepare, Timer, Transmit, Udp};

use crate::network::{Far, Near, far, silent};
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Log, Results, numbered, numbers};

pub(super) const RULES: &[Rule] = &[
    Rule::isolated(
        "pressure/a-full-buffer-is-waited-for",
        "Sends into a full buffer wait without busy polling, and leave in order when there is room.",
        full_buffer,
    ),
    Rule::isolated(
        "pressure/try-send-is-eagain-while-it-is-full",
        "try_send is EAGAIN while the buffer is full, and sends nothing.",
        try_send_while_full,
    ),
    Rule::isolated(
        "pressure/close-cancels-what-does-not-go",
        "On close, sends that the kernel does not take complete with ECANCELED, in order, before the close callback.",
        close_while_full,
    ),
    Rule::isolated(
        "pressure/disconnect-cancels-what-does-not-go",
        "On disconnect, sends that the kernel does not take complete with ECANCELED and do not leave.",
        disconnect_while_full,
    ),
    Rule::isolated(
        "pressure/what-does-not-go-never-reaches-the-next-peer",
        "On reconnect, sends that the kernel does not take complete with ECANCELED, and never reach the next peer.",
        connect_while_full,
    ),
    Rule::isolated(
        "pressure/a-full-handle-leaves-the-others-alone",
        "A handle with a full buffer does not delay other handles of the loop.",
        others_while_full,
    ),
    Rule::isolated(
        "pressure/enobufs-is-waited-out-and-reported",
        "ENOBUFS causes growing pauses without busy polling, and finally completes the send.",
        enobufs,
    ),
    Rule::isolated(
        "pressure/enobufs-that-passes-costs-nothing",
        "When the device has buffers again, waiting sends leave in order.",
        enobufs_passes,
    ),
    Rule::isolated(
        "pressure/try-send-is-enobufs-at-once",
        "try_send returns ENOBUFS at once, and the next send works.",
        try_send_enobufs,
    ),
    Rule::each(
        "pressure/beyond-the-limit-is-enobufs",
        "A send beyond the queue limit is ENOBUFS, and is not accepted.",
        limit,
    ),
    Rule::each(
        "pressure/drained-follows-the-last-callback",
        "on_drained runs from the loop each time the queue has become empty.",
        drained,
    ),
];

/// More datagrams than the smallest buffer holds. Sizes grow, so each is a message of its own.
const MANY: usize = 60;

fn data(number: usize) -> Vec<u8> {
    numbered(number, 10 + number)
}

/// A handle with the smallest send buffer, a silent peer, and mostly queued sends.
struct Jam {
    cable: Far,
    /// The socket that receives them in the end.
    sleeper: Raw,
    udp: Udp,
    results: Results,
}

impl Jam {
    fn new(stage: &Stage, near: &Near) -> Result<Self, Broken> {
        let cable = near.cable()?;
        let sleeper = cable.sleeper(stage.family)?;
        let udp = stage.connected(SocketAddr::new(
            silent(stage.family),
            sleeper.address().port(),
        ))?;
        udp.options().set_send_buffer_size(1)?;
        let results = Results::default();
        for number in 0..MANY {
            udp.send(&data(number), results.of(number))?;
        }
        stage.a_little_longer()?;
        let jam = Self {
            cable,
            sleeper,
            udp,
            results,
        };
        ensure!(jam.results.len() < MANY, "the buffer is not full");
        ensure!(jam.udp.send_queue_count() > 0, "nothing is queued");
        Ok(jam)
    }

    /// Checks that each send completed once and in order, first the sent and then the canceled
    /// ones, and that the sent ones arrive when the destination wakes.
    fn went_or_was_canceled(&self, stage: &Stage) -> Verdict {
        stage.until("all complete", || self.results.len() >= MANY)?;
        stage.a_little_longer()?;
        let sent = self.results.with(Ok(())).len();
        let result = |number| {
            if number < sent {
                Ok(())
            } else {
                Err(Errno::ECANCELED)
            }
        };
        let expected: Vec<_> = (0..MANY).map(|number| (number, result(number))).collect();
        ensure_eq!(self.results.all(), expected, "results");
        ensure!(sent < MANY, "nothing was canceled");
        self.cable.wake(stage.family)?;
        let arrived = numbers(&self.sleeper.recv_texts(sent)?);
        ensure_eq!(
            arrived,
            (0..sent).collect::<Vec<_>>(),
            "the received datagrams"
        );
        ensure_eq!(self.sleeper.rest()?, [""; 0], "other datagrams");
        stage.note(format_args!("{sent} of {MANY} went"));
        Ok(())
    }
}

/// Counts iterations of the loop until it is dropped.
fn iterations(stage: &Stage) -> Result<(Prepare, Counter), Errno> {
    let (prepare, turns) = (Prepare::new(&stage.event_loop), Counter::default());
    let count = turns.clone();
    prepare.start(move |_| count.up())?;
    prepare.unreference();
    Ok((prepare, turns))
}

fn full_buffer(stage: &Stage, near: &Near) -> Verdict {
    let jam = Jam::new(stage, near)?;
    let (_hook, turns) = iterations(stage)?;
    let before = jam.results.len();
    stage.for_a_while(Duration::from_millis(50))?;
    ensure_eq!(
        jam.results.len(),
        before,
        "completions while the buffer is full"
    );
    ensure!(
        turns.get() <= 20,
        "{} iterations in 50 ms of waiting",
        turns.get()
    );
    jam.cable.wake(stage.family)?;
    stage.until("all complete", || jam.results.len() == MANY)?;
    ensure_eq!(
        jam.results.with(Ok(())),
        (0..MANY).collect::<Vec<_>>(),
        "sends that went well"
    );
    for expected in 0..MANY {
        ensure_eq!(
            jam.sleeper.recv()?.0,
            data(expected),
            "the received datagrams"
        );
    }
    ensure_eq!(jam.sleeper.rest()?, [""; 0], "other datagrams");
    stage.note(format_args!(
        "{} iterations in 50 ms of waiting",
        turns.get()
    ));
    Ok(())
}

fn try_send_while_full(stage: &Stage, near: &Near) -> Verdict {
    let jam = Jam::new(stage, near)?;
    for _ in 0..10 {
        ensure_eq!(
            jam.udp.try_send(b"overtaking"),
            Err(Errno::EAGAIN),
            "try_send"
        );
        stage.a_little_longer()?;
    }
    jam.cable.wake(stage.family)?;
    stage.until("all complete", || jam.results.len() == MANY)?;
    ensure_eq!(
        jam.udp.try_send(b"last"),
        Ok(4),
        "try_send on an empty queue"
    );
    let texts = jam.sleeper.recv_texts(MANY + 1)?;
    ensure!(
        texts.iter().all(|text| text != "overtaking"),
        "a refused datagram arrived"
    );
    ensure_eq!(
        texts.last().map(String::as_str),
        Some("last"),
        "the last that arrived"
    );
    Ok(())
}

fn close_while_full(stage: &Stage, near: &Near) -> Verdict {
    let jam = Jam::new(stage, near)?;
    let (closed, results) = (Log::default(), jam.results.clone());
    let log = closed.clone();
    jam.udp.close(move |_| log.push(results.len()))?;
    stage.until("the close callback is called", || closed.len() == 1)?;
    ensure_eq!(
        closed.all(),
        [MANY],
        "completions before the close callback"
    );
    jam.went_or_was_canceled(stage)
}

fn disconnect_while_full(stage: &Stage, near: &Near) -> Verdict {
    let jam = Jam::new(stage, near)?;
    let other = jam.cable.raw(SocketAddr::new(far(stage.family), 0))?;
    jam.udp.disconnect()?;
    let (results, size) = (Results::default(), jam.udp.send_queue_size());
    jam.udp.send_to(b"hello", other.address(), results.of(0))?;
    ensure!(
        jam.udp.send_queue_size() == size + 5,
        "the queue does not count"
    );
    jam.went_or_was_canceled(stage)?;
    only_hello_arrives(stage, &results, &other)
}

/// Checks that the send behind the full queue arrives where it was sent to, and nothing else does.
fn only_hello_arrives(stage: &Stage, results: &Results, other: &Raw) -> Verdict {
    stage.until("the next send completes", || results.len() == 1)?;
    ensure_eq!(results.with(Ok(())), [0], "sends that went well");
    ensure_eq!(
        other.recv_text()?,
        "hello",
        "the datagrams at the other socket"
    );
    ensure_eq!(other.rest()?, [""; 0], "other datagrams at the peer");
    Ok(())
}

fn connect_while_full(stage: &Stage, near: &Near) -> Verdict {
    let jam = Jam::new(stage, near)?;
    let other = jam.cable.raw(SocketAddr::new(far(stage.family), 0))?;
    jam.udp.connect(other.address())?;
    let results = Results::default();
    jam.udp.send(b"hello", results.of(0))?;
    jam.went_or_was_canceled(stage)?;
    only_hello_arrives(stage, &results, &other)
}

fn others_while_full(stage: &Stage, near: &Near) -> Verdict {
    let jam = Jam::new(stage, near)?;
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    for number in 0..MANY {
        udp.send(&data(number), results.of(number))?;
    }
    stage.until("all complete", || results.len() == MANY)?;
    ensure_eq!(results.with(Ok(())).len(), MANY, "sends that went well");
    ensure_eq!(peer.recv_texts(MANY)?.len(), MANY, "datagrams that arrived");
    ensure!(
        jam.results.len() < MANY,
        "the other buffer is not full any more"
    );
    Ok(())
}

/// A handle without buffers for its datagrams of many packets: the smallest send buffer, and
/// packets of 1,500 bytes.
fn starved(stage: &Stage, near: &Near, peer: &Raw) -> Result<Udp, Broken> {
    near.ip("link set lo mtu 1500")?;
    let udp = stage.connected(peer.address())?;
    udp.options().set_send_buffer_size(1)?;
    Ok(udp)
}

static TOO_LARGE: [u8; 60_000] = [7; 60_000];

fn enobufs(stage: &Stage, near: &Near) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = starved(stage, near, &peer)?;
    let attempts = near.sends_without_buffers(stage.family)?;
    // The times of attempts by the kernel's counter, on the loop's clock.
    let (check, moments, count, family) = (
        Check::new(&stage.event_loop),
        Log::default(),
        Counter::default(),
        stage.family,
    );
    let (log, event_loop) = (moments.clone(), stage.event_loop.clone());
    let here = *near;
    check.start(move |_| {
        let now = here.sends_without_buffers(family).unwrap_or(0);
        while attempts + count.get() < now {
            count.up();
            log.push(event_loop.now());
        }
    })?;
    check.unreference();
    let (_hook, turns) = iterations(stage)?;
    let (timer, ticks) = (Timer::new(&stage.event_loop), Counter::default());
    let (tick, each) = (ticks.clone(), Duration::from_millis(20));
    timer.start(each, each, move |_| tick.up())?;
    udp.send(&TOO_LARGE, results.of(0))?;
    udp.send(b"behind it", results.of(1))?;
    ensure_eq!(
        udp.try_send(b"overtaking"),
        Err(Errno::EAGAIN),
        "try_send while it waits"
    );
    stage.until("the large one completes", || results.len() > 0)?;
    let (ticks, turns) = (ticks.get(), turns.get());
    stage.until("the one behind it completes", || results.len() > 1)?;
    ensure_eq!(
        results.all(),
        [(0, Err(Errno::ENOBUFS)), (1, Ok(()))],
        "results"
    );
    ensure_eq!(peer.recv_text()?, "behind it", "the received datagrams");
    ensure_eq!(peer.rest()?, [""; 0], "other datagrams");
    let moments = moments.all();
    ensure!(
        (4..=40).contains(&moments.len()),
        "{} attempts",
        moments.len()
    );
    ensure!(ticks >= 2, "other timers did not fire: {ticks}");
    ensure!(
        turns <= 20 * moments.len() + 10 * ticks,
        "{turns} iterations for {} attempts",
        moments.len()
    );
    pauses_grow(&moments)?;
    stage.note(format_args!("{} attempts", moments.len()));
    Ok(())
}

/// The last pauses between attempts are much longer than the first ones.
fn pauses_grow(moments: &[u64]) -> Verdict {
    let pauses: Vec<_> = moments
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .filter(|&pause| pause > 0)
        .collect();
    let (early, late) = (
        pauses.iter().take(3).min(),
        pauses.iter().rev().take(3).max(),
    );
    ensure!(
        early
            .zip(late)
            .is_some_and(|(early, late)| late > &(4 * early)),
        "the pauses do not grow: {pauses:?}"
    );
    Ok(())
}

fn enobufs_passes(stage: &Stage, near: &Near) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    uv_sys::option::set_recv_buffer_size(&peer, 1 << 20)?;
    let udp = starved(stage, near, &peer)?;
    let before = near.sends_without_buffers(stage.family)?;
    udp.send(&TOO_LARGE, results.of(0))?;
    udp.send(b"behind it", results.of(1))?;
    stage.a_little_longer()?;
    ensure!(
        near.sends_without_buffers(stage.family)? > before,
        "there was no ENOBUFS"
    );
    ensure_eq!(results.len(), 0, "completions without buffers");
    udp.options().set_send_buffer_size(1 << 20)?;
    stage.until("both complete", || results.len() == 2)?;
    ensure_eq!(results.all(), [(0, Ok(())), (1, Ok(()))], "results");
    ensure_eq!(
        peer.recv()?.0.len(),
        TOO_LARGE.len(),
        "bytes of the first that arrived"
    );
    ensure_eq!(peer.recv_text()?, "behind it", "the datagrams after it");
    Ok(())
}

fn try_send_enobufs(stage: &Stage, near: &Near) -> Verdict {
    let peer = stage.raw()?;
    let udp = starved(stage, near, &peer)?;
    let before = near.sends_without_buffers(stage.family)?;
    ensure_eq!(
        udp.try_send(&TOO_LARGE),
        Err(Errno::ENOBUFS),
        "try_send of a large one"
    );
    ensure_eq!(
        near.sends_without_buffers(stage.family)? - before,
        1,
        "attempts"
    );
    ensure_eq!(udp.try_send(b"small"), Ok(5), "try_send of a small one");
    ensure_eq!(peer.recv_text()?, "small", "the received datagrams");
    Ok(())
}

fn limit(stage: &Stage) -> Verdict {
    let raw = stage.raw()?;
    let (udp, results) = (stage.connected(raw.address())?, Results::default());
    udp.set_send_queue_limit(Some(10));
    udp.send(b"four", results.of(0))?;
    udp.send(b"five.", results.of(1))?;
    let refused = udp.send(b"xx", results.of(2));
    ensure_eq!(refused, Err(Errno::ENOBUFS), "a send beyond the limit");
    let refused = udp.transmit(Transmit::new(b"xx").with_token(3), results.by_token());
    ensure_eq!(refused, Err(Errno::ENOBUFS), "a transmit beyond the limit");
    ensure_eq!(udp.send_queue_size(), 9, "bytes in the queue");
    udp.send(b"1", results.of(4))?;
    stage.until("all of them complete", || udp.send_queue_count() == 0)?;
    udp.send(b"again", results.of(5))?;
    stage.until("that completes", || udp.send_queue_count() == 0)?;
    ensure_eq!(results.with(Ok(())), [0, 1, 4, 5], "sends that completed");
    ensure_eq!(
        raw.rest()?,
        ["four", "five.", "1", "again"],
        "the received datagrams"
    );
    Ok(())
}

fn drained(stage: &Stage) -> Verdict {
    let udp = stage.connected(stage.raw()?.address())?;
    let log = Log::default();
    let entries = log.clone();
    udp.on_drained(move |udp| entries.push(("drained", udp.send_queue_count())))?;
    for round in 1..3 {
        for _ in 0..3 {
            let entries = log.clone();
            udp.send(b"hello", move |udp, _| {
                entries.push(("sent", udp.send_queue_count()))
            })?;
        }
        ensure_eq!(log.len(), (round - 1) * 4, "calls inside the sends");
        stage.until("it is drained", || log.len() == round * 4)?;
    }
    let names: Vec<_> = log.all().into_iter().map(|(name, _)| name).collect();
    let expected = ["sent", "sent", "sent", "drained"].repeat(2);
    ensure_eq!(names, expected, "the order of the calls");
    let left = log.all().into_iter().filter(|&(name, _)| name == "drained");
    ensure!(
        left.into_iter().all(|(_, count)| count == 0),
        "something is left when drained"
    );
    Ok(())
}
