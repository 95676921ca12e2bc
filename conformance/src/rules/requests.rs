//! Every accepted request completes exactly once and in order, datagrams leave in order, and no
//! send overtakes another.

use std::num::NonZeroU16;
use std::rc::Rc;

use uv_udp::{Errno, Transmit, Udp};

use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Log, Results, numbered, numbers};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "requests/each-completes-once-in-order-of-acceptance",
        "Every accepted send completes exactly once, in the order of acceptance on its handle.",
        each_completes_once,
    ),
    Rule::each(
        "requests/complete-before-the-close-callback",
        "On close by any call, accepted sends complete in order before the close callback, sent or with ECANCELED.",
        complete_before_close,
    ),
    Rule::each(
        "requests/a-refused-call-accepts-nothing",
        "A call that returns an error accepts nothing: its callback is dropped and never runs.",
        refused_accepts_nothing,
    ),
    Rule::each(
        "requests/the-queue-counts-requests-and-bytes",
        "send_queue_count and send_queue_size count a send from acceptance until its callback.",
        queue_counts,
    ),
    Rule::each(
        "requests/a-callback-may-send-the-next",
        "A send callback may send again, endlessly.",
        callbacks_send_again,
    ),
    Rule::each(
        "requests/payloads-are-free-after-the-call",
        "A caller may overwrite the payload as soon as send returned.",
        payloads_are_free,
    ),
    Rule::each(
        "order/several-destinations-share-one-order",
        "Sends to several destinations complete in order, and each destination gets its own in order.",
        destinations_share_order,
    ),
    Rule::each(
        "order/try-send-never-overtakes",
        "While sends are queued, every immediate send on a connected handle is EAGAIN.",
        try_send_never_overtakes,
    ),
    Rule::each(
        "order/try-send-to-never-overtakes",
        "While sends are queued, every immediate send on an unconnected handle is EAGAIN, for any destination.",
        try_send_to_never_overtakes,
    ),
];

fn each_completes_once(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    for number in 0..150 {
        udp.send(&numbered(number, 4 + number % 7), results.of(number))?;
        if number % 40 == 0 {
            stage.a_little_longer()?;
        }
    }
    stage.until("all complete", || results.len() >= 150)?;
    stage.a_little_longer()?;
    let expected: Vec<_> = (0..150).map(|number| (number, Ok(()))).collect();
    ensure_eq!(results.all(), expected, "completions");
    Ok(())
}

fn complete_before_close(stage: &Stage) -> Verdict {
    let (peer, results, log) = (stage.raw()?, Results::default(), Log::default());
    let udp = stage.connected(peer.address())?;
    for number in 0..20 {
        udp.send(&numbered(number, 10), results.of(number))?;
    }
    let (end, done) = (log.clone(), results.clone());
    udp.close(move |_| end.push(done.len()))?;
    stage.until("the close callback is called", || log.len() == 1)?;
    stage.a_little_longer()?;
    ensure_eq!(log.all(), [20], "completions before the close callback");
    sent_or_canceled(&results, 20, &peer)?;

    let (results, udp) = (Results::default(), stage.connected(peer.address())?);
    for number in 0..50 {
        udp.send(&numbered(number, 10), results.of(number))?;
    }
    let walked = stage.event_loop.handles();
    ensure!(!walked.is_empty(), "the loop has no handles");
    for handle in walked.iter().filter(|handle| !handle.is_closing()) {
        handle.close()?;
    }
    stage.to_the_end()?;
    ensure_eq!(udp.send_queue_count(), 0, "requests in the queue");
    sent_or_canceled(&results, 50, &peer)
}

/// Checks that each send completed in order, sent or with ECANCELED, and that the peer got the sent
/// ones.
fn sent_or_canceled(results: &Results, count: usize, peer: &Raw) -> Verdict {
    let order: Vec<_> = results.all().iter().map(|&(number, _)| number).collect();
    let expected: Vec<_> = (0..count).collect();
    ensure_eq!(order, expected, "the order of completions");
    let (sent, canceled) = (results.with(Ok(())), results.with(Err(Errno::ECANCELED)));
    ensure_eq!(sent.len() + canceled.len(), count, "sent and canceled");
    ensure_eq!(numbers(&peer.rest()?), sent, "the datagrams at the peer");
    Ok(())
}

fn refused_accepts_nothing(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let calls = Log::default();
    let token = Rc::new(());
    let callback = || {
        let (calls, token) = (calls.clone(), Rc::clone(&token));
        move |_: &Udp, result| {
            calls.push(result);
            drop(token);
        }
    };
    let udp = stage.bound()?;
    let too_long = vec![0; 65_508];
    let refused = [
        udp.send(b"x", callback()),
        udp.send_to(b"x", stage.loopback(), callback()),
        udp.send_to(b"x", stage.other_loopback(9), callback()),
        udp.send_to(b"", peer.address(), callback()),
        udp.send_to(&too_long, peer.address(), callback()),
    ];
    ensure_eq!(
        refused,
        [
            Err(Errno::EDESTADDRREQ),
            Err(Errno::EINVAL),
            Err(Errno::EAFNOSUPPORT),
            // An empty datagram is valid.
            Ok(()),
            Err(Errno::EMSGSIZE),
        ],
        "results of the calls"
    );
    stage.until("the accepted one completes", || calls.len() == 1)?;
    udp.close(|_| ())?;
    ensure_eq!(
        udp.send_to(b"x", peer.address(), callback()),
        Err(Errno::EBADF),
        "send_to, closed"
    );
    stage.to_the_end()?;
    ensure_eq!(calls.len(), 1, "callbacks called");
    ensure_eq!(
        Rc::strong_count(&token),
        1,
        "callbacks alive, and the rule itself"
    );
    Ok(())
}

fn queue_counts(stage: &Stage) -> Verdict {
    let (peer, seen) = (stage.raw()?, Log::default());
    let udp = stage.connected(peer.address())?;
    let state = |udp: &Udp| (udp.send_queue_count(), udp.send_queue_size());
    ensure_eq!(state(&udp), (0, 0), "the queue at first");
    for (len, expected) in [(10, (1, 10)), (20, (2, 30)), (0, (3, 30))] {
        let log = seen.clone();
        udp.send(&vec![0; len], move |udp, _| log.push(state(udp)))?;
        ensure_eq!(
            state(&udp),
            expected,
            "the queue after accepting {len} bytes"
        );
    }
    udp.try_send(b"refused").err();
    ensure_eq!(state(&udp), (3, 30), "the queue after a try_send");
    stage.until("all complete", || seen.len() == 3)?;
    ensure_eq!(
        seen.all(),
        [(2, 20), (1, 0), (0, 0)],
        "the queue in the callbacks"
    );
    ensure_eq!(state(&udp), (0, 0), "the queue in the end");
    Ok(())
}

fn send_next(udp: &Udp, next: usize, results: &Results) -> Result<(), Errno> {
    let results = results.clone();
    udp.send(&numbered(next, 8), move |udp, result| {
        results.push((next, result));
        if next < 199
            && let Err(error) = send_next(udp, next + 1, &results)
        {
            results.push((next, Err(error)));
        }
    })
}

fn callbacks_send_again(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    send_next(&udp, 0, &results)?;
    stage.to_the_end()?;
    let expected: Vec<_> = (0..200).collect();
    ensure_eq!(results.with(Ok(())), expected, "sends that went well");
    ensure_eq!(
        numbers(&peer.recv_texts(200)?),
        expected,
        "the received datagrams"
    );
    Ok(())
}

fn payloads_are_free(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    let mut buffer = vec![0; 4];
    for number in 0..100 {
        buffer.copy_from_slice(&numbered(number, 4));
        udp.send(&buffer, results.of(number))?;
        buffer.fill(b'!');
    }
    stage.until("all complete", || results.len() == 100)?;
    ensure_eq!(
        numbers(&peer.recv_texts(100)?),
        (0..100).collect::<Vec<_>>(),
        "the received datagrams"
    );
    Ok(())
}

fn destinations_share_order(stage: &Stage) -> Verdict {
    let peers = [stage.raw()?, stage.raw()?, stage.raw()?];
    let results = Results::default();
    let udp = stage.bound()?;
    // Alternating at first, then in groups of ten.
    let to = |number: usize| {
        if number < 60 {
            number % 3
        } else {
            (number / 10) % 3
        }
    };
    for number in 0..120 {
        udp.send_to(
            &numbered(number, 30),
            peers[to(number)].address(),
            results.of(number),
        )?;
    }
    stage.until("all complete", || results.len() == 120)?;
    ensure_eq!(
        results.with(Ok(())),
        (0..120).collect::<Vec<_>>(),
        "completions"
    );
    for (index, peer) in peers.iter().enumerate() {
        let expected: Vec<_> = (0..120).filter(|&number| to(number) == index).collect();
        ensure_eq!(
            numbers(&peer.recv_texts(expected.len())?),
            expected,
            "the datagrams at destination {index}"
        );
        ensure_eq!(
            peer.rest()?,
            [""; 0],
            "other datagrams at destination {index}"
        );
    }
    Ok(())
}

fn try_send_never_overtakes(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    udp.send(b"first", results.of(0))?;
    udp.send(b"second", results.of(1))?;
    let one_byte = NonZeroU16::MIN;
    ensure_eq!(udp.try_send(b"third"), Err(Errno::EAGAIN), "try_send");
    ensure_eq!(
        udp.try_transmit(&Transmit::new("third")),
        Err(Errno::EAGAIN),
        "try_transmit"
    );
    ensure_eq!(
        udp.try_transmit_batch(&[Transmit::new("third")]),
        Err(Errno::EAGAIN),
        "try_transmit_batch"
    );
    ensure_eq!(
        udp.try_transmit(&Transmit::new(b"third").with_segment_size(one_byte)),
        Err(Errno::EAGAIN),
        "try_transmit with segments"
    );
    stage.until("both complete", || results.len() == 2)?;
    ensure_eq!(udp.try_send(b"fourth"), Ok(6), "try_send on an empty queue");
    ensure_eq!(
        peer.recv_texts(3)?,
        ["first", "second", "fourth"],
        "the received datagrams"
    );
    ensure_eq!(peer.rest()?, [""; 0], "other datagrams");
    Ok(())
}

fn try_send_to_never_overtakes(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let (receiver, udp) = (stage.bound()?, stage.bound()?);
    let (inbox, to) = (Inbox::of(&receiver)?, receiver.local_addr()?);
    udp.send_to(b"first", to, results.of(0))?;
    udp.send_to(b"second", to, results.of(1))?;
    // Also to a destination without queued sends.
    for address in [to, peer.address()] {
        let (transmit, segment) = (
            Transmit::new("third").with_destination(address),
            NonZeroU16::MIN,
        );
        ensure_eq!(
            udp.try_send_to(b"third", address),
            Err(Errno::EAGAIN),
            "try_send_to"
        );
        ensure_eq!(
            udp.try_transmit_batch(&[transmit]),
            Err(Errno::EAGAIN),
            "try_transmit_batch"
        );
        let segments = udp.try_transmit(
            &Transmit::new(b"third")
                .with_segment_size(segment)
                .with_destination(address),
        );
        ensure_eq!(segments, Err(Errno::EAGAIN), "try_transmit with segments");
    }
    stage.until("both complete and arrive", || {
        results.len() == 2 && inbox.len() == 2
    })?;
    ensure_eq!(
        udp.try_send_to(b"fourth", to),
        Ok(6),
        "try_send_to on an empty queue"
    );
    stage.until("the last one arrives", || inbox.len() == 3)?;
    ensure_eq!(
        inbox.texts(),
        ["first", "second", "fourth"],
        "the received datagrams"
    );
    ensure!(
        peer.rest()?.is_empty(),
        "something arrived where nothing was sent"
    );
    Ok(())
}
