//! Executing the policy's plans: create, disconnect, bind, connect.

use std::os::fd::{AsFd, BorrowedFd};

use uv_sys::{Family, Result};

use super::owner::Owner;
use super::state::SocketState;
use crate::policy::{Plan, State};

impl SocketState {
    /// Executes a plan in the given state, with options for a socket that is to be bound.
    pub(crate) fn execute(
        &self,
        owner: &dyn Owner,
        state: State,
        plan: Plan,
        options: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        if let Some(family) = plan.create {
            // A new socket becomes the handle's after all steps: a first call that fails changes
            // nothing.
            let fd = uv_sys::socket::socket(family)?;
            options(fd.as_fd())?;
            let state = self.bind_and_connect(&fd, family, plan)?;
            return self.set(owner, fd, state).map_err(|(errno, _)| errno);
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
}
