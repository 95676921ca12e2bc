//! The policy table, part two: sending and receiving before there is a socket, unconnected and connected.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_udp::{Errno, Family, Transmit, Udp};

use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure_eq};
use crate::watch::{Counter, Inbox, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "send/no-socket-is-edestaddrreq",
        "send and try_send without a socket are EDESTADDRREQ, and make none.",
        send_without_socket,
    ),
    Rule::each(
        "send/unconnected-is-edestaddrreq",
        "send and try_send on an unconnected handle are EDESTADDRREQ, and send nothing.",
        send_unconnected,
    ),
    Rule::each(
        "send/connected-sends",
        "send on a connected handle reaches the peer.",
        send_connected,
    ),
    Rule::each(
        "try-send/connected-sends",
        "try_send on a connected handle reaches the peer at once.",
        try_send_connected,
    ),
    Rule::each(
        "send-to/no-socket-binds-to-the-wildcard",
        "send_to without a socket makes one, binds it to the wildcard address and sends.",
        send_to_creates,
    ),
    Rule::each(
        "try-send-to/no-socket-binds-to-the-wildcard",
        "try_send_to without a socket makes one, binds it to the wildcard address and sends.",
        try_send_to_creates,
    ),
    Rule::each(
        "send-to/unbound-binds-and-sends",
        "send_to on a handle with an unbound socket binds it to the wildcard address and sends.",
        send_to_unbound,
    ),
    Rule::each(
        "send-to/unconnected-sends",
        "send_to on an unconnected handle sends to every address it is given.",
        send_to_unconnected,
    ),
    Rule::each(
        "send-to/connected-is-eisconn",
        "send_to and try_send_to on a connected handle are EISCONN, whatever the address.",
        send_to_connected,
    ),
    Rule::once(
        "recv-start/no-socket-binds-to-the-wildcard",
        "recv_start without a socket makes one, bound to the IPv4 wildcard address.",
        recv_start_creates,
    ),
    Rule::each(
        "recv-start/unbound-binds-to-the-wildcard",
        "recv_start on a handle with an unbound socket binds it to the wildcard address of its family.",
        recv_start_unbound,
    ),
    Rule::each(
        "recv-start/unconnected-hears-everybody",
        "recv_start on an unconnected handle delivers from everybody, with the source.",
        recv_start_unconnected,
    ),
    Rule::each(
        "recv-start/connected-hears-the-peer-only",
        "recv_start on a connected handle delivers the peer's datagrams only.",
        recv_start_connected,
    ),
    Rule::each(
        "recv-start/twice-is-ealready",
        "recv_start on a receiving handle is EALREADY, and the first callback stays.",
        recv_start_twice,
    ),
];

fn refuses_without_peer(stage: &Stage, udp: &Udp) -> Verdict {
    let results = Results::default();
    let transmit = Transmit::new("x");
    ensure_eq!(
        udp.send(b"x", results.of(0)),
        Err(Errno::EDESTADDRREQ),
        "send"
    );
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
    ensure_eq!(
        udp.try_transmit_batch(&[transmit; 2]),
        Err(Errno::EDESTADDRREQ),
        "try_transmit_batch"
    );
    let segments = udp.try_transmit(&Transmit::new(b"xx").with_segment_size(NonZeroU16::MIN));
    ensure_eq!(
        segments,
        Err(Errno::EDESTADDRREQ),
        "try_transmit with segments"
    );
    stage.a_little_longer()?;
    ensure_eq!(results.len(), 0, "callbacks called");
    Ok(())
}

fn send_without_socket(stage: &Stage) -> Verdict {
    let udp = stage.udp();
    refuses_without_peer(stage, &udp)?;
    ensure_eq!(udp.local_addr(), Err(Errno::EBADF), "the local address");
    Ok(())
}

fn send_unconnected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    refuses_without_peer(stage, &udp)?;
    udp.connect(peer.address())?;
    udp.disconnect()?;
    refuses_without_peer(stage, &udp)?;
    ensure_eq!(peer.rest()?, [""; 0], "what the former peer got");
    Ok(())
}

fn send_connected(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    udp.send(b"hello", results.of(1))?;
    stage.until("the send completes", || results.len() == 1)?;
    ensure_eq!(results.all(), [(1, Ok(()))], "the result");
    ensure_eq!(peer.recv_text()?, "hello", "what the peer got");
    Ok(())
}

fn try_send_connected(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    ensure_eq!(udp.try_send(b"hello"), Ok(5), "try_send");
    ensure_eq!(peer.recv_text()?, "hello", "what the peer got");
    Ok(())
}

fn is_bound_to_the_wildcard(stage: &Stage, udp: &Udp, peer: &Raw) -> Verdict {
    let local = udp.local_addr()?;
    ensure_eq!(local.ip(), stage.wildcard().ip(), "the local address");
    let (data, source) = peer.recv()?;
    ensure_eq!(
        (data, source.port()),
        (b"hello".to_vec(), local.port()),
        "what arrived"
    );
    let inbox = Inbox::of(udp)?;
    peer.send("answer", source)?;
    stage.until("the answer arrives", || inbox.len() == 1)?;
    Ok(())
}

fn send_to_creates(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.udp();
    udp.send_to(b"hello", peer.address(), results.of(1))?;
    stage.until("the send completes", || results.len() == 1)?;
    ensure_eq!(results.all(), [(1, Ok(()))], "the result");
    is_bound_to_the_wildcard(stage, &udp, &peer)
}

fn try_send_to_creates(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.udp();
    ensure_eq!(
        udp.try_send_to(b"hello", peer.address()),
        Ok(5),
        "try_send_to"
    );
    is_bound_to_the_wildcard(stage, &udp, &peer)
}

fn send_to_unbound(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
    ensure_eq!(
        udp.try_send_to(b"hello", peer.address()),
        Ok(5),
        "try_send_to"
    );
    is_bound_to_the_wildcard(stage, &udp, &peer)
}

fn send_to_unconnected(stage: &Stage) -> Verdict {
    let (first, second, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.bound()?;
    for (number, peer) in [&first, &second, &first].into_iter().enumerate() {
        udp.send_to(&number.to_string(), peer.address(), results.of(number))?;
    }
    stage.until("all complete", || results.len() == 3)?;
    udp.try_send_to(b"3", second.address())?;
    ensure_eq!(results.with(Ok(())), [0, 1, 2], "sends that went well");
    ensure_eq!(first.recv_texts(2)?, ["0", "2"], "what the first got");
    ensure_eq!(second.recv_texts(2)?, ["1", "3"], "what the second got");
    Ok(())
}

fn send_to_connected(stage: &Stage) -> Verdict {
    let (peer, other, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    let foreign = stage.other_loopback(9);
    for address in [peer.address(), other.address(), stage.loopback(), foreign] {
        let transmit = Transmit::new("x").with_destination(address);
        ensure_eq!(
            udp.send_to(b"x", address, results.of(0)),
            Err(Errno::EISCONN),
            "send_to {address}"
        );
        ensure_eq!(
            udp.try_send_to(b"x", address),
            Err(Errno::EISCONN),
            "try_send_to {address}"
        );
        ensure_eq!(
            udp.try_transmit_batch(&[transmit]),
            Err(Errno::EISCONN),
            "try_transmit_batch {address}"
        );
        let segments = udp.try_transmit(
            &Transmit::new(b"xx")
                .with_segment_size(NonZeroU16::MIN)
                .with_destination(address),
        );
        ensure_eq!(
            segments,
            Err(Errno::EISCONN),
            "try_transmit with segments {address}"
        );
    }
    stage.a_little_longer()?;
    ensure_eq!(results.len(), 0, "callbacks called");
    ensure_eq!(
        (peer.rest()?.len(), other.rest()?.len()),
        (0, 0),
        "what arrived"
    );
    Ok(())
}

fn recv_start_creates(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.udp();
    let inbox = Inbox::of(&udp)?;
    let local = udp.local_addr()?;
    ensure_eq!(local.ip(), Family::V4.unspecified(), "the local address");
    peer.send(
        "hello",
        SocketAddr::new(stage.loopback().ip(), local.port()),
    )?;
    stage.until("a datagram arrives", || inbox.len() == 1)
}

fn recv_start_unbound(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    let inbox = Inbox::of(&udp)?;
    let local = udp.local_addr()?;
    ensure_eq!(local.ip(), stage.wildcard().ip(), "the local address");
    peer.send(
        "hello",
        SocketAddr::new(stage.loopback().ip(), local.port()),
    )?;
    stage.until("a datagram arrives", || inbox.len() == 1)
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

fn recv_start_connected(stage: &Stage) -> Verdict {
    let (peer, stranger) = (stage.raw()?, stage.raw()?);
    let udp = stage.connected(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    stranger.send("stranger", udp.local_addr()?)?;
    peer.send("peer", udp.local_addr()?)?;
    stage.until("the peer's datagram arrives", || inbox.len() > 0)?;
    stage.a_little_longer()?;
    ensure_eq!(
        inbox.datagrams(),
        [(b"peer".to_vec(), peer.address())],
        "the inbox"
    );
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
