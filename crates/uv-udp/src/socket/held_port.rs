//! A second socket on a handle's port, which keeps the port taken while the first one is not bound.
//!
//! Two sockets can share a port through `SO_REUSEPORT` or `SO_REUSEADDR`. The kernel compares these
//! options only while a socket binds, so both sockets have one only for the duration of a bind(2).
//! At all other times no other socket can bind the port. During that call `SO_REUSEPORT` still
//! refuses other users, unlike `SO_REUSEADDR`. See `udp_lib_lport_inuse` in net/ipv4/udp.c.
//!
//! While both sockets are bound without the options, the kernel gives all datagrams to one of them.
//! The datagrams of one sender reach the second socket first, if at all, and then the first one.

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
    /// By the options that the user set on the first socket, which stay set.
    Owners { address: bool, port: bool },
    /// By `SO_REUSEPORT` during a bind.
    Port,
    /// By `SO_REUSEADDR` during a bind, before Linux 3.9.
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

    /// Sets the user's sharing options on the second socket.
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

    /// Sets or clears the option for the duration of a bind.
    fn set(self, fd: BorrowedFd<'_>, on: bool) -> Result<()> {
        match self {
            Self::Owners { .. } => Ok(()),
            Self::Port => uv_sys::option::set_reuse_port(fd, on),
            Self::Address => uv_sys::option::set_reuse_address(fd, on),
        }
    }

    /// Lets other sockets of this user share the port with one that is about to be closed. A forked
    /// process has a copy of it until it calls execve(2), and would refuse the next [`HeldPort`].
    pub(super) fn give_up(self, fd: impl AsFd) {
        // On an error, the next one may fail with EADDRINUSE.
        let _ = self.set(fd.as_fd(), true);
    }

    /// Binds a socket to the port of the other one.
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
        // The kernel compares with the first socket that it finds, so both must lose the option.
        let cleared = [other, fd].map(|each| self.set(each, false));
        bound.and(cleared.into_iter().collect())
    }
}

impl HeldPort {
    /// Binds a second socket to the port of `socket`, whose options are restored.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE` if `socket` belongs to another user and this process lacks `CAP_CHOWN`, or
    /// another socket bound an overlapping address; `EACCES` for a privileged port; those of
    /// socket(2), and of `SO_BINDTODEVICE`.
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

    /// Binds the first socket again, to the port of this one.
    pub(super) fn bind_again(&self, socket: impl AsFd, address: SocketAddr) -> Result<()> {
        self.sharing
            .bind_beside(socket.as_fd(), self.fd.as_fd(), address)
    }
}

/// An unbound socket that can bind the address of `socket`.
pub(super) fn unbound(socket: impl AsFd, family: Family, survivors: &Survivors) -> Result<OwnedFd> {
    let fd = uv_sys::socket::socket(family)?;
    if family == Family::V6 {
        uv_sys::option::set_ipv6_only(&fd, uv_sys::option::ipv6_only(socket)?)?;
    }
    survivors.rebind_device(&fd)?;
    Ok(fd)
}

/// Whether the sockets belong to different users: the process changed its user, or adopted a
/// socket.
pub(super) fn has_other_owner(fd: impl AsFd, socket: impl AsFd) -> bool {
    matches!((uv_sys::socket::owner(fd), uv_sys::socket::owner(socket)), (Ok(own), Ok(other)) if own != other)
}
