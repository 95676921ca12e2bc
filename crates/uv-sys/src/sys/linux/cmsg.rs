//! Control messages as Linux lays them out: a header of a length (`size_t`), a level and a type (`int`), the
//! contents, and padding to the size of a `size_t`. All of it safe code over byte slices: the kernel copies control
//! data to and from its own memory, so that not even the alignment of the caller's buffer matters.

use std::fmt;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cmsg::ControlMessage;
use crate::errno::{Errno, Result};
use crate::transmit::{PacketInfo, Transmit};

const WORD: usize = mem::size_of::<usize>();
/// Bytes of a header; a multiple of WORD on every architecture.
const HEADER: usize = WORD + 2 * mem::size_of::<i32>();

const fn align(len: usize) -> usize {
    len.next_multiple_of(WORD)
}

/// Bytes of room per message: enough for every control message that this crate encodes or asks the kernel for, all of
/// them at once (216 and 208 bytes).
pub(crate) const CONTROL_SIZE: usize = 256;

/// A buffer for control messages, aligned as they are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlBuffer(pub(crate) [u8; CONTROL_SIZE]);

impl ControlBuffer {
    pub(crate) const fn zeroed() -> ControlBuffer {
        ControlBuffer([0; CONTROL_SIZE])
    }
}

fn int(data: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(data.get(..4)?.try_into().ok()?))
}

/// Cuts the first message off: its level, type and contents, and what follows. `None` at the end or at nonsense.
#[inline]
pub(crate) fn split(control: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(control.get(..WORD)?.try_into().ok()?);
    let level = int(control.get(WORD..)?)?;
    let kind = int(control.get(WORD + 4..)?)?;
    let data = control.get(HEADER..len)?;
    // The last message may come without its padding.
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
        // The kernel reports the IPv4 byte as a byte, and takes it as an int as well.
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
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
            Some(ControlMessage::Drops(int(data)?.cast_unsigned()))
        }
        _ => None,
    }
}

/// A `struct timespec` of either width, in nanoseconds.
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

/// Writes control messages into a buffer that the caller lends.
///
/// Keeps count itself: [`as_bytes`](Self::as_bytes) is at every moment a complete list, with nothing to finish and no
/// length to forget.
///
/// ```
/// use uv_sys::{ControlEncoder, ControlMessage, ControlMessages};
///
/// let mut buffer = [0; 64];
/// let mut control = ControlEncoder::new(&mut buffer);
/// control.segment_size(1_200)?;
/// let mut messages = ControlMessages::new(control.as_bytes());
/// assert_eq!(messages.next(), Some(ControlMessage::Segment(1_200)));
/// # Ok::<(), uv_sys::Errno>(())
/// ```
#[doc(alias = "CMSG_SPACE")]
#[doc(alias = "CMSG_LEN")]
pub struct ControlEncoder<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl<'b> ControlEncoder<'b> {
    /// An empty list in `buffer`, whose old contents do not matter.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'b mut [u8]) -> ControlEncoder<'b> {
        ControlEncoder { buffer, len: 0 }
    }

    /// Bytes of the buffer that one message with `data` bytes of contents takes.
    #[must_use]
    pub const fn space(data: usize) -> usize {
        HEADER.saturating_add(data).saturating_add(WORD - 1) / WORD * WORD
    }

    /// Adds a message of any kind.
    ///
    /// # Errors
    ///
    /// `ENOBUFS` if the buffer has less than [`space`](Self::space) bytes left; nothing is added then.
    #[inline]
    pub fn push(&mut self, level: i32, kind: i32, data: &[u8]) -> Result<()> {
        let space = Self::space(data.len());
        let free = self.buffer.get_mut(self.len..).unwrap_or_default();
        let Some(message) = free.get_mut(..space) else {
            return Err(Errno::ENOBUFS);
        };
        let (header, contents) = message.split_at_mut(HEADER);
        header[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        header[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        header[WORD + 4..].copy_from_slice(&kind.to_ne_bytes());
        let (used, padding) = contents.split_at_mut(data.len());
        used.copy_from_slice(data);
        padding.fill(0);
        self.len += space;
        Ok(())
    }

    /// Whether nothing was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The messages so far, as a send call takes them.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}

impl fmt::Debug for ControlEncoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlEncoder")
            .field("bytes", &self.len)
            .field("room", &self.buffer.len())
            .finish()
    }
}

#[inline]
pub(crate) fn encode_segment_size(control: &mut ControlEncoder<'_>, bytes: u16) -> Result<()> {
    control.push(libc::SOL_UDP, libc::UDP_SEGMENT, &bytes.to_ne_bytes())
}

/// Which of the two protocols' control messages a message needs.
///
/// The kernel skips those of the protocol that the datagram does not travel by, so where only the socket knows which
/// one that is (connected, no destination given), both are sent and no syscall is spent on asking.
#[derive(Clone, Copy)]
struct Protocols {
    v4: bool,
    v6: bool,
}

impl Protocols {
    fn of(address: Option<IpAddr>) -> Protocols {
        match address.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(_)) => Protocols {
                v4: true,
                v6: false,
            },
            Some(IpAddr::V6(_)) => Protocols {
                v4: false,
                v6: true,
            },
            None => Protocols { v4: true, v6: true },
        }
    }

    fn encode_int(
        self,
        control: &mut ControlEncoder<'_>,
        v4: i32,
        v6: i32,
        value: u8,
    ) -> Result<()> {
        let value = i32::from(value).to_ne_bytes();
        if self.v4 {
            control.push(libc::SOL_IP, v4, &value)?;
        }
        if self.v6 {
            control.push(libc::SOL_IPV6, v6, &value)?;
        }
        Ok(())
    }
}

/// Encodes all that `transmit` asks for into `buffer` and returns the bytes used.
pub(crate) fn encode(transmit: &Transmit<'_>, buffer: &mut ControlBuffer) -> Result<usize> {
    let mut control = ControlEncoder::new(&mut buffer.0);
    let protocols = Protocols::of(transmit.destination.as_ref().map(SocketAddr::ip));
    if let Some(size) = transmit.segment_size {
        encode_segment_size(&mut control, size.get())?;
    }
    if let Some(tos) = transmit.tos {
        protocols.encode_int(&mut control, libc::IP_TOS, libc::IPV6_TCLASS, tos)?;
    }
    if let Some(ttl) = transmit.ttl {
        if ttl == 0 {
            return Err(Errno::EINVAL);
        }
        protocols.encode_int(&mut control, libc::IP_TTL, libc::IPV6_HOPLIMIT, ttl)?;
    }
    if let Some(source) = transmit.source {
        encode_source(&mut control, protocols, source)?;
    }
    if let Some(at) = transmit.transmit_at {
        control.push(libc::SOL_SOCKET, libc::SCM_TXTIME, &at.to_ne_bytes())?;
    }
    Ok(control.len)
}

fn encode_source(
    control: &mut ControlEncoder<'_>,
    protocols: Protocols,
    source: PacketInfo,
) -> Result<()> {
    let address = source.address.map(|ip| ip.to_canonical());
    let interface = source.interface.to_ne_bytes();
    let wanted = Protocols::of(address);
    let both = Protocols {
        v4: protocols.v4 && wanted.v4,
        v6: protocols.v6 && wanted.v6,
    };
    if !both.v4 && !both.v6 {
        return Err(Errno::EAFNOSUPPORT);
    }
    if both.v4 {
        let address = match address {
            Some(IpAddr::V4(ip)) => ip.octets(),
            _ => [0; 4],
        };
        let mut info = [0; 12];
        info[..4].copy_from_slice(&interface);
        info[4..8].copy_from_slice(&address);
        control.push(libc::SOL_IP, libc::IP_PKTINFO, &info)?;
    }
    if both.v6 {
        let address = match address {
            Some(IpAddr::V6(ip)) => ip.octets(),
            _ => [0; 16],
        };
        let mut info = [0; 20];
        info[..16].copy_from_slice(&address);
        info[16..].copy_from_slice(&interface);
        control.push(libc::SOL_IPV6, libc::IPV6_PKTINFO, &info)?;
    }
    Ok(())
}
