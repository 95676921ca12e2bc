//! Sending many datagrams at once from the caller's own memory: now or not at all, and copied nowhere.

use std::io::IoSlice;
use std::num::NonZeroU16;

use uv_core::PollSource;
use uv_sys::{Errno, MAX_DATAGRAM, Payload, Result, SendBatch, Transmit};

use crate::budget::Budget;
use crate::request::same_header;
use crate::runs::{Share, run_length, segments_in};
use crate::udp::Inner;

/// How many datagrams are offered at once after sendmmsg(2) took fewer than it was offered. It keeps to itself why; if that was
/// a pending error, the error is lost. One at a time, the next ones are not.
pub(crate) const SINGLE: usize = 1;

impl Inner {
    pub(crate) fn send_batch_now(&self, batch: &[Transmit<'_>]) -> Result<usize> {
        if batch.is_empty() {
            return Ok(0);
        }
        let socket = self.socket_without_queue()?;
        let (mut sent, mut width) = (0, SendBatch::MAX);
        while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
            let mut asked = self.borrowed_run(rest);
            let result = if asked > 1 {
                self.send_borrowed_run(&socket, rest.get(..asked).unwrap_or(rest))
            } else {
                let alone = |index| {
                    let rest = rest.get(index..);
                    rest.is_some_and(|rest| self.borrowed_run(rest) == 1)
                };
                let others = 1..rest.len().min(width);
                asked += others.take_while(|&index| alone(index)).count();
                self.send_singles(&socket, rest.iter().take(asked).copied())
            };
            match result {
                Ok(count) => {
                    sent += count;
                    if count < asked {
                        width = SINGLE;
                    }
                }
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn send_singles<'a>(
        &self,
        socket: &PollSource,
        singles: impl Iterator<Item = Transmit<'a>> + Clone,
    ) -> Result<usize> {
        let sent = self.retry_past_pending_error(|| {
            self.shared.send.borrow_mut().send(socket, singles.clone())
        })?;
        let taken = singles.take(sent).map(|single| {
            let bytes = single.payload.len();
            Share {
                datagrams: 1,
                segments: segments_in(&single, bytes),
                bytes,
            }
        });
        Ok(self.count_taken(taken).datagrams)
    }

    /// How many datagrams at the start of `batch` can leave as one message.
    fn borrowed_run(&self, batch: &[Transmit<'_>]) -> usize {
        let Some(first) = batch.first() else { return 0 };
        let lengths = batch.iter().map_while(|next| {
            let joins = next.segment_size.is_none()
                && matches!(next.payload, Payload::Bytes(_))
                && (std::ptr::eq(first, next) || same_header(first, next));
            joins.then(|| next.payload.len())
        });
        run_length(lengths, self.limits(SendBatch::MAX, true, Budget::FULL)).max(1)
    }

    fn send_borrowed_run(&self, socket: &PollSource, run: &[Transmit<'_>]) -> Result<usize> {
        let mut slices = [IoSlice::new(&[]); SendBatch::MAX];
        for (slice, transmit) in slices.iter_mut().zip(run) {
            if let Payload::Bytes(bytes) = transmit.payload {
                *slice = IoSlice::new(bytes);
            }
        }
        let (Some(first), Some(slices)) = (run.first(), slices.get(..run.len())) else {
            return Ok(0);
        };
        let size = first
            .payload
            .len()
            .try_into()
            .ok()
            .and_then(NonZeroU16::new);
        let message = Transmit {
            payload: Payload::Slices(slices),
            segment_size: size,
            ..*first
        };
        match self.retry_past_pending_error(|| uv_sys::sendmsg(socket, &message)) {
            Ok(bytes) => {
                self.count_sent(&message, bytes);
                Ok(run.len())
            }
            Err(Errno::EAGAIN) => Err(Errno::EAGAIN),
            Err(error) => {
                self.stats.fallback();
                let sent = self.send_singles(socket, run.iter().copied())?;
                // It was refused because of its segments: by themselves its datagrams go.
                let size = size.map_or(0, NonZeroU16::get);
                self.sender.segments_refused(error, size);
                Ok(sent)
            }
        }
    }

    /// Sends `data` in segments as the `first` of them says, which was checked.
    pub(crate) fn send_segments_now(
        &self,
        data: &[u8],
        segment_size: NonZeroU16,
        first: &Transmit<'_>,
    ) -> Result<usize> {
        let size = usize::from(segment_size.get());
        if data.is_empty() {
            return self.send_now(first);
        }
        let socket = self.socket_without_queue()?;
        let mut sent = 0;
        for message in data.chunks(size * self.shared.max_segments.min(MAX_DATAGRAM / size).max(1))
        {
            match self.send_segmented(
                &socket,
                &Transmit {
                    payload: message.into(),
                    ..*first
                },
                segment_size,
            ) {
                Ok(gone) if gone == message.len() => sent += gone,
                Ok(gone) => return Ok(sent + gone),
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Sends one message in segments, or datagram by datagram where that is refused and the socket does not cut those.
    fn send_segmented(
        &self,
        socket: &PollSource,
        message: &Transmit<'_>,
        size: NonZeroU16,
    ) -> Result<usize> {
        let Payload::Bytes(data) = message.payload else {
            return Err(Errno::EINVAL);
        };
        let may_segment = size.get() <= self.sender.largest_segment.get();
        let mut refused = None;
        // A socket that cuts all that it sends would cut single datagrams, too.
        let cuts = self.is_segmented();
        if cuts || data.len() > usize::from(size.get()) && may_segment {
            let length = data.len().try_into().ok().and_then(NonZeroU16::new);
            let segmented = Transmit {
                segment_size: Some(length.map_or(size, |length| size.min(length))),
                ..*message
            };
            match self.retry_past_pending_error(|| uv_sys::sendmsg(socket, &segmented)) {
                Err(error) if !cuts && error != Errno::EAGAIN => {
                    self.stats.fallback();
                    refused = Some(error);
                }
                Ok(bytes) => {
                    self.count_sent(&segmented, bytes);
                    return Ok(bytes);
                }
                result => return result,
            }
        }
        let length = usize::from(size.get());
        let (mut sent, mut width) = (0, SendBatch::MAX);
        while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
            let singles = rest.chunks(length).take(width).map(|payload| Transmit {
                payload: payload.into(),
                ..*message
            });
            match self.send_singles(socket, singles) {
                Ok(count) => {
                    if let Some(error) = refused.take() {
                        self.sender.segments_refused(error, size.get());
                    }
                    sent += rest.len().min(count * length);
                    if count < rest.len().div_ceil(length).min(width) {
                        width = SINGLE;
                    }
                }
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}
