//! Raw sockets of the standard library: the other side of the handles under test.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use uv_udp::{Errno, Family};

use crate::verdict::Broken;
use crate::watch::text;

/// Longest wait of a check. Under `strace` or `valgrind`, on a busy machine, everything takes a
/// hundred times as long as usual.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The loopback address of a family, with port 0.
pub(crate) fn loopback(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        Family::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    }
}

/// A blocking socket of the standard library with the deadline as its timeout.
#[derive(Debug)]
pub(crate) struct Raw {
    socket: UdpSocket,
    address: SocketAddr,
}

/// Half the bytes of a default buffer: the kernel doubles what is set (socket(7)).
pub(crate) const DEFAULT_BUFFER: usize = 106_496;

impl Raw {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::from_socket(UdpSocket::bind(address)?)
    }

    pub(crate) fn from_socket(socket: UdpSocket) -> io::Result<Self> {
        // Independent of net.core.rmem_default.
        uv_sys::option::set_recv_buffer_size(&socket, 2 * DEFAULT_BUFFER)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn send(&self, data: impl AsRef<[u8]>, to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(data.as_ref(), to).map(drop)
    }

    pub(crate) fn recv(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; 65_536];
        loop {
            match self.socket.recv_from(&mut buffer) {
                // The kernel does not restart a read with a timeout after a signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => {
                    let (len, source) = received?;
                    buffer.truncate(len);
                    return Ok((buffer, source));
                }
            }
        }
    }

    /// The next datagram, if it arrives within this time.
    pub(crate) fn recv_within(&self, time: Duration) -> io::Result<Option<(Vec<u8>, SocketAddr)>> {
        self.socket.set_read_timeout(Some(time))?;
        let received = self.recv();
        self.socket.set_read_timeout(Some(DEADLINE))?;
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            received => received.map(Some),
        }
    }

    /// Whether a datagram arrives within this time.
    pub(crate) fn peek_within(&self, time: Duration) -> io::Result<bool> {
        self.socket.set_read_timeout(Some(time))?;
        let there = loop {
            match self.socket.peek_from(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                peeked => break peeked,
            }
        };
        self.socket.set_read_timeout(Some(DEADLINE))?;
        match there {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            there => there.map(|_| true),
        }
    }

    /// The next datagram as text.
    pub(crate) fn recv_text(&self) -> io::Result<String> {
        Ok(text(&self.recv()?.0))
    }

    /// The next `count` datagrams as texts.
    pub(crate) fn recv_texts(&self, count: usize) -> io::Result<Vec<String>> {
        (0..count).map(|_| self.recv_text()).collect()
    }

    /// All datagrams in the buffer. Loopback delivers datagrams before the send returns.
    pub(crate) fn rest(&self) -> io::Result<Vec<String>> {
        self.socket.set_nonblocking(true)?;
        let mut texts = Vec::new();
        let end = loop {
            match self.recv_text() {
                Ok(text) => texts.push(text),
                Err(error) => break error,
            }
        };
        self.socket.set_nonblocking(false)?;
        match end.kind() {
            io::ErrorKind::WouldBlock => Ok(texts),
            _ => Err(end),
        }
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An address on loopback that refuses datagrams. A socket holds the port, so no other socket gets
/// it by chance. It is connected to itself, so the kernel answers others with "port unreachable".
#[derive(Debug)]
pub(crate) struct DeadPeer {
    _holder: OwnedFd,
    address: SocketAddr,
}

impl DeadPeer {
    pub(crate) fn new(family: Family) -> Result<Self, Errno> {
        let holder = uv_sys::socket::socket(family)?;
        uv_sys::socket::bind(&holder, &loopback(family))?;
        // After bind: before it, the kernel may choose the port of another shared socket.
        uv_sys::option::set_reuse_address(&holder, true)?;
        let address = uv_sys::socket::local_addr(&holder)?;
        uv_sys::socket::connect(&holder, &address)?;
        Ok(Self {
            _holder: holder,
            address,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Binds a live socket to the address.
    pub(crate) fn revive(&self) -> Result<Raw, Broken> {
        let socket = uv_sys::socket::socket(Family::of(&self.address))?;
        uv_sys::option::set_reuse_address(&socket, true)?;
        uv_sys::socket::bind(&socket, &self.address)?;
        Ok(Raw::from_socket(socket.into())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_peer_refuses_until_it_is_revived() {
        let (dead, client) = (
            DeadPeer::new(Family::V4).unwrap(),
            Raw::bind(loopback(Family::V4)).unwrap(),
        );
        client.socket.connect(dead.address()).unwrap();
        client.socket.send(b"one").unwrap();
        assert_eq!(
            client.recv().unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let live = dead.revive().unwrap();
        client.socket.send(b"two").unwrap();
        assert_eq!(live.recv_text().unwrap(), "two");
    }
}
