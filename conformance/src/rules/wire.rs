//! What leaves a handle, as a raw socket on the other side sees it: each thing that can go beside a datagram, by itself and
//! as the handle's default, in every form of sending.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::process::Command;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use uv_sys::{Metadata, RecvOptions};
use uv_udp::{Ecn, Errno, Family, Interface, PacketInfo, Transmit, TxTimeClock, Udp};

use crate::network::{Near, far, near};
use crate::raw::{DEADLINE, Raw};
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Results, text};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "transmit/ttl-and-tos-by-default",
        "A handle's TTL and TOS are on every datagram that says nothing else, in every form of sending.",
        ttl_and_tos,
    ),
    Rule::isolated(
        "transmit/source-in-every-form",
        "A datagram leaves from the address that it says, or that the handle says, in every form of sending.",
        source,
    ),
    Rule::isolated(
        "transmit/interface-in-every-form",
        "A datagram leaves by the interface that it says, or that the handle says, in every form of sending.",
        interface,
    ),
    Rule::each(
        "transmit/segment-size-in-every-form",
        "A buffer with a segment size arrives as datagrams of that size, in every form of sending.",
        segments,
    ),
    Rule::each(
        "transmit/time-in-every-form",
        "A datagram with a time is EINVAL without a clock and goes with one, in every form of sending.",
        time,
    ),
    Rule::isolated(
        "transmit/a-time-is-kept",
        "Where the device's queue minds the time, a datagram does not arrive before it.",
        time_is_kept,
    ),
    Rule::isolated(
        "multicast/hops-and-interfaces-by-address",
        "What is sent to a group has the TTL that was set for groups; on IPv4 an address names an interface too.",
        multicast,
    ),
    Rule {
        families: &[Some(Family::V4)],
        ..Rule::isolated(
            "options/a-broadcast-arrives",
            "With permission a broadcast arrives on the other side of the cable.",
            broadcast,
        )
    },
];

/// Where the datagrams of a rule go.
#[derive(Clone, Copy)]
enum Way {
    /// The handle is connected.
    ToPeer,
    /// Each has its destination.
    To(SocketAddr),
}

impl Way {
    fn transmit<'a>(self, data: &'a str) -> Transmit<'a> {
        match self {
            Self::ToPeer => Transmit::new(data),
            Self::To(address) => Transmit::new(data).with_destination(address),
        }
    }
}

/// Sends the message in each form: at once, in a batch of borrowed ones, and with a callback, the first directly and the
/// others from the queue.
fn every_form(stage: &Stage, udp: &Udp, transmit: Transmit<'_>) -> Verdict {
    let results = Results::default();
    udp.try_transmit(&transmit)?;
    stage.send_batch(udp, &[transmit; 2])?;
    for number in 0..3 {
        udp.transmit(transmit.with_token(number), results.by_token())?;
    }
    stage.until("all complete", || results.len() == 3)?;
    ensure_eq!(results.with(Ok(())), [0, 1, 2], "sends that went well");
    Ok(())
}

/// Messages that `every_form` sends.
const FORMS: usize = 6;

/// The next datagram that a raw socket gets, its source, and what came beside it.
fn observe(raw: &Raw) -> Result<(String, Option<SocketAddr>, Metadata), Broken> {
    let mut buffer = [0; 2000];
    // It waits here.
    let peeked = raw.peek_within(DEADLINE)?;
    ensure!(peeked, "nothing arrives");
    let options = RecvOptions {
        source: true,
        control: true,
        peek: false,
    };
    let received = uv_sys::message::recvmsg(raw, &mut [IoSliceMut::new(&mut buffer)], options)?;
    let data = buffer.get(..received.len).unwrap_or_default();
    Ok((text(data), received.source, received.metadata))
}

fn ttl_and_tos(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = stage.raw()?;
        uv_sys::option::set_recv_tos(&raw, true)?;
        uv_sys::option::set_recv_ttl(&raw, true)?;
        let (udp, way) = match connect {
            true => (stage.connected(raw.address())?, Way::ToPeer),
            false => (stage.bound()?, Way::To(raw.address())),
        };
        udp.options().set_ttl(9)?;
        udp.options().set_tos(46 << 2 | Ecn::Ect0 as u8)?;
        let plain = way.transmit("plain");
        for (what, transmit, expected) in [
            ("nothing", plain, (0xba, 9)),
            (
                "ECN",
                plain.with_tos(46 << 2).with_ecn(Ecn::Ect1),
                (0xb9, 9),
            ),
            ("a DSCP", plain.with_tos(8 << 2), (0x20, 9)),
            ("a TTL", plain.with_ttl(200), (0xba, 200)),
        ] {
            every_form(stage, &udp, transmit)?;
            for form in 0..FORMS {
                let (_, _, metadata) = observe(&raw)?;
                let (tos, ttl) = expected;
                ensure_eq!(
                    (metadata.tos, metadata.ttl),
                    (Some(tos), Some(ttl)),
                    "TOS and TTL of datagram {form} that says {what}, connected: {connect}"
                );
            }
        }
    }
    Ok(())
}

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
    comes_from("which says one", own, second)?;
    udp.set_send_source(Some(third.into()))?;
    comes_from("which says none", plain, third)?;
    comes_from("which says one beside the handle's", own, second)?;
    let size = NonZeroU16::new(1).ok_or(Errno::EINVAL)?;
    let buffer = Transmit::new(b"xx").with_segment_size(size);
    udp.try_transmit(&buffer.with_destination(raw.address()))?;
    for _ in 0..2 {
        ensure_eq!(raw.recv()?.1.ip(), third, "the source of segments");
    }
    udp.set_send_source(None)?;
    comes_from("without any", plain, stage.loopback().ip())
}

/// A group that every host on a network is a member of, so that nobody need join.
fn everybody(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => ([224, 0, 0, 1], port).into(),
        Family::V6 => (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), port).into(),
    }
}

fn interface(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(SocketAddr::new(stage.family.unspecified(), 0))?;
    // Another cable, by which they leave unless something is said.
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
    let to_all = everybody(stage.family, remote.address().port());
    let own = Transmit::new("by its own")
        .with_destination(to_all)
        .with_source(near);
    let plain = Transmit::new("by the handle's").with_destination(to_all);
    // The kernel is done with the other cable a while after `ip` is.
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
    ensure_eq!(seen, expected, "what came over the cable");
    Ok(())
}

fn segments(stage: &Stage) -> Verdict {
    let size = NonZeroU16::new(4).ok_or(Errno::EINVAL)?;
    for connect in [false, true] {
        let raw = stage.raw()?;
        let (udp, way) = match connect {
            true => (stage.connected(raw.address())?, Way::ToPeer),
            false => (stage.bound()?, Way::To(raw.address())),
        };
        let cut = way.transmit("aaaabbbbcc").with_segment_size(size);
        if !uv_udp::capabilities().segmentation {
            stage.note("this kernel has no segmentation");
            let refused = udp.try_transmit(&cut);
            ensure_eq!(refused, Err(Errno::EOPNOTSUPP), "try_transmit");
            continue;
        }
        every_form(stage, &udp, cut)?;
        let expected = ["aaaa", "bbbb", "cc"].repeat(FORMS);
        ensure_eq!(raw.rest()?, expected, "what arrived");
        // As the handle's default, and a datagram's own before that.
        udp.options().set_segment_size(NonZeroU16::new(5))?;
        every_form(stage, &udp, way.transmit("aaaabbbbcc"))?;
        let expected = ["aaaab", "bbbcc"].repeat(FORMS);
        ensure_eq!(raw.rest()?, expected, "what arrived by default");
        every_form(stage, &udp, cut)?;
        let expected = ["aaaa", "bbbb", "cc"].repeat(FORMS);
        ensure_eq!(raw.rest()?, expected, "what arrived beside the default");
    }
    Ok(())
}

fn time(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = stage.raw()?;
        let (udp, way) = match connect {
            true => (stage.connected(raw.address())?, Way::ToPeer),
            false => (stage.bound()?, Way::To(raw.address())),
        };
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
        ensure_eq!(raw.rest()?, ["timed"; FORMS], "what arrived");
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
        // What has no time is there before, also on a busy machine.
        let at = now() + if form == "queued" { 10 * LATER } else { LATER };
        let timed = Transmit::new(form).with_transmit_time(at);
        match form {
            "try_transmit" => udp.try_transmit(&timed).map(drop)?,
            "try_transmit_batch" => udp.try_transmit_batch(&[timed]).map(drop)?,
            "transmit" => udp.transmit(timed, |_, _, _| ())?,
            _ => {
                udp.send("at once", |_, _| ())?;
                udp.transmit(timed, |_, _, _| ())?;
            }
        }
        stage.until("all complete", || udp.send_queue_count() == 0)?;
        if form == "queued" {
            ensure_eq!(remote.recv_text()?, "at once", "what has no time");
            ensure!(now() < at, "what has no time waits");
        }
        ensure_eq!(remote.recv_text()?, form, "what arrived");
        ensure!(now() >= at, "{form} arrives too early");
    }
    Ok(())
}

fn multicast(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(SocketAddr::new(stage.family.unspecified(), 0))?;
    uv_sys::option::set_recv_ttl(&remote, true)?;
    let to_all = everybody(stage.family, remote.address().port());
    let udp = stage.bound_to_wildcard()?;
    let by_index = Interface::Index(uv_udp::interface_index("near")?);
    let by_address = match near(stage.family) {
        IpAddr::V4(address) => Interface::Address(address),
        IpAddr::V6(_) => by_index,
    };
    for (interface, ttl) in [
        (by_index, None),
        (by_address, Some(5)),
        (by_index, Some(255)),
    ] {
        udp.options().set_multicast_interface(interface)?;
        if let Some(ttl) = ttl {
            udp.options().set_multicast_ttl(ttl)?;
        }
        // What is for single hosts is another matter.
        udp.options().set_ttl(77)?;
        udp.try_send_to("to all", to_all)?;
        let (_, source, metadata) = observe(&remote)?;
        let seen = metadata.ttl.map(u32::from);
        ensure_eq!(seen, Some(ttl.unwrap_or(1)), "the TTL, by {interface:?}");
        ensure!(source.is_some_and(|source| source.port() == udp.local_addr().map_or(0, |own| own.port())), "another source");
    }
    // A member by address hears what comes over the cable.
    let group: IpAddr = match stage.family {
        Family::V4 => [239, 9, 9, 9].into(),
        Family::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 9, 9).into(),
    };
    udp.join_multicast(group, by_address)?;
    let inbox = Inbox::of(&udp)?;
    let index = cable.run(|| uv_udp::interface_index("far"))??;
    uv_sys::multicast::set_multicast_interface(&remote, Interface::Index(index))?;
    let to = SocketAddr::new(group, udp.local_addr()?.port());
    remote.send("to the group", to)?;
    stage.until("the member hears it", || inbox.len() == 1)?;
    udp.leave_multicast(group, by_address)?;
    Ok(())
}

fn broadcast(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(([0, 0, 0, 0], 0).into())?;
    let udp = stage.bound_to_wildcard()?;
    let port = remote.address().port();
    let refused = udp.try_send_to("x", ([192, 0, 2, 255], port).into());
    ensure_eq!(refused, Err(Errno::EACCES), "without permission");
    udp.options().set_broadcast(true)?;
    every_form(
        stage,
        &udp,
        Transmit::new("to all").with_destination(([192, 0, 2, 255], port).into()),
    )?;
    ensure_eq!(remote.recv_texts(FORMS)?, ["to all"; FORMS], "what arrived");
    Ok(())
}
