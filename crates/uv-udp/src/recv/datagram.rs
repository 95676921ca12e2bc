//! Received datagrams: [`Datagram`], [`Batch`], [`Segments`] and [`RecvMeta`]; and the filter for a
//! connected handle's peer.

use std::fmt;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;

use uv_sys::{Metadata, Received, RecvBatch};

/// One received datagram, lent to the receive callback.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// The payload. A zero-length datagram has an empty one.
    pub data: &'a [u8],
    /// The source address. On a connected handle it is the peer.
    pub source: SocketAddr,
    /// Whether the payload was longer than the receive buffer, and `data` is only its start.
    #[doc(alias = "UV_UDP_PARTIAL")]
    pub truncated: bool,
    /// The metadata of the message. With a [`segment_size`](Metadata::segment_size), this datagram
    /// was split from a coalesced message.
    pub metadata: &'a Metadata,
}

/// The datagrams of one system call, in order: an iterator over [`Datagram`].
///
/// Datagrams that the callback leaves in the batch return to the handle when the batch is dropped,
/// and are delivered again: see [`recv_batch_start`](crate::Udp::recv_batch_start).
/// [`next_segments`](Self::next_segments) takes a whole message, and `mem::forget` takes
/// everything. A clone is a view of the same datagrams: taking them from it leaves the batch
/// unchanged.
#[must_use = "iterators are lazy; the handle delivers the rest of a dropped batch again"]
pub struct Batch<'a> {
    memory: Option<&'a RecvBatch>,
    /// The messages behind the current one.
    messages: Range<usize>,
    /// The rest of the current message.
    current: Segments<'a>,
    filter: &'a Filter,
    /// Takes back the datagrams that are left.
    lender: Option<&'a dyn TakeBack>,
}

/// The datagrams of one message, in order: an iterator over [`Datagram`].
///
/// The kernel coalesces datagrams of one source and size with the same metadata (`UDP_GRO`,
/// udp(7)); only the last may be shorter. A message that is not coalesced is one datagram.
///
/// ```
/// use uv_udp::{Loop, RunMode, Udp};
///
/// let event_loop = Loop::new()?;
/// let udp = Udp::new(&event_loop);
/// udp.bind("127.0.0.1:0".parse().unwrap())?;
/// udp.recv_batch_start(|udp, received| {
///     let mut batch = received.expect("nothing was sent that could fail");
///     while let Some(segments) = batch.next_segments() {
///         println!("{} bytes from {}", segments.bytes().len(), segments.source());
///         for datagram in segments {
///             assert_eq!(datagram.data, b"hello");
///         }
///     }
///     udp.close(|_| ()).expect("it is open");
/// })?;
/// udp.try_send_to(b"hello", udp.local_addr()?)?;
/// event_loop.run(RunMode::Default)?;
/// # Ok::<(), uv_udp::Errno>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "iterators are lazy"]
pub struct Segments<'a> {
    /// The message as one datagram.
    whole: Datagram<'a>,
    /// The bytes that are left: `None` after the last datagram, which may be an empty one.
    left: Option<&'a [u8]>,
    /// Bytes from one datagram to the next.
    stride: usize,
}

impl<'a> Segments<'a> {
    /// No datagram.
    pub(crate) const SPENT: Self = Self {
        whole: Datagram {
            data: &[],
            source: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
            truncated: false,
            metadata: &Metadata::NONE,
        },
        left: None,
        stride: usize::MAX,
    };

    fn new(whole: Datagram<'a>, stride: usize) -> Self {
        Self {
            whole,
            left: Some(whole.data),
            stride,
        }
    }

    /// Splits a message at the segment size of its metadata.
    pub(crate) fn of_message(whole: Datagram<'a>) -> Self {
        Self::new(whole, stride(whole.metadata))
    }

    /// The source address. On a connected handle it is the peer.
    #[must_use]
    pub fn source(&self) -> SocketAddr {
        self.whole.source
    }

    /// The metadata of the message.
    #[must_use]
    pub fn metadata(&self) -> &'a Metadata {
        self.whole.metadata
    }

    /// The bytes of the datagrams that are left, one after another.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.left.unwrap_or_default()
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Datagram<'a>;

    #[inline]
    fn next(&mut self) -> Option<Datagram<'a>> {
        let left = self.left?;
        let (data, left) = match left.split_at_checked(self.stride) {
            Some((data, left)) if !left.is_empty() => (data, Some(left)),
            _ => (left, None),
        };
        self.left = left;
        Some(Datagram {
            data,
            // Only the last datagram can reach the end of the memory.
            truncated: self.whole.truncated && left.is_none(),
            ..self.whole
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = |left: &[u8]| count_segments(left.len(), self.stride);
        let count = self.left.map_or(0, count);
        (count, Some(count))
    }
}

impl ExactSizeIterator for Segments<'_> {}

/// The place and the metadata of one received message in a buffer that the user supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvMeta {
    /// The offset of the message in the buffer, in bytes: a multiple of 65,536.
    pub offset: usize,
    /// Bytes in the buffer. A zero-length datagram has 0.
    pub len: usize,
    /// Bytes in the message.
    pub full_len: usize,
    /// The source address. On a connected handle it is the peer.
    pub source: SocketAddr,
    /// Whether the message was longer than the buffer, which holds only its start.
    #[doc(alias = "UV_UDP_PARTIAL")]
    pub truncated: bool,
    /// The metadata of the message. With a [`segment_size`](Metadata::segment_size) smaller than
    /// `full_len`, it is several coalesced datagrams: see [`segments`](Self::segments).
    pub metadata: Metadata,
}

impl RecvMeta {
    pub(crate) fn new(received: &Received, source: SocketAddr, offset: usize) -> Self {
        Self {
            offset,
            len: received.len,
            full_len: received.full_len,
            source,
            truncated: received.truncated,
            metadata: received.metadata,
        }
    }

    /// The datagrams of the message, several if the kernel coalesced them. `buffer` is the one that
    /// the callback got with this value; a buffer too short for it yields no datagram.
    ///
    /// ```no_run
    /// # fn print(buffer: &[u8], meta: uv_udp::RecvMeta) {
    /// for datagram in meta.segments(buffer) {
    ///     println!("{} bytes from {}", datagram.data.len(), datagram.source);
    /// }
    /// # }
    /// ```
    pub fn segments<'a>(&'a self, buffer: &'a [u8]) -> Segments<'a> {
        let end = self.offset.saturating_add(self.len);
        let Some(data) = buffer.get(self.offset..end) else {
            return Segments::SPENT;
        };
        let whole = Datagram {
            data,
            source: self.source,
            truncated: self.truncated,
            metadata: &self.metadata,
        };
        Segments::of_message(whole)
    }

    /// The number of datagrams. An empty message is one.
    pub(crate) fn datagrams(&self) -> usize {
        count_segments(self.len, stride(&self.metadata))
    }
}

/// Bytes from one datagram of a message to the next.
pub(crate) fn stride(metadata: &Metadata) -> usize {
    let size = metadata.segment_size.filter(|&size| size > 0);
    size.map_or(usize::MAX, usize::from)
}

/// The number of datagrams in `len` bytes. An empty datagram is one.
fn count_segments(len: usize, stride: usize) -> usize {
    // Most messages are one datagram, and a division costs more than the rest.
    if len <= stride {
        1
    } else {
        len.div_ceil(stride)
    }
}

/// Stores the datagrams that a callback left in its batch.
pub(crate) trait TakeBack {
    fn take_back(&self, batch: &mut Batch<'_>);
}

/// Selects the datagrams to deliver, and knows their source if the kernel was not asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// The peer that the kernel filters for; its datagrams need no source address.
    pub(crate) peer: Option<SocketAddr>,
    /// Whether the socket's buffer may hold datagrams of others, from before the connect.
    pub(crate) backlog: bool,
}

impl Filter {
    pub(crate) const EVERYBODY: Self = Self {
        peer: None,
        backlog: false,
    };

    /// Returns the source of a datagram, or `None` to filter it.
    pub(crate) fn admit(&self, source: Option<SocketAddr>) -> Option<SocketAddr> {
        match self.peer {
            None => source,
            Some(peer) if self.backlog => source.filter(|source| same_peer(&peer, source)),
            Some(peer) => Some(peer),
        }
    }
}

/// Whether `source` is the peer. Flow labels are not compared, and scopes only if both addresses
/// have one. Not inlined, because only a backlog needs it.
#[inline(never)]
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
    const EMPTY: Self = Self {
        memory: None,
        messages: 0..0,
        current: Segments::SPENT,
        filter: &Filter::EVERYBODY,
        lender: None,
    };

    /// The first `count` messages in `memory`.
    pub(crate) fn new(memory: &'a RecvBatch, count: usize, filter: &'a Filter) -> Self {
        let mut batch = Self {
            memory: Some(memory),
            messages: 0..count,
            current: Segments::SPENT,
            filter,
            lender: None,
        };
        // Most batches are one message, which leaves nothing for `totals` to look at.
        batch.next_message();
        batch
    }

    /// A batch of one.
    pub(crate) fn one(datagram: Datagram<'a>) -> Self {
        let mut batch = Self::EMPTY;
        batch.current = Segments::new(datagram, usize::MAX);
        batch
    }

    /// Returns the datagrams that are left to `lender`, when the batch is dropped.
    pub(crate) fn lend(&mut self, lender: &'a dyn TakeBack) {
        self.lender = Some(lender);
    }

    /// Moves the batch out of its place.
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Self::EMPTY)
    }

    /// Takes the rest of the current message, or the next one. Its datagrams share source and
    /// metadata.
    #[doc(alias = "UDP_GRO")]
    pub fn next_segments(&mut self) -> Option<Segments<'a>> {
        self.has_next()
            .then(|| mem::replace(&mut self.current, Segments::SPENT))
    }

    /// The number of datagrams and bytes left, without splitting messages.
    #[inline]
    pub(crate) fn totals(&self) -> (usize, usize) {
        let (mut datagrams, mut bytes) = (self.current.len(), self.current.bytes().len());
        if let Some(memory) = self.memory {
            let messages = self.messages.clone();
            for (data, received) in messages.filter_map(|index| memory.get(index)) {
                if self.filter.admit(received.source).is_some() {
                    datagrams += count_segments(data.len(), stride(&received.metadata));
                    bytes += data.len();
                }
            }
        }
        (datagrams, bytes)
    }

    /// Whether a datagram is left, which is then in the current message.
    #[inline]
    fn has_next(&mut self) -> bool {
        self.current.left.is_some() || (!self.messages.is_empty() && self.next_message())
    }

    /// Makes the next message that is not filtered the current one, if there is one.
    #[inline]
    fn next_message(&mut self) -> bool {
        let Some(memory) = self.memory else {
            return false;
        };
        for index in self.messages.by_ref() {
            if let Some((data, received)) = memory.get(index)
                && let Some(source) = self.filter.admit(received.source)
            {
                self.current = Segments::of_message(Datagram {
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
        if self.has_next() {
            self.current.next()
        } else {
            None
        }
    }
}

impl Clone for Batch<'_> {
    fn clone(&self) -> Self {
        Self {
            memory: self.memory,
            messages: self.messages.clone(),
            current: self.current.clone(),
            filter: self.filter,
            lender: None,
        }
    }
}

impl Drop for Batch<'_> {
    #[inline]
    fn drop(&mut self) {
        if (self.current.left.is_some() || !self.messages.is_empty())
            && let Some(lender) = self.lender.take()
        {
            lender.take_back(self);
        }
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
        batch.current = Segments::new(datagram(data), stride);
        let bytes: usize = batch.clone().map(|datagram| datagram.data.len()).sum();
        assert_eq!(batch.totals(), (batch.clone().count(), bytes));
        batch.map(|datagram| datagram.data.to_vec()).collect()
    }

    #[test]
    fn a_coalesced_message_is_split_and_its_last_datagram_may_be_shorter() {
        assert_eq!(
            split(b"aabbc", 2),
            [b"aa".to_vec(), b"bb".to_vec(), b"c".to_vec()]
        );
        assert_eq!(split(b"aabb", 2), [b"aa".to_vec(), b"bb".to_vec()]);
        assert_eq!(split(b"aab", 3), [b"aab".to_vec()]);
        assert_eq!(split(b"", 2), [b"".to_vec()]);
    }

    #[test]
    fn only_the_last_datagram_of_a_truncated_message_is_truncated() {
        let whole = Datagram {
            truncated: true,
            ..datagram(b"aab")
        };
        assert_eq!(
            Segments::new(whole, 2)
                .map(|datagram| datagram.truncated)
                .collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn another_address_port_or_scope_is_not_the_peer() {
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
