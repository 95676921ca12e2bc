//! Initializing, binding, and adopting sockets.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;

use uv_udp::{BindOptions, Errno, Family, Udp};

use super::access::udp_box;
use super::flags::{
    UV_UDP_IPV6ONLY, UV_UDP_LINUX_RECVERR, UV_UDP_RECVMMSG, UV_UDP_REUSEADDR, UV_UDP_REUSEPORT,
};
use super::receiver::Receiver;
use super::state::UdpBox;
use crate::address::Address;
use crate::handle_box::{Kind, handle_box};
use crate::lifecycle::init;
use crate::loop_box::loop_box;
use crate::pointers::{CPtr, OutPtr};
use crate::results::{code, number};
use crate::types::{UV_UDP, uv_handle_t, uv_loop_t, uv_udp_t};

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_init(loop_: CPtr<uv_loop_t>, handle: OutPtr<uv_udp_t>) -> c_int {
    uvudp_udp_init_ex(loop_, handle, 0)
}

/// The lowest eight bits of the flags are an address family. A family other than `AF_UNSPEC`
/// creates the socket at once.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_init_ex(
    loop_: CPtr<uv_loop_t>,
    handle: OutPtr<uv_udp_t>,
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
pub extern "C" fn uvudp_udp_bind(handle: CPtr<uv_udp_t>, addr: Address, flags: c_uint) -> c_int {
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
pub extern "C" fn uvudp_udp_open(handle: CPtr<uv_udp_t>, sock: c_int) -> c_int {
    uvudp_udp_open_ex(handle, sock, 0)
}

/// Moves the program's socket into the handle. After an error the program still owns the
/// descriptor, which is unchanged.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_open_ex(handle: CPtr<uv_udp_t>, sock: c_int, flags: c_uint) -> c_int {
    code(udp_box(&handle).and_then(|udp| open(handle, udp, sock, flags)))
}

fn open(handle: CPtr<uv_udp_t>, udp: &UdpBox, sock: c_int, flags: c_uint) -> Result<(), c_int> {
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
    // SAFETY: fcntl(2) has found it open, and the program gives it away. After an error
    // `into_raw_fd` returns it without closing.
    let fd = unsafe { OwnedFd::from_raw_fd(sock) };
    let refused = |(errno, fd): (Errno, OwnedFd)| {
        // The program still owns it.
        let _ = fd.into_raw_fd();
        number(errno)
    };
    match share(&fd, flags) {
        Ok(before) => {
            let opened = udp.udp.assign_fd(fd);
            // The adopted socket may be connected.
            udp.peer_changed();
            opened.map_err(|(errno, fd)| {
                before.restore(&fd);
                refused((errno, fd))
            })
        }
        Err(errno) => Err(refused((errno, fd))),
    }
}

/// The address-sharing options of a socket before it is adopted.
struct Before {
    reuse_address: Option<bool>,
    reuse_port: Option<bool>,
}

impl Before {
    /// Restores the options of a refused socket. Both were writable before.
    fn restore(&self, fd: &OwnedFd) {
        if let Some(on) = self.reuse_address {
            let _ = uv_sys::option::set_reuse_address(fd, on);
        }
        if let Some(on) = self.reuse_port {
            let _ = uv_sys::option::set_reuse_port(fd, on);
        }
    }
}

/// Sets the options of the flags: all or, after an error, none.
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

/// The descriptor of a UDP handle, if it has a socket.
fn fd_of(handle: CPtr<uv_handle_t>) -> Option<c_int> {
    match handle_box(&handle).map(|boxed| &boxed.kind) {
        Some(Kind::Udp(udp)) => udp.udp.with_fd(|fd| fd.as_raw_fd()).ok(),
        _ => None,
    }
}
