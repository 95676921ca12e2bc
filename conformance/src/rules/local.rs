//! The local address survives disconnects and reconnects, whatever call chose it.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use uv_udp::{Errno, Family, Udp};

use crate::raw::Raw;
use crate::rule::Rule;
use crate::sockets::Sockets;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Inbox;

// Handles at the wildcard address of both families have a namespace of their own. While they are
// connected, their port is free for IPv4 binds of other rules.
pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "local/a-port-0-binding-survives",
        "The port of a bind to port 0 survives disconnects and reconnects.",
        |stage| survives(stage, &stage.bound()?),
    ),
    Rule::isolated(
        "local/a-wildcard-binding-survives",
        "The port of a bind to the wildcard address survives disconnects and reconnects.",
        |stage, _| survives(stage, &stage.bound_to_wildcard()?),
    ),
    Rule::isolated(
        "local/a-binding-by-connect-survives",
        "The port that connect chose survives disconnects and reconnects.",
        |stage, _| survives(stage, &stage.udp()),
    ),
    Rule::isolated(
        "local/a-binding-by-send-to-survives",
        "The port that send_to chose survives disconnects and reconnects.",
        |stage, _| {
            let udp = stage.udp();
            udp.try_send_to(b"x", stage.raw()?.address())?;
            survives(stage, &udp)
        },
    ),
    Rule::once(
        "local/a-binding-by-recv-start-survives",
        "The port that recv_start chose survives disconnects and reconnects.",
        |stage| {
            let udp = stage.udp();
            udp.recv_start(|_, _| ())?;
            udp.recv_stop()?;
            survives(stage, &udp)
        },
    ),
    Rule::each(
        "local/an-adopted-binding-survives",
        "The port of an adopted socket survives disconnects and reconnects.",
        |stage| {
            survives(
                stage,
                &Udp::from_fd(&stage.event_loop, UdpSocket::bind(stage.loopback())?.into())?,
            )
        },
    ),
    Rule::isolated(
        "local/the-wildcard-comes-back",
        "A handle bound to the wildcard address is bound to it again after disconnect.",
        |stage, _| wildcard_comes_back(stage),
    ),
    Rule::isolated(
        "local/the-port-stays-exclusive",
        "During disconnects and reconnects no other socket can bind to the handle's port, even with SO_REUSEADDR.",
        |stage, _| port_stays_exclusive(stage),
    ),
    Rule::each(
        "local/what-the-peer-sent-before-disconnect-arrives",
        "Datagrams that the peer sent before disconnect are delivered after it, before later ones.",
        waiting_datagrams_survive,
    ),
    Rule::each(
        "local/receiving-continues-through-reconnects",
        "A receiving handle continues to receive through disconnects and reconnects.",
        receiving_goes_on,
    ),
    Rule::each(
        "local/the-descriptor-keeps-its-number",
        "fileno is the same number after disconnects and reconnects.",
        descriptor_keeps_its_number,
    ),
    Rule::each(
        "local/hundred-reconnects-keep-the-port",
        "A hundred reconnects keep the port, and leak no descriptor.",
        many_reconnects,
    ),
];

/// The handle's address as other sockets on this machine reach it.
fn reachable(stage: &Stage, udp: &Udp) -> Result<SocketAddr, Errno> {
    Ok(SocketAddr::new(
        stage.loopback().ip(),
        udp.local_addr()?.port(),
    ))
}

/// Sends from the port and receives on it.
fn lives_at(stage: &Stage, udp: &Udp, port: u16, peer: &Raw) -> Verdict {
    ensure_eq!(udp.local_addr()?.port(), port, "the local port");
    if udp.is_connected() {
        udp.try_send(b"hello")?;
    } else {
        udp.try_send_to(b"hello", peer.address())?;
    }
    let (_, source) = peer.recv()?;
    ensure_eq!(source.port(), port, "the port that a datagram came from");
    let inbox = Inbox::of(udp)?;
    peer.send("answer", reachable(stage, udp)?)?;
    stage.until("the answer arrives", || inbox.len() == 1)?;
    udp.recv_stop()?;
    Ok(())
}

fn survives(stage: &Stage, udp: &Udp) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    udp.connect(first.address())?;
    let port = udp.local_addr()?.port();
    lives_at(stage, udp, port, &first)?;
    for _ in 0..3 {
        udp.disconnect()?;
        lives_at(stage, udp, port, &second)?;
        udp.connect(second.address())?;
        lives_at(stage, udp, port, &second)?;
        udp.connect(first.address())?;
        lives_at(stage, udp, port, &first)?;
    }
    Ok(())
}

fn wildcard_comes_back(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound_to_wildcard()?;
    let before = udp.local_addr()?;
    for _ in 0..3 {
        udp.connect(peer.address())?;
        ensure_eq!(
            udp.local_addr()?.ip(),
            stage.loopback().ip(),
            "the local address, connected"
        );
        udp.disconnect()?;
        ensure_eq!(udp.local_addr()?, before, "the local address, disconnected");
    }
    Ok(())
}

/// Tries to bind another socket to the address, with and without SO_REUSEADDR.
fn takes_over(address: SocketAddr) -> Result<(), Broken> {
    for share in [false, true] {
        let socket = uv_sys::socket::socket(Family::of(&address))?;
        uv_sys::option::set_reuse_address(&socket, share)?;
        let bound = uv_sys::socket::bind(&socket, &address);
        ensure_eq!(
            bound,
            Err(Errno::EADDRINUSE),
            "binding to the handle's address, sharing: {share}"
        );
    }
    Ok(())
}

fn port_stays_exclusive(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    for udp in [stage.bound()?, stage.bound_to_wildcard()?] {
        takes_over(udp.local_addr()?)?;
        udp.connect(first.address())?;
        takes_over(udp.local_addr()?)?;
        udp.connect(second.address())?;
        takes_over(udp.local_addr()?)?;
        udp.disconnect()?;
        takes_over(udp.local_addr()?)?;
        let sockets = Sockets::of(&udp)?;
        udp.close(|_| ())?;
        stage.to_the_end()?;
        sockets.are_closed()?;
    }
    Ok(())
}

fn waiting_datagrams_survive(stage: &Stage) -> Verdict {
    let (peer, other) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    udp.connect(peer.address())?;
    let before: Vec<_> = (0..50).map(|number| format!("before {number}")).collect();
    before.iter().try_for_each(|text| peer.send(text, here))?;
    udp.disconnect()?;
    other.send("after", here)?;
    let inbox = Inbox::of(&udp)?;
    stage.until("the last one arrives", || {
        inbox.texts().contains(&"after".into())
    })?;
    let expected: Vec<_> = before.into_iter().chain(["after".into()]).collect();
    ensure_eq!(inbox.texts(), expected, "the inbox");
    Ok(())
}

fn receiving_goes_on(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    let inbox = Inbox::of(&udp)?;
    let mut expected = Vec::new();
    let mut receives = |peer: &Raw| {
        expected.push(expected.len().to_string());
        peer.send(expected.len().saturating_sub(1).to_string(), here)?;
        stage.until("a datagram arrives", || inbox.texts() == expected)
    };
    for _ in 0..3 {
        udp.connect(first.address())?;
        receives(&first)?;
        udp.connect(second.address())?;
        receives(&second)?;
        udp.disconnect()?;
        receives(&first)?;
        receives(&second)?;
    }
    ensure_eq!(
        udp.recv_start(|_, _| ()),
        Err(Errno::EALREADY),
        "recv_start"
    );
    Ok(())
}

fn descriptor_keeps_its_number(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let (here, number) = (udp.local_addr()?, udp.with_fd(|fd| fd.as_raw_fd())?);
    for _ in 0..3 {
        udp.connect(first.address())?;
        ensure_eq!(
            udp.with_fd(|fd| fd.as_raw_fd())?,
            number,
            "the descriptor, connected"
        );
        udp.connect(second.address())?;
        ensure_eq!(
            udp.with_fd(|fd| fd.as_raw_fd())?,
            number,
            "the descriptor, connected anew"
        );
        udp.disconnect()?;
        ensure_eq!(
            udp.with_fd(|fd| fd.as_raw_fd())?,
            number,
            "the descriptor, disconnected"
        );
        let local = udp.with_fd(|fd| uv_sys::socket::local_addr(fd))?;
        ensure_eq!(local, Ok(here), "the address of its socket");
    }
    Ok(())
}

/// The number of open descriptors. Rules that run at the same time change it too.
fn descriptors() -> Result<usize, Broken> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

fn many_reconnects(stage: &Stage) -> Verdict {
    let peers = [stage.raw()?, stage.raw()?];
    let udp = stage.bound()?;
    let (port, before) = (udp.local_addr()?.port(), descriptors()?);
    for round in 0..100 {
        let peer = &peers[round % 2];
        udp.connect(peer.address())?;
        ensure_eq!(
            udp.local_addr()?.port(),
            port,
            "the local port in round {round}"
        );
        udp.try_send(b"x")?;
        peer.recv()?;
        if round % 3 == 0 {
            udp.disconnect()?;
        }
    }
    let more = descriptors()?.saturating_sub(before);
    ensure!(more < 50, "{more} descriptors more after a hundred times");
    Ok(())
}
