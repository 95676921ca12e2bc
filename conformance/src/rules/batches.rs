//! Batches and segments keep the boundaries and the order of datagrams.

use std::num::NonZeroU16;

use uv_udp::{Errno, Transmit};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox, Log, Results, numbered, numbers, text};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "batch/a-burst-arrives-as-it-was-sent",
        "A burst of datagrams of equal, mixed, empty or large sizes arrives in order with its boundaries.",
        bursts,
    ),
    Rule::each(
        "batch/try-transmit-batch-returns-a-count",
        "try_transmit_batch sends the first datagrams of a batch in order, and returns their number.",
        try_transmit_batch,
    ),
    Rule::each(
        "batch/try-transmit-cuts-segments",
        "try_transmit cuts a buffer of any length into segments, the last one shorter.",
        try_transmit_segments,
    ),
    Rule::each(
        "batch/a-queued-buffer-is-cut-into-segments",
        "transmit with a segment size completes once per buffer, at once or queued between other datagrams.",
        transmit_segments,
    ),
    Rule::each(
        "batch/recv-batch-start-delivers-in-order",
        "recv_batch_start delivers several datagrams per call, in order and with their sources.",
        recv_batch_start,
    ),
    Rule::each(
        "batch/a-handle-may-answer-from-its-callback",
        "A receive callback that echoes a burst answers every datagram.",
        echo,
    ),
    Rule::each(
        "batch/whatever-arrives-is-delivered",
        "Datagrams of all lengths and contents are delivered unchanged.",
        whatever_arrives,
    ),
];

/// Sends datagrams of these sizes in one iteration to a handle and to a raw socket, and compares
/// them.
fn arrives_as_sent(stage: &Stage, sizes: &[usize]) -> Verdict {
    let (raw, handle, results) = (stage.raw()?, stage.bound()?, Results::default());
    let inbox = Inbox::of(&handle)?;
    let data: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(index, &size)| sized(index, size))
        .collect();
    let mut expected = 0;
    for peer in [raw.address(), handle.local_addr()?] {
        let udp = stage.connected(peer)?;
        for (index, data) in data.iter().enumerate() {
            udp.send(data, results.of(index))?;
        }
        expected += sizes.len();
        stage.until("all complete", || results.len() == expected)?;
    }
    ensure_eq!(results.with(Ok(())).len(), expected, "sends that went well");
    for (index, data) in data.iter().enumerate() {
        ensure!(
            raw.recv()?.0 == *data,
            "datagram {index} arrived otherwise than it was sent"
        );
    }
    stage.until("all arrive at the handle", || inbox.len() >= sizes.len())?;
    let arrived: Vec<_> = inbox
        .datagrams()
        .into_iter()
        .map(|(data, _)| data)
        .collect();
    ensure!(
        arrived == data,
        "at the handle something arrived otherwise than it was sent"
    );
    Ok(())
}

/// A numbered datagram, cut to its size.
fn sized(index: usize, size: usize) -> Vec<u8> {
    let mut data = numbered(index, size);
    data.truncate(size);
    data
}

fn bursts(stage: &Stage) -> Verdict {
    // Equal sizes with a shorter last one, one byte, one packet, a shorter one after every two.
    let equal = [vec![100; 70], vec![37]].concat();
    let shorter = [200, 200, 199].repeat(20);
    // All sizes, empty ones among them; growing and shrinking ones.
    let mixed = [
        0, 100, 100, 0, 0, 50, 100, 150, 200, 199, 198, 0, 1, 1, 1, 0, 2,
    ]
    .repeat(4);
    let steps = [
        50, 50, 50, 50, 20, 90, 10, 11, 12, 80, 80, 79, 80, 5, 4, 100,
    ]
    .repeat(8);
    // Datagrams of several packets each.
    let large = vec![9000, 9000, 9000, 20_000, 20_000, 100];
    let packets = [vec![1; 100], vec![1200; 40]];
    for sizes in [equal, shorter, mixed, steps, large].iter().chain(&packets) {
        arrives_as_sent(stage, sizes)?;
    }
    Ok(())
}

fn try_transmit_batch(stage: &Stage) -> Verdict {
    let (peer, other) = (stage.raw()?, stage.raw()?);
    let data: Vec<_> = (0..100)
        .map(|index| numbered(index, if index < 50 { 30 } else { index }))
        .collect();
    let udp = stage.connected(peer.address())?;
    let batch: Vec<_> = data.iter().map(Transmit::new).collect();
    stage.send_batch(&udp, &batch)?;
    for data in &data {
        ensure_eq!(peer.recv()?.0, *data, "the datagrams at the peer");
    }
    ensure_eq!(peer.rest()?, [""; 0], "other datagrams at the peer");
    let udp = stage.bound()?;
    let to = |index| {
        if index % 3 == 0 {
            other.address()
        } else {
            peer.address()
        }
    };
    let batch: Vec<_> = data
        .iter()
        .zip(0..)
        .map(|(data, index)| Transmit::new(data).with_destination(to(index)))
        .collect();
    stage.send_batch(&udp, &batch)?;
    for (index, data) in data.iter().enumerate() {
        let peer = if index % 3 == 0 { &other } else { &peer };
        ensure_eq!(peer.recv()?.0, *data, "the datagrams at each destination");
    }
    Ok(())
}

fn try_transmit_segments(stage: &Stage) -> Verdict {
    let (peer, data) = (stage.raw()?, vec![b'x'; 2000]);
    let (connected, unconnected) = (stage.connected(peer.address())?, stage.bound()?);
    for (size, len) in [
        (100_u16, 1000),
        (100, 1050),
        (10, 1500),
        (1000, 1000),
        (1500, 1000),
        (7, 1),
    ] {
        let size_of = NonZeroU16::new(size).ok_or(Errno::EINVAL)?;
        for (udp, to) in [(&connected, None), (&unconnected, Some(peer.address()))] {
            let mut sent = 0;
            while sent < len {
                let mut buffer = Transmit::new(&data[sent..len]).with_segment_size(size_of);
                buffer.destination = to;
                match udp.try_transmit(&buffer) {
                    Ok(count) => sent += count,
                    Err(Errno::EAGAIN) => stage.a_little_longer()?,
                    Err(error) => return Err(error.into()),
                }
            }
            let lengths: Vec<_> = peer.rest()?.iter().map(String::len).collect();
            let mut expected = vec![usize::from(size); len / usize::from(size)];
            expected.extend(Some(len % usize::from(size)).filter(|&rest| rest > 0));
            ensure_eq!(
                lengths,
                expected,
                "the lengths of {len} bytes in segments of {size}"
            );
        }
    }
    Ok(())
}

fn transmit_segments(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    let size = NonZeroU16::new(2).ok_or(Errno::EINVAL)?;
    let segments = Transmit::new("aabbc").with_segment_size(size);
    if !uv_sys::capabilities().segmentation {
        stage.note("this kernel has no segmentation");
        let refused = udp.transmit(segments.with_token(0), results.by_token());
        ensure_eq!(refused, Err(Errno::EOPNOTSUPP), "transmit");
        return Ok(());
    }
    ensure_eq!(udp.try_transmit(&segments), Ok(5), "try_transmit");
    udp.transmit(segments.with_token(0), results.by_token())?;
    // Queued between datagrams of other sizes.
    udp.send(b"xx", results.of(1))?;
    udp.transmit(segments.with_token(2), results.by_token())?;
    udp.send(b"yy", results.of(3))?;
    stage.until("all complete", || results.len() == 4)?;
    ensure_eq!(results.with(Ok(())), [0, 1, 2, 3], "sends that went well");
    let expected = [
        "aa", "bb", "c", "aa", "bb", "c", "xx", "aa", "bb", "c", "yy",
    ];
    ensure_eq!(peer.recv_texts(11)?, expected, "the received datagrams");
    Ok(())
}

fn recv_batch_start(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let (seen, batches) = (Log::default(), Counter::default());
    let (log, count) = (seen.clone(), batches.clone());
    udp.recv_batch_start(move |_, received| {
        count.up();
        for datagram in received.into_iter().flatten() {
            log.push((text(datagram.data), datagram.source));
        }
    })?;
    let mut expected = Vec::new();
    for index in 0..100 {
        let peer = if index % 7 == 0 { &first } else { &second };
        peer.send(index.to_string(), udp.local_addr()?)?;
        expected.push((index.to_string(), peer.address()));
    }
    stage.until("all arrive", || seen.len() >= 100)?;
    ensure_eq!(seen.all(), expected, "the received datagrams");
    ensure!(batches.get() < 100, "they came one by one");
    stage.note(format_args!("100 in {} calls", batches.get()));
    Ok(())
}

fn echo(stage: &Stage) -> Verdict {
    let (server, results) = (stage.bound()?, Results::default());
    let log = results.clone();
    server.recv_start(move |server, received| {
        if let Ok(datagram) = received {
            let sent = server.send_to(datagram.data, datagram.source, log.of(0));
            if let Err(error) = sent {
                log.push((1, Err(error)));
            }
        }
    })?;
    let client = stage.connected(server.local_addr()?)?;
    let inbox = Inbox::of(&client)?;
    for index in 0..100 {
        client.send(&numbered(index, 20 + index % 3), uv_udp::ignore)?;
    }
    stage.until("every answer arrives", || inbox.len() == 100)?;
    ensure_eq!(
        numbers(&inbox.texts()),
        (0..100).collect::<Vec<_>>(),
        "the answers"
    );
    stage.until("every answer completes", || results.len() == 100)?;
    ensure_eq!(results.with(Ok(())).len(), 100, "answers that went well");
    Ok(())
}

fn whatever_arrives(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    let inbox = Inbox::of(&udp)?;
    let mut sent = Vec::new();
    // A deterministic generator (Numerical Recipes, "quick and dirty").
    let mut state = 1_u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    for round in 0..200 {
        let len = match round % 4 {
            0 => next() % 10,
            1 => next() % 1500,
            2 => next() % 9000,
            _ => next() % 65_508,
        };
        let mut data = numbered(round, len as usize);
        data.iter_mut()
            .skip(4)
            .for_each(|byte| *byte = next() as u8);
        peer.send(&data, udp.local_addr()?)?;
        sent.push(data);
        stage.until("it arrives", || inbox.len() == sent.len())?;
    }
    let arrived: Vec<_> = inbox
        .datagrams()
        .into_iter()
        .map(|(data, _)| data)
        .collect();
    ensure!(
        arrived == sent,
        "something arrived otherwise than it was sent"
    );
    Ok(())
}
