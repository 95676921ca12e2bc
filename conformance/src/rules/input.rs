//! Bad input gets a named error and changes nothing. Unusual valid input works.

use std::io::IoSlice;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::AsRawFd;

use uv_udp::{Errno, Family, Payload, Transmit, Udp};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "input/an-empty-slice-list-is-einval",
        "A datagram of no slices is EINVAL in every form of sending.",
        empty_slice_list,
    ),
    Rule::each(
        "input/more-than-1024-slices-are-emsgsize",
        "A datagram of more than 1,024 slices (IOV_MAX) is EMSGSIZE; one of 1,024 arrives.",
        too_many_slices,
    ),
    Rule::each(
        "input/more-than-65507-bytes-are-emsgsize",
        "A datagram above 65,507 bytes is EMSGSIZE, in one slice or in many; one of 65,507 arrives.",
        too_long,
    ),
    Rule::each(
        "input/zero-length-datagrams-are-datagrams",
        "Empty datagrams are sent, received and completed like others.",
        zero_length,
    ),
    Rule::each(
        "input/the-other-family-is-eafnosupport",
        "An IPv6 address on an IPv4 socket, or the reverse, is EAFNOSUPPORT and changes nothing.",
        other_family,
    ),
    Rule::each(
        "input/port-0-is-einval",
        "Port 0 as a peer or a destination is EINVAL and changes nothing.",
        port_0,
    ),
    Rule::each(
        "input/a-taken-address-is-eaddrinuse",
        "bind to a taken address is EADDRINUSE, and another bind works.",
        taken_address,
    ),
    Rule::each(
        "input/a-foreign-address-is-eaddrnotavail",
        "bind to an address of another host is EADDRNOTAVAIL, and another bind works.",
        foreign_address,
    ),
    Rule::each(
        "input/refused-calls-change-nothing",
        "No refused call changes the address, the peer, the queue or the receiving of a handle.",
        refused_calls_change_nothing,
    ),
    Rule::each(
        "input/bad-input-in-a-batch-sends-nothing-of-it",
        "Bad input in a batch is refused before its first datagram leaves.",
        bad_batch,
    ),
    Rule::each(
        "input/a-ttl-of-0-is-einval",
        "A datagram with a TTL of 0 is EINVAL, queued or sent at once.",
        ttl_of_0,
    ),
    Rule::each(
        "input/stopping-what-is-not-started-is-fine",
        "recv_stop on a handle that does not receive succeeds.",
        stop_not_started,
    ),
];

/// Sends a payload without an address in every form.
fn send_everywhere(udp: &Udp, payload: Payload<'_>) -> Vec<Result<(), Errno>> {
    let transmit = Transmit::new(payload);
    vec![
        udp.send(payload, uv_udp::ignore),
        udp.transmit(transmit, |_, _, _| ()),
        udp.try_send(payload).map(drop),
        udp.try_transmit(&transmit).map(drop),
        udp.try_transmit_batch(&[transmit]).map(drop),
    ]
}

/// Sends a payload with an address in every form.
fn send_everywhere_to(udp: &Udp, payload: Payload<'_>, to: SocketAddr) -> Vec<Result<(), Errno>> {
    let transmit = Transmit::new(payload).with_destination(to);
    vec![
        udp.send_to(payload, to, uv_udp::ignore),
        udp.transmit(transmit, |_, _, _| ()),
        udp.try_send_to(payload, to).map(drop),
        udp.try_transmit(&transmit).map(drop),
        udp.try_transmit_batch(&[transmit]).map(drop),
    ]
}

/// Checks that every form refuses the payload, connected and unconnected, and sends nothing.
fn is_refused(stage: &Stage, payload: Payload<'_>, error: Errno) -> Verdict {
    let peer = stage.raw()?;
    let (connected, unconnected) = (stage.connected(peer.address())?, stage.bound()?);
    ensure_eq!(
        send_everywhere(&connected, payload),
        vec![Err(error); 5],
        "sends, connected"
    );
    let sends = send_everywhere_to(&unconnected, payload, peer.address());
    ensure_eq!(sends, vec![Err(error); 5], "sends, unconnected");
    let fresh = stage.udp();
    ensure_eq!(
        fresh.try_send_to(payload, peer.address()),
        Err(error),
        "try_send_to, no socket"
    );
    ensure_eq!(
        fresh.local_addr(),
        Err(Errno::EBADF),
        "the socket of a refused first call"
    );
    stage.a_little_longer()?;
    ensure_eq!(
        connected.send_queue_count() + unconnected.send_queue_count(),
        0,
        "queued"
    );
    ensure_eq!(peer.rest()?, [""; 0], "the received datagrams");
    Ok(())
}

fn empty_slice_list(stage: &Stage) -> Verdict {
    is_refused(stage, Payload::Slices(&[]), Errno::EINVAL)
}

fn too_many_slices(stage: &Stage) -> Verdict {
    let slices = vec![IoSlice::new(b"x"); 1025];
    is_refused(stage, (&slices).into(), Errno::EMSGSIZE)?;
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    ensure_eq!(
        udp.try_send(&slices[..1024]),
        Ok(1024),
        "try_send of 1,024 slices"
    );
    udp.send(&slices[..1024], results.of(0))?;
    udp.send(&slices[..1024], results.of(1))?;
    stage.until("both complete", || results.len() == 2)?;
    for _ in 0..3 {
        ensure_eq!(peer.recv()?.0, [b'x'; 1024], "the received datagrams");
    }
    Ok(())
}

fn too_long(stage: &Stage) -> Verdict {
    let data = vec![7; 65_508];
    is_refused(stage, (&data).into(), Errno::EMSGSIZE)?;
    let halves = [IoSlice::new(&data), IoSlice::new(b"")];
    is_refused(stage, (&halves).into(), Errno::EMSGSIZE)?;
    let (peer, results) = (stage.bound()?, Results::default());
    let inbox = Inbox::of(&peer)?;
    let udp = stage.connected(peer.local_addr()?)?;
    let longest = &data[..65_507];
    ensure_eq!(
        udp.try_send(longest),
        Ok(65_507),
        "try_send of 65,507 bytes"
    );
    stage.until("it arrives", || inbox.len() == 1)?;
    udp.send(longest, results.of(0))?;
    stage.until("it arrives", || inbox.len() == 2 && results.len() == 1)?;
    udp.send(b"", results.of(1))?;
    // A queued one.
    udp.send(longest, results.of(2))?;
    stage.until("it arrives", || inbox.len() == 4 && results.len() == 3)?;
    ensure_eq!(results.with(Ok(())), [0, 1, 2], "sends that went well");
    let lengths: Vec<_> = inbox
        .datagrams()
        .iter()
        .map(|(data, _)| data.len())
        .collect();
    ensure_eq!(
        lengths,
        [65_507, 65_507, 0, 65_507],
        "the received datagrams"
    );
    Ok(())
}

fn zero_length(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    ensure_eq!(udp.try_send(b""), Ok(0), "try_send");
    ensure_eq!(
        udp.try_send(&[IoSlice::new(b""), IoSlice::new(b"")]),
        Ok(0),
        "try_send of slices"
    );
    let texts = ["", "", "x", "", "y", "y", "", ""];
    for (number, text) in texts.into_iter().enumerate() {
        udp.send(text, results.of(number))?;
    }
    stage.until("all complete", || results.len() == texts.len())?;
    ensure_eq!(
        results.with(Ok(())).len(),
        texts.len(),
        "sends that went well"
    );
    ensure_eq!(peer.recv_texts(2)?, [""; 2], "the datagrams of try_send");
    ensure_eq!(
        peer.recv_texts(texts.len())?,
        texts,
        "the datagrams of send"
    );
    ensure_eq!(
        udp.try_transmit(&Transmit::new(b"").with_segment_size(NonZeroU16::MIN)),
        Ok(0),
        "try_transmit with segments"
    );
    ensure_eq!(
        udp.try_transmit_batch(&[Transmit::new("")]),
        Ok(1),
        "try_transmit_batch"
    );
    ensure_eq!(
        peer.recv_texts(2)?,
        [""; 2],
        "the received datagrams of the batches"
    );
    for text in texts {
        peer.send(text, udp.local_addr()?)?;
    }
    stage.until("all arrive", || inbox.len() == texts.len())?;
    ensure_eq!(inbox.texts(), texts, "the inbox");
    Ok(())
}

fn other_family(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let foreign = stage.other_loopback(9);
    let (connected, unconnected) = (stage.connected(peer.address())?, stage.bound()?);
    let before = connected.local_addr()?;
    ensure_eq!(
        connected.connect(foreign),
        Err(Errno::EAFNOSUPPORT),
        "connect, connected"
    );
    ensure_eq!(connected.peer_addr(), Ok(peer.address()), "the peer");
    ensure_eq!(connected.local_addr()?, before, "the local address");
    connected.try_send(b"still connected")?;
    ensure_eq!(
        unconnected.connect(foreign),
        Err(Errno::EAFNOSUPPORT),
        "connect, unconnected"
    );
    let sends = send_everywhere_to(&unconnected, "x".into(), foreign);
    ensure_eq!(
        sends,
        vec![Err(Errno::EAFNOSUPPORT); 5],
        "sends, unconnected"
    );
    ensure_eq!(unconnected.peer_addr(), Err(Errno::ENOTCONN), "the peer");
    // A mapped address needs an IPv6 socket: on an IPv4 one it is of the other family too.
    if stage.family == Family::V4 {
        let mapped = SocketAddr::new(
            Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
            peer.address().port(),
        );
        ensure_eq!(
            unconnected.connect(mapped),
            Err(Errno::EAFNOSUPPORT),
            "connect, mapped"
        );
    }
    unconnected.try_send_to(b"still unconnected", peer.address())?;
    ensure_eq!(
        peer.recv_texts(2)?,
        ["still connected", "still unconnected"],
        "the received datagrams"
    );
    Ok(())
}

fn port_0(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let nowhere = stage.loopback();
    let (connected, unconnected, fresh) = (
        stage.connected(peer.address())?,
        stage.bound()?,
        stage.udp(),
    );
    for udp in [&connected, &unconnected, &fresh] {
        ensure_eq!(udp.connect(nowhere), Err(Errno::EINVAL), "connect");
    }
    for udp in [&unconnected, &fresh] {
        let sends = send_everywhere_to(udp, "x".into(), nowhere);
        ensure_eq!(sends, vec![Err(Errno::EINVAL); 5], "sends");
    }
    ensure_eq!(connected.peer_addr(), Ok(peer.address()), "the peer");
    ensure_eq!(unconnected.peer_addr(), Err(Errno::ENOTCONN), "the peer");
    ensure_eq!(fresh.local_addr(), Err(Errno::EBADF), "the local address");
    connected.try_send(b"still connected")?;
    ensure_eq!(
        peer.recv_text()?,
        "still connected",
        "the received datagrams"
    );
    Ok(())
}

fn taken_address(stage: &Stage) -> Verdict {
    let (taken, peer) = (stage.raw()?, stage.raw()?);
    let udp = stage.udp();
    for _ in 0..2 {
        ensure_eq!(udp.bind(taken.address()), Err(Errno::EADDRINUSE), "bind");
        ensure_eq!(udp.local_addr(), Err(Errno::EBADF), "the local address");
    }
    udp.bind(stage.loopback())?;
    udp.try_send_to(b"hello", peer.address())?;
    ensure_eq!(
        peer.recv()?,
        (b"hello".to_vec(), udp.local_addr()?),
        "the received datagrams"
    );
    Ok(())
}

fn foreign_address(stage: &Stage) -> Verdict {
    // Documentation addresses (RFC 5737, RFC 3849), which no host has.
    let foreign: SocketAddr = match stage.family {
        Family::V4 => (Ipv4Addr::new(203, 0, 113, 1), 0).into(),
        Family::V6 => (Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 1, 1, 1, 1), 0).into(),
    };
    let udp = stage.udp();
    ensure_eq!(udp.bind(foreign), Err(Errno::EADDRNOTAVAIL), "bind");
    ensure_eq!(udp.local_addr(), Err(Errno::EBADF), "the local address");
    udp.bind(stage.loopback())?;
    Ok(())
}

fn refused_calls_change_nothing(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    let inbox = Inbox::of(&udp)?;
    udp.send(b"1", results.of(1))?;
    udp.send(b"2", results.of(2))?;
    let state = || {
        let queue = (udp.send_queue_count(), udp.send_queue_size());
        (
            udp.local_addr(),
            udp.peer_addr(),
            queue,
            udp.is_active(),
            udp.with_fd(|fd| fd.as_raw_fd()),
        )
    };
    let (before, nowhere, foreign) = (state(), stage.loopback(), stage.other_loopback(9));
    let too_long = vec![0; 65_508];
    let results_of_calls = [
        udp.bind(nowhere),
        udp.connect(nowhere),
        udp.connect(foreign),
        udp.send_to(b"x", peer.address(), uv_udp::ignore),
        udp.send(&too_long, uv_udp::ignore),
        udp.send(Payload::Slices(&[]), uv_udp::ignore),
        udp.try_send(b"x").map(drop),
        udp.recv_start(|_, _| ()),
    ];
    ensure!(
        results_of_calls.iter().all(Result::is_err),
        "one was accepted: {results_of_calls:?}"
    );
    ensure_eq!(state(), before, "the state of the handle");
    stage.until("both complete", || results.len() == 2)?;
    ensure_eq!(results.all(), [(1, Ok(())), (2, Ok(()))], "results");
    ensure_eq!(peer.rest()?, ["1", "2"], "the received datagrams");
    peer.send("answer", udp.local_addr()?)?;
    stage.until("an answer arrives", || inbox.len() == 1)
}

fn bad_batch(stage: &Stage) -> Verdict {
    let (peer, too_long) = (stage.raw()?, vec![0; 65_508]);
    let (connected, unconnected) = (stage.connected(peer.address())?, stage.bound()?);
    let good = Transmit::new("good");
    let bad = [
        (Transmit::new(&too_long), Errno::EMSGSIZE),
        (Transmit::new(Payload::Slices(&[])), Errno::EINVAL),
        (good.with_destination(peer.address()), Errno::EISCONN),
    ];
    for (bad, error) in bad {
        ensure_eq!(
            connected.try_transmit_batch(&[good, good, bad, good]),
            Err(error),
            "a batch, connected"
        );
    }
    let good = good.with_destination(peer.address());
    let bad = [
        (Transmit::new("x"), Errno::EDESTADDRREQ),
        (good.with_destination(stage.loopback()), Errno::EINVAL),
        (
            good.with_destination(stage.other_loopback(9)),
            Errno::EAFNOSUPPORT,
        ),
    ];
    for (bad, error) in bad {
        ensure_eq!(
            unconnected.try_transmit_batch(&[good, good, bad]),
            Err(error),
            "a batch, unconnected"
        );
    }
    ensure_eq!(peer.rest()?, [""; 0], "the received datagrams");
    ensure_eq!(connected.try_transmit_batch(&[]), Ok(0), "an empty batch");
    Ok(())
}

fn ttl_of_0(stage: &Stage) -> Verdict {
    let (peer, called) = (stage.raw()?, Counter::default());
    let udp = stage.connected(peer.address())?;
    let (count, dead) = (called.clone(), Transmit::new("x").with_ttl(0));
    ensure_eq!(
        udp.transmit(dead, move |_, _, _| count.up()),
        Err(Errno::EINVAL),
        "transmit"
    );
    ensure_eq!(udp.try_transmit(&dead), Err(Errno::EINVAL), "try_transmit");
    ensure_eq!(
        udp.try_transmit(&Transmit::new("y").with_ttl(1)),
        Ok(1),
        "a ttl of 1"
    );
    ensure_eq!(peer.rest()?, ["y"], "the received datagrams");
    ensure_eq!(called.get(), 0, "callbacks called");
    Ok(())
}

fn stop_not_started(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    for udp in [
        stage.udp(),
        stage.bound()?,
        stage.connected(peer.address())?,
    ] {
        ensure_eq!(
            (udp.recv_stop(), udp.recv_stop()),
            (Ok(()), Ok(())),
            "recv_stop, twice"
        );
        ensure!(!udp.is_active(), "the handle is active");
    }
    Ok(())
}
