//! What a queued datagram is beside its payload: its header, which decides whose message it may share, and its completion.

use std::net::SocketAddr;

use uv_core::RequestQueue;
use uv_sys::{Payload, Result, Transmit};

use crate::udp::Udp;

/// What is called with the result of a send, and its token.
pub(crate) type SendCallback = Box<dyn FnOnce(&Udp, usize, Result<()>)>;

/// What a request keeps for its completion.
pub(crate) struct Completion {
    pub(crate) callback: SendCallback,
    pub(crate) token: usize,
}

/// Accepted datagrams.
pub(crate) type SendQueue = RequestQueue<Header, Completion>;

/// All that can be said of a datagram but its payload.
pub(crate) struct Header {
    pub(crate) transmit: Transmit<'static>,
    /// Whether that is nothing but perhaps a destination.
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
            transmit: Transmit {
                payload: Payload::Bytes(&[]),
                ..*transmit
            },
            plain: transmit.is_plain(),
        }
    }
}

/// Whether this is the destination and nothing else.
impl PartialEq<Option<&SocketAddr>> for Header {
    #[inline]
    fn eq(&self, destination: &Option<&SocketAddr>) -> bool {
        self.plain && self.transmit.destination.as_ref() == *destination
    }
}

/// Whether two datagrams differ in nothing but their payload. Those with a time of their own, or which are to be cut,
/// never share a message.
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
