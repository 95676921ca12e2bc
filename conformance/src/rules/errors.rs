//! An error about an earlier datagram costs no later one, and reaches the receive callback.

use uv_udp::{Errno, Transmit};

use crate::raw::DeadPeer;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Results, numbered, numbers};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "errors/refused-costs-no-later-try-send",
        "After ECONNREFUSED the next try_send still goes out, and a receiver that starts later gets the error.",
        refused_then_try_send,
    ),
    Rule::each(
        "errors/refused-costs-no-later-send",
        "After ECONNREFUSED the next send still goes out, and completes without an error.",
        refused_then_send,
    ),
    Rule::each(
        "errors/refused-costs-nothing-of-a-burst",
        "An ECONNREFUSED that arrives while datagrams are queued costs none of them.",
        refused_in_a_burst,
    ),
    Rule::each(
        "errors/refused-costs-nothing-of-a-batch",
        "An ECONNREFUSED costs no datagram of try_transmit_batch and of try_transmit with segments.",
        refused_in_a_batch,
    ),
    Rule::each(
        "errors/every-send-to-a-dead-peer-completes",
        "Each send of a burst to a port without a listener completes without an error: the kernel took it.",
        burst_to_a_dead_peer,
    ),
    Rule::each(
        "errors/refused-is-reported-once-per-error",
        "The receive callback gets ECONNREFUSED once per refused datagram, and the handle continues to receive.",
        reported_once,
    ),
    Rule::each(
        "errors/of-a-former-peer-cost-the-next-nothing",
        "An ECONNREFUSED of the former peer costs no datagram to the next one, or after disconnect.",
        former_peer,
    ),
    Rule::each(
        "errors/of-a-former-peer-are-not-reported",
        "After a reconnect the receive callback gets no ECONNREFUSED of the former peer; the counters have it.",
        former_peers_errors,
    ),
    Rule::each(
        "errors/unconnected-handles-send-on",
        "On an unconnected handle, a port without a listener costs no datagram to other ports.",
        unconnected,
    ),
];

fn refused_then_try_send(stage: &Stage) -> Verdict {
    let dead = DeadPeer::new(stage.family)?;
    let udp = stage.connected(dead.address())?;
    udp.try_send(b"lost")?;
    let live = dead.revive()?;
    ensure_eq!(udp.try_send(b"next"), Ok(4), "try_send after the refusal");
    ensure_eq!(live.recv_text()?, "next", "the received datagrams");
    stage.a_little_longer()?;
    // The send took the error from the socket before this receiver started.
    let inbox = Inbox::of(&udp)?;
    stage.until("the refusal is reported", || !inbox.errors().is_empty())?;
    live.send("answer", udp.local_addr()?)?;
    stage.until("an answer arrives", || inbox.len() == 1)?;
    ensure_eq!(inbox.errors(), [Errno::ECONNREFUSED], "errors reported");
    Ok(())
}

fn refused_then_send(stage: &Stage) -> Verdict {
    let (dead, results) = (DeadPeer::new(stage.family)?, Results::default());
    let udp = stage.connected(dead.address())?;
    let inbox = Inbox::of(&udp)?;
    udp.send(b"lost", results.of(0))?;
    let live = dead.revive()?;
    udp.send(b"next", results.of(1))?;
    stage.until("both complete", || results.len() == 2)?;
    ensure_eq!(results.all(), [(0, Ok(())), (1, Ok(()))], "results");
    ensure_eq!(live.recv_text()?, "next", "the received datagrams");
    stage.until("the refusal is reported", || !inbox.errors().is_empty())?;
    stage.a_little_longer()?;
    ensure_eq!(inbox.errors(), [Errno::ECONNREFUSED], "errors reported");
    Ok(())
}

fn refused_in_a_burst(stage: &Stage) -> Verdict {
    for sizes in [[30, 30, 30], [30, 40, 50], [50, 50, 10]] {
        let (dead, results) = (DeadPeer::new(stage.family)?, Results::default());
        let udp = stage.connected(dead.address())?;
        let inbox = Inbox::of(&udp)?;
        udp.send(b"lost", results.of(0))?;
        for number in 1..100 {
            udp.send(&numbered(number, sizes[number % 3]), results.of(number))?;
        }
        // The first datagram was refused. The queued ones leave with the error pending.
        let live = dead.revive()?;
        stage.until("all complete", || results.len() == 100)?;
        ensure_eq!(
            results.with(Ok(())),
            (0..100).collect::<Vec<_>>(),
            "sends that went well"
        );
        let arrived = numbers(&live.rest()?);
        ensure_eq!(
            arrived,
            (1..100).collect::<Vec<_>>(),
            "the received datagrams of sizes {sizes:?}"
        );
        stage.until("the refusal is reported", || !inbox.errors().is_empty())?;
        stage.a_little_longer()?;
        ensure_eq!(inbox.errors(), [Errno::ECONNREFUSED], "errors reported");
    }
    Ok(())
}

fn refused_in_a_batch(stage: &Stage) -> Verdict {
    let data: Vec<_> = (0..20)
        .map(|number| numbered(number, 40 + number))
        .collect();
    let batch: Vec<_> = data.iter().map(Transmit::new).collect();
    let dead = DeadPeer::new(stage.family)?;
    let udp = stage.connected(dead.address())?;
    udp.try_send(b"lost")?;
    let live = dead.revive()?;
    stage.send_batch(&udp, &batch)?;
    let arrived = numbers(&live.rest()?);
    ensure_eq!(
        arrived,
        (0..20).collect::<Vec<_>>(),
        "the received datagrams of the batch"
    );

    let dead = DeadPeer::new(stage.family)?;
    let udp = stage.connected(dead.address())?;
    udp.try_send(b"lost")?;
    let live = dead.revive()?;
    let segment = 4.try_into().map_err(|_| Errno::EINVAL)?;
    ensure_eq!(
        udp.try_transmit(&Transmit::new(b"000000010002").with_segment_size(segment)),
        Ok(12),
        "try_transmit with segments"
    );
    ensure_eq!(
        live.recv_texts(3)?,
        ["0000", "0001", "0002"],
        "the received segments"
    );
    Ok(())
}

fn burst_to_a_dead_peer(stage: &Stage) -> Verdict {
    let (dead, results) = (DeadPeer::new(stage.family)?, Results::default());
    let udp = stage.connected(dead.address())?;
    let inbox = Inbox::of(&udp)?;
    // Equal and unequal sizes: each of the latter is refused before the next one leaves.
    for number in 0..100 {
        let size = if number < 50 { 30 } else { 4 + number };
        udp.send(&numbered(number, size), results.of(number))?;
    }
    stage.until("all complete", || results.len() == 100)?;
    ensure_eq!(
        results.with(Ok(())),
        (0..100).collect::<Vec<_>>(),
        "sends that went well"
    );
    stage.until("a refusal is reported", || !inbox.errors().is_empty())?;
    ensure!(
        inbox
            .errors()
            .iter()
            .all(|&error| error == Errno::ECONNREFUSED),
        "another error"
    );
    stage.note(format_args!("{} refusals reported", inbox.errors().len()));
    Ok(())
}

fn reported_once(stage: &Stage) -> Verdict {
    let dead = DeadPeer::new(stage.family)?;
    let udp = stage.connected(dead.address())?;
    let inbox = Inbox::of(&udp)?;
    for round in 1..=5 {
        udp.try_send(b"refused")?;
        stage.until("the refusal is reported", || inbox.errors().len() >= round)?;
        stage.a_little_longer()?;
        ensure_eq!(
            inbox.errors(),
            vec![Errno::ECONNREFUSED; round],
            "errors reported"
        );
    }
    ensure!(
        udp.is_connected() && udp.is_active(),
        "the handle changed its state"
    );
    let live = dead.revive()?;
    for round in 1..=3 {
        udp.try_send(b"hello")?;
        let (_, source) = live.recv()?;
        live.send("answer", source)?;
        stage.until("an answer arrives", || inbox.len() == round)?;
    }
    ensure_eq!(inbox.errors().len(), 5, "errors reported");
    Ok(())
}

fn former_peer(stage: &Stage) -> Verdict {
    let (dead, live, results) = (
        DeadPeer::new(stage.family)?,
        stage.raw()?,
        Results::default(),
    );
    let udp = stage.connected(dead.address())?;
    udp.try_send(b"lost")?;
    udp.connect(live.address())?;
    ensure_eq!(udp.try_send(b"1"), Ok(1), "try_send to the next peer");
    udp.connect(dead.address())?;
    udp.try_send(b"lost")?;
    udp.connect(live.address())?;
    udp.send(b"2", results.of(2))?;
    udp.send(b"3", results.of(3))?;
    stage.until("both complete", || results.len() == 2)?;
    udp.connect(dead.address())?;
    udp.try_send(b"lost")?;
    udp.disconnect()?;
    ensure_eq!(
        udp.try_send_to(b"4", live.address()),
        Ok(1),
        "try_send_to after disconnecting"
    );
    ensure_eq!(results.with(Ok(())), [2, 3], "sends that went well");
    ensure_eq!(
        live.recv_texts(4)?,
        ["1", "2", "3", "4"],
        "the datagrams at the next peer"
    );
    Ok(())
}

fn former_peers_errors(stage: &Stage) -> Verdict {
    let (dead, live) = (DeadPeer::new(stage.family)?, stage.raw()?);
    let udp = stage.connected(dead.address())?;
    for _ in 0..3 {
        ensure_eq!(udp.try_send(b"lost"), Ok(4), "try_send to the dead peer");
    }
    udp.connect(live.address())?;
    let inbox = Inbox::of(&udp)?;
    live.send("alive", udp.local_addr()?)?;
    stage.until("the next peer's datagram arrives", || inbox.len() == 1)?;
    stage.a_little_longer()?;
    ensure_eq!(inbox.errors(), [], "errors reported");
    let counted = udp.counters().errors;
    ensure_eq!(counted, [(Errno::ECONNREFUSED, 3)], "errors counted");
    Ok(())
}

fn unconnected(stage: &Stage) -> Verdict {
    let (dead, live, results) = (
        DeadPeer::new(stage.family)?,
        stage.raw()?,
        Results::default(),
    );
    let udp = stage.bound()?;
    let inbox = Inbox::of(&udp)?;
    for number in 0..20 {
        let to = if number % 2 == 0 {
            dead.address()
        } else {
            live.address()
        };
        udp.send_to(&numbered(number, 10), to, results.of(number))?;
    }
    stage.until("all complete", || results.len() == 20)?;
    ensure_eq!(
        results.with(Ok(())),
        (0..20).collect::<Vec<_>>(),
        "sends that went well"
    );
    let arrived = numbers(&live.rest()?);
    ensure_eq!(
        arrived,
        (0..20).filter(|number| number % 2 == 1).collect::<Vec<_>>(),
        "the received datagrams"
    );
    live.send("answer", udp.local_addr()?)?;
    stage.until("an answer arrives", || inbox.len() == 1)?;
    ensure_eq!(inbox.errors(), [], "errors reported");
    Ok(())
}
