//! The calls in each state of a handle: without a socket, unconnected, connected, closed.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_udp::{Errno, Family, Transmit, Udp};

use crate::network::why_no_family;
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "bind/no-socket-creates-and-binds",
        "bind creates a socket of the address's family and binds it.",
        bind_creates,
    ),
    Rule::each(
        "bind/bound-is-einval",
        "bind on a bound or connected handle is EINVAL, and changes neither the address nor the connection.",
        bind_bound,
    ),
    Rule::each(
        "connect/unbound-connects",
        "connect on a handle with an unbound socket connects it, and a later disconnect keeps the port.",
        connect_unbound,
    ),
    Rule::each(
        "connect/connected-connects-anew",
        "connect on a connected handle replaces the peer, also by the same one, and keeps the local address.",
        connect_connected,
    ),
    Rule::each(
        "connect/failure-leaves-it-unconnected",
        "After a failed reconnect the handle is unconnected and usable, and the error is the kernel's.",
        connect_failing,
    ),
    Rule::each(
        "connect/failed-first-call-changes-nothing",
        "A failed first connect leaves the handle without a socket.",
        first_connect_failing,
    ),
    Rule::each(
        "disconnect/no-socket-is-enotconn",
        "disconnect and peer_addr without a socket are ENOTCONN.",
        disconnect_without_socket,
    ),
    Rule::each(
        "disconnect/unconnected-is-enotconn",
        "disconnect and peer_addr on an unconnected handle are ENOTCONN, also after a disconnect.",
        disconnect_unconnected,
    ),
    Rule::each(
        "peer-addr/connected-is-the-peer",
        "peer_addr on a connected handle is the kernel's peer address.",
        peer_addr_connected,
    ),
    Rule::each(
        "closed/every-call-is-ebadf",
        "On a closed handle every call is EBADF, before and after the close callback.",
        closed,
    ),
    Rule::each(
        "send-to/no-socket-binds-to-the-wildcard",
        "send_to and try_send_to without a bound socket bind one to the wildcard address and send.",
        send_to_creates,
    ),
    Rule::each(
        "recv-start/unbound-binds-to-the-wildcard",
        "recv_start without a bound socket binds one to the wildcard address of its family, IPv4 by default.",
        recv_start_unbound,
    ),
    Rule::each(
        "recv-start/unconnected-receives-from-all",
        "recv_start on an unconnected handle delivers datagrams of all senders, with their sources.",
        recv_start_unconnected,
    ),
    Rule::each(
        "recv-start/twice-is-ealready",
        "recv_start on a receiving handle is EALREADY, and keeps the first callback.",
        recv_start_twice,
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
    let connected = stage.connected(peer.address())?;
    for udp in [&bound, &sent, &connected] {
        let before = udp.local_addr()?;
        for address in [stage.loopback(), before] {
            let again = udp.bind(address);
            ensure_eq!(again, Err(Errno::EINVAL), "bind to {address}");
        }
        ensure_eq!(udp.local_addr()?, before, "the local address");
    }
    connected.try_send(b"still connected")?;
    let expected = ["x", "still connected"];
    ensure_eq!(peer.recv_texts(2)?, expected, "the datagrams at the peer");
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
    let (first, second, stranger) = (stage.raw()?, stage.raw()?, stage.raw()?);
    let udp = stage.connected(first.address())?;
    let (before, inbox) = (udp.local_addr()?, Inbox::of(&udp)?);
    for (round, (peer, text)) in [
        (&first, "same"),
        (&second, "other"),
        (&second, "same again"),
        (&first, "back"),
    ]
    .into_iter()
    .enumerate()
    {
        udp.connect(peer.address())?;
        ensure_eq!(udp.peer_addr()?, peer.address(), "the peer");
        ensure_eq!(udp.local_addr()?, before, "the local address");
        stranger.send("stranger", before)?;
        udp.try_send(text)?;
        ensure_eq!(peer.recv_text()?, text, "the datagram at the peer");
        peer.send("answer", before)?;
        stage.until("the answer arrives", || inbox.len() > round)?;
    }
    ensure_eq!(inbox.texts(), ["answer"; 4], "the received datagrams");
    let others = (first.rest()?.len(), second.rest()?.len());
    ensure_eq!(others, (0, 0), "other datagrams at the peers");
    Ok(())
}

/// An address that connect refuses, with the kernel's error.
fn refused_peer(stage: &Stage) -> (SocketAddr, Errno) {
    match stage.family {
        // The broadcast address of loopback, without SO_BROADCAST.
        Family::V4 => (SocketAddr::from(([127, 255, 255, 255], 9)), Errno::EACCES),
        // A link-local address without a scope.
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
        "the datagrams at another socket"
    );
    let inbox = Inbox::of(&udp)?;
    other.send("answer", source)?;
    stage.until("another's answer arrives", || inbox.len() == 1)?;
    udp.connect(peer.address())?;
    udp.try_send(b"again")?;
    ensure_eq!(peer.rest()?, ["again"], "the datagrams at the peer");
    Ok(())
}

fn first_connect_failing(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (refused, error) = refused_peer(stage);
    let udp = stage.udp();
    ensure_eq!(udp.connect(refused), Err(error), "connect");
    ensure_eq!(udp.local_addr(), Err(Errno::EBADF), "the local address");
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
    // The family is still open.
    let other = stage.other_loopback(0);
    if why_no_family(Family::of(&other)).is_none() {
        udp.bind(other)?;
    }
    stage.connected(peer.address())?.try_send(b"hello")?;
    ensure_eq!(peer.recv_text()?, "hello", "the datagrams at the peer");
    Ok(())
}

fn disconnect_without_socket(stage: &Stage) -> Verdict {
    let udp = stage.udp();
    ensure_eq!(udp.disconnect(), Err(Errno::ENOTCONN), "disconnect");
    ensure_eq!(udp.peer_addr(), Err(Errno::ENOTCONN), "peer_addr");
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
    ensure_eq!(udp.peer_addr(), Err(Errno::ENOTCONN), "peer_addr");
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

fn peer_addr_connected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    ensure_eq!(udp.peer_addr(), Ok(peer.address()), "peer_addr");
    // The kernel takes the wildcard address for loopback.
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
    ensure_eq!(peer.recv_text()?, "hello", "the datagrams at the peer");
    Ok(())
}

fn refuses_everything(stage: &Stage, udp: &Udp, peer: SocketAddr) -> Verdict {
    let transmit = Transmit::new("x");
    let unit = |result: Result<usize, Errno>| result.map(drop);
    let results = [
        ("bind", udp.bind(stage.loopback())),
        ("connect", udp.connect(peer)),
        ("disconnect", udp.disconnect()),
        ("send", udp.send(b"x", uv_udp::ignore)),
        ("send_to", udp.send_to(b"x", peer, uv_udp::ignore)),
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
        ("with_fd", udp.with_fd(|_| ())),
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
    ensure_eq!(peer.rest()?, [""; 0], "the datagrams at the peer");
    Ok(())
}

fn is_bound_to_the_wildcard(stage: &Stage, udp: &Udp, peer: &Raw) -> Verdict {
    let local = udp.local_addr()?;
    ensure_eq!(local.ip(), stage.wildcard().ip(), "the local address");
    let (data, source) = peer.recv()?;
    ensure_eq!(
        (data, source.port()),
        (b"hello".to_vec(), local.port()),
        "the received datagrams"
    );
    let inbox = Inbox::of(udp)?;
    peer.send("answer", source)?;
    stage.until("the answer arrives", || inbox.len() == 1)?;
    Ok(())
}

fn send_to_creates(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let unbound = || Udp::for_family(&stage.event_loop, stage.family);
    for udp in [stage.udp(), unbound()?] {
        let results = Results::default();
        udp.send_to(b"hello", peer.address(), results.of(1))?;
        stage.until("the send completes", || results.len() == 1)?;
        ensure_eq!(results.all(), [(1, Ok(()))], "the result");
        is_bound_to_the_wildcard(stage, &udp, &peer)?;
    }
    for udp in [stage.udp(), unbound()?] {
        ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
        let sent = udp.try_send_to(b"hello", peer.address());
        ensure_eq!(sent, Ok(5), "try_send_to");
        is_bound_to_the_wildcard(stage, &udp, &peer)?;
    }
    Ok(())
}

fn recv_start_unbound(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let mut handles = vec![Udp::for_family(&stage.event_loop, stage.family)?];
    // Without a socket, the family is IPv4.
    handles.extend((stage.family == Family::V4).then(|| stage.udp()));
    for udp in handles {
        let inbox = Inbox::of(&udp)?;
        let local = udp.local_addr()?;
        ensure_eq!(local.ip(), stage.wildcard().ip(), "the local address");
        let to = SocketAddr::new(stage.loopback().ip(), local.port());
        peer.send("hello", to)?;
        stage.until("a datagram arrives", || inbox.len() == 1)?;
    }
    Ok(())
}

fn recv_start_unconnected(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let inbox = Inbox::of(&udp)?;
    first.send("1", udp.local_addr()?)?;
    second.send("2", udp.local_addr()?)?;
    stage.until("both arrive", || inbox.len() == 2)?;
    let expected = [
        (b"1".to_vec(), first.address()),
        (b"2".to_vec(), second.address()),
    ];
    ensure_eq!(inbox.datagrams(), expected, "the inbox");
    Ok(())
}

fn recv_start_twice(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    let (inbox, second) = (Inbox::of(&udp)?, Counter::default());
    let count = second.clone();
    ensure_eq!(
        udp.recv_start(move |_, _| count.up()),
        Err(Errno::EALREADY),
        "a second recv_start"
    );
    ensure_eq!(
        udp.recv_batch_start(|_, _| ()),
        Err(Errno::EALREADY),
        "recv_batch_start after recv_start"
    );
    peer.send("hello", udp.local_addr()?)?;
    stage.until("the datagram arrives", || inbox.len() == 1)?;
    ensure_eq!(second.get(), 0, "calls of the second callback");
    udp.recv_stop()?;
    inbox.listen(&udp)?;
    peer.send("again", udp.local_addr()?)?;
    stage.until("the datagram arrives", || inbox.len() == 2)
}
