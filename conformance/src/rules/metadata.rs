//! Metadata of received datagrams.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uv_udp::{Errno, Metadata, Transmit, Udp};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::Log;

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "metadata/is-off-at-first",
        "A datagram carries no metadata by default.",
        off_at_first,
    ),
    Rule::each(
        "metadata/tos-and-ecn",
        "With set_recv_tos a datagram carries the TOS byte or traffic class of its sender.",
        |stage| {
            switched(
                stage,
                |udp: &Udp, on| udp.options().set_recv_tos(on),
                |metadata| metadata.tos == Some(0xba),
            )
        },
    ),
    Rule::each(
        "metadata/ttl",
        "With set_recv_ttl a datagram carries the TTL or hop limit of its sender.",
        |stage| {
            switched(
                stage,
                |udp: &Udp, on| udp.options().set_recv_ttl(on),
                |metadata| metadata.ttl == Some(33),
            )
        },
    ),
    Rule::each(
        "metadata/destination-and-interface",
        "With set_recv_packet_info a datagram carries its destination address and its interface.",
        |stage| {
            switched(
                stage,
                |udp: &Udp, on| udp.options().set_recv_packet_info(on),
                |metadata| {
                    let info = metadata.destination;
                    info.is_some_and(|info| {
                        info.address.is_some_and(|ip| ip.is_loopback()) && info.interface == 1
                    })
                },
            )
        },
    ),
    Rule::each(
        "metadata/kernel-timestamp",
        "With set_recv_timestamps a datagram carries its time of arrival in nanoseconds.",
        |stage| {
            switched(
                stage,
                |udp: &Udp, on| udp.options().set_recv_timestamps(on),
                is_recent,
            )
        },
    ),
    Rule::each(
        "metadata/kernel-drops",
        "With set_recv_drops datagrams and counters carry the number of datagrams that the kernel dropped.",
        drops,
    ),
];

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn is_recent(metadata: &Metadata) -> bool {
    let then = metadata.timestamp.map(Duration::from_nanos);
    then.is_some_and(|then| now().saturating_sub(then) < Duration::from_secs(60))
}

/// Receives the metadata of each datagram into a log.
fn listen(udp: &Udp) -> Result<Log<Metadata>, Errno> {
    let log = Log::default();
    let entries = log.clone();
    udp.recv_start(move |_, received| {
        if let Ok(datagram) = received {
            entries.push(*datagram.metadata);
        }
    })?;
    Ok(log)
}

fn off_at_first(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    let seen = listen(&udp)?;
    let transmit = Transmit::new(b"hello")
        .with_destination(udp.local_addr()?)
        .with_tos(0xba);
    uv_sys::message::sendmsg(&sender, &transmit)?;
    stage.until("it is delivered", || seen.len() == 1)?;
    ensure_eq!(seen.all(), [Metadata::default()], "its metadata");
    Ok(())
}

fn switched(
    stage: &Stage,
    set: fn(&Udp, bool) -> uv_udp::Result<()>,
    fits: fn(&Metadata) -> bool,
) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    let seen = listen(&udp)?;
    let to = udp.local_addr()?;
    for (round, on) in [true, false].into_iter().enumerate() {
        set(&udp, on)?;
        let transmit = Transmit::new(b"hello")
            .with_destination(to)
            .with_tos(0xba)
            .with_ttl(33);
        uv_sys::message::sendmsg(&sender, &transmit)?;
        stage.until("it is delivered", || seen.len() == round + 1)?;
    }
    let seen = seen.all();
    ensure!(
        seen.first().is_some_and(fits),
        "the metadata is {:?}",
        seen.first()
    );
    ensure_eq!(
        seen.get(1),
        Some(&Metadata::default()),
        "the metadata with the option off"
    );
    Ok(())
}

fn drops(stage: &Stage) -> Verdict {
    let (udp, sender) = (stage.bound()?, stage.raw()?);
    udp.options().set_recv_drops(true)?;
    udp.options().set_recv_buffer_size(1)?;
    for _ in 0..100 {
        sender.send([7; 1000], udp.local_addr()?)?;
    }
    let seen = listen(&udp)?;
    stage.a_little_longer()?;
    let arrived = seen.len();
    ensure!(arrived < 100, "nothing was dropped");
    sender.send("last", udp.local_addr()?)?;
    stage.until("the last one is delivered", || seen.len() == arrived + 1)?;
    let told = seen.all().last().and_then(|metadata| metadata.kernel_drops);
    ensure_eq!(
        told,
        u32::try_from(100 - arrived).ok(),
        "drops beside the last datagram"
    );
    let counters = udp.counters();
    let arrived = arrived as u64;
    ensure_eq!(counters.kernel_drops, 100 - arrived, "counted drops");
    let delivered = (counters.datagrams_received, counters.bytes_received);
    let expected = (arrived + 1, arrived * 1000 + 4);
    ensure_eq!(delivered, expected, "counted datagrams and bytes");
    Ok(())
}
