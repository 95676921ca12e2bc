//! From the loop's memory into the program's.
//!
//! libuv asks the program for memory, and then the kernel for one datagram. Here the loop has received many with one system
//! call before the program is asked, and copies each into the program's memory: a copy costs a tenth of a system call. The
//! program sees the same calls in the same order: `alloc_cb`, `recv_cb`, and so on, and in the end `recv_cb` with nothing.
//! What cannot be delivered, because the program has no memory or stopped, is kept.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint};
use std::net::SocketAddr;
use std::ptr;
use std::rc::{Rc, Weak};

use libc::sockaddr;
use uv_core::{Handle, Loop, Phase, Source};
use uv_udp::{Batch, Datagram, Errno};

use super::udp_box;
use crate::address::Raw;
use crate::types::{uv_buf_t, uv_handle_t, uv_udp_t};

/// What `alloc_cb` is told: every datagram fits.
const SUGGESTED: usize = 64 * 1024;
/// `uv_udp_flags`.
const UV_UDP_PARTIAL: c_uint = 2;
const UV_UDP_MMSG_CHUNK: c_uint = 8;
const UV_UDP_MMSG_FREE: c_uint = 16;
/// Datagrams that are kept for a program without memory at most. As a full socket buffer does, the rest is dropped.
const MAX_KEPT: usize = 4096;

/// What the program gave to `uv_udp_recv_start`.
#[derive(Clone, Copy)]
pub(crate) struct Callbacks {
    pub(crate) alloc: unsafe extern "C" fn(*mut uv_handle_t, usize, *mut uv_buf_t),
    pub(crate) recv:
        unsafe extern "C" fn(*mut uv_udp_t, isize, *const uv_buf_t, *const sockaddr, c_uint),
}

/// The receiving half of a `uv_udp_t`. It is a source of its own so that it can have a turn for what was kept.
pub(crate) struct Receiver {
    handle: Handle,
    this: *mut uv_udp_t,
    /// `UV_UDP_RECVMMSG`.
    large_buffers: bool,
    callbacks: Cell<Option<Callbacks>>,
    /// Counts what ends a delivery: starts, stops, and the close.
    epoch: Cell<u32>,
    /// Counts changes of the peer.
    peers: Cell<u32>,
    kept: RefCell<VecDeque<Kept>>,
}

struct Kept {
    data: Vec<u8>,
    source: SocketAddr,
    truncated: bool,
    peers: u32,
}

/// What there is to deliver.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    data: &'a [u8],
    source: &'a SocketAddr,
    truncated: bool,
}

impl<'a> From<&'a Datagram<'_>> for Arrival<'a> {
    fn from(datagram: &'a Datagram<'_>) -> Self {
        Self {
            data: datagram.data,
            source: &datagram.source,
            truncated: datagram.truncated,
        }
    }
}

impl Receiver {
    pub(crate) fn new(lp: &Loop, this: *mut uv_udp_t, large_buffers: bool) -> Rc<Self> {
        Rc::new_cyclic(|weak: &Weak<Self>| Self {
            handle: Handle::new(lp, weak.clone()),
            this,
            large_buffers,
            callbacks: Cell::new(None),
            epoch: Cell::new(0),
            peers: Cell::new(0),
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

    pub(crate) fn peer_changes(&self) {
        self.peers.set(self.peers.get().wrapping_add(1));
    }

    /// What one system call received.
    pub(crate) fn take_batch(&self, batch: Batch<'_>) {
        let mut rest = batch.into_iter();
        if self.kept.borrow().is_empty()
            && let Some(mut delivery) = self.delivery()
        {
            let peers = self.peers.get();
            for datagram in rest.by_ref() {
                if !delivery.datagram((&datagram).into(), peers) {
                    self.keep(&datagram, peers);
                    break;
                }
            }
            delivery.finish();
        }
        // What is left was received for the peer of the time: kept, it is compared with the peer of its delivery.
        let peers = self.peers.get().wrapping_sub(1);
        rest.for_each(|datagram| self.keep(&datagram, peers));
    }

    /// The network's answer to an earlier datagram, or an error of receiving. libuv has asked for memory by then.
    pub(crate) fn take_error(&self, error: Errno) {
        if let Some(mut delivery) = self.delivery() {
            let buf = delivery.alloc();
            delivery.give_back(&buf, -error.raw());
        }
    }

    fn keep(&self, datagram: &Datagram<'_>, peers: u32) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() < MAX_KEPT {
            kept.push_back(Kept {
                data: datagram.data.to_vec(),
                source: datagram.source,
                truncated: datagram.truncated,
                peers,
            });
        }
        if self.callbacks.get().is_some() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    fn deliver_kept(&self) {
        let Some(mut delivery) = self.delivery() else {
            return;
        };
        loop {
            let next = self.kept.borrow_mut().pop_front();
            let Some(next) = next else { break };
            let arrival = Arrival {
                data: &next.data,
                source: &next.source,
                truncated: next.truncated,
            };
            if !delivery.datagram(arrival, next.peers) {
                self.kept.borrow_mut().push_front(next);
                break;
            }
        }
        delivery.finish();
        if self.callbacks.get().is_some() && !self.kept.borrow().is_empty() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    fn delivery(&self) -> Option<Delivery<'_>> {
        Some(Delivery {
            receiver: self,
            callbacks: self.callbacks.get()?,
            epoch: self.epoch.get(),
            large: None,
            starved: false,
        })
    }

    /// Whether the program may have this datagram. `peers` tells how often the peer had changed when it was received: if it
    /// changed since, a connected handle takes its peer's datagrams only.
    fn admits(&self, source: &SocketAddr, peers: u32) -> bool {
        if self.peers.get() == peers {
            return true;
        }
        // SAFETY: the structure is in place, because receiving has not ended.
        let Ok(udp) = (unsafe { udp_box(self.this) }) else {
            return false;
        };
        udp.udp.peer_addr().map_or(true, |peer| {
            peer.ip() == source.ip() && peer.port() == source.port()
        })
    }
}

impl Source for Receiver {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn turn(self: Rc<Self>, phase: Phase) {
        if phase == Phase::Dispatch {
            self.deliver_kept();
        }
    }
}

/// One turn of calling the program. Its callbacks may do anything, so nothing is believed across them but the epoch.
struct Delivery<'a> {
    receiver: &'a Receiver,
    callbacks: Callbacks,
    epoch: u32,
    /// A buffer for several datagrams that is being filled.
    large: Option<Large>,
    starved: bool,
}

struct Large {
    whole: uv_buf_t,
    used: usize,
}

impl Delivery<'_> {
    /// Whether the program still wants more.
    fn goes_on(&self) -> bool {
        self.receiver.epoch.get() == self.epoch && !self.starved
    }

    /// Asks the program for memory.
    fn alloc(&mut self) -> uv_buf_t {
        let mut buf = uv_buf_t::NONE;
        // SAFETY: the program's own function, with a handle that is in place, and room for a buffer.
        unsafe { (self.callbacks.alloc)(self.receiver.this.cast(), SUGGESTED, &raw mut buf) };
        buf
    }

    fn recv(&mut self, nread: isize, buf: &uv_buf_t, addr: *const sockaddr, flags: c_uint) {
        // SAFETY: the program's own function, with a handle that is in place: if it was closed in this turn, the close
        // callback comes after it.
        unsafe { (self.callbacks.recv)(self.receiver.this, nread, buf, addr, flags) };
    }

    /// Gives memory back in which nothing was stored.
    fn give_back(&mut self, buf: &uv_buf_t, status: c_int) {
        let nread = status.try_into().unwrap_or(isize::MIN);
        self.recv(nread, buf, ptr::null(), 0);
    }

    /// Delivers one datagram. `false` if the program did not take it, and takes no more now.
    fn datagram(&mut self, arrival: Arrival<'_>, peers: u32) -> bool {
        if !self.goes_on() {
            return false;
        }
        if !self.receiver.admits(arrival.source, peers) {
            return true;
        }
        if self.large.is_none() {
            let buf = self.alloc();
            if buf.base.is_null() || buf.len == 0 {
                self.starved = true;
                self.give_back(&buf, -libc::ENOBUFS);
                return false;
            }
            if !self.goes_on() {
                self.give_back(&buf, 0);
                return false;
            }
            if !self.receiver.large_buffers || buf.len < 2 * SUGGESTED {
                self.store(arrival, &buf, 0);
                return true;
            }
            self.large = Some(Large {
                whole: buf,
                used: 0,
            });
        }
        self.store_in_large(arrival);
        true
    }

    fn store_in_large(&mut self, arrival: Arrival<'_>) {
        let Some(large) = &mut self.large else { return };
        let chunk = uv_buf_t {
            base: large.whole.base.wrapping_add(large.used),
            len: SUGGESTED,
        };
        large.used += SUGGESTED;
        let full = large.whole.len - large.used < SUGGESTED;
        self.store(arrival, &chunk, UV_UDP_MMSG_CHUNK);
        if full || !self.goes_on() {
            self.free_large();
        }
    }

    /// Copies a datagram into the program's memory, and hands that over.
    fn store(&mut self, arrival: Arrival<'_>, buf: &uv_buf_t, flags: c_uint) {
        let len = arrival.data.len().min(buf.len);
        // SAFETY: the program supplied `buf.len` bytes of its own, which cannot be those of the loop.
        unsafe {
            buf.base
                .cast::<u8>()
                .copy_from_nonoverlapping(arrival.data.as_ptr(), len)
        };
        let partial = arrival.truncated || len < arrival.data.len();
        let flags = flags | if partial { UV_UDP_PARTIAL } else { 0 };
        let source = Raw::from(arrival.source);
        self.recv(
            len.try_into().unwrap_or(isize::MAX),
            buf,
            source.as_ptr(),
            flags,
        );
    }

    fn free_large(&mut self) {
        if let Some(large) = self.large.take() {
            self.recv(0, &large.whole, ptr::null(), UV_UDP_MMSG_FREE);
        }
    }

    /// Gives back what is still here, and says that there is nothing more to read.
    fn finish(mut self) {
        self.free_large();
        if self.goes_on() {
            let buf = self.alloc();
            let empty = buf.base.is_null() || buf.len == 0;
            self.give_back(&buf, if empty { -libc::ENOBUFS } else { 0 });
        }
    }
}
