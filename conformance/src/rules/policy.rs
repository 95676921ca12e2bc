//! The policy table, part one: what the calls about addresses do before there is a socket, unconnected, connected, closed.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_udp::{Errno, Family, Transmit, Udp};

use crate::network::why_no_family;
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "bind/no-socket-creates-and-binds",
        "bind makes a socket of the address's family and binds it.",
        bind_creates,
    ),
    Rule::each(
        "bind/bound-is-einval",
        "bind on a bound handle is EINVAL, however it came to be bound.",
        bind_bound,
    ),
    Rule::each(
        "bind/connected-is-einval",
        "bind on a connected handle is EINVAL, and leaves the connection alone.",
        bind_connected,
    ),
    Rule::each(
        "bind/unbound-binds",
        "A handle that has a socket of a family from the start is bound by the first bind of that family.",
        bind_unbound,
    ),
    Rule::each(
        "connect/no-socket-creates-and-connects",
        "connect makes a socket of the peer's family and connects it.",
        connect_creates,
    ),
    Rule::each(
        "connect/unconnected-connects",
        "connect on a bound handle connects it, and keeps its port.",
        connect_unconnected,
    ),
    Rule::each(
        "connect/unbound-connects",
        "connect on a handle with an unbound socket connects it, from a port that then stays.",
        connect_unbound,
    ),
    Rule::each(
        "connect/connected-connects-anew",
        "connect on a connected handle moves it to the new peer, also when that is the old one.",
        connect_connected,
    ),
    Rule::each(
        "connect/failure-leaves-it-unconnected",
        "If connecting anew fails, the handle is unconnected and usable, and the error is the kernel's.",
        connect_failing,
    ),
    Rule::each(
        "connect/failed-first-call-changes-nothing",
        "A first connect that fails leaves the handle without a socket.",
        first_connect_failing,
    ),
    Rule::each(
        "disconnect/no-socket-is-enotconn",
        "disconnect without a socket is ENOTCONN.",
        disconnect_without_socket,
    ),
    Rule::each(
        "disconnect/unconnected-is-enotconn",
        "disconnect on an unconnected handle is ENOTCONN, also a second time.",
        disconnect_unconnected,
    ),
    Rule::each(
        "disconnect/connected-keeps-the-local-address",
        "disconnect dissolves the connection and keeps the local address.",
        disconnect_connected,
    ),
    Rule::each(
        "peer-addr/no-socket-is-enotconn",
        "peer_addr without a socket is ENOTCONN.",
        peer_addr_without_socket,
    ),
    Rule::each(
        "peer-addr/unconnected-is-enotconn",
        "peer_addr on an unconnected handle is ENOTCONN.",
        peer_addr_unconnected,
    ),
    Rule::each(
        "peer-addr/connected-is-the-peer",
        "peer_addr on a connected handle is what the kernel calls the peer.",
        peer_addr_connected,
    ),
    Rule::each(
        "closed/every-call-is-ebadf",
        "On a closed handle every call is EBADF, before and after the close callback.",
        closed,
    ),
];

fn bind_creates(stage: &Stage) -> Verdict {
    let udp = stage.udp();
    ensure_eq!(
        udp.local_addr(),
        Err(Errno::EBADF),
        "the local address of no socket"
    );
    udp.bind(stage.loopback())?;
    let address = udp.local_addr()?;
    ensure_eq!(address.ip(), stage.loopback().ip(), "the local address");
    ensure!(address.port() != 0, "there is no local port");
    ensure_eq!(
        Raw::bind(address).map(drop).map_err(Errno::from),
        Err(Errno::EADDRINUSE),
        "binding there too"
    );
    Ok(())
}

fn bind_bound(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (bound, sent) = (stage.bound()?, stage.udp());
    sent.try_send_to(b"x", peer.address())?;
    for udp in [bound, sent] {
        let before = udp.local_addr()?;
        ensure_eq!(
            udp.bind(stage.loopback()),
            Err(Errno::EINVAL),
            "a second bind"
        );
        ensure_eq!(
            udp.bind(before),
            Err(Errno::EINVAL),
            "a bind to the same address"
        );
        ensure_eq!(udp.local_addr()?, before, "the local address");
    }
    Ok(())
}

fn bind_unbound(stage: &Stage) -> Verdict {
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    ensure_eq!(
        udp.bind(stage.other_loopback(0)),
        Err(Errno::EAFNOSUPPORT),
        "bind to an address of the other family"
    );
    udp.bind(stage.loopback())?;
    ensure!(udp.local_addr()?.port() != 0, "there is no local port");
    ensure_eq!(
        udp.bind(stage.loopback()),
        Err(Errno::EINVAL),
        "a second bind"
    );
    Ok(())
}

fn bind_connected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    let before = udp.local_addr()?;
    ensure_eq!(udp.bind(stage.loopback()), Err(Errno::EINVAL), "bind");
    ensure_eq!(udp.local_addr()?, before, "the local address");
    udp.try_send(b"still there")?;
    ensure_eq!(peer.recv_text()?, "still there", "what the peer got");
    Ok(())
}

fn connect_creates(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    udp.try_send(b"hello")?;
    ensure_eq!(
        peer.recv()?,
        (b"hello".to_vec(), udp.local_addr()?),
        "what the peer got"
    );
    Ok(())
}

fn connect_unconnected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    let before = udp.local_addr()?;
    udp.connect(peer.address())?;
    ensure_eq!(udp.local_addr()?, before, "the local address");
    udp.try_send(b"hello")?;
    ensure_eq!(
        peer.recv()?,
        (b"hello".to_vec(), before),
        "what the peer got"
    );
    Ok(())
}

fn connect_unbound(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    let foreign = stage.other_loopback(9);
    ensure_eq!(
        udp.connect(foreign),
        Err(Errno::EAFNOSUPPORT),
        "connect, other family"
    );
    ensure_eq!(udp.disconnect(), Err(Errno::ENOTCONN), "disconnect");
    udp.connect(peer.address())?;
    let port = udp.local_addr()?.port();
    udp.disconnect()?;
    ensure_eq!(udp.local_addr()?.port(), port, "the local port");
    udp.try_send_to(b"hello", peer.address())?;
    ensure_eq!(
        peer.recv()?.1.port(),
        port,
        "the port that a datagram came from"
    );
    Ok(())
}

fn connect_connected(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    let udp = stage.connected(first.address())?;
    let before = udp.local_addr()?;
    for (peer, text) in [
        (&first, "same"),
        (&second, "other"),
        (&second, "same again"),
        (&first, "back"),
    ] {
        udp.connect(peer.address())?;
        ensure_eq!(udp.peer_addr()?, peer.address(), "the peer");
        ensure_eq!(udp.local_addr()?.port(), before.port(), "the local port");
        udp.try_send(text)?;
        ensure_eq!(peer.recv_text()?, text, "what the peer got");
    }
    ensure_eq!(
        (first.rest()?.len(), second.rest()?.len()),
        (0, 0),
        "what else they got"
    );
    Ok(())
}

/// An address that no socket can be connected to without further ado, and what the kernel says then.
fn refused_peer(stage: &Stage) -> (SocketAddr, Errno) {
    match stage.family {
        // Everybody on loopback, without SO_BROADCAST.
        Family::V4 => (SocketAddr::from(([127, 255, 255, 255], 9)), Errno::EACCES),
        // A link-local address without a link.
        Family::V6 => (
            SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 9)),
            Errno::EINVAL,
        ),
    }
}

fn connect_failing(stage: &Stage) -> Verdict {
    let (peer, other) = (stage.raw()?, stage.raw()?);
    let (refused, error) = refused_peer(stage);
    let udp = stage.connected(peer.address())?;
    let port = udp.local_addr()?.port();
    ensure_eq!(udp.connect(refused), Err(error), "connect");
    ensure!(!udp.is_connected(), "it is connected");
    ensure_eq!(udp.peer_addr(), Err(Errno::ENOTCONN), "the peer");
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
    ensure_eq!(udp.local_addr()?.port(), port, "the local port");
    udp.try_send_to(b"hello", other.address())?;
    let (data, source) = other.recv()?;
    ensure_eq!(
        (data, source.port()),
        (b"hello".to_vec(), port),
        "what another got"
    );
    let inbox = Inbox::of(&udp)?;
    other.send("answer", source)?;
    stage.until("another's answer arrives", || inbox.len() == 1)?;
    udp.connect(peer.address())?;
    udp.try_send(b"again")?;
    ensure_eq!(peer.rest()?, ["again"], "what the peer got");
    Ok(())
}

fn first_connect_failing(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (refused, error) = refused_peer(stage);
    let udp = stage.udp();
    ensure_eq!(udp.connect(refused), Err(error), "connect");
    ensure_eq!(udp.local_addr(), Err(Errno::EBADF), "the local address");
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
    // Not even the family is decided.
    let other = stage.other_loopback(0);
    if why_no_family(Family::of(&other)).is_none() {
        udp.bind(other)?;
    }
    stage.connected(peer.address())?.try_send(b"hello")?;
    ensure_eq!(peer.recv_text()?, "hello", "what the peer got");
    Ok(())
}

fn disconnect_without_socket(stage: &Stage) -> Verdict {
    let udp = stage.udp();
    ensure_eq!(udp.disconnect(), Err(Errno::ENOTCONN), "disconnect");
    ensure_eq!(udp.local_addr(), Err(Errno::EBADF), "the local address");
    Ok(())
}

fn disconnect_unconnected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    let before = udp.local_addr()?;
    ensure_eq!(
        udp.disconnect(),
        Err(Errno::ENOTCONN),
        "disconnect before connecting"
    );
    udp.connect(peer.address())?;
    udp.disconnect()?;
    ensure_eq!(
        udp.disconnect(),
        Err(Errno::ENOTCONN),
        "a second disconnect"
    );
    ensure_eq!(udp.local_addr()?, before, "the local address");
    Ok(())
}

fn disconnect_connected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    let before = udp.local_addr()?;
    udp.connect(peer.address())?;
    udp.disconnect()?;
    ensure_eq!(udp.local_addr()?, before, "the local address");
    ensure_eq!(udp.peer_addr(), Err(Errno::ENOTCONN), "the peer");
    Ok(())
}

fn peer_addr_without_socket(stage: &Stage) -> Verdict {
    ensure_eq!(stage.udp().peer_addr(), Err(Errno::ENOTCONN), "peer_addr");
    Ok(())
}

fn peer_addr_unconnected(stage: &Stage) -> Verdict {
    ensure_eq!(
        stage.bound()?.peer_addr(),
        Err(Errno::ENOTCONN),
        "peer_addr"
    );
    Ok(())
}

fn peer_addr_connected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    ensure_eq!(udp.peer_addr(), Ok(peer.address()), "peer_addr");
    // Connecting to the wildcard address is connecting to loopback.
    udp.connect(SocketAddr::new(
        stage.wildcard().ip(),
        peer.address().port(),
    ))?;
    ensure_eq!(
        udp.peer_addr(),
        Ok(peer.address()),
        "peer_addr after connecting to the wildcard address"
    );
    udp.try_send(b"hello")?;
    ensure_eq!(peer.recv_text()?, "hello", "what the peer got");
    Ok(())
}

fn refuses_everything(stage: &Stage, udp: &Udp, peer: SocketAddr) -> Verdict {
    let transmit = Transmit::new("x");
    let unit = |result: Result<usize, Errno>| result.map(drop);
    let results = [
        ("bind", udp.bind(stage.loopback())),
        ("connect", udp.connect(peer)),
        ("disconnect", udp.disconnect()),
        ("send", udp.send(b"x", |_, _| ())),
        ("send_to", udp.send_to(b"x", peer, |_, _| ())),
        ("transmit", udp.transmit(transmit, |_, _, _| ())),
        ("try_send", unit(udp.try_send(b"x"))),
        ("try_send_to", unit(udp.try_send_to(b"x", peer))),
        ("try_transmit", unit(udp.try_transmit(&transmit))),
        (
            "try_transmit_batch",
            unit(udp.try_transmit_batch(&[transmit])),
        ),
        (
            "try_transmit with segments",
            unit(udp.try_transmit(&Transmit::new(b"x").with_segment_size(NonZeroU16::MIN))),
        ),
        ("recv_start", udp.recv_start(|_, _| ())),
        ("recv_batch_start", udp.recv_batch_start(|_, _| ())),
        ("recv_stop", udp.recv_stop()),
        ("local_addr", udp.local_addr().map(drop)),
        ("peer_addr", udp.peer_addr().map(drop)),
        ("fileno", udp.fileno().map(drop)),
        ("remote", udp.sender().map(drop)),
        ("close", udp.close(|_| ())),
    ];
    for (name, result) in results {
        ensure_eq!(result, Err(Errno::EBADF), "{name}");
    }
    Ok(())
}

fn closed(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    for udp in [
        stage.udp(),
        stage.bound()?,
        stage.connected(peer.address())?,
    ] {
        let closed = Counter::default();
        let count = closed.clone();
        udp.close(move |_| count.up())?;
        refuses_everything(stage, &udp, peer.address())?;
        stage.until("the close callback is called", || closed.get() == 1)?;
        refuses_everything(stage, &udp, peer.address())?;
        ensure!(!udp.is_connected(), "it is connected");
    }
    ensure_eq!(peer.rest()?, [""; 0], "what the peer got");
    Ok(())
}
