//! A second socket on a handle's port, so that the port stays taken while the first one is not bound.
//!
//! Two sockets can share a port through `SO_REUSEPORT` or `SO_REUSEADDR`. The kernel compares these options only while a
//! socket binds, so both are set for the duration of one bind(2), and neither later: in between nobody can bind the port.
//! `SO_REUSEPORT` also refuses other users during that call, `SO_REUSEADDR` would not. See `udp_lib_lport_inuse` in
//! net/ipv4/udp.c.
//!
//! While both sockets are bound and the options are not set, datagrams go to one of them and not by hash to both. Those of
//! one sender therefore reach the second socket first, if at all, and then the one that stays.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use uv_sys::{Errno, Family, Result};

use super::survivors::Survivors;

/// The second socket, bound to the handle's address.
pub(super) struct HeldPort {
    pub(super) fd: OwnedFd,
    pub(super) sharing: Sharing,
}

/// How the two sockets share the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// By the options that the owner of the first socket set, which stay set.
    Owners { address: bool, port: bool },
    /// By `SO_REUSEPORT` during a bind.
    Port,
    /// By `SO_REUSEADDR` during a bind, on a kernel without the other (before Linux 3.9).
    Address,
}

impl Sharing {
    fn of(socket: BorrowedFd<'_>) -> Result<Self> {
        let address = uv_sys::option::reuse_address(socket)?;
        match uv_sys::option::reuse_port(socket) {
            Ok(port) if address || port => Ok(Self::Owners { address, port }),
            Ok(_) => Ok(Self::Port),
            Err(Errno::ENOPROTOOPT) if address => Ok(Self::Owners {
                address,
                port: false,
            }),
            Err(Errno::ENOPROTOOPT) => Ok(Self::Address),
            Err(error) => Err(error),
        }
    }

    /// Gives the second socket the options that the first one keeps.
    fn prepare(self, fd: &OwnedFd) -> Result<()> {
        let Self::Owners { address, port } = self else {
            return Ok(());
        };
        if address {
            uv_sys::option::set_reuse_address(fd, true)?;
        }
        if port {
            uv_sys::option::set_reuse_port(fd, true)?;
        }
        Ok(())
    }

    /// Sets or clears on a socket what is set only during a bind.
    fn set(self, fd: BorrowedFd<'_>, on: bool) -> Result<()> {
        match self {
            Self::Owners { .. } => Ok(()),
            Self::Port => uv_sys::option::set_reuse_port(fd, on),
            Self::Address => uv_sys::option::set_reuse_address(fd, on),
        }
    }

    /// Lets other sockets of this user have the port beside one that is about to be closed: a process that is just being forked
    /// has a copy of it until it executes another program, and would keep the port from the next [`HeldPort`].
    pub(super) fn give_up(self, fd: impl AsFd) {
        // Without it the next one may fail, as it would beside any other socket.
        let _ = self.set(fd.as_fd(), true);
    }

    /// Binds a socket beside the other one, which has the port.
    fn bind_beside(
        self,
        fd: BorrowedFd<'_>,
        other: BorrowedFd<'_>,
        address: SocketAddr,
    ) -> Result<()> {
        let bound = self
            .set(fd, true)
            .and_then(|()| self.set(other, true))
            .and_then(|()| uv_sys::socket::bind(fd, &address));
        // The kernel also lets a socket in where the first one that it finds has the option: both lose it, whatever happened.
        let cleared = [other, fd].map(|each| self.set(each, false));
        bound.and(cleared.into_iter().collect())
    }
}

impl HeldPort {
    /// Binds a second socket beside `socket`, whose options are afterwards as they were.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if `socket` belongs to another user and this process may not change that (`CAP_CHOWN`), or another
    /// socket took a part of the port; `EACCES` for a port that needs a privilege; those of making a socket, and of tying it
    /// to a device.
    pub(super) fn new(
        socket: impl AsFd,
        address: SocketAddr,
        survivors: &Survivors,
    ) -> Result<Self> {
        let socket = socket.as_fd();
        let sharing = Sharing::of(socket)?;
        let fd = unbound(socket, Family::of(&address), survivors)?;
        sharing.prepare(&fd)?;
        match sharing.bind_beside(fd.as_fd(), socket, address) {
            Err(Errno::EADDRINUSE) if has_other_owner(&fd, socket) => {
                // Only sockets of one user share a port.
                let refused = |_| Errno::EADDRINUSE;
                uv_sys::socket::set_owner(&fd, uv_sys::socket::owner(socket)?).map_err(refused)?;
                sharing.bind_beside(fd.as_fd(), socket, address)?;
            }
            bound => bound?,
        }
        Ok(Self { fd, sharing })
    }

    /// Binds the first socket again, beside this one.
    pub(super) fn bind_again(&self, socket: impl AsFd, address: SocketAddr) -> Result<()> {
        self.sharing
            .bind_beside(socket.as_fd(), self.fd.as_fd(), address)
    }
}

/// A socket that can be bound where `socket` is, and is not bound yet.
pub(super) fn unbound(socket: impl AsFd, family: Family, survivors: &Survivors) -> Result<OwnedFd> {
    let fd = uv_sys::socket::socket(family)?;
    if family == Family::V6 {
        uv_sys::option::set_ipv6_only(&fd, uv_sys::option::ipv6_only(socket)?)?;
    }
    survivors.rebind_device(&fd)?;
    Ok(fd)
}

/// Whether the sockets belong to different users, as after a process changed its user, or was given a socket.
pub(super) fn has_other_owner(fd: impl AsFd, socket: impl AsFd) -> bool {
    matches!((uv_sys::socket::owner(fd), uv_sys::socket::owner(socket)), (Ok(own), Ok(other)) if own != other)
}
