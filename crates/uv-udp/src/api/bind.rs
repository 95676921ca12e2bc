//! Binding with options, and creating a socket before the bind.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use uv_core::Loop;
use uv_sys::{Errno, Family, Result};

use crate::handle::Udp;

/// Options of a socket that are set before it is bound, for [`Udp::bind_with`].
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
    /// Restricts an IPv6 handle to IPv6. `EINVAL` with an IPv4 address.
    ///
    /// The default is the system's (`net.ipv6.bindv6only`): typically the handle also receives IPv4
    /// datagrams, with mapped addresses.
    #[doc(alias = "UV_UDP_IPV6ONLY")]
    #[doc(alias = "IPV6_V6ONLY")]
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.ipv6_only = on;
        self
    }

    /// Lets several sockets bind this address and port, if all of them have this option.
    ///
    /// The socket that was bound last receives unicast datagrams, and all of them multicast ones.
    /// Programs of any user can take over the port this way; [`reuse_port`](Self::reuse_port)
    /// excludes other users.
    #[doc(alias = "UV_UDP_REUSEADDR")]
    #[doc(alias = "SO_REUSEADDR")]
    pub fn reuse_address(mut self, on: bool) -> Self {
        self.reuse_address = on;
        self
    }

    /// Adds the handle to a group that shares its address and port. All members need this option
    /// and the same user. The kernel distributes flows over the group.
    ///
    /// **Bind all members before the first of them connects, or connect none.** Once a member is
    /// connected, the kernel may put a member that is bound later into a second group. One of
    /// the two groups then gets all datagrams that are not from a member's peer:
    ///
    /// - with IPv4 the later group, if the connected member was bound last;
    /// - with IPv6 the earlier group, if the connected member was bound first.
    ///
    /// A [selector](crate::Options::attach_reuseport_cpu_selector) of the other group has no effect
    /// (Linux 6.18).
    #[doc(alias = "UV_UDP_REUSEPORT")]
    #[doc(alias = "SO_REUSEPORT")]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// Switches on full reports of network errors: see
    /// [`Options::set_recv_errors`](crate::Options::set_recv_errors).
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

/// Binding with options.
impl Udp {
    /// Creates a handle with a socket, so that options can be set before the bind.
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` if the kernel lacks the family; `EMFILE`, `ENFILE` without a free descriptor;
    /// `ENOBUFS`, `ENOMEM`.
    #[doc(alias = "uv_udp_init_ex")]
    pub fn for_family(event_loop: &Loop, family: Family) -> Result<Self> {
        let udp = Self::new(event_loop);
        udp.inner.execute(udp.inner.state.get().create(family)?)?;
        Ok(udp)
    }

    /// Binds to a local address with options; otherwise as [`bind`](Self::bind).
    ///
    /// # Errors
    ///
    /// Those of `bind`; `EINVAL` also for an option that does not apply to the address. If binding
    /// fails on a handle that has a socket, the options stay set.
    #[doc(alias = "uv_udp_bind")]
    pub fn bind_with(&self, address: SocketAddr, options: BindOptions) -> Result<()> {
        let inner = &self.inner;
        inner.handle.check_open()?;
        let plan = inner.state.get().bind(address)?;
        options.check(&address)?;
        let bound = inner.execute_with(plan, |fd| options.apply(fd));
        if options.recv_errors {
            // Also after a failed bind: an error queue that is not emptied keeps the socket ready.
            let on = inner.with_socket(|socket| uv_sys::option::recv_errors(socket));
            inner.recv.set_recv_errors(on == Ok(true));
        }
        bound
    }
}
