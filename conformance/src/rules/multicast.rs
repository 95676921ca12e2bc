//! Multicast and broadcast.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use uv_udp::{Errno, Family, Interface, Transmit};

use super::forms::{FORMS, all_hosts, every_form, observe};
use crate::network::{Near, far, near};
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Inbox;

pub(super) const RULES: &[Rule] = &[
    Rule::isolated(
        "multicast/members-hear-their-groups",
        "A member receives its group until it leaves, also after disconnect. A second join and a second leave are errors.",
        |stage, near| membership(stage, near, false),
    ),
    Rule::isolated(
        "multicast/members-for-a-source-hear-it-alone",
        "A member for one source receives from that source only, also after disconnect.",
        |stage, near| membership(stage, near, true),
    ),
    Rule::isolated(
        "multicast/loop-and-interface",
        "Multicast leaves by the configured interface, and reaches this host unless multicast loop is off.",
        loops,
    ),
    Rule::isolated(
        "multicast/hops-and-interfaces-by-address",
        "Multicast has the multicast TTL. On IPv4 an address also names an interface.",
        multicast,
    ),
    Rule {
        families: &[Some(Family::V4)],
        ..Rule::isolated(
            "options/a-broadcast-arrives",
            "A broadcast is EACCES without set_broadcast, and arrives with it.",
            broadcast,
        )
    },
];

/// A group address, and the interface of the cable.
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
        udp.join_source(group, far(stage.family), interface)?;
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
    stage.until("the first datagram arrives", || inbox.len() == 1)?;
    reconnect()?;
    say("two")?;
    stage.until("the second datagram arrives", || inbox.len() == 2)?;
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
    ensure_eq!(inbox.texts(), ["one", "two"], "the received datagrams");
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
        "the datagrams on the far side"
    );
    stage.until("it arrives on this host", || inbox.len() > 0)?;
    stage.a_little_longer()?;
    ensure_eq!(inbox.texts(), ["to all"], "the datagrams on this host");
    Ok(())
}

fn multicast(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(SocketAddr::new(stage.family.unspecified(), 0))?;
    uv_sys::option::set_recv_ttl(&remote, true)?;
    let to_all = all_hosts(stage.family, remote.address().port());
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
        // The unicast TTL is another option.
        udp.options().set_ttl(77)?;
        udp.try_send_to("to all", to_all)?;
        let (_, source, metadata) = observe(&remote)?;
        let seen = metadata.ttl.map(u32::from);
        ensure_eq!(seen, Some(ttl.unwrap_or(1)), "the TTL, by {interface:?}");
        ensure!(source.is_some_and(|source| source.port() == udp.local_addr().map_or(0, |own| own.port())), "another source");
    }
    // A member by address receives from the cable.
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
    stage.until("the member receives it", || inbox.len() == 1)?;
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
    ensure_eq!(
        remote.recv_texts(FORMS)?,
        ["to all"; FORMS],
        "the received datagrams"
    );
    Ok(())
}
