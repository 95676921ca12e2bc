//! A handle that runs closures of its test, logs and counters.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};

use uv_core::{
    Callback, Errno, Handle, HookPhase, Interest, Loop, Phase, PollSource, Result, RunMode, Source,
};

/// A call of a probe by its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Phase(Phase),
    Ready(Interest),
    Refused(Errno),
}

type OnEvent = dyn FnMut(&Rc<Probe>, Event);

/// A handle type that passes every call to a closure.
pub(super) struct Probe {
    handle: Handle,
    poll: RefCell<Option<PollSource>>,
    callback: Callback<OnEvent>,
}

impl Probe {
    pub(super) fn new(
        event_loop: &Loop,
        callback: impl FnMut(&Rc<Probe>, Event) + 'static,
    ) -> Rc<Self> {
        let probe = Rc::new_cyclic(|this: &Weak<Probe>| Probe {
            handle: Handle::new(event_loop, this.clone()),
            poll: RefCell::new(None),
            callback: Callback::new(),
        });
        probe.callback.set(Box::new(callback));
        probe
    }

    /// A probe for one phase.
    pub(super) fn on(
        event_loop: &Loop,
        phase: Phase,
        mut callback: impl FnMut(&Rc<Probe>) + 'static,
    ) -> Rc<Self> {
        Self::new(event_loop, move |probe, events| {
            if events == Event::Phase(phase) {
                callback(probe);
            }
        })
    }

    /// An active probe that watches `fd`.
    pub(super) fn watching(
        event_loop: &Loop,
        fd: impl Into<OwnedFd>,
        interest: Interest,
        mut ready: impl FnMut(&Rc<Probe>, Interest) + 'static,
    ) -> Rc<Self> {
        let probe = Self::new(event_loop, move |probe, events| {
            if let Event::Ready(interest) = events {
                ready(probe, interest);
            }
        });
        probe.watch(fd, interest).unwrap();
        probe.handle.set_active(true);
        probe
    }

    pub(super) fn watch(&self, fd: impl Into<OwnedFd>, interest: Interest) -> Result<()> {
        let source = self
            .handle
            .register(fd.into())
            .map_err(|(errno, _)| errno)?;
        source.set_interest(interest)?;
        *self.poll.borrow_mut() = Some(source);
        Ok(())
    }

    pub(super) fn set_interest(&self, interest: Interest) -> Result<()> {
        self.poll.borrow().as_ref().unwrap().set_interest(interest)
    }

    pub(super) fn request_interest(&self, interest: Interest) -> Result<()> {
        let poll = self.poll.borrow();
        poll.as_ref().unwrap().request_interest(interest)
    }

    pub(super) fn interest(&self) -> Interest {
        self.poll.borrow().as_ref().unwrap().interest()
    }

    pub(super) fn unwatch(&self) {
        drop(self.poll.take());
    }

    pub(super) fn hook(self: &Rc<Self>, place: HookPhase) -> Rc<Self> {
        self.handle.set_hook(place);
        self.handle.set_active(true);
        Rc::clone(self)
    }
}

impl std::ops::Deref for Probe {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Source for Probe {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, readiness: Interest) {
        self.callback
            .call(|callback| callback(&self, Event::Ready(readiness)));
    }

    fn interest_refused(self: Rc<Self>, error: Errno) {
        self.callback
            .call(|callback| callback(&self, Event::Refused(error)));
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        self.callback
            .call(|callback| callback(&self, Event::Phase(phase)));
        if phase == Phase::LoopDropped {
            self.callback.clear();
            self.unwatch();
        }
    }
}

/// Entries in order.
pub(super) struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Log<T> {
    pub(super) fn new() -> Self {
        Self(Rc::default())
    }

    pub(super) fn add(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(super) fn take(&self) -> Vec<T> {
        self.0.take()
    }
}

impl<T: PartialEq<U> + Debug, U: Debug, const N: usize> PartialEq<[U; N]> for Log<T> {
    fn eq(&self, other: &[U; N]) -> bool {
        *self.0.borrow() == *other
    }
}

impl<T: Debug> Debug for Log<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.borrow().fmt(f)
    }
}

/// A shared counter.
#[derive(Clone, Debug, Default)]
pub(super) struct Count(Rc<Cell<usize>>);

impl Count {
    pub(super) fn up(&self) -> usize {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }

    /// A callback that counts its calls.
    pub(super) fn counts<T: ?Sized>(&self) -> impl FnMut(&T) + use<T> + 'static {
        let count = self.clone();
        move |_| {
            count.up();
        }
    }

    pub(super) fn get(&self) -> usize {
        self.0.get()
    }
}

/// Counts its drops: captured by a callback, it shows when that is freed.
pub(super) struct CountsDrop(pub(super) Count);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.up();
    }
}

/// Runs `f` once in the posts of the next iteration, where the loop's clock stands still.
pub(super) fn inside(event_loop: &Loop, f: impl FnOnce(&Loop) + 'static) {
    let mut f = Some(f);
    // A post must be `Send`; a hook need not.
    let hook = uv_core::Idle::new(event_loop);
    hook.start(move |hook| {
        let f = f.take().unwrap();
        hook.close(|_| ()).unwrap();
        f(&hook.event_loop().unwrap());
    })
    .unwrap();
}

/// Runs the loop, and returns the message of the panic that ended the run.
pub(super) fn run_to_panic(event_loop: &Loop, mode: RunMode) -> &'static str {
    let panic = catch_unwind(AssertUnwindSafe(|| event_loop.run(mode))).unwrap_err();
    panic.downcast_ref::<&'static str>().unwrap()
}
