//! Datagrams in the caller's memory, which are sent without a copy.

use std::io::IoSlice;
use std::num::NonZeroU16;

use uv_sys::{MAX_DATAGRAM, Payload, SendBatch, Transmit};

use super::queue::same_header;
use super::segmentation::{Datagrams, Limits, Share, Shares, segment_count};

/// The datagrams of a batch, each with its own header.
pub(super) struct Batch<'b> {
    left: &'b [Transmit<'b>],
    /// The payloads of one GSO message.
    slices: [IoSlice<'b>; SendBatch::MAX],
}

impl<'b> Batch<'b> {
    pub(super) fn new(batch: &'b [Transmit<'b>]) -> Self {
        Self {
            left: batch,
            slices: [IoSlice::new(&[]); SendBatch::MAX],
        }
    }

    /// The number of datagrams at the start of `batch` that fit into one message.
    fn segments(batch: &[Transmit<'_>], limits: Limits) -> usize {
        let Some(first) = batch.first() else { return 0 };
        let lengths = batch.iter().map_while(|next| {
            let joins = next.segment_size.is_none()
                && matches!(next.payload, Payload::Bytes(_))
                && (std::ptr::eq(first, next) || same_header(first, next));
            joins.then(|| next.payload.len())
        });
        segment_count(lengths, limits).clamp(1, SendBatch::MAX)
    }

    /// The first `count` datagrams as one message.
    fn segmented(&mut self, count: usize) -> Option<Transmit<'_>> {
        let first = self.left.first()?;
        for (slice, transmit) in self.slices.iter_mut().zip(self.left.get(..count)?) {
            if let Payload::Bytes(bytes) = transmit.payload {
                *slice = IoSlice::new(bytes);
            }
        }
        let mut gathered = first.with_payload(self.slices.get(..count)?);
        let size = u16::try_from(first.payload.len()).ok();
        gathered.segment_size = size.and_then(NonZeroU16::new);
        Some(gathered)
    }
}

impl Datagrams for Batch<'_> {
    fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    fn first_len(&self) -> usize {
        self.left.first().map_or(0, |first| first.payload.len())
    }

    fn messages<'a>(
        &'a mut self,
        limits: Limits,
        shares: &'a mut Shares,
    ) -> impl Iterator<Item = Transmit<'a>> {
        let left = self.left;
        let segments = Self::segments(left, limits);
        let (segmented, singles) = if segments > 1 {
            let message = self.segmented(segments);
            if let (Some(message), [share, ..]) = (&message, &mut *shares) {
                *share = Share::of(segments, message);
            }
            (message, 0)
        } else {
            let alone = |&index: &usize| {
                left.get(index..)
                    .is_some_and(|rest| Self::segments(rest, limits) == 1)
            };
            let others = 1..left.len().min(limits.messages);
            let singles = 1 + others.take_while(alone).count();
            for (share, transmit) in shares.iter_mut().zip(left.iter().take(singles)) {
                *share = Share::of(1, transmit);
            }
            (None, singles)
        };
        segmented
            .into_iter()
            .chain(left.iter().take(singles).copied())
    }

    fn advance(&mut self, taken: Share) {
        self.left = self.left.get(taken.accepted..).unwrap_or_default();
    }
}

/// One buffer that is sent as datagrams of one size; the last may be shorter.
pub(super) struct Buffer<'b> {
    header: Transmit<'b>,
    left: &'b [u8],
    size: NonZeroU16,
    /// Whether the socket itself segments everything: each message then needs its own segment
    /// size, and has no fallback.
    socket_segments: bool,
    sent: bool,
}

impl<'b> Buffer<'b> {
    pub(super) fn new(
        header: &Transmit<'b>,
        data: &'b [u8],
        size: NonZeroU16,
        socket_segments: bool,
    ) -> Self {
        Self {
            header: *header,
            left: data,
            size,
            socket_segments,
            sent: false,
        }
    }
}

impl Datagrams for Buffer<'_> {
    fn is_empty(&self) -> bool {
        self.left.is_empty() && self.sent
    }

    fn first_len(&self) -> usize {
        self.left.len().min(self.size.get().into())
    }

    fn messages<'a>(
        &'a mut self,
        limits: Limits,
        shares: &'a mut Shares,
    ) -> impl Iterator<Item = Transmit<'a>> {
        let size = usize::from(self.size.get());
        let most = if self.socket_segments {
            limits.segments.min(MAX_DATAGRAM / size).max(1)
        } else {
            limits.datagrams_of(size)
        };
        let segmented = self.socket_segments || most > 1 && self.left.len() > size;
        let width = if segmented { 1 } else { limits.messages };
        let length = if segmented { size * most } else { size };
        let (header, segment_size) = (self.header, self.size);
        let messages = self.left.chunks(length).take(width).map(move |payload| {
            let whole = u16::try_from(payload.len()).ok().and_then(NonZeroU16::new);
            let mut transmit = header.with_payload(payload);
            transmit.segment_size =
                segmented.then(|| whole.map_or(segment_size, |whole| whole.min(segment_size)));
            transmit
        });
        let empty = self.left.is_empty().then(|| {
            let mut transmit = header.with_payload(Payload::Bytes(&[]));
            transmit.segment_size = None;
            transmit
        });
        let messages = empty.into_iter().chain(messages);
        for (share, transmit) in shares.iter_mut().zip(messages.clone()) {
            let one = Share::of(1, &transmit);
            let accepted = if self.socket_segments {
                1
            } else {
                one.segments
            };
            *share = Share { accepted, ..one };
        }
        messages
    }

    fn advance(&mut self, taken: Share) {
        self.sent = true;
        self.left = self.left.get(taken.bytes..).unwrap_or_default();
    }
}
