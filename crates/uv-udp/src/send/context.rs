//! The parts of a handle that one call of the sending half needs.

use uv_core::{Handle, PollSource};
use uv_sys::{Errno, Result, Transmit};

use super::pending_error::PendingErrorFilter;
use super::segmentation::Share;
use crate::shared::Shared;
use crate::stats::Stats;

/// Lends the sending half the rest of its handle for one call.
pub(crate) struct SendContext<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) socket: &'a PollSource,
    pub(crate) shared: &'a Shared,
    pub(crate) stats: &'a Stats,
    pub(crate) errors: &'a dyn SocketErrors,
}

/// Takes errors about earlier datagrams that a send returned.
pub(crate) trait SocketErrors {
    /// Whether the socket has an error queue that the handle reads (`IP_RECVERR`).
    fn has_error_queue(&self) -> bool;
    /// Empties the error queue, and returns whether it held an error about an earlier datagram.
    fn drain_error_queue(&self) -> bool;
    /// Reports an error about an earlier datagram to the receive callback.
    fn report(&self, errno: Errno);
}

impl SendContext<'_> {
    /// Returns the result of a send, or `None` to repeat it, because its error was about an earlier
    /// datagram.
    #[inline]
    pub(super) fn classify<T>(
        &self,
        filter: &mut PendingErrorFilter,
        result: Result<T>,
    ) -> Option<Result<T>> {
        self.stats.send_call();
        if let Err(error) = result
            && error != Errno::EAGAIN
            && self.errors.has_error_queue()
            && filter.retry(error)
            && self.errors.drain_error_queue()
        {
            return None;
        }
        filter.classify(result, |error| self.errors.report(error))
    }

    #[cold]
    pub(super) fn retry_past_pending_errors(
        &self,
        transmit: &Transmit<'_>,
        mut result: Result<usize>,
    ) -> Result<usize> {
        let mut filter = PendingErrorFilter::default();
        loop {
            if let Some(result) = self.classify(&mut filter, result) {
                filter.give_up(|error| self.errors.report(error));
                return result;
            }
            result = uv_sys::message::sendmsg(self.socket, transmit);
        }
    }

    pub(super) fn count(&self, share: Share) {
        self.count_segments(share);
        self.count_sent(share);
    }

    pub(super) fn count_segments(&self, share: Share) {
        if share.segments > 1 {
            self.stats.segmented(share.segments);
        }
    }

    /// Counts the datagrams of one system call.
    pub(super) fn count_sent(&self, taken: Share) {
        self.stats.sent(taken.segments, taken.bytes);
        if taken.segments > 1 {
            self.stats.sent_batch();
            self.shared.flow.sent_burst();
        }
    }
}
