//! A descriptor that the loop polls for a handle.

use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use uv_sys::{Errno, Interest, Registration, Result};

use crate::core::Core;

/// A descriptor in the loop's poller, closed on drop. One handle may have several.
///
/// ```
/// use std::os::unix::net::UnixDatagram;
/// use std::rc::{Rc, Weak};
/// use uv_core::{Handle, Interest, Loop, Phase, RunMode, Source};
///
/// /// Closes when something comes.
/// struct Trap(Handle);
///
/// impl Source for Trap {
///     fn handle(&self) -> &Handle {
///         &self.0
///     }
///     fn ready(self: Rc<Self>, _: Interest) {
///         self.0.close().unwrap();
///     }
///     fn turn(self: Rc<Self>, _: Phase) {}
/// }
///
/// let lp = Loop::new()?;
/// let trap = Rc::new_cyclic(|this: &Weak<Trap>| Trap(Handle::new(&lp, this.clone())));
/// let (ours, theirs) = UnixDatagram::pair()?;
/// let polled = trap.0.register(ours.into()).map_err(|(errno, _)| errno)?;
/// polled.set_interest(Interest::READABLE)?;
/// trap.0.set_active(true);
/// theirs.send(b"something")?;
/// assert!(!lp.run(RunMode::Default)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PollSource {
    polled: Rc<Polled>,
}

pub(crate) struct Polled {
    registration: Registration,
    wanted: Cell<Interest>,
    /// Whether it is on the loop's list of changes.
    changing: Cell<bool>,
    /// Whether its handle is closed.
    silent: Cell<bool>,
    core: Weak<Core>,
}

impl PollSource {
    pub(crate) fn new(polled: Rc<Polled>) -> Self {
        Self { polled }
    }

    /// What the handle wants to be told of, through [`Source::ready`](crate::Source::ready).
    ///
    /// Changes are made just before the loop polls, so that stopping and starting again between two polls costs nothing.
    /// A descriptor that was not watched is watched at once, so that one which cannot be is refused here.
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle is closing or dropped, or its loop is gone; what the poller says otherwise: `EPERM` for a
    /// descriptor that cannot be polled (a regular file), `ENOMEM`, `ENOSPC`.
    pub fn set_interest(&self, interest: Interest) -> Result<()> {
        let polled = &self.polled;
        let core = polled.core.upgrade().filter(|_| !polled.silent.get());
        let core = core.ok_or(Errno::EBADF)?;
        if polled.registration.interest() == Interest::NONE && interest != Interest::NONE {
            polled.registration.set_interest(interest)?;
        } else if polled.registration.interest() != interest && !polled.changing.replace(true) {
            core.change_interest(Rc::downgrade(polled));
        }
        polled.wanted.set(interest);
        Ok(())
    }

    /// Puts what is behind `fd` in the place of the descriptor, which keeps its number; what was there is closed. The interest
    /// in it is [`Interest::NONE`] then.
    ///
    /// # Errors
    ///
    /// Those of [`Registration::replace`](uv_sys::Registration::replace), with `fd`; nothing has changed then but the interest.
    #[doc(alias = "dup3")]
    pub fn replace(&self, fd: OwnedFd) -> std::result::Result<(), (Errno, OwnedFd)> {
        self.polled.wanted.set(Interest::NONE);
        self.polled.registration.replace(fd)
    }

    /// What was asked for last.
    pub fn interest(&self) -> Interest {
        self.polled.wanted.get()
    }
}

impl AsFd for PollSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.polled.registration.as_fd()
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

impl Polled {
    pub(crate) fn new(registration: Registration, core: Weak<Core>) -> Rc<Self> {
        Rc::new(Self {
            registration,
            wanted: Cell::new(Interest::NONE),
            changing: Cell::new(false),
            silent: Cell::new(false),
            core,
        })
    }

    pub(crate) fn silence(&self) {
        self.silent.set(true);
        self.wanted.set(Interest::NONE);
        // Nothing depends on it but the peace of the poller, and to end a watch does not fail.
        let _ = self.registration.set_interest(Interest::NONE);
    }

    pub(crate) fn apply(&self) -> Result<()> {
        self.changing.set(false);
        let wanted = self.wanted.get();
        if self.registration.interest() == wanted {
            Ok(())
        } else {
            self.registration.set_interest(wanted)
        }
    }
}
