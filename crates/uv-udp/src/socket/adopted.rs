//! Sockets that somebody else made.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use uv_sys::{Errno, Result};

use super::{Owner, SocketState};
use crate::policy::State;

/// What is known of such a socket.
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
            // The kernel ignores a segment size there: a run would leave as one large datagram.
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
    /// Makes such a socket the handle's.
    pub(crate) fn take_over(
        &self,
        owner: &dyn Owner,
        fd: OwnedFd,
        found: Adopted,
    ) -> std::result::Result<(), (Errno, OwnedFd)> {
        self.adopt(owner, fd, found.state).map_err(|(errno, fd)| {
            if found.blocking {
                // The mode was changed a moment ago.
                let _ = uv_sys::socket::set_nonblocking(&fd, false);
            }
            (errno, fd)
        })?;
        if found.device.is_some() {
            self.survivors().set_device(found.device.as_deref());
        }
        if found.local.port() != 0 {
            // Whether the port was asked for by number is unknown. To restore it is safe in both cases.
            let address = SocketAddr::new(found.local.ip(), 0);
            self.bound_to.set(Some(address));
        }
        Ok(())
    }
}
