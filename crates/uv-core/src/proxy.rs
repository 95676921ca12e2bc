//! The `Send + Sync` end of a loop.

use std::fmt;
use std::sync::Arc;

use uv_sys::Result;

use crate::event_loop::Loop;
use crate::posts::Shared;

/// Runs closures on a loop from any thread.
///
/// Posts run in the loop's thread, in the order in which they were made. A wake-up costs a system
/// call only when the loop is asleep, and only for the first of several posts. A post that has not
/// run keeps the loop alive. The `LoopProxy` itself does not; [`keep_alive`](Self::keep_alive)
/// does.
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
    shared: Arc<Shared<Loop>>,
}

impl Loop {
    /// Returns the end of this loop that other threads may hold.
    #[must_use]
    pub fn proxy(&self) -> LoopProxy {
        LoopProxy {
            shared: self.shared(),
        }
    }
}

impl LoopProxy {
    /// Runs `closure` on the loop, in the posts of its next iteration. In the loop's own thread,
    /// too, it runs after this call.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when the loop was dropped; the closure is dropped. A loop that is dropped drops
    /// the posts that have not run.
    #[doc(alias = "uv_async_send")]
    pub fn post(&self, closure: impl FnOnce(&Loop) + Send + 'static) -> Result<()> {
        self.shared.post(closure)
    }

    /// Keeps [`Loop::run`] from returning for lack of work until the [`KeepAlive`] is dropped: for
    /// threads that will post later. Posts made before that run before `run` returns.
    #[must_use = "the loop is kept alive until this is dropped"]
    pub fn keep_alive(&self) -> KeepAlive {
        self.shared.keep_alive();
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
    shared: Arc<Shared<Loop>>,
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.shared.end_keep_alive();
    }
}

impl fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepAlive").finish_non_exhaustive()
    }
}
