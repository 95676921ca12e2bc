//! The counters of a handle.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_udp::{Errno, Transmit, Udp};

use crate::network::{Near, far};
use crate::raw::DeadPeer;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "counters/count-traffic",
        "Counters have the exact datagrams, bytes, system calls, batches and segments in both directions.",
        counters,
    ),
    Rule::each(
        "counters/count-losses",
        "Counters have filtered and truncated datagrams, and errors by name.",
        wrong,
    ),
    Rule::each(
        "counters/drops-are-datagrams",
        "Kernel drops of segmented bursts count in datagrams; with coalescing the counters say that they do not.",
        dropped_segments,
    ),
    Rule::isolated(
        "counters/count-fallbacks",
        "Messages with refused segmentation count as fallbacks, and their datagrams count once.",
        fallbacks,
    ),
];

fn counters(stage: &Stage) -> Verdict {
    let receiver = stage.bound()?;
    let inbox = Inbox::of(&receiver)?;
    let sender = stage.connected(receiver.local_addr()?)?;
    for _ in 0..10 {
        sender.send(&[7; 100], uv_udp::ignore)?;
    }
    stage.until("all of it is delivered", || inbox.len() == 10)?;
    let (out, back) = (sender.counters(), receiver.counters());
    ensure_eq!((out.datagrams_sent, out.bytes_sent), (10, 1000), "sent");
    ensure_eq!(
        (back.datagrams_received, back.bytes_received),
        (10, 1000),
        "received"
    );
    // The first send left at once, the others as one batch.
    ensure_eq!(
        (out.send_calls, out.batches_sent),
        (2, 1),
        "calls and batches"
    );
    if uv_udp::capabilities().segmentation {
        ensure_eq!((out.segmented_messages, out.segments), (1, 9), "segments");
    }
    ensure!(back.recv_calls > 0, "calls that received: none");
    received(stage)
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

fn wrong(stage: &Stage) -> Verdict {
    let (udp, peer) = (stage.bound()?, stage.raw()?);
    for _ in 0..3 {
        stage.raw()?.send("stranger", udp.local_addr()?)?;
    }
    peer.send("a long one", udp.local_addr()?)?;
    udp.connect(peer.address())?;
    let truncated = Counter::default();
    let count = truncated.clone();
    udp.recv_into_start(|_, _| Some([0; 4]), move |_, _, _| count.up())?;
    stage.until("the peer's datagram arrives", || truncated.get() > 0)?;
    let counted = udp.counters();
    ensure_eq!(
        (counted.filtered, counted.truncated),
        (3, 1),
        "filtered, truncated"
    );
    let dead = DeadPeer::new(stage.family)?;
    udp.connect(dead.address())?;
    udp.try_send(b"anyone?")?;
    let refused = (Errno::ECONNREFUSED, 1);
    stage.until("the refusal is counted", || {
        udp.counters().errors.contains(&refused)
    })
}

/// Sends more bursts than the buffer holds. Returns the number of lost datagrams.
fn lose_some(stage: &Stage, udp: &Udp, delivered: &Counter) -> Result<u64, Broken> {
    const SEGMENTS: usize = 40;
    let (sender, to) = (stage.raw()?, udp.local_addr()?);
    let size = NonZeroU16::new(100).ok_or(Errno::EINVAL)?;
    let payload = [7; 100 * SEGMENTS];
    let message = Transmit::new(&payload)
        .with_destination(to)
        .with_segment_size(size);
    // The handle turns coalescing on after several bursts.
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
    // The next datagram carries the count.
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
    ensure!(!counters.kernel_drops_coalesced, "the count is in buffers");

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
    ensure!(counters.kernel_drops_coalesced, "the count is in datagrams");
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
