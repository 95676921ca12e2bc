//! The phases of an iteration in which a handle can run.

/// The phase of an iteration in which the loop runs a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The deadline set with [`Handle::set_deadline`](crate::Handle::set_deadline) is due. It is
    /// cleared before the call.
    Deadline,
    /// Completed requests wait for their callbacks. Requested with
    /// [`Handle::schedule`](crate::Handle::schedule).
    Completions,
    /// An idle, prepare or check hook runs. Requested with
    /// [`Handle::set_hook`](crate::Handle::set_hook).
    Hook,
    /// Operations queued in this iteration are carried out together. Requested with
    /// [`Handle::schedule`](crate::Handle::schedule).
    Flush,
    /// Work continues that needs no poll. Keeps the loop from waiting. Requested with
    /// [`Handle::schedule`](crate::Handle::schedule).
    Dispatch,
    /// Runs after the poll of the next iteration, before `Dispatch`, and does not keep the loop
    /// from waiting. For work that is worthwhile only if the loop is awake anyway, such as
    /// repeating a read that would have blocked. Requested with
    /// [`Handle::schedule`](crate::Handle::schedule).
    AfterPoll,
    /// The handle is closed. The source completes its requests, then calls its close callback.
    Closing,
    /// The loop was dropped. The source drops its callbacks and descriptors, and calls nothing.
    LoopDropped,
}

/// The place of a hook in an iteration. Handle types use it with
/// [`Handle::set_hook`](crate::Handle::set_hook); [`Idle`](crate::Idle),
/// [`Prepare`](crate::Prepare) and [`Check`](crate::Check) are ready-made hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPhase {
    /// After posts. An idle hook also keeps the loop from waiting.
    Idle,
    /// After idle hooks, before queued operations are flushed and the loop polls.
    Prepare,
    /// After ready handles were dispatched.
    Check,
}
