//! From `uv_udp_init` to a bound handle.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use uv_udp::{BindOptions, Family, Udp};

use super::flags::{
    UV_UDP_IPV6ONLY, UV_UDP_LINUX_RECVERR, UV_UDP_RECVMMSG, UV_UDP_REUSEADDR, UV_UDP_REUSEPORT,
};
use super::receiver::Receiver;
use super::state::UdpBox;
use super::{code, number, udp_box};
use crate::address::Address;
use crate::closing::init;
use crate::loop_box::loop_box;
use crate::object::{Kind, object};
use crate::pointers::{Given, Room};
use crate::types::{UV_UDP, uv_handle_t, uv_loop_t, uv_udp_t};

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_init(loop_: Given<uv_loop_t>, handle: Room<uv_udp_t>) -> c_int {
    uvudp_udp_init_ex(loop_, handle, 0)
}

/// The lowest eight bits of the flags are an address family: with one, the socket is made now.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_init_ex(
    loop_: Given<uv_loop_t>,
    handle: Room<uv_udp_t>,
    flags: c_uint,
) -> c_int {
    if handle.is_null() || flags & !(0xff | UV_UDP_RECVMMSG) != 0 {
        return -libc::EINVAL;
    }
    let family = match flags.cast_signed() & 0xff {
        libc::AF_UNSPEC => None,
        libc::AF_INET => Some(Family::V4),
        libc::AF_INET6 => Some(Family::V6),
        _ => return -libc::EINVAL,
    };
    let structure = |base| uv_udp_t {
        base,
        send_queue_size: Cell::new(0),
        send_queue_count: Cell::new(0),
        more: [ptr::null_mut(); 2],
    };
    init(loop_, handle, UV_UDP, structure, |lp, handle| {
        let receiver = Receiver::new(lp, handle, flags & UV_UDP_RECVMMSG != 0);
        let udp = match family {
            None => Udp::new(lp),
            Some(family) => Udp::for_family(lp, family)?,
        };
        Ok(Kind::Udp(UdpBox::new(udp, receiver)))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_bind(handle: Given<uv_udp_t>, addr: Address, flags: c_uint) -> c_int {
    let known = UV_UDP_IPV6ONLY | UV_UDP_REUSEADDR | UV_UDP_LINUX_RECVERR | UV_UDP_REUSEPORT;
    if flags & !known != 0 {
        return -libc::EINVAL;
    }
    code(udp_box(&handle).and_then(|udp| {
        let addr = addr.read()?;
        let options = BindOptions::default()
            .ipv6_only(flags & UV_UDP_IPV6ONLY != 0)
            .reuse_address(flags & UV_UDP_REUSEADDR != 0)
            .reuse_port(flags & UV_UDP_REUSEPORT != 0)
            .full_reports(flags & UV_UDP_LINUX_RECVERR != 0);
        udp.udp.bind_with(addr, options).map_err(number)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_open(handle: Given<uv_udp_t>, sock: c_int) -> c_int {
    uvudp_udp_open_ex(handle, sock, 0)
}

/// Gives the handle a socket that the program made. The descriptor is the handle's from then on, and stays the program's if
/// there is an error.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_open_ex(handle: Given<uv_udp_t>, sock: c_int, flags: c_uint) -> c_int {
    code(udp_box(&handle).and_then(|udp| open(handle, udp, sock, flags)))
}

fn open(handle: Given<uv_udp_t>, udp: &UdpBox, sock: c_int, flags: c_uint) -> Result<(), c_int> {
    if flags & !(UV_UDP_REUSEADDR | UV_UDP_REUSEPORT) != 0 {
        return Err(-libc::EINVAL);
    }
    if udp.udp.fileno().is_ok() {
        return Err(-libc::EBUSY);
    }
    let in_loop = handle.get().and_then(|handle| loop_box(&handle.base.loop_));
    if in_loop.is_some_and(|in_loop| in_loop.any(|other| fd_of(other) == Some(sock))) {
        return Err(-libc::EEXIST);
    }
    // SAFETY: no memory is involved.
    if unsafe { libc::fcntl(sock, libc::F_GETFD) } < 0 {
        return Err(-libc::EBADF);
    }
    // SAFETY: it is open, as the kernel just said, and the program does not close it meanwhile.
    let fd = unsafe { BorrowedFd::borrow_raw(sock) };
    // What `Udp::open` would refuse is refused here, because it would close the descriptor.
    uv_sys::family(fd).map_err(number)?;
    if !uv_sys::is_datagram(fd).map_err(number)? {
        return Err(-libc::EINVAL);
    }
    if !uv_sys::is_udp(fd).map_err(number)? {
        return Err(-libc::EPROTONOSUPPORT);
    }
    if flags & UV_UDP_REUSEADDR != 0 {
        uv_sys::set_reuse_address(fd, true).map_err(number)?;
    }
    if flags & UV_UDP_REUSEPORT != 0 {
        uv_sys::set_reuse_port(fd, true).map_err(number)?;
    }
    // SAFETY: it is open, and with this call the program gives it away.
    let fd = unsafe { OwnedFd::from_raw_fd(sock) };
    let opened = udp.udp.open(fd);
    // It may be connected.
    udp.peer_changed();
    opened.map_err(number)
}

/// The descriptor of a handle that has one.
fn fd_of(handle: Given<uv_handle_t>) -> Option<c_int> {
    match object(&handle).map(|object| &object.kind) {
        Some(Kind::Udp(udp)) => udp.udp.fileno().ok(),
        _ => None,
    }
}
