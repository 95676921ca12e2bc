//! From the loop's memory into the program's.
//!
//! libuv asks the program for memory, and then the kernel for one datagram. Here the loop has received many with one system
//! call before the program is asked, and copies each into the program's memory: a copy costs a tenth of a system call. The
//! program sees the same calls in the same order: `alloc_cb`, `recv_cb`, and so on, and in the end `recv_cb` with nothing,
//! before the loop polls again. A datagram that the program has no memory for is kept, and offered in the next iteration.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};
use std::iter;
use std::net::SocketAddr;
use std::ptr;
use std::rc::{Rc, Weak};

use libc::sockaddr;
use uv_core::{Handle, Loop, Phase, Source};
use uv_udp::{Batch, Datagram, Errno, Run};

use super::flags::{UV_UDP_MMSG_CHUNK, UV_UDP_MMSG_FREE, UV_UDP_PARTIAL};
use super::udp_box;
use crate::address::Raw;
use crate::types::{uv_buf_t, uv_handle_t, uv_udp_t};

/// What `alloc_cb` is told: every datagram fits.
const SUGGESTED: usize = 64 * 1024;
/// Datagrams that are kept at most. As with a full socket buffer, the rest is dropped.
const MAX_KEPT: usize = 4096;

/// What the program gave to `uv_udp_recv_start`.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) alloc: unsafe extern "C" fn(*mut uv_handle_t, usize, *mut uv_buf_t),
    pub(crate) recv:
        unsafe extern "C" fn(*mut uv_udp_t, isize, *const uv_buf_t, *const sockaddr, c_uint),
}

/// The receiving half of a `uv_udp_t`. It is a source of its own so that it can have turns.
pub(crate) struct Receiver {
    handle: Handle,
    this: *mut uv_udp_t,
    /// `UV_UDP_RECVMMSG`.
    large_buffers: bool,
    callbacks: Cell<Option<Callbacks>>,
    /// Counts what ends a delivery: starts, stops, another peer, and the close.
    epoch: Cell<u32>,
    /// A buffer for several datagrams that is being filled, and who supplied it.
    large: Cell<Option<(Callbacks, Large)>>,
    /// Whether the program is owed the call that ends a round.
    round: Cell<bool>,
    kept: RefCell<VecDeque<Kept>>,
}

#[derive(Clone, Copy)]
struct Large {
    whole: uv_buf_t,
    used: usize,
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
    pub(crate) fn new(lp: &Loop, this: *mut uv_udp_t, large_buffers: bool) -> Rc<Self> {
        Rc::new_cyclic(|weak: &Weak<Self>| Self {
            handle: Handle::new(lp, weak.clone()),
            this,
            large_buffers,
            callbacks: Cell::new(None),
            epoch: Cell::new(0),
            large: Cell::new(None),
            round: Cell::new(false),
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
        // Whoever starts anew has not read anything yet.
        self.round.set(false);
    }

    /// The handle has another peer, or none: who may be heard is to be asked anew.
    pub(crate) fn peer_changed(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
    }

    /// What one system call received, in the loop's memory.
    pub(crate) fn take(&self, mut batch: Batch<'_>) {
        let epoch = self.epoch.get();
        self.end_round_later();
        let mut refused = None;
        // What is kept came first.
        let callbacks = self.callbacks.get();
        if let Some(callbacks) = callbacks.filter(|_| self.kept.borrow().is_empty()) {
            while refused.is_none()
                && let Some(run) = batch.next_run()
            {
                refused = self.offer_run(callbacks, run, epoch);
            }
        }
        // SAFETY: the structure is in place: the close callback does not come in the turn of a delivery.
        if unsafe { udp_box(self.this) }.is_ok() {
            let run = refused.map(|(first, run)| iter::once(first).chain(run));
            let rest = run.into_iter().flatten().chain(batch);
            rest.for_each(|datagram| self.keep(&datagram));
        }
    }

    /// Offers datagrams that came together; gives back what the program refused, and what was behind it. A loop of its own,
    /// in which all that it needs is in registers.
    #[inline(never)]
    fn offer_run<'a>(
        &self,
        callbacks: Callbacks,
        mut run: Run<'a>,
        epoch: u32,
    ) -> Option<(Datagram<'a>, Run<'a>)> {
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

    /// Before the handle goes: a buffer that is being filled is the program's.
    pub(crate) fn finish(&self) {
        self.free_large();
    }

    fn end_round_later(&self) {
        // The callback may have stopped: then nobody is owed anything.
        if self.callbacks.get().is_some() && !self.round.replace(true) {
            self.handle.schedule(Phase::Completions);
        }
    }

    fn keep(&self, datagram: &Datagram<'_>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.push_back(Kept {
                data: datagram.data.to_vec(),
                source: datagram.source,
                truncated: datagram.truncated,
            });
        }
        if self.callbacks.get().is_some() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Offers what is kept, until the program refuses.
    fn offer_kept(&self) {
        let epoch = self.epoch.get();
        while let Some(callbacks) = self.callbacks.get().filter(|_| self.epoch.get() == epoch) {
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
            self.end_round_later();
        }
        if self.callbacks.get().is_some() && !self.kept.borrow().is_empty() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Whether the program may still have a datagram that was kept: if the handle was connected meanwhile, it takes its
    /// peer's only.
    fn admits(&self, source: &SocketAddr) -> bool {
        // SAFETY: the structure is in place, because receiving has not ended.
        let Ok(udp) = (unsafe { udp_box(self.this) }) else {
            return false;
        };
        let peer = udp.udp.peer_addr();
        peer.map_or(true, |peer| {
            (peer.ip(), peer.port()) == (source.ip(), source.port())
        })
    }

    /// Asks the program for memory.
    fn alloc(&self, callbacks: Callbacks, buf: &mut uv_buf_t) {
        // SAFETY: the program's own function, with a handle that is in place, and room for a buffer.
        unsafe { (callbacks.alloc)(self.this.cast(), SUGGESTED, &raw mut *buf) };
    }

    fn recv(
        &self,
        callbacks: Callbacks,
        nread: isize,
        buf: &uv_buf_t,
        addr: *const sockaddr,
        flags: c_uint,
    ) {
        // SAFETY: the program's own function, with a handle that is in place: if it was closed in this turn, the close
        // callback comes after it.
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

    /// The same for a handle with buffers for several datagrams.
    #[inline(never)]
    fn offer_in_large(
        &self,
        callbacks: Callbacks,
        data: &[u8],
        source: *const sockaddr,
        partial: c_uint,
    ) -> Offer {
        let (supplier, large) = match self.large.take() {
            Some(begun) => begun,
            None => {
                let mut whole = uv_buf_t::NONE;
                if !self.supplied(callbacks, &mut whole) {
                    return Offer::Refused;
                }
                // As in libuv, one buffer for several also where there is room for no more than one.
                if whole.len < SUGGESTED {
                    self.store(callbacks, &whole, data, source, partial);
                    return Offer::Taken;
                }
                (callbacks, Large { whole, used: 0 })
            }
        };
        let chunk = uv_buf_t {
            base: large.whole.base.wrapping_add(large.used),
            len: SUGGESTED,
        };
        let used = large.used + SUGGESTED;
        self.large.set(Some((supplier, Large { used, ..large })));
        self.store(supplier, &chunk, data, source, UV_UDP_MMSG_CHUNK | partial);
        if large.whole.len - used < SUGGESTED || self.callbacks.get().is_none() {
            self.free_large();
        }
        Offer::Taken
    }

    /// Asks the program for memory, and says whether a datagram may be stored there. If not, the program has it back.
    #[inline(always)]
    fn supplied(&self, callbacks: Callbacks, buf: &mut uv_buf_t) -> bool {
        let epoch = self.epoch.get();
        self.alloc(callbacks, buf);
        let empty = buf.base.is_null() || buf.len == 0;
        if empty || self.epoch.get() != epoch {
            self.give_back(callbacks, buf, if empty { -libc::ENOBUFS } else { 0 });
            return false;
        }
        true
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
        // SAFETY: the program supplied `buf.len` bytes of its own, which cannot be those of the loop.
        unsafe {
            buf.base
                .cast::<u8>()
                .copy_from_nonoverlapping(data.as_ptr(), len)
        };
        let flags = flags | if len < data.len() { UV_UDP_PARTIAL } else { 0 };
        let nread = len.cast_signed();
        self.recv(callbacks, nread, buf, source, flags);
    }

    fn free_large(&self) {
        if let Some((supplier, large)) = self.large.take() {
            self.recv(supplier, 0, &large.whole, ptr::null(), UV_UDP_MMSG_FREE);
        }
    }

    /// Gives back what is still here, and says that there is nothing more to read, if that is so.
    fn end_round(&self) {
        let owed = self.round.replace(false);
        self.free_large();
        if let Some(callbacks) = self.callbacks.get()
            && owed
            && self.kept.borrow().is_empty()
        {
            let mut buf = uv_buf_t::NONE;
            self.alloc(callbacks, &mut buf);
            let empty = buf.base.is_null() || buf.len == 0;
            self.give_back(callbacks, &buf, if empty { -libc::ENOBUFS } else { 0 });
        }
    }
}

impl Source for Receiver {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn turn(self: Rc<Self>, phase: Phase) {
        match phase {
            Phase::Dispatch => self.offer_kept(),
            Phase::Completions => self.end_round(),
            _ => {}
        }
    }
}
