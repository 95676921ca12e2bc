//! epoll_pwait2(2): waits on a poller's descriptor with one system call.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::socket::put_in_place;
use super::syscall::syscall;
use crate::errno::{Errno, Result};
use crate::readiness::PollEvent;

/// The flags that `polling` reports as readable and writable, so that both ways of waiting agree.
const READABLE: u32 = (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI) as u32;
const WRITABLE: u32 = (libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// A list of events, with a capacity that never changes.
pub(crate) struct Events {
    list: Vec<libc::epoll_event>,
}

impl Events {
    pub(crate) fn with_capacity(capacity: usize) -> Events {
        Events {
            list: Vec::with_capacity(capacity),
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = PollEvent> + '_ {
        self.list.iter().map(|event| {
            let flags = event.events;
            PollEvent {
                key: event.u64 as usize,
                readable: flags & READABLE != 0,
                writable: flags & WRITABLE != 0,
            }
        })
    }

    /// Removes the event with this key, and returns whether there was one.
    #[inline]
    pub(crate) fn remove(&mut self, key: usize) -> bool {
        match self.list.iter().position(|event| event.u64 as usize == key) {
            Some(index) => {
                self.list.remove(index);
                true
            }
            None => false,
        }
    }
}

/// The kernel's `struct __kernel_timespec`: 64 bits each on every architecture.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Whether the first call found that the kernel lacks epoll_pwait2 (before 5.11) or that a sandbox
/// refuses it.
static LACKS_PWAIT2: AtomicBool = AtomicBool::new(false);

/// Fills `events` with ready descriptors. Returns `EINTR`, because the caller may have a deadline.
#[inline]
pub(crate) fn wait(
    epoll: BorrowedFd<'_>,
    events: &mut Events,
    timeout: Option<Duration>,
) -> Result<()> {
    events.clear();
    #[cfg(feature = "fault-injection")]
    crate::fault::before(crate::fault::Call::EpollWait)?;
    match timeout {
        None => wait_milliseconds(epoll, events, -1),
        Some(Duration::ZERO) => wait_milliseconds(epoll, events, 0),
        Some(timeout) if LACKS_PWAIT2.load(Ordering::Relaxed) => {
            wait_milliseconds(epoll, events, milliseconds(timeout))
        }
        Some(timeout) => match wait_exactly(epoll, events, timeout) {
            // Filters older than the call return EPERM (Docker before 20.10.10); the call itself
            // never does.
            Err(Errno::ENOSYS | Errno::EPERM) => {
                LACKS_PWAIT2.store(true, Ordering::Relaxed);
                wait_milliseconds(epoll, events, milliseconds(timeout))
            }
            result => result,
        },
    }
}

/// Whether a wait would find events. poll(2) does not consume them.
pub(crate) fn is_readable(epoll: BorrowedFd<'_>) -> Result<bool> {
    let mut entry = libc::pollfd {
        fd: epoll.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `entry` is one writable structure, and the count is 1.
    let count = syscall!(unsafe { libc::poll(&raw mut entry, 1, 0) })?;
    Ok(count > 0)
}

/// Replaces the epoll instance behind `epoll` with an empty one. Other processes keep the old one.
pub(crate) fn replace_by_empty(epoll: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    let fd = syscall!(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    let empty = unsafe { OwnedFd::from_raw_fd(fd) };
    put_in_place(empty.as_fd(), epoll)
}

/// Rounded up, so that a short timeout does not become a busy loop, and limited to the maximum of
/// 24 days.
fn milliseconds(timeout: Duration) -> libc::c_int {
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
    libc::c_int::try_from(milliseconds).unwrap_or(libc::c_int::MAX)
}

#[inline]
fn wait_milliseconds(
    epoll: BorrowedFd<'_>,
    events: &mut Events,
    timeout: libc::c_int,
) -> Result<()> {
    let (list, room) = spare(events);
    // SAFETY: `list` has room for `room` events.
    let count = syscall!(once unsafe { libc::epoll_wait(epoll.as_raw_fd(), list, room, timeout) })?;
    // SAFETY: the kernel wrote `count` events to the list that `spare` emptied.
    unsafe { filled(events, count as usize) };
    Ok(())
}

#[inline]
fn wait_exactly(epoll: BorrowedFd<'_>, events: &mut Events, timeout: Duration) -> Result<()> {
    let timeout = Timespec {
        // Limited to 136 years: the kernel adds it to its clock, which must not overflow.
        seconds: timeout.as_secs().min(1 << 32) as i64,
        nanoseconds: i64::from(timeout.subsec_nanos()),
    };
    let (list, room) = spare(events);
    // By number, because older C libraries lack the function. SAFETY: `list` has room for `room`
    // events; no signal mask is given, whose size then does not matter.
    let count = syscall!(once unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            list,
            room,
            ptr::from_ref(&timeout),
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    })?;
    // SAFETY: the kernel wrote `count` events to the list that `spare` emptied.
    unsafe { filled(events, count as usize) };
    Ok(())
}

#[inline]
fn spare(events: &mut Events) -> (*mut libc::epoll_event, libc::c_int) {
    events.list.clear();
    let list = events.list.spare_capacity_mut();
    (
        list.as_mut_ptr().cast(),
        libc::c_int::try_from(list.len()).unwrap_or(libc::c_int::MAX),
    )
}

/// # Safety
///
/// `count` events were written to the start of the spare capacity of an empty list.
#[inline]
unsafe fn filled(events: &mut Events, count: usize) {
    // SAFETY: `spare` emptied the list, and the kernel wrote `count` events into its room, or fewer
    // than there is room for.
    unsafe { events.list.set_len(count) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_rounded_up_and_bounded() {
        let of = |nanoseconds| milliseconds(Duration::from_nanos(nanoseconds));
        assert_eq!([of(0), of(1), of(1_000_000), of(1_000_001)], [0, 1, 1, 2]);
        assert_eq!(milliseconds(Duration::MAX), libc::c_int::MAX);
    }
}
