//! The far side of a cable as a router that discards datagrams for a known reason.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use uv_udp::Family;

use crate::network::{Far, Near, far};
use crate::verdict::Broken;

/// The fate of a datagram at the router.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// The network exists, the host does not.
    NoHost,
    /// The router has no route.
    NoNetwork,
    /// A prohibiting route.
    Prohibited,
    /// The next link has an MTU of 1,280 bytes.
    Thin,
}

/// An address with this fate.
pub(crate) fn beyond(family: Family, fate: Fate) -> SocketAddr {
    let (v4, v6): (_, u16) = match fate {
        Fate::NoHost => (Ipv4Addr::new(198, 51, 100, 9), 1),
        Fate::NoNetwork => (Ipv4Addr::new(10, 9, 9, 9), 9),
        Fate::Prohibited => (Ipv4Addr::new(10, 1, 1, 9), 3),
        Fate::Thin => (Ipv4Addr::new(203, 0, 113, 9), 2),
    };
    let address: IpAddr = match family {
        Family::V4 => v4.into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, v6, 0, 0, 0, 0, 9).into(),
    };
    SocketAddr::new(address, 9)
}

/// Cables without a host at their other end, and prohibiting routes.
const DEVICES: &[&str] = &[
    "link add empty type veth peer name end",
    "link set empty up",
    "link set end up",
    "link add thin mtu 1280 type veth peer name thinner mtu 1280",
    "link set thin up",
    "link set thinner up",
    "ntable change name arp_cache dev empty mcast_probes 1 retrans 20",
    "ntable change name ndisc_cache dev empty mcast_probes 1 retrans 20",
];

const V4: &[&str] = &[
    "addr add 198.51.100.1/24 dev empty",
    "addr add 203.0.113.1/24 dev thin",
    "route add prohibit 10.1.1.0/24",
];

const V6: &[&str] = &[
    "addr add 2001:db8:1::1/64 dev empty nodad",
    "addr add 2001:db8:2::1/64 dev thin nodad",
    "-6 route add prohibit 2001:db8:3::/48",
];

/// Forwarding, without a limit on the rate of ICMP messages.
const V4_SYSTEM: &[(&str, &str)] = &[("ipv4/ip_forward", "1"), ("ipv4/icmp_ratelimit", "0")];
const V6_SYSTEM: &[(&str, &str)] = &[
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/icmp/ratelimit", "0"),
];

impl Near {
    /// Connects a router, and makes it the default route.
    pub(crate) fn router(&self, family: Family) -> Result<Far, Broken> {
        let router = self.cable()?;
        let (addresses, system, via) = match family {
            Family::V4 => (V4, V4_SYSTEM, "route add default via"),
            Family::V6 => (V6, V6_SYSTEM, "-6 route add default via"),
        };
        for arguments in DEVICES.iter().chain(addresses) {
            router.ip(arguments)?;
        }
        router.run(|| {
            system
                .iter()
                .try_for_each(|(name, value)| fs::write(format!("/proc/sys/net/{name}"), value))
        })??;
        self.ip(&format!("{via} {}", far(family)))?;
        Ok(router)
    }
}
