use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use uv_sys::message::{recvmsg, sendmsg};
use uv_sys::multicast::{
    interface_index, join_multicast, join_source, leave_multicast, leave_source,
    multicast_interface, set_multicast_all, set_multicast_interface, set_multicast_loop,
};
use uv_sys::socket::socket;
use uv_sys::{Errno, Family, Interface, Transmit};

use crate::util::{EVERYTHING, loopback, next, skipped};

const GROUP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(239, 255, 77, 1));
/// Of interface-local scope: never leaves the host.
const GROUP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0x77, 1));

fn lo() -> Interface {
    Interface::Index(interface_index("lo").unwrap())
}

/// A sender and a receiver of one group, on an interface with a route.
struct Group {
    sender: UdpSocket,
    receiver: UdpSocket,
    /// The group, and the receiver's port.
    to: SocketAddr,
    interface: Interface,
}

impl Group {
    fn on(group: IpAddr, interface: Interface) -> Group {
        let family = Family::of(&SocketAddr::new(group, 0));
        let [sender, receiver] =
            [(); 2].map(|()| UdpSocket::bind((family.unspecified(), 0)).unwrap());
        set_multicast_interface(&sender, interface).unwrap();
        receiver.set_nonblocking(true).unwrap();
        // Other tests join the same groups meanwhile.
        set_multicast_all(&receiver, false).unwrap();
        let to = SocketAddr::new(group, receiver.local_addr().unwrap().port());
        Group {
            sender,
            receiver,
            to,
            interface,
        }
    }

    fn v4() -> Group {
        Group::on(GROUP_V4, lo())
    }

    /// The loopback interface has no route for IPv6 groups on many systems; any other serves, if
    /// there is one.
    fn v6() -> Option<Group> {
        let names = std::fs::read_dir("/sys/class/net").unwrap();
        let found = names
            .filter_map(|entry| interface_index(entry.unwrap().file_name().to_str()?).ok())
            .map(|index| Group::on(GROUP_V6, Interface::Index(index)))
            .find(|group| {
                sendmsg(
                    &group.sender,
                    &Transmit::new("probe").with_destination(group.to),
                )
                .is_ok()
            });
        if found.is_none() {
            skipped("no interface for IPv6 groups");
        }
        found
    }

    /// Sends to the group and then to the receiver. Returns the source of the first datagram, if it
    /// arrived.
    fn arrives(&self) -> Option<IpAddr> {
        sendmsg(
            &self.sender,
            &Transmit::new("group").with_destination(self.to),
        )
        .unwrap();
        let direct = SocketAddr::new(loopback(Family::of(&self.to)), self.to.port());
        sendmsg(
            &self.sender,
            &Transmit::new("direct").with_destination(direct),
        )
        .unwrap();
        let (bytes, received) = next(&self.receiver);
        if bytes != b"group" {
            return None;
        }
        assert_eq!(next(&self.receiver).0, b"direct");
        received.source.map(|source| source.ip())
    }
}

#[test]
fn members_receive_until_they_leave() {
    for group in [Some(Group::v4()), Group::v6()].into_iter().flatten() {
        let (address, interface) = (group.to.ip(), group.interface);
        join_multicast(&group.receiver, address, interface).unwrap();
        assert!(group.arrives().is_some());
        assert_eq!(
            join_multicast(&group.receiver, address, interface),
            Err(Errno::EADDRINUSE)
        );
        leave_multicast(&group.receiver, address, interface).unwrap();
        assert_eq!(group.arrives(), None);
        assert_eq!(
            leave_multicast(&group.receiver, address, interface),
            Err(Errno::EADDRNOTAVAIL)
        );
        assert_eq!(
            recvmsg(&group.receiver, &mut [], EVERYTHING),
            Err(Errno::EAGAIN)
        );
    }
}

#[test]
fn groups_can_be_joined_on_the_loopback_interface() {
    for (family, group) in [(Family::V4, GROUP_V4), (Family::V6, GROUP_V6)] {
        let fd = socket(family).unwrap();
        join_multicast(&fd, group, lo()).unwrap();
        leave_multicast(&fd, group, lo()).unwrap();
    }
}

#[test]
fn an_ipv4_interface_can_be_named_by_its_address() {
    let by_address = Interface::Address(Ipv4Addr::LOCALHOST);
    let group = Group::on(GROUP_V4, by_address);
    assert_eq!(multicast_interface(&group.sender), Ok(by_address));
    join_multicast(&group.receiver, GROUP_V4, by_address).unwrap();
    assert!(group.arrives().is_some());
    leave_multicast(&group.receiver, GROUP_V4, by_address).unwrap();
}

#[test]
fn members_with_a_source_receive_from_it_only() {
    let by_address = Group::on(GROUP_V4, Interface::Address(Ipv4Addr::LOCALHOST));
    for group in [Some(Group::v4()), Some(by_address), Group::v6()]
        .into_iter()
        .flatten()
    {
        let Group {
            receiver,
            interface,
            ..
        } = &group;
        let address = group.to.ip();
        join_multicast(receiver, address, *interface).unwrap();
        let sender = group.arrives().unwrap();
        leave_multicast(receiver, address, *interface).unwrap();

        let other: IpAddr = match address {
            IpAddr::V4(_) => [127, 0, 0, 2].into(),
            IpAddr::V6(_) => "2001:db8::1".parse().unwrap(),
        };
        join_source(receiver, address, other, *interface).unwrap();
        assert_eq!(group.arrives(), None);
        join_source(receiver, address, sender, *interface).unwrap();
        assert_eq!(group.arrives(), Some(sender));
        leave_source(receiver, address, sender, *interface).unwrap();
        assert_eq!(group.arrives(), None);
        leave_source(receiver, address, other, *interface).unwrap();
        let refused = leave_source(receiver, address, other, *interface);
        assert!(
            matches!(refused, Err(Errno::EADDRNOTAVAIL | Errno::EINVAL)),
            "{refused:?}"
        );
    }
}

#[test]
fn bad_groups_have_named_errors() {
    let (v4, v6) = (socket(Family::V4).unwrap(), socket(Family::V6).unwrap());
    let by_address = Interface::Address(Ipv4Addr::LOCALHOST);
    assert_eq!(
        join_multicast(&v4, loopback(Family::V4), lo()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        leave_multicast(&v6, loopback(Family::V6), lo()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        join_source(&v4, loopback(Family::V4), GROUP_V4, lo()),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        join_multicast(&v4, GROUP_V6, lo()),
        Err(Errno::EAFNOSUPPORT)
    );
    assert_eq!(
        join_multicast(&v6, GROUP_V4, lo()),
        Err(Errno::EAFNOSUPPORT)
    );
    assert_eq!(
        join_multicast(&v6, GROUP_V6, by_address),
        Err(Errno::EAFNOSUPPORT)
    );
    assert_eq!(
        join_source(&v4, GROUP_V4, loopback(Family::V6), lo()),
        Err(Errno::EAFNOSUPPORT)
    );
    assert_eq!(
        join_source(&v6, GROUP_V6, loopback(Family::V6), by_address),
        Err(Errno::EAFNOSUPPORT)
    );
    for (fd, group) in [(&v4, GROUP_V4), (&v6, GROUP_V6)] {
        for index in [0x00ff_ffff, u32::MAX] {
            assert_eq!(
                join_multicast(fd, group, Interface::Index(index)),
                Err(Errno::ENODEV)
            );
        }
    }
}

#[test]
fn the_multicast_interface_is_reported_if_the_kernel_returns_it() {
    let (v4, v6) = (socket(Family::V4).unwrap(), socket(Family::V6).unwrap());
    for fd in [&v4, &v6] {
        assert_eq!(multicast_interface(fd), Ok(Interface::Any));
        set_multicast_interface(fd, lo()).unwrap();
    }
    assert_eq!(multicast_interface(&v4), Ok(Interface::Any));
    assert_eq!(multicast_interface(&v6), Ok(lo()));
    for fd in [&v4, &v6] {
        set_multicast_interface(fd, Interface::Any).unwrap();
        assert_eq!(multicast_interface(fd), Ok(Interface::Any));
        let refused = set_multicast_interface(fd, Interface::Index(u32::MAX));
        assert_eq!(refused, Err(Errno::ENODEV));
    }
    let by_address = Interface::Address(Ipv4Addr::LOCALHOST);
    assert_eq!(
        set_multicast_interface(&v6, by_address),
        Err(Errno::EAFNOSUPPORT)
    );
    let foreign = Interface::Address(Ipv4Addr::new(192, 0, 2, 254));
    assert_eq!(
        set_multicast_interface(&v4, foreign),
        Err(Errno::EADDRNOTAVAIL)
    );
}

#[test]
fn without_multicast_loop_this_host_receives_nothing() {
    // On an interface that is not itself a loop.
    let Some(group) = Group::v6() else { return };
    join_multicast(&group.receiver, GROUP_V6, group.interface).unwrap();
    for on in [false, true] {
        set_multicast_loop(&group.sender, on).unwrap();
        assert_eq!(group.arrives().is_some(), on);
    }
}

#[test]
fn wildcard_sockets_receive_groups_of_others_unless_multicast_all_is_off() {
    let group = Group::v4();
    let other = socket(Family::V4).unwrap();
    join_multicast(&other, GROUP_V4, group.interface).unwrap();
    for all in [true, false] {
        set_multicast_all(&group.receiver, all).unwrap();
        assert_eq!(group.arrives().is_some(), all);
    }
}
