//! The parts of a handle that one call of the receiving half needs.

use uv_core::{Handle, PollSource};

use crate::shared::Shared;
use crate::stats::Stats;

/// Lends the receiving half the rest of its handle for one call.
#[derive(Clone, Copy)]
pub(crate) struct RecvContext<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) socket: &'a PollSource,
    pub(crate) shared: &'a Shared,
    pub(crate) stats: &'a Stats,
}
