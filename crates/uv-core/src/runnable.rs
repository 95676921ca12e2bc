//! The part of a source that its loop needs: a trait below both, so that neither imports the other.

use std::rc::Rc;

use uv_sys::{Errno, Interest};

use crate::interest::Changes;
use crate::phase::Phase;

/// A source as its loop runs it.
pub(crate) trait Runnable: 'static {
    /// The loop that posted closures get.
    type Loop: 'static;

    fn is_closing(&self) -> bool;

    /// Clears the request for `phase`, and returns whether the source is to run in it.
    fn begin_phase(&self, phase: Phase) -> bool;

    /// The closing phase is over.
    fn end_closing(&self);

    /// The loop was dropped.
    fn detach(&self);

    /// Passes the interests of all descriptors to `changes` again, for a new poller.
    fn reapply_interests(&self, changes: &Changes);

    fn on_phase(self: Rc<Self>, phase: Phase);

    fn on_ready(self: Rc<Self>, readiness: Interest);

    fn interest_refused(self: Rc<Self>, error: Errno);
}
