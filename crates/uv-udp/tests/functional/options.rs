//! Options of the socket, read through a second descriptor, and their survival.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};

use uv_udp::{Errno, Family, Interface, Loop, PathMtuDiscovery, TxTimeClock, Udp};

use super::harness::*;
use super::network::with_router;

/// A handle, and a second descriptor of its socket.
fn watched(event_loop: &Loop, ip: IpAddr) -> (Udp, OwnedFd) {
    let fd = uv_sys::socket::socket(family(ip)).unwrap();
    let spy = fd.try_clone().unwrap();
    (Udp::from_fd(event_loop, fd).unwrap(), spy)
}

fn family(ip: IpAddr) -> Family {
    Family::of(&(ip, 0).into())
}

fn loopback_index() -> u32 {
    uv_udp::interface_index("lo").unwrap()
}

/// Sets all options.
fn set_everything(udp: &Udp) {
    udp.options().set_ttl(9).unwrap();
    udp.options().set_tos(0xb8).unwrap();
    udp.options().set_broadcast(true).unwrap();
    udp.options().set_send_buffer_size(20_000).unwrap();
    udp.options().set_recv_buffer_size(30_000).unwrap();
    udp.options()
        .set_path_mtu_discovery(PathMtuDiscovery::Probe)
        .unwrap();
    udp.options().set_priority(3).unwrap();
    udp.options().set_incoming_cpu(0).unwrap();
    udp.options().set_multicast_ttl(5).unwrap();
    udp.options().set_multicast_loop(false).unwrap();
    udp.options().set_recv_errors(true).unwrap();
    udp.options().set_recv_tos(true).unwrap();
    udp.options().set_recv_ttl(true).unwrap();
    udp.options().set_recv_packet_info(true).unwrap();
    udp.options().set_recv_timestamps(true).unwrap();
    udp.options().set_recv_drops(true).unwrap();
    udp.options()
        .set_segment_size(NonZeroU16::new(1200))
        .unwrap();
    udp.options().set_txtime(TxTimeClock::Monotonic).unwrap();
}

/// Reads all options from the kernel.
fn assert_everything(fd: impl AsFd) {
    let fd = fd.as_fd();
    assert_eq!(uv_sys::option::ttl(fd), Ok(9));
    assert_eq!(uv_sys::option::tos(fd), Ok(0xb8));
    assert_eq!(uv_sys::option::broadcast(fd), Ok(true));
    assert_eq!(uv_sys::option::send_buffer_size(fd), Ok(40_000));
    assert_eq!(uv_sys::option::recv_buffer_size(fd), Ok(60_000));
    let discovery = uv_sys::option::path_mtu_discovery(fd);
    assert_eq!(discovery, Ok(PathMtuDiscovery::Probe));
    assert_eq!(uv_sys::option::priority(fd), Ok(3));
    assert_eq!(uv_sys::option::incoming_cpu(fd), Ok(Some(0)));
    assert_eq!(uv_sys::multicast::multicast_ttl(fd), Ok(5));
    assert_eq!(uv_sys::multicast::multicast_loop(fd), Ok(false));
    assert_eq!(uv_sys::option::recv_errors(fd), Ok(true));
    assert_eq!(uv_sys::option::recv_tos(fd), Ok(true));
    assert_eq!(uv_sys::option::recv_ttl(fd), Ok(true));
    assert_eq!(uv_sys::option::recv_packet_info(fd), Ok(true));
    assert_eq!(uv_sys::option::recv_timestamps(fd), Ok(true));
    assert_eq!(uv_sys::option::recv_drops(fd), Ok(true));
    assert_eq!(uv_sys::option::segment_size(fd), Ok(NonZeroU16::new(1200)));
    assert_eq!(uv_sys::option::txtime(fd), Ok(Some(TxTimeClock::Monotonic)));
}

#[test]
fn options_set_and_read_those_of_the_socket() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, spy) = watched(&event_loop, ip);
        set_everything(&udp);
        assert_everything(&spy);
        assert_eq!(
            (
                udp.options().ttl(),
                udp.options().tos(),
                udp.options().broadcast()
            ),
            (Ok(9), Ok(0xb8), Ok(true))
        );
        let sizes = (
            udp.options().send_buffer_size(),
            udp.options().recv_buffer_size(),
        );
        assert_eq!(sizes, (Ok(40_000), Ok(60_000)));
        assert_eq!(
            (udp.options().priority(), udp.options().incoming_cpu()),
            (Ok(3), Ok(Some(0)))
        );
        assert_eq!(
            (
                udp.options().multicast_ttl(),
                udp.options().multicast_loop()
            ),
            (Ok(5), Ok(false))
        );
        assert_eq!(
            udp.options().path_mtu_discovery(),
            Ok(PathMtuDiscovery::Probe)
        );
        assert_eq!(udp.options().segment_size(), Ok(NonZeroU16::new(1200)));
        assert_eq!(udp.options().txtime(), Ok(Some(TxTimeClock::Monotonic)));
        udp.options().set_recv_tos(false).unwrap();
        assert_eq!(uv_sys::option::recv_tos(&spy), Ok(false));
        udp.options().set_segment_size(None).unwrap();
        assert_eq!(uv_sys::option::segment_size(&spy), Ok(None));
    }
}

#[test]
fn options_survive_disconnecting_and_reconnecting() {
    for ip in loopbacks() {
        for port in ["chosen", "the kernel's"] {
            let event_loop = Loop::new().unwrap();
            let udp = Udp::for_family(&event_loop, family(ip)).unwrap();
            set_everything(&udp);
            if port == "chosen" {
                bind_by_number(|port| udp.bind((ip, port).into()));
            } else {
                udp.bind((ip, 0).into()).unwrap();
            }
            udp.connect(dead(ip)).unwrap();
            udp.connect(dead(ip)).unwrap();
            udp.disconnect().unwrap();
            udp.connect(dead(ip)).unwrap();
            udp.disconnect().unwrap();
            assert_everything(udp.into_fd().unwrap());
        }
    }
}

#[test]
fn a_handle_stays_bound_to_its_device() {
    for ip in loopbacks() {
        for port in ["chosen", "the kernel's"] {
            let event_loop = Loop::new().unwrap();
            let udp = Udp::for_family(&event_loop, family(ip)).unwrap();
            assert_eq!(udp.options().bound_device(), Ok(None));
            udp.options().bind_to_device(Some("lo")).unwrap();
            if port == "chosen" {
                bind_by_number(|port| udp.bind((ip, port).into()));
            } else {
                udp.bind((ip, 0).into()).unwrap();
            }
            let local = udp.local_addr().unwrap();
            for _ in 0..2 {
                udp.connect(dead(ip)).unwrap();
                assert_eq!(udp.options().bound_device(), Ok(Some("lo".to_owned())));
            }
            udp.disconnect().unwrap();
            assert_eq!(udp.options().bound_device(), Ok(Some("lo".to_owned())));
            assert_eq!(udp.local_addr(), Ok(local));
            let fd = udp.into_fd().unwrap();
            assert_eq!(uv_sys::option::bound_device(fd), Ok(Some("lo".to_owned())));
        }
        let event_loop = Loop::new().unwrap();
        let (udp, spy) = watched(&event_loop, ip);
        udp.options().bind_to_device(Some("lo")).unwrap();
        udp.options().bind_to_device(None).unwrap();
        assert_eq!(uv_sys::option::bound_device(spy), Ok(None));
        for (name, error) in [
            ("", Errno::EINVAL),
            ("a-name-with-more-than-15", Errno::EINVAL),
            ("no\0", Errno::EINVAL),
            ("nosuchdevice", Errno::ENODEV),
        ] {
            assert_eq!(
                udp.options().bind_to_device(Some(name)),
                Err(error),
                "{name:?}"
            );
        }
        assert_eq!(udp.options().bound_device(), Ok(None));
    }
}

#[test]
fn a_mark_is_set_on_the_socket_with_the_privilege() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, spy) = watched(&event_loop, ip);
        match udp.options().set_mark(77) {
            Err(error) => {
                assert_eq!(error, Errno::EPERM);
                skipped("no privilege to mark");
            }
            Ok(()) => {
                assert_eq!(
                    (udp.options().mark(), uv_sys::option::mark(spy)),
                    (Ok(77), Ok(77))
                );
                udp.connect(dead(ip)).unwrap();
                udp.disconnect().unwrap();
                assert_eq!(udp.options().mark(), Ok(77));
            }
        }
    }
}

/// A handle on the wildcard address, the addresses of a group and of the sender, and a sender.
struct Group {
    udp: Udp,
    heard: Log<Heard>,
    group: IpAddr,
    sender: IpAddr,
    /// A peer that sends nothing.
    other: IpAddr,
    interface: Interface,
}

impl Group {
    fn new(event_loop: &Loop, v6: bool) -> Self {
        let [any, group, sender, other] = if v6 {
            ["::", "ff02::7:7", "2001:db8::1", "2001:db8::77"]
        } else {
            ["0.0.0.0", "232.7.7.7", "192.0.2.1", "192.0.2.77"]
        };
        let (udp, _) = bound(event_loop, any.parse().unwrap());
        let heard = listen(&udp);
        Self {
            udp,
            heard,
            group: group.parse().unwrap(),
            sender: sender.parse().unwrap(),
            other: other.parse().unwrap(),
            interface: Interface::Index(uv_udp::interface_index("near").unwrap()),
        }
    }

    fn send(&self, data: &[u8]) {
        let (socket, _) = raw(self.sender);
        uv_sys::multicast::set_multicast_interface(&socket, self.interface).unwrap();
        let port = self.udp.local_addr().unwrap().port();
        socket.send_to(data, (self.group, port)).unwrap();
    }

    /// Sends, and waits until the handle has received.
    fn receives(&self, event_loop: &Loop, data: &[u8]) -> bool {
        let before = self.heard.len();
        self.send(data);
        run_until(event_loop, || self.heard.len() > before);
        true
    }

    /// Sends, and returns whether the handle receives without waiting.
    fn receives_at_once(&self, event_loop: &Loop, data: &[u8]) -> bool {
        let before = self.heard.len();
        self.send(data);
        settle(event_loop);
        self.heard.len() > before
    }

    fn reconnect(&self) {
        for _ in 0..2 {
            self.udp.connect(dead(self.sender)).unwrap();
        }
        self.udp.disconnect().unwrap();
    }
}

#[test]
fn a_member_of_a_group_receives_also_after_a_disconnect() {
    with_router(|v6| {
        let event_loop = Loop::new().unwrap();
        let group = Group::new(&event_loop, v6);
        let (udp, address, interface) = (&group.udp, group.group, group.interface);
        assert!(!group.receives_at_once(&event_loop, b"early"));
        udp.join_multicast(address, interface).unwrap();
        let again = udp.join_multicast(address, interface);
        assert_eq!(again, Err(Errno::EADDRINUSE));
        assert!(group.receives(&event_loop, b"joined"));
        group.reconnect();
        assert!(group.receives(&event_loop, b"after a disconnect"));
        udp.leave_multicast(address, interface).unwrap();
        let again = udp.leave_multicast(address, interface);
        assert_eq!(again, Err(Errno::EADDRNOTAVAIL));
        assert!(!group.receives_at_once(&event_loop, b"left"));
        group.reconnect();
        assert!(!group.receives_at_once(&event_loop, b"still out"));
    });
}

#[test]
fn a_member_for_one_source_receives_only_from_it_also_after_a_disconnect() {
    with_router(|v6| {
        let event_loop = Loop::new().unwrap();
        let group = Group::new(&event_loop, v6);
        let (udp, address, interface) = (&group.udp, group.group, group.interface);
        udp.join_source(address, group.other, interface).unwrap();
        assert!(!group.receives_at_once(&event_loop, b"from a stranger"));
        udp.join_source(address, group.sender, interface).unwrap();
        let again = udp.join_source(address, group.sender, interface);
        assert_eq!(again, Err(Errno::EADDRNOTAVAIL));
        assert!(group.receives(&event_loop, b"one"));
        group.reconnect();
        assert!(group.receives(&event_loop, b"two"));
        udp.leave_source(address, group.sender, interface).unwrap();
        assert!(!group.receives_at_once(&event_loop, b"left"));
        group.reconnect();
        assert!(!group.receives_at_once(&event_loop, b"still out"));
    });
}

#[test]
fn multicast_all_decides_about_groups_of_other_sockets() {
    with_router(|v6| {
        let event_loop = Loop::new().unwrap();
        let group = Group::new(&event_loop, v6);
        let other = Udp::for_family(&event_loop, if v6 { Family::V6 } else { Family::V4 }).unwrap();
        other.join_multicast(group.group, group.interface).unwrap();
        group.udp.options().set_multicast_all(true).unwrap();
        assert!(group.receives(&event_loop, b"other's"));
        group.udp.options().set_multicast_all(false).unwrap();
        assert_eq!(group.udp.options().multicast_all(), Ok(false));
        assert!(!group.receives_at_once(&event_loop, b"other's"));
        group.reconnect();
        assert!(!group.receives_at_once(&event_loop, b"other's"));
    });
}

#[test]
fn multicast_datagrams_leave_through_the_interface_that_was_set() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, spy) = watched(&event_loop, ip);
        match ip {
            IpAddr::V4(address) => {
                udp.options()
                    .set_multicast_interface(Interface::Address(address))
                    .unwrap();
                assert_eq!(
                    uv_sys::multicast::multicast_interface(&spy),
                    Ok(Interface::Address(address))
                );
                assert_eq!(
                    udp.options().multicast_interface(),
                    Ok(Interface::Address(address))
                );
            }
            IpAddr::V6(_) => {
                let lo = Interface::Index(loopback_index());
                udp.options().set_multicast_interface(lo).unwrap();
                assert_eq!(uv_sys::multicast::multicast_interface(&spy), Ok(lo));
                udp.connect(dead(ip)).unwrap();
                udp.disconnect().unwrap();
                assert_eq!(udp.options().multicast_interface(), Ok(lo));
                let by_address = Interface::Address([127, 0, 0, 1].into());
                let result = udp.options().set_multicast_interface(by_address);
                assert_eq!(result, Err(Errno::EAFNOSUPPORT));
            }
        }
    }
}

#[test]
fn a_group_left_under_another_name_of_its_interface_stays_left() {
    let group = "ff02::7:7".parse().unwrap();
    // Loopback, by its index, and by the kernel's choice.
    let lo = Interface::Index(uv_udp::interface_index("lo").unwrap());
    for ip in loopbacks().into_iter().filter(std::net::IpAddr::is_ipv6) {
        let event_loop = Loop::new().unwrap();
        let reconnect = |udp: &Udp| {
            udp.connect(dead(ip)).unwrap();
            udp.disconnect().unwrap();
        };
        let (udp, _) = bound(&event_loop, ip);
        udp.join_multicast(group, lo).unwrap();
        reconnect(&udp);
        assert_eq!(udp.leave_multicast(group, Interface::Any), Ok(()));
        reconnect(&udp);
        let left = udp.leave_multicast(group, lo);
        assert_eq!(left, Err(Errno::EADDRNOTAVAIL), "it was joined again");
        // Leaving the group as a whole also leaves it for single sources.
        for source in ["fe80::9", "fe80::8"] {
            let source = source.parse().unwrap();
            assert_eq!(udp.join_source(group, source, lo), Ok(()));
        }
        assert_eq!(udp.leave_multicast(group, lo), Ok(()));
        reconnect(&udp);
        let left = udp.leave_multicast(group, lo);
        assert_eq!(
            left,
            Err(Errno::EADDRNOTAVAIL),
            "its sources were joined again"
        );
    }
}
