//! The header of a queued datagram: everything but its payload. Datagrams with equal headers may
//! share a message.

use std::net::SocketAddr;

use uv_sys::{Payload, Transmit};

/// A [`Transmit`] without its payload.
pub(crate) struct Header {
    pub(crate) transmit: Transmit<'static>,
    /// Whether it has nothing but a destination.
    plain: bool,
}

/// Whether two datagrams may share a message.
impl PartialEq<&Transmit<'_>> for Header {
    fn eq(&self, other: &&Transmit<'_>) -> bool {
        same_header(&self.transmit, other)
    }
}

impl From<&Transmit<'_>> for Header {
    fn from(transmit: &Transmit<'_>) -> Self {
        Self {
            transmit: transmit.with_payload(Payload::Bytes(&[])),
            plain: transmit.is_plain(),
        }
    }
}

/// Whether the header has this destination and nothing else.
impl PartialEq<Option<&SocketAddr>> for Header {
    #[inline]
    fn eq(&self, destination: &Option<&SocketAddr>) -> bool {
        self.plain && self.transmit.destination.as_ref() == *destination
    }
}

/// Whether two datagrams differ only in their payload. Datagrams with a transmit time or a segment
/// size never share a message.
#[inline]
pub(crate) fn same_header(a: &Transmit<'_>, b: &Transmit<'_>) -> bool {
    a.destination == b.destination && (a.is_plain() && b.is_plain() || same_options(a, b))
}

fn same_options(a: &Transmit<'_>, b: &Transmit<'_>) -> bool {
    a.tos == b.tos
        && a.ecn == b.ecn
        && a.ttl == b.ttl
        && a.source == b.source
        && a.segment_size.is_none()
        && b.segment_size.is_none()
        && a.transmit_at.is_none()
        && b.transmit_at.is_none()
}
