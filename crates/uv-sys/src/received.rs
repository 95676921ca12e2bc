//! One received datagram: options of a receive call, and its result.

use std::net::SocketAddr;

use crate::cmsg::ControlMessages;
use crate::control_message::ControlMessage;
use crate::transmit::PacketInfo;

/// What the kernel reported beside a datagram. A field is `None` where the socket was not asked for it, where
/// [`RecvOptions::control`] was off, and where the kernel does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// The bytes contain several datagrams of this length each, the last one perhaps shorter. Asked for with
    /// [`set_gro`](super::option::set_gro).
    #[doc(alias = "UDP_GRO")]
    pub segment_size: Option<u16>,
    /// The TOS byte or traffic class: `DSCP << 2 | ECN`. Asked for with [`set_recv_tos`](super::option::set_recv_tos).
    pub tos: Option<u8>,
    /// The time to live or hop limit that was left. Asked for with [`set_recv_ttl`](super::option::set_recv_ttl).
    pub ttl: Option<u8>,
    /// Which address and interface it came to. Asked for with [`set_recv_packet_info`](super::option::set_recv_packet_info).
    pub destination: Option<PacketInfo>,
    /// When the kernel received it: nanoseconds since the epoch, by the real-time clock. Asked for with
    /// [`set_recv_timestamps`](super::option::set_recv_timestamps).
    pub timestamp: Option<u64>,
    /// How many datagrams the socket has dropped so far for want of room in its buffer, modulo 2³². Asked for with
    /// [`set_recv_drops`](super::option::set_recv_drops); Linux says nothing while it is 0, and counts a buffer that
    /// [`set_gro`](super::option::set_gro) made of several datagrams as one.
    pub kernel_drops: Option<u32>,
}

impl Metadata {
    /// Nothing reported.
    pub const NONE: Metadata = Metadata {
        segment_size: None,
        tos: None,
        ttl: None,
        destination: None,
        timestamp: None,
        kernel_drops: None,
    };

    /// What these control messages say.
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

/// What one receive brought, beside the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Received {
    /// Bytes that were stored.
    pub len: usize,
    /// Bytes that the datagram had; more than `len` if it did not fit.
    #[doc(alias = "MSG_TRUNC")]
    pub full_len: usize,
    /// The sender, if it was asked for.
    pub source: Option<SocketAddr>,
    /// Whether bytes were lost because they did not fit.
    pub truncated: bool,
    /// What else was reported.
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
    /// Fills [`Received::source`], the sender's address. On by default; a connected socket does not need it.
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
