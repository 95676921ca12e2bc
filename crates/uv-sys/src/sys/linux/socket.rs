//! Socket calls: creation, addresses, connections, ownership and modes.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::addr::RawAddr;
use super::sockopt::get;
use super::syscall::syscall;
use crate::addr::Family;
use crate::errno::{Errno, Result};

pub(crate) const DISCONNECT_KEEPS_IPV6_FILTER: bool = true;
pub(crate) const DISCONNECT_DROPS_EPHEMERAL_PORT: bool = true;

pub(crate) fn socket(family: Family) -> Result<OwnedFd> {
    let domain = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let fd = syscall!(unsafe { libc::socket(domain, kind, libc::IPPROTO_UDP) })?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the file of the descriptor `place` with that of `fd`, under the same number.
#[cfg(feature = "poller")]
pub(crate) fn put_in_place(fd: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers. `place` stays open for its owner.
    syscall!(unsafe { libc::dup3(fd.as_raw_fd(), place.as_raw_fd(), libc::O_CLOEXEC) })?;
    Ok(())
}

pub(crate) fn bind(fd: BorrowedFd<'_>, address: &SocketAddr) -> Result<()> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Bind)?;
    let (raw, len) = RawAddr::encode(address);
    // SAFETY: `raw` is a socket address of `len` bytes.
    syscall!(unsafe { libc::bind(fd.as_raw_fd(), raw.as_ptr(), len) })?;
    Ok(())
}

pub(crate) fn connect(fd: BorrowedFd<'_>, peer: &SocketAddr) -> Result<()> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Connect)?;
    let (raw, len) = RawAddr::encode(peer);
    // SAFETY: `raw` is a socket address of `len` bytes.
    match syscall!(unsafe { libc::connect(fd.as_raw_fd(), raw.as_ptr(), len) }) {
        Ok(_) | Err(Errno::EINPROGRESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

pub(crate) fn disconnect(fd: BorrowedFd<'_>) -> Result<()> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Connect)?;
    // All zeroes, of which the first two are AF_UNSPEC.
    let raw = RawAddr::zeroed();
    // SAFETY: `raw` is RawAddr::SIZE bytes long.
    syscall!(unsafe { libc::connect(fd.as_raw_fd(), raw.as_ptr(), RawAddr::SIZE) })?;
    Ok(())
}

type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name(fd: BorrowedFd<'_>, call: NameCall) -> Result<SocketAddr> {
    let mut raw = RawAddr::zeroed();
    let mut len = RawAddr::SIZE;
    // SAFETY: `call` is getsockname or getpeername; `raw` has room for `len` bytes.
    syscall!(unsafe { call(fd.as_raw_fd(), raw.as_mut_ptr(), &mut len) })?;
    raw.decode(len).ok_or(Errno::EAFNOSUPPORT)
}

pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> Result<SocketAddr> {
    name(fd, libc::getsockname)
}

pub(crate) fn peer_addr(fd: BorrowedFd<'_>) -> Result<SocketAddr> {
    name(fd, libc::getpeername)
}

pub(crate) fn family(fd: BorrowedFd<'_>) -> Result<Family> {
    match get::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_DOMAIN)? {
        libc::AF_INET => Ok(Family::V4),
        libc::AF_INET6 => Ok(Family::V6),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

pub(crate) fn is_datagram(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(get::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_TYPE)? == libc::SOCK_DGRAM)
}

pub(crate) fn is_udp(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(get::<libc::c_int>(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL)? == libc::IPPROTO_UDP)
}

pub(crate) fn owner(fd: BorrowedFd<'_>) -> Result<u32> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `stat` is writable.
    syscall!(unsafe { libc::fstat(fd.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: zeroed, then written by the kernel; `stat` consists of integers.
    Ok(unsafe { stat.assume_init() }.st_uid)
}

pub(crate) fn set_owner(fd: BorrowedFd<'_>, user: u32) -> Result<()> {
    const UNCHANGED: libc::gid_t = libc::gid_t::MAX;
    // SAFETY: no pointers.
    syscall!(unsafe { libc::fchown(fd.as_raw_fd(), user, UNCHANGED) })?;
    Ok(())
}

pub(crate) fn nonblocking(fd: BorrowedFd<'_>) -> Result<bool> {
    // SAFETY: no pointers.
    let flags = syscall!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })?;
    Ok(flags & libc::O_NONBLOCK != 0)
}

fn set_flag(
    fd: BorrowedFd<'_>,
    (get, set): (libc::c_int, libc::c_int),
    flag: libc::c_int,
    on: bool,
) -> Result<()> {
    // SAFETY: no pointers.
    let old = syscall!(unsafe { libc::fcntl(fd.as_raw_fd(), get) })?;
    let new = if on { old | flag } else { old & !flag };
    if new != old {
        // SAFETY: no pointers.
        syscall!(unsafe { libc::fcntl(fd.as_raw_fd(), set, new) })?;
    }
    Ok(())
}

pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> Result<bool> {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `poll` is one writable structure, and the count is 1.
    syscall!(unsafe { libc::poll(&mut poll, 1, 0) })?;
    Ok(poll.revents & libc::POLLIN != 0)
}

pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    set_flag(fd, (libc::F_GETFL, libc::F_SETFL), libc::O_NONBLOCK, on)
}

pub(crate) fn set_cloexec(fd: BorrowedFd<'_>, on: bool) -> Result<()> {
    set_flag(fd, (libc::F_GETFD, libc::F_SETFD), libc::FD_CLOEXEC, on)
}
