//! From the loop's memory into the program's.
//!
//! libuv asks the program for memory, and then the kernel for one datagram. Here the loop has received many with one system
//! call before the program is asked, and copies each into the program's memory: a copy costs a tenth of a system call. The
//! program sees the same calls in the same order: `alloc_cb`, `recv_cb`, and so on, and in the end `recv_cb` with nothing. A
//! datagram that the program has no memory for is kept, and offered in the next iteration.
//!
//! With `UV_UDP_RECVMMSG` nothing is copied: the kernel fills the program's large buffers, as many datagrams at a time as there
//! are 64 KiB in one, or as many more as it puts together (`UDP_GRO`).

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
use crate::pointers::Given;
use crate::types::{uv_buf_t, uv_handle_t, uv_udp_t};

/// What `alloc_cb` is told: every datagram fits.
const SUGGESTED: usize = 64 * 1024;
/// Datagrams that are kept at most. As with a full socket buffer, the rest is dropped.
const MAX_KEPT: usize = 4096;
/// Of them, those that are offered in one turn; the others come in the next iteration. As many as the handle itself delivers.
const MAX_OFFERED: usize = 128;
/// Bytes of a buffer that are used at most: those of the slots that one system call fills.
const MAX_LENT: usize = RecvBatch::MAX_SLOTS * RecvBatch::MAX_SLOT_LEN;

/// What the program gave to `uv_udp_recv_start`.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) alloc: unsafe extern "C" fn(Given<uv_handle_t>, usize, *mut uv_buf_t),
    pub(crate) recv:
        unsafe extern "C" fn(Given<uv_udp_t>, isize, *const uv_buf_t, *const sockaddr, c_uint),
}

/// The receiving half of a `uv_udp_t`. It is a source of its own so that it can have turns.
pub(crate) struct Receiver {
    handle: Handle,
    this: Given<uv_udp_t>,
    /// `UV_UDP_RECVMMSG`.
    large_buffers: bool,
    callbacks: Cell<Option<Callbacks>>,
    /// Counts what ends a delivery: starts, stops, another peer, and the close.
    epoch: Cell<u32>,
    /// Whom the handle is connected to.
    peer: Cell<Option<SocketAddr>>,
    closed: Cell<bool>,
    kept: RefCell<VecDeque<Kept>>,
}

/// A buffer that the program supplied, and the callbacks that it belongs to.
pub(crate) struct Lent {
    buf: uv_buf_t,
    callbacks: Callbacks,
}

impl RecvBuffer for Lent {
    fn as_uninit(&mut self) -> &mut UninitSlice {
        if self.buf.base.is_null() {
            return UninitSlice::new(&mut []);
        }
        let (base, len) = (
            self.buf.base.cast::<MaybeUninit<u8>>(),
            self.buf.len.min(MAX_LENT),
        );
        // SAFETY: the program lends so many bytes at `base` until it has them back, and leaves them alone until then; they are
        // fewer than `isize::MAX`.
        UninitSlice::uninit(unsafe { slice::from_raw_parts_mut(base, len) })
    }
}

/// A datagram that is kept.
struct Kept {
    data: Vec<u8>,
    source: SocketAddr,
    truncated: bool,
}

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Offer {
    Taken,
    Refused,
}

impl Receiver {
    pub(crate) fn new(event_loop: &Loop, this: Given<uv_udp_t>, large_buffers: bool) -> Rc<Self> {
        Rc::new_cyclic(|weak: &Weak<Self>| Self {
            handle: Handle::new(event_loop, weak.clone()),
            this,
            large_buffers,
            callbacks: Cell::new(None),
            epoch: Cell::new(0),
            peer: Cell::new(None),
            closed: Cell::new(false),
            kept: RefCell::default(),
        })
    }

    pub(crate) fn fills_large_buffers(&self) -> bool {
        self.large_buffers
    }

    pub(crate) fn start(&self, callbacks: Callbacks) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
        self.callbacks.set(Some(callbacks));
        if !self.kept.borrow().is_empty() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    pub(crate) fn stop(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
        self.callbacks.set(None);
    }

    /// The handle is closing: the program is not called with datagrams any more.
    pub(crate) fn close(&self) {
        self.stop();
        self.closed.set(true);
    }

    /// The handle has another peer, or none.
    pub(crate) fn set_peer(&self, peer: Option<SocketAddr>) {
        self.peer.set(peer);
        self.epoch.set(self.epoch.get().wrapping_add(1));
    }

    /// What one system call received, in the loop's memory.
    pub(crate) fn take(&self, mut batch: Batch<'_>) {
        let epoch = self.epoch.get();
        // What is kept came first.
        let callbacks = self.callbacks.get();
        let Some(callbacks) = callbacks.filter(|_| self.kept.borrow().is_empty()) else {
            return self.keep_all(batch);
        };
        while let Some(run) = batch.next_segments() {
            if let Some((first, run)) = self.offer_run(callbacks, run, epoch) {
                return self.keep_all(iter::once(first).chain(run).chain(batch));
            }
        }
        self.end_round(epoch);
    }

    #[cold]
    fn keep_all<'a>(&self, datagrams: impl Iterator<Item = Datagram<'a>>) {
        if self.is_open() {
            datagrams.for_each(|datagram| {
                self.keep(datagram.data, datagram.source, datagram.truncated);
            });
        }
    }

    fn is_open(&self) -> bool {
        !self.closed.get()
    }

    /// A buffer for several datagrams, into which they are received straight away. There is none before what is kept was taken.
    pub(crate) fn lend(&self) -> Option<Lent> {
        if !self.kept.borrow().is_empty() {
            self.offer_kept();
        }
        let callbacks = self.callbacks.get()?;
        if !self.kept.borrow().is_empty() {
            return None;
        }
        let mut buf = uv_buf_t::NONE;
        self.alloc(callbacks, &mut buf);
        Some(Lent { buf, callbacks })
    }

    /// The buffer again, with what became of it.
    pub(crate) fn take_back(&self, lent: Option<Lent>, outcome: Result<&[RecvMeta], Errno>) {
        match (lent, outcome) {
            (Some(lent), Ok([arrival, ..])) if lent.buf.len < SUGGESTED => {
                self.hand_over_one(&lent, arrival);
            }
            (Some(lent), Ok(arrivals)) if !arrivals.is_empty() => self.hand_over(&lent, arrivals),
            // The program ended receiving instead of supplying one.
            (Some(lent), Ok(_)) if is_empty(&lent.buf) => {}
            (Some(Lent { buf, callbacks }), outcome) => {
                let status = outcome.map_or_else(|error| -error.raw(), |_| 0);
                self.give_back(callbacks, &buf, status);
            }
            // There was none because of what is kept.
            (None, Err(Errno::ENOBUFS)) | (None, Ok(_)) => {}
            (None, Err(error)) => self.take_error(error),
        }
    }

    /// Hands over what was received into a buffer for several datagrams, one after the other. The program has the buffer again
    /// with the last call.
    fn hand_over(&self, lent: &Lent, arrivals: &[RecvMeta]) {
        let Lent { buf, callbacks } = lent;
        let epoch = self.epoch.get();
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
                    // What else is in the slot belongs to the others of a run.
                    len: if len < arrival.len { len } else { SUGGESTED },
                };
                let truncated = arrival.truncated && at + len == arrival.len;
                if self.epoch.get() == epoch {
                    let partial = if truncated { UV_UDP_PARTIAL } else { 0 };
                    let flags = UV_UDP_MMSG_CHUNK | partial;
                    self.recv(*callbacks, len.cast_signed(), &chunk, source, flags);
                } else if self.is_open() {
                    // SAFETY: the kernel stored so many bytes there, and the program leaves the buffer in place until it comes
                    // back with UV_UDP_MMSG_FREE, below.
                    let data = unsafe { slice::from_raw_parts(chunk.base.cast(), len) };
                    self.keep(data, arrival.source, truncated);
                }
                at += len.max(1);
            }
        }
        self.recv(*callbacks, 0, buf, ptr::null(), UV_UDP_MMSG_FREE);
        // Behind a full buffer there is another read, which says so itself if there is nothing more.
        if arrivals.len() < buf.len / SUGGESTED {
            self.end_round(epoch);
        }
    }

    /// Hands over what was received into a buffer for one datagram, which is the program's again with the call: what else is in
    /// it, because somebody else switched `UDP_GRO` on, is kept before that.
    fn hand_over_one(&self, lent: &Lent, arrival: &RecvMeta) {
        let Lent { buf, callbacks } = lent;
        // SAFETY: the kernel stored so many bytes at the start of the buffer, and the program has it back below.
        let stored = unsafe { slice::from_raw_parts(buf.base.cast_const().cast(), arrival.len) };
        let mut run = arrival.segments(stored);
        let Some(first) = run.next() else {
            return self.give_back(*callbacks, buf, 0);
        };
        let (len, truncated) = (first.data.len(), first.truncated);
        for datagram in run {
            self.keep(datagram.data, datagram.source, datagram.truncated);
        }
        let source = Raw::from(&arrival.source);
        let partial = if truncated { UV_UDP_PARTIAL } else { 0 };
        self.recv(*callbacks, len.cast_signed(), buf, source.as_ptr(), partial);
    }

    /// Offers datagrams that came together; gives back what the program refused, and what was behind it. A loop of its own,
    /// in which all that it needs is in registers.
    #[inline(never)]
    fn offer_run<'a>(
        &self,
        callbacks: Callbacks,
        mut run: Segments<'a>,
        epoch: u32,
    ) -> Option<(Datagram<'a>, Segments<'a>)> {
        let source = Raw::from(&run.source());
        let source = source.as_ptr();
        while let Some(datagram) = run.next() {
            if self.epoch.get() != epoch
                || self.offer(callbacks, datagram.data, source, datagram.truncated)
                    == Offer::Refused
            {
                return Some((datagram, run));
            }
        }
        None
    }

    /// The network's answer to an earlier datagram, or an error of receiving. libuv has asked for memory by then.
    pub(crate) fn take_error(&self, error: Errno) {
        if let Some(callbacks) = self.callbacks.get() {
            let mut buf = uv_buf_t::NONE;
            self.alloc(callbacks, &mut buf);
            self.give_back(callbacks, &buf, -error.raw());
        }
    }

    fn keep(&self, data: &[u8], source: SocketAddr, truncated: bool) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.push_back(Kept {
                data: data.to_vec(),
                source,
                truncated,
            });
        }
        if self.callbacks.get().is_some() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Offers what is kept, as far as the budget of a turn goes, until the program refuses.
    fn offer_kept(&self) {
        let epoch = self.epoch.get();
        let mut left = MAX_OFFERED;
        while left > 0
            && let Some(callbacks) = self.callbacks.get().filter(|_| self.epoch.get() == epoch)
        {
            left -= 1;
            let next = self.kept.borrow_mut().pop_front();
            let Some(next) = next else { break };
            if !self.admits(&next.source) {
                continue;
            }
            let source = Raw::from(&next.source);
            if self.offer(callbacks, &next.data, source.as_ptr(), next.truncated) == Offer::Refused
            {
                self.kept.borrow_mut().push_front(next);
                break;
            }
        }
        if self.callbacks.get().is_some() && !self.kept.borrow().is_empty() {
            self.handle.schedule(Phase::Dispatch);
        }
        self.end_round(epoch);
    }

    /// Whether the program may still have a datagram that was kept: if the handle was connected meanwhile, it takes its
    /// peer's only.
    fn admits(&self, source: &SocketAddr) -> bool {
        let is_it = |peer: SocketAddr| (peer.ip(), peer.port()) == (source.ip(), source.port());
        self.is_open() && self.peer.get().is_none_or(is_it)
    }

    /// Asks the program for memory.
    fn alloc(&self, callbacks: Callbacks, buf: &mut uv_buf_t) {
        // SAFETY: the program's own function, with the handle that it was given for, which is in place until its close
        // callback, and room for a buffer.
        unsafe { (callbacks.alloc)(self.this.base(), SUGGESTED, &raw mut *buf) };
    }

    fn recv(
        &self,
        callbacks: Callbacks,
        nread: isize,
        buf: &uv_buf_t,
        addr: *const sockaddr,
        flags: c_uint,
    ) {
        // SAFETY: the program's own function, with the handle that it was given for, which is in place: if it was closed in this
        // turn, the close callback comes after it. `buf` and `addr` are borrowed for the call, or null.
        unsafe { (callbacks.recv)(self.this, nread, buf, addr, flags) };
    }

    /// Gives memory back in which nothing was stored.
    fn give_back(&self, callbacks: Callbacks, buf: &uv_buf_t, status: c_int) {
        let nread = status.try_into().unwrap_or(isize::MIN);
        self.recv(callbacks, nread, buf, ptr::null(), 0);
    }

    /// Offers one datagram. The callbacks may do anything, so nothing is believed across them but the epoch.
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
        if !self.supplied(callbacks, &mut buf) {
            return Offer::Refused;
        }
        self.store(callbacks, &buf, data, source, partial);
        Offer::Taken
    }

    /// The same for a handle with buffers for several datagrams: one of its own for each.
    #[inline(never)]
    fn offer_in_large(
        &self,
        callbacks: Callbacks,
        data: &[u8],
        source: *const sockaddr,
        partial: c_uint,
    ) -> Offer {
        let mut whole = uv_buf_t::NONE;
        if !self.supplied(callbacks, &mut whole) {
            return Offer::Refused;
        }
        if whole.len < SUGGESTED {
            self.store(callbacks, &whole, data, source, partial);
        } else {
            let chunk = uv_buf_t {
                len: SUGGESTED,
                ..whole
            };
            self.store(callbacks, &chunk, data, source, UV_UDP_MMSG_CHUNK | partial);
            self.recv(callbacks, 0, &whole, ptr::null(), UV_UDP_MMSG_FREE);
        }
        Offer::Taken
    }

    /// Asks the program for memory, and says whether a datagram may be stored there. If not, the program has it back, and hears
    /// that it supplied none unless it ended receiving instead.
    #[inline(always)]
    fn supplied(&self, callbacks: Callbacks, buf: &mut uv_buf_t) -> bool {
        let epoch = self.epoch.get();
        self.alloc(callbacks, buf);
        match (self.epoch.get() == epoch, is_empty(buf)) {
            (true, false) => return true,
            (true, true) => self.give_back(callbacks, buf, -libc::ENOBUFS),
            (false, false) => self.give_back(callbacks, buf, 0),
            (false, true) => {}
        }
        false
    }

    /// Copies a datagram into the program's memory, and hands that over.
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
        // SAFETY: the program supplied `buf.len` bytes at `buf.base`, which is not null (`supplied`), and no program has memory
        // of the loop's to supply.
        unsafe {
            buf.base
                .cast::<u8>()
                .copy_from_nonoverlapping(data.as_ptr(), len)
        };
        let flags = flags | if len < data.len() { UV_UDP_PARTIAL } else { 0 };
        let nread = len.cast_signed();
        self.recv(callbacks, nread, buf, source, flags);
    }

    /// Says that there is nothing more to read, unless something is kept, or receiving was stopped or began anew since `epoch`.
    fn end_round(&self, epoch: u32) {
        if let Some(callbacks) = self.callbacks.get()
            && self.epoch.get() == epoch
            && self.kept.borrow().is_empty()
        {
            let mut buf = uv_buf_t::NONE;
            if self.supplied(callbacks, &mut buf) {
                self.give_back(callbacks, &buf, 0);
            }
        }
    }
}

/// Whether there is no room in it.
fn is_empty(buf: &uv_buf_t) -> bool {
    buf.base.is_null() || buf.len == 0
}

impl Source for Receiver {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        if phase == Phase::Dispatch {
            self.offer_kept();
        }
    }
}
