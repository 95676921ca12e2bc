//! Sockets and descriptors: adopting them, lending them, giving them back. The only file with the
//! platform's descriptors in public signatures.

use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use uv_core::{Loop, PollSource};
use uv_sys::{Errno, Result};

use crate::handle::Udp;
use crate::socket::Adopted;

/// Sockets and descriptors.
impl Udp {
    /// Creates a handle for a socket of the standard library: unbound, bound or connected.
    ///
    /// The socket becomes non-blocking. See [`assign_fd`](Self::assign_fd) for the state that the
    /// handle cannot recognize.
    ///
    /// ```
    /// use std::net::UdpSocket;
    /// use uv_udp::{Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    /// let address = socket.local_addr().unwrap();
    /// let udp = Udp::from_std(&event_loop, socket).map_err(|(errno, _)| errno)?;
    /// assert_eq!(udp.local_addr(), Ok(address));
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// With the socket, unchanged: those of [`assign_fd`](Self::assign_fd).
    #[doc(alias = "uv_udp_open")]
    pub fn from_std(
        event_loop: &Loop,
        socket: UdpSocket,
    ) -> std::result::Result<Self, (Errno, UdpSocket)> {
        Self::from_fd(event_loop, socket.into()).map_err(|(errno, fd)| (errno, fd.into()))
    }

    /// Closes the handle and returns its socket, as [`into_fd`](Self::into_fd) does.
    ///
    /// # Errors
    ///
    /// Those of `into_fd`.
    pub fn into_std(self) -> Result<UdpSocket> {
        self.into_fd().map(UdpSocket::from)
    }

    /// Creates a handle for an existing socket: unbound, bound or connected. See
    /// [`assign_fd`](Self::assign_fd).
    ///
    /// # Errors
    ///
    /// With the descriptor, unchanged: those of `assign_fd`.
    #[doc(alias = "uv_udp_open")]
    #[doc(alias = "uv_udp_open_ex")]
    pub fn from_fd(event_loop: &Loop, fd: OwnedFd) -> std::result::Result<Self, (Errno, OwnedFd)> {
        let udp = Self::new(event_loop);
        udp.assign_fd(fd)?;
        Ok(udp)
    }

    /// Gives an existing socket, unbound, bound or connected, to a handle without one.
    ///
    /// The descriptor becomes non-blocking, for all its copies. The handle does not observe changes
    /// through a copy. It recognizes the addresses, the peer and most options of the socket,
    /// except:
    ///
    /// - **Multicast groups.** Memberships of the socket work, and
    ///   [`leave_multicast`](Self::leave_multicast) can leave them. But when the handle disconnects
    ///   from an IPv6 peer, a new socket replaces this one and joins only the groups that the
    ///   handle joined. Join groups through the handle.
    /// - **Options without a getter in this crate**, on the same occasion: the incoming CPU, socket
    ///   filters, the place in a reuse-port group, and options that this crate does not know.
    /// - **The bound address.** A connected IPv6 socket keeps its current local address, even if
    ///   the kernel chose that for the peer.
    ///
    /// An unconnected socket, an IPv4 socket, and one that never disconnects lose nothing.
    ///
    /// # Errors
    ///
    /// With the descriptor, unchanged:
    ///
    /// - `EALREADY` if the handle has a socket.
    /// - `ENOTSOCK` if the descriptor is not a socket, `EINVAL` for a stream socket.
    /// - `EAFNOSUPPORT` for a family other than IPv4 and IPv6.
    /// - `EPROTONOSUPPORT` for datagrams of another protocol, such as ICMP or UDP-Lite.
    /// - `ENODEV` if its interface (`SO_BINDTODEVICE`) is gone, `EBADMSG` if the name of that is
    ///   not UTF-8.
    ///
    /// ```
    /// use std::net::UdpSocket;
    /// use uv_udp::{Errno, Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// let file = std::fs::File::open("/dev/null").unwrap();
    /// let (errno, file) = udp.assign_fd(file.into()).unwrap_err();
    /// assert_eq!(errno, Errno::ENOTSOCK);
    /// let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    /// udp.assign_fd(socket.into()).map_err(|(errno, _)| errno)?;
    /// # Ok::<(), Errno>(())
    /// ```
    #[doc(alias = "uv_udp_open")]
    #[doc(alias = "uv_udp_open_ex")]
    pub fn assign_fd(&self, fd: OwnedFd) -> std::result::Result<(), (Errno, OwnedFd)> {
        let inner = &self.inner;
        let found = inner.handle.check_open().and_then(|()| {
            inner.state.get().adopt()?;
            let found = Adopted::examine(&fd)?;
            // Only registering can fail after this, for a closed handle.
            uv_sys::socket::set_nonblocking(&fd, true)?;
            Ok(found)
        });
        let found = match found {
            Ok(found) => found,
            Err(errno) => return Err((errno, fd)),
        };
        inner.socket.adopt(&**inner, fd, found)?;
        if let Ok(socket) = inner.socket.get() {
            inner.recv.recognize(&*socket);
            if matches!(uv_sys::option::segment_size(&*socket), Ok(Some(_))) {
                inner.send.set_socket_segments(true);
            }
        }
        Ok(())
    }

    /// Closes the handle and returns its socket: bound, connected, non-blocking, and with its
    /// options, which include `UDP_GRO` after bursts.
    ///
    /// The descriptor is a duplicate with another number. Pending sends are offered to the kernel
    /// once more, and complete with `ECANCELED` if it does not take them. Received datagrams that
    /// were not delivered are lost; those in the socket's buffer are not.
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket; `EMFILE` without a free descriptor. The handle stays open.
    pub fn into_fd(self) -> Result<OwnedFd> {
        let duplicate = |socket: &PollSource| Ok(socket.as_fd().try_clone_to_owned()?);
        let fd = self.inner.with_socket(duplicate)?;
        self.close(|_| ())?;
        Ok(fd)
    }

    /// Lends the handle's descriptor for system calls that this crate does not wrap, such as socket
    /// filters.
    ///
    /// Reading, writing, binding, connecting and the error queue remain the handle's. An IPv6
    /// handle that disconnects gets another socket under the same number (under another one
    /// where `RLIMIT_NOFILE` was lowered below it). The new socket has only the options that
    /// this crate knows, and is not registered in other epoll instances.
    ///
    /// A TOS byte set through a copy of the descriptor, after this call, is missing in datagrams
    /// with [ECN bits](crate::Transmit::with_ecn) of their own.
    ///
    /// ```
    /// use uv_udp::{Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// let copy = udp.with_fd(|fd| fd.try_clone_to_owned())?.unwrap();
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EBADF` also without a socket.
    #[doc(alias = "uv_fileno")]
    #[doc(alias = "AsFd")]
    #[doc(alias = "AsRawFd")]
    pub fn with_fd<T>(&self, with: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T> {
        let result = self.inner.with_socket(|socket| Ok(with(socket.as_fd())));
        self.inner.send.defaults().forget_tos();
        result
    }
}
