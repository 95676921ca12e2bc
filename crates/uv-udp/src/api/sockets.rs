//! Where a handle's socket comes from and goes to: bound with options, made for a family at once, adopted, given back.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use uv_core::{Loop, PollSource};
use uv_sys::{Errno, Family, Result};

use crate::handle::Udp;
use crate::socket::Adopted;

/// How a handle shares its local address, and what it asks of its socket from the start.
///
/// ```
/// use uv_udp::{BindOptions, Loop, Udp};
///
/// let event_loop = Loop::new()?;
/// let (one, other) = (Udp::new(&event_loop), Udp::new(&event_loop));
/// let shared = BindOptions::default().reuse_port(true);
/// one.bind_with("127.0.0.1:0".parse().unwrap(), shared)?;
/// other.bind_with(one.local_addr()?, shared)?;
/// # Ok::<(), uv_udp::Errno>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct BindOptions {
    ipv6_only: bool,
    reuse_address: bool,
    reuse_port: bool,
    recv_errors: bool,
}

impl BindOptions {
    /// Keeps IPv4 away from an IPv6 handle. `EINVAL` with an IPv4 address. Without it the system's default holds
    /// (`net.ipv6.bindv6only`), which mostly lets IPv4 in as mapped addresses.
    #[doc(alias = "UV_UDP_IPV6ONLY")]
    #[doc(alias = "IPV6_V6ONLY")]
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.ipv6_only = on;
        self
    }

    /// Lets several sockets bind this address and port, if all of them ask for it. The one that was bound last receives what is
    /// sent to one host, and all of them what is sent to a group. Another program of any user can take the port over this way:
    /// see [`reuse_port`](Self::reuse_port) for the careful form.
    #[doc(alias = "UV_UDP_REUSEADDR")]
    #[doc(alias = "SO_REUSEADDR")]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Makes the handle one of a group that shares its address and port, if all of them ask for it and belong to one user. The
    /// kernel spreads what arrives over the group, each flow to one of it.
    ///
    /// **Once a member is connected that no longer holds.** The kernel may put a member that is bound later into a second group
    /// beside the first, and gives everything that comes from no member's peer to one of the two: with IPv4 to the later one, if
    /// the connected member was the last to be bound; with IPv6 to the earlier one, if the connected member was the first
    /// (Linux 6.18; a [selector](crate::Options::attach_reuseport_cpu_selector) of the other group is ignored). So bind all members
    /// before the first of them connects, or leave the group's members unconnected.
    #[doc(alias = "UV_UDP_REUSEPORT")]
    #[doc(alias = "SO_REUSEPORT")]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Asks for full reports of network errors from the start: see [`crate::Options::set_recv_errors`].
    #[doc(alias = "UV_UDP_LINUX_RECVERR")]
    #[doc(alias = "IP_RECVERR")]
    pub fn recv_errors(mut self, on: bool) -> Self {
        self.recv_errors = on;
        self
    }

    fn check(self, address: &SocketAddr) -> Result<()> {
        if self.ipv6_only && address.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn apply(self, fd: impl AsFd) -> Result<()> {
        if self.ipv6_only {
            uv_sys::option::set_ipv6_only(&fd, true)?;
        }
        if self.reuse_address {
            uv_sys::option::set_reuse_address(&fd, true)?;
        }
        if self.reuse_port {
            uv_sys::option::set_reuse_port(&fd, true)?;
        }
        if self.recv_errors {
            uv_sys::option::set_recv_errors(fd, true)?;
        }
        Ok(())
    }
}

/// Where the socket comes from and goes to.
impl Udp {
    /// A handle with a socket of this family from the start, so that options can be set before it is bound.
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` where the kernel lacks the family; `EMFILE`, `ENFILE` without a free descriptor; `ENOBUFS`, `ENOMEM`.
    #[doc(alias = "uv_udp_init_ex")]
    pub fn for_family(event_loop: &Loop, family: Family) -> Result<Self> {
        let udp = Self::new(event_loop);
        udp.inner.execute(udp.inner.state.get().create(family)?)?;
        Ok(udp)
    }

    /// Binds to a local address as [`bind`](Self::bind) does, with options.
    ///
    /// # Errors
    ///
    /// Those of `bind`; `EINVAL` too for an option that the address has no use for. Where binding fails on a handle that has a
    /// socket already, the options stay set.
    #[doc(alias = "uv_udp_bind")]
    pub fn bind_with(&self, address: SocketAddr, options: BindOptions) -> Result<()> {
        let inner = &self.inner;
        inner.handle.check_open()?;
        let plan = inner.state.get().bind(address)?;
        options.check(&address)?;
        let bound = inner.execute_with(plan, |fd| options.apply(fd));
        if options.recv_errors {
            // Also where binding failed: a queue that nobody empties would wake the handle for ever.
            let on = inner.with_socket(|socket| uv_sys::option::recv_errors(socket));
            inner.recv.set_recv_errors(on == Ok(true));
        }
        bound
    }

    /// A handle for a socket that somebody else made: unbound, bound or connected. See [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// Those of `open`, with the descriptor.
    #[doc(alias = "uv_udp_open")]
    #[doc(alias = "uv_udp_open_ex")]
    pub fn adopt(event_loop: &Loop, fd: OwnedFd) -> std::result::Result<Self, (Errno, OwnedFd)> {
        let udp = Self::new(event_loop);
        udp.open(fd)?;
        Ok(udp)
    }

    /// Gives a handle without a socket one that somebody else made: unbound, bound or connected, which the handle recognises.
    /// The descriptor becomes non-blocking, for all who share it.
    ///
    /// The handle then owns it: what others do to the socket, by a copy of the descriptor, it does not see.
    ///
    /// What the kernel does not tell, the handle does not know:
    ///
    /// - **Groups.** What the socket joined before it was adopted works, and can be left by
    ///   [`leave_multicast`](Self::leave_multicast). But when the handle disconnects from an IPv6 peer, another socket takes
    ///   this one's place, and it joins only the groups that were joined by the handle: the others are left without a word.
    ///   Join them by the handle, or leave them to another socket.
    /// - **Everything else that no getter of this crate tells**, at that same moment: the incoming CPU, socket filters,
    ///   the place in a reuse-port group, and options that this crate has no name for.
    /// - **The address that was bound.** A connected IPv6 socket keeps the address that it has now, also if that was chosen for
    ///   the peer.
    ///
    /// An unconnected socket, an IPv4 socket, and one that never disconnects lose nothing.
    ///
    /// # Errors
    ///
    /// With the descriptor, which is as it was, also in its mode: `EALREADY` when the handle has a socket already. `ENOTSOCK`
    /// for what is no socket, `EINVAL` for one of streams, `EAFNOSUPPORT` for one that is neither IPv4 nor IPv6,
    /// `EPROTONOSUPPORT` for datagrams of another protocol, as ICMP or UDP-Lite, `ENODEV` for one that is rebound to an interface
    /// that is gone, `EBADMSG` for one whose interface has a name that is not UTF-8.
    ///
    /// ```
    /// use std::net::UdpSocket;
    /// use uv_udp::{Errno, Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// let file = std::fs::File::open("/dev/null").unwrap();
    /// let (errno, file) = udp.open(file.into()).unwrap_err();
    /// assert_eq!(errno, Errno::ENOTSOCK);
    /// udp.open(UdpSocket::bind("127.0.0.1:0").unwrap().into()).map_err(|(errno, _)| errno)?;
    /// # Ok::<(), Errno>(())
    /// ```
    #[doc(alias = "uv_udp_open")]
    #[doc(alias = "uv_udp_open_ex")]
    pub fn open(&self, fd: OwnedFd) -> std::result::Result<(), (Errno, OwnedFd)> {
        let inner = &self.inner;
        let found = inner.handle.check_open().and_then(|()| {
            inner.state.get().open()?;
            let found = Adopted::examine(&fd)?;
            // Only registering can fail after this, for a closed handle.
            uv_sys::socket::set_nonblocking(&fd, true)?;
            Ok(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(errno) => return Err((errno, fd)),
        };
        inner.socket.take_over(&**inner, fd, found)?;
        if let Ok(socket) = inner.socket.get() {
            inner.recv.recognize(&*socket);
            if matches!(uv_sys::option::segment_size(&*socket), Ok(Some(_))) {
                inner.send.set_socket_segments(true);
            }
        }
        Ok(())
    }

    /// Closes the handle and gives its socket back, as it is: bound, connected, non-blocking, and with its options, which
    /// include `UDP_GRO` after bursts were received.
    ///
    /// The descriptor has another number than [`fileno`](Self::fileno) said. Sends that are queued are offered to the kernel
    /// once more; what it does not take completes with `ECANCELED`. What was received but not delivered yet is lost; what is
    /// still in the socket is not.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet; `EMFILE` without a free descriptor. The handle is not closed then.
    pub fn into_fd(self) -> Result<OwnedFd> {
        let duplicate = |socket: &PollSource| Ok(socket.as_fd().try_clone_to_owned()?);
        let fd = self.inner.with_socket(duplicate)?;
        self.close(|_| ())?;
        Ok(fd)
    }
}
