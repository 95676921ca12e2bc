//! Socket options.

use std::mem;
use std::num::NonZeroU16;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::socket::family;
use super::sockopt::{get, get_bool, interface_name, octet, set, set_bool};
use super::syscall::syscall;
use crate::addr::Family;
use crate::errno::{Errno, Result};
use crate::option_value::{PathMtuDiscovery, TxTimeClock};

/// Boolean options with one level and name.
macro_rules! switches {
    ($($set:ident $get:ident $level:ident $name:ident;)*) => {$(
        pub(crate) fn $set(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
            set_bool(fd, libc::$level, libc::$name, on)
        }

        pub(crate) fn $get(fd: BorrowedFd<'_>) -> Result<bool> {
            get_bool(fd, libc::$level, libc::$name)
        }
    )*};
}

switches! {
    set_reuse_address reuse_address SOL_SOCKET SO_REUSEADDR;
    set_reuse_port reuse_port SOL_SOCKET SO_REUSEPORT;
    set_broadcast broadcast SOL_SOCKET SO_BROADCAST;
    set_ipv6_only ipv6_only SOL_IPV6 IPV6_V6ONLY;
    set_recv_timestamps recv_timestamps SOL_SOCKET SO_TIMESTAMPNS;
    set_recv_drops recv_drops SOL_SOCKET SO_RXQ_OVFL;
    set_gro gro SOL_UDP UDP_GRO;
}

/// Sets an option that IPv4 and IPv6 have separately.
fn set_per_family(
    fd: BorrowedFd<'_>,
    v4: libc::c_int,
    v6: libc::c_int,
    value: libc::c_int,
) -> Result<()> {
    match family(fd)? {
        Family::V4 => set(fd, libc::SOL_IP, v4, value),
        Family::V6 => {
            set(fd, libc::SOL_IPV6, v6, value)?;
            // For mapped addresses, whose traffic is IPv4. An IPv6-only socket does not need it.
            let _ = set(fd, libc::SOL_IP, v4, value);
            Ok(())
        }
    }
}

fn get_per_family(fd: BorrowedFd<'_>, v4: libc::c_int, v6: libc::c_int) -> Result<libc::c_int> {
    match family(fd)? {
        Family::V4 => get(fd, libc::SOL_IP, v4),
        Family::V6 => get(fd, libc::SOL_IPV6, v6),
    }
}

/// Boolean options with a name per family.
macro_rules! family_switches {
    ($($set:ident $get:ident $v4:ident $v6:ident;)*) => {$(
        pub(crate) fn $set(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
            set_per_family(fd, libc::$v4, libc::$v6, libc::c_int::from(on))
        }

        pub(crate) fn $get(fd: BorrowedFd<'_>) -> Result<bool> {
            Ok(get_per_family(fd, libc::$v4, libc::$v6)? != 0)
        }
    )*};
}

family_switches! {
    set_recv_tos recv_tos IP_RECVTOS IPV6_RECVTCLASS;
    set_recv_ttl recv_ttl IP_RECVTTL IPV6_RECVHOPLIMIT;
    set_recv_errors recv_errors IP_RECVERR IPV6_RECVERR;
}

/// Sets one option only: on an IPv6 socket the IPv6 option reports mapped addresses, too, and both
/// would report them twice.
pub(crate) fn set_recv_packet_info(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    match family(fd)? {
        Family::V4 => set_bool(fd, libc::SOL_IP, libc::IP_PKTINFO, on),
        Family::V6 => set_bool(fd, libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, on),
    }
}

pub(crate) fn recv_packet_info(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(get_per_family(fd, libc::IP_PKTINFO, libc::IPV6_RECVPKTINFO)? != 0)
}

fn int(value: impl TryInto<libc::c_int>) -> Result<libc::c_int> {
    value.try_into().map_err(|_| Errno::EINVAL)
}

fn unsigned<T: TryFrom<libc::c_int>>(value: libc::c_int) -> Result<T> {
    T::try_from(value).map_err(|_| Errno::EIO)
}

pub(crate) fn set_send_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, int(bytes)?)
}

pub(crate) fn send_buffer_size(fd: BorrowedFd<'_>) -> Result<usize> {
    unsigned(get(fd, libc::SOL_SOCKET, libc::SO_SNDBUF)?)
}

pub(crate) fn set_recv_buffer_size(fd: BorrowedFd<'_>, bytes: usize) -> Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, int(bytes)?)
}

pub(crate) fn recv_buffer_size(fd: BorrowedFd<'_>) -> Result<usize> {
    unsigned(get(fd, libc::SOL_SOCKET, libc::SO_RCVBUF)?)
}

pub(crate) fn set_ttl(fd: BorrowedFd<'_>, ttl: u32) -> Result<()> {
    match octet(ttl)? {
        0 => Err(Errno::EINVAL),
        ttl => set_per_family(fd, libc::IP_TTL, libc::IPV6_UNICAST_HOPS, ttl.into()),
    }
}

pub(crate) fn ttl(fd: BorrowedFd<'_>) -> Result<u32> {
    unsigned(get_per_family(fd, libc::IP_TTL, libc::IPV6_UNICAST_HOPS)?)
}

pub(crate) fn set_tos(fd: BorrowedFd<'_>, tos: u8) -> Result<()> {
    set_per_family(fd, libc::IP_TOS, libc::IPV6_TCLASS, tos.into())
}

pub(crate) fn tos(fd: BorrowedFd<'_>) -> Result<u8> {
    unsigned(get_per_family(fd, libc::IP_TOS, libc::IPV6_TCLASS)?)
}

pub(crate) fn set_segment_size(fd: BorrowedFd<'_>, size: Option<NonZeroU16>) -> Result<()> {
    let size = size.map_or(0, NonZeroU16::get);
    set(
        fd,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
        libc::c_int::from(size),
    )
}

pub(crate) fn segment_size(fd: BorrowedFd<'_>) -> Result<Option<NonZeroU16>> {
    Ok(NonZeroU16::new(unsigned(get(
        fd,
        libc::SOL_UDP,
        libc::UDP_SEGMENT,
    )?)?))
}

/// IPv6 uses the same values as IPv4.
pub(crate) fn set_path_mtu_discovery(fd: BorrowedFd<'_>, how: PathMtuDiscovery) -> Result<()> {
    let value = match how {
        PathMtuDiscovery::Off => libc::IP_PMTUDISC_DONT,
        PathMtuDiscovery::Want => libc::IP_PMTUDISC_WANT,
        PathMtuDiscovery::Do => libc::IP_PMTUDISC_DO,
        PathMtuDiscovery::Probe => libc::IP_PMTUDISC_PROBE,
    };
    set_per_family(fd, libc::IP_MTU_DISCOVER, libc::IPV6_MTU_DISCOVER, value)
}

pub(crate) fn path_mtu_discovery(fd: BorrowedFd<'_>) -> Result<PathMtuDiscovery> {
    match get_per_family(fd, libc::IP_MTU_DISCOVER, libc::IPV6_MTU_DISCOVER)? {
        libc::IP_PMTUDISC_DONT => Ok(PathMtuDiscovery::Off),
        libc::IP_PMTUDISC_WANT => Ok(PathMtuDiscovery::Want),
        libc::IP_PMTUDISC_DO => Ok(PathMtuDiscovery::Do),
        libc::IP_PMTUDISC_PROBE => Ok(PathMtuDiscovery::Probe),
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn path_mtu(fd: BorrowedFd<'_>) -> Result<usize> {
    unsigned(get_per_family(fd, libc::IP_MTU, libc::IPV6_MTU)?)
}

pub(crate) fn set_mark(fd: BorrowedFd<'_>, mark: u32) -> Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_MARK, mark)
}

pub(crate) fn mark(fd: BorrowedFd<'_>) -> Result<u32> {
    Ok(get::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_MARK)?.cast_unsigned())
}

pub(crate) fn set_priority(fd: BorrowedFd<'_>, priority: u32) -> Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_PRIORITY, int(priority)?)
}

pub(crate) fn priority(fd: BorrowedFd<'_>) -> Result<u32> {
    unsigned(get(fd, libc::SOL_SOCKET, libc::SO_PRIORITY)?)
}

pub(crate) fn bind_to_device(fd: BorrowedFd<'_>, name: Option<&str>) -> Result<()> {
    let mut padded = [0_u8; libc::IFNAMSIZ];
    if let Some(name) = name {
        let name = interface_name(name)?;
        for (to, from) in padded.iter_mut().zip(name.as_bytes()) {
            *to = *from;
        }
    }
    set(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, padded)
}

pub(crate) fn bound_device(fd: BorrowedFd<'_>) -> Result<Option<String>> {
    let mut name = [0_u8; libc::IFNAMSIZ];
    let mut len = name.len() as libc::socklen_t;
    // SAFETY: `name` has room for `len` bytes.
    syscall!(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_mut_ptr().cast(),
            &mut len,
        )
    })?;
    // The length counts the NUL, or is 0 for none.
    let name = name.get(..len as usize).unwrap_or(&name);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(name) {
        Ok("") => Ok(None),
        Ok(name) => Ok(Some(name.to_owned())),
        Err(_) => Err(Errno::EBADMSG),
    }
}

pub(crate) fn set_incoming_cpu(fd: BorrowedFd<'_>, cpu: u32) -> Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_INCOMING_CPU, int(cpu)?)
}

pub(crate) fn incoming_cpu(fd: BorrowedFd<'_>) -> Result<Option<u32>> {
    // -1 before the first datagram.
    let cpu = get::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_INCOMING_CPU)?;
    Ok(u32::try_from(cpu).ok())
}

pub(crate) fn set_txtime(fd: BorrowedFd<'_>, clock: TxTimeClock) -> Result<()> {
    let clockid = match clock {
        TxTimeClock::Monotonic => libc::CLOCK_MONOTONIC,
        TxTimeClock::Tai => libc::CLOCK_TAI,
    };
    set(
        fd,
        libc::SOL_SOCKET,
        libc::SO_TXTIME,
        libc::sock_txtime { clockid, flags: 0 },
    )
}

pub(crate) fn txtime(fd: BorrowedFd<'_>) -> Result<Option<TxTimeClock>> {
    // An unset clock reads as 0, the real-time clock, which this crate does not set.
    let value: libc::sock_txtime = get(fd, libc::SOL_SOCKET, libc::SO_TXTIME)?;
    Ok(match value.clockid {
        libc::CLOCK_MONOTONIC => Some(TxTimeClock::Monotonic),
        libc::CLOCK_TAI => Some(TxTimeClock::Tai),
        _ => None,
    })
}

pub(crate) fn take_error(fd: BorrowedFd<'_>) -> Result<Option<Errno>> {
    match get::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_ERROR)? {
        0 => Ok(None),
        errno => Ok(Some(Errno::from_raw(errno))),
    }
}

pub(crate) fn attach_reuseport_cpu_selector(fd: BorrowedFd<'_>, group_len: u32) -> Result<()> {
    /// "Return the accumulator": missing in the oldest supported version of libc.
    const BPF_A: u32 = 0x10;

    /// `struct sock_fprog` with explicit padding, so that the kernel copies no uninitialised byte.
    #[derive(Clone, Copy)]
    #[repr(C)]
    struct Program {
        len: u16,
        padding: [u8; mem::size_of::<usize>() - 2],
        steps: *mut libc::sock_filter,
    }

    if group_len == 0 {
        return Err(Errno::EINVAL);
    }
    let step = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let load_cpu = (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned();
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, load_cpu),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, group_len),
        step(libc::BPF_RET | BPF_A, 0),
    ];
    let program = Program {
        len: steps.len() as u16,
        padding: Default::default(),
        steps: steps.as_mut_ptr(),
    };
    set(
        fd,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_REUSEPORT_CBPF,
        program,
    )
}
