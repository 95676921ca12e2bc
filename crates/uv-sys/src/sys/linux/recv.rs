//! recvmsg(2) and recvmmsg(2).

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::addr::RawAddr;
use super::cmsg::{CONTROL_SIZE, ControlBuffer};
use super::send::empty_header;
use crate::cmsg::ControlMessages;
use crate::errno::{Errno, Result};
use crate::receive::{Metadata, Received, RecvOptions};

/// MSG_TRUNC makes the kernel return the length of the whole datagram.
fn flags(options: RecvOptions) -> libc::c_int {
    let peek = if options.peek { libc::MSG_PEEK } else { 0 };
    libc::MSG_DONTWAIT | libc::MSG_TRUNC | peek
}

#[inline]
pub(crate) fn recvmsg(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
    options: RecvOptions,
) -> Result<Received> {
    if options.control {
        let mut control = ControlBuffer::zeroed();
        let (mut received, control_len) = recv_with(fd, bufs, &mut control.0, options)?;
        let control = control.0.get(..control_len).unwrap_or_default();
        received.metadata = Metadata::from_control(ControlMessages::new(control));
        Ok(received)
    } else {
        recv_with(fd, bufs, &mut [], options).map(|(received, _)| received)
    }
}

/// Receives and leaves the control messages undecoded; returns how many bytes of them there are.
#[inline]
pub(crate) fn recv_with(
    fd: BorrowedFd<'_>,
    bufs: &mut [IoSliceMut<'_>],
    control: &mut [u8],
    options: RecvOptions,
) -> Result<(Received, usize)> {
    let mut name = RawAddr::zeroed();
    let mut header = empty_header();
    if options.source {
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = RawAddr::SIZE;
    }
    header.msg_iov = bufs.as_mut_ptr().cast();
    header.msg_iovlen = bufs.len() as _;
    if !control.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len() as _;
    }
    // SAFETY: the header's pointers are to `name`, `control` and the caller's buffers, all exclusively borrowed here
    // and as long as said; an IoSliceMut is laid out as an iovec.
    let full_len = unsafe { recv_header(fd, &mut header, flags(options)) }?;
    let room = bufs
        .iter()
        .fold(0_usize, |sum, buf| sum.saturating_add(buf.len()));
    let received = Received {
        len: full_len.min(room),
        full_len,
        source: if options.source {
            name.decode(header.msg_namelen)
        } else {
            None
        },
        truncated: full_len > room,
        metadata: Metadata::default(),
    };
    Ok((received, super::control_len(&header)))
}

/// # Safety
///
/// What the header points at must be writable for the lengths given in it.
#[inline]
pub(crate) unsafe fn recv_header(
    fd: BorrowedFd<'_>,
    header: &mut libc::msghdr,
    flags: libc::c_int,
) -> Result<usize> {
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::Recvmsg)?;
    // SAFETY: the caller's promise.
    let len = syscall!(unsafe { libc::recvmsg(fd.as_raw_fd(), header, flags) })?;
    super::length(len)
}

/// The arguments of recvmmsg(2) and the memory that they point at.
///
/// All pointers are set once: the vectors never grow, and moving them does not move what they hold. Between calls the
/// first `last` headers hold what the kernel wrote, and the others are ready for use.
pub(crate) struct Ring {
    headers: Vec<libc::mmsghdr>,
    names: Vec<RawAddr>,
    /// Only pointed at.
    _iovecs: Vec<libc::iovec>,
    controls: Vec<ControlBuffer>,
    data: Vec<u8>,
    slot_len: usize,
    last: usize,
    /// What the headers are prepared to ask for.
    options: RecvOptions,
}

// SAFETY: every pointer is to the ring's own heap memory, which moves with it.
unsafe impl Send for Ring {}
// SAFETY: a shared reference only reads.
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
        let headers = (0..slots)
            .map(|slot| {
                let mut msg_hdr = empty_header();
                msg_hdr.msg_iov = iovecs.as_mut_ptr().wrapping_add(slot);
                msg_hdr.msg_iovlen = 1;
                libc::mmsghdr {
                    msg_hdr,
                    msg_len: 0,
                }
            })
            .collect();
        Ring {
            headers,
            names: vec![RawAddr::zeroed(); slots],
            _iovecs: iovecs,
            controls: vec![ControlBuffer::zeroed(); slots],
            data,
            slot_len,
            last: 0,
            options: RecvOptions {
                source: false,
                control: false,
                peek: false,
            },
        }
    }

    pub(crate) fn slots(&self) -> usize {
        self.headers.len()
    }

    pub(crate) fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// Points all headers at what `options` asks for, and at nothing else.
    #[cold]
    fn rearm(&mut self, options: RecvOptions) {
        for (slot, message) in self.headers.iter_mut().enumerate() {
            let header = &mut message.msg_hdr;
            (header.msg_name, header.msg_namelen) = if options.source {
                (
                    self.names.as_mut_ptr().wrapping_add(slot).cast(),
                    RawAddr::SIZE,
                )
            } else {
                (ptr::null_mut(), 0)
            };
            (header.msg_control, header.msg_controllen) = if options.control {
                (
                    self.controls.as_mut_ptr().wrapping_add(slot).cast(),
                    CONTROL_SIZE as _,
                )
            } else {
                (ptr::null_mut(), 0)
            };
        }
        self.options = options;
    }

    /// Undoes what the kernel wrote into the headers that it used.
    #[inline]
    fn reset(&mut self) {
        let name_len = if self.options.source {
            RawAddr::SIZE
        } else {
            0
        };
        let control_len = if self.options.control {
            CONTROL_SIZE
        } else {
            0
        };
        for message in self.headers.iter_mut().take(self.last) {
            message.msg_hdr.msg_namelen = name_len;
            message.msg_hdr.msg_controllen = control_len as _;
        }
    }

    /// `max` must not be 0.
    #[inline]
    pub(crate) fn recv(
        &mut self,
        fd: BorrowedFd<'_>,
        max: usize,
        options: RecvOptions,
    ) -> Result<usize> {
        if (options.source, options.control) == (self.options.source, self.options.control) {
            self.reset();
        } else {
            self.rearm(options);
        }
        self.last = 0;
        let max = max.min(self.headers.len());
        let Some(first) = self.headers.first_mut() else {
            return Err(Errno::EINVAL);
        };
        if max == 1 {
            // SAFETY: the header's pointers are to this ring's own memory, which is exclusively borrowed, and as long
            // as said: see `new` and `rearm`.
            let len = unsafe { recv_header(fd, &mut first.msg_hdr, flags(options)) }?;
            first.msg_len = u32::try_from(len).unwrap_or(u32::MAX);
            self.last = 1;
            return Ok(1);
        }
        #[cfg(feature = "fault-injection")]
        let max =
            crate::fault::before(crate::fault::Call::Recvmmsg)?.map_or(max, |most| most.min(max));
        // SAFETY: as above for each of them; `max` does not exceed the array, and no timeout is given.
        let count = syscall!(unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                max as libc::c_uint,
                flags(options) as _,
                ptr::null_mut(),
            )
        })?;
        self.last = usize::try_from(count).map_err(|_| Errno::EIO)?;
        if self.last == 0 {
            return Err(Errno::EAGAIN);
        }
        Ok(self.last)
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<(&[u8], Received)> {
        if index >= self.last {
            return None;
        }
        let message = self.headers.get(index)?;
        let full_len = message.msg_len as usize;
        let len = full_len.min(self.slot_len);
        let start = index * self.slot_len;
        let bytes = self.data.get(start..start + len)?;
        let source = if self.options.source {
            self.names.get(index)?.decode(message.msg_hdr.msg_namelen)
        } else {
            None
        };
        let metadata = if self.options.control {
            let control = self
                .controls
                .get(index)?
                .0
                .get(..super::control_len(&message.msg_hdr));
            Metadata::from_control(ControlMessages::new(control.unwrap_or_default()))
        } else {
            Metadata::default()
        };
        let received = Received {
            len,
            full_len,
            source,
            truncated: full_len > len,
            metadata,
        };
        Some((bytes, received))
    }
}
