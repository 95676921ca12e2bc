//! The socket of a handle, with the local address and the options that a disconnect must keep.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use uv_core::PollSource;
use uv_sys::{Errno, Interest, Result};

use super::owner::Owner;
use super::survivors::Survivors;
use crate::lazy::LazyBox;
use crate::policy::State;

/// The socket of a handle.
#[derive(Default)]
pub(crate) struct SocketState {
    socket: RefCell<Option<Rc<PollSource>>>,
    /// The local address to restore after a disconnect, with the port that the user asked for.
    pub(super) bound_to: Cell<Option<SocketAddr>>,
    survivors: LazyBox<Survivors>,
}

impl SocketState {
    /// The socket; `EBADF` while there is none.
    pub(crate) fn get(&self) -> Result<Rc<PollSource>> {
        self.socket.borrow().clone().ok_or(Errno::EBADF)
    }

    pub(crate) fn survivors(&self) -> &Survivors {
        self.survivors.get_or_init(Box::default)
    }

    /// Closes the socket.
    pub(crate) fn close(&self) {
        drop(self.socket.take());
    }

    /// Watches for `interest`.
    pub(crate) fn set_interest(&self, interest: Interest) -> Result<()> {
        match self.get() {
            Ok(socket) if socket.interest() != interest => socket.set_interest(interest),
            _ => Ok(()),
        }
    }

    /// Watches for `interest`. The loop retries where the system refuses.
    pub(crate) fn request_interest(&self, interest: Interest) {
        if let Ok(socket) = self.get()
            && socket.interest() != interest
        {
            // Only a closing handle gets an error, and needs no watch.
            let _ = socket.request_interest(interest);
        }
    }

    /// Makes `fd` the handle's socket.
    pub(super) fn set(
        &self,
        owner: &dyn Owner,
        fd: OwnedFd,
        state: State,
    ) -> std::result::Result<(), (Errno, OwnedFd)> {
        let socket = owner.register(fd)?;
        owner.prepare(socket.as_fd());
        *self.socket.borrow_mut() = Some(Rc::new(socket));
        owner.set_state(state);
        Ok(())
    }
}
