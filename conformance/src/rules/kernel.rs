//! The effect of options: other crates read them from the socket, and datagrams show them.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::socket::{GetSockOpt, getsockopt, sockopt};
use rustix::net::sockopt::{self as rustix_opt, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use uv_udp::{Errno, Family, Interface, PacketInfo, PathMtuDiscovery, Transmit, TxTimeClock, Udp};

use crate::network::{Near, far, near};
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Inbox;

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "options/other-crates-read-the-same",
        "nix and rustix read the options that a handle sets.",
        read_by_others,
    ),
    Rule::each(
        "options/absent-objects-have-named-errors",
        "Absent interfaces, groups, members and addresses have named errors, and change nothing.",
        named_errors,
    ),
    Rule::isolated(
        "options/a-mark-steers-the-route",
        "Datagrams of a marked handle follow the routing rule for the mark, and others do not.",
        mark,
    ),
    Rule::isolated(
        "options/a-device-bound-handle-receives-from-it-only",
        "A handle bound to a device stays bound through reconnects, and receives from that device only.",
        device,
    ),
    Rule::isolated(
        "options/path-mtu-discovery-decides-about-fragments",
        "A datagram above the MTU is fragmented with Off and Want, and EMSGSIZE with Do and Probe.",
        discovery,
    ),
    Rule::isolated(
        "options/the-path-mtu-is-what-another-crate-reads",
        "path_mtu is the MTU of the device towards the peer, and the same in another crate.",
        path_mtu,
    ),
    Rule::each(
        "options/without-privilege-it-is-eperm",
        "Without privilege a mark, a high priority and another clock are EPERM; disconnect keeps the port.",
        without_privilege,
    ),
];

/// An option as nix reads it.
pub(super) fn get<O: GetSockOpt>(fd: &impl AsFd, option: O) -> Result<O::Val, Errno> {
    getsockopt(fd, option).map_err(|error| Errno::from_raw(error as i32))
}

fn read_by_others(stage: &Stage) -> Verdict {
    let fd = uv_sys::socket::socket(stage.family)?;
    let spy = fd.try_clone()?;
    let udp = Udp::from_fd(&stage.event_loop, fd)?;
    for on in [true, false] {
        udp.options().set_broadcast(on)?;
        ensure_eq!(get(&spy, sockopt::Broadcast)?, on, "broadcast");
        udp.options().set_recv_timestamps(on)?;
        let timestamps = get(&spy, sockopt::ReceiveTimestampns)?;
        ensure_eq!(timestamps, on, "timestamps");
        udp.options().set_recv_drops(on)?;
        ensure_eq!(get(&spy, sockopt::RxqOvfl)?, i32::from(on), "drops");
        udp.options().set_recv_tos(on)?;
        udp.options().set_recv_ttl(on)?;
        udp.options().set_recv_packet_info(on)?;
        udp.options().set_recv_errors(on)?;
        udp.options().set_multicast_loop(on)?;
        let switches = match stage.family {
            Family::V4 => [
                rustix_opt::ip_recvtos(&spy).map_err(std::io::Error::from)?,
                get(&spy, sockopt::Ipv4RecvTtl)?,
                get(&spy, sockopt::Ipv4PacketInfo)?,
                get(&spy, sockopt::Ipv4RecvErr)?,
                get(&spy, sockopt::IpMulticastLoop)?,
            ],
            Family::V6 => [
                rustix_opt::ipv6_recvtclass(&spy).map_err(std::io::Error::from)?,
                get(&spy, sockopt::Ipv6RecvHopLimit)?,
                get(&spy, sockopt::Ipv6RecvPacketInfo)?,
                get(&spy, sockopt::Ipv6RecvErr)?,
                rustix_opt::ipv6_multicast_loop(&spy).map_err(std::io::Error::from)?,
            ],
        };
        let names = "received TOS, TTL, destination; full reports; multicast loop";
        ensure_eq!(switches, [on; 5], "{names}");
        if uv_udp::capabilities().segmentation {
            let size = if on { NonZeroU16::new(1200) } else { None };
            udp.options().set_segment_size(size)?;
            let segments = get(&spy, sockopt::UdpGsoSegment)?;
            ensure_eq!(segments, if on { 1200 } else { 0 }, "the segment size");
        }
    }
    values_are_read(stage, &udp, &spy)?;
    discovery_is_read(stage, &udp, &spy)
}

/// Other crates read the values of options.
fn values_are_read(stage: &Stage, udp: &Udp, spy: &OwnedFd) -> Verdict {
    udp.options().set_ttl(9)?;
    udp.options().set_tos(0xb8)?;
    udp.options().set_multicast_ttl(5)?;
    let numbers = match stage.family {
        Family::V4 => (
            get(spy, sockopt::Ipv4Ttl)?,
            get(spy, sockopt::Ipv4Tos)?,
            i32::from(get(spy, sockopt::IpMulticastTtl)?),
        ),
        Family::V6 => (
            get(spy, sockopt::Ipv6Ttl)?,
            get(spy, sockopt::Ipv6TClass)?,
            get(spy, sockopt::Ipv6MulticastHops)?,
        ),
    };
    ensure_eq!(numbers, (9, 0xb8, 5), "TTL, TOS, multicast TTL");
    udp.options().set_priority(3)?;
    ensure_eq!(get(spy, sockopt::Priority)?, 3, "the priority");
    udp.options().set_send_buffer_size(20_000)?;
    udp.options().set_recv_buffer_size(30_000)?;
    let buffers = (get(spy, sockopt::SndBuf)?, get(spy, sockopt::RcvBuf)?);
    // Linux returns twice the set size (socket(7)).
    ensure_eq!(buffers, (40_000, 60_000), "buffer sizes");
    udp.options().set_txtime(TxTimeClock::Monotonic)?;
    let clock = get(spy, sockopt::TxTime)?.clockid;
    ensure_eq!(clock, nix::libc::CLOCK_MONOTONIC, "the clock");
    udp.options().bind_to_device(Some("lo"))?;
    let device = get(spy, sockopt::BindToDevice)?;
    ensure_eq!(device.to_string_lossy(), "lo", "the device");
    Ok(())
}

/// Another crate reads each mode of path MTU discovery.
fn discovery_is_read(stage: &Stage, udp: &Udp, spy: &OwnedFd) -> Verdict {
    for (how, v4, v6) in [
        (
            PathMtuDiscovery::Off,
            Ipv4PathMtuDiscovery::DONT,
            Ipv6PathMtuDiscovery::DONT,
        ),
        (
            PathMtuDiscovery::Want,
            Ipv4PathMtuDiscovery::WANT,
            Ipv6PathMtuDiscovery::WANT,
        ),
        (
            PathMtuDiscovery::Do,
            Ipv4PathMtuDiscovery::DO,
            Ipv6PathMtuDiscovery::DO,
        ),
        (
            PathMtuDiscovery::Probe,
            Ipv4PathMtuDiscovery::PROBE,
            Ipv6PathMtuDiscovery::PROBE,
        ),
    ] {
        udp.options().set_path_mtu_discovery(how)?;
        let same = match stage.family {
            Family::V4 => rustix_opt::ip_mtu_discover(spy).map(|read| read == v4),
            Family::V6 => rustix_opt::ipv6_mtu_discover(spy).map(|read| read == v6),
        };
        let same = same.map_err(std::io::Error::from)?;
        ensure!(same, "path MTU discovery {how:?} is read as another");
    }
    Ok(())
}

fn named_errors(stage: &Stage) -> Verdict {
    let udp = stage.bound()?;
    let (group, foreign) = match stage.family {
        Family::V4 => ("239.9.9.9", "ff02::9"),
        Family::V6 => ("ff02::9", "239.9.9.9"),
    };
    let group = group.parse().map_err(Broken::new)?;
    let foreign = foreign.parse().map_err(Broken::new)?;
    let (host, other) = (stage.loopback().ip(), stage.other_loopback(0).ip());
    let (lo, nowhere) = (Interface::Index(1), Interface::Index(999_999));
    for (name, result, error) in [
        (
            "joining at no interface",
            udp.join_multicast(group, nowhere),
            Errno::ENODEV,
        ),
        (
            "joining a foreign group",
            udp.join_multicast(foreign, lo),
            Errno::EAFNOSUPPORT,
        ),
        (
            "leaving a group without a join",
            udp.leave_multicast(group, lo),
            Errno::EADDRNOTAVAIL,
        ),
        (
            "a foreign source",
            udp.join_source(group, other, lo),
            Errno::EAFNOSUPPORT,
        ),
        (
            "a source at no interface",
            udp.join_source(group, host, nowhere),
            Errno::ENODEV,
        ),
        (
            "a device with a NUL",
            udp.options().bind_to_device(Some("l\0o")),
            Errno::EINVAL,
        ),
        (
            "a selector without a group",
            udp.options().attach_reuseport_cpu_selector(2),
            Errno::EINVAL,
        ),
        (
            "the path MTU without a peer",
            udp.options().path_mtu().map(drop),
            Errno::ENOTCONN,
        ),
    ] {
        ensure_eq!(result, Err(error), "{name}");
    }
    absent_interfaces(stage, &udp, group)?;
    bad_sources(stage, &udp)
}

/// Interfaces that do not exist, or not in this form.
fn absent_interfaces(stage: &Stage, udp: &Udp, group: IpAddr) -> Verdict {
    let (other, nowhere) = (stage.other_loopback(0).ip(), Interface::Index(999_999));
    let absent = udp.options().set_multicast_interface(nowhere);
    ensure!(
        matches!(absent, Err(Errno::ENODEV | Errno::EADDRNOTAVAIL)),
        "an outgoing interface that is not there: {absent:?}"
    );
    ensure_eq!(
        udp.options().multicast_interface()?,
        Interface::Any,
        "the interface"
    );
    if stage.family == Family::V4 {
        let foreign = udp.set_send_source(Some(other.into()));
        ensure_eq!(
            foreign,
            Err(Errno::EAFNOSUPPORT),
            "a foreign default source"
        );
    } else {
        let by_address = Interface::Address([127, 0, 0, 1].into());
        for result in [
            udp.join_multicast(group, by_address),
            udp.options().set_multicast_interface(by_address),
        ] {
            ensure_eq!(result, Err(Errno::EAFNOSUPPORT), "an interface by address");
        }
    }
    Ok(())
}

/// Sources that do not exist are errors of the send.
fn bad_sources(stage: &Stage, udp: &Udp) -> Verdict {
    ensure_eq!(udp.send_source(), None, "the default source");
    // A bad source is an error of the send itself.
    let elsewhere = Transmit::new(b"x")
        .with_destination(stage.raw()?.address())
        .with_source(PacketInfo {
            address: None,
            interface: 999_999,
        });
    let sent = udp.try_transmit(&elsewhere);
    ensure_eq!(
        sent,
        Err(Errno::ENODEV),
        "by an interface that is not there"
    );
    let (address, error) = match stage.family {
        Family::V4 => ("192.0.2.200", Errno::ENETUNREACH),
        Family::V6 => ("2001:db8::200", Errno::EINVAL),
    };
    let address: IpAddr = address.parse().map_err(Broken::new)?;
    udp.set_send_source(Some(address.into()))?;
    let sent = udp.try_send_to(b"x", stage.raw()?.address());
    ensure_eq!(sent, Err(error), "from an address that is not this host's");
    Ok(())
}

fn mark(stage: &Stage, here: &Near) -> Verdict {
    let protocol = match stage.family {
        Family::V4 => "-4",
        Family::V6 => "-6",
    };
    // This rule precedes the table of local addresses, which contains loopback.
    here.ip(&format!("{protocol} rule add pref 100 lookup local"))?;
    here.ip(&format!("{protocol} rule del pref 0"))?;
    here.ip(&format!("{protocol} rule add pref 50 fwmark 7 prohibit"))?;
    let (raw, udp) = (stage.raw()?, stage.bound()?);
    let send = || udp.try_send_to(b"hello", raw.address());
    ensure_eq!(send(), Ok(5), "a send without a mark");
    for (mark, result) in [(7, Err(Errno::EACCES)), (8, Ok(5)), (0, Ok(5))] {
        udp.options().set_mark(mark)?;
        ensure_eq!(send(), result, "a send with mark {mark}");
        let read = udp.with_fd(|fd| get(&fd, sockopt::Mark))??;
        ensure_eq!(read, mark, "the mark");
    }
    // The replacing socket has the mark too.
    udp.options().set_mark(7)?;
    let refused = udp.connect(raw.address());
    ensure_eq!(refused, Err(Errno::EACCES), "connecting with mark 7");
    udp.options().set_mark(8)?;
    udp.connect(raw.address())?;
    udp.disconnect()?;
    let read = udp.with_fd(|fd| get(&fd, sockopt::Mark))??;
    ensure_eq!(read, 8, "the mark after disconnecting");
    ensure_eq!(raw.rest()?.len(), 3, "the received datagrams");
    Ok(())
}

fn device(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(SocketAddr::new(far(stage.family), 0))?;
    let local = stage.raw()?;
    let udp = Udp::for_family(&stage.event_loop, stage.family)?;
    udp.options().bind_to_device(Some("near"))?;
    udp.bind(stage.wildcard())?;
    let port = udp.local_addr()?.port();
    let inbox = Inbox::of(&udp)?;
    let say = |text: &str| -> Verdict {
        local.send(text, SocketAddr::new(stage.loopback().ip(), port))?;
        remote.send(text, SocketAddr::new(near(stage.family), port))?;
        Ok(())
    };
    say("first")?;
    stage.until("the datagram of the far side arrives", || inbox.len() == 1)?;
    let is_bound = |when: &str| -> Verdict {
        let device = udp.options().bound_device()?;
        ensure_eq!(device.as_deref(), Some("near"), "the device {when}");
        Ok(())
    };
    for _ in 0..2 {
        udp.connect(remote.address())?;
        is_bound("after connect")?;
        udp.connect(remote.address())?;
        is_bound("after a second connect")?;
        udp.disconnect()?;
        is_bound("after disconnect")?;
    }
    say("second")?;
    stage.until("the next datagram of the far side arrives", || {
        inbox.len() == 2
    })?;
    stage.a_little_longer()?;
    ensure_eq!(inbox.texts(), ["first", "second"], "the received datagrams");
    udp.options().bind_to_device(None)?;
    say("third")?;
    stage.until("both datagrams arrive", || inbox.len() == 4)
}

fn discovery(stage: &Stage, here: &Near) -> Verdict {
    let cable = here.cable()?;
    let remote = cable.raw(SocketAddr::new(far(stage.family), 0))?;
    here.ip("link set near mtu 1280")?;
    for connect in [false, true] {
        let udp = stage.bound_to_wildcard()?;
        if connect {
            udp.connect(remote.address())?;
        }
        let send = |bytes: &[u8]| match connect {
            true => udp.try_send(bytes),
            false => udp.try_send_to(bytes, remote.address()),
        };
        for (how, result) in [
            (PathMtuDiscovery::Off, Ok(1400)),
            (PathMtuDiscovery::Want, Ok(1400)),
            (PathMtuDiscovery::Do, Err(Errno::EMSGSIZE)),
            (PathMtuDiscovery::Probe, Err(Errno::EMSGSIZE)),
        ] {
            udp.options().set_path_mtu_discovery(how)?;
            ensure_eq!(send(&[7; 1400]), result, "{how:?}, connected: {connect}");
            if result.is_ok() {
                ensure_eq!(remote.recv()?.0.len(), 1400, "bytes that arrived");
            }
            ensure_eq!(send(&[7; 1200]), Ok(1200), "what fits, with {how:?}");
            ensure_eq!(remote.recv()?.0.len(), 1200, "bytes that arrived");
        }
    }
    Ok(())
}

fn path_mtu(stage: &Stage, here: &Near) -> Verdict {
    let _cable = here.cable()?;
    here.ip("link set near mtu 1400")?;
    let fd = uv_sys::socket::socket(stage.family)?;
    let spy = fd.try_clone()?;
    let udp = Udp::from_fd(&stage.event_loop, fd)?;
    udp.connect(SocketAddr::new(far(stage.family), 9))?;
    let read = match stage.family {
        Family::V4 => rustix_opt::ip_mtu(&spy),
        Family::V6 => rustix_opt::ipv6_mtu(&spy),
    };
    ensure_eq!(read.map_err(std::io::Error::from)?, 1400, "another crate's");
    ensure_eq!(udp.options().path_mtu()?, 1400, "path_mtu");
    Ok(())
}

/// Drops the privileges of this thread, which belongs to the rule.
fn drop_privileges() -> Verdict {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, none).map_err(std::io::Error::from)?)
}

fn without_privilege(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (plain, marked) = (stage.bound()?, stage.bound()?);
    let is_privileged = marked.options().set_mark(7) != Err(Errno::EPERM);
    marked.connect(peer.address())?;
    let port = marked.local_addr()?.port();
    drop_privileges()?;
    for (name, result) in [
        ("a mark", plain.options().set_mark(7)),
        ("a high priority", plain.options().set_priority(7)),
        (
            "another clock",
            plain.options().set_txtime(TxTimeClock::Tai),
        ),
    ] {
        ensure_eq!(result, Err(Errno::EPERM), "{name}");
    }
    ensure_eq!(plain.options().set_priority(6), Ok(()), "a low priority");
    let what = (
        plain.options().mark()?,
        plain.options().priority()?,
        plain.options().txtime()?,
    );
    ensure_eq!(what, (0, 6, None), "mark, priority, clock");
    if is_privileged {
        // IPv6 replaces the socket, and the new one cannot get the mark.
        let result = match stage.family {
            Family::V4 => Ok(()),
            Family::V6 => Err(Errno::EPERM),
        };
        ensure_eq!(marked.disconnect(), result, "disconnecting");
        ensure!(!marked.is_connected(), "it is still connected");
        ensure_eq!(marked.local_addr()?.port(), port, "the port");
        marked.try_send_to(b"hello", peer.address())?;
        ensure_eq!(peer.recv()?.1.port(), port, "the port that it came from");
    } else {
        stage.note("there was no privilege at first");
    }
    Ok(())
}
