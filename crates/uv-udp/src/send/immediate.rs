//! Sends that leave now or not at all, from the caller's memory.

use std::num::NonZeroU16;

use uv_sys::{Errno, Result, Transmit};

use super::caller_memory::{Batch, Buffer};
use super::context::SendContext;
use super::pending_error::PendingErrorFilter;
use super::segmentation::{Datagrams, Share};
use super::state::SendState;
use crate::flow_control::Budget;

impl<C> SendState<C> {
    /// Sends one message now. `EAGAIN` while datagrams are queued before it.
    pub(crate) fn try_send(&self, cx: &SendContext<'_>, transmit: &Transmit<'_>) -> Result<usize> {
        self.check_queue_is_empty()?;
        self.send_one(cx, transmit)
    }

    /// Sends the datagrams of a batch now, as far as the kernel takes them. Returns their number.
    pub(crate) fn try_transmit_batch(
        &self,
        cx: &SendContext<'_>,
        batch: &[Transmit<'_>],
    ) -> Result<usize> {
        Ok(self.send_now(cx, &mut Batch::new(batch))?.accepted)
    }

    /// Sends a buffer now in datagrams of `size` bytes, as far as the kernel takes them. Returns
    /// the number of bytes sent.
    pub(crate) fn try_send_buffer(
        &self,
        cx: &SendContext<'_>,
        header: &Transmit<'_>,
        data: &[u8],
        size: NonZeroU16,
    ) -> Result<usize> {
        let socket_segments = self.defaults().socket_segments();
        let mut buffer = Buffer::new(header, data, size, socket_segments);
        Ok(self.send_now(cx, &mut buffer)?.bytes)
    }

    fn check_queue_is_empty(&self) -> Result<()> {
        if self.queue().pending_count() > 0 {
            Err(Errno::EAGAIN)
        } else {
            Ok(())
        }
    }

    fn send_now(&self, cx: &SendContext<'_>, datagrams: &mut impl Datagrams) -> Result<Share> {
        self.check_queue_is_empty()?;
        let mut attempt = self.attempt(PendingErrorFilter::default(), cx.shared.max_segments);
        let mut sent = Share::default();
        let result = loop {
            if datagrams.is_empty() {
                break Ok(sent);
            }
            match self.send_messages(cx, datagrams, &mut attempt, Budget::FULL) {
                Ok(taken) if taken.accepted > 0 => sent += taken,
                Ok(_) => break Ok(sent),
                Err(_) if sent.accepted > 0 => break Ok(sent),
                Err(error) => break Err(error),
            }
        };
        self.refused.set(None);
        attempt.filter.give_up(|error| cx.errors.report(error));
        result
    }
}
