//! Binding, connecting, disconnecting.

use std::net::SocketAddr;

use uv_sys::Result;

use crate::handle::Udp;

/// Addresses.
impl Udp {
    /// Binds to a local address. With port 0, the kernel chooses one.
    ///
    /// From now on the socket receives from everybody. A later [`connect`](Self::connect) drops
    /// undelivered datagrams of others, and [`Counters::filtered`](crate::Counters::filtered)
    /// counts them. To receive them, start receiving and run the loop first.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the handle has a local address already: from `bind`, `connect`, `send_to` or
    /// `recv_start`. `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` as in bind(2); the handle is
    /// unchanged.
    #[doc(alias = "uv_udp_bind")]
    pub fn bind(&self, address: SocketAddr) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().bind(address)?;
        self.inner.execute(plan)
    }

    /// Connects to a peer: the handle sends only to it, and delivers only its datagrams. Nothing is
    /// sent.
    ///
    /// - **Datagrams of others** that arrived since the bind are dropped without a callback, and
    ///   counted in [`Counters::filtered`](crate::Counters::filtered). That suits a client. A
    ///   server that connects a socket on its own address loses datagrams of other clients.
    /// - **A connected handle** disconnects first, and keeps its local port: see
    ///   [`disconnect`](Self::disconnect). If the connect fails after that, the handle is
    ///   unconnected. If the disconnect fails, the handle is as `disconnect` leaves it.
    /// - **Pending sends** are offered to the kernel once more, and complete with `ECANCELED` if it
    ///   does not take them.
    /// - **Errors about datagrams to the former peer** are counted and discarded. Full reports,
    ///   which name their destination, are still delivered
    ///   ([`set_recv_errors`](crate::Options::set_recv_errors)).
    /// - **A handle bound to the wildcard address** has one address while it is connected. Sockets
    ///   of any user can then bind its port on other addresses of this host, and for IPv4 the port
    ///   of an IPv6 handle. A later disconnect or reconnect then returns `EADDRINUSE`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for port 0; `EAFNOSUPPORT` for a peer of another family than the socket;
    /// `ENETUNREACH`, `EACCES`, `EADDRNOTAVAIL` and others as in connect(2).
    #[doc(alias = "uv_udp_connect")]
    pub fn connect(&self, peer: SocketAddr) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().connect(peer)?;
        self.inner.flush_or_cancel();
        self.inner.execute(plan)
    }

    /// Disconnects from the peer, and keeps the local address.
    ///
    /// No other process can take the port meanwhile: where the kernel would drop it, a second
    /// socket holds it. Exceptions:
    ///
    /// - A process of the same user that sets `SO_REUSEPORT` can share the port while one of the
    ///   two sockets binds, or while a forked process has a copy of the former socket.
    /// - Before Linux 3.9, so can other users with `SO_REUSEADDR`.
    /// - Holding the port of a socket that belongs to another user than the process needs
    ///   `CAP_CHOWN`: an adopted socket, or one from before a setuid(2). Without it, the port is
    ///   free for a moment with IPv6, and with IPv4 if the kernel chose it. See
    ///   [`owner`](uv_sys::socket::owner).
    ///
    /// Pending sends are offered to the kernel once more, and complete with `ECANCELED` if it does
    /// not take them. Errors about datagrams to the former peer are discarded as by
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// - `ENOTCONN` on an unconnected handle.
    /// - The kernel's error if it refuses to disconnect. The handle stays connected.
    ///
    /// After any other error the handle is unconnected ([`is_connected`](Self::is_connected)), and
    /// a property was not kept:
    ///
    /// - `EADDRINUSE` if another socket took the local port, `EACCES` for a privileged one.
    /// - `ENODEV`, `EPERM` for the device; `ENODEV` for a multicast group whose interface is gone.
    /// - `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` if an IPv6 handle gets no new socket; `EPERM` for
    ///   a mark or a priority without the privilege, `ENODEV` for a multicast interface that is
    ///   gone. The handle then keeps the old socket, which receives only from the former peer's
    ///   address.
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
    /// `EBADF` also without a socket.
    #[doc(alias = "uv_udp_getsockname")]
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.inner.handle.check_open()?;
        uv_sys::socket::local_addr(&*self.inner.socket.get()?)
    }

    /// The address of the peer, as the kernel reports it: after a connect to the wildcard address,
    /// loopback.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` on an unconnected handle.
    #[doc(alias = "uv_udp_getpeername")]
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.inner.handle.check_open()?;
        self.inner.state.get().peer()
    }

    /// Whether the handle is connected to a peer.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.state.get().is_connected()
    }
}
