//! Source, interface, segment size and transmit time of sent datagrams, as a raw socket receives them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::process::Command;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use uv_udp::{Errno, Family, Interface, PacketInfo, Transmit, TxTimeClock, Udp};

use super::forms::{FORMS, Way, all_hosts, every_form};
use crate::network::{Near, far};
use crate::raw::{DEADLINE, Raw};
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Results;

pub(super) const RULES: &[Rule] = &[
    Rule::isolated(
        "transmit/source-in-every-form",
        "A datagram leaves from its own source address or from the handle's, in every form of sending.",
        source,
    ),
    Rule::isolated(
        "transmit/interface-in-every-form",
        "A datagram leaves by its own interface or by the handle's, in every form of sending.",
        interface,
    ),
    Rule::each(
        "transmit/segment-size-in-every-form",
        "A buffer is cut by its own segment size or by the handle's, in every form of sending.",
        segments,
    ),
    Rule::each(
        "transmit/time-in-every-form",
        "A datagram with a transmit time is EINVAL without a clock, and leaves alone with one, in every form of sending.",
        time,
    ),
    Rule::isolated(
        "transmit/a-time-is-kept",
        "With a queueing discipline that supports transmit times, a datagram does not arrive before its time.",
        time_is_kept,
    ),
    Rule::each(
        "transmit/an-answer-leaves-from-the-questions-destination",
        "The destination of a received datagram is a valid source of the answer.",
        answer,
    ),
    Rule::each(
        "transmit/bad-headers-are-refused-at-once",
        "A source address of the other family is EAFNOSUPPORT, and no datagram is accepted.",
        bad_headers,
    ),
];

/// Two addresses of this host beside the loopback address.
fn own_addresses(stage: &Stage, here: &Near) -> Result<[IpAddr; 2], Broken> {
    match stage.family {
        Family::V4 => Ok([[127, 0, 0, 2].into(), [127, 0, 0, 3].into()]),
        Family::V6 => {
            let own = [2, 3].map(|host| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host).into());
            for address in own {
                here.add_address(address)?;
            }
            Ok(own)
        }
    }
}

fn source(stage: &Stage, here: &Near) -> Verdict {
    let [second, third] = own_addresses(stage, here)?;
    let raw = stage.raw()?;
    let udp = stage.bound_to_wildcard()?;
    let plain = Transmit::new("x").with_destination(raw.address());
    let comes_from = |what: &str, transmit: Transmit<'_>, address: IpAddr| -> Verdict {
        every_form(stage, &udp, transmit)?;
        for form in 0..FORMS {
            let source = raw.recv()?.1.ip();
            ensure_eq!(source, address, "the source of datagram {form}, {what}");
        }
        Ok(())
    };
    let own = plain.with_source(second);
    comes_from("with its own", own, second)?;
    udp.set_send_source(Some(third.into()))?;
    comes_from("without its own", plain, third)?;
    udp.try_send_to(b"x", raw.address())?;
    udp.send_to(b"x", raw.address(), uv_udp::ignore)?;
    udp.send_to(b"x", raw.address(), uv_udp::ignore)?;
    stage.until("both complete", || udp.send_queue_count() == 0)?;
    for _ in 0..3 {
        ensure_eq!(raw.recv()?.1.ip(), third, "the source of send_to");
    }
    stage.send_batch(&udp, &[plain, own])?;
    let sources = (raw.recv()?.1.ip(), raw.recv()?.1.ip());
    ensure_eq!(sources, (third, second), "the sources of a batch");
    comes_from("with its own beside the handle's", own, second)?;
    let size = NonZeroU16::new(1).ok_or(Errno::EINVAL)?;
    let buffer = Transmit::new(b"xx").with_segment_size(size);
    udp.try_transmit(&buffer.with_destination(raw.address()))?;
    for _ in 0..2 {
        ensure_eq!(raw.recv()?.1.ip(), third, "the source of segments");
    }
    udp.set_send_source(None)?;
    comes_from("without any", plain, stage.loopback().ip())
}

fn interface(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(SocketAddr::new(stage.family.unspecified(), 0))?;
    // A second cable, the default of the handle.
    let (address, protocol) = match stage.family {
        Family::V4 => ("198.51.100.1/24", "-4"),
        Family::V6 => ("2001:db8:7::1/64 nodad", "-6"),
    };
    here.ip("link add other type veth peer name end")?;
    here.ip("link set other up")?;
    here.ip("link set end up")?;
    here.ip(&format!("{protocol} addr add {address} dev other"))?;
    let index = |name| uv_udp::interface_index(name);
    let near = PacketInfo {
        address: None,
        interface: index("near")?,
    };
    let udp = stage.bound_to_wildcard()?;
    udp.options()
        .set_multicast_interface(Interface::Index(index("other")?))?;
    let to_all = all_hosts(stage.family, remote.address().port());
    let own = Transmit::new("by its own")
        .with_destination(to_all)
        .with_source(near);
    let plain = Transmit::new("by the handle's").with_destination(to_all);
    // The kernel sets the other cable up some time after `ip` returns.
    let began = Instant::now();
    while let Err(Errno::ENETUNREACH | Errno::EADDRNOTAVAIL) = udp.try_transmit(&plain) {
        ensure!(began.elapsed() < DEADLINE, "the other cable is not there");
        stage.a_little_longer()?;
    }
    every_form(stage, &udp, plain)?;
    every_form(stage, &udp, own)?;
    udp.set_send_source(Some(near))?;
    every_form(stage, &udp, plain)?;
    let seen = remote.recv_texts(2 * FORMS)?;
    let expected = [["by its own"; FORMS], ["by the handle's"; FORMS]].concat();
    ensure_eq!(seen, expected, "the datagrams over the cable");
    Ok(())
}

fn segments(stage: &Stage) -> Verdict {
    let size = NonZeroU16::new(4).ok_or(Errno::EINVAL)?;
    for connect in [false, true] {
        let raw = stage.raw()?;
        let (udp, way) = Way::new(stage, &raw, connect)?;
        let cut = way.transmit("aaaabbbbcc").with_segment_size(size);
        if !uv_udp::capabilities().segmentation {
            if connect {
                stage.note("this kernel has no segmentation");
            }
            ensure_eq!(udp.try_transmit(&cut), Ok(10), "try_transmit");
            let expected = ["aaaa", "bbbb", "cc"];
            ensure_eq!(raw.rest()?, expected, "the datagrams one by one");
            let set = udp.options().set_segment_size(Some(size));
            ensure_eq!(set, Err(Errno::ENOPROTOOPT), "to set a segment size");
            continue;
        }
        every_form(stage, &udp, cut)?;
        let expected = ["aaaa", "bbbb", "cc"].repeat(FORMS);
        ensure_eq!(raw.rest()?, expected, "the received datagram");
        // The handle's default, and a datagram's own size, which precedes it.
        udp.options().set_segment_size(NonZeroU16::new(5))?;
        every_form(stage, &udp, way.transmit("aaaabbbbcc"))?;
        let expected = ["aaaab", "bbbcc"].repeat(FORMS);
        ensure_eq!(raw.rest()?, expected, "the segments by default");
        every_form(stage, &udp, cut)?;
        let expected = ["aaaa", "bbbb", "cc"].repeat(FORMS);
        ensure_eq!(raw.rest()?, expected, "the segments beside the default");
        if connect {
            default_segments(stage, &udp, &raw)?;
        }
    }
    Ok(())
}

/// `send` and `try_send` use the default segment size, also after reconnecting, until it is removed.
fn default_segments(stage: &Stage, udp: &Udp, raw: &Raw) -> Verdict {
    udp.disconnect()?;
    udp.connect(raw.address())?;
    udp.send(b"aaaabbbbcc", uv_udp::ignore)?;
    udp.send(b"aaaabbbbcc", uv_udp::ignore)?;
    stage.until("both complete", || udp.send_queue_count() == 0)?;
    udp.try_send(b"aaaabbbbcc")?;
    let expected = ["aaaab", "bbbcc"].repeat(3);
    ensure_eq!(raw.rest()?, expected, "the segments after reconnecting");
    udp.options().set_segment_size(None)?;
    udp.try_send(b"aaaabbbbcc")?;
    ensure_eq!(
        raw.rest()?,
        ["aaaabbbbcc"],
        "the datagram without a default"
    );
    Ok(())
}

fn time(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = stage.raw()?;
        let (udp, way) = Way::new(stage, &raw, connect)?;
        let timed = way.transmit("timed").with_transmit_time(1);
        let results = Results::default();
        udp.transmit(timed.with_token(0), results.by_token())?;
        udp.transmit(timed.with_token(1), results.by_token())?;
        stage.until("both complete", || results.len() == 2)?;
        let refused = results.with(Err(Errno::EINVAL));
        ensure_eq!(refused, [0, 1], "transmit without a clock");
        let refused = Err(Errno::EINVAL);
        ensure_eq!(udp.try_transmit(&timed), refused, "try_transmit");
        ensure_eq!(
            udp.try_transmit_batch(&[timed]),
            refused,
            "try_transmit_batch"
        );
        udp.options().set_txtime(TxTimeClock::Monotonic)?;
        every_form(stage, &udp, timed)?;
        let segmented = udp.counters().segmented_messages;
        ensure_eq!(segmented, 0, "messages with several times");
        ensure_eq!(raw.rest()?, ["timed"; FORMS], "the received datagram");
    }
    Ok(())
}

/// Nanoseconds of the monotonic clock.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

fn time_is_kept(stage: &Stage, here: &Near) -> Verdict {
    const LATER: u64 = 50_000_000;
    let cable = here.cable()?;
    let tc = Command::new("tc")
        .args(["qdisc", "replace", "dev", "near", "root", "fq"])
        .output();
    if !tc.is_ok_and(|output| output.status.success()) {
        stage.note("not checked: no `tc`, or no queueing discipline `fq` here");
        return Ok(());
    }
    let remote = cable.raw(SocketAddr::new(far(stage.family), 0))?;
    let udp = stage.connected(remote.address())?;
    udp.options().set_txtime(TxTimeClock::Monotonic)?;
    for form in ["try_transmit", "try_transmit_batch", "transmit", "queued"] {
        // Later for the queued one: the datagram without a time arrives before it, also on a busy machine.
        let at = now() + if form == "queued" { 10 * LATER } else { LATER };
        let timed = Transmit::new(form).with_transmit_time(at);
        match form {
            "try_transmit" => udp.try_transmit(&timed).map(drop)?,
            "try_transmit_batch" => udp.try_transmit_batch(&[timed]).map(drop)?,
            "transmit" => udp.transmit(timed, |_, _, _| ())?,
            _ => {
                udp.send("at once", uv_udp::ignore)?;
                udp.transmit(timed, |_, _, _| ())?;
            }
        }
        stage.until("all complete", || udp.send_queue_count() == 0)?;
        if form == "queued" {
            ensure_eq!(
                remote.recv_text()?,
                "at once",
                "the datagram without a time"
            );
            ensure!(now() < at, "the datagram without a time waits");
        }
        ensure_eq!(remote.recv_text()?, form, "the received datagram");
        ensure!(now() >= at, "{form} arrives too early");
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
    ensure_eq!(udp.send_queue_count(), 0, "accepted sends");
    ensure_eq!(raw.rest()?, [""; 0], "sent datagrams");
    Ok(())
}
