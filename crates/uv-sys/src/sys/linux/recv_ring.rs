//! recvmmsg(2) and the memory that it fills.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

#[cfg(not(miri))]
use libc as kernel;

use super::addr::RawAddr;
use super::cmsg::{CONTROL_SIZE, ControlBuffer};
#[cfg(miri)]
use super::pretended as kernel;
use super::recv::{flags, recv_one};
use super::refusal::Refusal;
use super::syscall::{control_len, empty_header, syscall};
use crate::buffer::UninitSlice;
use crate::cmsg::ControlMessages;
use crate::errno::{Errno, Result};
use crate::received::{Metadata, Received, RecvOptions};

/// The arguments of recvmmsg(2) and their memory.
///
/// The vectors never grow, and moving them does not move their elements, so pointers into them stay
/// valid. Each pointer into `iovecs`, `lent` and `data` comes from `Vec::as_mut_ptr`. A pointer
/// from a reference to an element would be invalidated by a later reference to the slice.
pub(crate) struct Ring {
    headers: Vec<libc::mmsghdr>,
    slots: Vec<Slot>,
    /// The slots of `data`. The headers point at them.
    iovecs: Vec<libc::iovec>,
    /// The slots of a caller's memory. The headers point at them while `recv_into` runs.
    lent: Vec<libc::iovec>,
    data: Vec<u8>,
    slot_len: usize,
    /// Slots that the last call filled.
    last: usize,
    /// Slots of `data` that it filled: `last` or 0.
    stored: usize,
    /// Slots that may hold metadata; later ones have none.
    reported: usize,
    /// The error that ended the last call after it had filled a slot, if recvmmsg(2) is refused.
    interrupted_by: Option<Errno>,
}

/// The description of one datagram, as the kernel writes it and decoded.
struct Slot {
    name: RawAddr,
    control: ControlBuffer,
    received: Received,
}

impl Slot {
    /// Points a header at the memory for `options`. This also resets fields that the kernel wrote.
    #[inline]
    fn arm(&mut self, header: &mut libc::msghdr, options: RecvOptions) {
        (header.msg_name, header.msg_namelen) = if options.source {
            ((&raw mut self.name).cast(), RawAddr::SIZE)
        } else {
            (ptr::null_mut(), 0)
        };
        (header.msg_control, header.msg_controllen) = if options.control {
            ((&raw mut self.control).cast(), CONTROL_SIZE as _)
        } else {
            (ptr::null_mut(), 0)
        };
    }

    /// Decodes the kernel's description, and returns whether it has metadata.
    #[inline]
    fn decode(&mut self, message: &libc::mmsghdr, options: RecvOptions, room: usize) -> bool {
        let received = &mut self.received;
        received.full_len = message.msg_len as usize;
        received.len = received.full_len.min(room);
        received.truncated = received.full_len > room;
        received.source = if options.source {
            self.name.decode(message.msg_hdr.msg_namelen)
        } else {
            None
        };
        let reported = options.control && message.msg_hdr.msg_controllen > 0;
        if reported {
            let control = self.control.0.get(..control_len(&message.msg_hdr));
            let messages = ControlMessages::new(control.unwrap_or_default());
            received.metadata = Metadata::from_control(messages);
        }
        reported
    }
}

/// Points the first `slots` headers at one buffer each, from `first` on.
fn point_at(headers: &mut [libc::mmsghdr], first: *mut libc::iovec, slots: usize) {
    for (slot, message) in headers.iter_mut().enumerate().take(slots) {
        message.msg_hdr.msg_iov = first.wrapping_add(slot);
    }
}

// SAFETY: the pointers that the kernel follows point into the ring's own heap memory, which moves
// with it. `lent` is rewritten before a header points at it again.
unsafe impl Send for Ring {}
// SAFETY: methods with a shared reference only read.
unsafe impl Sync for Ring {}

impl Ring {
    pub(crate) fn new(slots: usize, slot_len: usize) -> Ring {
        let mut data = vec![0; slots.saturating_mul(slot_len)];
        let mut iovecs: Vec<libc::iovec> = (0..slots)
            .map(|slot| libc::iovec {
                iov_base: data.as_mut_ptr().wrapping_add(slot * slot_len).cast(),
                iov_len: slot_len,
            })
            .collect();
        let mut headers: Vec<_> = (0..slots)
            .map(|_| {
                let mut msg_hdr = empty_header();
                msg_hdr.msg_iovlen = 1;
                libc::mmsghdr {
                    msg_hdr,
                    msg_len: 0,
                }
            })
            .collect();
        point_at(&mut headers, iovecs.as_mut_ptr(), slots);
        let slot = || Slot {
            name: RawAddr::zeroed(),
            control: ControlBuffer::zeroed(),
            received: Received::NOTHING,
        };
        Ring {
            headers,
            slots: (0..slots).map(|_| slot()).collect(),
            lent: iovecs.clone(),
            iovecs,
            data,
            slot_len,
            last: 0,
            stored: 0,
            reported: 0,
            interrupted_by: None,
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    pub(crate) fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// `max` must not be 0.
    #[inline]
    pub(crate) fn recv(
        &mut self,
        fd: BorrowedFd<'_>,
        max: usize,
        options: RecvOptions,
    ) -> Result<usize> {
        let count = self.fill(fd, max, options);
        self.last = count.unwrap_or(0);
        self.stored = self.last;
        count
    }

    /// Fills at most `max` slots of `memory` instead of `data`. It must have at least one slot.
    pub(crate) fn recv_into(
        &mut self,
        fd: BorrowedFd<'_>,
        memory: &mut UninitSlice,
        max: usize,
        options: RecvOptions,
    ) -> Result<usize> {
        let slots = max.min(memory.len() / self.slot_len).min(self.slots());
        let memory = memory.as_mut_ptr();
        for (slot, lent) in self.lent.iter_mut().enumerate().take(slots) {
            // Within `memory`, into which `slots` slots fit.
            lent.iov_base = memory.wrapping_add(slot * self.slot_len).cast();
        }
        point_at(&mut self.headers, self.lent.as_mut_ptr(), slots);
        let count = self.fill(fd, slots, options);
        (self.last, self.stored) = (count.unwrap_or(0), 0);
        point_at(&mut self.headers, self.iovecs.as_mut_ptr(), slots);
        count
    }

    /// Fills the slots that the headers point at.
    #[inline]
    fn fill(&mut self, fd: BorrowedFd<'_>, max: usize, options: RecvOptions) -> Result<usize> {
        self.interrupted_by = None;
        if max == 1 {
            self.recv_single(fd, 0, options)?;
            self.decode(1, options);
            return Ok(1);
        }
        let max = max.min(self.headers.len());
        if RECVMMSG.is_known() {
            return self.recv_one_by_one(fd, max, options);
        }
        for (message, slot) in self.headers.iter_mut().zip(&mut self.slots).take(max) {
            slot.arm(&mut message.msg_hdr, options);
        }
        #[cfg(feature = "fault-injection")]
        let max = match crate::fault::before(crate::fault::Call::Recvmmsg) {
            Err(Errno::ENOSYS) => return self.recv_one_by_one(fd, max, options),
            step => step?.map_or(max, |most| most.min(max)),
        };
        // SAFETY: each header points at this ring's memory or at the memory that `recv_into`
        // borrowed. Both are exclusively borrowed and have the given lengths: see `new`,
        // `recv_into` and `Slot::arm`. `max` does not exceed the array.
        let result = unsafe {
            recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                max,
                flags(options),
            )
        };
        match result {
            Ok(0) => Err(Errno::EAGAIN),
            Ok(count) => {
                self.decode(count, options);
                Ok(count)
            }
            Err(error) if RECVMMSG.explains(error, probe_recvmmsg) => {
                self.recv_one_by_one(fd, max, options)
            }
            Err(error) => Err(error),
        }
    }

    /// Fills the slot at `index` without decoding it.
    #[inline]
    fn recv_single(
        &mut self,
        fd: BorrowedFd<'_>,
        index: usize,
        options: RecvOptions,
    ) -> Result<()> {
        let (Some(message), Some(slot)) = (self.headers.get_mut(index), self.slots.get_mut(index))
        else {
            return Err(Errno::EINVAL);
        };
        slot.arm(&mut message.msg_hdr, options);
        // SAFETY: as in `fill`, for one header, which has one buffer.
        let len = unsafe { recv_one(fd, &mut message.msg_hdr, flags(options)) }?;
        message.msg_len = u32::try_from(len).unwrap_or(u32::MAX);
        Ok(())
    }

    /// Replaces recvmmsg(2), with one system call per message.
    #[cold]
    fn recv_one_by_one(
        &mut self,
        fd: BorrowedFd<'_>,
        max: usize,
        options: RecvOptions,
    ) -> Result<usize> {
        let mut count = 0;
        while count < max {
            match self.recv_single(fd, count, options) {
                Ok(()) => count += 1,
                Err(error) if count == 0 => return Err(error),
                Err(Errno::EAGAIN) => break,
                Err(error) => {
                    self.interrupted_by = Some(error);
                    break;
                }
            }
        }
        self.decode(count, options);
        Ok(count)
    }

    pub(crate) fn take_interruption(&mut self) -> Option<Errno> {
        self.interrupted_by.take()
    }

    /// Decodes the first `count` slots.
    #[inline]
    fn decode(&mut self, count: usize, options: RecvOptions) {
        for (message, slot) in self.headers.iter().zip(&mut self.slots).take(count) {
            if slot.decode(message, options, self.slot_len) {
                self.reported = self.reported.max(count);
            } else if self.reported > 0 {
                slot.received.metadata = Metadata::default();
            }
        }
    }

    /// Discards the results of the last call.
    pub(crate) fn forget(&mut self) {
        self.interrupted_by = None;
        (self.last, self.stored) = (0, 0);
    }

    #[inline]
    pub(crate) fn received(&self, index: usize) -> Option<&Received> {
        Some(&self.slots.get(..self.last)?.get(index)?.received)
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<(&[u8], &Received)> {
        let received = &self.slots.get(..self.stored)?.get(index)?.received;
        let start = index * self.slot_len;
        Some((self.data.get(start..start + received.len)?, received))
    }
}

/// Whether recvmmsg(2) is refused.
static RECVMMSG: Refusal = Refusal::new();

fn probe_recvmmsg() -> Errno {
    // SAFETY: no messages.
    let probed = unsafe { recvmmsg(-1, ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
    probed.err().unwrap_or(Errno::EBADF)
}

/// # Safety
///
/// `messages` must have `count` elements, whose pointers must be writable for the lengths given in
/// them.
#[inline]
unsafe fn recvmmsg(
    fd: libc::c_int,
    messages: *mut libc::mmsghdr,
    count: usize,
    flags: libc::c_int,
) -> Result<usize> {
    // SAFETY: the caller guarantees it; the timeout is null.
    let received = syscall!(unsafe {
        kernel::recvmmsg(
            fd,
            messages,
            count as libc::c_uint,
            flags as _,
            ptr::null_mut(),
        )
    })?;
    usize::try_from(received).map_err(|_| Errno::EIO)
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;
    #[cfg(not(miri))]
    use std::os::fd::AsFd;

    use super::*;

    const HELLO: &[u8] = b"hello";

    /// A socket with messages; under Miri, any descriptor has them.
    struct Mailbox {
        #[cfg(not(miri))]
        socket: std::net::UdpSocket,
    }

    impl Mailbox {
        fn new() -> Mailbox {
            Mailbox {
                #[cfg(not(miri))]
                socket: std::net::UdpSocket::bind("127.0.0.1:0").unwrap(),
            }
        }

        #[cfg(not(miri))]
        fn with(&self, messages: usize) -> BorrowedFd<'_> {
            let address = self.socket.local_addr().unwrap();
            for _ in 0..messages {
                self.socket.send_to(HELLO, address).unwrap();
            }
            self.socket.as_fd()
        }

        #[cfg(miri)]
        fn with(&self, _: usize) -> BorrowedFd<'_> {
            // SAFETY: never closed here, and no call uses it.
            unsafe { BorrowedFd::borrow_raw(0) }
        }
    }

    fn expect_own(ring: &Ring, count: usize) {
        for index in 0..count {
            let (bytes, received) = ring.get(index).unwrap();
            assert_eq!((bytes, received.full_len), (HELLO, HELLO.len()));
            assert!(received.source.is_some());
        }
        assert!(ring.get(count).is_none());
    }

    #[test]
    fn a_ring_fills_its_own_memory_after_it_filled_a_callers() {
        let mailbox = Mailbox::new();
        let mut ring = Ring::new(4, 16);
        let options = RecvOptions::default();
        for lent_slots in [4, 1, 3, 2, 4] {
            let mut memory = vec![MaybeUninit::uninit(); lent_slots * 16];
            let fd = mailbox.with(lent_slots);
            let lent = UninitSlice::uninit(&mut memory);
            assert_eq!(ring.recv_into(fd, lent, 4, options), Ok(lent_slots));
            for slot in memory.chunks(16) {
                // SAFETY: the call wrote five bytes to each slot.
                let bytes = slot[..5].iter().map(|byte| unsafe { byte.assume_init() });
                assert!(bytes.eq(HELLO.iter().copied()));
            }
            assert!(ring.get(0).is_none());
            let mut ring_elsewhere = Box::new(ring);
            for own in [4, 1, 2] {
                let fd = mailbox.with(own);
                assert_eq!(ring_elsewhere.recv(fd, own, options), Ok(own));
                expect_own(&ring_elsewhere, own);
            }
            ring = *ring_elsewhere;
        }
    }

    #[test]
    fn one_message_fills_uninitialised_memory() {
        let mailbox = Mailbox::new();
        for control in [false, true] {
            let mut memory = [MaybeUninit::uninit(); 4];
            let options = RecvOptions::new().with_control(control);
            let lent = UninitSlice::uninit(&mut memory);
            let received = super::super::recv::recv_into(mailbox.with(1), lent, options).unwrap();
            assert_eq!((received.len, received.full_len), (4, 5));
            // SAFETY: the call wrote four bytes.
            assert_eq!(memory.map(|byte| unsafe { byte.assume_init() }), HELLO[..4]);
        }
    }
}
