//! Socket options, binding and adoption, checked with getsockopt.

use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use uv_udp::{BindOptions, Errno, Family, Interface, PathMtuDiscovery, TxTimeClock, Udp};

use crate::network::Near;
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Inbox;

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "options/reach-the-socket",
        "getsockopt on the handle's socket returns the options that a handle sets.",
        reach_the_socket,
    ),
    Rule::each(
        "options/survive-disconnecting",
        "Every option keeps its value through disconnects and reconnects.",
        survive,
    ),
    Rule::each(
        "options/have-named-errors",
        "A value outside an option's range is EINVAL, and changes nothing.",
        named_errors,
    ),
    Rule::each(
        "options/need-a-socket",
        "An option of a handle without a socket, or of a closed one, is EBADF.",
        need_a_socket,
    ),
    Rule::each(
        "bind/reuse-address-shares-by-consent",
        "Handles that all set reuse_address share an address, and exclude others.",
        |stage| shared(stage, BindOptions::default().reuse_address(true)),
    ),
    Rule::each(
        "bind/reuse-port-shares-by-consent",
        "Handles that all set reuse_port share an address, and exclude others.",
        |stage| shared(stage, BindOptions::default().reuse_port(true)),
    ),
    Rule::v6(
        "bind/ipv6-only-leaves-ipv4-alone",
        "A handle with ipv6_only receives no IPv4, and without it does. With an IPv4 address it is EINVAL.",
        ipv6_only,
    ),
    Rule::each(
        "sockets/a-family-at-once",
        "A handle for a family has an unbound socket at once: it takes options, and binds to that family only.",
        for_family,
    ),
    Rule::each(
        "sockets/an-adopted-one-is-recognised",
        "An adopted socket keeps its state (unbound, bound, connected), and becomes non-blocking.",
        adopted,
    ),
    Rule::once(
        "sockets/what-cannot-be-adopted-is-named",
        "Adopting a stream is EINVAL, a file ENOTSOCK, a Unix socket EAFNOSUPPORT, UDP-Lite EPROTONOSUPPORT; a second one EALREADY.",
        not_adopted,
    ),
    Rule::isolated(
        "sockets/what-is-refused-comes-back",
        "A refused descriptor returns to the caller open and in its mode: gone device, second socket, closed handle.",
        refused_comes_back,
    ),
    Rule::each(
        "sockets/into-fd-gives-it-back",
        "into_fd returns the socket with its address, its peer, its options and its unread datagrams.",
        into_fd,
    ),
];

/// A handle, and a second descriptor of its socket.
fn watched(stage: &Stage) -> Result<(Udp, OwnedFd), Broken> {
    let fd = uv_sys::socket::socket(stage.family)?;
    let spy = fd.try_clone()?;
    Ok((Udp::from_fd(&stage.event_loop, fd)?, spy))
}

fn set_everything(udp: &Udp) -> Result<(), Errno> {
    udp.options().set_ttl(9)?;
    udp.options().set_tos(0xb8)?;
    udp.options().set_broadcast(true)?;
    udp.options().set_send_buffer_size(20_000)?;
    udp.options().set_recv_buffer_size(30_000)?;
    udp.options()
        .set_path_mtu_discovery(PathMtuDiscovery::Probe)?;
    udp.options().set_priority(3)?;
    udp.options().set_incoming_cpu(0)?;
    udp.options().set_multicast_ttl(5)?;
    udp.options().set_multicast_loop(false)?;
    udp.options().set_multicast_all(false)?;
    udp.options().set_recv_errors(true)?;
    udp.options().set_recv_tos(true)?;
    udp.options().set_recv_ttl(true)?;
    udp.options().set_recv_packet_info(true)?;
    udp.options().set_recv_timestamps(true)?;
    udp.options().set_recv_drops(true)?;
    if uv_udp::capabilities().segmentation {
        udp.options().set_segment_size(NonZeroU16::new(1200))?;
    }
    udp.options().set_txtime(TxTimeClock::Monotonic)
}

fn everything_is_set(fd: impl AsFd) -> Verdict {
    let fd = fd.as_fd();
    let numbers = (
        uv_sys::option::ttl(fd)?,
        uv_sys::option::tos(fd)?,
        uv_sys::option::priority(fd)?,
        uv_sys::option::incoming_cpu(fd)?,
        uv_sys::multicast::multicast_ttl(fd)?,
    );
    let expected = (9, 0xb8, 3, Some(0), 5);
    ensure_eq!(numbers, expected, "TTL, TOS, priority, CPU, multicast TTL");
    if uv_udp::capabilities().segmentation {
        let segment_size = uv_sys::option::segment_size(fd)?;
        ensure_eq!(segment_size, NonZeroU16::new(1200), "segment size");
    }
    // Linux returns twice the set size (socket(7)).
    let buffers = (
        uv_sys::option::send_buffer_size(fd)?,
        uv_sys::option::recv_buffer_size(fd)?,
    );
    ensure_eq!(buffers, (40_000, 60_000), "buffer sizes");
    let discovery = uv_sys::option::path_mtu_discovery(fd)?;
    ensure_eq!(discovery, PathMtuDiscovery::Probe, "path MTU discovery");
    ensure_eq!(
        uv_sys::option::txtime(fd)?,
        Some(TxTimeClock::Monotonic),
        "the clock"
    );
    for (name, on) in [
        ("broadcast", uv_sys::option::broadcast(fd)?),
        (
            "not looping multicast",
            !uv_sys::multicast::multicast_loop(fd)?,
        ),
        (
            "its own groups only",
            !uv_sys::multicast::multicast_all(fd)?,
        ),
        ("full reports", uv_sys::option::recv_errors(fd)?),
        ("receiving the TOS", uv_sys::option::recv_tos(fd)?),
        ("receiving the TTL", uv_sys::option::recv_ttl(fd)?),
        (
            "receiving the destination",
            uv_sys::option::recv_packet_info(fd)?,
        ),
        ("receiving the time", uv_sys::option::recv_timestamps(fd)?),
        ("receiving drops", uv_sys::option::recv_drops(fd)?),
    ] {
        ensure!(on, "{name} is off");
    }
    Ok(())
}

fn reach_the_socket(stage: &Stage) -> Verdict {
    let (udp, spy) = watched(stage)?;
    set_everything(&udp)?;
    everything_is_set(spy)
}

fn survive(stage: &Stage) -> Verdict {
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    set_everything(&udp)?;
    udp.bind(stage.loopback())?;
    for _ in 0..2 {
        udp.connect(stage.raw()?.address())?;
        udp.connect(stage.raw()?.address())?;
        udp.disconnect()?;
    }
    everything_is_set(udp.into_fd()?)
}

fn named_errors(stage: &Stage) -> Verdict {
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    let huge = i32::MAX as usize + 1;
    let host = stage.loopback().ip();
    for (name, result) in [
        ("a TTL of 0", udp.options().set_ttl(0)),
        ("a TTL of 256", udp.options().set_ttl(256)),
        (
            "a multicast TTL of 256",
            udp.options().set_multicast_ttl(256),
        ),
        (
            "a huge send buffer",
            udp.options().set_send_buffer_size(huge),
        ),
        (
            "a huge receive buffer",
            udp.options().set_recv_buffer_size(huge),
        ),
        ("a huge priority", udp.options().set_priority(u32::MAX)),
        ("a huge CPU", udp.options().set_incoming_cpu(u32::MAX)),
        (
            "a device without a name",
            udp.options().bind_to_device(Some("")),
        ),
        (
            "a device with too long a name",
            udp.options().bind_to_device(Some("sixteen-letters-")),
        ),
        (
            "a group that is none",
            udp.join_multicast(host, Interface::Any),
        ),
        (
            "a group without members",
            udp.options().attach_reuseport_cpu_selector(0),
        ),
    ] {
        ensure_eq!(result, Err(Errno::EINVAL), "{name}");
    }
    let nowhere = udp.options().bind_to_device(Some("nosuchdevice"));
    ensure_eq!(nowhere, Err(Errno::ENODEV), "a device that is not there");
    ensure_eq!(
        (udp.options().ttl()?, udp.options().multicast_ttl()?),
        (64, 1),
        "the options"
    );
    Ok(())
}

fn need_a_socket(stage: &Stage) -> Verdict {
    let udp = stage.udp();
    for state in ["without a socket", "closed"] {
        if state == "closed" {
            udp.bind(stage.loopback())?;
            udp.close(|_| ())?;
        }
        for result in [
            udp.options().set_ttl(1),
            udp.options().ttl().map(drop),
            udp.options().set_tos(0),
            udp.options().set_recv_tos(true),
            udp.options().set_recv_errors(true),
            udp.options().bind_to_device(None),
            udp.options().set_multicast_loop(true),
            udp.options().set_segment_size(None),
            udp.clone().into_fd().map(drop),
        ] {
            ensure_eq!(result, Err(Errno::EBADF), "an option {state}");
        }
    }
    Ok(())
}

fn shared(stage: &Stage, options: BindOptions) -> Verdict {
    let (first, second, third) = (stage.udp(), stage.udp(), stage.udp());
    first.bind_with(stage.loopback(), options)?;
    let address = first.local_addr()?;
    second.bind_with(address, options)?;
    ensure_eq!(
        third.bind(address),
        Err(Errno::EADDRINUSE),
        "without asking"
    );
    Ok(())
}

fn ipv6_only(stage: &Stage) -> Verdict {
    for only in [true, false] {
        let udp = stage.udp();
        let options = BindOptions::default().ipv6_only(only);
        udp.bind_with("[::]:0".parse().map_err(Broken::new)?, options)?;
        let port = udp.local_addr()?.port();
        let inbox = Inbox::of(&udp)?;
        Raw::bind(([127, 0, 0, 1], 0).into())?.send("four", ([127, 0, 0, 1], port).into())?;
        let host = std::net::Ipv6Addr::LOCALHOST;
        Raw::bind((host, 0).into())?.send("six", (host, port).into())?;
        stage.until("the IPv6 datagram arrives", || {
            inbox.texts().contains(&"six".to_owned())
        })?;
        ensure_eq!(
            inbox.len(),
            if only { 1 } else { 2 },
            "the number of datagrams, ipv6_only: {only}"
        );
    }
    let result = stage.udp().bind_with(
        ([127, 0, 0, 1], 0).into(),
        BindOptions::default().ipv6_only(true),
    );
    ensure_eq!(result, Err(Errno::EINVAL), "ipv6_only with IPv4");
    Ok(())
}

fn for_family(stage: &Stage) -> Verdict {
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    udp.options().set_ttl(7)?;
    let other = udp.bind(stage.other_loopback(0));
    ensure_eq!(
        other,
        Err(Errno::EAFNOSUPPORT),
        "an address of the other family"
    );
    udp.bind(stage.loopback())?;
    ensure!(udp.local_addr()?.port() != 0, "there is no local port");
    ensure_eq!(udp.options().ttl()?, 7, "the TTL after binding");
    Ok(())
}

fn adopted(stage: &Stage) -> Verdict {
    let unbound = Udp::from_fd(&stage.event_loop, uv_sys::socket::socket(stage.family)?)?;
    ensure_eq!(
        unbound.bind(stage.loopback()),
        Ok(()),
        "binding an unbound one"
    );

    let socket = std::net::UdpSocket::bind(stage.loopback())?;
    let (address, spy) = (socket.local_addr()?, socket.try_clone()?);
    let bound = Udp::from_fd(&stage.event_loop, socket.into())?;
    ensure_eq!(bound.local_addr()?, address, "a bound one's address");
    let again = bound.bind(stage.loopback());
    ensure_eq!(again, Err(Errno::EINVAL), "binding a bound one");
    let waits = spy.recv(&mut [0]).map_err(|error| error.kind());
    ensure_eq!(
        waits,
        Err(std::io::ErrorKind::WouldBlock),
        "a read of nothing"
    );

    let (socket, peer) = (std::net::UdpSocket::bind(stage.loopback())?, stage.raw()?);
    let address = socket.local_addr()?;
    stage.raw()?.send("stranger", address)?;
    socket.connect(peer.address())?;
    let udp = Udp::from_fd(&stage.event_loop, socket.into())?;
    ensure_eq!(udp.peer_addr()?, peer.address(), "a connected one's peer");
    udp.try_send(b"ping")?;
    ensure_eq!(peer.recv_text()?, "ping", "the datagrams at the peer");
    let inbox = Inbox::of(&udp)?;
    peer.send("pong", address)?;
    stage.until("the peer's datagram arrives", || inbox.len() > 0)?;
    ensure_eq!(inbox.texts(), ["pong"], "the received datagrams");
    Ok(())
}

fn not_adopted(stage: &Stage) -> Verdict {
    let stream: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0")?.into();
    let file: OwnedFd = std::fs::File::open("/dev/null")?.into();
    let unix: OwnedFd = std::os::unix::net::UnixDatagram::unbound()?.into();
    for (name, fd, error) in [
        ("a stream", stream, Errno::EINVAL),
        ("a file", file, Errno::ENOTSOCK),
        ("a Unix socket", unix, Errno::EAFNOSUPPORT),
    ] {
        ensure_eq!(refusal(&stage.udp(), fd)?, error, "adopting {name}");
    }
    // Not ICMP's datagram sockets, which need a permission. Some kernels lack UDP-Lite.
    let other = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        Some(rustix::net::ipproto::UDPLITE),
    );
    match other {
        Ok(other) => {
            let errno = refusal(&stage.udp(), other)?;
            ensure_eq!(errno, Errno::EPROTONOSUPPORT, "adopting another protocol's");
        }
        Err(error) => stage.note(format_args!("no UDP-Lite here: {error}")),
    }
    let second = refusal(&stage.bound()?, uv_sys::socket::socket(Family::V4)?)?;
    ensure_eq!(second, Errno::EALREADY, "a second socket");
    Ok(())
}

/// Offers a descriptor that must be refused. Checks that it returns unchanged, and returns the
/// error.
fn refusal(udp: &Udp, fd: OwnedFd) -> Result<Errno, Broken> {
    uv_sys::socket::set_nonblocking(&fd, false)?;
    let number = fd.as_raw_fd();
    match udp.assign_fd(fd) {
        Ok(()) => Err(Broken::new("it was adopted")),
        Err((errno, fd)) => {
            let now = (fd.as_raw_fd(), uv_sys::socket::nonblocking(&fd)?);
            ensure_eq!(now, (number, false), "descriptor and mode after {errno}");
            Ok(errno)
        }
    }
}

fn refused_comes_back(stage: &Stage, near: &Near) -> Verdict {
    near.ip("link add gone type veth peer name end")?;
    let tied = uv_sys::socket::socket(stage.family)?;
    uv_sys::option::bind_to_device(&tied, Some("gone"))?;
    near.ip("link del gone")?;
    let udp = stage.udp();
    ensure_eq!(refusal(&udp, tied)?, Errno::ENODEV, "a device that is gone");
    let good = || uv_sys::socket::socket(stage.family);
    udp.bind(stage.loopback())?;
    ensure_eq!(refusal(&udp, good()?)?, Errno::EALREADY, "a second socket");
    udp.close(|_| ())?;
    ensure_eq!(refusal(&udp, good()?)?, Errno::EBADF, "a closed handle");
    Ok(())
}

fn into_fd(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.connected(peer.address())?;
    udp.options().set_ttl(9)?;
    let address = udp.local_addr()?;
    udp.send(b"queued", uv_udp::ignore)?;
    udp.send(b"too", uv_udp::ignore)?;
    let socket = Raw::from_socket(udp.clone().into_fd()?.into())?;
    ensure!(udp.is_closing(), "the handle is open still");
    let addresses = (
        uv_sys::socket::local_addr(&socket)?,
        uv_sys::socket::peer_addr(&socket)?,
    );
    ensure_eq!(addresses, (address, peer.address()), "its addresses");
    ensure_eq!(uv_sys::option::ttl(&socket)?, 9, "its TTL");
    ensure_eq!(
        peer.recv_texts(2)?,
        ["queued", "too"],
        "the queued datagrams"
    );
    peer.send("answer", address)?;
    ensure_eq!(socket.recv_text()?, "answer", "what it receives");
    stage.a_little_longer()
}
