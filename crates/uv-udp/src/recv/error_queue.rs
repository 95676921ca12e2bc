//! The socket's pending error and its error queue (`IP_RECVERR`, ip(7)).
//!
//! Without the queue, the kernel stores one pending error for the next system call. With it, the
//! kernel queues each error with the quoted datagram, and reports errors to unconnected sockets
//! too. A queue that is not empty makes the socket ready, so each function that finds it empties
//! it.

use uv_sys::Errno;

use super::context::RecvContext;
use super::state::RecvState;
use crate::error::{ErrorReport, NetworkError};

/// Bytes of a quoted datagram in a report: the most that an ICMPv6 message quotes (RFC 4443:
/// 1,280). ICMP from Linux quotes 548.
const QUOTE: usize = 1280;
/// Reports that one call collects: more than a queue of default size holds.
const MAX_REPORTS: usize = 512;

impl RecvState {
    /// Empties the error queue if the handle asked for one, and stores its reports. Returns whether
    /// it held an ICMP error: the error that a system call just returned is then among them.
    pub(crate) fn collect_reports(&self, cx: &RecvContext<'_>) -> bool {
        self.recv_errors() && self.drain_error_queue(cx)
    }

    /// Empties the error queue even if the handle did not ask for one: another program that shares
    /// the socket may have.
    pub(crate) fn drain_error_queue(&self, cx: &RecvContext<'_>) -> bool {
        let (mut quote, mut found) = ([0; QUOTE], false);
        for _ in 0..MAX_REPORTS {
            match uv_sys::error_queue::recv_error(cx.socket, &mut quote) {
                Ok(error) => {
                    if let Some(report) = ErrorReport::from_queue(&error, &quote) {
                        found = true;
                        self.store_error(cx, NetworkError::with_report(error.errno, report));
                    }
                }
                // A message of another kind, such as a transmit timestamp.
                Err(Errno::EBADMSG) => {}
                Err(_) => break,
            }
        }
        found
    }

    /// Stores an error that a system call returned, as a report if the queue has one.
    pub(crate) fn report(&self, cx: &RecvContext<'_>, error: Errno) {
        if !self.collect_reports(cx) {
            self.store_error(cx, NetworkError::new(error));
        }
    }

    /// Counts and drops errors of the former peer after a disconnect. Full reports stay.
    pub(crate) fn forget_errors(&self, cx: &RecvContext<'_>) {
        if let Ok(Some(pending)) = uv_sys::option::take_error(cx.socket)
            && !self.collect_reports(cx)
        {
            cx.stats.error(pending);
        }
        self.undelivered.forget_unnamed_errors();
    }
}
