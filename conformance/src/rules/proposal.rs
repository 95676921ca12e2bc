//! The sentences of the proposal, one after another.

use std::io::IoSlice;

use uv_udp::{Errno, Transmit};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Log, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "proposal/connect-associates-an-address-and-a-port",
        "Connecting a UDP socket associates a remote address and port with it.",
        connect_associates,
    ),
    Rule::each(
        "proposal/every-send-goes-to-the-peer",
        "Every message sent by a connected handle goes to its peer, and from one local port.",
        every_send_goes_to_the_peer,
    ),
    Rule::each(
        "proposal/connecting-again-replaces-the-peer",
        "Connecting a connected handle dissolves the first association, and nothing more goes there.",
        connecting_again,
    ),
    Rule::each(
        "proposal/disconnect-dissolves-the-association",
        "After disconnecting there is no peer, neither for sending nor in the kernel's filter.",
        disconnect_dissolves,
    ),
    Rule::each(
        "proposal/send-is-for-connected-handles",
        "send and try_send serve connected handles, and answer EDESTADDRREQ on unconnected ones.",
        send_is_for_connected,
    ),
    Rule::each(
        "proposal/send-to-is-for-unconnected-handles",
        "send_to and try_send_to serve unconnected handles, and answer EISCONN on connected ones.",
        send_to_is_for_unconnected,
    ),
    Rule::each(
        "proposal/buffers-leave-as-one-datagram",
        "All four ways to send gather several buffers into one datagram.",
        buffers_are_gathered,
    ),
    Rule::each(
        "proposal/the-callback-gets-the-handle-and-the-result",
        "A send is finished by its callback, which gets the handle and the result.",
        the_callback_gets_both,
    ),
    Rule::each(
        "proposal/try-send-says-how-many-bytes-went",
        "try_send and try_send_to send at once and answer with the number of bytes.",
        try_send_says_how_many,
    ),
    Rule::each(
        "proposal/no-address-means-the-peer",
        "One method for both, as with addr=NULL in v1.x: without an address it is send, with one send_to.",
        no_address_means_the_peer,
    ),
    Rule::each(
        "proposal/the-story",
        "Connect, send, reconnect, disconnect, send to anywhere: on one handle, one after the other.",
        the_story,
    ),
];

fn connect_associates(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.udp();
    ensure!(!udp.is_connected(), "a new handle is connected");
    udp.connect(peer.address())?;
    ensure!(udp.is_connected(), "a connected handle is not connected");
    ensure_eq!(udp.peer_addr()?, peer.address(), "the peer");
    ensure_eq!(
        udp.local_addr()?.ip(),
        stage.loopback().ip(),
        "the local address"
    );
    ensure!(udp.local_addr()?.port() != 0, "there is no local port");
    Ok(())
}

fn every_send_goes_to_the_peer(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    udp.try_send(b"now")?;
    for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
        udp.send(text, results.of(number))?;
    }
    stage.until("all sends complete", || results.len() == 3)?;
    ensure_eq!(results.with(Ok(())), [0, 1, 2], "sends that went well");
    for expected in ["now", "one", "two", "three"] {
        let (data, source) = peer.recv()?;
        ensure_eq!(data, expected.as_bytes(), "what the peer got");
        ensure_eq!(source, udp.local_addr()?, "where it came from");
    }
    Ok(())
}

fn connecting_again(stage: &Stage) -> Verdict {
    let (first, second) = (stage.raw()?, stage.raw()?);
    let udp = stage.connected(first.address())?;
    udp.try_send(b"to the first")?;
    udp.connect(second.address())?;
    ensure_eq!(udp.peer_addr()?, second.address(), "the peer");
    udp.try_send(b"to the second")?;
    ensure_eq!(second.recv_text()?, "to the second", "what the second got");
    ensure_eq!(first.rest()?, ["to the first"], "what the first got");
    Ok(())
}

fn disconnect_dissolves(stage: &Stage) -> Verdict {
    let (peer, other) = (stage.raw()?, stage.raw()?);
    let udp = stage.connected(peer.address())?;
    udp.disconnect()?;
    ensure!(!udp.is_connected(), "it is still connected");
    ensure_eq!(udp.peer_addr(), Err(Errno::ENOTCONN), "the peer");
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
    udp.try_send_to(b"hello", other.address())?;
    let (data, source) = other.recv()?;
    ensure_eq!(data, b"hello", "what another got");
    let inbox = Inbox::of(&udp)?;
    other.send("answer", source)?;
    stage.until("another's answer arrives", || inbox.len() == 1)?;
    ensure_eq!(
        inbox.datagrams(),
        [(b"answer".to_vec(), other.address())],
        "the inbox"
    );
    Ok(())
}

fn send_is_for_connected(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.bound()?;
    ensure_eq!(
        udp.send(b"x", results.of(0)),
        Err(Errno::EDESTADDRREQ),
        "send, unconnected"
    );
    ensure_eq!(
        udp.try_send(b"x"),
        Err(Errno::EDESTADDRREQ),
        "try_send, unconnected"
    );
    udp.connect(peer.address())?;
    udp.send(b"send", results.of(1))?;
    stage.until("the send completes", || results.len() > 0)?;
    udp.try_send(b"try_send")?;
    ensure_eq!(results.all(), [(1, Ok(()))], "what completed");
    ensure_eq!(
        peer.recv_texts(2)?,
        ["send", "try_send"],
        "what the peer got"
    );
    ensure_eq!(peer.rest()?, [""; 0], "what else it got");
    Ok(())
}

fn send_to_is_for_unconnected(stage: &Stage) -> Verdict {
    let (peer, other, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.bound()?;
    udp.send_to(b"send_to", peer.address(), results.of(0))?;
    stage.until("the send completes", || results.len() > 0)?;
    udp.try_send_to(b"try_send_to", peer.address())?;
    udp.connect(peer.address())?;
    for address in [peer.address(), other.address()] {
        let sent = udp.send_to(b"x", address, results.of(1));
        ensure_eq!(sent, Err(Errno::EISCONN), "send_to, connected");
        ensure_eq!(
            udp.try_send_to(b"x", address),
            Err(Errno::EISCONN),
            "try_send_to, connected"
        );
    }
    stage.a_little_longer()?;
    ensure_eq!(results.all(), [(0, Ok(()))], "what completed");
    ensure_eq!(
        peer.rest()?,
        ["send_to", "try_send_to"],
        "what the peer got"
    );
    ensure_eq!(other.rest()?, [""; 0], "what another got");
    Ok(())
}

fn buffers_are_gathered(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let buffers = [b"the ".as_slice(), b"", b"whole ", b"datagram"].map(IoSlice::new);
    let whole = "the whole datagram";
    let udp = stage.bound()?;
    udp.send_to(&buffers, peer.address(), results.of(0))?;
    // Two, so that one of them is queued.
    udp.send_to(&buffers, peer.address(), results.of(1))?;
    stage.until("both complete", || results.len() == 2)?;
    ensure_eq!(
        udp.try_send_to(&buffers, peer.address())?,
        whole.len(),
        "try_send_to's answer"
    );
    udp.connect(peer.address())?;
    udp.send(&buffers, results.of(2))?;
    udp.send(&buffers, results.of(3))?;
    stage.until("both complete", || results.len() == 4)?;
    ensure_eq!(udp.try_send(&buffers)?, whole.len(), "try_send's answer");
    ensure_eq!(peer.recv_texts(6)?, [whole; 6], "what the peer got");
    ensure_eq!(peer.rest()?, [""; 0], "what else it got");
    Ok(())
}

fn the_callback_gets_both(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    let seen = Log::default();
    let log = seen.clone();
    udp.send(b"hello", move |udp, result| {
        log.push((udp.local_addr(), result))
    })?;
    stage.until("the callback is called", || seen.len() > 0)?;
    ensure_eq!(
        seen.all(),
        [(udp.local_addr(), Ok(()))],
        "what the callback got"
    );
    Ok(())
}

fn try_send_says_how_many(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    ensure_eq!(
        udp.try_send_to(&[7; 1200], peer.address())?,
        1200,
        "bytes by try_send_to"
    );
    udp.connect(peer.address())?;
    ensure_eq!(udp.try_send(&[7; 45])?, 45, "bytes by try_send");
    // Without a turn of the loop: they are there.
    ensure_eq!(peer.recv()?.0.len(), 1200, "bytes that arrived");
    ensure_eq!(peer.recv()?.0.len(), 45, "bytes that arrived");
    Ok(())
}

fn no_address_means_the_peer(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let (without, with) = (
        Transmit::new("without"),
        Transmit::new("with").with_destination(peer.address()),
    );
    let udp = stage.bound()?;
    ensure_eq!(
        udp.transmit(without.with_token(0), results.by_token()),
        Err(Errno::EDESTADDRREQ),
        "unconnected, no address"
    );
    ensure_eq!(
        udp.try_transmit(&without),
        Err(Errno::EDESTADDRREQ),
        "unconnected, no address"
    );
    udp.transmit(with.with_token(1), results.by_token())?;
    stage.until("the send completes", || results.len() == 1)?;
    ensure_eq!(udp.try_transmit(&with)?, 4, "bytes");
    udp.connect(peer.address())?;
    ensure_eq!(
        udp.transmit(with.with_token(2), results.by_token()),
        Err(Errno::EISCONN),
        "connected, an address"
    );
    ensure_eq!(
        udp.try_transmit(&with),
        Err(Errno::EISCONN),
        "connected, an address"
    );
    udp.transmit(without.with_token(3), results.by_token())?;
    stage.until("the send completes", || results.len() == 2)?;
    ensure_eq!(udp.try_transmit(&without)?, 7, "bytes");
    ensure_eq!(results.with(Ok(())), [1, 3], "sends that went well");
    ensure_eq!(
        peer.recv_texts(4)?,
        ["with", "with", "without", "without"],
        "what the peer got"
    );
    Ok(())
}

fn the_story(stage: &Stage) -> Verdict {
    let (first, second, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.connected(first.address())?;
    let port = udp.local_addr()?.port();
    let inbox = Inbox::of(&udp)?;
    udp.send(b"1", results.of(1))?;
    stage.until("the send completes", || results.len() == 1)?;
    ensure_eq!(first.recv_text()?, "1", "what the first peer got");
    udp.connect(second.address())?;
    udp.send(b"2", results.of(2))?;
    stage.until("the send completes", || results.len() == 2)?;
    let (data, source) = second.recv()?;
    ensure_eq!(data, b"2", "what the second peer got");
    ensure_eq!(source.port(), port, "the local port after connecting again");
    second.send("answer", source)?;
    stage.until("the answer arrives", || inbox.len() == 1)?;
    udp.disconnect()?;
    udp.send_to(b"3", first.address(), results.of(3))?;
    stage.until("the send completes", || results.len() == 3)?;
    let (data, source) = first.recv()?;
    ensure_eq!(data, b"3", "what the first got");
    ensure_eq!(source.port(), port, "the local port after disconnecting");
    ensure_eq!(results.with(Ok(())), [1, 2, 3], "sends that went well");
    ensure_eq!(inbox.texts(), ["answer"], "the inbox");
    Ok(())
}
