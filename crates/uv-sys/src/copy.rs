//! Copying the options of one socket to another.

use std::os::fd::{AsFd, BorrowedFd};

use crate::errno::{Errno, Result};
use crate::multicast::*;
use crate::option::*;

/// Copies the options of sending, receiving and multicast that differ from `from` to `to`.
///
/// Not copied are:
///
/// - options of the address: `SO_REUSEADDR`, `SO_REUSEPORT`, `IPV6_V6ONLY`, the device;
/// - state that the kernel does not report: group memberships, [`set_incoming_cpu`], an IPv4
///   multicast interface set by index;
/// - [`set_gro`], which receivers must be prepared for.
///
/// # Errors
///
/// Those of the setters; `EPERM` for a mark or a priority that needs a privilege. Skips options
/// that cannot be read: unknown ones, and those that a sandbox refuses (`EPERM`, `EACCES`,
/// `ENOSYS`).
///
/// ```
/// use std::net::UdpSocket;
///
/// let (one, other) = (UdpSocket::bind("[::1]:0")?, UdpSocket::bind("[::1]:0")?);
/// uv_sys::option::set_ttl(&one, 7)?;
/// uv_sys::copy_options(&one, &other)?;
/// assert_eq!(uv_sys::option::ttl(&other), Ok(7));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn copy_options(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let (from, to) = (from.as_fd(), to.as_fd());
    copy(from, to, broadcast, set_broadcast)?;
    copy(from, to, recv_tos, set_recv_tos)?;
    copy(from, to, recv_ttl, set_recv_ttl)?;
    copy(from, to, recv_packet_info, set_recv_packet_info)?;
    copy(from, to, recv_timestamps, set_recv_timestamps)?;
    copy(from, to, recv_drops, set_recv_drops)?;
    copy(from, to, recv_errors, set_recv_errors)?;
    copy(from, to, multicast_loop, set_multicast_loop)?;
    copy(from, to, multicast_all, set_multicast_all)?;
    copy(from, to, ttl, set_ttl)?;
    copy(from, to, tos, set_tos)?;
    // After the TOS, which sets the priority too.
    copy(from, to, priority, set_priority)?;
    copy(from, to, mark, set_mark)?;
    copy(from, to, segment_size, set_segment_size)?;
    copy(from, to, path_mtu_discovery, set_path_mtu_discovery)?;
    copy(from, to, txtime, |to, clock| {
        clock.map_or(Ok(()), |clock| set_txtime(to, clock))
    })?;
    copy(from, to, multicast_ttl, set_multicast_ttl)?;
    copy(from, to, multicast_interface, set_multicast_interface)?;
    // The kernel returns twice the size that was set (socket(7)).
    copy(from, to, send_buffer_size, |to, size| {
        set_send_buffer_size(to, size / 2)
    })?;
    copy(from, to, recv_buffer_size, |to, size| {
        set_recv_buffer_size(to, size / 2)
    })
}

/// Copies one option if it differs.
fn copy<'a, T: PartialEq>(
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    get: impl Fn(BorrowedFd<'a>) -> Result<T>,
    set: impl Fn(BorrowedFd<'a>, T) -> Result<()>,
) -> Result<()> {
    match (get(from), get(to)) {
        (Ok(wanted), Ok(found)) if wanted == found => Ok(()),
        (Ok(wanted), _) => set(to, wanted),
        // Unknown to the kernel, a value without a name in this crate, or refused by a sandbox.
        (
            Err(
                Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EINVAL
                | Errno::EPERM
                | Errno::EACCES
                | Errno::ENOSYS,
            ),
            _,
        ) => Ok(()),
        (Err(error), _) => Err(error),
    }
}
