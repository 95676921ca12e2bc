//! The system calls of the `raw` peers: one function per call, without state between calls.

use std::{
    io::{self, IoSlice},
    mem,
    net::{SocketAddr, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

/// Bytes of a control buffer; a message with a segment size takes fewer.
const CONTROL: usize = 64;

/// Room for control messages, aligned as the kernel wants it.
#[repr(align(8))]
struct Control([u8; CONTROL]);

/// An IPv4 address in the form of the kernel.
pub(super) type Address = libc::sockaddr_in;

/// `address` in the form of the kernel. Sockets of this suite are bound to 127.0.0.1; any other
/// address is refused.
pub(super) fn address(address: SocketAddr) -> io::Result<Address> {
    let SocketAddr::V4(v4) = address else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    Ok(libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*v4.ip()).to_be(),
        },
        sin_zero: [0; 8],
    })
}

fn empty_header() -> libc::msghdr {
    // SAFETY: a `msghdr` of zeros is valid: no name, no slices, no control messages.
    unsafe { mem::zeroed() }
}

fn length(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn count(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Sends one datagram of `slices`, to `to` or to the connected peer. See sendmsg(2).
pub(super) fn send(
    socket: &UdpSocket,
    slices: &[IoSlice<'_>],
    to: Option<&Address>,
) -> io::Result<usize> {
    let mut header = empty_header();
    if let Some(to) = to {
        header.msg_name = ptr::from_ref(to).cast_mut().cast();
        header.msg_namelen = mem::size_of::<Address>() as libc::socklen_t;
    }
    // `IoSlice` is guaranteed to be an `iovec`.
    header.msg_iov = slices.as_ptr().cast_mut().cast();
    header.msg_iovlen = slices.len() as _;
    // SAFETY: the header points to a name and to slices that live until the call returns, which
    // only reads them.
    length(unsafe { libc::sendmsg(socket.as_raw_fd(), &header, 0) })
}

/// Receives one datagram and its source, as every loop reports it. See recvmsg(2).
pub(super) fn recv(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<usize> {
    recv_message(socket, buffer, None).map(|(len, _)| len)
}

/// Receives one buffer of datagrams that the kernel has coalesced, and the size of each but the
/// last. See recvmsg(2), udp(7).
pub(super) fn recv_coalesced(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<(usize, usize)> {
    recv_message(socket, buffer, Some(&mut Control([0; CONTROL])))
}

fn recv_message(
    socket: &UdpSocket,
    buffer: &mut [u8],
    control: Option<&mut Control>,
) -> io::Result<(usize, usize)> {
    let mut slice = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut source = mem::MaybeUninit::<Address>::uninit();
    let mut header = empty_header();
    header.msg_name = source.as_mut_ptr().cast();
    header.msg_namelen = mem::size_of::<Address>() as libc::socklen_t;
    header.msg_iov = &mut slice;
    header.msg_iovlen = 1;
    if let Some(control) = control {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
    }
    // SAFETY: the header points to a name, a buffer and control memory of the lengths it gives, all
    // of which live until the call returns and are borrowed mutably here.
    let len = length(unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, 0) })?;
    Ok((len, segment_size(&header).unwrap_or(len)))
}

fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control memory of `header` and set its length; a null
    // result means that there is no message in it, and the data of one of type UDP_GRO is an
    // `int`.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header).as_ref()?;
        if (message.cmsg_level, message.cmsg_type) != (libc::SOL_UDP, libc::UDP_GRO) {
            return None;
        }
        let size = libc::CMSG_DATA(message)
            .cast::<libc::c_int>()
            .read_unaligned();
        usize::try_from(size).ok()
    }
}

/// Sends `data` to the connected peer as datagrams of `segment` bytes with one system call.
/// See sendmsg(2), udp(7).
pub(super) fn send_segments(socket: &UdpSocket, data: &[u8], segment: u16) -> io::Result<usize> {
    let mut slice = IoSlice::new(data);
    let mut control = Control([0; CONTROL]);
    let mut header = empty_header();
    header.msg_iov = ptr::from_mut(&mut slice).cast();
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: the control memory has room for one message with a `u16` (24 bytes), so that
    // `CMSG_FIRSTHDR` is not null; everything that the header points to lives until the call
    // returns.
    length(unsafe {
        header.msg_controllen = libc::CMSG_SPACE(mem::size_of::<u16>() as _) as _;
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as _) as _;
        libc::CMSG_DATA(message)
            .cast::<u16>()
            .write_unaligned(segment);
        libc::sendmsg(socket.as_raw_fd(), &header, 0)
    })
}

/// Switches `UDP_GRO` on. See udp(7).
pub(super) fn enable_coalescing(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option value is an `int` of the length given, which the call only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            ptr::from_ref(&on).cast(),
            mem::size_of_val(&on) as libc::socklen_t,
        )
    };
    count(result).map(drop)
}

/// Sends the same bytes to each of `to` with one system call. Returns the number of datagrams sent.
/// See sendmmsg(2).
pub(super) fn send_to_each(
    socket: &UdpSocket,
    data: &[u8],
    to: &[Address],
    headers: &mut Vec<libc::mmsghdr>,
) -> io::Result<usize> {
    let slice = IoSlice::new(data);
    headers.clear();
    headers.extend(to.iter().map(|to| {
        let mut header = empty_header();
        header.msg_name = ptr::from_ref(to).cast_mut().cast();
        header.msg_namelen = mem::size_of::<Address>() as libc::socklen_t;
        header.msg_iov = ptr::from_ref(&slice).cast_mut().cast();
        header.msg_iovlen = 1;
        libc::mmsghdr {
            msg_hdr: header,
            msg_len: 0,
        }
    }));
    // SAFETY: each header points to a name and to the slice, which live until the call returns; the
    // call writes only the lengths in `headers`.
    count(unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as _,
            0,
        )
    })
}

/// An epoll instance. See epoll(7).
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Epoll> {
        // SAFETY: takes no memory; the descriptor returned is new and owned by nobody else.
        unsafe {
            let fd: RawFd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            count(fd)?;
            Ok(Epoll(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// Reports `token` as long as `socket` is readable.
    pub(super) fn add(&self, socket: &UdpSocket, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: `event` is valid and only read; both descriptors are open while they are
        // borrowed.
        let result = unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                socket.as_raw_fd(),
                &mut event,
            )
        };
        count(result).map(drop)
    }

    /// Waits until a socket is readable. Returns how many of `events` are filled.
    pub(super) fn wait(&self, events: &mut [libc::epoll_event]) -> io::Result<usize> {
        // SAFETY: `events` has room for as many events as the call is told.
        count(unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as libc::c_int,
                -1,
            )
        })
    }
}
