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
pub struct PollSource {
    polled: Rc<Polled>,
}

pub(crate) struct Polled {
    registration: Registration,
    wanted: Cell<Interest>,
    /// Whether it is on the loop's list of changes.
    changing: Cell<bool>,
    /// How often the poller refused what is wanted, since it last accepted something.
    refusals: Cell<u32>,
    /// Whether its handle is closed.
    silent: Cell<bool>,
    core: Weak<Core>,
}

impl PollSource {
    pub(crate) fn new(polled: Rc<Polled>) -> Self {
        Self { polled }
    }

    /// What the handle wants to be told of, through [`Source::on_ready`](crate::Source::on_ready).
    ///
    /// Changes are made just before the loop polls, so that stopping and starting again between two polls costs nothing.
    /// A descriptor that was not watched is watched at once, so that one which cannot be is refused here.
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle is closing or dropped, or its loop is gone; what the poller says otherwise: `EPERM` for a
    /// descriptor that cannot be polled (a regular file); `ENOMEM`; `ENOSPC` at the system's limit of watches; `ESTALE` in
    /// a forked child, see [`Loop::reinit_after_fork`](crate::Loop::reinit_after_fork). Nothing has changed then.
    pub fn set_interest(&self, interest: Interest) -> Result<()> {
        let polled = &self.polled;
        let core = polled.open_core()?;
        if polled.registration.interest() == Interest::NONE && interest != Interest::NONE {
            polled.registration.set_interest(interest)?;
        } else {
            polled.change(&core, interest);
        }
        polled.wanted.set(interest);
        Ok(())
    }

    /// As [`set_interest`](Self::set_interest), but also a descriptor that was not watched is watched from the next poll on
    /// and not at once. For a handle that ends its watch for a while and resumes it where nobody can take an error.
    ///
    /// A poller without memory for the watch is asked again, after pauses that grow from a millisecond to a second. If
    /// that lasts for a quarter of a second, [`Source::interest_refused`](crate::Source::interest_refused) reports it once,
    /// and the attempts go on. The same holds for every change that is made before a poll.
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle is closing or dropped, or its loop is gone.
    pub fn request_interest(&self, interest: Interest) -> Result<()> {
        let core = self.polled.open_core()?;
        self.polled.change(&core, interest);
        self.polled.wanted.set(interest);
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
            refusals: Cell::new(0),
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

    fn open_core(&self) -> Result<Rc<Core>> {
        let core = self.core.upgrade().filter(|_| !self.silent.get());
        core.ok_or(Errno::EBADF)
    }

    /// Has the interest changed before the next poll, if it is another one.
    fn change(self: &Rc<Self>, core: &Core, interest: Interest) {
        if self.registration.interest() != interest {
            self.reconsider(core);
        }
    }

    /// Has the poller told of what is wanted before the next poll.
    pub(crate) fn reconsider(self: &Rc<Self>, core: &Core) {
        if !self.changing.replace(true) {
            core.changes.add(Rc::downgrade(self));
        }
    }

    /// Tells the poller what is wanted. After an error the caller keeps it for a later attempt, or calls
    /// [`give_up`](Self::give_up).
    pub(crate) fn apply(&self) -> Result<()> {
        let wanted = self.wanted.get();
        self.registration.set_interest(wanted)?;
        self.refusals.set(0);
        self.changing.set(false);
        Ok(())
    }

    /// Counts a refusal, and says how many there were.
    pub(crate) fn refused(&self) -> u32 {
        let refusals = self.refusals.get().saturating_add(1);
        self.refusals.set(refusals);
        refusals
    }

    /// What is wanted cannot be had: what the poller does is wanted from here on.
    pub(crate) fn give_up(&self) {
        self.refusals.set(0);
        self.changing.set(false);
        self.wanted.set(self.registration.interest());
    }

    /// The slot of its handle, unless that is closed.
    pub(crate) fn key(&self) -> Option<usize> {
        (!self.silent.get()).then(|| self.registration.key())
    }
}
