//! What the receive callback gets.

use std::fmt;
use std::net::SocketAddr;

use uv_sys::{Metadata, RecvBatch};

/// One datagram, lent to the receive callback.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// Its payload, which may be empty: a zero-length datagram is a datagram.
    pub data: &'a [u8],
    /// Who sent it. On a connected handle that is always the peer.
    pub source: SocketAddr,
    /// Whether the payload was longer than the memory it was received into, and `data` is only its start.
    #[doc(alias = "UV_UDP_PARTIAL")]
    pub truncated: bool,
    /// What else came with it. A [`segment_size`](Metadata::segment_size) says that the kernel received it together with others,
    /// from which it was split already.
    pub metadata: &'a Metadata,
}

/// The datagrams that one system call received, in order, each with its own boundaries.
///
/// What is not taken from it before the callback returns is dropped.
#[derive(Clone)]
pub struct Batch<'a> {
    /// The messages that were not looked at yet: the next one, and how many there are.
    messages: Option<(&'a RecvBatch, usize, usize)>,
    /// The message that is being split, and what is left of it. Beside each other, so that to take a datagram changes nothing
    /// that the next one reads right away but a pointer and a length.
    message: Option<Datagram<'a>>,
    left: &'a [u8],
    /// Bytes from one datagram to the next in that message.
    stride: usize,
    filter: Filter,
}

/// Whose datagrams are delivered, and from whom they come if the kernel was not asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// The peer that the kernel filters for; its datagrams need no source address.
    pub(crate) peer: Option<SocketAddr>,
    /// Whether what strangers sent before the handle was connected may still be there.
    pub(crate) backlog: bool,
}

impl Filter {
    /// Where a datagram came from, or `None` if it is a stranger's.
    pub(crate) fn admit(&self, source: Option<SocketAddr>) -> Option<SocketAddr> {
        match self.peer {
            None => source,
            Some(peer) if self.backlog => source.filter(|source| same_peer(&peer, source)),
            Some(peer) => Some(peer),
        }
    }
}

/// Whether a datagram from `source` is the peer's. Flow labels are not part of an address, and a scope only where both
/// sides name one.
pub(crate) fn same_peer(peer: &SocketAddr, source: &SocketAddr) -> bool {
    let scopes = match (peer, source) {
        (SocketAddr::V6(peer), SocketAddr::V6(source)) => (peer.scope_id(), source.scope_id()),
        _ => (0, 0),
    };
    peer.ip() == source.ip()
        && peer.port() == source.port()
        && (scopes.0 == scopes.1 || scopes.0 == 0 || scopes.1 == 0)
}

impl<'a> Batch<'a> {
    /// The first `count` messages in `memory`.
    pub(crate) fn new(memory: &'a RecvBatch, count: usize, filter: Filter) -> Self {
        Self {
            messages: Some((memory, 0, count)),
            message: None,
            left: &[],
            stride: usize::MAX,
            filter,
        }
    }

    /// A batch of one.
    pub(crate) fn one(datagram: Datagram<'a>) -> Self {
        let filter = Filter {
            peer: None,
            backlog: false,
        };
        Self {
            messages: None,
            message: Some(datagram),
            left: datagram.data,
            stride: usize::MAX,
            filter,
        }
    }

    /// How many datagrams and bytes there are, without a walk along them.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let mut batch = self.clone();
        let mut totals = (0, 0);
        while batch.message.is_some() || batch.refill() {
            // An empty datagram is one, too.
            totals.0 += batch.left.len().div_ceil(batch.stride).max(1);
            totals.1 += batch.left.len();
            batch.message = None;
        }
        totals
    }

    /// Goes on to the next message that is not a stranger's.
    fn refill(&mut self) -> bool {
        let Some((memory, next, count)) = &mut self.messages else {
            return false;
        };
        while *next < *count
            && let Some((data, received)) = memory.get(*next)
        {
            *next += 1;
            if let Some(source) = self.filter.admit(received.source) {
                // `UDP_GRO` puts datagrams of one size together; the last may be shorter.
                let size = received.metadata.segment_size.filter(|&size| size > 0);
                self.stride = size.map_or(usize::MAX, usize::from);
                self.left = data;
                self.message = Some(Datagram {
                    data,
                    source,
                    truncated: received.truncated,
                    metadata: &received.metadata,
                });
                return true;
            }
        }
        false
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Datagram<'a>;

    #[inline]
    fn next(&mut self) -> Option<Datagram<'a>> {
        if self.message.is_none() && !self.refill() {
            return None;
        }
        let message = self.message.as_ref()?;
        let (data, left) = match self.left.split_at_checked(self.stride) {
            Some((data, left)) if !left.is_empty() => (data, left),
            _ => (self.left, &[][..]),
        };
        let last = left.is_empty();
        let datagram = Datagram {
            data,
            source: message.source,
            // Only the last one can be cut short by the end of the memory.
            truncated: message.truncated && last,
            metadata: message.metadata,
        };
        self.left = left;
        if last {
            self.message = None;
        }
        Some(datagram)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(data: &[u8]) -> Datagram<'_> {
        let source = SocketAddr::from(([127, 0, 0, 1], 1));
        Datagram {
            data,
            source,
            truncated: false,
            metadata: &Metadata::NONE,
        }
    }

    fn split(data: &[u8], stride: usize) -> Vec<Vec<u8>> {
        let mut batch = Batch::one(datagram(data));
        batch.stride = stride;
        let bytes: usize = batch.clone().map(|datagram| datagram.data.len()).sum();
        assert_eq!(batch.totals(), (batch.clone().count(), bytes));
        batch.map(|datagram| datagram.data.to_vec()).collect()
    }

    #[test]
    fn a_coalesced_buffer_is_split_into_datagrams_of_which_the_last_may_be_shorter() {
        assert_eq!(
            split(b"aabbc", 2),
            [b"aa".to_vec(), b"bb".to_vec(), b"c".to_vec()]
        );
        assert_eq!(split(b"aabb", 2), [b"aa".to_vec(), b"bb".to_vec()]);
        assert_eq!(split(b"aab", 3), [b"aab".to_vec()]);
        assert_eq!(split(b"", 2), [b"".to_vec()]);
    }

    #[test]
    fn only_the_last_datagram_of_a_truncated_buffer_is_truncated() {
        let mut batch = Batch::one(Datagram {
            truncated: true,
            ..datagram(b"aab")
        });
        batch.stride = 2;
        assert_eq!(
            batch.map(|datagram| datagram.truncated).collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn a_stranger_is_one_with_another_address_port_or_scope() {
        let peer = "[fe80::1%3]:5".parse().unwrap();
        for (source, is_peer) in [
            ("[fe80::1%3]:5", true),
            ("[fe80::1]:5", true),
            ("[fe80::1%4]:5", false),
            ("[fe80::2%3]:5", false),
            ("[fe80::1%3]:6", false),
        ] {
            assert_eq!(
                same_peer(&peer, &source.parse().unwrap()),
                is_peer,
                "{source}"
            );
        }
    }
}
