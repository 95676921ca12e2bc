//! Receiving into the user's memory, the limit of the queue, and the counters.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_udp::{Errno, NetworkError, RecvMeta, Transmit, Udp};

use crate::network::{Near, far};
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox, Log, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "memory/a-buffer-comes-back-with-a-datagram",
        "recv_into_start gives each buffer back once: with a datagram and its source, or unused.",
        into_buffers,
    ),
    Rule::each(
        "memory/truncation-is-told-with-the-full-length",
        "A datagram that does not fit comes with as much as fits, and its full length.",
        truncation,
    ),
    Rule::each(
        "memory/datagrams-are-not-coalesced",
        "One buffer holds one datagram, however they were sent, and whatever form received before.",
        one_each,
    ),
    Rule::each(
        "memory/coalesced-datagrams-come-with-their-segment-size",
        "Coalesced datagrams arrive whole in a large buffer, with the length of each; and one by one in small ones.",
        runs,
    ),
    Rule::each(
        "memory/without-a-buffer-it-is-enobufs",
        "Without a buffer the callback hears ENOBUFS, and the datagram is delivered once there is one.",
        no_buffer,
    ),
    Rule::each(
        "memory/strangers-get-no-buffer",
        "What filtered sent before connect is dropped in this form too.",
        filtered,
    ),
    Rule::each(
        "memory/stopping-half-way-loses-nothing",
        "A callback that stops leaves the rest to the next start, of any form.",
        half_way,
    ),
    Rule::each(
        "pressure/beyond-the-limit-is-enobufs",
        "A send that would make the queue longer than its limit is ENOBUFS, and nothing of it is accepted.",
        limit,
    ),
    Rule::each(
        "pressure/drained-is-told-after-the-last-callback",
        "on_drained is called from the loop each time the queue has become empty.",
        drained,
    ),
    Rule::each(
        "counters/tell-what-was-done",
        "Datagrams, bytes, system calls, batches and segments are counted as they were.",
        counters,
    ),
    Rule::each(
        "counters/tell-what-went-wrong",
        "Strangers, truncated datagrams and errors by name are counted.",
        wrong,
    ),
    Rule::each(
        "counters/tell-what-the-kernel-dropped",
        "The kernel's own count of datagrams that it had no room for is among the counters.",
        dropped,
    ),
    Rule::each(
        "counters/drops-are-datagrams",
        "Of segmented bursts each datagram counts that the kernel dropped; where it coalesces, the counters say so.",
        dropped_segments,
    ),
    Rule::each(
        "counters/tell-batches-received",
        "Calls that received several datagrams are counted, and are fewer than the datagrams.",
        received,
    ),
    Rule::isolated(
        "counters/tell-fallbacks",
        "Messages that the kernel would not cut are counted, and their datagrams are counted once.",
        fallbacks,
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
    ensure_eq!(texts(&log), ["one", ""], "what came");
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
    ensure_eq!(texts(&log), ["too "], "what came");
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
        ensure_eq!(texts(&log), ["aa", "bb", "cc", "dd"], "what came");
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
            // What was split says of what it was.
            let size = arrival.metadata.segment_size;
            Some(size.filter(|&size| arrival.len > size.into()))
        });
        let (texts, sizes) = (texts(&log), sizes.collect::<Vec<_>>());
        let seen: Vec<_> = texts.iter().map(String::as_str).zip(sizes).collect();
        ensure_eq!(seen, expected, "what came into {room} bytes");
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
        "what came before"
    );
    ensure_eq!(texts(&log), ["patient"], "what came");
    Ok(())
}

fn filtered(stage: &Stage) -> Verdict {
    let (udp, peer) = (stage.bound()?, stage.raw()?);
    stage.raw()?.send("stranger", udp.local_addr()?)?;
    peer.send("peer", udp.local_addr()?)?;
    udp.connect(peer.address())?;
    let log = listen(&udp, 100)?;
    stage.until("the peer is heard", || !texts(&log).is_empty())?;
    stage.a_little_longer()?;
    ensure_eq!(texts(&log), ["peer"], "what came");
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
    ensure_eq!(heard.all(), [Some(b'0')], "what came before the stop");
    let inbox = Inbox::of(&udp)?;
    stage.until("the rest is delivered", || inbox.len() == 5)?;
    ensure_eq!(
        inbox.texts(),
        ["1", "2", "3", "4", "5"],
        "what came after it"
    );
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
    ensure_eq!(raw.rest()?, ["four", "five.", "1", "again"], "what arrived");
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

fn counters(stage: &Stage) -> Verdict {
    let receiver = stage.bound()?;
    let inbox = Inbox::of(&receiver)?;
    let sender = stage.connected(receiver.local_addr()?)?;
    for _ in 0..10 {
        sender.send(&[7; 100], |_, _| ())?;
    }
    stage.until("all of it is delivered", || inbox.len() == 10)?;
    let (out, back) = (sender.counters(), receiver.counters());
    ensure_eq!((out.datagrams_sent, out.bytes_sent), (10, 1000), "sent");
    ensure_eq!(
        (back.datagrams_received, back.bytes_received),
        (10, 1000),
        "received"
    );
    // The first went by itself, the others together.
    ensure_eq!(
        (out.send_calls, out.batches_sent),
        (2, 1),
        "calls and batches"
    );
    if uv_udp::capabilities().segmentation {
        ensure_eq!((out.segmented_messages, out.segments), (1, 9), "segments");
    }
    ensure!(back.recv_calls > 0, "calls that received: none");
    Ok(())
}

fn wrong(stage: &Stage) -> Verdict {
    let (udp, peer) = (stage.bound()?, stage.raw()?);
    for _ in 0..3 {
        stage.raw()?.send("stranger", udp.local_addr()?)?;
    }
    peer.send("a long one", udp.local_addr()?)?;
    udp.connect(peer.address())?;
    let log = listen(&udp, 4)?;
    stage.until("the peer is heard", || !texts(&log).is_empty())?;
    let counted = udp.counters();
    ensure_eq!(
        (counted.filtered, counted.truncated),
        (3, 1),
        "filtered, truncated"
    );
    let dead = crate::raw::DeadPeer::new(stage.family)?;
    udp.connect(dead.address())?;
    udp.try_send(b"anyone?")?;
    let refused = (Errno::ECONNREFUSED, 1);
    stage.until("the refusal is counted", || {
        udp.counters().errors.contains(&refused)
    })
}

fn dropped(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    udp.options().set_recv_drops(true)?;
    udp.options().set_recv_buffer_size(1)?;
    for _ in 0..100 {
        sender.send([7; 1000], udp.local_addr()?)?;
    }
    let inbox = Inbox::of(&udp)?;
    stage.a_little_longer()?;
    let arrived = inbox.len();
    ensure!(arrived < 100, "nothing was dropped");
    sender.send("last", udp.local_addr()?)?;
    stage.until("the last one is delivered", || inbox.len() == arrived + 1)?;
    let counters = udp.counters();
    ensure_eq!(counters.kernel_drops, 100 - arrived as u64, "drops");
    let delivered = (counters.datagrams_received, counters.bytes_received);
    let arrived = arrived as u64;
    ensure_eq!(delivered, (arrived + 1, arrived * 1000 + 4), "delivered");
    Ok(())
}

/// Sends bursts, of which the last ones find no room: how many datagrams were lost.
fn lose_some(stage: &Stage, udp: &Udp, delivered: &Counter) -> Result<u64, Broken> {
    const SEGMENTS: usize = 40;
    let (sender, to) = (stage.raw()?, udp.local_addr()?);
    let size = NonZeroU16::new(100).ok_or(Errno::EINVAL)?;
    let payload = [7; 100 * SEGMENTS];
    let message = Transmit::new(&payload)
        .with_destination(to)
        .with_segment_size(size);
    // The handle gets to know that there are bursts.
    for _ in 0..20 {
        uv_sys::message::sendmsg(&sender, &message)?;
        stage.a_little_longer()?;
    }
    for _ in 0..100 {
        uv_sys::message::sendmsg(&sender, &message)?;
    }
    stage.a_little_longer()?;
    let lost = 120 * SEGMENTS - delivered.get();
    ensure!(lost > 0, "nothing was dropped");
    // The next datagram comes with the count.
    let before = delivered.get();
    sender.send("last", to)?;
    stage.until("the last one is delivered", || {
        delivered.get() == before + 1
    })?;
    Ok(lost as u64)
}

fn dropped_segments(stage: &Stage) -> Verdict {
    let capabilities = uv_udp::capabilities();
    if !capabilities.segmentation || !capabilities.gro {
        stage.note("this kernel does not segment or coalesce");
        return Ok(());
    }
    let delivered = Counter::default();
    let udp = stage.bound()?;
    udp.options().set_recv_drops(true)?;
    udp.options().set_recv_buffer_size(60_000)?;
    let each = delivered.clone();
    udp.recv_start(move |_, _| each.up())?;
    let lost = lose_some(stage, &udp, &delivered)?;
    let counters = udp.counters();
    ensure_eq!(counters.kernel_drops, lost, "drops");
    ensure!(!counters.kernel_drops_coalesced, "they are no datagrams");

    let (delivered, udp) = (Counter::default(), stage.bound()?);
    udp.options().set_recv_drops(true)?;
    udp.options().set_recv_buffer_size(60_000)?;
    udp.options().set_gro(true)?;
    let each = delivered.clone();
    udp.recv_into_start(
        |_, _| Some(vec![0; 65_535]),
        move |_, _, arrival| {
            if let Ok([arrival]) = arrival {
                let size = arrival
                    .metadata
                    .segment_size
                    .map_or(arrival.len, usize::from);
                (0..arrival.len.div_ceil(size)).for_each(|_| each.up());
            }
        },
    )?;
    let lost = lose_some(stage, &udp, &delivered)?;
    let counters = udp.counters();
    ensure!(counters.kernel_drops <= lost, "more drops than were lost");
    ensure!(
        counters.kernel_drops_coalesced,
        "the counters do not say so"
    );
    Ok(())
}

fn received(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    for _ in 0..50 {
        sender.send("hello", udp.local_addr()?)?;
    }
    let inbox = Inbox::of(&udp)?;
    stage.until("all of it is delivered", || inbox.len() == 50)?;
    let counters = udp.counters();
    ensure!(
        (1..50).contains(&counters.batches_received),
        "{} batches",
        counters.batches_received
    );
    ensure!(
        (counters.batches_received..50).contains(&counters.recv_calls),
        "{} calls",
        counters.recv_calls
    );
    Ok(())
}

fn fallbacks(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(SocketAddr::new(far(stage.family), 0))?;
    here.ip("link set near mtu 1280")?;
    let udp = stage.connected(remote.address())?;
    let results = Results::default();
    for number in 0..10 {
        udp.send(&[7; 1400], results.of(number))?;
    }
    stage.until("all complete", || results.len() == 10)?;
    for _ in 0..10 {
        ensure_eq!(remote.recv()?.0.len(), 1400, "bytes that arrived");
    }
    let counters = udp.counters();
    let sent = (counters.datagrams_sent, counters.bytes_sent);
    ensure_eq!(sent, (10, 14_000), "datagrams and bytes");
    let cut = (counters.segmented_messages, counters.segments);
    ensure_eq!(cut, (0, 0), "messages that the kernel cut");
    let expected = u64::from(uv_udp::capabilities().segmentation);
    ensure_eq!(counters.fallbacks, expected, "fallbacks");
    ensure_eq!(counters.errors, [], "errors");
    Ok(())
}
