//! One iteration of a loop: the order of its phases, and the decision to poll.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use uv_sys::{Interest, Result};

use crate::core::{Core, Scheduled};
use crate::interest::Report;
use crate::phase::{HookPhase, Phase};
use crate::posts::PostBatch;
use crate::runnable::Runnable;

/// Iterations that [`RunMode::Default`] may run without a poll while it has other work. A poll
/// costs about as much as a datagram, so one in 32 costs 3 % at most. A handle that only the poller
/// reports waits for at most as many iterations. An iteration that flushes counts for eleven.
pub const MAX_UNPOLLED_ITERATIONS: u32 = 32;

/// The weight of an iteration with a flush in [`MAX_UNPOLLED_ITERATIONS`]: flushed data may make
/// other handles of this loop ready, and a default socket buffer has room for four flushes.
const FLUSH_WEIGHT: u32 = MAX_UNPOLLED_ITERATIONS / 3 + 1;

/// How long [`Loop::run`](crate::Loop::run) runs.
///
/// ```
/// use uv_core::{Loop, Prepare, RunMode};
///
/// let event_loop = Loop::new()?;
/// assert_eq!(event_loop.run(RunMode::Default), Ok(false), "no handle is active");
/// let prepare = Prepare::new(&event_loop);
/// prepare.start(|_| println!("an iteration"))?;
/// assert_eq!(event_loop.run(RunMode::NoWait), Ok(true), "the hook is active");
/// # Ok::<(), uv_core::Errno>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "uv_run_mode")]
pub enum RunMode {
    /// Runs until nothing keeps the loop alive, or until [`Loop::stop`](crate::Loop::stop).
    #[doc(alias = "UV_RUN_DEFAULT")]
    Default,
    /// Runs one iteration, which waits for an event if it found no work and something keeps the
    /// loop alive.
    #[doc(alias = "UV_RUN_ONCE")]
    Once,
    /// Runs one iteration that does not wait. As with `Once`, it runs even if nothing keeps the
    /// loop alive.
    #[doc(alias = "UV_RUN_NOWAIT")]
    NoWait,
}

impl<S: Runnable + ?Sized> Core<S> {
    pub(crate) fn iterate(&self, event_loop: &S::Loop, mode: RunMode) -> Result<()> {
        self.now.set(None);
        self.iteration.set(self.iteration.get().wrapping_add(1));
        self.flush_ended.set(false);
        // `RunMode::Once` does not wait if the iteration has found work before the poll.
        let mut worked = self.busy() | self.run_deadlines();
        self.run_scheduled(&self.completions, Phase::Completions);
        worked |= self.run_posts(event_loop);
        self.run_hooks(HookPhase::Idle);
        self.run_hooks(HookPhase::Prepare);
        let flushes = !self.flushes.borrow().is_empty();
        let weight = if flushes { FLUSH_WEIGHT } else { 1 };
        self.run_flushes();
        let polled = self.poll(mode, worked, weight)?;
        // Sources that ready handles schedule run in the next iteration.
        let dispatches = self.dispatches.borrow().len();
        let after_poll = self.after_poll.borrow().len();
        if polled {
            self.dispatch_events();
        }
        self.report_refusals();
        self.run_some(&self.after_poll, after_poll, Phase::AfterPoll);
        self.run_some(&self.dispatches, dispatches, Phase::Dispatch);
        self.run_hooks(HookPhase::Check);
        self.run_closing();
        if mode == RunMode::Once && !worked {
            // A timer may have become due before the wait or ended it, and one iteration promises
            // to make progress.
            self.run_deadlines();
        }
        Ok(())
    }

    fn run_hooks(&self, place: HookPhase) {
        self.hooks(place).run(|source| source.on_phase(Phase::Hook));
    }

    /// Runs the deadlines that are due, and returns whether there were any.
    fn run_deadlines(&self) -> bool {
        if !self.has_deadlines() {
            return false;
        }
        // Collected before the first one runs: deadlines that callbacks set run in the next
        // iteration.
        self.collect_due(self.now());
        let mut any = false;
        while let Some((key, moment)) = pop(&self.due) {
            if let Some(source) = self.take_due(key, moment) {
                any = true;
                source.on_phase(Phase::Deadline);
            }
        }
        any
    }

    fn run_scheduled(&self, queue: &Scheduled<S>, phase: Phase) {
        let scheduled = queue.borrow().len();
        self.run_some(queue, scheduled, phase);
    }

    /// Runs the scheduled flushes, until a source ends the phase.
    fn run_flushes(&self) {
        let scheduled = self.flushes.borrow().len();
        for _ in 0..scheduled {
            if self.flush_ended.get() {
                break;
            }
            self.run_first(&self.flushes, 1, Phase::Flush);
        }
    }

    #[inline]
    fn run_some(&self, queue: &Scheduled<S>, count: usize, phase: Phase) {
        if count > 0 {
            self.run_first(queue, count, phase);
        }
    }

    fn run_first(&self, queue: &Scheduled<S>, count: usize, phase: Phase) {
        for _ in 0..count {
            let Some(source) = pop(queue) else { break };
            if let Some(source) = source.upgrade()
                && source.begin_phase(phase)
            {
                source.on_phase(phase);
            }
        }
    }

    /// Runs the posts made by now, and returns whether there were any.
    fn run_posts(&self, event_loop: &S::Loop) -> bool {
        if self.posts.borrow().is_empty() && self.shared.pending() {
            self.shared
                .take_posts(&mut self.posts.borrow_mut(), self.spare_batch.take());
        }
        let mut any = false;
        while let Some(batch) = pop(&self.posts) {
            any = true;
            let mut guard = PostBatchGuard {
                core: self,
                batch: Some(batch),
            };
            if let Some(batch) = &mut guard.batch {
                batch.run(event_loop, &self.batch_continues);
            }
        }
        any
    }

    /// Polls unless other work permits to skip it, and returns whether it did. `worked`: this
    /// iteration found work before. `weight`: the iteration's share of [`MAX_UNPOLLED_ITERATIONS`].
    fn poll(&self, mode: RunMode, worked: bool, weight: u32) -> Result<bool> {
        let unpolled = self.unpolled.get();
        // Idle hooks may run for long, in every iteration: with one, no poll is skipped.
        if mode == RunMode::Default
            && unpolled < MAX_UNPOLLED_ITERATIONS
            && self.hooks(HookPhase::Idle).is_empty()
            && self.busy()
        {
            self.unpolled.set(unpolled + weight);
            return Ok(false);
        }
        self.unpolled.set(0);
        self.check_process()?;
        self.changes.apply();
        let timeout = match mode {
            RunMode::NoWait => Some(Duration::ZERO),
            RunMode::Once if worked => Some(Duration::ZERO),
            RunMode::Default | RunMode::Once => self.wait_while_alive(worked),
        };
        let waited = self.wait(timeout);
        self.shared.wake_up();
        waited?;
        if timeout != Some(Duration::ZERO) {
            self.now.set(None);
        }
        Ok(true)
    }

    /// Waits for an event, another thread, or the end of the timeout. After a signal it waits for
    /// the rest of the timeout.
    fn wait(&self, mut timeout: Option<Duration>) -> Result<()> {
        let mut events = self.events.borrow_mut();
        loop {
            self.poller.wait(&mut events, timeout)?;
            let over = timeout == Some(Duration::ZERO);
            if over || events.iter().next().is_some() || !self.shared.is_asleep() {
                return Ok(());
            }
            if timeout.is_some() {
                self.now.set(None);
                self.changes.apply();
                timeout = self.until_next();
                if timeout == Some(Duration::ZERO) || self.changes.has_reports() {
                    return Ok(());
                }
            }
        }
    }

    fn wait_while_alive(&self, worked: bool) -> Option<Duration> {
        if worked || !self.hooks(HookPhase::Prepare).is_empty() {
            // Callbacks took time, by which the wait for a deadline is shorter.
            self.now.set(None);
        }
        let timeout = self.prepare_to_wait();
        // Checked after `fall_asleep`: a thread that drops the last `KeepAlive` is seen here, or
        // sees `asleep`.
        if self.alive() {
            timeout
        } else {
            Some(Duration::ZERO)
        }
    }

    /// How long the loop may wait: zero while it has work. Otherwise other threads wake it from now
    /// on.
    pub(crate) fn prepare_to_wait(&self) -> Option<Duration> {
        if self.busy() || !self.shared.fall_asleep() {
            return Some(Duration::ZERO);
        }
        self.until_next()
    }

    /// How long until a deadline is due or a refused change of interest is retried.
    fn until_next(&self) -> Option<Duration> {
        let next = match (self.next_deadline(), self.changes.next_attempt()) {
            (deadline, None) => deadline,
            (None, attempt) => attempt,
            (Some(deadline), Some(attempt)) => Some(deadline.min(attempt)),
        };
        next.map(|due| Duration::from_nanos(due.saturating_sub(self.now())))
    }

    /// Whether there is work that needs no poll.
    fn busy(&self) -> bool {
        !self.dispatches.borrow().is_empty()
            || !self.completions.borrow().is_empty()
            || !self.flushes.borrow().is_empty()
            || !self.closing.borrow().is_empty()
            || !self.due.borrow().is_empty()
            || self.has_posts()
            || self.changes.has_reports()
            || !self.hooks(HookPhase::Idle).is_empty()
            || self.stopping.get()
    }

    /// Whether a post has not run.
    fn has_posts(&self) -> bool {
        !self.posts.borrow().is_empty() || self.batch_continues.get() || self.shared.pending()
    }

    pub(crate) fn alive(&self) -> bool {
        self.live.get() > 0
            || !self.closing.borrow().is_empty()
            // In this order: posts that a thread made before it dropped the last `KeepAlive` are
            // seen.
            || self.shared.is_kept_alive()
            || self.has_posts()
    }

    fn dispatch_events(&self) {
        let events = self.events.borrow();
        for event in events.iter() {
            let source = self.source_at(event.key);
            // A callback may have closed it since the poll.
            let Some(source) = source.filter(|source| !source.is_closing()) else {
                continue;
            };
            let mut readiness = Interest::NONE;
            readiness.set(Interest::READABLE, event.readable);
            readiness.set(Interest::WRITABLE, event.writable);
            source.on_ready(readiness);
        }
    }

    /// Reports refused interests to their handles.
    fn report_refusals(&self) {
        while let Some(Report { polled, error }) = self.changes.next_report() {
            let key = polled.upgrade().and_then(|polled| polled.key());
            let source = key.and_then(|key| self.source_at(key));
            if let Some(source) = source.filter(|source| !source.is_closing()) {
                source.interest_refused(error);
            }
        }
    }

    fn run_closing(&self) {
        let closing = self.closing.borrow().len();
        for _ in 0..closing {
            let Some(source) = pop(&self.closing) else {
                break;
            };
            let guard = ClosingGuard {
                core: self,
                source: Some(Rc::clone(&source)),
            };
            Rc::clone(&source).on_phase(Phase::Closing);
            guard.done();
            source.end_closing();
        }
    }
}

fn pop<T>(queue: &RefCell<VecDeque<T>>) -> Option<T> {
    queue.borrow_mut().pop_front()
}

/// Keeps the rest of a batch of posts after a panic in one of them.
struct PostBatchGuard<'a, S: Runnable + ?Sized> {
    core: &'a Core<S>,
    batch: Option<Box<dyn PostBatch<S::Loop>>>,
}

impl<S: Runnable + ?Sized> Drop for PostBatchGuard<'_, S> {
    fn drop(&mut self) {
        self.core.batch_continues.set(false);
        match self.batch.take() {
            Some(rest) if !rest.is_empty() => self.core.posts.borrow_mut().push_front(rest),
            done => self
                .core
                .spare_batch
                .set(done.filter(|batch| batch.is_small())),
        }
    }
}

/// Repeats a closing phase that ended with a panic.
struct ClosingGuard<'a, S: Runnable + ?Sized> {
    core: &'a Core<S>,
    source: Option<Rc<S>>,
}

impl<S: Runnable + ?Sized> ClosingGuard<'_, S> {
    fn done(mut self) {
        self.source = None;
    }
}

impl<S: Runnable + ?Sized> Drop for ClosingGuard<'_, S> {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            self.core.closing.borrow_mut().push_front(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Weak;
    use std::time::Instant;

    use uv_sys::Errno;

    use super::*;
    use crate::interest::Changes;

    /// A source that is never run.
    struct Unrun;

    impl Runnable for Unrun {
        type Loop = ();

        fn is_closing(&self) -> bool {
            false
        }
        fn begin_phase(&self, _: Phase) -> bool {
            false
        }
        fn end_closing(&self) {}
        fn detach(&self) {}
        fn reapply_interests(&self, _: &Changes) {}
        fn on_phase(self: Rc<Self>, _: Phase) {}
        fn on_ready(self: Rc<Self>, _: Interest) {}
        fn interest_refused(self: Rc<Self>, _: Errno) {}
    }

    #[test]
    fn a_wait_for_a_deadline_is_shorter_by_the_time_that_callbacks_took() {
        const WAIT: u64 = 100_000;
        let core = Core::<Unrun>::new().unwrap();
        core.count_live(true);
        core.running.set(true);
        core.set_deadline(core.insert(&Weak::new()), core.now() + WAIT);
        let start = Instant::now();
        while start.elapsed() < Duration::from_nanos(WAIT) {}
        assert_eq!(
            core.wait_while_alive(false),
            Some(Duration::from_nanos(WAIT)),
            "no callback ran, so the clock was not read again"
        );
        assert_eq!(core.wait_while_alive(true), Some(Duration::ZERO));
    }
}
