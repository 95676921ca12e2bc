//! Delivers datagrams into the program's buffers.
//!
//! libuv asks the program for a buffer, and then the kernel for one datagram. Here one system call
//! has received a batch before the program is asked, and each datagram is copied: a copy costs a
//! tenth of a system call. The program sees libuv's order of calls: `alloc_cb` and `recv_cb` per
//! datagram, and at the end a `recv_cb` with 0 bytes and no address. A datagram that the program
//! supplies no buffer for is deferred to the next iteration.
//!
//! With `UV_UDP_RECVMMSG` nothing is copied: the kernel fills the program's buffer in slots of 64
//! KiB. With `UDP_GRO` a slot takes several datagrams.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};
use std::iter;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ptr;
use std::rc::{Rc, Weak};
use std::slice;

use libc::sockaddr;
use uv_core::{Handle, Loop, Phase, Source};
use uv_sys::RecvBatch;
use uv_udp::{Batch, Datagram, Errno, RecvBuffer, RecvMeta, Segments, UninitSlice};

use super::flags::{UV_UDP_MMSG_CHUNK, UV_UDP_MMSG_FREE, UV_UDP_PARTIAL};
use crate::address::Raw;
use crate::pointers::CPtr;
use crate::results::number;
use crate::types::{uv_buf_t, uv_handle_t, uv_udp_t};

/// The size suggested to `alloc_cb`, in bytes: every datagram fits.
const SUGGESTED_LEN: usize = 64 * 1024;
/// The most deferred datagrams. Further ones are dropped, as with a full socket buffer.
const MAX_DEFERRED: usize = 4096;
/// The most deferred datagrams that one iteration offers: the same as the handle's own limit.
const MAX_OFFERED: usize = 128;
/// The most bytes of a buffer that are used: the slots that one system call fills.
const MAX_LENT: usize = RecvBatch::MAX_SLOTS * RecvBatch::MAX_SLOT_LEN;

/// The callbacks of `uv_udp_recv_start`.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) alloc: unsafe extern "C" fn(CPtr<uv_handle_t>, usize, *mut uv_buf_t),
    pub(crate) recv:
        unsafe extern "C" fn(CPtr<uv_udp_t>, isize, *const uv_buf_t, *const sockaddr, c_uint),
}

/// The receiving half of a `uv_udp_t`. It is a source of its own to schedule deferred datagrams.
pub(crate) struct Receiver {
    handle: Handle,
    this: CPtr<uv_udp_t>,
    /// `UV_UDP_RECVMMSG`.
    large_buffers: bool,
    callbacks: Cell<Option<Callbacks>>,
    /// Incremented by start, stop, a new peer and close, which all end the current delivery.
    generation: Cell<u32>,
    /// The peer of a connected handle.
    peer: Cell<Option<SocketAddr>>,
    closed: Cell<bool>,
    deferred: RefCell<VecDeque<Deferred>>,
}

/// A buffer from `alloc_cb`, with the callbacks to return it to.
pub(crate) struct LentBuffer {
    buf: uv_buf_t,
    callbacks: Callbacks,
}

impl RecvBuffer for LentBuffer {
    fn as_uninit(&mut self) -> &mut UninitSlice {
        if self.buf.base.is_null() {
            return UninitSlice::new(&mut []);
        }
        let (base, len) = (
            self.buf.base.cast::<MaybeUninit<u8>>(),
            self.buf.len.min(MAX_LENT),
        );
        // SAFETY: the program leaves the buffer to this library until it is returned. `MAX_LENT` is
        // less than `isize::MAX`.
        UninitSlice::uninit(unsafe { slice::from_raw_parts_mut(base, len) })
    }
}

/// A datagram that waits for a buffer.
struct Deferred {
    data: Vec<u8>,
    source: SocketAddr,
    truncated: bool,
}

/// The result of an offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Taken,
    Refused,
}

impl Receiver {
    pub(crate) fn new(event_loop: &Loop, this: CPtr<uv_udp_t>, large_buffers: bool) -> Rc<Self> {
        Rc::new_cyclic(|weak: &Weak<Self>| Self {
            handle: Handle::new(event_loop, weak.clone()),
            this,
            large_buffers,
            callbacks: Cell::new(None),
            generation: Cell::new(0),
            peer: Cell::new(None),
            closed: Cell::new(false),
            deferred: RefCell::default(),
        })
    }

    pub(crate) fn fills_large_buffers(&self) -> bool {
        self.large_buffers
    }

    pub(crate) fn start(&self, callbacks: Callbacks) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.callbacks.set(Some(callbacks));
        if !self.deferred.borrow().is_empty() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    pub(crate) fn stop(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.callbacks.set(None);
    }

    /// Ends the calls of the program's callbacks: the handle is closing.
    pub(crate) fn close(&self) {
        self.stop();
        self.closed.set(true);
    }

    /// Sets the peer, or none, after a connect or disconnect.
    pub(crate) fn set_peer(&self, peer: Option<SocketAddr>) {
        self.peer.set(peer);
        self.generation.set(self.generation.get().wrapping_add(1));
    }

    /// Delivers the datagrams of one system call, which are in the loop's memory.
    pub(crate) fn on_batch(&self, mut batch: Batch<'_>) {
        let generation = self.generation.get();
        // Deferred datagrams are older.
        let callbacks = self.callbacks.get();
        let Some(callbacks) = callbacks.filter(|_| self.deferred.borrow().is_empty()) else {
            return self.defer_all(batch);
        };
        while let Some(run) = batch.next_segments() {
            if let Some((first, run)) = self.offer_segments(callbacks, run, generation) {
                return self.defer_all(iter::once(first).chain(run).chain(batch));
            }
        }
        self.report_empty(generation);
    }

    #[cold]
    fn defer_all<'a>(&self, datagrams: impl Iterator<Item = Datagram<'a>>) {
        if self.is_open() {
            datagrams.for_each(|datagram| {
                self.defer(datagram.data, datagram.source, datagram.truncated);
            });
        }
    }

    fn is_open(&self) -> bool {
        !self.closed.get()
    }

    /// Asks the program for a buffer that the kernel fills directly. `None` while datagrams are
    /// deferred.
    pub(crate) fn lend(&self) -> Option<LentBuffer> {
        if !self.deferred.borrow().is_empty() {
            self.offer_deferred();
        }
        let callbacks = self.callbacks.get()?;
        if !self.deferred.borrow().is_empty() {
            return None;
        }
        let mut buf = uv_buf_t::NONE;
        self.alloc(callbacks, &mut buf);
        Some(LentBuffer { buf, callbacks })
    }

    /// Handles the result of a read into a lent buffer.
    pub(crate) fn take_back(&self, lent: Option<LentBuffer>, outcome: Result<&[RecvMeta], Errno>) {
        match (lent, outcome) {
            (Some(lent), Ok([arrival, ..])) if lent.buf.len < SUGGESTED_LEN => {
                self.deliver_single(&lent, arrival);
            }
            (Some(lent), Ok(arrivals)) if !arrivals.is_empty() => {
                self.deliver_chunks(&lent, arrivals)
            }
            // `alloc_cb` stopped receiving and supplied no buffer.
            (Some(lent), Ok(_)) if is_empty(&lent.buf) => {}
            (Some(LentBuffer { buf, callbacks }), outcome) => {
                let status = outcome.map_or_else(number, |_| 0);
                self.return_unused(callbacks, &buf, status);
            }
            // No buffer was lent while datagrams were deferred.
            (None, Err(Errno::ENOBUFS)) | (None, Ok(_)) => {}
            (None, Err(error)) => self.on_error(error),
        }
    }

    /// Delivers the datagrams of a large buffer in order. The last call returns the buffer.
    fn deliver_chunks(&self, lent: &LentBuffer, arrivals: &[RecvMeta]) {
        let LentBuffer { buf, callbacks } = lent;
        let generation = self.generation.get();
        for arrival in arrivals {
            let source = Raw::from(&arrival.source);
            let source = source.as_ptr();
            let run = arrival
                .metadata
                .segment_size
                .map_or(usize::MAX, usize::from);
            let mut at = 0;
            while at < arrival.len || at == 0 {
                let len = (arrival.len - at).min(run);
                let chunk = uv_buf_t {
                    base: buf.base.wrapping_add(arrival.offset + at),
                    // The rest of the slot belongs to the other segments.
                    len: if len < arrival.len {
                        len
                    } else {
                        SUGGESTED_LEN
                    },
                };
                let truncated = arrival.truncated && at + len == arrival.len;
                if self.generation.get() == generation {
                    let partial = if truncated { UV_UDP_PARTIAL } else { 0 };
                    let flags = UV_UDP_MMSG_CHUNK | partial;
                    self.recv(*callbacks, len.cast_signed(), &chunk, source, flags);
                } else if self.is_open() {
                    // SAFETY: the kernel stored `len` bytes there. The program leaves the buffer in
                    // place until the UV_UDP_MMSG_FREE below.
                    let data = unsafe { slice::from_raw_parts(chunk.base.cast(), len) };
                    self.defer(data, arrival.source, truncated);
                }
                at += len.max(1);
            }
        }
        self.recv(*callbacks, 0, buf, ptr::null(), UV_UDP_MMSG_FREE);
        // After a full buffer another read follows, which reports the end itself.
        if arrivals.len() < buf.len / SUGGESTED_LEN {
            self.report_empty(generation);
        }
    }

    /// Delivers from a small buffer, which the call returns to the program. If the program has set
    /// `UDP_GRO`, the buffer may hold several segments: those after the first are deferred before
    /// the call.
    fn deliver_single(&self, lent: &LentBuffer, arrival: &RecvMeta) {
        let LentBuffer { buf, callbacks } = lent;
        // SAFETY: the kernel stored `len` bytes at the start. The buffer is returned below.
        let stored = unsafe { slice::from_raw_parts(buf.base.cast_const().cast(), arrival.len) };
        let mut run = arrival.segments(stored);
        let Some(first) = run.next() else {
            return self.return_unused(*callbacks, buf, 0);
        };
        let (len, truncated) = (first.data.len(), first.truncated);
        for datagram in run {
            self.defer(datagram.data, datagram.source, datagram.truncated);
        }
        let source = Raw::from(&arrival.source);
        let partial = if truncated { UV_UDP_PARTIAL } else { 0 };
        self.recv(*callbacks, len.cast_signed(), buf, source.as_ptr(), partial);
    }

    /// Offers the segments of one message, and returns the refused one with those behind it. A
    /// separate function keeps the state of this loop in registers.
    #[inline(never)]
    fn offer_segments<'a>(
        &self,
        callbacks: Callbacks,
        mut run: Segments<'a>,
        generation: u32,
    ) -> Option<(Datagram<'a>, Segments<'a>)> {
        let source = Raw::from(&run.source());
        let source = source.as_ptr();
        while let Some(datagram) = run.next() {
            if self.generation.get() != generation
                || self.offer(callbacks, datagram.data, source, datagram.truncated)
                    == Offer::Refused
            {
                return Some((datagram, run));
            }
        }
        None
    }

    /// Reports an error. libuv has called `alloc_cb` by then, so this does, too.
    pub(crate) fn on_error(&self, error: Errno) {
        if let Some(callbacks) = self.callbacks.get() {
            let mut buf = uv_buf_t::NONE;
            self.alloc(callbacks, &mut buf);
            self.return_unused(callbacks, &buf, number(error));
        }
    }

    fn defer(&self, data: &[u8], source: SocketAddr, truncated: bool) {
        let mut deferred = self.deferred.borrow_mut();
        if deferred.len() < MAX_DEFERRED {
            deferred.push_back(Deferred {
                data: data.to_vec(),
                source,
                truncated,
            });
        }
        if self.callbacks.get().is_some() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Offers deferred datagrams until the program refuses one, `MAX_OFFERED` at most.
    fn offer_deferred(&self) {
        let generation = self.generation.get();
        let mut left = MAX_OFFERED;
        while left > 0
            && let Some(callbacks) = self
                .callbacks
                .get()
                .filter(|_| self.generation.get() == generation)
        {
            left -= 1;
            let next = self.deferred.borrow_mut().pop_front();
            let Some(next) = next else { break };
            if !self.admits(&next.source) {
                continue;
            }
            let source = Raw::from(&next.source);
            if self.offer(callbacks, &next.data, source.as_ptr(), next.truncated) == Offer::Refused
            {
                self.deferred.borrow_mut().push_front(next);
                break;
            }
        }
        if self.callbacks.get().is_some() && !self.deferred.borrow().is_empty() {
            self.handle.schedule(Phase::Dispatch);
        }
        self.report_empty(generation);
    }

    /// Whether a deferred datagram may be delivered: on a connected handle only the peer's.
    fn admits(&self, source: &SocketAddr) -> bool {
        let is_it = |peer: SocketAddr| (peer.ip(), peer.port()) == (source.ip(), source.port());
        self.is_open() && self.peer.get().is_none_or(is_it)
    }

    /// Asks the program for memory.
    fn alloc(&self, callbacks: Callbacks, buf: &mut uv_buf_t) {
        // SAFETY: a callback of the program, with its handle, which is in place until its close
        // callback, and memory for a buffer.
        unsafe { (callbacks.alloc)(self.this.base(), SUGGESTED_LEN, &raw mut *buf) };
    }

    fn recv(
        &self,
        callbacks: Callbacks,
        nread: isize,
        buf: &uv_buf_t,
        addr: *const sockaddr,
        flags: c_uint,
    ) {
        // SAFETY: a callback of the program, with its handle, which is in place: the close callback
        // comes later in any case. `buf` and `addr` are borrowed for the call, or null.
        unsafe { (callbacks.recv)(self.this, nread, buf, addr, flags) };
    }

    /// Returns a buffer without a datagram.
    fn return_unused(&self, callbacks: Callbacks, buf: &uv_buf_t, status: c_int) {
        let nread = status.try_into().unwrap_or(isize::MIN);
        self.recv(callbacks, nread, buf, ptr::null(), 0);
    }

    /// Offers one datagram. The callbacks may change everything; only `generation` tells.
    #[inline(always)]
    fn offer(
        &self,
        callbacks: Callbacks,
        data: &[u8],
        source: *const sockaddr,
        truncated: bool,
    ) -> Offer {
        let partial = if truncated { UV_UDP_PARTIAL } else { 0 };
        if self.large_buffers {
            return self.offer_in_large(callbacks, data, source, partial);
        }
        let mut buf = uv_buf_t::NONE;
        if !self.allocate(callbacks, &mut buf) {
            return Offer::Refused;
        }
        self.store(callbacks, &buf, data, source, partial);
        Offer::Taken
    }

    /// The same with a large buffer for each datagram.
    #[inline(never)]
    fn offer_in_large(
        &self,
        callbacks: Callbacks,
        data: &[u8],
        source: *const sockaddr,
        partial: c_uint,
    ) -> Offer {
        let mut whole = uv_buf_t::NONE;
        if !self.allocate(callbacks, &mut whole) {
            return Offer::Refused;
        }
        if whole.len < SUGGESTED_LEN {
            self.store(callbacks, &whole, data, source, partial);
        } else {
            let chunk = uv_buf_t {
                len: SUGGESTED_LEN,
                ..whole
            };
            self.store(callbacks, &chunk, data, source, UV_UDP_MMSG_CHUNK | partial);
            self.recv(callbacks, 0, &whole, ptr::null(), UV_UDP_MMSG_FREE);
        }
        Offer::Taken
    }

    /// Asks the program for a buffer. If receiving stopped meanwhile, the buffer is returned
    /// unused. Without a buffer the callback receives `UV_ENOBUFS`, unless receiving stopped.
    #[inline(always)]
    fn allocate(&self, callbacks: Callbacks, buf: &mut uv_buf_t) -> bool {
        let generation = self.generation.get();
        self.alloc(callbacks, buf);
        match (self.generation.get() == generation, is_empty(buf)) {
            (true, false) => return true,
            (true, true) => self.return_unused(callbacks, buf, -libc::ENOBUFS),
            (false, false) => self.return_unused(callbacks, buf, 0),
            (false, true) => {}
        }
        false
    }

    /// Copies a datagram into the program's buffer, and returns that.
    #[inline(always)]
    fn store(
        &self,
        callbacks: Callbacks,
        buf: &uv_buf_t,
        data: &[u8],
        source: *const sockaddr,
        flags: c_uint,
    ) {
        let len = data.len().min(buf.len);
        // SAFETY: the program supplied `buf.len` bytes at `buf.base`, which `allocate` has checked
        // for null. The loop's memory does not overlap with a buffer of the program.
        unsafe {
            buf.base
                .cast::<u8>()
                .copy_from_nonoverlapping(data.as_ptr(), len)
        };
        let flags = flags | if len < data.len() { UV_UDP_PARTIAL } else { 0 };
        let nread = len.cast_signed();
        self.recv(callbacks, nread, buf, source, flags);
    }

    /// Reports an empty read. Not while datagrams are deferred, nor after a stop or start since
    /// `generation`.
    fn report_empty(&self, generation: u32) {
        if let Some(callbacks) = self.callbacks.get()
            && self.generation.get() == generation
            && self.deferred.borrow().is_empty()
        {
            let mut buf = uv_buf_t::NONE;
            if self.allocate(callbacks, &mut buf) {
                self.return_unused(callbacks, &buf, 0);
            }
        }
    }
}

/// Whether the buffer takes no byte.
fn is_empty(buf: &uv_buf_t) -> bool {
    buf.base.is_null() || buf.len == 0
}

impl Source for Receiver {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        if phase == Phase::Dispatch {
            self.offer_deferred();
        }
    }
}
