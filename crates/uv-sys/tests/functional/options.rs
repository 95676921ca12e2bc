use std::fmt::Debug;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::os::fd::{BorrowedFd, OwnedFd};

use uv_sys::message::sendmsg;
use uv_sys::multicast::*;
use uv_sys::option::*;
use uv_sys::socket::{bind, connect, socket};
use uv_sys::{Errno, Family, PathMtuDiscovery, Transmit, TxTimeClock};

use crate::util::{FAMILIES, bind_by_number, bound, loopback, nobody, wait_readable};

type Set<T> = fn(BorrowedFd<'_>, T) -> uv_sys::Result<()>;
type Get<T> = fn(BorrowedFd<'_>) -> uv_sys::Result<T>;

/// The getter returns the value that was set, in both families.
fn round_trip<T: Copy + PartialEq + Debug>(set: Set<T>, get: Get<T>, values: &[T]) {
    use std::os::fd::AsFd;
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        for value in values {
            set(fd.as_fd(), *value).unwrap();
            assert_eq!(get(fd.as_fd()), Ok(*value), "{family:?}");
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(set(file.as_fd(), values[0]), Err(Errno::ENOTSOCK));
        assert_eq!(get(file.as_fd()), Err(Errno::ENOTSOCK));
    }
}

#[test]
fn boolean_options_can_be_set() {
    macro_rules! check {
        ($($set:ident $get:ident,)*) => {$(
            round_trip(|fd, value| $set(fd, value), |fd| $get(fd), &[true, false, true]);
        )*};
    }
    check! {
        set_reuse_address reuse_address,
        set_reuse_port reuse_port,
        set_broadcast broadcast,
        set_recv_tos recv_tos,
        set_recv_ttl recv_ttl,
        set_recv_packet_info recv_packet_info,
        set_recv_timestamps recv_timestamps,
        set_recv_drops recv_drops,
        set_gro gro,
        set_recv_errors recv_errors,
        set_multicast_loop multicast_loop,
        set_multicast_all multicast_all,
    }
}

#[test]
fn values_can_be_set() {
    macro_rules! check {
        ($($set:ident $get:ident $values:expr,)*) => {$(
            round_trip(|fd, value| $set(fd, value), |fd| $get(fd), &$values);
        )*};
    }
    check! {
        set_ttl ttl [1, 64, 255],
        set_tos tos [0, 0b1011_1010, 255],
        set_multicast_ttl multicast_ttl [0, 1, 255],
        set_segment_size segment_size [NonZeroU16::new(1), NonZeroU16::new(1_200), NonZeroU16::new(u16::MAX), None],
        set_priority priority [0, 6],
        set_path_mtu_discovery path_mtu_discovery [
            PathMtuDiscovery::Off, PathMtuDiscovery::Want, PathMtuDiscovery::Do, PathMtuDiscovery::Probe,
        ],
    }
}

#[test]
fn values_out_of_range_are_refused() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        for ttl in [0, 256, u32::MAX] {
            assert_eq!(set_ttl(&fd, ttl), Err(Errno::EINVAL));
        }
        assert_eq!(
            uv_sys::multicast::set_multicast_ttl(&fd, 256),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            uv_sys::option::set_send_buffer_size(&fd, usize::MAX),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            uv_sys::option::set_recv_buffer_size(&fd, 1 << 31),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            uv_sys::option::set_priority(&fd, u32::MAX),
            Err(Errno::EINVAL)
        );
        assert_eq!(set_incoming_cpu(&fd, u32::MAX), Err(Errno::EINVAL));
    }
}

#[test]
fn buffer_sizes_are_returned_as_the_kernel_counts_them() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        uv_sys::option::set_send_buffer_size(&fd, 50_000).unwrap();
        uv_sys::option::set_recv_buffer_size(&fd, 60_000).unwrap();
        let sizes = (
            uv_sys::option::send_buffer_size(&fd),
            uv_sys::option::recv_buffer_size(&fd),
        );
        assert_eq!(sizes, (Ok(100_000), Ok(120_000)));
        uv_sys::option::set_recv_buffer_size(&fd, 0).unwrap();
        assert_eq!(uv_sys::option::recv_buffer_size(&fd), Ok(2_304));
        uv_sys::option::set_send_buffer_size(&fd, 0).unwrap();
        assert_eq!(uv_sys::option::send_buffer_size(&fd), Ok(4_608));
    }
}

#[test]
fn ipv6_only_requires_an_unbound_ipv6_socket() {
    let fd = socket(Family::V6).unwrap();
    for on in [true, false, true] {
        set_ipv6_only(&fd, on).unwrap();
        assert_eq!(uv_sys::option::ipv6_only(&fd), Ok(on));
    }
    bind(&fd, &"[::]:0".parse().unwrap()).unwrap();
    assert_eq!(set_ipv6_only(&fd, false), Err(Errno::EINVAL));
    let v4 = socket(Family::V4).unwrap();
    let refused = set_ipv6_only(&v4, true);
    assert!(
        matches!(refused, Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP)),
        "{refused:?}"
    );
}

#[test]
fn an_address_is_shared_if_all_sockets_allow_it() {
    for family in FAMILIES {
        let set = |fd: &OwnedFd| match family {
            Family::V4 => uv_sys::option::set_reuse_address(fd, true),
            Family::V6 => set_reuse_port(fd, true),
        };
        let [one, other, stranger] = [(); 3].map(|()| socket(family).unwrap());
        set(&one).unwrap();
        set(&other).unwrap();
        let address = |port| SocketAddr::new(loopback(family), port);
        let address = bind_by_number(|port| bind(&one, &address(port)).map(|()| address(port)));
        bind(&other, &address).unwrap();
        assert_eq!(bind(&stranger, &address), Err(Errno::EADDRINUSE));
    }
}

#[test]
fn the_path_mtu_of_a_connected_socket_is_known() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        assert_eq!(path_mtu(&fd), Err(Errno::ENOTCONN));
        connect(&fd, &nobody(family)).unwrap();
        assert!(path_mtu(&fd).unwrap() >= 1_280);
    }
}

#[test]
fn an_unknown_path_mtu_discovery_value_is_einval() {
    let fd = socket(Family::V4).unwrap();
    assert_eq!(path_mtu_discovery(&fd), Ok(PathMtuDiscovery::Want));
}

#[test]
fn a_socket_can_be_bound_to_a_device_and_unbound() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        assert_eq!(bound_device(&fd), Ok(None));
        bind_to_device(&fd, Some("lo")).unwrap();
        assert_eq!(bound_device(&fd), Ok(Some("lo".to_owned())));
        for (name, errno) in [
            ("", Errno::EINVAL),
            ("sixteen.letters.", Errno::EINVAL),
            ("l\0o", Errno::EINVAL),
            ("no.such.device", Errno::ENODEV),
        ] {
            // Only the privileged may change it again; the others are refused before their name is
            // looked at.
            let refused = bind_to_device(&fd, Some(name));
            assert!(
                refused == Err(errno) || refused == Err(Errno::EPERM),
                "{name} {refused:?}"
            );
        }
        let untied = bind_to_device(&fd, None);
        assert!(untied == Ok(()) && bound_device(&fd) == Ok(None) || untied == Err(Errno::EPERM));
    }
}

#[test]
fn interfaces_have_an_index() {
    assert!(interface_index("lo").unwrap() > 0);
    assert_eq!(interface_index("no.such.device"), Err(Errno::ENODEV));
    for name in ["", "l\0o", "sixteen.letters."] {
        assert_eq!(interface_index(name), Err(Errno::EINVAL));
    }
}

#[test]
fn a_mark_needs_a_privilege() {
    let fd = socket(Family::V4).unwrap();
    match uv_sys::option::set_mark(&fd, 0xdead_beef) {
        Ok(()) => assert_eq!(uv_sys::option::mark(&fd), Ok(0xdead_beef)),
        Err(errno) => assert_eq!(errno, Errno::EPERM),
    }
}

#[test]
fn the_cpu_is_known_after_the_first_datagram_or_when_it_was_set() {
    for family in FAMILIES {
        let socket = bound(family);
        assert_eq!(incoming_cpu(&socket), Ok(None));
        set_incoming_cpu(&socket, 1).unwrap();
        assert_eq!(incoming_cpu(&socket), Ok(Some(1)));
    }
}

#[test]
fn transmit_times_have_a_clock() {
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        assert_eq!(txtime(&fd), Ok(None));
        set_txtime(&fd, TxTimeClock::Monotonic).unwrap();
        assert_eq!(txtime(&fd), Ok(Some(TxTimeClock::Monotonic)));
        match set_txtime(&fd, TxTimeClock::Tai) {
            Ok(()) => assert_eq!(txtime(&fd), Ok(Some(TxTimeClock::Tai))),
            Err(errno) => assert_eq!(errno, Errno::EPERM),
        }
    }
}

#[test]
fn take_error_clears_the_pending_error() {
    let socket = bound(Family::V4);
    assert_eq!(take_error(&socket), Ok(None));
    connect(&socket, &nobody(Family::V4)).unwrap();
    sendmsg(&socket, &Transmit::new("anyone?")).unwrap();
    assert_eq!(take_error(&socket), Ok(Some(Errno::ECONNREFUSED)));
    assert_eq!(take_error(&socket), Ok(None));
}

#[test]
fn a_reuseport_group_can_choose_by_cpu() {
    let group = [(); 2].map(|()| {
        let fd = socket(Family::V4).unwrap();
        set_reuse_port(&fd, true).unwrap();
        fd
    });
    let address = |port| SocketAddr::new(loopback(Family::V4), port);
    let address = bind_by_number(|port| bind(&group[0], &address(port)).map(|()| address(port)));
    bind(&group[1], &address).unwrap();
    assert_eq!(
        attach_reuseport_cpu_selector(&group[0], 0),
        Err(Errno::EINVAL)
    );
    // A group length of 1: the first member gets everything.
    attach_reuseport_cpu_selector(&group[0], 1).unwrap();
    let first = std::net::UdpSocket::from(group.into_iter().next().unwrap());
    for _ in 0..20 {
        let sender = bound(Family::V4);
        sendmsg(&sender, &Transmit::new("x").with_destination(address)).unwrap();
        wait_readable(&first);
        first.recv(&mut [0; 8]).unwrap();
    }
    let alone = socket(Family::V4).unwrap();
    bind(&alone, &"127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(attach_reuseport_cpu_selector(&alone, 1), Err(Errno::EINVAL));
}

#[test]
fn dual_stack_sockets_set_both_families() {
    // Only datagrams show the IPv4 options: see `metadata.rs`.
    let fd = socket(Family::V6).unwrap();
    assert_eq!((set_ttl(&fd, 9), set_tos(&fd, 8)), (Ok(()), Ok(())));
    assert_eq!(set_path_mtu_discovery(&fd, PathMtuDiscovery::Do), Ok(()));
    assert_eq!(set_segment_size(&fd, None), Ok(()));
}
