//! The end of a loop that other threads hold.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use uv_sys::{Errno, Poller, Result};

use crate::event_loop::Loop;

/// Bytes in a batch of closures that are kept when they have run.
const KEPT_ROW: usize = 64 * 1024;

/// Closures of one type that were posted one after another. They share an allocation: one for each closure, made by one thread
/// and freed by another, would be three quarters of what a post costs.
pub(crate) trait PostBatch: Send {
    /// Runs the closures in order, each of which may know whether it `goes_on`. After a panic in one, those after it are still
    /// there.
    fn run(&mut self, event_loop: &Loop, goes_on: &Cell<bool>);

    fn is_empty(&self) -> bool;

    /// Whether its memory is worth keeping for the next closures.
    fn is_small(&self) -> bool;

    fn as_any(&mut self) -> &mut dyn Any;
}

struct Alike<F>(VecDeque<F>);

impl<F: FnOnce(&Loop) + Send + 'static> PostBatch for Alike<F> {
    fn run(&mut self, event_loop: &Loop, goes_on: &Cell<bool>) {
        while let Some(closure) = self.0.pop_front() {
            goes_on.set(!self.0.is_empty());
            closure(event_loop);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_small(&self) -> bool {
        self.0.capacity().saturating_mul(size_of::<F>()) <= KEPT_ROW
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// PostBatches of closures, in the order in which they were posted.
pub(crate) type PostBatches = VecDeque<Box<dyn PostBatch>>;

fn push<F: FnOnce(&Loop) + Send + 'static>(rows: &mut PostBatches, closure: F) {
    let last = rows.back_mut().map(|batch| batch.as_any());
    match last.and_then(|batch| batch.downcast_mut::<Alike<F>>()) {
        Some(batch) => batch.0.push_back(closure),
        None => rows.push_back(Box::new(Alike(VecDeque::from([closure])))),
    }
}

/// Runs closures on a loop from any thread: the `Send + Sync` end of a [`Loop`].
///
/// Posts run in the order in which they were made, in the loop's own thread. A wake-up costs a system call only when the
/// loop is asleep, and only for the first of several posts. A post that has not run keeps the loop alive; the `LoopProxy`
/// itself does not ([`keep_alive`](Self::keep_alive) does).
///
/// ```
/// use uv_core::{Loop, RunMode};
///
/// let event_loop = Loop::new()?;
/// let proxy = event_loop.proxy();
/// let thread = std::thread::spawn(move || proxy.post(|event_loop| event_loop.stop()));
/// let alive = event_loop.proxy().keep_alive();
/// event_loop.run(RunMode::Default)?;
/// drop(alive);
/// thread.join().unwrap()?;
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone)]
#[doc(alias = "uv_async_t")]
pub struct LoopProxy {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    poller: Poller,
    posts: Mutex<Posts>,
    /// Whether `posts` holds a closure; written under the lock, and read without it in every iteration.
    pending: AtomicBool,
    /// Set by the loop before it may block; whoever clears it owes the loop a wake-up.
    asleep: AtomicBool,
    kept_alive: AtomicUsize,
}

#[derive(Default)]
struct Posts {
    queue: PostBatches,
    gone: bool,
}

impl LoopProxy {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs `closure` on the loop, in the next iteration's posts: later than this call also in the loop's own thread.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when the loop is gone; the closure is dropped. What was posted and not yet run when the loop is
    /// dropped is dropped with it.
    #[doc(alias = "uv_async_send")]
    pub fn post(&self, closure: impl FnOnce(&Loop) + Send + 'static) -> Result<()> {
        let mut posts = self.shared.posts.lock();
        if posts.gone {
            // Dropped after the lock is let go of: what it captured may post, too.
            drop(posts);
            return Err(Errno::ECANCELED);
        }
        push(&mut posts.queue, closure);
        if self.shared.pending() {
            // Whoever was first has told the loop, or is about to.
            return Ok(());
        }
        self.shared.pending.store(true, Ordering::SeqCst);
        drop(posts);
        self.shared.wake();
        Ok(())
    }

    /// Keeps [`Loop::run`] from returning for want of work until the answer is dropped: for threads that will post later.
    /// What was posted before it is dropped runs before `run` returns.
    #[must_use = "the loop is kept alive until this is dropped"]
    pub fn keep_alive(&self) -> KeepAlive {
        self.shared.kept_alive.fetch_add(1, Ordering::SeqCst);
        KeepAlive {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl fmt::Debug for LoopProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopProxy")
            .field("pending", &self.shared.pending())
            .finish_non_exhaustive()
    }
}

/// Keeps a loop alive while it exists; see [`LoopProxy::keep_alive`].
///
/// ```
/// use uv_core::{Loop, RunMode};
///
/// let event_loop = Loop::new()?;
/// let (proxy, alive) = (event_loop.proxy(), event_loop.proxy().keep_alive());
/// let thread = std::thread::spawn(move || {
///     for number in 0..3 {
///         proxy.post(move |_| println!("{number}")).unwrap();
///     }
///     drop(alive);
/// });
/// // Waits for the thread's posts, and ends with the thread.
/// assert!(!event_loop.run(RunMode::Default)?);
/// # thread.join().unwrap();
/// # Ok::<(), uv_core::Errno>(())
/// ```
pub struct KeepAlive {
    shared: Arc<Shared>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        if self.shared.kept_alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.wake();
        }
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(poller: Poller) -> Self {
        Self {
            poller,
            posts: Mutex::default(),
            pending: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            kept_alive: AtomicUsize::new(0),
        }
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // It cannot fail but by having been notified too often to count, which wakes the loop as well.
            let _ = self.poller.notify();
        }
    }

    pub(crate) fn pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    pub(crate) fn kept_alive(&self) -> bool {
        self.kept_alive.load(Ordering::SeqCst) > 0
    }

    /// The loop is about to block; `false` when it must not, because something was posted meanwhile. A post that comes
    /// after this sees `asleep` and notifies: the two stores and the two loads are sequentially consistent, so at least
    /// one side sees the other. The same goes for the last [`KeepAlive`], if the loop looks at that after this, too.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let sleep = !self.pending();
        if !sleep {
            self.wake_up();
        }
        sleep
    }

    /// Whether nobody has woken the loop since it [fell asleep](Self::fall_asleep).
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Moves what was posted into `into`, which must be empty: the two queues change places, and neither allocates anew. The
    /// next closures go into `spare` if they fit.
    pub(crate) fn take_posts(&self, into: &mut PostBatches, spare: Option<Box<dyn PostBatch>>) {
        let mut posts = self.posts.lock();
        std::mem::swap(&mut posts.queue, into);
        posts.queue.extend(spare);
        self.pending.store(false, Ordering::SeqCst);
    }

    /// The loop is gone: later posts are refused, earlier ones dropped.
    pub(crate) fn close(&self) {
        let posts = {
            let mut posts = self.posts.lock();
            posts.gone = true;
            std::mem::take(&mut posts.queue)
        };
        drop(posts);
    }
}
