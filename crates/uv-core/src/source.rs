//! What the loop runs: a [`Source`] is the loop's view of one handle. Handle types implement it; the loop calls it, phase by
//! phase, and never knows what kind of handle it is.

use std::any::Any;
use std::rc::Rc;

use uv_sys::{Errno, Interest};

use crate::handle::Handle;

/// Why the loop gives a source its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The deadline set with [`Handle::set_deadline`] is due. It is cleared before the turn.
    Deadline,
    /// Requests were completed: call their callbacks. Asked for with [`Handle::schedule`].
    Completions,
    /// An idle, prepare or check hook runs. Asked for with [`Handle::set_hook`].
    Hook,
    /// What was queued in this iteration goes out together. Asked for with [`Handle::schedule`].
    Flush,
    /// There is likely more to do without asking the poller. Asked for with [`Handle::schedule`].
    Dispatch,
    /// As `Dispatch`, with the dispatch of the next iteration, but no reason for the loop not to wait before it: for a guess
    /// that failed once and may be right the next time. Asked for with [`Handle::schedule`].
    Speculative,
    /// The handle is closed: complete what is left, then call the close callback.
    Closing,
    /// The loop itself is gone: let go of callbacks and descriptors, and call nothing.
    LoopDropped,
}

/// A handle as its loop sees it.
///
/// A type embeds a [`Handle`], is made with [`Rc::new_cyclic`] and says in `on_phase` and `on_ready` what it does. A source that
/// panics in a turn leaves the loop usable: what the loop had not begun stays scheduled, and a `Closing` turn that
/// panicked is given again, so it must be able to go on where it stopped.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::{Rc, Weak};
/// use uv_core::{Handle, Loop, Phase, RunMode, Source};
///
/// /// Counts down, one step in an iteration.
/// struct Countdown {
///     handle: Handle,
///     left: Cell<u32>,
/// }
///
/// impl Source for Countdown {
///     fn handle(&self) -> &Handle {
///         &self.handle
///     }
///
///     fn on_phase(self: Rc<Self>, phase: Phase) {
///         if phase == Phase::Dispatch {
///             self.left.set(self.left.get() - 1);
///             if self.left.get() > 0 {
///                 self.handle.schedule(Phase::Dispatch);
///             } else {
///                 self.handle.set_active(false);
///             }
///         }
///     }
/// }
///
/// let event_loop = Loop::new()?;
/// let countdown = Rc::new_cyclic(|this: &Weak<Countdown>| Countdown {
///     handle: Handle::new(&event_loop, this.clone()),
///     left: Cell::new(10),
/// });
/// countdown.handle.set_active(true);
/// countdown.handle.schedule(Phase::Dispatch);
/// assert!(!event_loop.run(RunMode::Default)?);
/// assert_eq!(countdown.left.get(), 0);
/// # Ok::<(), uv_core::Errno>(())
/// ```
pub trait Source: Any {
    /// The life of this handle on its loop.
    fn handle(&self) -> &Handle;

    /// The descriptor registered with [`Handle::register`] is ready for what `readiness` says; a handle with several is not
    /// told which. Reports are level-triggered: what is left undone is reported again by every poll, and keeps the loop from
    /// waiting. An error or a hang-up is reported as ready for everything, whatever was asked for. A report may be out of
    /// date.
    fn on_ready(self: Rc<Self>, readiness: Interest) {
        let _ = readiness;
    }

    /// The poller refuses to watch a descriptor of this handle. `ENOMEM`, or `ENOSPC` at the system's limit of watches
    /// (`fs.epoll.max_user_watches`): it has refused for a quarter of a second, and the loop goes on trying. Any other error:
    /// the loop has given up, and the interest is what it was before. Until the watch begins, [`on_ready`](Self::on_ready) is not
    /// called for what it would report. A handle type that registers descriptors reports the error to its user. Called
    /// after the dispatch of an iteration.
    fn interest_refused(self: Rc<Self>, error: Errno) {
        let _ = error;
    }

    /// The turn that was asked for.
    fn on_phase(self: Rc<Self>, phase: Phase);
}
