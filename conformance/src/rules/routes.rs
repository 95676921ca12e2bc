//! Rules that need a network of their own: routes, several addresses, small packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use uv_udp::{Errno, Family, Udp};

use crate::network::{Near, far, near, silent};
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Results, numbered, numbers};

pub(super) const RULES: &[Rule] = &[
    Rule::isolated(
        "traps/reconnecting-towards-another-network",
        "A handle that was connected to loopback can connect to an address on another network.",
        another_network,
    ),
    Rule::isolated(
        "filter/other-addresses-arrive-after-disconnect",
        "After disconnect, a datagram from another address than the former peer's is delivered.",
        other_addresses,
    ),
    Rule::isolated(
        "filter/the-peers-port-at-another-address-is-filtered",
        "A sender with the peer's port and another address is filtered, before and after connect.",
        same_port_elsewhere,
    ),
    Rule::isolated(
        "local/a-chosen-port-survives",
        "A port bound by number survives disconnects and reconnects.",
        chosen_port,
    ),
    Rule::isolated(
        "local/the-wildcard-follows-the-peer",
        "A handle at the wildcard address gets the local address that fits each peer, and keeps its port.",
        follows_the_peer,
    ),
    Rule::isolated(
        "errors/no-route-is-the-datagrams-own-error",
        "A datagram without a route gets ENETUNREACH; the others of its burst leave.",
        no_route,
    ),
    Rule::isolated(
        "errors/connecting-without-a-route-is-enetunreach",
        "connect without a route is ENETUNREACH, and leaves a connected handle unconnected.",
        connect_without_route,
    ),
    Rule::isolated(
        "batch/segments-larger-than-the-path-takes-arrive",
        "A burst of datagrams above the path MTU arrives completely and in order.",
        small_packets,
    ),
];

/// A second address of this host beside the loopback address.
fn second_address(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(127, 0, 0, 2).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
    }
}

fn add_second_address(near: &Near, family: Family) -> Verdict {
    match family {
        // Loopback has all of 127.0.0.0/8.
        Family::V4 => Ok(()),
        Family::V6 => near.add_address(second_address(family)),
    }
}

fn another_network(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let (local, remote) = (
        stage.raw()?,
        cable.raw(SocketAddr::new(far(stage.family), 0))?,
    );
    // A raw second connect shows whether this kernel has the trap.
    let socket = UdpSocket::bind(stage.wildcard())?;
    socket.connect(local.address())?;
    let direct = socket.connect(remote.address()).map_err(Errno::from);
    for udp in [stage.udp(), stage.bound_to_wildcard()?] {
        udp.connect(local.address())?;
        let port = udp.local_addr()?.port();
        udp.connect(remote.address())?;
        ensure_eq!(
            udp.local_addr()?,
            SocketAddr::new(near(stage.family), port),
            "the local address"
        );
        udp.try_send(b"hello")?;
        let (data, source) = remote.recv()?;
        ensure_eq!(
            (data, source),
            (b"hello".to_vec(), udp.local_addr()?),
            "the received datagrams"
        );
        let inbox = Inbox::of(&udp)?;
        remote.send("answer", source)?;
        stage.until("the answer arrives", || inbox.len() == 1)?;
        udp.connect(local.address())?;
        udp.try_send(b"back")?;
        ensure_eq!(
            local.recv_text()?,
            "back",
            "the datagrams at the first peer"
        );
    }
    match direct {
        Ok(()) => stage.note("a socket can be connected directly here"),
        Err(error) => stage.note(format_args!("connecting a socket directly is {error:?}")),
    }
    Ok(())
}

fn other_addresses(stage: &Stage, here: &Near) -> Verdict {
    add_second_address(here, stage.family)?;
    let (peer, other) = (
        stage.raw()?,
        Raw::bind(SocketAddr::new(second_address(stage.family), 0))?,
    );
    for start_first in [true, false] {
        let udp = stage.bound_to_wildcard()?;
        let to = |address: IpAddr| {
            udp.local_addr()
                .map(|local| SocketAddr::new(address, local.port()))
        };
        let inbox = Inbox::default();
        if start_first {
            inbox.listen(&udp)?;
        }
        udp.connect(peer.address())?;
        udp.disconnect()?;
        if !start_first {
            inbox.listen(&udp)?;
        }
        other.send("other", to(other.address().ip())?)?;
        peer.send("former peer", to(peer.address().ip())?)?;
        stage.until("the former peer's datagram arrives", || {
            inbox.texts().contains(&"former peer".into())
        })?;
        ensure_eq!(inbox.texts(), ["other", "former peer"], "the inbox");
        ensure_eq!(
            inbox.datagrams()[0].1,
            other.address(),
            "the source of the first"
        );
        // Repeated after a connection to the other network.
        udp.connect(other.address())?;
        udp.disconnect()?;
        peer.send("peer again", to(peer.address().ip())?)?;
        stage.until("the first peer's datagram arrives", || inbox.len() == 3)?;
    }
    Ok(())
}

fn same_port_elsewhere(stage: &Stage, here: &Near) -> Verdict {
    add_second_address(here, stage.family)?;
    let peer = stage.raw()?;
    let twin = Raw::bind(SocketAddr::new(
        second_address(stage.family),
        peer.address().port(),
    ))?;
    let udp = stage.bound_to_wildcard()?;
    let to = SocketAddr::new(stage.loopback().ip(), udp.local_addr()?.port());
    twin.send("twin", to)?;
    peer.send("early", to)?;
    udp.connect(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    twin.send("twin", to)?;
    peer.send("late", to)?;
    stage.until("the peer's last datagram arrives", || {
        inbox.texts().contains(&"late".into())
    })?;
    ensure_eq!(inbox.texts(), ["early", "late"], "the inbox");
    Ok(())
}

fn chosen_port(stage: &Stage, _: &Near) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    // A namespace of its own excludes other users of the ports. Two ports, because a process that
    // another rule forks keeps a copy of a closed socket until its exec.
    for (ip, port) in [(stage.loopback().ip(), 4242), (stage.wildcard().ip(), 4243)] {
        let chosen = SocketAddr::new(ip, port);
        let udp = stage.udp();
        udp.bind(chosen)?;
        for peer in [&first, &second, &first] {
            udp.connect(peer.address())?;
            ensure_eq!(udp.local_addr()?.port(), port, "the local port, connected");
        }
        udp.disconnect()?;
        ensure_eq!(udp.local_addr()?, chosen, "the local address, disconnected");
        udp.try_send_to(b"hello", second.address())?;
        let (_, source) = second.recv()?;
        ensure_eq!(source.port(), port, "where it came from");
        let inbox = Inbox::of(&udp)?;
        second.send("answer", source)?;
        stage.until("the answer arrives", || inbox.len() == 1)?;
        udp.close(|_| ())?;
    }
    Ok(())
}

fn follows_the_peer(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let (local, remote) = (
        stage.raw()?,
        cable.raw(SocketAddr::new(far(stage.family), 0))?,
    );
    let udp = stage.bound_to_wildcard()?;
    let before = udp.local_addr()?;
    for _ in 0..2 {
        for (peer, ip) in [
            (&local, stage.loopback().ip()),
            (&remote, near(stage.family)),
        ] {
            udp.connect(peer.address())?;
            ensure_eq!(
                udp.local_addr()?,
                SocketAddr::new(ip, before.port()),
                "the local address"
            );
        }
        udp.disconnect()?;
        ensure_eq!(udp.local_addr()?, before, "the local address, disconnected");
        let inbox = Inbox::of(&udp)?;
        remote.send("hello", SocketAddr::new(near(stage.family), before.port()))?;
        local.send(
            "hello",
            SocketAddr::new(stage.loopback().ip(), before.port()),
        )?;
        stage.until("both datagrams arrive", || inbox.len() == 2)?;
        udp.recv_stop()?;
    }
    Ok(())
}

/// A namespace with loopback only has no route to it.
fn unreachable(stage: &Stage) -> SocketAddr {
    SocketAddr::new(silent(stage.family), 9)
}

fn no_route(stage: &Stage, _: &Near) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.bound_to_wildcard()?;
    let astray = |number: usize| matches!(number, 0 | 7 | 8 | 19);
    for number in 0..20 {
        let to = if astray(number) {
            unreachable(stage)
        } else {
            peer.address()
        };
        udp.send_to(&numbered(number, 10), to, results.of(number))?;
    }
    stage.until("all complete", || results.len() == 20)?;
    let result = |number| {
        if astray(number) {
            Err(Errno::ENETUNREACH)
        } else {
            Ok(())
        }
    };
    ensure_eq!(
        results.all(),
        (0..20)
            .map(|number| (number, result(number)))
            .collect::<Vec<_>>(),
        "results"
    );
    let arrived = numbers(&peer.rest()?);
    ensure_eq!(
        arrived,
        (0..20)
            .filter(|&number| !astray(number))
            .collect::<Vec<_>>(),
        "the received datagrams"
    );
    ensure_eq!(
        udp.try_send_to(b"x", unreachable(stage)),
        Err(Errno::ENETUNREACH),
        "try_send_to"
    );
    ensure_eq!(
        udp.try_send_to(b"x", peer.address()),
        Ok(1),
        "try_send_to where a route leads"
    );
    Ok(())
}

fn connect_without_route(stage: &Stage, _: &Near) -> Verdict {
    let peer = stage.raw()?;
    let (fresh, connected) = (stage.udp(), stage.connected(peer.address())?);
    ensure_eq!(
        fresh.connect(unreachable(stage)),
        Err(Errno::ENETUNREACH),
        "connect, no socket"
    );
    ensure_eq!(fresh.local_addr(), Err(Errno::EBADF), "the local address");
    let port = connected.local_addr()?.port();
    ensure_eq!(
        connected.connect(unreachable(stage)),
        Err(Errno::ENETUNREACH),
        "connect, connected"
    );
    ensure!(!connected.is_connected(), "it is still connected");
    connected.try_send_to(b"hello", peer.address())?;
    ensure_eq!(peer.recv()?.1.port(), port, "the port that it came from");
    Ok(())
}

fn small_packets(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let to = SocketAddr::new(far(stage.family), 0);
    let (raw, results) = (cable.raw(to)?, Results::default());
    // Room for all: each takes two packets.
    uv_sys::option::set_recv_buffer_size(&raw, 1 << 20)?;
    here.ip("link set near mtu 1280")?;
    let connected = stage.connected(raw.address())?;
    let unconnected = stage.bound_to_wildcard()?;
    for number in 0..20 {
        connected.send(&numbered(number, 1400), results.of(number))?;
    }
    stage.until("all complete", || results.len() == 20)?;
    let send_to = |udp: &Udp, number: usize| {
        // One small datagram among large ones.
        udp.send_to(
            &numbered(number, if number == 30 { 100 } else { 1400 }),
            raw.address(),
            results.of(number),
        )
    };
    (20..40).try_for_each(|number| send_to(&unconnected, number))?;
    stage.until("all complete", || results.len() == 40)?;
    ensure_eq!(
        results.with(Ok(())),
        (0..40).collect::<Vec<_>>(),
        "sends that went well"
    );
    let texts = raw.recv_texts(40)?;
    ensure_eq!(
        numbers(&texts),
        (0..40).collect::<Vec<_>>(),
        "the received datagrams"
    );
    let lengths = texts
        .iter()
        .enumerate()
        .filter(|(number, text)| text.len() != if *number == 30 { 100 } else { 1400 });
    ensure_eq!(lengths.count(), 0, "datagrams of a wrong length");
    Ok(())
}
