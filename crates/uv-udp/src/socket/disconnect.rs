//! Disconnecting, with the local address and the options kept. `connect(AF_UNSPEC)` on Linux:
//!
//! - drops a port that the kernel chose (a bind to port 0, or none). The handle binds to it again.
//!   Meanwhile a second socket holds the port: no other process takes it, and the kernel does not
//!   answer datagrams with "port unreachable".
//! - drops the interface of `SO_BINDTODEVICE`. The handle sets it again.
//! - resets the address of a wildcard binding to the wildcard, as intended.
//! - keeps the filter of an IPv6 socket for the old peer's address (`sk_v6_daddr`). Only another
//!   connect overwrites it: a handle that disconnects gets a new socket on the same port, under the
//!   same descriptor.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use uv_core::PollSource;
use uv_sys::{Errno, Family, Result};

use super::held_port::{self, HeldPort, Sharing};
use super::owner::Owner;
use super::state::SocketState;
use crate::policy::State;

impl SocketState {
    /// Disconnects. If the kernel refuses, the handle stays connected. After any other error it is
    /// unconnected, and the address or an option was not kept. `reconnecting`: another peer follows
    /// at once.
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
        // Without a second socket the port is free for a moment; a later bind most likely succeeds.
        let held = self.hold_port(&socket, address).ok();
        self.disconnect_beside(owner, &socket, address, held)
    }

    /// Disconnects the socket while a second one holds its port, and stores the datagrams of the
    /// second.
    fn disconnect_beside(
        &self,
        owner: &dyn Owner,
        socket: &PollSource,
        address: SocketAddr,
        held: Option<HeldPort>,
    ) -> Result<()> {
        let disconnected = self.disconnect_in_place(owner, socket, address, held.as_ref());
        if let Some(HeldPort { fd, sharing }) = held {
            // On an error, datagrams that reach the second socket after the drain are lost.
            let _ = connect_to_self(&fd);
            if owner.requests_metadata() {
                // The kernel adds metadata when a datagram is read. On an error, datagrams come
                // without.
                let _ = uv_sys::copy_options(socket, &fd);
            }
            owner.drain(fd.as_fd());
            sharing.give_up(&fd);
        }
        disconnected
    }

    /// Disconnects the socket, and binds it to `address` again if it lost that.
    fn disconnect_in_place(
        &self,
        owner: &dyn Owner,
        socket: &PollSource,
        address: SocketAddr,
        held: Option<&HeldPort>,
    ) -> Result<()> {
        uv_sys::socket::disconnect(socket)?;
        let rebound = self.survivors().rebind_device(socket);
        // The kernel keeps a port that was chosen by number; on an adopted socket only this shows
        // it.
        let (bound, own) = match uv_sys::socket::local_addr(socket) {
            Ok(local) if local.port() != 0 => (Ok(()), local),
            _ => {
                if held.is_some() && owner.is_receiving() {
                    // Older than the datagrams of the second socket.
                    owner.drain(socket.as_fd());
                }
                let bound = match held {
                    Some(held) => held.bind_again(socket, address),
                    None => uv_sys::socket::bind(socket, &address),
                };
                (bound, address)
            }
        };
        // An option may be refused after a successful bind: the socket has its port then.
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

    /// Removes the filter for the old peer after a reconnect that left the handle unconnected.
    pub(super) fn forget_old_peer(&self, owner: &dyn Owner, family: Family) {
        if let (true, Ok(socket)) = (filter_survives(family), self.get())
            && let Ok(address) = self.own_address(&socket, family)
        {
            // The caller reports the error of the reconnect instead.
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

    /// Whether the user chose the port by number: the kernel then keeps it.
    fn has_chosen_port(&self) -> bool {
        !uv_sys::socket::DISCONNECT_DROPS_EPHEMERAL_PORT
            || self
                .bound_to
                .get()
                .is_some_and(|address| address.port() != 0)
    }

    /// Replaces the old socket by a new one on the same address, under the same descriptor. On an
    /// error, the old socket and its port stay.
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
        // The caller gets the first error.
        let _ = self.disconnect_beside(owner, socket, address, held);
        Err(error)
    }

    /// A socket with the options of the old one, which belongs to another user. Sockets of two
    /// users never share a port: it is free between the close and the bind.
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
        // From here on a bound new socket receives all datagrams.
        if is_bound {
            // On an error, the old socket receives its peer's datagrams until it is closed below.
            // Disconnected, it would also receive later datagrams of senders whose earlier ones are
            // in the new socket.
            let _ = connect_to_self(socket);
        }
        owner.drain(socket.as_fd());
        if let Some(sharing) = shared {
            sharing.give_up(socket);
        }
        owner.socket_replaced();
        // After the drain: a datagram to a group would arrive at both sockets.
        let joined = self.survivors().join_all(&fd);
        let state = |bound| State::Unconnected { family, bound };
        match socket.replace(fd) {
            Ok(()) => {
                owner.prepare(socket.as_fd());
                owner.set_state(state(is_bound));
            }
            // dup3(2) cannot reuse the number: the new socket keeps its own.
            Err((_, fd)) => self
                .set(owner, fd, state(is_bound))
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
        // Before the errors are returned: the handle goes on receiving in any case.
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

/// Connects a socket that is about to be closed to itself, so that the other socket on its port
/// receives all datagrams. That holds while a forked process has a copy of it, and within a
/// reuse-port group.
fn connect_to_self(fd: impl AsFd) -> Result<()> {
    let fd = fd.as_fd();
    uv_sys::socket::local_addr(fd).and_then(|own| uv_sys::socket::connect(fd, &own))
}
