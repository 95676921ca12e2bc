//! A safe wrapper of [`polling`]: level-triggered readiness of descriptors.
//!
//! Adding a descriptor to `polling` is `unsafe`, because it must be deleted before it is closed.
//! Here the registration owns the descriptor, and does both.

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
/// **Level-triggered**: every wait reports a descriptor while it is ready. Any thread may register
/// and notify; one thread at a time should wait.
///
/// # After fork(2)
///
/// A child process shares its parent's poller, so changes by the child would affect the parent. In
/// the child, calls that would change or read the shared poller return `ESTALE`. Dropping
/// registrations and pollers there keeps the parent's watches. [`renew`](Self::renew) gives the
/// child a poller of its own. The poller recognises children of the C library's `fork`, but not of
/// a raw clone(2).
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

    /// The kernel object, if this process made it.
    #[inline]
    fn own(&self) -> Result<&Instance> {
        let newest = self.newest();
        if newest.is_own() {
            Ok(newest)
        } else {
            Err(Errno::ESTALE)
        }
    }

    /// Whether this process is a child that shares the poller with its parent, and has not
    /// [renewed](Self::renew) it.
    #[inline]
    #[must_use]
    pub fn is_stale(&self) -> bool {
        !self.newest().is_own()
    }

    /// Replaces the kernel object that a forked child shares with its parent. All clones of this
    /// poller in the child use the new one, whose descriptor ([`AsFd`]) differs. It watches nothing
    /// yet: the interest of each registration is [`Interest::NONE`]. Has no effect in the process
    /// that made the poller.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new); the poller is unchanged.
    pub fn renew(&self) -> Result<()> {
        let newest = self.newest();
        if !newest.is_own() {
            // Another thread may have set it first.
            let _ = newest.successor.set(Box::new(Instance::new()?));
        }
        Ok(())
    }

    /// Whether a wait would return an event or a notification at once. Does not consume them.
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see the type; `ENOMEM`.
    ///
    /// See [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html).
    pub fn has_events(&self) -> Result<bool> {
        sys::is_readable(self.own()?.polling.as_fd())
    }

    /// Starts to watch a descriptor, and owns it until the [`Registration`] returns it or is
    /// dropped.
    ///
    /// # Errors
    ///
    /// Every error returns the descriptor, unchanged.
    ///
    /// - `EINVAL`: the reserved key `usize::MAX`.
    /// - `EPERM`: a descriptor that cannot be polled, such as a file.
    /// - `ENOSPC`, `ENOMEM`: the system's limits.
    /// - `ESTALE`: in a forked child, see the type.
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

    /// Wakes the current wait, or else the next one. Any thread may call it.
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see the type; otherwise those of `polling`, in practice none.
    ///
    /// See [eventfd(2)](https://man7.org/linux/man-pages/man2/eventfd.2.html).
    #[inline]
    pub fn notify(&self) -> Result<()> {
        Ok(self.own()?.polling.notify()?)
    }

    /// Waits until a descriptor is ready, [`notify`](Self::notify) was called, or the timeout is
    /// over. `None` has no limit; zero does not wait. Replaces the contents of `events`.
    ///
    /// It may return early and without events: after a notification, after a signal, or when a
    /// descriptor is no longer ready. The timeout is exact to nanoseconds; before Linux 5.11 it is
    /// rounded up to milliseconds.
    ///
    /// # Errors
    ///
    /// `ESTALE` in a forked child, see the type; no other that a caller can cause.
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

/// A descriptor that is readable while the poller has events. An outer poller can watch it.
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

/// Owns a descriptor that a [`Poller`] watches. Dropping it ends the watch and closes the
/// descriptor.
///
/// Forgetting it ([`std::mem::forget`]) leaks the descriptor and its watch, which is safe.
pub struct Registration {
    fd: OwnedFd,
    key: usize,
    /// The descriptor is in the poller's set unless this is NONE: the kernel reports errors with
    /// any interest, also an empty one.
    interest: Cell<Interest>,
    /// The generation of the instance with that set.
    generation: Cell<u32>,
    poller: Poller,
}

impl Registration {
    /// Changes the interest; [`Interest::NONE`] ends all reports. Makes no system call if the
    /// interest stays the same.
    ///
    /// # Errors
    ///
    /// Those of [`Poller::register`], if the interest was [`Interest::NONE`]; it is then unchanged.
    /// `ESTALE` in a forked child, except for [`Interest::NONE`], which ends the watch in the child
    /// only.
    ///
    /// See [epoll_ctl(2)](https://man7.org/linux/man-pages/man2/epoll_ctl.2.html).
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
            // SAFETY: this registration owns the descriptor, and deletes it from the poller before
            // it closes or returns it: in `replace`, `into_fd` and `drop`. If the registration is
            // forgotten, the descriptor stays open.
            unsafe { polling.add_with_mode(&self.fd, event, PollMode::Level) }?;
        } else {
            polling.modify_with_mode(&self.fd, event, PollMode::Level)?;
        }
        self.interest.set(interest);
        self.generation.set(instance.generation);
        Ok(())
    }

    /// The interest that was set last.
    #[inline]
    #[must_use]
    pub fn interest(&self) -> Interest {
        if self.generation.get() == self.poller.newest().generation {
            self.interest.get()
        } else {
            Interest::NONE
        }
    }

    /// The key of its events.
    #[inline]
    #[must_use]
    pub fn key(&self) -> usize {
        self.key
    }

    /// Replaces the descriptor with `fd` under the same number, and closes the file behind it. The
    /// interest becomes [`Interest::NONE`].
    ///
    /// # Errors
    ///
    /// Every error returns `fd`, and keeps the old file, which is no longer watched. `EBADF` for a
    /// number above a lowered `RLIMIT_NOFILE`; `EBUSY`, `EINTR` as in dup3(2).
    ///
    /// See [dup3(2)](https://man7.org/linux/man-pages/man2/dup.2.html).
    #[doc(alias = "dup2")]
    #[doc(alias = "dup3")]
    pub fn replace(&self, fd: OwnedFd) -> std::result::Result<(), (Errno, OwnedFd)> {
        self.delete();
        // Also if the removal failed: the kernel removes the watch with the old file.
        self.interest.set(Interest::NONE);
        socket::put_in_place(fd.as_fd(), self.as_fd()).map_err(|errno| (errno, fd))
    }

    /// Ends the watch and returns the descriptor.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.delete();
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so each of these two is moved out once. The other fields
        // need no drop.
        let (fd, poller) = unsafe { (ptr::read(&this.fd), ptr::read(&this.poller)) };
        drop(poller);
        fd
    }

    fn delete(&self) {
        // Removing a registered descriptor does not fail, and closing it would remove it, too.
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
    fn direct_and_fallback_waits_report_the_same_events() {
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
    fn direct_and_fallback_waits_keep_wake_ups_and_timeouts() {
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
    fn direct_and_fallback_waits_can_alternate() {
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
