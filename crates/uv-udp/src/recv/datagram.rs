//! Received datagrams, as the receive callback gets them.

use std::fmt;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use uv_sys::{Metadata, Received, RecvBatch};

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
/// Datagrams that the callback does not take go back to the handle when the batch is dropped, and are delivered again before all
/// others: see [`recv_batch_start`](crate::Udp::recv_batch_start). A run that [`next_segments`](Self::next_segments) returned is taken, and
/// so is everything in a batch that is forgotten (`mem::forget`). A clone is a view of the same datagrams: taking them from the
/// clone does not take them from the batch.
pub struct Batch<'a> {
    /// The messages that were not looked at yet: the next one, and how many there are.
    messages: Option<(&'a RecvBatch, usize, usize)>,
    /// The message that is being split, at first none.
    current: Segments<'a>,
    filter: Filter,
    /// The handle that gets back what was not taken.
    lender: Option<&'a dyn TakeBack>,
}

/// Datagrams that the kernel received together (`UDP_GRO`, udp(7)), in order: from one source, with the same metadata and of
/// one size; only the last may be shorter. A datagram that came by itself is a run of one.
///
/// ```
/// use uv_udp::{Loop, RunMode, Udp};
///
/// let event_loop = Loop::new()?;
/// let udp = Udp::new(&event_loop);
/// udp.bind("127.0.0.1:0".parse().unwrap())?;
/// udp.recv_batch_start(|udp, received| {
///     let mut batch = received.expect("nothing was sent that could fail");
///     while let Some(run) = batch.next_segments() {
///         println!("{} bytes from {}", run.bytes().len(), run.source());
///         for datagram in run {
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
pub struct Segments<'a> {
    /// All of it as one.
    whole: Datagram<'a>,
    /// What was not taken yet: `None` once the last datagram was, which may be an empty one.
    left: Option<&'a [u8]>,
    /// Bytes from one datagram to the next.
    stride: usize,
}

impl<'a> Segments<'a> {
    /// Nothing at all.
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

    /// What one message had. `UDP_GRO` puts datagrams of one size together; the last may be shorter.
    pub(crate) fn of_message(whole: Datagram<'a>) -> Self {
        Self::new(whole, stride(whole.metadata))
    }

    /// Who sent them. On a connected handle that is always the peer.
    pub fn source(&self) -> SocketAddr {
        self.whole.source
    }

    /// What else came with each of them.
    pub fn metadata(&self) -> &'a Metadata {
        self.whole.metadata
    }

    /// The bytes of the datagrams that were not taken yet, one behind the other.
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
            // Only the last one can be cut short by the end of the memory.
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

/// A datagram, or a run of them, that was stored in a buffer that the user supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvMeta {
    /// Where in the buffer it begins: 0, or in [`recv_into_start`](crate::Udp::recv_into_start) a multiple of 65,536.
    pub offset: usize,
    /// Bytes that were stored. 0 is an empty datagram, which is a datagram.
    pub len: usize,
    /// Bytes that the datagram had.
    pub full_len: usize,
    /// Who sent it. On a connected handle that is always the peer.
    pub source: SocketAddr,
    /// Whether the datagram had more bytes than the buffer, which holds only its start then.
    #[doc(alias = "UV_UDP_PARTIAL")]
    pub truncated: bool,
    /// What else came with it. A [`segment_size`](Metadata::segment_size) smaller than `full_len` says that it is a run of several,
    /// which are of that size but for the last ([`set_gro`](crate::Options::set_gro)): see [`segments`](Self::segments).
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

    /// The datagrams of it, one by one: mostly one, several where the kernel put them together. `buffer` is the one that it came
    /// with; there is nothing in one that is too short to be that.
    ///
    /// ```no_run
    /// # fn look(buffer: &[u8], arrival: uv_udp::RecvMeta) {
    /// for datagram in arrival.segments(buffer) {
    ///     println!("{} bytes from {}", datagram.data.len(), datagram.source);
    /// }
    /// # }
    /// ```
    #[must_use]
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

    /// How many datagrams it is. An empty one is one, too.
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
    // Most messages are one datagram, and a division takes longer than the rest.
    if len <= stride {
        1
    } else {
        len.div_ceil(stride)
    }
}

/// Takes datagrams back that a callback left in its batch.
pub(crate) trait TakeBack {
    fn take_back(&self, batch: &mut Batch<'_>);
}

/// Whose datagrams are delivered, and their source where the kernel was not asked for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter {
    /// The peer that the kernel filters for; its datagrams need no source address.
    pub(crate) peer: Option<SocketAddr>,
    /// Whether what strangers sent before the handle was connected may still be there.
    pub(crate) backlog: bool,
}

impl Filter {
    pub(crate) const EVERYBODY: Self = Self {
        peer: None,
        backlog: false,
    };

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
            current: Segments::SPENT,
            filter,
            lender: None,
        }
    }

    /// The same batch, which gives back to `lender` what is not taken from it.
    pub(crate) fn lent_by(mut self, lender: &'a dyn TakeBack) -> Self {
        self.lender = Some(lender);
        self
    }

    /// A batch of one.
    pub(crate) fn one(datagram: Datagram<'a>) -> Self {
        Self {
            messages: None,
            current: Segments::new(datagram, usize::MAX),
            filter: Filter::EVERYBODY,
            lender: None,
        }
    }

    /// Takes what is left of the next run, for those who look at the source or the metadata once for all of its datagrams.
    #[doc(alias = "UDP_GRO")]
    pub fn next_segments(&mut self) -> Option<Segments<'a>> {
        let begun = mem::replace(&mut self.current, Segments::SPENT);
        match begun.left {
            Some(_) => Some(begun),
            None => self.refill(),
        }
    }

    /// How many datagrams and bytes there are, without a walk along them.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let (mut datagrams, mut bytes) = (self.current.len(), self.current.bytes().len());
        if let Some((memory, next, count)) = self.messages {
            for (data, received) in (next..count).filter_map(|index| memory.get(index)) {
                if self.filter.admit(received.source).is_some() {
                    datagrams += count_segments(data.len(), stride(&received.metadata));
                    bytes += data.len();
                }
            }
        }
        (datagrams, bytes)
    }

    /// The next message that is not a stranger's.
    fn refill(&mut self) -> Option<Segments<'a>> {
        let (memory, next, count) = self.messages.as_mut()?;
        while *next < *count
            && let Some((data, received)) = memory.get(*next)
        {
            *next += 1;
            if let Some(source) = self.filter.admit(received.source) {
                return Some(Segments::of_message(Datagram {
                    data,
                    source,
                    truncated: received.truncated,
                    metadata: &received.metadata,
                }));
            }
        }
        None
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Datagram<'a>;

    #[inline]
    fn next(&mut self) -> Option<Datagram<'a>> {
        loop {
            if let Some(datagram) = self.current.next() {
                return Some(datagram);
            }
            self.current = self.refill()?;
        }
    }
}

impl Clone for Batch<'_> {
    fn clone(&self) -> Self {
        Self {
            messages: self.messages,
            current: self.current.clone(),
            filter: self.filter,
            lender: None,
        }
    }
}

impl Drop for Batch<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lender) = self.lender.take() {
            let is_read = self.messages.is_none_or(|(_, next, count)| next == count);
            if !is_read || self.current.left.is_some() {
                lender.take_back(self);
            }
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
