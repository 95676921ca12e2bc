//! The promises of uv-sys to users of that crate alone, and to the policy of uv-udp.

use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsFd;

use nix::sys::socket::{GetSockOpt, SetSockOpt, setsockopt, sockopt};
use uv_sys::message::{recvmsg, sendmsg};
use uv_sys::socket::{DISCONNECT_DROPS_EPHEMERAL_PORT, connect, disconnect, local_addr, peer_addr};
use uv_sys::{Errno, Family, RecvBatch, RecvOptions, SendBatch, Transmit};

use super::kernel::get;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{numbered, text};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "sys/serves-a-socket-of-the-standard-library",
        "uv-sys sends and receives through sockets of the standard library, with sources and slices.",
        serves_std_sockets,
    ),
    Rule::each(
        "sys/nothing-waits",
        "Receiving from an empty socket is EAGAIN, also on a blocking one.",
        nothing_waits,
    ),
    Rule::each(
        "sys/batches-keep-order-and-boundaries",
        "One recvmmsg receives the datagrams of one sendmmsg in order, each with its length and source.",
        batches,
    ),
    Rule::each(
        "sys/segments-arrive-as-datagrams",
        "A message with a segment size arrives as datagrams of that size, the last one shorter.",
        segments,
    ),
    Rule::each(
        "sys/disconnect-loses-the-port-as-its-constant-says",
        "disconnect dissolves the association, and loses an ephemeral port where the constant says so.",
        disconnect_loses,
    ),
    Rule::each(
        "sys/truncation-reports-the-full-length",
        "A datagram longer than its buffer is truncated, and reports its full length.",
        truncation,
    ),
    Rule::once(
        "sys/errors-have-their-names",
        "Errors print their POSIX names, and survive a conversion to io::Error.",
        names,
    ),
    Rule::once(
        "sys/capabilities-are-the-kernels",
        "A capability is reported exactly if another crate can use it.",
        capabilities,
    ),
];

fn pair(stage: &Stage) -> std::io::Result<(UdpSocket, UdpSocket)> {
    Ok((
        UdpSocket::bind(stage.loopback())?,
        UdpSocket::bind(stage.loopback())?,
    ))
}

fn serves_std_sockets(stage: &Stage) -> Verdict {
    let (sender, receiver) = pair(stage)?;
    let pieces = [IoSlice::new(b"hello, "), IoSlice::new(b"world")];
    let sent = sendmsg(
        &sender,
        &Transmit::new(&pieces).with_destination(receiver.local_addr()?),
    )?;
    ensure_eq!(sent, 12, "bytes sent");
    let (mut head, mut tail) = ([0; 5], [0; 20]);
    let mut bufs = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
    let received = recvmsg(&receiver, &mut bufs, RecvOptions::default())?;
    ensure_eq!(received.len, 12, "bytes received");
    ensure_eq!(received.source, Some(sender.local_addr()?), "the source");
    ensure_eq!(
        (text(&head), text(&tail[..7])),
        ("hello".into(), ", world".into()),
        "the pieces"
    );
    Ok(())
}

fn nothing_waits(stage: &Stage) -> Verdict {
    let (socket, _) = pair(stage)?;
    let mut memory = [0; 10];
    let received = recvmsg(
        &socket,
        &mut [IoSliceMut::new(&mut memory)],
        RecvOptions::default(),
    );
    ensure_eq!(received, Err(Errno::EAGAIN), "recvmsg");
    let mut batch = RecvBatch::new(4, 100);
    ensure_eq!(
        batch.recv(&socket, 4, RecvOptions::default()),
        Err(Errno::EAGAIN),
        "recvmmsg"
    );
    Ok(())
}

fn batches(stage: &Stage) -> Verdict {
    let (sender, receiver) = pair(stage)?;
    let (data, to) = (
        (0..20)
            .map(|index| numbered(index, index))
            .collect::<Vec<_>>(),
        receiver.local_addr()?,
    );
    let messages = || {
        data.iter()
            .map(|data| Transmit::new(data).with_destination(to))
    };
    let (mut out, mut sent) = (SendBatch::new(), 0);
    while sent < data.len() {
        match out.send(&sender, messages().skip(sent)) {
            Ok(count) => sent += count,
            // Loopback has room: an error appears only if it is forced.
            Err(Errno::EAGAIN) => stage.note("EAGAIN once"),
            Err(error) => return Err(error.into()),
        }
    }
    let (mut memory, mut received) = (RecvBatch::new(32, 100), Vec::new());
    while received.len() < data.len() {
        let count = memory.recv(&receiver, 32, RecvOptions::default())?;
        for (bytes, about) in (0..count).filter_map(|index| memory.get(index)) {
            ensure_eq!(about.source, Some(sender.local_addr()?), "the source");
            received.push(bytes.to_vec());
        }
    }
    ensure_eq!(received, data, "the received datagrams");
    Ok(())
}

fn segments(stage: &Stage) -> Verdict {
    if !uv_sys::capabilities().segmentation {
        stage.note("this kernel has no segmentation");
        return Ok(());
    }
    let (sender, receiver) = (UdpSocket::bind(stage.loopback())?, stage.raw()?);
    let size = 4.try_into().map_err(|_| Errno::EINVAL)?;
    let message = Transmit::new("aaaabbbbcc")
        .with_destination(receiver.address())
        .with_segment_size(size);
    ensure_eq!(sendmsg(&sender, &message), Ok(10), "sendmsg");
    ensure_eq!(
        receiver.recv_texts(3)?,
        ["aaaa", "bbbb", "cc"],
        "the received datagrams"
    );
    Ok(())
}

fn disconnect_loses(stage: &Stage) -> Verdict {
    let (socket, peer) = pair(stage)?;
    connect(&socket, &peer.local_addr()?)?;
    ensure_eq!(peer_addr(&socket)?, peer.local_addr()?, "the peer");
    disconnect(&socket)?;
    ensure_eq!(
        peer_addr(&socket),
        Err(Errno::ENOTCONN),
        "the peer after disconnecting"
    );
    let lost = local_addr(&socket)?.port() == 0;
    ensure_eq!(
        lost,
        DISCONNECT_DROPS_EPHEMERAL_PORT,
        "whether the port is lost"
    );
    Ok(())
}

fn truncation(stage: &Stage) -> Verdict {
    let (sender, receiver) = pair(stage)?;
    sender.send_to(b"0123456789", receiver.local_addr()?)?;
    let mut memory = [0; 4];
    let options = RecvOptions::new().with_peek(true);
    for options in [options, RecvOptions::default()] {
        let received = recvmsg(&receiver, &mut [IoSliceMut::new(&mut memory)], options)?;
        ensure_eq!(
            (received.len, received.full_len),
            (4, 10),
            "bytes stored, and bytes in all"
        );
        ensure!(received.truncated, "it is not said to be truncated");
    }
    Ok(())
}

fn names(_: &Stage) -> Verdict {
    let errors = [
        (Errno::EISCONN, "EISCONN"),
        (Errno::EDESTADDRREQ, "EDESTADDRREQ"),
        (Errno::ECONNREFUSED, "ECONNREFUSED"),
        (Errno::ECANCELED, "ECANCELED"),
        (Errno::ENOBUFS, "ENOBUFS"),
    ];
    for (error, name) in errors {
        ensure_eq!(error.name(), name, "the name");
        ensure!(error.to_string().ends_with(&format!("({name})")), "{error}");
        ensure_eq!(
            Errno::from(std::io::Error::from(error)),
            error,
            "by way of io::Error"
        );
    }
    Ok(())
}

fn capabilities(stage: &Stage) -> Verdict {
    fn takes<O: SetSockOpt>(option: O, value: &O::Val) -> Result<bool, Broken> {
        let fd = uv_sys::socket::socket(Family::V4)?;
        Ok(setsockopt(&fd, option, value).is_ok())
    }
    /// Some kernels accept an option without an effect.
    fn knows(option: impl GetSockOpt) -> Result<bool, Broken> {
        Ok(get(&uv_sys::socket::socket(Family::V4)?, option).is_ok())
    }
    let found = uv_udp::capabilities();
    let clock = nix::libc::sock_txtime {
        clockid: nix::libc::CLOCK_MONOTONIC,
        flags: 0,
    };
    for (name, has, takes) in [
        (
            "segmentation",
            found.segmentation,
            takes(sockopt::UdpGsoSegment, &100)? && knows(sockopt::UdpGsoSegment)?,
        ),
        (
            "gro",
            found.gro,
            takes(sockopt::UdpGroSegment, &true)? && knows(sockopt::UdpGroSegment)?,
        ),
        ("txtime", found.txtime, takes(sockopt::TxTime, &clock)?),
        (
            "timestamps",
            found.timestamps,
            takes(sockopt::ReceiveTimestampns, &true)?,
        ),
        ("recv_drops", found.recv_drops, takes(sockopt::RxqOvfl, &1)?),
    ] {
        ensure_eq!(has, takes, "{name}");
    }
    // Exactly the reported number of segments.
    let (sender, receiver) = (stage.raw()?, stage.raw()?);
    if found.segmentation {
        let fd = sender.as_fd();
        setsockopt(&fd, sockopt::UdpGsoSegment, &1).map_err(std::io::Error::from)?;
        let bytes = vec![7; found.max_segments + 1];
        let most = bytes.get(1..).unwrap_or_default();
        sender.send(most, receiver.address())?;
        let more = sender.send(&bytes, receiver.address());
        ensure!(more.is_err(), "one segment more goes too");
        let arrived = receiver.rest()?.len();
        ensure_eq!(arrived, found.max_segments, "segments that arrived");
    }
    Ok(())
}
