//! The layout of control messages on Linux: a header with a length (`size_t`), a level and a type
//! (`int`), the contents, and padding to the size of a `size_t`.
//!
//! It is safe code over byte slices. The kernel copies control data, so the alignment of the
//! caller's buffer does not matter.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::Family;
use crate::control_message::ControlMessage;
use crate::errno::Errno;
use crate::queued_error::{ErrorOrigin, ExtendedError};
use crate::transmit::PacketInfo;

const WORD: usize = mem::size_of::<usize>();
/// Bytes of a header; a multiple of WORD on every architecture.
const HEADER: usize = WORD + 2 * mem::size_of::<i32>();

const fn align(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

/// Bytes of control messages per message: room for all that this crate encodes (216 bytes) or
/// requests (208 bytes) at once.
pub(crate) const CONTROL_SIZE: usize = 256;

/// A buffer with the alignment of control messages.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlBuffer(pub(crate) [u8; CONTROL_SIZE]);

impl ControlBuffer {
    pub(crate) const fn zeroed() -> ControlBuffer {
        ControlBuffer([0; CONTROL_SIZE])
    }
}

pub(crate) fn int(data: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(data.get(..4)?.try_into().ok()?))
}

/// Splits off the first message: its level, type and contents, and the rest. `None` at the end or
/// for malformed bytes.
#[inline]
pub(crate) fn split(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(control.get(..WORD)?.try_into().ok()?);
    let level = int(control.get(WORD..)?)?;
    let kind = int(control.get(WORD + 4..)?)?;
    let data = control.get(HEADER..len)?;
    // The last message may lack its padding.
    let rest = control.get(align(len)..).unwrap_or(&[]);
    Some((level, kind, data, rest))
}

#[inline]
pub(crate) fn decode(level: i32, kind: i32, data: &[u8]) -> ControlMessage<'_> {
    decode_known(level, kind, data).unwrap_or(ControlMessage::Other { level, kind, data })
}

#[inline]
fn decode_known(level: i32, kind: i32, data: &[u8]) -> Option<ControlMessage<'static>> {
    match (level, kind) {
        (libc::SOL_UDP, libc::UDP_SEGMENT) => {
            let bytes = data.get(..2)?.try_into().ok()?;
            Some(ControlMessage::Segment(u16::from_ne_bytes(bytes)))
        }
        (libc::SOL_UDP, libc::UDP_GRO) => {
            Some(ControlMessage::Gro(u16::try_from(int(data)?).ok()?))
        }
        // The kernel reports the IPv4 byte as a byte, and accepts an int as well.
        (libc::SOL_IP, libc::IP_TOS) if data.len() == 1 => {
            Some(ControlMessage::Tos(*data.first()?))
        }
        (libc::SOL_IP, libc::IP_TOS) | (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
            Some(ControlMessage::Tos(u8::try_from(int(data)?).ok()?))
        }
        (libc::SOL_IP, libc::IP_TTL) | (libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
            Some(ControlMessage::Ttl(u8::try_from(int(data)?).ok()?))
        }
        (libc::SOL_IP, libc::IP_PKTINFO) => {
            // struct in_pktinfo: interface, local address, destination in the header.
            let address: [u8; 4] = data.get(8..12)?.try_into().ok()?;
            Some(ControlMessage::PacketInfo(PacketInfo {
                address: Some(IpAddr::V4(Ipv4Addr::from(address))),
                interface: int(data)?.cast_unsigned(),
            }))
        }
        (libc::SOL_IPV6, libc::IPV6_PKTINFO) => {
            let address: [u8; 16] = data.get(..16)?.try_into().ok()?;
            Some(ControlMessage::PacketInfo(PacketInfo {
                address: Some(IpAddr::V6(Ipv6Addr::from(address))),
                interface: int(data.get(16..)?)?.cast_unsigned(),
            }))
        }
        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => timestamp(data).map(ControlMessage::Timestamp),
        (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR) => {
            extended_error(data).map(ControlMessage::Error)
        }
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
            Some(ControlMessage::Drops(int(data)?.cast_unsigned()))
        }
        _ => None,
    }
}

/// Decodes a `struct sock_extended_err` (16 bytes) and the offender's socket address behind it.
fn extended_error(data: &[u8]) -> Option<ExtendedError> {
    let &[origin, kind, code, _pad] = data.get(4..8)? else {
        return None;
    };
    Some(ExtendedError {
        errno: Errno::from_raw(int(data)?),
        origin: match origin {
            libc::SO_EE_ORIGIN_LOCAL => ErrorOrigin::Local,
            libc::SO_EE_ORIGIN_ICMP => ErrorOrigin::Icmp,
            libc::SO_EE_ORIGIN_ICMP6 => ErrorOrigin::Icmp6,
            other => ErrorOrigin::Other(other),
        },
        kind,
        code,
        info: int(data.get(8..)?)?.cast_unsigned(),
        offender: data.get(16..).and_then(offender),
    })
}

/// The address in a sockaddr_in or sockaddr_in6; AF_UNSPEC means none.
fn offender(sockaddr: &[u8]) -> Option<IpAddr> {
    let family = u16::from_ne_bytes(sockaddr.get(..2)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let octets: [u8; 4] = sockaddr.get(4..8)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = sockaddr.get(8..24)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// Decodes a `struct timespec` of either width to nanoseconds.
fn timestamp(data: &[u8]) -> Option<u64> {
    let (seconds, nanoseconds) = match data.len() {
        16 => (
            i64::from_ne_bytes(data.get(..8)?.try_into().ok()?),
            i64::from_ne_bytes(data.get(8..)?.try_into().ok()?),
        ),
        8 => (i64::from(int(data)?), i64::from(int(data.get(4..)?)?)),
        _ => return None,
    };
    let seconds = u64::try_from(seconds).ok()?;
    let nanoseconds = u64::try_from(nanoseconds).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Bytes of a message with `data` bytes of contents, with padding.
pub(crate) const fn space(data: usize) -> usize {
    HEADER.saturating_add(data).saturating_add(WORD - 1) / WORD * WORD
}

/// Writes one message to the start of `free`, and returns the bytes used; `None` if it does not
/// fit.
#[inline]
pub(crate) fn put(free: &mut [u8], level: i32, kind: i32, data: &[u8]) -> Option<usize> {
    let space = space(data.len());
    let (header, contents) = free.get_mut(..space)?.split_at_mut(HEADER);
    header[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
    header[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    header[WORD + 4..].copy_from_slice(&kind.to_ne_bytes());
    let (used, padding) = contents.split_at_mut(data.len());
    used.copy_from_slice(data);
    padding.fill(0);
    Some(space)
}

pub(crate) fn put_segment_size(free: &mut [u8], bytes: u16) -> Option<usize> {
    put(free, libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes())
}

pub(crate) fn put_tos(free: &mut [u8], family: Family, tos: u8) -> Option<usize> {
    let (level, kind) = match family {
        Family::V4 => (libc::SOL_IP, libc::IP_TOS),
        Family::V6 => (libc::SOL_IPV6, libc::IPV6_TCLASS),
    };
    put(free, level, kind, &i32::from(tos).to_ne_bytes())
}

pub(crate) fn put_ttl(free: &mut [u8], family: Family, ttl: u8) -> Option<usize> {
    let (level, kind) = match family {
        Family::V4 => (libc::SOL_IP, libc::IP_TTL),
        Family::V6 => (libc::SOL_IPV6, libc::IPV6_HOPLIMIT),
    };
    put(free, level, kind, &i32::from(ttl).to_ne_bytes())
}

/// Ignores an address of the other family.
pub(crate) fn put_source(free: &mut [u8], family: Family, source: PacketInfo) -> Option<usize> {
    let interface = source.interface.to_ne_bytes();
    match family {
        Family::V4 => {
            let address = match source.address.map(|ip| ip.to_canonical()) {
                Some(IpAddr::V4(ip)) => ip.octets(),
                _ => [0; 4],
            };
            // struct in_pktinfo: interface, local address, destination in the header (not for
            // sending).
            let mut info = [0; 12];
            info[..4].copy_from_slice(&interface);
            info[4..8].copy_from_slice(&address);
            put(free, libc::SOL_IP, libc::IP_PKTINFO, &info)
        }
        Family::V6 => {
            let address = match source.address {
                Some(IpAddr::V6(ip)) => ip.octets(),
                _ => [0; 16],
            };
            let mut info = [0; 20];
            info[..16].copy_from_slice(&address);
            info[16..].copy_from_slice(&interface);
            put(free, libc::SOL_IPV6, libc::IPV6_PKTINFO, &info)
        }
    }
}

pub(crate) fn put_transmit_at(free: &mut [u8], nanoseconds: u64) -> Option<usize> {
    put(
        free,
        libc::SOL_SOCKET,
        libc::SCM_TXTIME,
        &nanoseconds.to_ne_bytes(),
    )
}
