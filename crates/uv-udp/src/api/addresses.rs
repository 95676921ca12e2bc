//! Binding, connecting, disconnecting.

use std::net::SocketAddr;

use uv_sys::Result;

use crate::handle::Udp;

/// Addresses.
impl Udp {
    /// Binds to a local address; port 0 lets the kernel choose one.
    ///
    /// From now on anybody can send to the handle. What arrives before [`connect`](Self::connect) and is not from the peer is
    /// dropped there, and counted in [`Counters::filtered`](crate::Counters::filtered): to receive it, start receiving and run
    /// the loop first.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the handle has a local address already: from `bind`, `connect`, `send_to` or `recv_start`.
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` as in bind(2); the handle is then as before.
    #[doc(alias = "uv_udp_bind")]
    pub fn bind(&self, address: SocketAddr) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().bind(address)?;
        self.inner.execute(plan)
    }

    /// Connects to a peer: from here on the handle sends to it alone, and delivers only its datagrams.
    ///
    /// What others sent before, since the handle was bound, is dropped without a callback, also if it arrived while the handle
    /// was meant to receive from everybody: [`Counters::filtered`](crate::Counters::filtered) counts it. That suits a client; a
    /// server that connects a socket on its own address drops what other clients sent to that socket in between.
    ///
    /// A handle that was bound to the wildcard address has one address while it is connected. Other sockets, also of other
    /// users, can bind its port on this host's other addresses then, and an IPv6 handle's port for IPv4; disconnecting and
    /// connecting anew are `EADDRINUSE` where that happened.
    ///
    /// Nothing is sent. A connected handle disconnects first, and keeps its local port: see
    /// [`disconnect`](Self::disconnect). If connecting then fails, the handle is unconnected; if disconnecting does, it is as
    /// `disconnect` leaves it. Sends accepted for other destinations are offered to the kernel once more; what it does not take
    /// completes with `ECANCELED`. Errors about datagrams for the former peer are heard no more, but for full reports, which
    /// say whom they are about ([`set_recv_errors`](crate::Options::set_recv_errors)); [`counters`](Self::counters) counts them all.
    ///
    /// # Errors
    ///
    /// `EINVAL` for port 0; `EAFNOSUPPORT` for an IPv6 peer on an IPv4 socket, or the reverse; `ENETUNREACH`, `EACCES`,
    /// `EADDRNOTAVAIL` and others as in connect(2).
    #[doc(alias = "uv_udp_connect")]
    pub fn connect(&self, peer: SocketAddr) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().connect(peer)?;
        self.inner.flush_or_cancel();
        self.inner.execute(plan)
    }

    /// Dissolves the connection and keeps the local address. Nobody can take the port meanwhile: where the kernel would give it
    /// up, a second socket has it. Only a process of the same user that sets `SO_REUSEPORT` can join it, in the moment in which
    /// one of the two sockets binds, or while a process that was just forked has a copy of the former socket; and before Linux 3.9 also other users, with `SO_REUSEADDR`. A socket that belongs to another
    /// user than the process, adopted or older than a setuid(2), needs `CAP_CHOWN` for that: without it the port is free for a
    /// moment with IPv6, and with IPv4 if the kernel chose it. See [`owner`](uv_sys::socket::owner).
    ///
    /// Sends that are queued are offered to the kernel once more;
    /// what it does not take completes with `ECANCELED`. Errors about datagrams for the former peer are heard no more, as after
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when the handle has no peer. Where the kernel refuses to let go of the peer, its error: the handle stays
    /// connected. After any other error the handle is unconnected, as [`is_connected`](Self::is_connected) tells, and something
    /// was not kept: `EADDRINUSE` for the local port if another socket took it, `EACCES` for a privileged one; `ENODEV`, `EPERM`
    /// for the device; `ENODEV` for a group whose interface is gone. An IPv6 handle needs another socket (`EMFILE`, `ENFILE`,
    /// `ENOBUFS`, `ENOMEM`, `EPERM` for a mark or a priority whose privilege is gone, and `ENODEV` for a multicast interface that
    /// is): without it it keeps the old one, which hears the former peer's address alone.
    #[doc(alias = "uv_udp_disconnect")]
    pub fn disconnect(&self) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().disconnect()?;
        self.inner.flush_or_cancel();
        self.inner.execute(plan)
    }

    /// The local address.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    #[doc(alias = "uv_udp_getsockname")]
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.inner.handle.check_open()?;
        uv_sys::socket::local_addr(&*self.inner.socket.get()?)
    }

    /// The peer that the handle is connected to, as the kernel names it: a connect to the wildcard address is one to
    /// loopback.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when the handle has no peer.
    #[doc(alias = "uv_udp_getpeername")]
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.inner.handle.check_open()?;
        self.inner.state.get().peer()
    }

    /// Whether the handle has a peer.
    pub fn is_connected(&self) -> bool {
        self.inner.state.get().is_connected()
    }
}
