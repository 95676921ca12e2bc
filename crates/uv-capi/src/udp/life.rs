//! From `uv_udp_init` to a bound handle.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use uv_udp::{BindOptions, Errno, Family, Udp};

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
    init(loop_, handle, UV_UDP, structure, |event_loop, handle| {
        let receiver = Receiver::new(event_loop, handle, flags & UV_UDP_RECVMMSG != 0);
        let udp = match family {
            None => Udp::new(event_loop),
            Some(family) => Udp::for_family(event_loop, family)?,
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
            .recv_errors(flags & UV_UDP_LINUX_RECVERR != 0);
        udp.udp.bind_with(addr, options).map_err(number)
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_open(handle: Given<uv_udp_t>, sock: c_int) -> c_int {
    uvudp_udp_open_ex(handle, sock, 0)
}

/// Gives the handle a socket that the program made. The descriptor is the handle's from then on. After an error it is the
/// program's, open and as it was.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_open_ex(handle: Given<uv_udp_t>, sock: c_int, flags: c_uint) -> c_int {
    code(udp_box(&handle).and_then(|udp| open(handle, udp, sock, flags)))
}

fn open(handle: Given<uv_udp_t>, udp: &UdpBox, sock: c_int, flags: c_uint) -> Result<(), c_int> {
    if flags & !(UV_UDP_REUSEADDR | UV_UDP_REUSEPORT) != 0 {
        return Err(-libc::EINVAL);
    }
    if udp.udp.with_fd(|_| ()).is_ok() {
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
    // SAFETY: it is open, as the kernel just said, and the program gives it away; where it is refused, it is let go of unclosed.
    let fd = unsafe { OwnedFd::from_raw_fd(sock) };
    let refused = |(errno, fd): (Errno, OwnedFd)| {
        // It stays the program's.
        let _ = fd.into_raw_fd();
        number(errno)
    };
    match share(&fd, flags) {
        Ok(before) => {
            let opened = udp.udp.assign_fd(fd);
            // It may be connected.
            udp.peer_changed();
            opened.map_err(|(errno, fd)| {
                before.restore(&fd);
                refused((errno, fd))
            })
        }
        Err(errno) => Err(refused((errno, fd))),
    }
}

/// The options for sharing an address that a socket had.
struct Before {
    reuse_address: Option<bool>,
    reuse_port: Option<bool>,
}

impl Before {
    /// Sets them again on a socket that is refused. What could be set before can be set back.
    fn restore(&self, fd: &OwnedFd) {
        if let Some(on) = self.reuse_address {
            let _ = uv_sys::option::set_reuse_address(fd, on);
        }
        if let Some(on) = self.reuse_port {
            let _ = uv_sys::option::set_reuse_port(fd, on);
        }
    }
}

/// Sets the options that the flags name, or none of them.
fn share(fd: &OwnedFd, flags: c_uint) -> uv_sys::Result<Before> {
    let mut before = Before {
        reuse_address: None,
        reuse_port: None,
    };
    if flags & UV_UDP_REUSEADDR != 0 {
        before.reuse_address = Some(uv_sys::option::reuse_address(fd)?);
        uv_sys::option::set_reuse_address(fd, true)?;
    }
    if flags & UV_UDP_REUSEPORT != 0 {
        let old = uv_sys::option::reuse_port(fd);
        if let Err(errno) = old.and_then(|_| uv_sys::option::set_reuse_port(fd, true)) {
            before.restore(fd);
            return Err(errno);
        }
        before.reuse_port = old.ok();
    }
    Ok(before)
}

/// The descriptor of a handle that has one.
fn fd_of(handle: Given<uv_handle_t>) -> Option<c_int> {
    match object(&handle).map(|object| &object.kind) {
        Some(Kind::Udp(udp)) => udp.udp.with_fd(|fd| fd.as_raw_fd()).ok(),
        _ => None,
    }
}
