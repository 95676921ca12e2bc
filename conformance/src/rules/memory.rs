//! Receiving into the user's memory.

use std::num::NonZeroU16;

use uv_udp::{Errno, NetworkError, RecvMeta, Transmit, Udp};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Log};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "memory/a-buffer-comes-back-with-a-datagram",
        "recv_into_start returns each buffer once: with a datagram and its source, or unused.",
        into_buffers,
    ),
    Rule::each(
        "memory/truncation-reports-the-full-length",
        "A datagram longer than its buffer is truncated, and reports its full length.",
        truncation,
    ),
    Rule::each(
        "memory/datagrams-are-not-coalesced",
        "By default one buffer holds one datagram, for any burst and after any other form of receiving.",
        one_each,
    ),
    Rule::each(
        "memory/coalesced-datagrams-come-with-their-segment-size",
        "With set_gro a large buffer holds a coalesced burst with its segment size, and a small one a datagram.",
        runs,
    ),
    Rule::each(
        "memory/without-a-buffer-it-is-enobufs",
        "Without a buffer the callback gets ENOBUFS, and the datagram is delivered with a later buffer.",
        no_buffer,
    ),
    Rule::each(
        "memory/strangers-get-no-buffer",
        "recv_into_start filters datagrams that other senders sent before connect.",
        filtered,
    ),
    Rule::each(
        "memory/stopping-half-way-loses-nothing",
        "After a callback stops, the next start of any form delivers the rest.",
        half_way,
    ),
];

type Back = (Vec<u8>, Result<Option<RecvMeta>, NetworkError>);

/// Receives into buffers of `room` bytes.
fn listen(udp: &Udp, room: usize) -> Result<Log<Back>, Errno> {
    let log = Log::default();
    let entries = log.clone();
    udp.recv_into_start(
        move |_, _| Some(vec![0; room]),
        move |_, buffer, outcome| {
            let first = outcome.map(|received| received.first().copied());
            entries.push((buffer.unwrap_or_default(), first));
        },
    )?;
    Ok(log)
}

/// The texts in the buffers.
fn texts(log: &Log<Back>) -> Vec<String> {
    let text = |(buffer, outcome): Back| {
        let arrival = outcome.ok()??;
        let data = buffer.get(..arrival.len)?;
        Some(String::from_utf8_lossy(data).into_owned())
    };
    log.all().into_iter().filter_map(text).collect()
}

fn into_buffers(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    let log = listen(&udp, 100)?;
    sender.send("one", udp.local_addr()?)?;
    sender.send("", udp.local_addr()?)?;
    stage.until("both are delivered", || texts(&log).len() == 2)?;
    stage.a_little_longer()?;
    ensure_eq!(texts(&log), ["one", ""], "the received datagrams");
    for (buffer, outcome) in log.all() {
        ensure_eq!(buffer.len(), 100, "a buffer's length");
        if let Some(arrival) = outcome? {
            ensure_eq!(arrival.source, sender.address(), "a datagram's source");
            ensure!(!arrival.truncated, "a datagram that fits is truncated");
        }
    }
    Ok(())
}

fn truncation(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    let log = listen(&udp, 4)?;
    sender.send("too long", udp.local_addr()?)?;
    stage.until("it is delivered", || !texts(&log).is_empty())?;
    ensure_eq!(texts(&log), ["too "], "the received datagrams");
    let arrivals = log
        .all()
        .into_iter()
        .filter_map(|(_, outcome)| outcome.ok()?);
    let lengths = arrivals.map(|arrival| (arrival.len, arrival.full_len, arrival.truncated));
    ensure_eq!(lengths.collect::<Vec<_>>(), [(4, 8, true)], "its lengths");
    Ok(())
}

fn one_each(stage: &Stage) -> Verdict {
    let Some(size) = NonZeroU16::new(2) else {
        return Ok(());
    };
    for coalesced_before in [false, true] {
        let udp = stage.bound()?;
        let sender = stage.connected(udp.local_addr()?)?;
        if coalesced_before {
            let inbox = Inbox::of(&udp)?;
            for bursts in 1..4 {
                sender.try_transmit(&Transmit::new(b"aabbccdd").with_segment_size(size))?;
                stage.until("a burst is delivered", || inbox.len() == bursts * 4)?;
            }
            udp.recv_stop()?;
        }
        sender.try_transmit(&Transmit::new(b"aabbccdd").with_segment_size(size))?;
        let log = listen(&udp, 100)?;
        stage.until("all are delivered", || texts(&log).len() == 4)?;
        ensure_eq!(
            texts(&log),
            ["aa", "bb", "cc", "dd"],
            "the received datagrams"
        );
    }
    Ok(())
}

fn runs(stage: &Stage) -> Verdict {
    let Some(size) = NonZeroU16::new(2) else {
        return Ok(());
    };
    let udp = stage.bound()?;
    if !uv_udp::capabilities().gro {
        stage.note("this kernel does not coalesce");
        let refused = udp.options().set_gro(true);
        ensure_eq!(refused, Err(Errno::ENOPROTOOPT), "asking for coalescing");
        return Ok(());
    }
    let sender = stage.connected(udp.local_addr()?)?;
    udp.options().set_gro(true)?;
    ensure!(udp.options().gro(), "coalescing is on");
    for (room, expected) in [
        (65_536, vec![("aabbc", Some(2))]),
        (100, vec![("aa", None), ("bb", None), ("c", None)]),
    ] {
        let log = listen(&udp, room)?;
        sender.try_transmit(&Transmit::new(b"aabbc").with_segment_size(size))?;
        stage.until("all is delivered", || texts(&log).concat() == "aabbc")?;
        let sizes = log.all().into_iter().filter_map(|(_, outcome)| {
            let arrival = outcome.ok()??;
            // The parts of a split burst keep its segment size.
            let size = arrival.metadata.segment_size;
            Some(size.filter(|&size| arrival.len > size.into()))
        });
        let (texts, sizes) = (texts(&log), sizes.collect::<Vec<_>>());
        let seen: Vec<_> = texts.iter().map(String::as_str).zip(sizes).collect();
        ensure_eq!(seen, expected, "the datagrams in {room} bytes");
        udp.recv_stop()?;
    }
    Ok(())
}

fn no_buffer(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    let (log, refused) = (Log::default(), Log::default());
    let (entries, errors) = (log.clone(), refused.clone());
    udp.recv_into_start(
        {
            let errors = errors.clone();
            move |_, _| (errors.len() > 2).then(|| vec![0; 100])
        },
        move |_, buffer: Option<Vec<u8>>, outcome| match outcome {
            Err(error) => errors.push((buffer.is_some(), error.errno())),
            Ok(received) => {
                let first = received.first().copied();
                entries.push((buffer.unwrap_or_default(), Ok(first)));
            }
        },
    )?;
    sender.send("patient", udp.local_addr()?)?;
    stage.until("it is delivered", || !texts(&log).is_empty())?;
    ensure_eq!(
        refused.all(),
        [(false, Errno::ENOBUFS); 3],
        "the earlier errors"
    );
    ensure_eq!(texts(&log), ["patient"], "the received datagrams");
    Ok(())
}

fn filtered(stage: &Stage) -> Verdict {
    let (udp, peer) = (stage.bound()?, stage.raw()?);
    stage.raw()?.send("stranger", udp.local_addr()?)?;
    peer.send("peer", udp.local_addr()?)?;
    udp.connect(peer.address())?;
    let log = listen(&udp, 100)?;
    stage.until("the peer's datagram arrives", || !texts(&log).is_empty())?;
    stage.a_little_longer()?;
    ensure_eq!(texts(&log), ["peer"], "the received datagrams");
    Ok(())
}

fn half_way(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    for number in 0..6 {
        sender.send(number.to_string(), udp.local_addr()?)?;
    }
    let heard = Log::default();
    let log = heard.clone();
    udp.recv_into_start(
        |_, _| Some([0; 9]),
        move |udp, buffer, _| {
            log.push(buffer.map(|buffer| buffer[0]));
            let _ = udp.recv_stop();
        },
    )?;
    stage.until("one is delivered", || heard.len() > 0)?;
    stage.a_little_longer()?;
    ensure_eq!(heard.all(), [Some(b'0')], "the datagrams before the stop");
    let inbox = Inbox::of(&udp)?;
    stage.until("the rest is delivered", || inbox.len() == 5)?;
    ensure_eq!(
        inbox.texts(),
        ["1", "2", "3", "4", "5"],
        "the datagrams after it"
    );
    Ok(())
}
