//! A datagram reaches the peer that it was accepted for, or none. A connected handle delivers
//! datagrams of its peer only.

use uv_udp::Errno;

use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Log, Results, numbered, numbers, text};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "peer/what-is-queued-never-reaches-the-next-peer",
        "Sends queued for one peer never reach the next one; each completes, sent or ECANCELED.",
        queued_then_connected,
    ),
    Rule::each(
        "peer/what-is-queued-never-follows-a-disconnect",
        "Sends queued before disconnect reach the former peer or complete with ECANCELED.",
        queued_then_disconnected,
    ),
    Rule::each(
        "peer/what-is-queued-with-an-address-never-reaches-a-peer",
        "Sends queued by send_to reach their own destinations or none after connect.",
        queued_with_address_then_connected,
    ),
    Rule::each(
        "peer/what-is-queued-never-follows-a-change-in-a-callback",
        "Sends queued for one peer never reach the peer to which a send callback connects.",
        changed_in_a_callback,
    ),
    Rule::each(
        "filter/datagrams-from-before-connect-are-filtered",
        "Datagrams that arrived between bind and connect are delivered only if the peer sent them.",
        strangers_before_connect,
    ),
    Rule::each(
        "filter/a-receiving-handle-filters-datagrams-from-before-connect",
        "The filter also works on a handle that was receiving before connect.",
        receiving_before_connect,
    ),
    Rule::each(
        "filter/a-batch-callback-gets-filtered-batches",
        "The filter also works for recv_batch_start, and empty batches cause no call.",
        batches_without_strangers,
    ),
    Rule::each(
        "filter/connecting-in-the-callback-ends-strangers-at-once",
        "After a receive callback connects its handle, it gets datagrams of the peer only.",
        connecting_in_the_callback,
    ),
    Rule::each(
        "filter/the-former-peer-is-filtered",
        "After a reconnect, earlier datagrams of the former peer are not delivered.",
        former_peer,
    ),
    Rule::each(
        "filter/a-connected-handle-receives-from-its-peer-only",
        "A connected handle receives from its peer only, however often other sockets send.",
        strangers_after_connect,
    ),
    Rule::each(
        "filter/a-disconnected-handle-receives-from-all",
        "A disconnected handle receives from its former peer and from all others.",
        everybody_after_disconnect,
    ),
];

/// Checks that the peer got exactly the sends with a success.
fn each_went_there_or_nowhere(results: &Results, count: usize, peer: &Raw) -> Verdict {
    let order: Vec<_> = results.all().iter().map(|&(number, _)| number).collect();
    ensure_eq!(
        order,
        (0..count).collect::<Vec<_>>(),
        "completions, in order"
    );
    let (sent, canceled) = (results.with(Ok(())), results.with(Err(Errno::ECANCELED)));
    ensure_eq!(
        sent.len() + canceled.len(),
        count,
        "sent and canceled, of {:?}",
        results.all()
    );
    let arrived = numbers(&peer.rest()?);
    ensure_eq!(arrived, sent, "the datagrams at the peer");
    Ok(())
}

fn queued_then_connected(stage: &Stage) -> Verdict {
    let (first, second, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.connected(first.address())?;
    for number in 0..100 {
        udp.send(&numbered(number, 4 + number % 5), results.of(number))?;
    }
    udp.connect(second.address())?;
    udp.send(b"for the second", results.of(100))?;
    stage.until("all complete", || results.len() == 101)?;
    ensure_eq!(
        second.recv_text()?,
        "for the second",
        "the datagrams at the second peer"
    );
    ensure_eq!(second.rest()?, [""; 0], "other datagrams at the peer");
    let of_first = Results::default();
    results
        .all()
        .into_iter()
        .take(100)
        .for_each(|result| of_first.push(result));
    each_went_there_or_nowhere(&of_first, 100, &first)
}

fn queued_then_disconnected(stage: &Stage) -> Verdict {
    let (first, second, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.connected(first.address())?;
    for number in 0..50 {
        udp.send(&numbered(number, 10), results.of(number))?;
    }
    udp.disconnect()?;
    // The kernel has no destination for a leftover without an address, so a wrong one would show
    // here.
    while udp.try_send_to(b"hello", second.address()) == Err(Errno::EAGAIN) {
        stage.a_little_longer()?;
    }
    stage.until("all complete", || results.len() == 50)?;
    ensure_eq!(
        second.recv_text()?,
        "hello",
        "the datagrams at another socket"
    );
    ensure_eq!(second.rest()?, [""; 0], "other datagrams at the peer");
    each_went_there_or_nowhere(&results, 50, &first)
}

fn queued_with_address_then_connected(stage: &Stage) -> Verdict {
    let (first, second, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.bound()?;
    for number in 0..50 {
        udp.send_to(&numbered(number, 10), first.address(), results.of(number))?;
    }
    udp.connect(second.address())?;
    stage.until("all complete", || results.len() == 50)?;
    ensure_eq!(second.rest()?, [""; 0], "the datagrams at the peer");
    each_went_there_or_nowhere(&results, 50, &first)
}

fn changed_in_a_callback(stage: &Stage) -> Verdict {
    let (first, second, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.connected(first.address())?;
    let (log, next, changed) = (results.clone(), second.address(), Log::default());
    let told = changed.clone();
    udp.send(&numbered(0, 10), move |udp, result| {
        log.push((0, result));
        told.push(udp.connect(next));
    })?;
    for number in 1..200 {
        udp.send(&numbered(number, 4 + number % 3), results.of(number))?;
    }
    stage.until("all complete", || results.len() == 200)?;
    ensure_eq!(changed.all(), [Ok(())], "connecting in the callback");
    ensure_eq!(second.rest()?, [""; 0], "the datagrams at the second peer");
    each_went_there_or_nowhere(&results, 200, &first)
}

fn strangers_before_connect(stage: &Stage) -> Verdict {
    let (peer, stranger) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    // Bursts around the widths of system calls, with a datagram of the peer after each.
    let mut expected = Vec::new();
    for (round, burst) in [1, 31, 32, 33, 64].into_iter().enumerate() {
        (0..burst).try_for_each(|_| stranger.send("stranger", here))?;
        peer.send(round.to_string(), here)?;
        expected.push(round.to_string());
    }
    udp.connect(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    peer.send("late", here)?;
    expected.push("late".into());
    stage.until("the peer's last datagram arrives", || {
        inbox.texts().contains(&"late".into())
    })?;
    ensure_eq!(inbox.texts(), expected, "the received datagrams");
    let mut sources = inbox.datagrams().into_iter().map(|(_, source)| source);
    let peer = peer.address();
    ensure!(sources.all(|source| source == peer), "a wrong source");
    Ok(())
}

fn receiving_before_connect(stage: &Stage) -> Verdict {
    let (peer, stranger) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    let inbox = Inbox::of(&udp)?;
    stranger.send("while unconnected", here)?;
    stage.until("a stranger's datagram arrives", || inbox.len() == 1)?;
    stranger.send("stranger", here)?;
    peer.send("early", here)?;
    udp.connect(peer.address())?;
    peer.send("late", here)?;
    stage.until("the peer's last datagram arrives", || {
        inbox.texts().contains(&"late".into())
    })?;
    ensure_eq!(
        inbox.texts(),
        ["while unconnected", "early", "late"],
        "the inbox"
    );
    Ok(())
}

fn batches_without_strangers(stage: &Stage) -> Verdict {
    let (peer, stranger) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    for _ in 0..40 {
        stranger.send("stranger", here)?;
    }
    peer.send("early", here)?;
    udp.connect(peer.address())?;
    let (log, seen) = (Log::default(), Log::default());
    let (texts, batches) = (log.clone(), seen.clone());
    udp.recv_batch_start(move |_, received| {
        let all: Vec<_> = received
            .map(|batch| batch.map(|datagram| text(datagram.data)).collect())
            .unwrap_or_default();
        batches.push(all.len());
        all.into_iter().for_each(|each: String| texts.push(each));
    })?;
    peer.send("late", here)?;
    stage.until("the peer's last datagram arrives", || {
        log.all().contains(&"late".into())
    })?;
    ensure_eq!(log.all(), ["early", "late"], "the received datagrams");
    ensure!(
        !seen.all().contains(&0),
        "the callback was called for nothing"
    );
    Ok(())
}

fn connecting_in_the_callback(stage: &Stage) -> Verdict {
    let (peer, stranger) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    for number in 0..5 {
        stranger.send(format!("stranger {number}"), here)?;
    }
    peer.send("early", here)?;
    let (log, connected, to) = (Log::default(), Log::default(), peer.address());
    let (texts, told) = (log.clone(), connected.clone());
    udp.recv_start(move |udp, received| {
        texts.push(received.map(|datagram| text(datagram.data)));
        if !udp.is_connected() {
            told.push(udp.connect(to));
        }
    })?;
    stage.until("the first arrives", || log.len() > 0)?;
    peer.send("late", here)?;
    stage.until("the peer's last datagram arrives", || {
        log.all().contains(&Ok("late".into()))
    })?;
    ensure_eq!(connected.all(), [Ok(())], "connecting in the callback");
    ensure_eq!(
        log.all(),
        ["stranger 0", "early", "late"].map(|text| Ok(text.into())),
        "the received datagrams"
    );
    Ok(())
}

fn former_peer(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    let udp = stage.connected(first.address())?;
    let here = udp.local_addr()?;
    for _ in 0..3 {
        first.send("first", here)?;
    }
    udp.connect(second.address())?;
    let inbox = Inbox::of(&udp)?;
    first.send("first", here)?;
    second.send("second", here)?;
    stage.until("the peer's datagram arrives", || {
        inbox.texts().contains(&"second".into())
    })?;
    stage.a_little_longer()?;
    ensure_eq!(inbox.texts(), ["second"], "the inbox");
    Ok(())
}

fn strangers_after_connect(stage: &Stage) -> Verdict {
    let (peer, filtered) = (stage.raw()?, [stage.raw()?, stage.raw()?]);
    let udp = stage.connected(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    for round in 0..20 {
        for stranger in &filtered {
            stranger.send("stranger", udp.local_addr()?)?;
        }
        peer.send(round.to_string(), udp.local_addr()?)?;
        stage.until("the peer's datagram arrives", || inbox.len() > round)?;
    }
    let expected: Vec<_> = (0..20).map(|round| round.to_string()).collect();
    ensure_eq!(inbox.texts(), expected, "the inbox");
    Ok(())
}

fn everybody_after_disconnect(stage: &Stage) -> Verdict {
    let (peer, stranger) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    let inbox = Inbox::of(&udp)?;
    for round in 0..3 {
        udp.connect(peer.address())?;
        stranger.send("unheard", here)?;
        udp.disconnect()?;
        peer.send("former peer", here)?;
        stranger.send("stranger", here)?;
        let count = 2 * (round + 1);
        stage.until("both arrive", || inbox.len() == count)?;
    }
    ensure_eq!(
        inbox.texts(),
        ["former peer", "stranger"].repeat(3),
        "the inbox"
    );
    let last = inbox.datagrams().pop().map(|(_, source)| source);
    ensure_eq!(last, Some(stranger.address()), "the source of the last");
    Ok(())
}
