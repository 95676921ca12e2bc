//! The sentences of the proposal.

use std::io::IoSlice;
use std::num::NonZeroU16;

use uv_udp::{Errno, Transmit, Udp};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Inbox, Log, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "proposal/connect-associates-an-address-and-a-port",
        "connect associates a peer address and port with a new or a bound handle, and keeps a bound address.",
        connect_associates,
    ),
    Rule::each(
        "proposal/every-send-goes-to-the-peer",
        "send and try_send on a connected handle reach its peer, from one local port.",
        every_send_goes_to_the_peer,
    ),
    Rule::each(
        "proposal/disconnect-dissolves-the-association",
        "disconnect dissolves the association, also in the kernel's filter, and keeps the local address.",
        disconnect_dissolves,
    ),
    Rule::each(
        "proposal/send-is-for-connected-handles",
        "send and try_send serve connected handles. Otherwise they are EDESTADDRREQ, and send nothing.",
        send_is_for_connected,
    ),
    Rule::each(
        "proposal/send-to-is-for-unconnected-handles",
        "send_to and try_send_to serve unconnected handles. On connected ones they are EISCONN, for any address.",
        send_to_is_for_unconnected,
    ),
    Rule::each(
        "proposal/buffers-leave-as-one-datagram",
        "All four send calls gather several buffers into one datagram.",
        buffers_are_gathered,
    ),
    Rule::each(
        "proposal/the-callback-gets-the-handle-and-the-result",
        "A send completes with a callback, which gets the handle and the result.",
        the_callback_gets_both,
    ),
    Rule::each(
        "proposal/try-send-returns-the-bytes",
        "try_send and try_send_to send at once and return the number of bytes.",
        try_send_says_how_many,
    ),
    Rule::each(
        "proposal/no-address-means-the-peer",
        "One call serves both, as addr=NULL in v1.x: without an address transmit is send, with one send_to.",
        no_address_means_the_peer,
    ),
];

fn connect_associates(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    for (udp, bound) in [(stage.udp(), false), (stage.bound()?, true)] {
        let before = udp.local_addr();
        ensure!(!udp.is_connected(), "a new handle is connected");
        udp.connect(peer.address())?;
        ensure!(udp.is_connected(), "a connected handle is not connected");
        ensure_eq!(udp.peer_addr()?, peer.address(), "the peer");
        let local = udp.local_addr()?;
        ensure_eq!(local.ip(), stage.loopback().ip(), "the local address");
        ensure!(local.port() != 0, "there is no local port");
        ensure!(!bound || before == Ok(local), "another local address");
        udp.try_send(b"hello")?;
        let expected = (b"hello".to_vec(), local);
        ensure_eq!(peer.recv()?, expected, "the datagram at the peer");
    }
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
        ensure_eq!(data, expected.as_bytes(), "the datagrams at the peer");
        ensure_eq!(source, udp.local_addr()?, "where it came from");
    }
    Ok(())
}

fn disconnect_dissolves(stage: &Stage) -> Verdict {
    let (peer, other) = (stage.raw()?, stage.raw()?);
    let udp = stage.bound()?;
    let before = udp.local_addr()?;
    udp.connect(peer.address())?;
    udp.disconnect()?;
    ensure!(!udp.is_connected(), "it is still connected");
    ensure_eq!(udp.local_addr()?, before, "the local address");
    ensure_eq!(udp.peer_addr(), Err(Errno::ENOTCONN), "the peer");
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EDESTADDRREQ), "try_send");
    udp.try_send_to(b"hello", other.address())?;
    let (data, source) = other.recv()?;
    ensure_eq!(data, b"hello", "the datagrams at another socket");
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

fn send_is_for_connected(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let fresh = stage.udp();
    refuses_without_peer(stage, &fresh)?;
    ensure_eq!(fresh.local_addr(), Err(Errno::EBADF), "the local address");
    let udp = stage.bound()?;
    refuses_without_peer(stage, &udp)?;
    udp.connect(peer.address())?;
    udp.send(b"send", results.of(1))?;
    stage.until("the send completes", || results.len() > 0)?;
    udp.try_send(b"try_send")?;
    udp.disconnect()?;
    refuses_without_peer(stage, &udp)?;
    ensure_eq!(results.all(), [(1, Ok(()))], "the completions");
    let expected = ["send", "try_send"];
    ensure_eq!(peer.rest()?, expected, "the datagrams at the peer");
    Ok(())
}

fn send_to_is_for_unconnected(stage: &Stage) -> Verdict {
    serves_unconnected(stage)?;
    is_eisconn_on_connected(stage)
}

fn serves_unconnected(stage: &Stage) -> Verdict {
    let (first, second, results) = (stage.raw()?, stage.raw()?, Results::default());
    let udp = stage.bound()?;
    for (number, peer) in [&first, &second, &first].into_iter().enumerate() {
        udp.send_to(&number.to_string(), peer.address(), results.of(number))?;
    }
    stage.until("all complete", || results.len() == 3)?;
    udp.try_send_to(b"3", second.address())?;
    ensure_eq!(results.with(Ok(())), [0, 1, 2], "sends that went well");
    ensure_eq!(
        first.recv_texts(2)?,
        ["0", "2"],
        "the datagrams at the first"
    );
    ensure_eq!(
        second.recv_texts(2)?,
        ["1", "3"],
        "the datagrams at the second"
    );
    Ok(())
}

fn is_eisconn_on_connected(stage: &Stage) -> Verdict {
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
        "the received datagrams"
    );
    Ok(())
}

fn buffers_are_gathered(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let buffers = [b"the ".as_slice(), b"", b"whole ", b"datagram"].map(IoSlice::new);
    let whole = "the whole datagram";
    let udp = stage.bound()?;
    udp.send_to(&buffers, peer.address(), results.of(0))?;
    // The second one is queued.
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
    ensure_eq!(peer.recv_texts(6)?, [whole; 6], "the datagrams at the peer");
    ensure_eq!(peer.rest()?, [""; 0], "other datagrams at the peer");
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
        "the arguments of the callback"
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
    // Before the loop runs.
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
        "the datagrams at the peer"
    );
    Ok(())
}
