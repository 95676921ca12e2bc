//! What is behind async handles: an eventfd that all of a loop share, and one source for each.
//!
//! [`uv_core::LoopProxy`] takes a lock and allocates, which a signal handler must not do. Here sending is one exchange of a flag
//! and at most one write(2).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;

use uv_core::{Handle, Interest, Loop, Phase, PollSource, Result, Source};
use uv_sys::Errno;

use crate::pointers::Given;
use crate::types::{Signal, uv_async_t};

/// What the async handles of a loop share.
pub(crate) struct Hub {
    handle: Handle,
    wakeup: OnceCell<PollSource>,
    /// The open ones, in the order in which they were made.
    open: RefCell<BTreeMap<u64, Given<uv_async_t>>>,
    entered: Cell<u64>,
}

/// A descriptor that wakes a loop.
fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The eventfd that replaces the one which a forked child shares with its parent.
pub(crate) struct NewWakeup {
    hub: Rc<Hub>,
    fd: OwnedFd,
}

impl NewWakeup {
    pub(crate) fn new(hub: &Rc<Hub>) -> Result<Self> {
        Ok(Self {
            hub: Rc::clone(hub),
            fd: eventfd()?,
        })
    }

    /// Puts it in the place of the shared one, under the same number, in this process. Wake-ups that the parent's handles had not
    /// called back for stay the parent's, as in libuv.
    pub(crate) fn install(self) -> Result<()> {
        let Some(wakeup) = self.hub.wakeup.get() else {
            return Ok(());
        };
        wakeup.replace(self.fd).map_err(|(error, _)| error)?;
        for handle in self.hub.open.borrow().values() {
            if let Some(signal) = handle.signal() {
                signal.pending.store(0, Ordering::SeqCst);
                // The threads that were sending are not in the child.
                signal.busy.store(0, Ordering::SeqCst);
            }
        }
        wakeup.set_interest(Interest::READABLE)
    }
}

impl Hub {
    pub(crate) fn new(event_loop: &Loop) -> Result<Rc<Self>> {
        let fd = eventfd()?;
        let hub = Rc::new_cyclic(|this: &Weak<Self>| Self {
            handle: Handle::new(event_loop, this.clone()),
            wakeup: OnceCell::new(),
            open: RefCell::default(),
            entered: Cell::new(0),
        });
        let wakeup = hub.handle.register(fd).map_err(|(errno, _)| errno)?;
        wakeup.set_interest(Interest::READABLE)?;
        let _ = hub.wakeup.set(wakeup);
        Ok(hub)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.wakeup.get().map_or(-1, |fd| fd.as_fd().as_raw_fd())
    }
}

impl Source for Hub {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, _: Interest) {
        let mut count = 0_u64;
        // SAFETY: `count` has the eight bytes that an eventfd gives. That it is not readable after all does no harm.
        unsafe { libc::read(self.fd(), (&raw mut count).cast(), size_of::<u64>()) };
        let (mut next, end) = (0, self.entered.get());
        loop {
            let found = {
                let open = self.open.borrow();
                open.range(next..end)
                    .next()
                    .map(|(&key, &handle)| (key, handle))
            };
            let Some((key, handle)) = found else { return };
            next = key + 1;
            let sent = |signal: &Signal| signal.pending.swap(0, Ordering::AcqRel) != 0;
            if !handle.signal().is_some_and(sent) {
                continue;
            }
            if let Some(callback) = handle.get().and_then(|handle| handle.async_cb) {
                handle.call(callback);
            }
        }
    }

    fn on_phase(self: Rc<Self>, _: Phase) {}
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("fd", &self.fd())
            .finish_non_exhaustive()
    }
}

/// One async handle: active from the beginning to `uv_close`.
pub(crate) struct Async {
    handle: Handle,
    hub: Rc<Hub>,
    key: u64,
    this: Given<uv_async_t>,
    then: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Async {
    pub(crate) fn new(event_loop: &Loop, hub: &Rc<Hub>, this: Given<uv_async_t>) -> Rc<Self> {
        let key = hub.entered.get();
        hub.entered.set(key + 1);
        hub.open.borrow_mut().insert(key, this);
        let made = Rc::new_cyclic(|weak: &Weak<Self>| Self {
            handle: Handle::new(event_loop, weak.clone()),
            hub: Rc::clone(hub),
            key,
            this,
            then: Cell::new(None),
        });
        made.handle.set_active(true);
        made
    }

    pub(crate) fn is_active(&self) -> bool {
        self.handle.is_active()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.handle.is_closing()
    }

    pub(crate) fn has_ref(&self) -> bool {
        self.handle.has_ref()
    }

    pub(crate) fn reference(&self) {
        self.handle.set_ref(true);
    }

    pub(crate) fn unreference(&self) {
        self.handle.set_ref(false);
    }

    /// Closes the handle. Threads that send to it meanwhile are waited for: they are between two instructions and a write(2)
    /// that does not block.
    pub(crate) fn close(&self, then: impl FnOnce(()) + 'static) -> Result<()> {
        self.handle.close()?;
        self.then.set(Some(Box::new(move || then(()))));
        self.hub.open.borrow_mut().remove(&self.key);
        if let Some(signal) = self.this.signal() {
            signal.wakeup.store(-1, Ordering::SeqCst);
            while signal.busy.load(Ordering::SeqCst) > 0 {
                std::thread::yield_now();
            }
        }
        Ok(())
    }
}

impl Source for Async {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        let then = self.then.take();
        if let (Phase::Closing, Some(then)) = (phase, then) {
            then();
        }
    }
}

impl fmt::Debug for Async {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async")
            .field("handle", &self.handle)
            .finish_non_exhaustive()
    }
}

impl Signal {
    /// From any thread and from signal handlers: nothing here locks, allocates or waits.
    pub(crate) fn send(&self) {
        if self.pending.load(Ordering::Relaxed) != 0 {
            return;
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        if self.pending.swap(1, Ordering::AcqRel) == 0 {
            let fd = self.wakeup.load(Ordering::SeqCst);
            if fd >= 0 {
                let one = 1_u64;
                // SAFETY: `one` has the eight bytes that an eventfd takes. One that is full already wakes the loop as well.
                unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
            }
        }
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }
}
