//! Adopted sockets: those that another library, program or thread created.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use uv_sys::{Errno, Result};

use super::owner::Owner;
use super::state::SocketState;
use crate::policy::State;

/// The state of an adopted socket, as the kernel reports it.
pub(crate) struct Adopted {
    state: State,
    local: SocketAddr,
    device: Option<String>,
    blocking: bool,
}

impl Adopted {
    pub(crate) fn examine(fd: &OwnedFd) -> Result<Self> {
        if !uv_sys::socket::is_datagram(fd)? {
            return Err(Errno::EINVAL);
        }
        let family = uv_sys::socket::family(fd)?;
        if !uv_sys::socket::is_udp(fd)? {
            // The kernel ignores a segment size on UDP-Lite: a GSO message would leave as one
            // datagram.
            return Err(Errno::EPROTONOSUPPORT);
        }
        let local = uv_sys::socket::local_addr(fd)?;
        let peer = match uv_sys::socket::peer_addr(fd) {
            Ok(peer) => Some(peer),
            Err(Errno::ENOTCONN) => None,
            Err(error) => return Err(error),
        };
        let device = match peer {
            // The kernel also reports the interface of a link-local peer.
            Some(SocketAddr::V6(peer)) if peer.scope_id() != 0 => None,
            _ => uv_sys::option::bound_device(fd)?,
        };
        Ok(Self {
            state: State::of_socket(family, &local, peer),
            local,
            device,
            blocking: !uv_sys::socket::nonblocking(fd)?,
        })
    }
}

impl SocketState {
    /// Makes an adopted socket the handle's.
    pub(crate) fn adopt(
        &self,
        owner: &dyn Owner,
        fd: OwnedFd,
        found: Adopted,
    ) -> std::result::Result<(), (Errno, OwnedFd)> {
        self.set(owner, fd, found.state).map_err(|(errno, fd)| {
            if found.blocking {
                // The caller has made it non-blocking.
                let _ = uv_sys::socket::set_nonblocking(&fd, false);
            }
            (errno, fd)
        })?;
        if found.device.is_some() {
            self.survivors().set_device(found.device.as_deref());
        }
        if found.local.port() != 0 {
            // The kernel does not report whether the port was chosen by number. Restoring it is
            // safe in both cases.
            let address = SocketAddr::new(found.local.ip(), 0);
            self.bound_to.set(Some(address));
        }
        Ok(())
    }
}
