//! The sends, in the proposal's form and in libuv 1.x's.

use std::ffi::{c_int, c_uint};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::ptr;
use std::slice;

use libc::sockaddr;
use uv_sys::{MAX_DATAGRAM, MAX_SLICES};
use uv_udp::{Payload, Transmit, Udp};

use super::{UdpBox, any_udp_box, number, udp_box};
use crate::address;
use crate::object::{Kind, object};
use crate::types::{UV_UDP_SEND, uv_buf_t, uv_udp_send_cb, uv_udp_send_t, uv_udp_t};

/// Buffers of one datagram that need no memory beside the stack.
const FEW: usize = 16;

/// The bytes of one buffer.
///
/// # Safety
///
/// The buffer is empty, or its memory is there and does not change while the answer is used.
unsafe fn bytes<'a>(buf: uv_buf_t) -> Result<&'a [u8], c_int> {
    if buf.len == 0 {
        return Ok(&[]);
    }
    if buf.base.is_null() {
        return Err(-libc::EFAULT);
    }
    if buf.len > MAX_DATAGRAM {
        return Err(-libc::EMSGSIZE);
    }
    // SAFETY: as the caller vouches, and of a sane length.
    Ok(unsafe { slice::from_raw_parts(buf.base.cast(), buf.len) })
}

/// Calls `with` on the payload in `nbufs` buffers.
///
/// # Safety
///
/// `bufs` is null or points to that many buffers, for each of which the promise of [`bytes`] holds.
unsafe fn with_payload<T>(
    bufs: *const uv_buf_t,
    nbufs: c_uint,
    with: impl FnOnce(Payload<'_>) -> Result<T, c_int>,
) -> Result<T, c_int> {
    let count = usize::try_from(nbufs).unwrap_or(usize::MAX);
    if bufs.is_null() || count == 0 {
        return Err(-libc::EINVAL);
    }
    if count > MAX_SLICES {
        return Err(-libc::EMSGSIZE);
    }
    // SAFETY: as the caller vouches.
    let bufs = unsafe { slice::from_raw_parts(bufs, count) };
    let (mut few, mut many);
    let payload = if let [buf] = bufs {
        // SAFETY: as the caller vouches.
        Payload::Bytes(unsafe { bytes(*buf) }?)
    } else {
        let slices = if count <= FEW {
            few = [IoSlice::new(&[]); FEW];
            few.get_mut(..count).unwrap_or_default()
        } else {
            many = vec![IoSlice::new(&[]); count];
            many.as_mut_slice()
        };
        for (slice, buf) in slices.iter_mut().zip(bufs) {
            // SAFETY: as the caller vouches.
            *slice = IoSlice::new(unsafe { bytes(*buf) }?);
        }
        Payload::Slices(slices)
    };
    with(payload)
}

/// Where a datagram goes.
#[derive(Clone, Copy)]
enum To {
    Peer,
    Address(*const sockaddr),
}

impl To {
    /// libuv 1.x: null is the peer.
    fn peer_if_null(addr: *const sockaddr) -> Self {
        if addr.is_null() {
            Self::Peer
        } else {
            Self::Address(addr)
        }
    }

    /// The destination, or why there can be none. Whether it may be one is the handle's to say, and comes first: whoever
    /// mistakes a connected handle for an unconnected one is told that.
    ///
    /// # Safety
    ///
    /// As [`address::read`].
    #[inline]
    unsafe fn destination(self, udp: &UdpBox) -> Result<Option<SocketAddr>, c_int> {
        let Self::Address(addr) = self else {
            return Ok(None);
        };
        // SAFETY: as the caller vouches.
        let read = unsafe { address::read(addr) };
        read.map(Some).map_err(|error| match addr.is_null() {
            _ if udp.udp.is_connected() => -libc::EISCONN,
            true => -libc::EDESTADDRREQ,
            false => error,
        })
    }
}

/// Compiled into each of the calls below: for a peer there is no address to look at.
///
/// # Safety
///
/// As the crate says, and as [`with_payload`].
#[inline(always)]
unsafe fn send(
    req: *mut uv_udp_send_t,
    handle: *mut uv_udp_t,
    (bufs, nbufs): (*const uv_buf_t, c_uint),
    to: To,
    send_cb: uv_udp_send_cb,
) -> Result<(), c_int> {
    if req.is_null() {
        return Err(-libc::EINVAL);
    }
    // SAFETY: as the caller vouches.
    let udp = unsafe { any_udp_box(handle) }?;
    // SAFETY: as the caller vouches.
    let accepted = match unsafe { to.destination(udp) } {
        // SAFETY: as the caller vouches.
        Ok(to) if nbufs == 1 && !bufs.is_null() => match unsafe { bytes(*bufs) } {
            Ok(payload) => accept(udp, Payload::Bytes(payload), to, req),
            Err(error) => Err(error),
        },
        // SAFETY: as the caller vouches.
        Ok(to) => unsafe { with_payload(bufs, nbufs, |payload| accept(udp, payload, to, req)) },
        Err(error) => Err(error),
    };
    // Asked only now: the handle itself takes nothing when it is closing.
    let bytes = accepted.map_err(|error| match udp.udp.is_closing() {
        true => -libc::EBADF,
        false => error,
    })?;
    // SAFETY: the caller gives room for a request; members are written one by one, so that none is read. `data` is its own.
    unsafe {
        (&raw mut (*req).base.type_).write(UV_UDP_SEND);
        (&raw mut (*req).handle).write(handle);
        (&raw mut (*req).cb).write(send_cb);
        (&raw mut (*req).bytes).write(bytes);
    }
    // SAFETY: as the caller vouches.
    unsafe {
        (*handle).send_queue_size += bytes;
        (*handle).send_queue_count += 1;
    }
    if !udp.udp.has_ref() {
        udp.keep_loop_alive();
    }
    Ok(())
}

/// Hands a send over to the handle, and says how many bytes it has.
#[inline(always)]
fn accept(
    udp: &UdpBox,
    payload: Payload<'_>,
    destination: Option<SocketAddr>,
    req: *mut uv_udp_send_t,
) -> Result<usize, c_int> {
    let (transmit, token) = (Transmit::new(payload), req.expose_provenance());
    let accepted = match destination {
        None => udp.udp.transmit_with_token(transmit, token, sent),
        Some(to) => udp.udp.transmit_with_token(transmit.to(to), token, sent),
    };
    accepted.map(|()| payload.len()).map_err(number)
}

/// The completion of the send whose request is at this address.
fn sent(udp: &Udp, address: usize, result: uv_udp::Result<()>) {
    let req: *mut uv_udp_send_t = ptr::with_exposed_provenance_mut(address);
    // SAFETY: the request is as [`send`] left it, and in place until its callback; the handle is until its close callback,
    // which comes after that.
    let (handle, callback) = unsafe { ((*req).handle, (*req).cb) };
    // SAFETY: as above.
    unsafe {
        (*handle).send_queue_size -= (*req).bytes;
        (*handle).send_queue_count -= 1;
    }
    if !udp.has_ref()
        // SAFETY: as above. Also in the closing turn.
        && let Some(Kind::Udp(udp)) = unsafe { object(handle.cast()) }.map(|object| &object.kind)
    {
        udp.keep_loop_alive();
    }
    if let Some(callback) = callback {
        // SAFETY: the program's own function, with its own request, to which nothing of ours refers any more.
        unsafe { callback(req, result.map_or_else(number, |()| 0)) };
    }
}

/// # Safety
///
/// As the crate says, and as [`with_payload`].
unsafe fn try_send(
    handle: *mut uv_udp_t,
    bufs: *const uv_buf_t,
    nbufs: c_uint,
    to: To,
) -> Result<c_int, c_int> {
    // SAFETY: as the caller vouches.
    let udp = unsafe { udp_box(handle) }?;
    // SAFETY: as the caller vouches.
    let destination = unsafe { to.destination(udp) }?;
    // SAFETY: as the caller vouches.
    let sent = unsafe {
        with_payload(bufs, nbufs, |payload| match destination {
            None => udp.udp.try_send(payload).map_err(number),
            Some(destination) => udp.udp.try_send_to(payload, destination).map_err(number),
        })
    }?;
    Ok(sent.try_into().unwrap_or(c_int::MAX))
}

fn either(result: Result<c_int, c_int>) -> c_int {
    result.unwrap_or_else(|error| error)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_send(
    req: *mut uv_udp_send_t,
    handle: *mut uv_udp_t,
    bufs: *const uv_buf_t,
    nbufs: c_uint,
    send_cb: uv_udp_send_cb,
) -> c_int {
    // SAFETY: as the crate says.
    super::code(unsafe { send(req, handle, (bufs, nbufs), To::Peer, send_cb) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_sendto(
    req: *mut uv_udp_send_t,
    handle: *mut uv_udp_t,
    bufs: *const uv_buf_t,
    nbufs: c_uint,
    addr: *const sockaddr,
    send_cb: uv_udp_send_cb,
) -> c_int {
    // SAFETY: as the crate says.
    super::code(unsafe { send(req, handle, (bufs, nbufs), To::Address(addr), send_cb) })
}

/// libuv 1.x's `uv_udp_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_v1_udp_send(
    req: *mut uv_udp_send_t,
    handle: *mut uv_udp_t,
    bufs: *const uv_buf_t,
    nbufs: c_uint,
    addr: *const sockaddr,
    send_cb: uv_udp_send_cb,
) -> c_int {
    // SAFETY: as the crate says.
    unsafe {
        if addr.is_null() {
            uvudp_udp_send(req, handle, bufs, nbufs, send_cb)
        } else {
            uvudp_udp_sendto(req, handle, bufs, nbufs, addr, send_cb)
        }
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_try_send(
    handle: *mut uv_udp_t,
    bufs: *const uv_buf_t,
    nbufs: c_uint,
) -> c_int {
    // SAFETY: as the crate says.
    either(unsafe { try_send(handle, bufs, nbufs, To::Peer) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_try_sendto(
    handle: *mut uv_udp_t,
    bufs: *const uv_buf_t,
    nbufs: c_uint,
    addr: *const sockaddr,
) -> c_int {
    // SAFETY: as the crate says.
    either(unsafe { try_send(handle, bufs, nbufs, To::Address(addr)) })
}

/// libuv 1.x's `uv_udp_try_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_v1_udp_try_send(
    handle: *mut uv_udp_t,
    bufs: *const uv_buf_t,
    nbufs: c_uint,
    addr: *const sockaddr,
) -> c_int {
    // SAFETY: as the crate says.
    either(unsafe { try_send(handle, bufs, nbufs, To::peer_if_null(addr)) })
}

/// # Safety
///
/// As the crate says, with `count` entries in each array.
unsafe fn try_send_many(
    handle: *mut uv_udp_t,
    count: c_uint,
    bufs: *const *const uv_buf_t,
    nbufs: *const c_uint,
    addrs: *const *const sockaddr,
) -> Result<c_int, c_int> {
    // SAFETY: as the caller vouches.
    let udp = unsafe { udp_box(handle) }?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 || bufs.is_null() || nbufs.is_null() {
        return Err(-libc::EINVAL);
    }
    // SAFETY: as the caller vouches.
    let (bufs, nbufs) = unsafe {
        (
            slice::from_raw_parts(bufs, count),
            slice::from_raw_parts(nbufs, count),
        )
    };
    let addrs = if addrs.is_null() {
        &[]
    } else {
        // SAFETY: as the caller vouches.
        unsafe { slice::from_raw_parts(addrs, count) }
    };
    let mut batch = Vec::with_capacity(count);
    let mut slices = Vec::with_capacity(count);
    for (index, (&bufs, &nbufs)) in bufs.iter().zip(nbufs).enumerate() {
        let to = addrs
            .get(index)
            .map_or(To::Peer, |&addr| To::peer_if_null(addr));
        // SAFETY: as the caller vouches.
        let destination = unsafe { to.destination(udp) }?;
        // SAFETY: as the caller vouches.
        slices.push((unsafe { slices_of(bufs, nbufs) }?, destination));
    }
    for (slices, destination) in &slices {
        let payload = match slices.as_slice() {
            [one] => Payload::Bytes(one),
            many => Payload::Slices(many),
        };
        batch.push(Transmit {
            destination: *destination,
            ..Transmit::new(payload)
        });
    }
    let sent = udp.udp.try_send_batch(&batch).map_err(number)?;
    Ok(sent.try_into().unwrap_or(c_int::MAX))
}

/// # Safety
///
/// As [`with_payload`]; the answer is used as that of [`bytes`].
unsafe fn slices_of<'a>(bufs: *const uv_buf_t, nbufs: c_uint) -> Result<Vec<IoSlice<'a>>, c_int> {
    let count = usize::try_from(nbufs).unwrap_or(usize::MAX);
    if bufs.is_null() || count == 0 {
        return Err(-libc::EINVAL);
    }
    if count > MAX_SLICES {
        return Err(-libc::EMSGSIZE);
    }
    // SAFETY: as the caller vouches.
    let bufs = unsafe { slice::from_raw_parts(bufs, count) };
    // SAFETY: as the caller vouches.
    bufs.iter()
        .map(|&buf| unsafe { bytes(buf) }.map(IoSlice::new))
        .collect()
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_try_send2(
    handle: *mut uv_udp_t,
    count: c_uint,
    bufs: *const *const uv_buf_t,
    nbufs: *const c_uint,
    addrs: *const *const sockaddr,
    flags: c_uint,
) -> c_int {
    if flags != 0 {
        return -libc::EINVAL;
    }
    // SAFETY: as the crate says.
    either(unsafe { try_send_many(handle, count, bufs, nbufs, addrs) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_get_send_queue_size(handle: *const uv_udp_t) -> usize {
    // SAFETY: as the crate says.
    unsafe { handle.as_ref() }.map_or(0, |handle| handle.send_queue_size)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uvudp_udp_get_send_queue_count(handle: *const uv_udp_t) -> usize {
    // SAFETY: as the crate says.
    unsafe { handle.as_ref() }.map_or(0, |handle| handle.send_queue_count)
}
