//! The socket of a handle: carrying out the policy's plans, and keeping what a disconnect would lose.
//!
//! [`SocketState`] does not know the handle. It tells an [`Owner`] of each step that was done, so that a plan that fails half-way
//! leaves the handle's state true.

mod adopted;
mod disconnect;
mod held_port;
mod survivors;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use uv_core::PollSource;
use uv_sys::{Errno, Family, Interest, Result};

pub(crate) use self::adopted::Adopted;
pub(crate) use self::survivors::{Membership, Survivors};
use crate::lazy::LazyBox;
use crate::policy::{Plan, State};

/// What the socket needs of the handle that owns it.
pub(crate) trait Owner {
    /// Registers a descriptor with the loop.
    fn register(&self, fd: OwnedFd) -> std::result::Result<PollSource, (Errno, OwnedFd)>;
    /// A step is done: this is the state now.
    fn set_state(&self, state: State);
    /// Another socket takes the place of the handle's socket, or its first one.
    fn prepare(&self, socket: BorrowedFd<'_>);
    /// The kernel's counters of the socket start again from 0.
    fn socket_replaced(&self);
    /// Stores what a socket of the handle has received.
    fn drain(&self, socket: BorrowedFd<'_>);
    /// The peer is gone, and errors of datagrams to it with it.
    fn forget_errors(&self);
    fn is_connected(&self) -> bool;
    fn is_receiving(&self) -> bool;
    /// Whether datagrams come with metadata.
    fn requests_metadata(&self) -> bool;
}

/// The socket of a handle.
#[derive(Default)]
pub(crate) struct SocketState {
    socket: RefCell<Option<Rc<PollSource>>>,
    /// The local address to restore when a disconnect lost it, with the port that was asked for.
    bound_to: Cell<Option<SocketAddr>>,
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

    /// The same where no caller takes an error: the loop retries.
    pub(crate) fn request_interest(&self, interest: Interest) {
        if let Ok(socket) = self.get()
            && socket.interest() != interest
        {
            // Only a closing handle is refused, which needs no watch.
            let _ = socket.request_interest(interest);
        }
    }

    /// Executes a plan in the given state, with options for a socket that is to be bound.
    pub(crate) fn execute(
        &self,
        owner: &dyn Owner,
        state: State,
        plan: Plan,
        options: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        if let Some(family) = plan.create {
            // A new socket becomes the handle's only after all steps: a first call that fails changes nothing.
            let fd = uv_sys::socket::socket(family)?;
            options(fd.as_fd())?;
            let state = self.bind_and_connect(&fd, family, plan)?;
            return self.adopt(owner, fd, state).map_err(|(errno, _)| errno);
        }
        let Some(family) = state.family() else {
            return Ok(());
        };
        if plan.disconnect {
            self.disconnect(owner, family, plan.connect.is_some())?;
        }
        if plan.bind.is_none() && plan.connect.is_none() {
            return Ok(());
        }
        let socket = self.get()?;
        options(socket.as_fd())?;
        let result = self.bind_and_connect(&*socket, family, plan);
        match result {
            Ok(state) => owner.set_state(state),
            Err(_) if plan.disconnect => self.forget_old_peer(owner, family),
            Err(_) => {}
        }
        result.map(drop)
    }

    /// Binds and connects `fd` as planned, and returns its state.
    fn bind_and_connect(&self, fd: impl AsFd, family: Family, plan: Plan) -> Result<State> {
        if let Some(address) = plan.bind {
            uv_sys::socket::bind(&fd, &address)?;
            self.bound_to.set(Some(address));
        }
        let Some(peer) = plan.connect else {
            return Ok(State::Unconnected {
                family,
                bound: plan.bind.is_some(),
            });
        };
        uv_sys::socket::connect(&fd, &peer)?;
        Ok(State::Connected {
            family,
            peer: uv_sys::socket::peer_addr(&fd)?,
        })
    }

    /// Makes `fd` the handle's socket.
    fn adopt(
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
