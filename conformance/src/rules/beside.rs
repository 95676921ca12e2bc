//! What goes and comes beside the datagrams: TOS, TTL, addresses, times, and groups.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uv_sys::RecvOptions;
use uv_udp::{Ecn, Errno, Family, Interface, Metadata, Transmit, TxTimeClock, Udp};

use crate::network::{Near, near};
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Log, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "metadata/is-off-at-first",
        "A datagram comes with no metadata that was not asked for.",
        off_at_first,
    ),
    Rule::each(
        "metadata/tos-and-ecn",
        "A handle that asks for it gets the TOS byte or traffic class that a raw socket sent.",
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
        "A handle that asks for it gets the TTL or hop limit that a raw socket sent.",
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
        "A handle that asks for it gets the address and the interface that a datagram came to.",
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
        "A handle that asks for it gets the time of arrival in nanoseconds.",
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
        "A handle that asks for it gets the number of datagrams that its socket had no room for.",
        drops,
    ),
    Rule::each(
        "transmit/tos-ecn-and-ttl-per-datagram",
        "Each datagram carries its own TOS, ECN and TTL to a raw socket, in every form of sending, batched or not.",
        per_datagram,
    ),
    Rule::each(
        "transmit/ecn-alone-keeps-the-dscp",
        "A datagram with ECN bits and no TOS byte of its own has the handle's DSCP, in every form of sending.",
        ecn_alone,
    ),
    Rule::once(
        "transmit/source-address-per-datagram-and-by-default",
        "A datagram leaves from the address that it says, or that the handle says.",
        source,
    ),
    Rule::each(
        "transmit/an-answer-leaves-from-where-the-question-came-to",
        "What came as the destination serves as the source of the answer.",
        answer,
    ),
    Rule::each(
        "transmit/a-default-segment-size-cuts-everything",
        "With a default segment size every way of sending is cut, and not without it any more.",
        default_segments,
    ),
    Rule::each(
        "transmit/a-time-needs-a-clock",
        "A datagram with a time is EINVAL without a clock, and goes with one, alone.",
        time,
    ),
    Rule::each(
        "transmit/bad-headers-are-refused-at-once",
        "A source address of the other family is EAFNOSUPPORT, and nothing is accepted.",
        bad_headers,
    ),
    Rule::isolated(
        "multicast/members-hear-their-groups",
        "A member hears its group until it leaves, also after disconnecting; joining twice and leaving twice are errors.",
        |stage, near| membership(stage, near, false),
    ),
    Rule::isolated(
        "multicast/members-for-a-source-hear-it-alone",
        "A member for one source hears that one and no other, also after disconnecting.",
        |stage, near| membership(stage, near, true),
    ),
    Rule::isolated(
        "multicast/loop-and-interface",
        "A group's datagrams leave by the interface that was set, and reach this host unless loop is off.",
        loops,
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

/// Receives into a log of what came beside each datagram.
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
    ensure_eq!(seen.all(), [Metadata::default()], "what came beside it");
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
        "{:?} came beside it",
        seen.first()
    );
    ensure_eq!(
        seen.get(1),
        Some(&Metadata::default()),
        "what came once it was off"
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
        "drops that the kernel told"
    );
    Ok(())
}

/// A raw socket that asks for all that can come beside a datagram.
fn observer(stage: &Stage) -> Result<Raw, Broken> {
    let raw = stage.raw()?;
    uv_sys::option::set_recv_tos(&raw, true)?;
    uv_sys::option::set_recv_ttl(&raw, true)?;
    Ok(raw)
}

/// What is there for a raw socket: text, TOS, TTL.
fn observed(raw: &Raw) -> Result<(String, Option<u8>, Option<u8>), Broken> {
    let mut buffer = [0; 100];
    let options = RecvOptions {
        source: true,
        control: true,
        peek: false,
    };
    let received = uv_sys::message::recvmsg(raw, &mut [IoSliceMut::new(&mut buffer)], options)?;
    let text = String::from_utf8_lossy(buffer.get(..received.len).unwrap_or_default());
    Ok((
        text.into_owned(),
        received.metadata.tos,
        received.metadata.ttl,
    ))
}

fn per_datagram(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = observer(stage)?;
        let udp = if connect {
            stage.connected(raw.address())?
        } else {
            stage.bound()?
        };
        let to = |text: &'static str| match connect {
            true => Transmit::new(text),
            false => Transmit::new(text).with_destination(raw.address()),
        };
        let plain = to("plain");
        let marked = to("marked").with_tos(0x40).with_ecn(Ecn::Ce).with_ttl(17);
        udp.try_transmit(&marked)?;
        stage.send_batch(&udp, &[plain, marked, marked, plain])?;
        let results = Results::default();
        for (number, transmit) in [marked, plain, marked, marked, plain]
            .into_iter()
            .enumerate()
        {
            udp.transmit(transmit.with_token(number), results.by_token())?;
        }
        stage.until("all of them complete", || results.len() == 5)?;
        for (index, expected) in "mpmmpmpmmp".chars().enumerate() {
            let expected = match expected {
                'm' => ("marked".to_owned(), Some(0x43), Some(17)),
                _ => ("plain".to_owned(), Some(0), Some(64)),
            };
            ensure_eq!(
                observed(&raw)?,
                expected,
                "datagram {index}, connected: {connect}"
            );
        }
    }
    Ok(())
}

/// Sends marked datagrams in every form: what their TOS byte is.
fn marked_in_every_form(
    stage: &Stage,
    udp: &Udp,
    to: impl Fn(&'static str) -> Transmit<'static>,
    raw: &Raw,
) -> Result<Vec<Option<u8>>, Broken> {
    let marked = to("marked").with_ecn(Ecn::Ect0);
    udp.try_transmit(&marked)?;
    stage.send_batch(udp, &[marked; 3])?;
    let results = Results::default();
    for number in 0..3 {
        udp.transmit(marked.with_token(number), results.by_token())?;
    }
    stage.until("all of them complete", || results.len() == 3)?;
    let six = NonZeroU16::new(6).ok_or(Errno::EINVAL)?;
    let cut = to("markedmarked")
        .with_ecn(Ecn::Ect0)
        .with_segment_size(six);
    udp.try_transmit(&cut)?;
    (0..9).map(|_| Ok(observed(raw)?.1)).collect()
}

fn ecn_alone(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = observer(stage)?;
        let udp = stage.bound()?;
        if connect {
            udp.connect(raw.address())?;
        }
        let to = |text: &'static str| match connect {
            true => Transmit::new(text),
            false => Transmit::new(text).with_destination(raw.address()),
        };
        for dscp in [0xb8, 0x20] {
            udp.options().set_tos(dscp)?;
            let seen = marked_in_every_form(stage, &udp, to, &raw)?;
            ensure_eq!(seen, [Some(dscp | 0b10); 9], "with a DSCP of the handle");
        }
        udp.with_fd(|fd| uv_sys::option::set_tos(fd, 0x40))??;
        let seen = marked_in_every_form(stage, &udp, to, &raw)?;
        ensure_eq!(seen, [Some(0x42); 9], "with one that was set on its socket");
        if connect {
            udp.disconnect()?;
            udp.connect(raw.address())?;
            let seen = marked_in_every_form(stage, &udp, to, &raw)?;
            ensure_eq!(seen, [Some(0x42); 9], "after connecting anew");
        }
        udp.try_transmit(&to("own").with_tos(0x80).with_ecn(Ecn::Ce))?;
        ensure_eq!(observed(&raw)?.1, Some(0x83), "with a DSCP of its own");
    }
    Ok(())
}

fn source(stage: &Stage) -> Verdict {
    let raw = stage.raw()?;
    let udp = stage.bound_to_wildcard()?;
    let [second, third] = [[127, 0, 0, 2], [127, 0, 0, 3]].map(IpAddr::from);
    let plain = Transmit::new(b"hello").with_destination(raw.address());
    udp.set_send_source(Some(third.into()))?;
    udp.try_transmit(&plain.with_source(second))?;
    udp.try_send_to(b"hello", raw.address())?;
    stage.send_batch(&udp, &[plain, plain.with_source(second)])?;
    udp.send_to(b"hello", raw.address(), |_, _| ())?;
    udp.send_to(b"hello", raw.address(), |_, _| ())?;
    stage.until("all of them complete", || udp.send_queue_count() == 0)?;
    udp.set_send_source(None)?;
    udp.try_send_to(b"hello", raw.address())?;
    for (index, expected) in [
        second,
        third,
        third,
        second,
        third,
        third,
        stage.loopback().ip(),
    ]
    .into_iter()
    .enumerate()
    {
        ensure_eq!(
            raw.recv()?.1.ip(),
            expected,
            "the source of datagram {index}"
        );
    }
    Ok(())
}

fn answer(stage: &Stage) -> Verdict {
    let udp = stage.bound_to_wildcard()?;
    udp.options().set_recv_packet_info(true)?;
    udp.recv_start(|udp, received| {
        if let Ok(datagram) = received
            && let Some(destination) = datagram.metadata.destination
        {
            let answer = Transmit::new(b"answer")
                .with_destination(datagram.source)
                .with_source(destination);
            let _ = udp.try_transmit(&answer);
        }
    })?;
    let address: IpAddr = match stage.family {
        Family::V4 => IpAddr::from([127, 0, 0, 5]),
        Family::V6 => stage.loopback().ip(),
    };
    let client = stage.raw()?;
    let to = SocketAddr::new(address, udp.local_addr()?.port());
    client.send("question", to)?;
    stage.a_little_longer()?;
    ensure_eq!(client.recv()?, (b"answer".to_vec(), to), "the answer");
    Ok(())
}

fn default_segments(stage: &Stage) -> Verdict {
    let raw = stage.raw()?;
    let udp = stage.connected(raw.address())?;
    let set = udp.options().set_segment_size(NonZeroU16::new(4));
    if !uv_udp::capabilities().segmentation {
        stage.note("this kernel has no segmentation");
        ensure_eq!(set, Err(Errno::ENOPROTOOPT), "to set a segment size");
        return Ok(());
    }
    set?;
    for _ in 0..2 {
        udp.send(b"aaaabbbbcc", |_, _| ())?;
        udp.send(b"aaaabbbbcc", |_, _| ())?;
        stage.until("all of them complete", || udp.send_queue_count() == 0)?;
        udp.try_send(b"aaaabbbbcc")?;
        stage.send_batch(&udp, &[Transmit::new(b"aaaabbbbcc"); 2])?;
        let expected = ["aaaa", "bbbb", "cc"].repeat(5);
        ensure_eq!(raw.rest()?, expected, "what arrived");
        udp.disconnect()?;
        udp.connect(raw.address())?;
    }
    udp.options().set_segment_size(None)?;
    udp.try_send(b"aaaabbbbcc")?;
    ensure_eq!(raw.rest()?, ["aaaabbbbcc"], "what arrived without it");
    Ok(())
}

fn time(stage: &Stage) -> Verdict {
    let raw = stage.raw()?;
    let udp = stage.connected(raw.address())?;
    let timed = Transmit::new(b"hello").with_transmit_time(1);
    let without = udp.try_transmit(&timed);
    ensure_eq!(without, Err(Errno::EINVAL), "a time without a clock");
    udp.options().set_txtime(TxTimeClock::Monotonic)?;
    for _ in 0..5 {
        udp.transmit(timed, |_, _, _| ())?;
    }
    stage.until("all of them complete", || udp.send_queue_count() == 0)?;
    ensure_eq!(raw.rest()?.len(), 5, "datagrams that arrived");
    ensure_eq!(
        udp.counters().segmented_messages,
        0,
        "messages with several times"
    );
    Ok(())
}

fn bad_headers(stage: &Stage) -> Verdict {
    let raw = stage.raw()?;
    let udp = stage.connected(raw.address())?;
    let foreign = Transmit::new(b"hello").with_source(stage.other_loopback(0).ip());
    let refused = Err(Errno::EAFNOSUPPORT);
    ensure_eq!(udp.transmit(foreign, |_, _, _| ()), refused, "transmit");
    ensure_eq!(
        udp.try_transmit(&foreign).map(drop),
        refused,
        "try_transmit"
    );
    let batch = udp.try_transmit_batch(&[Transmit::new(b"good"), foreign]);
    ensure_eq!(batch.map(drop), refused, "try_transmit_batch");
    ensure_eq!(udp.send_queue_count(), 0, "what was accepted");
    ensure_eq!(raw.rest()?, [""; 0], "what was sent");
    Ok(())
}

/// An address of a group, and the interface of the cable.
fn group(stage: &Stage) -> Result<(IpAddr, Interface), Broken> {
    let group = match stage.family {
        Family::V4 => "232.7.7.7",
        Family::V6 => "ff02::7:7",
    };
    let interface = Interface::Index(uv_udp::interface_index("near")?);
    Ok((group.parse().map_err(Broken::new)?, interface))
}

fn membership(stage: &Stage, near_side: &Near, by_source: bool) -> Verdict {
    let _far = near_side.cable()?;
    let (group, interface) = group(stage)?;
    let udp = stage.bound_to_wildcard()?;
    udp.options().set_multicast_all(false)?;
    let (inbox, to) = (
        Inbox::of(&udp)?,
        SocketAddr::new(group, udp.local_addr()?.port()),
    );
    let sender = Raw::bind((near(stage.family), 0).into())?;
    uv_sys::multicast::set_multicast_interface(&sender, interface)?;
    let source = near(stage.family);
    let say = |text: &str| -> Verdict {
        sender.send(text, to)?;
        stage.a_little_longer()
    };
    let reconnect = || -> Verdict {
        udp.connect(sender.address())?;
        udp.connect(sender.address())?;
        Ok(udp.disconnect()?)
    };
    let twice = if by_source {
        udp.join_source(group, crate::network::far(stage.family), interface)?;
        say("from another source")?;
        udp.join_source(group, source, interface)?;
        udp.join_source(group, source, interface)
    } else {
        say("early")?;
        udp.join_multicast(group, interface)?;
        udp.join_multicast(group, interface)
    };
    let expected = match by_source {
        true => Errno::EADDRNOTAVAIL,
        false => Errno::EADDRINUSE,
    };
    ensure_eq!(twice, Err(expected), "joining twice");
    say("one")?;
    stage.until("the first is heard", || inbox.len() == 1)?;
    reconnect()?;
    say("two")?;
    stage.until("the second is heard", || inbox.len() == 2)?;
    if by_source {
        udp.leave_source(group, source, interface)?;
    } else {
        udp.leave_multicast(group, interface)?;
        let twice = udp.leave_multicast(group, interface);
        ensure_eq!(twice, Err(Errno::EADDRNOTAVAIL), "leaving twice");
    }
    say("late")?;
    reconnect()?;
    say("later")?;
    ensure_eq!(inbox.texts(), ["one", "two"], "what was heard");
    Ok(())
}

fn loops(stage: &Stage, near_side: &Near) -> Verdict {
    let far = near_side.cable()?;
    let (group, interface) = group(stage)?;
    let member = stage.bound_to_wildcard()?;
    member.join_multicast(group, interface)?;
    let inbox = Inbox::of(&member)?;
    let to = SocketAddr::new(group, member.local_addr()?.port());
    let there = far.raw(SocketAddr::new(stage.family.unspecified(), to.port()))?;
    let index = far.run(|| uv_udp::interface_index("far"))??;
    uv_sys::multicast::join_multicast(&there, group, Interface::Index(index))?;
    let udp = stage.bound_to_wildcard()?;
    udp.options().set_multicast_interface(interface)?;
    udp.try_send_to(b"to all", to)?;
    udp.options().set_multicast_loop(false)?;
    udp.try_send_to(b"not here", to)?;
    ensure_eq!(
        there.recv_texts(2)?,
        ["to all", "not here"],
        "what was heard there"
    );
    stage.until("it is heard here", || inbox.len() > 0)?;
    stage.a_little_longer()?;
    ensure_eq!(inbox.texts(), ["to all"], "what was heard here");
    Ok(())
}
