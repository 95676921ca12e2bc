//! A safe face of [`polling`]: readiness of descriptors, level-triggered.
//!
//! `polling` asks for `unsafe` when a descriptor is added, because it must be deleted before it is closed. Here the
//! registration owns the descriptor, so that this is always so.

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use polling::{Event, PollMode};

use crate::errno::{Errno, Result};
use crate::poll_instance::{Instance, PollEvents, RESERVED_KEY};
use crate::readiness::Interest;
use crate::sys::{epoll as sys, socket};

/// Waits for descriptors to become ready. Clones share one poller.
///
/// **Level-triggered**: what is ready is reported by every wait until it is not. Any thread may register and notify;
/// one thread at a time should wait.
///
/// # After fork(2)
///
/// A child process shares its parent's poller: what it changed there would be changed for the parent. So in the child every
/// call that would change or read the shared poller fails with `ESTALE`, and dropping registrations and pollers leaves the
/// parent's watches in place. [`renew`](Self::renew) gives the child a poller of its own. Children are recognised that were
/// made through the C library (`fork`); those of a raw clone(2) are not.
///
/// # Example
///
/// ```
/// use std::net::UdpSocket;
/// use std::time::Duration;
/// use uv_sys::{Interest, PollEvents, Poller};
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// let address = socket.local_addr()?;
/// let poller = Poller::new()?;
/// let registration = poller.register(socket.into(), 7, Interest::READABLE).map_err(|(errno, _)| errno)?;
///
/// UdpSocket::bind("127.0.0.1:0")?.send_to(b"hello", address)?;
/// let mut events = PollEvents::with_capacity(16);
/// while events.iter().next().is_none() {
///     poller.wait(&mut events, Some(Duration::from_secs(5)))?;
/// }
/// assert!(events.iter().any(|event| event.key == 7 && event.readable));
/// let socket = UdpSocket::from(registration.into_fd());
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "epoll")]
#[derive(Clone)]
pub struct Poller {
    first: Arc<Instance>,
}

impl Poller {
    /// Makes a poller.
    ///
    /// # Errors
    ///
    /// `EMFILE`, `ENFILE` without free descriptors; `ENOMEM`.
    ///
    /// See [epoll_create1(2)](https://man7.org/linux/man-pages/man2/epoll_create.2.html).
    pub fn new() -> Result<Poller> {
        Ok(Poller {
            first: Arc::new(Instance::new()?),
        })
    }

    #[inline]
    fn newest(&self) -> &Instance {
        let mut instance = &*self.first;
        while let Some(successor) = instance.successor.get() {
            instance = successor;
        }
        instance
    }

    /// The kernel object, if it is this process's own.
    #[inline]
    fn own(&self) -> Result<&Instance> {
        let newest = self.newest();
        if newest.is_own() {
            Ok(newest)
        } else {
            Err(Errno::ESTALE)
        }
    }

    /// Whether this process is a child that shares the poller with its parent, and has not [renewed](Self::renew) it.
    #[inline]
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.newest().is_own()
    }

    /// Gives a forked child a kernel object of its own in the place of the one that it shares with its parent. All clones of
    /// this poller in the child use it, and its descriptor ([`AsFd`]) is another one. It watches nothing yet: the interest of
    /// each registration is [`Interest::NONE`]. In a process that made the poller, nothing happens.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new); the poller is as before then.
    pub fn renew(&self) -> Result<()> {
        let newest = self.newest();
        if !newest.is_own() {
            // Another thread that was faster did the same.
            let _ = newest.successor.set(Box::new(Instance::new()?));
        }
        Ok(())
    }

    /// Whether a wait would return with an event or a notification at once. The events stay where they are.
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see the type; `ENOMEM`.
    ///
    /// See [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html).
    pub fn has_events(&self) -> Result<bool> {
        sys::is_readable(self.own()?.polling.as_fd())
    }

    /// Watches a descriptor from now on, and owns it until the [`Registration`] gives it back or is dropped.
    ///
    /// # Errors
    ///
    /// With the descriptor, untouched: `EINVAL` for the key `usize::MAX`, which is taken; `EPERM` for what cannot be
    /// polled, as a file; `ENOSPC`, `ENOMEM` beyond the system's limits; `ESTALE` in a forked child, see the type.
    ///
    /// See [epoll_ctl(2)](https://man7.org/linux/man-pages/man2/epoll_ctl.2.html).
    #[doc(alias = "epoll_ctl")]
    pub fn register(
        &self,
        fd: OwnedFd,
        key: usize,
        interest: Interest,
    ) -> std::result::Result<Registration, (Errno, OwnedFd)> {
        if key == RESERVED_KEY {
            return Err((Errno::EINVAL, fd));
        }
        let registration = Registration {
            fd,
            key,
            interest: Cell::new(Interest::NONE),
            generation: Cell::new(self.newest().generation),
            poller: self.clone(),
        };
        match registration.set_interest(interest) {
            Ok(()) => Ok(registration),
            Err(errno) => Err((errno, registration.into_fd())),
        }
    }

    /// Wakes the current wait, or else the next one. From any thread.
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see the type. Otherwise none in practice; what `polling` reports.
    #[inline]
    pub fn notify(&self) -> Result<()> {
        Ok(self.own()?.polling.notify()?)
    }

    /// Waits until something is ready, [`notify`](Self::notify) was called, or the timeout is over; `None` waits for
    /// ever, and zero not at all. What was in `events` before is gone.
    ///
    /// It may come back early and with no events: after a notification, on a signal, and when readiness went as it
    /// came. The timeout is as exact as the kernel allows (nanoseconds; milliseconds, rounded up, before Linux 5.11).
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see the type. None else that the caller can cause.
    ///
    /// See [epoll_pwait2(2)](https://man7.org/linux/man-pages/man2/epoll_wait.2.html).
    #[doc(alias = "epoll_wait")]
    #[doc(alias = "epoll_pwait2")]
    #[inline]
    pub fn wait(&self, events: &mut PollEvents, timeout: Option<Duration>) -> Result<()> {
        events.clear();
        self.own()?.wait(events, timeout)
    }
}

/// The descriptor that is readable while anything in the poller is ready, for embedding it in another one.
impl AsFd for Poller {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.newest().polling.as_fd()
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("fd", &self.as_fd())
            .finish_non_exhaustive()
    }
}

/// A descriptor that a [`Poller`] watches. Owns it: dropping this ends the watch and closes the descriptor.
///
/// Forgetting it leaks the descriptor, which is then watched for ever; that is untidy, not unsound.
pub struct Registration {
    fd: OwnedFd,
    key: usize,
    /// In the poller's set exactly if this is not NONE: the kernel reports errors whatever one asks for, and NONE is
    /// to mean none.
    interest: Cell<Interest>,
    /// Of the instance whose set that is.
    generation: Cell<u32>,
    poller: Poller,
}

impl Registration {
    /// Watches for something else from now on; [`Interest::NONE`] for nothing at all. Costs no syscall if it is what it
    /// was.
    ///
    /// # Errors
    ///
    /// Those of [`Poller::register`] when coming from [`Interest::NONE`]; nothing has changed then. `ESTALE` in a forked
    /// child, unless it is [`Interest::NONE`] that is asked for: the child watches nothing then, and the parent goes on.
    #[inline]
    pub fn set_interest(&self, interest: Interest) -> Result<()> {
        let old = self.interest();
        if interest == old {
            return Ok(());
        }
        let instance = match self.poller.own() {
            Ok(instance) => instance,
            // The watch in the shared kernel object is the parent's.
            Err(_) if interest.is_empty() => {
                self.interest.set(interest);
                return Ok(());
            }
            Err(stale) => return Err(stale),
        };
        #[cfg(feature = "fault-injection")]
        if !interest.is_empty() {
            crate::fault::before(crate::fault::Call::EpollCtl)?;
        }
        let event = Event::new(
            self.key,
            interest.contains(Interest::READABLE),
            interest.contains(Interest::WRITABLE),
        );
        let polling = &instance.polling;
        if interest.is_empty() {
            polling.delete(&self.fd)?;
        } else if old.is_empty() {
            // SAFETY: this registration owns the descriptor and deletes it from the poller before it lets go of what is behind
            // it: in `replace`, `into_fd` and `drop`. If it is forgotten, the descriptor stays open.
            unsafe { polling.add_with_mode(&self.fd, event, PollMode::Level) }?;
        } else {
            polling.modify_with_mode(&self.fd, event, PollMode::Level)?;
        }
        self.interest.set(interest);
        self.generation.set(instance.generation);
        Ok(())
    }

    /// What it is watched for.
    #[inline]
    #[must_use]
    pub fn interest(&self) -> Interest {
        if self.generation.get() == self.poller.newest().generation {
            self.interest.get()
        } else {
            Interest::NONE
        }
    }

    /// The key under which it is reported.
    #[inline]
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }

    /// Puts what is behind `fd` in the place of the descriptor, which keeps its number; what was there is closed. The watch
    /// ends with it, as with [`Interest::NONE`].
    ///
    /// # Errors
    ///
    /// With `fd`, untouched, and what was there is still there, but not watched: `EBADF` for a number that the process may not
    /// have any more, because `RLIMIT_NOFILE` was lowered; `EBUSY`, `EINTR` where the kernel says so.
    ///
    /// See [dup3(2)](https://man7.org/linux/man-pages/man2/dup.2.html).
    #[doc(alias = "dup2")]
    #[doc(alias = "dup3")]
    pub fn replace(&self, fd: OwnedFd) -> std::result::Result<(), (Errno, OwnedFd)> {
        self.delete();
        // If that failed, the poller knows of something that is not there any more.
        self.interest.set(Interest::NONE);
        socket::put_in_place(fd.as_fd(), self.as_fd()).map_err(|errno| (errno, fd))
    }

    /// Ends the watch and hands the descriptor back.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.delete();
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so that each of these two is moved out once; the rest needs no drop.
        let (fd, poller) = unsafe { (ptr::read(&this.fd), ptr::read(&this.poller)) };
        drop(poller);
        fd
    }

    fn delete(&self) {
        // It is in the set, so that this cannot fail; and if it did, closing the descriptor would do it too.
        let _ = self.set_interest(Interest::NONE);
    }
}

impl AsFd for Registration {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.delete();
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("fd", &self.fd)
            .field("key", &self.key)
            .field("interest", &self.interest())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::PollEvent;
    use std::os::unix::net::UnixDatagram;
    use std::sync::OnceLock;
    use std::time::Instant;

    const LONG: Option<Duration> = Some(Duration::from_secs(10));

    /// A poller that waits directly, and one that leaves it to `polling`.
    fn both() -> [Poller; 2] {
        let direct = Poller::new().unwrap();
        assert!(
            direct.first.direct,
            "this version of polling no longer encodes keys as we believe"
        );
        let mut fallback = Instance::new().unwrap();
        fallback.direct = false;
        let first = Arc::new(fallback);
        [direct, Poller { first }]
    }

    fn wait(poller: &Poller, timeout: Option<Duration>) -> Vec<PollEvent> {
        // Stale events of either kind must not shine through.
        let mut events = PollEvents::with_capacity(8);
        poller.wait(&mut events, timeout).unwrap();
        events.iter().collect()
    }

    #[test]
    fn both_ways_of_waiting_report_the_same() {
        for poller in both() {
            let (one, other) = UnixDatagram::pair().unwrap();
            let registration = poller.register(one.into(), 5, Interest::READABLE).unwrap();
            assert_eq!(wait(&poller, Some(Duration::ZERO)), []);
            other.send(b"x").unwrap();
            let mut event = PollEvent {
                key: 5,
                readable: true,
                writable: false,
            };
            assert_eq!(wait(&poller, LONG), [event]);
            assert_eq!(wait(&poller, None), [event]);
            registration.set_interest(Interest::all()).unwrap();
            event.writable = true;
            assert_eq!(wait(&poller, LONG), [event]);
            registration.set_interest(Interest::NONE).unwrap();
            assert_eq!(wait(&poller, Some(Duration::ZERO)), []);
        }
    }

    #[test]
    fn both_ways_of_waiting_are_woken_once_and_keep_timeouts() {
        for poller in both() {
            poller.notify().unwrap();
            assert_eq!(wait(&poller, None), []);
            let timeout = Duration::from_millis(5);
            let begin = Instant::now();
            assert_eq!(wait(&poller, Some(timeout)), []);
            assert!(begin.elapsed() >= timeout);
        }
    }

    #[test]
    fn the_two_ways_can_take_turns() {
        let [direct, _] = both();
        let first = Arc::new(Instance {
            polling: Arc::clone(&direct.first.polling),
            direct: false,
            generation: direct.first.generation,
            successor: OnceLock::new(),
        });
        let fallback = Poller { first };
        let mut events = PollEvents::default();
        let (one, _other) = UnixDatagram::pair().unwrap();
        let _registration = direct.register(one.into(), 5, Interest::WRITABLE).unwrap();
        for poller in [&direct, &fallback, &direct, &fallback] {
            poller.wait(&mut events, LONG).unwrap();
            assert_eq!(events.iter().count(), 1);
            poller.notify().unwrap();
        }
    }
}
