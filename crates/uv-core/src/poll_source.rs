//! A descriptor that the loop polls for a handle.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use uv_sys::{Errno, Interest, Result};

use crate::interest::Polled;

/// A descriptor in the loop's poller, closed on drop. One handle may have several.
///
/// ```
/// use std::os::unix::net::UnixDatagram;
/// use std::rc::{Rc, Weak};
/// use uv_core::{Handle, Interest, Loop, Phase, RunMode, Source};
///
/// /// Closes itself when a datagram arrives.
/// struct Trap(Handle);
///
/// impl Source for Trap {
///     fn handle(&self) -> &Handle {
///         &self.0
///     }
///     fn on_ready(self: Rc<Self>, _: Interest) {
///         self.0.close().unwrap();
///     }
///     fn on_phase(self: Rc<Self>, _: Phase) {}
/// }
///
/// let event_loop = Loop::new()?;
/// let trap = Rc::new_cyclic(|this: &Weak<Trap>| Trap(Handle::new(&event_loop, this.clone())));
/// let (ours, theirs) = UnixDatagram::pair()?;
/// let polled = trap.0.register(ours.into()).map_err(|(errno, _)| errno)?;
/// polled.set_interest(Interest::READABLE)?;
/// trap.0.set_active(true);
/// theirs.send(b"something")?;
/// assert!(!event_loop.run(RunMode::Default)?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "the descriptor is closed when this is dropped"]
pub struct PollSource {
    polled: Rc<Polled>,
}

impl PollSource {
    pub(crate) fn new(polled: Rc<Polled>) -> Self {
        Self { polled }
    }

    /// Sets the interest that [`Source::on_ready`](crate::Source::on_ready) reports.
    ///
    /// The poller gets changes just before the loop polls, so stopping and starting again between
    /// two polls costs no system call. A descriptor that is not watched is watched at once, so this
    /// call returns the poller's error.
    ///
    /// # Errors
    ///
    /// After an error nothing has changed.
    ///
    /// - `EBADF`: the handle is closing or dropped, or its loop was dropped.
    /// - `EPERM`: the descriptor cannot be polled, such as a regular file.
    /// - `ENOMEM`, or `ENOSPC` at the system's limit of watches.
    /// - `ESTALE`: in a forked child, see
    ///   [`Loop::reinit_after_fork`](crate::Loop::reinit_after_fork).
    pub fn set_interest(&self, interest: Interest) -> Result<()> {
        self.polled.set_interest(interest)
    }

    /// Sets the interest from the next poll on, also that of a descriptor that is not watched. For
    /// a handle that pauses its watch and resumes it where it cannot return an error.
    ///
    /// A poller without memory for the watch is asked again, after pauses that grow from a
    /// millisecond to a second. After a quarter of a second
    /// [`Source::interest_refused`](crate::Source::interest_refused) reports it once, and the
    /// attempts go on. The same holds for each change that is made before a poll.
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle is closing or dropped, or its loop was dropped.
    pub fn request_interest(&self, interest: Interest) -> Result<()> {
        self.polled.request_interest(interest)
    }

    /// Replaces the descriptor with `fd` under the same number, and closes the file behind it. The
    /// interest becomes [`Interest::NONE`].
    ///
    /// # Errors
    ///
    /// Those of [`Registration::replace`](uv_sys::Registration::replace), with `fd`. After an error
    /// only the interest has changed.
    #[doc(alias = "dup3")]
    pub fn replace(&self, fd: OwnedFd) -> std::result::Result<(), (Errno, OwnedFd)> {
        self.polled.replace(fd)
    }

    /// The interest that was set last.
    #[must_use]
    pub fn interest(&self) -> Interest {
        self.polled.wanted()
    }
}

impl AsFd for PollSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.polled.as_fd()
    }
}

impl fmt::Debug for PollSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollSource")
            .field("fd", &self.as_fd())
            .field("interest", &self.interest())
            .finish()
    }
}
