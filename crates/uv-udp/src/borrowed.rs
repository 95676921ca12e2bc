//! Sending many datagrams at once from the caller's own memory: now or not at all, and copied nowhere.

use std::io::IoSlice;
use std::num::NonZeroU16;

use uv_core::PollSource;
use uv_sys::{Errno, MAX_DATAGRAM, Payload, Result, SendBatch, Transmit};

use crate::budget::Budget;
use crate::request::same_header;
use crate::runs::{Share, run_length};
use crate::sending::{no_room_in_device, segments_in};
use crate::udp::Inner;

impl Inner {
    pub(crate) fn send_batch_now(&self, batch: &[Transmit<'_>]) -> Result<usize> {
        if batch.is_empty() {
            return Ok(0);
        }
        let socket = self.socket_without_queue()?;
        let mut sent = 0;
        while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
            let run = self.borrowed_run(rest);
            let result = if run > 1 {
                self.send_borrowed_run(&socket, rest.get(..run).unwrap_or(rest))
            } else {
                let singles = 1
                    + (1..rest.len().min(SendBatch::MAX))
                        .take_while(|&index| {
                            rest.get(index..)
                                .is_some_and(|rest| self.borrowed_run(rest) == 1)
                        })
                        .count();
                self.send_singles(&socket, rest.iter().take(singles).copied())
            };
            match result {
                Ok(count) => sent += count,
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
        let sent = self.insist(|| self.scratch.send.borrow_mut().send(socket, singles.clone()))?;
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
        match self.insist(|| uv_sys::sendmsg(socket, &message)) {
            Ok(bytes) => {
                self.count_sent(&message, bytes);
                Ok(run.len())
            }
            Err(error) if error == Errno::EAGAIN || no_room_in_device(error) => Err(error),
            Err(error) => {
                self.sender
                    .segments_refused(error, size.map_or(0, NonZeroU16::get));
                self.tally.fallback();
                self.send_singles(socket, run.iter().copied())
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
        for message in data.chunks(size * self.scratch.max_segments.min(MAX_DATAGRAM / size).max(1))
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
        // A socket that cuts all that it sends would cut single datagrams, too.
        let cuts = self.is_segmented();
        if cuts || data.len() > usize::from(size.get()) && may_segment {
            let length = data.len().try_into().ok().and_then(NonZeroU16::new);
            let segmented = Transmit {
                segment_size: Some(length.map_or(size, |length| size.min(length))),
                ..*message
            };
            match self.insist(|| uv_sys::sendmsg(socket, &segmented)) {
                Err(error) if !cuts && error != Errno::EAGAIN && !no_room_in_device(error) => {
                    self.sender.segments_refused(error, size.get());
                    self.tally.fallback();
                }
                Ok(bytes) => {
                    self.count_sent(&segmented, bytes);
                    return Ok(bytes);
                }
                result => return result,
            }
        }
        let size = usize::from(size.get());
        let mut sent = 0;
        while let Some(rest) = data.get(sent..).filter(|rest| !rest.is_empty()) {
            let singles = rest.chunks(size).map(|payload| Transmit {
                payload: payload.into(),
                ..*message
            });
            match self.send_singles(socket, singles) {
                Ok(count) => sent += rest.len().min(count * size),
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}
