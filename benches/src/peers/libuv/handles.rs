//! A thin layer over [`ffi`](super::ffi): a loop that owns the memory of its handles and requests
//! and closes all of them when it is dropped, and the calls that the workloads share.

use std::{
    alloc::{self, Layout},
    ffi::{CStr, c_int, c_uint, c_void},
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    ptr,
};

use super::ffi::{self, Buf, Handle, HandleCb, HandleType, Loop, RecvCb, Request, SendCb};

/// The calls of libuv that are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `uv_udp_send`, and one datagram per receiving system call.
    Queued,
    /// `uv_udp_try_send`, and `UV_UDP_RECVMMSG`.
    Tried,
}

/// Bytes of receive memory: a full `recvmmsg` by libuv's documentation (20 datagrams of 64 KiB).
pub(super) const RECEIVE_MEMORY: usize = 20 * 64 * 1024;

/// The version of the library that is linked.
pub(super) fn version() -> String {
    // SAFETY: the call returns a string constant of the library.
    let version = unsafe { CStr::from_ptr(ffi::uv_version_string()) };
    version.to_string_lossy().into_owned()
}

/// Turns a negative result, which is an `errno`, into an error.
pub(super) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(result)
}

/// Memory for a number of handles or requests beside one another.
struct Slab {
    memory: *mut u8,
    layout: Layout,
}

/// A loop, and the memory of its handles and requests. The state of its callbacks must outlive it,
/// because dropping it closes all handles and runs the callbacks of pending requests.
pub(super) struct UvLoop {
    raw: *mut Loop,
    slabs: Vec<Slab>,
}

impl UvLoop {
    pub(super) fn new() -> io::Result<UvLoop> {
        let mut event_loop = UvLoop {
            raw: ptr::null_mut(),
            slabs: Vec::new(),
        };
        // SAFETY: the call only returns a number.
        let size = unsafe { ffi::uv_loop_size() };
        let (memory, _) = event_loop.allocate(size, 1);
        // SAFETY: the memory is of the size and alignment of a loop and lives as long as
        // `event_loop`.
        check(unsafe { ffi::uv_loop_init(memory.cast()) })?;
        event_loop.raw = memory.cast();
        Ok(event_loop)
    }

    pub(super) fn raw(&self) -> *mut Loop {
        self.raw
    }

    /// Zeroed memory for `count` items of `size` bytes, and the distance from one to the next.
    fn allocate(&mut self, size: usize, count: usize) -> (*mut u8, usize) {
        let stride = size.next_multiple_of(16).max(16);
        let layout = Layout::from_size_align(stride * count.max(1), 16).expect("a size in range");
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc::alloc_zeroed(layout) };
        if memory.is_null() {
            alloc::handle_alloc_error(layout);
        }
        self.slabs.push(Slab { memory, layout });
        (memory, stride)
    }

    /// Memory for `count` handles of a kind, none of them initialized.
    pub(super) fn handles(
        &mut self,
        kind: HandleType,
        count: usize,
    ) -> impl ExactSizeIterator<Item = *mut Handle> + use<> {
        // SAFETY: the call only returns a number.
        let size = unsafe { ffi::uv_handle_size(kind) };
        let (memory, stride) = self.allocate(size, count);
        (0..count).map(move |index| memory.wrapping_add(index * stride).cast())
    }

    /// Memory for `count` send requests.
    pub(super) fn requests(
        &mut self,
        count: usize,
    ) -> impl ExactSizeIterator<Item = *mut Request> + use<> {
        // SAFETY: the call only returns a number.
        let size = unsafe { ffi::uv_req_size(ffi::UDP_SEND) };
        let (memory, stride) = self.allocate(size, count);
        (0..count).map(move |index| memory.wrapping_add(index * stride).cast())
    }

    fn one(&mut self, kind: HandleType) -> *mut Handle {
        self.handles(kind, 1).next().expect("one handle")
    }

    /// A UDP handle in `memory`, bound to a free port of the loopback interface. Returns its
    /// address.
    pub(super) fn init_udp(&self, memory: *mut Handle, style: Style) -> io::Result<Address> {
        let flags = match style {
            Style::Queued => libc::AF_INET as c_uint,
            Style::Tried => libc::AF_INET as c_uint | ffi::UDP_RECVMMSG,
        };
        let any_port = address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mut bound = any_port;
        let mut len = mem::size_of::<Address>() as c_int;
        // SAFETY: `memory` comes from `handles` and is of the size of a UDP handle; the addresses
        // live until the calls return.
        unsafe {
            check(ffi::uv_udp_init_ex(self.raw, memory, flags))?;
            check(ffi::uv_udp_bind(memory, &any_port, 0))?;
            check(ffi::uv_udp_getsockname(memory, &mut bound, &mut len))?;
        }
        Ok(bound)
    }

    /// A new UDP handle, bound to a free port of the loopback interface, and its address.
    pub(super) fn udp(&mut self, style: Style) -> io::Result<(*mut Handle, Address)> {
        let memory = self.one(HandleType::Udp);
        Ok((memory, self.init_udp(memory, style)?))
    }

    /// Calls `callback` once per iteration: before the poll (`Prepare`), after it (`Check`), or
    /// before a poll that does not wait (`Idle`).
    pub(super) fn each_iteration<T>(
        &mut self,
        kind: HandleType,
        data: &T,
        callback: HandleCb,
    ) -> io::Result<()> {
        let handle = self.one(kind);
        // SAFETY: `handle` is memory for a handle of this kind; the loop is alive.
        let result = unsafe {
            match kind {
                HandleType::Prepare => ffi::uv_prepare_init(self.raw, handle),
                HandleType::Idle => ffi::uv_idle_init(self.raw, handle),
                _ => ffi::uv_check_init(self.raw, handle),
            }
        };
        check(result)?;
        set_data(handle, data);
        // SAFETY: `handle` was initialized just now as the kind that each call takes.
        let result = unsafe {
            match kind {
                HandleType::Prepare => ffi::uv_prepare_start(handle, callback),
                HandleType::Idle => ffi::uv_idle_start(handle, callback),
                _ => ffi::uv_check_start(handle, callback),
            }
        };
        check(result).map(drop)
    }

    /// A handle with which other threads wake the loop.
    pub(super) fn waker<T>(&mut self, data: &T, woken: HandleCb) -> io::Result<*mut Handle> {
        let handle = self.one(HandleType::Async);
        // SAFETY: `handle` is memory for an async handle; the loop is alive.
        check(unsafe { ffi::uv_async_init(self.raw, handle, woken) })?;
        set_data(handle, data);
        Ok(handle)
    }

    /// Runs until no handle is active or the loop is stopped.
    pub(super) fn run(&self) -> io::Result<()> {
        // SAFETY: the loop is alive, and this is not a callback of it.
        check(unsafe { ffi::uv_run(self.raw, ffi::RUN_DEFAULT) }).map(drop)
    }
}

impl Drop for UvLoop {
    fn drop(&mut self) {
        unsafe extern "C" fn close(handle: *mut Handle, _: *mut c_void) {
            // SAFETY: libuv walks over initialized handles only.
            unsafe {
                if ffi::uv_is_closing(handle) == 0 {
                    ffi::uv_close(handle, None);
                }
            }
        }
        if !self.raw.is_null() {
            // SAFETY: the loop is alive; after the run every handle is closed, so that the loop can
            // be, and nothing of libuv points into the slabs any more.
            unsafe {
                ffi::uv_walk(self.raw, close, ptr::null_mut());
                ffi::uv_run(self.raw, ffi::RUN_DEFAULT);
                let closed = ffi::uv_loop_close(self.raw);
                assert_eq!(closed, 0, "a libuv loop did not close");
            }
        }
        for slab in &self.slabs {
            // SAFETY: the slab was allocated with this layout, and nothing uses it any more.
            unsafe { alloc::dealloc(slab.memory, slab.layout) };
        }
    }
}

/// An IPv4 address in the form of the kernel.
pub(super) type Address = libc::sockaddr_in;

/// `address` in the form of the kernel. Sockets of this suite are bound to 127.0.0.1.
pub(super) fn address(address: SocketAddr) -> Address {
    let ip = match address {
        SocketAddr::V4(v4) => *v4.ip(),
        SocketAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(ip).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// The inverse of [`address`].
pub(super) fn std_address(address: &Address) -> SocketAddr {
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    SocketAddr::from((ip, u16::from_be(address.sin_port)))
}

/// Stores `data` for the callbacks of `handle`. It must outlive the loop.
pub(super) fn set_data<T>(handle: *mut Handle, data: &T) {
    // SAFETY: `handle` is initialized; the pointer is only stored.
    unsafe { ffi::uv_handle_set_data(handle, ptr::from_ref(data).cast_mut().cast()) }
}

/// Connects `handle`.
pub(super) fn connect(handle: *mut Handle, peer: &Address) -> io::Result<()> {
    // SAFETY: `handle` is an initialized UDP handle; the address is only read.
    check(unsafe { ffi::uv_udp_connect(handle, peer) }).map(drop)
}

/// Starts receiving into the memory that `alloc` supplies.
pub(super) fn recv_start<T>(
    handle: *mut Handle,
    data: &T,
    alloc: ffi::AllocCb,
    recv: RecvCb,
) -> io::Result<()> {
    set_data(handle, data);
    // SAFETY: `handle` is an initialized UDP handle, and its data is set for the callbacks.
    check(unsafe { ffi::uv_udp_recv_start(handle, alloc, recv) }).map(drop)
}

fn or_null(to: Option<&Address>) -> *const Address {
    to.map_or(ptr::null(), ptr::from_ref)
}

/// Sends with a request, which must not be in use; `bufs` point to memory that stays until `sent`
/// is called.
pub(super) fn send(
    request: *mut Request,
    handle: *mut Handle,
    bufs: &[Buf],
    to: Option<&Address>,
    sent: SendCb,
) -> io::Result<()> {
    let count = bufs.len() as c_uint;
    // SAFETY: request and handle come from a loop's slabs, the handle is initialized; libuv copies
    // `bufs` and `to`.
    let result =
        unsafe { ffi::uv_udp_send(request, handle, bufs.as_ptr(), count, or_null(to), sent) };
    check(result).map(drop)
}

/// Sends at once. Returns whether the kernel had room for the datagram.
pub(super) fn try_send(
    handle: *mut Handle,
    bufs: &[Buf],
    to: Option<&Address>,
) -> io::Result<bool> {
    // SAFETY: `handle` is an initialized UDP handle; the call only reads `bufs`, what they point
    // to, and `to`.
    let result =
        unsafe { ffi::uv_udp_try_send(handle, bufs.as_ptr(), bufs.len() as c_uint, or_null(to)) };
    if result == -libc::EAGAIN {
        return Ok(false);
    }
    check(result).map(|_| true)
}

/// `bytes` as libuv takes them. libuv only reads what it sends.
pub(super) fn buf(bytes: &[u8]) -> Buf {
    Buf {
        base: bytes.as_ptr().cast_mut().cast(),
        len: bytes.len(),
    }
}
