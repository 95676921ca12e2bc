//! The queue of closures that other threads post to a loop, and the wake-up that they need.
//!
//! `L` is the type of loop that the closures get; this module does not know it.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use uv_sys::{Errno, Poller, Result};

/// Bytes of a batch whose memory is kept after its closures ran.
const KEPT_BATCH: usize = 64 * 1024;

/// Consecutive posts of one closure type, in one allocation. One allocation per closure, made by
/// one thread and freed by another, would be three quarters of the cost of a post.
pub(crate) trait PostBatch<L>: Send {
    /// Runs the closures in order, and sets `continues` before each: whether more follow. After a
    /// panic in one, the later ones remain.
    fn run(&mut self, event_loop: &L, continues: &Cell<bool>);

    fn is_empty(&self) -> bool;

    /// Whether its memory is small enough to be kept.
    fn is_small(&self) -> bool;

    fn as_any(&mut self) -> &mut dyn Any;
}

struct ClosureBatch<F>(VecDeque<F>);

impl<L, F: FnOnce(&L) + Send + 'static> PostBatch<L> for ClosureBatch<F> {
    fn run(&mut self, event_loop: &L, continues: &Cell<bool>) {
        while let Some(closure) = self.0.pop_front() {
            continues.set(!self.0.is_empty());
            closure(event_loop);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_small(&self) -> bool {
        self.0.capacity().saturating_mul(size_of::<F>()) <= KEPT_BATCH
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Batches of closures in the order in which they were posted.
pub(crate) type PostBatches<L> = VecDeque<Box<dyn PostBatch<L>>>;

fn push<L: 'static, F: FnOnce(&L) + Send + 'static>(batches: &mut PostBatches<L>, closure: F) {
    let last = batches.back_mut().map(|batch| batch.as_any());
    match last.and_then(|batch| batch.downcast_mut::<ClosureBatch<F>>()) {
        Some(batch) => batch.0.push_back(closure),
        None => batches.push_back(Box::new(ClosureBatch(VecDeque::from([closure])))),
    }
}

/// The part of a loop that other threads share.
pub(crate) struct Shared<L> {
    poller: Poller,
    posts: Mutex<Posts<L>>,
    /// Whether `posts` holds a closure; written under the lock, and read without it in every
    /// iteration.
    pending: AtomicBool,
    /// Set by the loop before it may block. The thread that clears it notifies the poller.
    asleep: AtomicBool,
    kept_alive: AtomicUsize,
}

struct Posts<L> {
    queue: PostBatches<L>,
    closed: bool,
}

impl<L: 'static> Shared<L> {
    pub(crate) fn new(poller: Poller) -> Self {
        Self {
            poller,
            posts: Mutex::new(Posts {
                queue: VecDeque::new(),
                closed: false,
            }),
            pending: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            kept_alive: AtomicUsize::new(0),
        }
    }

    /// Queues a closure; `ECANCELED` when the loop was dropped.
    pub(crate) fn post(&self, closure: impl FnOnce(&L) + Send + 'static) -> Result<()> {
        let mut posts = self.posts.lock();
        if posts.closed {
            // The closure is dropped after the lock is released: its captures may post, too.
            drop(posts);
            return Err(Errno::ECANCELED);
        }
        push(&mut posts.queue, closure);
        if self.pending() {
            // The first of several posts wakes the loop.
            return Ok(());
        }
        self.pending.store(true, Ordering::SeqCst);
        drop(posts);
        self.wake();
        Ok(())
    }

    pub(crate) fn keep_alive(&self) {
        self.kept_alive.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end_keep_alive(&self) {
        if self.kept_alive.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.wake();
        }
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // `notify` fails only when the notification counter is full, and then the poller wakes
            // up as well.
            let _ = self.poller.notify();
        }
    }

    pub(crate) fn pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    pub(crate) fn is_kept_alive(&self) -> bool {
        self.kept_alive.load(Ordering::SeqCst) > 0
    }

    /// Announces that the loop is about to block; `false` when it must not, because a post is
    /// pending. A later post sees `asleep` and notifies: the two stores and the two loads are
    /// sequentially consistent, so at least one side sees the other. The same holds for the last
    /// `KeepAlive`, if the loop checks for it after this call.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let sleep = !self.pending();
        if !sleep {
            self.wake_up();
        }
        sleep
    }

    /// Whether no thread has woken the loop since it [fell asleep](Self::fall_asleep).
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Moves the posts into `into`, which must be empty: the two queues are swapped, so neither
    /// allocates. `spare` receives the next closures of its type.
    pub(crate) fn take_posts(
        &self,
        into: &mut PostBatches<L>,
        spare: Option<Box<dyn PostBatch<L>>>,
    ) {
        let mut posts = self.posts.lock();
        std::mem::swap(&mut posts.queue, into);
        posts.queue.extend(spare);
        self.pending.store(false, Ordering::SeqCst);
    }

    /// Refuses later posts and drops earlier ones.
    pub(crate) fn close(&self) {
        let posts = {
            let mut posts = self.posts.lock();
            posts.closed = true;
            std::mem::take(&mut posts.queue)
        };
        // Dropped after the lock is released: captures may post, too.
        drop(posts);
    }
}
