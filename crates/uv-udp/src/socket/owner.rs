//! The interface between a socket and the handle that owns it.

use std::os::fd::{BorrowedFd, OwnedFd};

use uv_core::PollSource;
use uv_sys::Errno;

use crate::policy::State;

/// The owner of a socket: it learns of each executed step, and stores received datagrams.
pub(crate) trait Owner {
    /// Registers a descriptor with the loop.
    fn register(&self, fd: OwnedFd) -> std::result::Result<PollSource, (Errno, OwnedFd)>;
    /// Sets the state after an executed step.
    fn set_state(&self, state: State);
    /// Prepares a socket that becomes the handle's.
    fn prepare(&self, socket: BorrowedFd<'_>);
    /// Continues the socket's counters, which start again from 0.
    fn socket_replaced(&self);
    /// Stores the datagrams in the buffer of a socket of the handle.
    fn drain(&self, socket: BorrowedFd<'_>);
    /// Drops errors about datagrams to the former peer.
    fn forget_errors(&self);
    fn is_connected(&self) -> bool;
    fn is_receiving(&self) -> bool;
    /// Whether datagrams come with metadata.
    fn requests_metadata(&self) -> bool;
}
