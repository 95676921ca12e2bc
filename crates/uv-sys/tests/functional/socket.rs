use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use uv_sys::message::sendmsg;
use uv_sys::option::{bind_to_device, bound_device};
use uv_sys::socket::{
    bind, connect, disconnect, family, is_datagram, is_udp, local_addr, peer_addr, set_cloexec,
    set_nonblocking, socket,
};
use uv_sys::{Errno, Family, RecvOptions, Transmit};

use crate::util::{
    FAMILIES, bind_by_number, bound, ephemeral, loopback, next, nobody, pair, skipped,
};

/// The flags of a descriptor, as the kernel shows them.
fn flags(fd: &impl AsRawFd) -> u32 {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    u32::from_str_radix(flags.trim(), 8).unwrap()
}

const NONBLOCK: u32 = 0o4_000;
const CLOEXEC: u32 = 0o2_000_000;

#[test]
fn a_new_socket_does_not_block_and_is_closed_on_exec() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        assert_eq!(flags(&fd) & (NONBLOCK | CLOEXEC), NONBLOCK | CLOEXEC);
        assert_eq!(uv_sys::socket::family(&fd), Ok(family));
        assert_eq!(is_datagram(&fd), Ok(true));
        assert_eq!(is_udp(&fd), Ok(true));
    }
}

#[test]
fn descriptor_flags_can_be_switched() {
    let fd = socket(Family::V4).unwrap();
    for on in [false, true, true] {
        set_nonblocking(&fd, on).unwrap();
        set_cloexec(&fd, !on).unwrap();
        assert_eq!(flags(&fd) & NONBLOCK != 0, on);
        assert_eq!(flags(&fd) & CLOEXEC == 0, on);
    }
}

#[test]
fn an_unbound_socket_has_the_wildcard_address_and_no_peer() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        assert_eq!(
            local_addr(&fd),
            Ok(SocketAddr::new(family.unspecified(), 0))
        );
        assert_eq!(peer_addr(&fd), Err(Errno::ENOTCONN));
    }
}

#[test]
fn binding_to_port_zero_gives_a_port() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        bind(&fd, &ephemeral(family)).unwrap();
        let local = local_addr(&fd).unwrap();
        assert_eq!((local.ip(), Family::of(&local)), (loopback(family), family));
        assert_ne!(local.port(), 0);
    }
}

#[test]
fn binding_refuses_with_a_named_error() {
    let taken = bound(Family::V4);
    let fd = socket(Family::V4).unwrap();
    assert_eq!(
        bind(&fd, &taken.local_addr().unwrap()),
        Err(Errno::EADDRINUSE)
    );
    assert_eq!(bind(&fd, &ephemeral(Family::V6)), Err(Errno::EAFNOSUPPORT));
    assert_eq!(
        bind(&fd, &"192.0.2.254:0".parse().unwrap()),
        Err(Errno::EADDRNOTAVAIL)
    );
    bind(&fd, &ephemeral(Family::V4)).unwrap();
    assert_eq!(bind(&fd, &ephemeral(Family::V4)), Err(Errno::EINVAL));
    let fd = socket(Family::V6).unwrap();
    assert_eq!(
        bind(&fd, &"[fe80::1]:0".parse().unwrap()),
        Err(Errno::EINVAL)
    );
}

#[test]
fn connecting_gives_a_peer_and_a_port() {
    for family in FAMILIES {
        let peer = bound(family).local_addr().unwrap();
        let fd = socket(family).unwrap();
        connect(&fd, &peer).unwrap();
        assert_eq!(peer_addr(&fd), Ok(peer));
        assert_ne!(local_addr(&fd).unwrap().port(), 0);
    }
    let fd = socket(Family::V4).unwrap();
    assert_eq!(connect(&fd, &nobody(Family::V6)), Err(Errno::EAFNOSUPPORT));
}

#[test]
fn a_connected_socket_receives_only_from_its_peer() {
    for family in FAMILIES {
        let (one, other) = pair(family);
        let stranger = bound(family);
        let to = one.local_addr().unwrap();
        sendmsg(&stranger, &Transmit::new("stranger").with_destination(to)).unwrap();
        sendmsg(&other, &Transmit::new("peer").with_destination(to)).unwrap();
        assert_eq!(next(&one).0, b"peer");
        assert_eq!(
            uv_sys::message::recvmsg(&one, &mut [], RecvOptions::default()),
            Err(Errno::EAGAIN)
        );
    }
}

#[test]
fn disconnecting_removes_the_peer() {
    for family in FAMILIES {
        let peer = bound(family);
        // A port that was named at bind stays.
        let fd = socket(family).unwrap();
        let local = |port| SocketAddr::new(loopback(family), port);
        let local = bind_by_number(|port| bind(&fd, &local(port)).map(|()| local(port)));
        connect(&fd, &peer.local_addr().unwrap()).unwrap();
        disconnect(&fd).unwrap();
        assert_eq!(peer_addr(&fd), Err(Errno::ENOTCONN));
        assert_eq!(local_addr(&fd), Ok(local));
        assert_eq!(sendmsg(&fd, &Transmit::new("x")), Err(Errno::EDESTADDRREQ));
        let stranger = bound(family);
        sendmsg(
            &stranger,
            &Transmit::new("stranger").with_destination(local),
        )
        .unwrap();
        assert_eq!(next(&UdpSocket::from(fd)).0, b"stranger");
    }
}

#[test]
fn disconnecting_drops_a_port_that_the_kernel_chose() {
    for family in FAMILIES {
        for wildcard in [false, true] {
            let fd = socket(family).unwrap();
            let ip = if wildcard {
                family.unspecified()
            } else {
                loopback(family)
            };
            bind(&fd, &SocketAddr::new(ip, 0)).unwrap();
            connect(&fd, &nobody(family)).unwrap();
            disconnect(&fd).unwrap();
            assert_eq!(
                local_addr(&fd).unwrap().port() == 0,
                uv_sys::socket::DISCONNECT_DROPS_EPHEMERAL_PORT
            );
            assert_eq!(local_addr(&fd).unwrap().ip(), ip);
        }
    }
}

#[test]
fn disconnecting_restores_a_wildcard_address() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        let local = |port| SocketAddr::new(family.unspecified(), port);
        let port = bind_by_number(|port| bind(&fd, &local(port)).map(|()| port));
        connect(&fd, &nobody(family)).unwrap();
        assert_eq!(local_addr(&fd).unwrap().ip(), loopback(family));
        disconnect(&fd).unwrap();
        assert_eq!(
            local_addr(&fd),
            Ok(SocketAddr::new(family.unspecified(), port))
        );
    }
}

#[test]
fn disconnecting_removes_the_device_binding() {
    let socket = bound(Family::V4);
    bind_to_device(&socket, Some("lo")).unwrap();
    connect(&socket, &nobody(Family::V4)).unwrap();
    assert_eq!(bound_device(&socket), Ok(Some("lo".to_owned())));
    disconnect(&socket).unwrap();
    assert_eq!(bound_device(&socket), Ok(None));
}

#[test]
fn disconnecting_an_unconnected_socket_succeeds() {
    let fd = socket(Family::V6).unwrap();
    assert_eq!(disconnect(&fd), Ok(()));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(disconnect(&file), Err(Errno::ENOTSOCK));
}

/// An address of this host that is not loopback; needs a network.
fn global_address() -> Option<Ipv6Addr> {
    let text = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let scope = fields.nth(2)?;
        (scope == "00").then(|| Ipv6Addr::from_bits(address))
    })
}

#[test]
fn a_disconnected_ipv6_socket_filters_by_its_former_peer() {
    let Some(global) = global_address() else {
        skipped("no IPv6 address but the loopback one");
        return;
    };
    let fd = socket(Family::V6).unwrap();
    let local = |port| SocketAddr::new(Family::V6.unspecified(), port);
    let port = bind_by_number(|port| bind(&fd, &local(port)).map(|()| port));
    connect(&fd, &nobody(Family::V6)).unwrap();
    disconnect(&fd).unwrap();
    let one = UdpSocket::from(fd);

    let stranger = UdpSocket::bind((global, 0)).unwrap();
    stranger.send_to(b"stranger", (global, port)).unwrap();
    // From the former peer's address: it follows the other datagram, if that was received.
    let neighbour = bound(Family::V6);
    neighbour
        .send_to(b"neighbour", (Ipv6Addr::LOCALHOST, port))
        .unwrap();
    let first = next(&one).0;
    assert_eq!(
        first == b"neighbour",
        uv_sys::socket::DISCONNECT_KEEPS_IPV6_FILTER
    );
}

#[test]
fn sockets_of_other_code_are_recognised() {
    let listener = TcpListener::bind("[::1]:0").unwrap();
    assert_eq!(
        (family(&listener), is_datagram(&listener)),
        (Ok(Family::V6), Ok(false))
    );
    let unix = UnixDatagram::unbound().unwrap();
    assert_eq!(
        (family(&unix), is_datagram(&unix)),
        (Err(Errno::EAFNOSUPPORT), Ok(true))
    );
    assert_eq!(local_addr(&unix), Err(Errno::EAFNOSUPPORT));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(
        (family(&file), is_datagram(&file)),
        (Err(Errno::ENOTSOCK), Err(Errno::ENOTSOCK))
    );
    assert_eq!(
        (local_addr(&file), peer_addr(&file)),
        (Err(Errno::ENOTSOCK), Err(Errno::ENOTSOCK))
    );
}
