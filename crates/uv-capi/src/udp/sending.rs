//! The sending functions, in the proposal's form and in libuv 1.x's.

use std::cell::Cell;
use std::ffi::{c_int, c_uint};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::ptr;
use std::slice;

use uv_sys::{MAX_DATAGRAM, MAX_SLICES};
use uv_udp::{Payload, Transmit, Udp};

use super::access::{any_udp_box, udp_box};
use super::state::UdpBox;
use crate::address::Address;
use crate::handle_box::{Kind, handle_box};
use crate::pointers::{CPtr, OutPtr};
use crate::results::{code, number};
use crate::types::{UV_UDP_SEND, uv_buf_t, uv_req_t, uv_udp_send_cb, uv_udp_send_t, uv_udp_t};

/// The most buffers per datagram that need no allocation.
const FEW: usize = 16;
/// The most datagrams that one call reserves memory for in advance.
const MANY: usize = 1024;

/// The bytes of one buffer.
#[inline]
fn bytes(buf: &uv_buf_t) -> Result<&[u8], c_int> {
    if buf.len == 0 {
        return Ok(&[]);
    }
    if buf.base.is_null() {
        return Err(-libc::EFAULT);
    }
    if buf.len > MAX_DATAGRAM {
        return Err(-libc::EMSGSIZE);
    }
    // SAFETY: the program promises `len` bytes at `base` that do not change during the call. `base`
    // is not null, and `len` is less than `isize::MAX`.
    Ok(unsafe { slice::from_raw_parts(buf.base.cast(), buf.len) })
}

/// The `bufs` and `nbufs` parameters of a function.
#[derive(Clone, Copy)]
struct Bufs {
    first: CPtr<uv_buf_t>,
    count: c_uint,
}

impl Bufs {
    fn list(&self) -> Result<&[uv_buf_t], c_int> {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        if self.first.is_null() || count == 0 {
            return Err(-libc::EINVAL);
        }
        if count > MAX_SLICES {
            return Err(-libc::EMSGSIZE);
        }
        Ok(self.first.list(count).unwrap_or_default())
    }

    fn slices(&self) -> Result<Vec<IoSlice<'_>>, c_int> {
        let slice = |buf| bytes(buf).map(IoSlice::new);
        self.list()?.iter().map(slice).collect()
    }

    /// The bytes of a single buffer; `None` for any other number of buffers.
    #[inline]
    fn only(&self) -> Option<Result<&[u8], c_int>> {
        (self.count == 1).then(|| self.first.get().map(bytes))?
    }

    /// Calls `with` with the payload of the buffers.
    fn with_payload<T>(
        &self,
        with: impl FnOnce(Payload<'_>) -> Result<T, c_int>,
    ) -> Result<T, c_int> {
        let bufs = self.list()?;
        let (mut few, mut many);
        let payload = if let [buf] = bufs {
            Payload::Bytes(bytes(buf)?)
        } else {
            let slices = if bufs.len() <= FEW {
                few = [IoSlice::new(&[]); FEW];
                few.get_mut(..bufs.len()).unwrap_or_default()
            } else {
                many = vec![IoSlice::new(&[]); bufs.len()];
                many.as_mut_slice()
            };
            for (slice, buf) in slices.iter_mut().zip(bufs) {
                *slice = IoSlice::new(bytes(buf)?);
            }
            Payload::Slices(slices)
        };
        with(payload)
    }
}

/// The destination parameter.
#[derive(Clone, Copy)]
enum To {
    Peer,
    Address(Address),
}

impl To {
    /// The meaning of libuv 1.x: null is the peer.
    fn peer_if_null(addr: Address) -> Self {
        if addr.is_null() {
            Self::Peer
        } else {
            Self::Address(addr)
        }
    }

    /// The destination, or the error for a bad one. `EISCONN` precedes other errors: a program that
    /// mistakes a connected handle for an unconnected one learns of that.
    #[inline]
    fn destination(self, udp: &UdpBox) -> Result<Option<SocketAddr>, c_int> {
        let Self::Address(addr) = self else {
            return Ok(None);
        };
        addr.read().map(Some).map_err(|error| match addr.is_null() {
            _ if udp.udp.is_connected() => -libc::EISCONN,
            true => -libc::EDESTADDRREQ,
            false => error,
        })
    }
}

/// Inlined into each caller, so that a send to the peer compiles without address code.
#[inline(always)]
fn send(
    req: OutPtr<uv_udp_send_t>,
    handle: CPtr<uv_udp_t>,
    bufs: Bufs,
    to: To,
    send_cb: uv_udp_send_cb,
) -> Result<(), c_int> {
    if req.is_null() {
        return Err(-libc::EINVAL);
    }
    let udp = any_udp_box(&handle)?;
    let accepted = match to.destination(udp) {
        Ok(to) => match bufs.only() {
            Some(Ok(payload)) => accept(udp, Payload::Bytes(payload), to, &req),
            Some(Err(error)) => Err(error),
            None => bufs.with_payload(|payload| accept(udp, payload, to, &req)),
        },
        Err(error) => Err(error),
    };
    // Checked only after an error: a closing handle accepts nothing.
    let bytes = accepted.map_err(|error| match udp.udp.is_closing() {
        true => -libc::EBADF,
        false => error,
    })?;
    req.initialize(|data| uv_udp_send_t {
        base: uv_req_t {
            data: Cell::new(data),
            type_: UV_UDP_SEND,
            reserved: [ptr::null_mut(); 2],
        },
        handle,
        cb: send_cb,
        bytes,
    });
    if let Some(handle) = handle.get() {
        let (size, count) = (&handle.send_queue_size, &handle.send_queue_count);
        size.set(size.get() + bytes);
        count.set(count.get() + 1);
    }
    if !udp.udp.has_ref() {
        udp.keep_loop_alive();
    }
    Ok(())
}

/// Passes a send to the handle, and returns its number of bytes.
#[inline(always)]
fn accept(
    udp: &UdpBox,
    payload: Payload<'_>,
    destination: Option<SocketAddr>,
    req: &OutPtr<uv_udp_send_t>,
) -> Result<usize, c_int> {
    let (transmit, token) = (Transmit::new(payload), req.expose());
    let accepted = match destination {
        None => udp.udp.transmit(transmit.with_token(token), sent),
        Some(to) => udp
            .udp
            .transmit(transmit.with_destination(to).with_token(token), sent),
    };
    accepted.map(|()| payload.len()).map_err(number)
}

/// The completion of the request at this address.
fn sent(udp: &Udp, address: usize, result: uv_udp::Result<()>) {
    // SAFETY: `accept` passed the address as the token, `send` initialized the request before any
    // completion, and the program leaves it in place until its callback.
    let req: CPtr<uv_udp_send_t> = unsafe { CPtr::new(ptr::with_exposed_provenance_mut(address)) };
    let Some((handle, callback, bytes)) = req.get().map(|req| (req.handle, req.cb, req.bytes))
    else {
        return;
    };
    // The handle is in place: its close callback comes after its completions.
    if let Some(handle) = handle.get() {
        let (size, count) = (&handle.send_queue_size, &handle.send_queue_count);
        size.set(size.get() - bytes);
        count.set(count.get() - 1);
    }
    if !udp.has_ref()
        // Still present in the closing phase.
        && let Some(Kind::Udp(udp)) = handle_box(&handle.base()).map(|boxed| &boxed.kind)
    {
        udp.keep_loop_alive();
    }
    if let Some(callback) = callback {
        let status = result.map_or_else(number, |()| 0);
        // SAFETY: a callback of the program, with its request, to which this library holds no
        // reference.
        unsafe { callback(req, status) };
    }
}

fn try_send(handle: CPtr<uv_udp_t>, bufs: Bufs, to: To) -> Result<c_int, c_int> {
    let sent = udp_box(&handle).and_then(|udp| {
        let destination = to.destination(udp)?;
        bufs.with_payload(|payload| match destination {
            None => udp.udp.try_send(payload).map_err(number),
            Some(destination) => udp.udp.try_send_to(payload, destination).map_err(number),
        })
    })?;
    Ok(sent.try_into().unwrap_or(c_int::MAX))
}

fn either(result: Result<c_int, c_int>) -> c_int {
    result.unwrap_or_else(|error| error)
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_send(
    req: OutPtr<uv_udp_send_t>,
    handle: CPtr<uv_udp_t>,
    bufs: CPtr<uv_buf_t>,
    nbufs: c_uint,
    send_cb: uv_udp_send_cb,
) -> c_int {
    let bufs = Bufs {
        first: bufs,
        count: nbufs,
    };
    code(send(req, handle, bufs, To::Peer, send_cb))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_sendto(
    req: OutPtr<uv_udp_send_t>,
    handle: CPtr<uv_udp_t>,
    bufs: CPtr<uv_buf_t>,
    nbufs: c_uint,
    addr: Address,
    send_cb: uv_udp_send_cb,
) -> c_int {
    let bufs = Bufs {
        first: bufs,
        count: nbufs,
    };
    code(send(req, handle, bufs, To::Address(addr), send_cb))
}

/// libuv 1.x's `uv_udp_send`.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_v1_udp_send(
    req: OutPtr<uv_udp_send_t>,
    handle: CPtr<uv_udp_t>,
    bufs: CPtr<uv_buf_t>,
    nbufs: c_uint,
    addr: Address,
    send_cb: uv_udp_send_cb,
) -> c_int {
    if addr.is_null() {
        uvudp_udp_send(req, handle, bufs, nbufs, send_cb)
    } else {
        uvudp_udp_sendto(req, handle, bufs, nbufs, addr, send_cb)
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_try_send(
    handle: CPtr<uv_udp_t>,
    bufs: CPtr<uv_buf_t>,
    nbufs: c_uint,
) -> c_int {
    let bufs = Bufs {
        first: bufs,
        count: nbufs,
    };
    either(try_send(handle, bufs, To::Peer))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_try_sendto(
    handle: CPtr<uv_udp_t>,
    bufs: CPtr<uv_buf_t>,
    nbufs: c_uint,
    addr: Address,
) -> c_int {
    let bufs = Bufs {
        first: bufs,
        count: nbufs,
    };
    either(try_send(handle, bufs, To::Address(addr)))
}

/// libuv 1.x's `uv_udp_try_send`.
#[unsafe(no_mangle)]
pub extern "C" fn uvudp_v1_udp_try_send(
    handle: CPtr<uv_udp_t>,
    bufs: CPtr<uv_buf_t>,
    nbufs: c_uint,
    addr: Address,
) -> c_int {
    let bufs = Bufs {
        first: bufs,
        count: nbufs,
    };
    either(try_send(handle, bufs, To::peer_if_null(addr)))
}

fn try_send_many(
    udp: &UdpBox,
    bufs: &[CPtr<uv_buf_t>],
    nbufs: &[c_uint],
    addrs: &[Address],
) -> Result<c_int, c_int> {
    let bufs = bufs
        .iter()
        .zip(nbufs)
        .map(|(&first, &count)| Bufs { first, count });
    let mut held = Vec::with_capacity(nbufs.len().min(MANY));
    for (index, bufs) in bufs.enumerate() {
        let addr = addrs.get(index);
        let to = addr.map_or(To::Peer, |&addr| To::peer_if_null(addr));
        held.push((bufs, to.destination(udp)?));
    }
    let mut slices = Vec::with_capacity(held.len());
    for (bufs, _) in &held {
        slices.push(bufs.slices()?);
    }
    let batch: Vec<_> = slices
        .iter()
        .zip(&held)
        .map(|(slices, (_, destination))| {
            let mut transmit = Transmit::new(match slices.as_slice() {
                [one] => Payload::Bytes(one),
                many => Payload::Slices(many),
            });
            transmit.destination = *destination;
            transmit
        })
        .collect();
    let sent = udp.udp.try_transmit_batch(&batch).map_err(number)?;
    Ok(sent.try_into().unwrap_or(c_int::MAX))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_try_send2(
    handle: CPtr<uv_udp_t>,
    count: c_uint,
    bufs: CPtr<CPtr<uv_buf_t>>,
    nbufs: CPtr<c_uint>,
    addrs: CPtr<Address>,
    flags: c_uint,
) -> c_int {
    if flags != 0 {
        return -libc::EINVAL;
    }
    either(udp_box(&handle).and_then(|udp| {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        match (bufs.list(count), nbufs.list(count)) {
            (Some(bufs), Some(nbufs)) if count > 0 => {
                try_send_many(udp, bufs, nbufs, addrs.list(count).unwrap_or_default())
            }
            _ => Err(-libc::EINVAL),
        }
    }))
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_get_send_queue_size(handle: CPtr<uv_udp_t>) -> usize {
    handle
        .get()
        .map_or(0, |handle| handle.send_queue_size.get())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_get_send_queue_count(handle: CPtr<uv_udp_t>) -> usize {
    handle
        .get()
        .map_or(0, |handle| handle.send_queue_count.get())
}
