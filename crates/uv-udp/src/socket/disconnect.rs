//! Letting go of a peer and keeping everything else. Linux loses some things in `connect(AF_UNSPEC)` and keeps one too many:
//!
//! - A port that the kernel chose (a bind to port 0, or none) is given up. We bind to it again, and meanwhile a second
//!   socket holds it, so that nobody takes it and what arrives for it is not answered with "port unreachable".
//! - The interface that the socket was rebound to (`SO_BINDTODEVICE`) is given up. We tie it again.
//! - The address of a wildcard binding goes back to the wildcard, which is what one wants.
//! - An IPv6 socket goes on dropping what does not come from the old peer's address (`sk_v6_daddr` stays set). Connecting
//!   anew overwrites it, nothing else does: a handle that disconnects gets another socket on the same port, under
//!   the same descriptor.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use uv_core::PollSource;
use uv_sys::{Errno, Family, Result};

use super::held_port::{self, HeldPort, Sharing};
use super::{Owner, SocketState};
use crate::policy::State;

impl SocketState {
    /// Disconnects. If the kernel refuses, the handle stays connected; after any other error it is unconnected, and the error names
    /// what was not kept. `reconnecting` if another peer follows at once.
    pub(super) fn disconnect(
        &self,
        owner: &dyn Owner,
        family: Family,
        reconnecting: bool,
    ) -> Result<()> {
        let disconnected = self.disconnect_socket(owner, family, reconnecting);
        if !owner.is_connected() {
            owner.forget_errors();
        }
        disconnected
    }

    fn disconnect_socket(
        &self,
        owner: &dyn Owner,
        family: Family,
        reconnecting: bool,
    ) -> Result<()> {
        let socket = self.get()?;
        let address = self.own_address(&socket, family)?;
        if filter_survives(family) && !reconnecting {
            return self.replace(owner, &socket, address);
        }
        if self.has_chosen_port() {
            return self.disconnect_in_place(owner, &socket, address, None);
        }
        // Without a second socket the port is free for a moment, and most likely still is in the next.
        let held = self.hold_port(&socket, address).ok();
        self.disconnect_beside(owner, &socket, address, held)
    }

    /// Disconnects the socket and keeps it, while a second one holds its port.
    fn disconnect_beside(
        &self,
        owner: &dyn Owner,
        socket: &PollSource,
        address: SocketAddr,
        held: Option<HeldPort>,
    ) -> Result<()> {
        let disconnected = self.disconnect_in_place(owner, socket, address, held.as_ref());
        if let Some(HeldPort { fd, sharing }) = held {
            // If this fails, what comes to the second socket after it is drained is lost.
            let _ = connect_to_self(&fd);
            if owner.requests_metadata() {
                // The kernel looks up metadata when a datagram is received. Without it, it is still a datagram.
                let _ = uv_sys::copy_options(socket, &fd);
            }
            owner.drain(fd.as_fd());
            sharing.give_up(&fd);
        }
        disconnected
    }

    /// Lets go of the peer and keeps the socket, which is bound to `address` again if it lost that.
    fn disconnect_in_place(
        &self,
        owner: &dyn Owner,
        socket: &PollSource,
        address: SocketAddr,
        held: Option<&HeldPort>,
    ) -> Result<()> {
        uv_sys::socket::disconnect(socket)?;
        let rebound = self.survivors().rebind_device(socket);
        // A port that was asked for by number is still there, which is not known of an adopted socket before.
        let (bound, own) = match uv_sys::socket::local_addr(socket) {
            Ok(kept) if kept.port() != 0 => (Ok(()), kept),
            _ => {
                if held.is_some() && owner.is_receiving() {
                    // Older than what the other socket receives.
                    owner.drain(socket.as_fd());
                }
                let bound = match held {
                    Some(held) => held.bind_again(socket, address),
                    None => uv_sys::socket::bind(socket, &address),
                };
                (bound, address)
            }
        };
        // After a bind that succeeded an option may be refused: the socket has its port all the same.
        let has_port = bound.is_ok() || has_port(socket);
        owner.set_state(State::Unconnected {
            family: Family::of(&address),
            bound: has_port,
        });
        if has_port && !self.has_chosen_port() {
            self.bound_to.set(Some(own));
        }
        bound.and(rebound)
    }

    /// After a reconnect that failed half-way: the handle is unconnected, and must not filter for the peer it had.
    pub(super) fn forget_old_peer(&self, owner: &dyn Owner, family: Family) {
        if let (true, Ok(socket)) = (filter_survives(family), self.get())
            && let Ok(address) = self.own_address(&socket, family)
        {
            // If it fails, the error that led here is the one to report.
            let _ = self.replace(owner, &socket, address);
        }
    }

    /// The address that the handle was bound to, with the port that it has.
    fn own_address(&self, socket: &PollSource, family: Family) -> Result<SocketAddr> {
        let port = uv_sys::socket::local_addr(socket)?.port();
        let mut address = self
            .bound_to
            .get()
            .unwrap_or(SocketAddr::new(family.unspecified(), 0));
        address.set_port(port);
        Ok(address)
    }

    /// Whether the port was asked for by number, which makes the kernel keep it.
    fn has_chosen_port(&self) -> bool {
        !uv_sys::socket::DISCONNECT_DROPS_EPHEMERAL_PORT
            || self
                .bound_to
                .get()
                .is_some_and(|address| address.port() != 0)
    }

    /// Puts a new socket on the same address in the place of the old one, under the same descriptor. If that fails, the old socket
    /// stays, and its port with it.
    fn replace(&self, owner: &dyn Owner, socket: &PollSource, address: SocketAddr) -> Result<()> {
        let (error, held) = match self.hold_port(socket, address) {
            Ok(held) => match self.survivors().move_to(socket, &held.fd) {
                Ok(()) => {
                    return self.install(owner, socket, held.fd, address, Some(held.sharing));
                }
                Err(error) => (error, Some(held)),
            },
            Err(Errno::EADDRINUSE) => match self.unbound_replacement(socket, address) {
                Ok(fd) => return self.install(owner, socket, fd, address, None),
                Err(error) => (error, None),
            },
            Err(error) => (error, None),
        };
        // The first error is the one to report.
        let _ = self.disconnect_beside(owner, socket, address, held);
        Err(error)
    }

    /// A socket that behaves as the old one, which belongs to another user. Sockets of two users never share a port: it is free
    /// between the one and the other.
    fn unbound_replacement(&self, socket: &PollSource, address: SocketAddr) -> Result<OwnedFd> {
        let fd = held_port::unbound(socket, Family::of(&address), self.survivors())?;
        if !held_port::has_other_owner(&fd, socket) {
            return Err(Errno::EADDRINUSE);
        }
        self.survivors().move_to(socket, &fd)?;
        Ok(fd)
    }

    fn install(
        &self,
        owner: &dyn Owner,
        socket: &PollSource,
        fd: OwnedFd,
        address: SocketAddr,
        shared: Option<Sharing>,
    ) -> Result<()> {
        let (family, is_bound) = (Family::of(&address), shared.is_some());
        let interest = socket.interest();
        // From here on everything comes to the new socket, if that is bound.
        if is_bound {
            // Where that fails, the socket hears its peer until it is closed in a moment. Disconnected, it would also hear those
            // whose earlier datagrams are in the new socket.
            let _ = connect_to_self(socket);
        }
        owner.drain(socket.as_fd());
        if let Some(sharing) = shared {
            sharing.give_up(socket);
        }
        owner.socket_replaced();
        // Not before the old socket is drained: what arrives for a group would be in both.
        let joined = self.survivors().join_all(&fd);
        let state = |bound| State::Unconnected { family, bound };
        match socket.replace(fd) {
            Ok(()) => {
                owner.prepare(socket.as_fd());
                owner.set_state(state(is_bound));
            }
            // The number is not to be had. Then it is another.
            Err((_, fd)) => self
                .adopt(owner, fd, state(is_bound))
                .map_err(|(errno, _)| errno)?,
        }
        let socket = self.get()?;
        let bound = match is_bound {
            true => Ok(()),
            false => uv_sys::socket::bind(&*socket, &address),
        };
        self.bound_to.set(bound.is_ok().then_some(address));
        if bound.is_ok() != is_bound {
            owner.set_state(state(bound.is_ok()));
        }
        // Whatever fails here, the handle goes on receiving.
        socket.request_interest(interest)?;
        bound.and(joined)
    }

    fn hold_port(&self, socket: &PollSource, address: SocketAddr) -> Result<HeldPort> {
        HeldPort::new(socket, address, self.survivors())
    }
}

fn has_port(socket: &PollSource) -> bool {
    uv_sys::socket::local_addr(socket).is_ok_and(|local| local.port() != 0)
}

fn filter_survives(family: Family) -> bool {
    family == Family::V6 && uv_sys::socket::DISCONNECT_KEEPS_IPV6_FILTER
}

/// Lets a socket that is given up hear nobody but itself, so that what comes to its port comes to the other socket there. That
/// also holds while a process that is just being forked has a copy of it, and among a group that shares the port.
fn connect_to_self(fd: impl AsFd) -> Result<()> {
    let fd = fd.as_fd();
    uv_sys::socket::local_addr(fd).and_then(|own| uv_sys::socket::connect(fd, &own))
}
