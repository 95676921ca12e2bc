//! One received datagram: options of a receive call, and its result.

use std::net::SocketAddr;

use crate::cmsg::ControlMessages;
use crate::control_message::ControlMessage;
use crate::transmit::PacketInfo;

/// Metadata that the kernel reported with a datagram. A field is `None` if its socket option or
/// [`RecvOptions::control`] is off, or the kernel has no value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// Length in bytes of each of several coalesced datagrams; the last one may be shorter. Enabled
    /// by [`set_gro`](super::option::set_gro).
    #[doc(alias = "UDP_GRO")]
    pub segment_size: Option<u16>,
    /// The TOS byte or traffic class: `DSCP << 2 | ECN`. Enabled by
    /// [`set_recv_tos`](super::option::set_recv_tos).
    pub tos: Option<u8>,
    /// The remaining time to live or hop limit. Enabled by
    /// [`set_recv_ttl`](super::option::set_recv_ttl).
    pub ttl: Option<u8>,
    /// The destination address and the interface. Enabled by
    /// [`set_recv_packet_info`](super::option::set_recv_packet_info).
    pub destination: Option<PacketInfo>,
    /// Receive time in nanoseconds since the epoch, on the real-time clock. Enabled by
    /// [`set_recv_timestamps`](super::option::set_recv_timestamps).
    pub timestamp: Option<u64>,
    /// Datagrams that the socket has dropped so far because its buffer was full, modulo 2³².
    /// Enabled by [`set_recv_drops`](super::option::set_recv_drops). Linux omits a count of 0, and
    /// counts a coalesced buffer ([`set_gro`](super::option::set_gro)) as one.
    pub kernel_drops: Option<u32>,
}

impl Metadata {
    /// No metadata.
    pub const NONE: Metadata = Metadata {
        segment_size: None,
        tos: None,
        ttl: None,
        destination: None,
        timestamp: None,
        kernel_drops: None,
    };

    /// Collects the metadata in these control messages.
    #[must_use]
    pub fn from_control(messages: ControlMessages<'_>) -> Metadata {
        let mut metadata = Metadata::default();
        for message in messages {
            match message {
                ControlMessage::Gro(size) if size > 0 => metadata.segment_size = Some(size),
                ControlMessage::Tos(tos) => metadata.tos = Some(tos),
                ControlMessage::Ttl(ttl) => metadata.ttl = Some(ttl),
                ControlMessage::PacketInfo(info) => metadata.destination = Some(info),
                ControlMessage::Timestamp(at) => metadata.timestamp = Some(at),
                ControlMessage::Drops(drops) => metadata.kernel_drops = Some(drops),
                _ => {}
            }
        }
        metadata
    }
}

/// The result of one receive, beside the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Stored bytes.
    pub len: usize,
    /// Bytes of the whole datagram; more than `len` if it did not fit.
    #[doc(alias = "MSG_TRUNC")]
    pub full_len: usize,
    /// The sender's address, with [`RecvOptions::source`].
    pub source: Option<SocketAddr>,
    /// Whether the datagram did not fit.
    pub truncated: bool,
    /// Metadata, with [`RecvOptions::control`].
    pub metadata: Metadata,
}

impl Received {
    /// No datagram.
    pub(crate) const NOTHING: Received = Received {
        len: 0,
        full_len: 0,
        source: None,
        truncated: false,
        metadata: Metadata::NONE,
    };
}

/// Options of a receive call. Each option that is off saves work.
///
/// ```
/// use uv_sys::RecvOptions;
///
/// let options = RecvOptions::new().with_control(true);
/// assert!(options.source && options.control && !options.peek);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RecvOptions {
    /// Fills [`Received::source`], the sender's address. On by default; a connected socket does not
    /// need it.
    pub source: bool,
    /// Fills [`Received::metadata`] from control messages. Off by default.
    pub control: bool,
    /// Leaves the datagram in the socket's buffer for the next call. Off by default.
    #[doc(alias = "MSG_PEEK")]
    pub peek: bool,
}

impl RecvOptions {
    /// The sender's address, no control messages, no peek.
    #[inline]
    #[must_use]
    pub const fn new() -> RecvOptions {
        RecvOptions {
            source: true,
            control: false,
            peek: false,
        }
    }

    /// Sets [`source`](Self::source).
    #[inline]
    #[must_use]
    pub const fn with_source(mut self, on: bool) -> RecvOptions {
        self.source = on;
        self
    }

    /// Sets [`control`](Self::control).
    #[inline]
    #[must_use]
    pub const fn with_control(mut self, on: bool) -> RecvOptions {
        self.control = on;
        self
    }

    /// Sets [`peek`](Self::peek).
    #[inline]
    #[must_use]
    pub const fn with_peek(mut self, on: bool) -> RecvOptions {
        self.peek = on;
        self
    }
}

/// As [`RecvOptions::new`].
impl Default for RecvOptions {
    #[inline]
    fn default() -> RecvOptions {
        RecvOptions::new()
    }
}
