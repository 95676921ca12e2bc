//! Wakes the loop for its async handles: one eventfd per loop, and one source per handle.
//!
//! [`uv_core::LoopProxy`] takes a lock and allocates, which a signal handler must not do. A send
//! here is one atomic exchange and at most one write(2).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;

use uv_core::{Handle, Interest, Loop, Phase, PollSource, Result, Source};
use uv_sys::Errno;

use crate::pointers::CPtr;
use crate::types::{Signal, uv_async_t};

/// The eventfd that the async handles of a loop share.
pub(crate) struct AsyncWakeup {
    handle: Handle,
    source: OnceCell<PollSource>,
    /// The open handles, in order of creation.
    open: RefCell<BTreeMap<u64, CPtr<uv_async_t>>>,
    entered: Cell<u64>,
}

/// Creates the eventfd, non-blocking and close-on-exec.
fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no memory is involved.
    let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: eventfd(2) returned it, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The eventfd that replaces, after fork(2), the one shared with the parent process.
pub(crate) struct ForkedWakeup {
    wakeup: Rc<AsyncWakeup>,
    fd: OwnedFd,
}

impl ForkedWakeup {
    pub(crate) fn new(wakeup: &Rc<AsyncWakeup>) -> Result<Self> {
        Ok(Self {
            wakeup: Rc::clone(wakeup),
            fd: eventfd()?,
        })
    }

    /// Replaces the shared eventfd in this process, under the same descriptor number. Pending
    /// wake-ups stay with the parent, as in libuv.
    pub(crate) fn install(self) -> Result<()> {
        let Some(source) = self.wakeup.source.get() else {
            return Ok(());
        };
        source.replace(self.fd).map_err(|(error, _)| error)?;
        for handle in self.wakeup.open.borrow().values() {
            if let Some(signal) = handle.signal() {
                signal.pending.store(0, Ordering::SeqCst);
                // Threads of the parent that were sending do not exist in the child.
                signal.busy.store(0, Ordering::SeqCst);
            }
        }
        source.set_interest(Interest::READABLE)
    }
}

impl AsyncWakeup {
    pub(crate) fn new(event_loop: &Loop) -> Result<Rc<Self>> {
        let fd = eventfd()?;
        let wakeup = Rc::new_cyclic(|this: &Weak<Self>| Self {
            handle: Handle::new(event_loop, this.clone()),
            source: OnceCell::new(),
            open: RefCell::default(),
            entered: Cell::new(0),
        });
        let source = wakeup.handle.register(fd).map_err(|(errno, _)| errno)?;
        source.set_interest(Interest::READABLE)?;
        let _ = wakeup.source.set(source);
        Ok(wakeup)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.source.get().map_or(-1, |fd| fd.as_fd().as_raw_fd())
    }
}

impl Source for AsyncWakeup {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, _: Interest) {
        let mut count = 0_u64;
        // SAFETY: `count` has the eight bytes that an eventfd stores. A read that fails with EAGAIN
        // has no effect.
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

impl fmt::Debug for AsyncWakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncWakeup")
            .field("fd", &self.fd())
            .finish_non_exhaustive()
    }
}

/// An async handle, active until `uv_close`.
pub(crate) struct Async {
    handle: Handle,
    wakeup: Rc<AsyncWakeup>,
    key: u64,
    this: CPtr<uv_async_t>,
    then: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Async {
    pub(crate) fn new(
        event_loop: &Loop,
        wakeup: &Rc<AsyncWakeup>,
        this: CPtr<uv_async_t>,
    ) -> Rc<Self> {
        let key = wakeup.entered.get();
        wakeup.entered.set(key + 1);
        wakeup.open.borrow_mut().insert(key, this);
        let made = Rc::new_cyclic(|weak: &Weak<Self>| Self {
            handle: Handle::new(event_loop, weak.clone()),
            wakeup: Rc::clone(wakeup),
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

    /// Closes the handle, and waits for threads that are sending to it: they are between two
    /// instructions and a write(2) that does not block.
    pub(crate) fn close(&self, then: impl FnOnce(()) + 'static) -> Result<()> {
        self.handle.close()?;
        self.then.set(Some(Box::new(move || then(()))));
        self.wakeup.open.borrow_mut().remove(&self.key);
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
    /// Wakes the loop. Safe in any thread and in signal handlers: it does not lock, allocate or
    /// block.
    pub(crate) fn send(&self) {
        if self.pending.load(Ordering::Relaxed) != 0 {
            return;
        }
        self.busy.fetch_add(1, Ordering::SeqCst);
        if self.pending.swap(1, Ordering::AcqRel) == 0 {
            let fd = self.wakeup.load(Ordering::SeqCst);
            if fd >= 0 {
                let one = 1_u64;
                // SAFETY: `one` has the eight bytes that an eventfd reads. A full eventfd wakes the
                // loop, too.
                unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
            }
        }
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }
}
