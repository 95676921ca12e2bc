//! `uv_async_t`: waking the loop from other threads and from signal handlers.
//!
//! [`uv_core::Remote`] takes a lock and allocates, which a signal handler must not do. So the async handles of a loop share
//! an eventfd, and sending is one exchange of a flag and at most one write(2).

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use uv_core::{Handle, Interest, Loop, Phase, PollSource, Result, Source};
use uv_sys::Errno;

use crate::closing::init;
use crate::event_loop::{LoopBox, loop_box};
use crate::object::Kind;
use crate::types::{UV_ASYNC, uv_async_cb, uv_async_t, uv_loop_t};

/// What the async handles of a loop share.
pub(crate) struct Hub {
    handle: Handle,
    wakeup: OnceCell<PollSource>,
    /// The open ones, in the order in which they were made.
    open: RefCell<BTreeMap<u64, *mut uv_async_t>>,
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

/// What replaces the eventfd that a forked child shares with its parent.
pub(crate) struct NewWakeup {
    hub: Rc<Hub>,
    fd: OwnedFd,
}

impl NewWakeup {
    /// Nothing, if the loop has no async handle.
    pub(crate) fn new(in_loop: &LoopBox) -> Result<Option<Self>> {
        let hub = in_loop.hub.get().cloned();
        hub.map(|hub| {
            Ok(Self {
                hub,
                fd: eventfd()?,
            })
        })
        .transpose()
    }

    /// Puts it in the place of the shared one, under the same number, in this process. What the parent's handles were sent and
    /// had not called back for stays the parent's, as in libuv.
    pub(crate) fn install(self) -> Result<()> {
        let Some(wakeup) = self.hub.wakeup.get() else {
            return Ok(());
        };
        wakeup.replace(self.fd).map_err(|(error, _)| error)?;
        for &handle in self.hub.open.borrow().values() {
            // SAFETY: an open handle is in place; its two members are atomic.
            let (pending, busy) = unsafe { (&(*handle).pending, &(*handle).busy) };
            pending.store(0, Ordering::SeqCst);
            // Whichever threads were sending, they are not in the child.
            busy.store(0, Ordering::SeqCst);
        }
        wakeup.set_interest(Interest::READABLE)
    }
}

impl Hub {
    fn new(lp: &Loop) -> Result<Rc<Self>> {
        let fd = eventfd()?;
        let hub = Rc::new_cyclic(|this: &Weak<Self>| Self {
            handle: Handle::new(lp, this.clone()),
            wakeup: OnceCell::new(),
            open: RefCell::default(),
            entered: Cell::new(0),
        });
        let wakeup = hub.handle.register(fd)?;
        wakeup.set_interest(Interest::READABLE)?;
        let _ = hub.wakeup.set(wakeup);
        Ok(hub)
    }

    /// The hub of a loop, made at first use.
    fn of(in_loop: &LoopBox) -> Result<&Rc<Self>> {
        if in_loop.hub.get().is_none() {
            let _ = in_loop.hub.set(Self::new(&in_loop.lp)?);
        }
        in_loop.hub.get().ok_or(Errno::EBADF)
    }

    fn fd(&self) -> RawFd {
        self.wakeup.get().map_or(-1, |fd| fd.as_fd().as_raw_fd())
    }
}

impl Source for Hub {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn ready(self: Rc<Self>, _: Interest) {
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
            // SAFETY: the handle is open, so it is in place; the flag is shared with other threads, and atomic.
            if unsafe { (*handle).pending.swap(0, Ordering::AcqRel) } == 0 {
                continue;
            }
            // SAFETY: as above; the callback does not change after `uv_async_init`.
            if let Some(callback) = unsafe { (*handle).async_cb } {
                // SAFETY: the program's own function, with a handle that is open.
                unsafe { callback(handle) };
            }
        }
    }

    fn turn(self: Rc<Self>, _: Phase) {}
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
    this: *mut uv_async_t,
    then: Cell<Option<Box<dyn FnOnce()>>>,
}

impl Async {
    fn new(lp: &Loop, hub: &Rc<Hub>, this: *mut uv_async_t) -> Rc<Self> {
        let key = hub.entered.get();
        hub.entered.set(key + 1);
        hub.open.borrow_mut().insert(key, this);
        let made = Rc::new_cyclic(|weak: &Weak<Self>| Self {
            handle: Handle::new(lp, weak.clone()),
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
        // SAFETY: the structure is in place until the close callback; both members are atomic.
        let (wakeup, busy) = unsafe { (&(*self.this).wakeup, &(*self.this).busy) };
        wakeup.store(-1, Ordering::SeqCst);
        while busy.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Source for Async {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn turn(self: Rc<Self>, phase: Phase) {
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

#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_async_init(
    loop_: *mut uv_loop_t,
    handle: *mut uv_async_t,
    async_cb: uv_async_cb,
) -> c_int {
    // SAFETY: as the crate says.
    let Some(in_loop) = (unsafe { loop_box(loop_) }).filter(|_| !handle.is_null()) else {
        return -libc::EINVAL;
    };
    let hub = match Hub::of(in_loop) {
        Ok(hub) => hub,
        Err(error) => return -error.raw(),
    };
    // SAFETY: the caller gives room for a handle; members are written one by one, so that none is read.
    unsafe {
        (&raw mut (*handle).async_cb).write(async_cb);
        ptr::write(&raw mut (*handle).wakeup, AtomicI32::new(hub.fd()));
        ptr::write(&raw mut (*handle).pending, AtomicU32::new(0));
        ptr::write(&raw mut (*handle).busy, AtomicU32::new(0));
    }
    let make = |lp: &Loop| Ok(Kind::Async(Async::new(lp, hub, handle)));
    // SAFETY: as the crate says; a `uv_async_t` begins with a `uv_handle_t`.
    unsafe { init(loop_, handle.cast(), UV_ASYNC, make) }
}

/// From any thread and from signal handlers: nothing here locks, allocates or waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn uv_async_send(handle: *mut uv_async_t) -> c_int {
    if handle.is_null() {
        return -libc::EINVAL;
    }
    // SAFETY: as the crate says, but for the threads: that is why these three members are atomic.
    let (wakeup, pending, busy) =
        unsafe { (&(*handle).wakeup, &(*handle).pending, &(*handle).busy) };
    if pending.load(Ordering::Relaxed) != 0 {
        return 0;
    }
    busy.fetch_add(1, Ordering::SeqCst);
    if pending.swap(1, Ordering::AcqRel) == 0 {
        let fd = wakeup.load(Ordering::SeqCst);
        if fd >= 0 {
            let one = 1_u64;
            // SAFETY: `one` has the eight bytes that an eventfd takes. One that is full already wakes the loop as well.
            unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
        }
    }
    busy.fetch_sub(1, Ordering::SeqCst);
    0
}
