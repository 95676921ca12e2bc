//! One iteration of a loop: who has a turn, in which order, and when the poller is asked.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use uv_sys::{Interest, Result};

use crate::changes::Report;
use crate::core::{Core, Turns};
use crate::event_loop::{Loop, RunMode};
use crate::hook_list::HookPhase;
use crate::proxy::PostBatch;
use crate::source::{Phase, Source};

/// How many iterations [`RunMode::Default`] may go without asking the poller while it has work it can see without asking.
/// Asking costs about as much as a datagram, so one in 32 is 3 % at most. A handle that only the poller knows of waits so
/// many iterations for its turn at most; an iteration that flushes queued sends counts for eleven of them.
pub const MAX_UNPOLLED_ITERATIONS: u32 = 32;

/// How much an iteration counts that flushes what was queued: whoever receives it on this loop may have room in a default
/// buffer for four flushes, and may be one that only the poller knows of.
const FLUSHING_COUNTS: u32 = MAX_UNPOLLED_ITERATIONS / 3 + 1;

impl Core {
    pub(crate) fn iterate(&self, event_loop: &Loop, mode: RunMode) -> Result<()> {
        self.now.set(None);
        self.iteration.set(self.iteration.get().wrapping_add(1));
        self.flush_over.set(false);
        // One iteration that found something to do has done its work, and need not wait for more.
        let mut worked = self.busy() | self.run_deadlines();
        self.run_scheduled(&self.completions, Phase::Completions);
        worked |= self.run_posts(event_loop);
        self.hooks(HookPhase::Idle).run();
        self.hooks(HookPhase::Prepare).run();
        let counts = if self.flushes.borrow().is_empty() {
            1
        } else {
            FLUSHING_COUNTS
        };
        self.run_flushes();
        let asked = self.poll(mode, worked, counts)?;
        // What the reports schedule anew waits for the next iteration.
        let scheduled = self.dispatches.borrow().len();
        let revisits = self.revisits.borrow().len();
        if asked {
            self.dispatch_events();
        }
        self.report_refusals();
        self.run_some(&self.revisits, revisits, Phase::Speculative);
        self.run_some(&self.dispatches, scheduled, Phase::Dispatch);
        self.hooks(HookPhase::Check).run();
        self.run_closing();
        if mode == RunMode::Once && !worked {
            // A timer may have become due before the wait or ended it, and one iteration promises to make progress.
            self.run_deadlines();
        }
        Ok(())
    }

    /// Runs what is due, and says whether anything was.
    fn run_deadlines(&self) -> bool {
        if self.due.borrow().is_empty() && self.deadlines.borrow().is_empty() {
            return false;
        }
        let now = self.now();
        {
            // All that are due now, before the first one runs: what they start waits for the next iteration.
            let (mut slots, mut deadlines) = (self.slots.borrow_mut(), self.deadlines.borrow_mut());
            let mut due = self.due.borrow_mut();
            while let Some(next) = deadlines.pop(&mut slots, now) {
                due.push_back(next);
            }
        }
        let mut any = false;
        while let Some((key, moment)) = pop(&self.due) {
            let source = {
                let mut slots = self.slots.borrow_mut();
                let slot = slots.get_mut(key);
                slot.and_then(|slot| {
                    slot.deadline
                        .spend(moment)
                        .then(|| slot.source.upgrade())
                        .flatten()
                })
            };
            if let Some(source) = source {
                any = true;
                source.on_phase(Phase::Deadline);
            }
        }
        any
    }

    fn run_scheduled(&self, queue: &Turns, phase: Phase) {
        let scheduled = queue.borrow().len();
        self.run_some(queue, scheduled, phase);
    }

    /// Gives those who asked for a flush their turn, until one of them ends it.
    fn run_flushes(&self) {
        let scheduled = self.flushes.borrow().len();
        for _ in 0..scheduled {
            if self.flush_over.get() {
                break;
            }
            self.run_first(&self.flushes, 1, Phase::Flush);
        }
    }

    #[inline]
    fn run_some(&self, queue: &Turns, count: usize, phase: Phase) {
        if count > 0 {
            self.run_first(queue, count, phase);
        }
    }

    fn run_first(&self, queue: &Turns, count: usize, phase: Phase) {
        for _ in 0..count {
            let Some(source) = pop(queue) else { break };
            if let Some(source) = source.upgrade()
                && source.handle().begin_turn(phase)
            {
                source.on_phase(phase);
            }
        }
    }

    /// Runs what was posted by now, and says whether anything was.
    fn run_posts(&self, event_loop: &Loop) -> bool {
        if self.posts.borrow().is_empty() && self.shared.pending() {
            self.shared
                .take_posts(&mut self.posts.borrow_mut(), self.spare_batch.take());
        }
        let mut any = false;
        while let Some(batch) = pop(&self.posts) {
            any = true;
            let mut turn = PostBatchGuard {
                core: self,
                batch: Some(batch),
            };
            if let Some(batch) = &mut turn.batch {
                batch.run(event_loop, &self.batch_continues);
            }
        }
        any
    }

    /// Asks the poller, or not, and says whether it did. `worked` if this iteration found something to do before; if it does not ask, it `counts` for
    /// so many.
    fn poll(&self, mode: RunMode, worked: bool, counts: u32) -> Result<bool> {
        let unpolled = self.unpolled.get();
        // What an idle hook does may take long, and it does it in every iteration: the poller is asked all the same.
        if mode == RunMode::Default
            && unpolled < MAX_UNPOLLED_ITERATIONS
            && self.hooks(HookPhase::Idle).is_empty()
            && self.busy()
        {
            self.unpolled.set(unpolled + counts);
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

    /// Waits for an event, another thread, or the end of the timeout. A signal that ends the wait of the kernel ends nothing
    /// here: the loop waits for what is left.
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
            // What ran took its time, which a deadline should not wait for twice.
            self.now.set(None);
        }
        let timeout = self.prepare_to_wait();
        // Only now: another thread that drops the last `KeepAlive` is either seen here, or sees that it must wake the loop.
        if self.alive() {
            timeout
        } else {
            Some(Duration::ZERO)
        }
    }

    /// How long the loop may wait: not at all while there is something to do. If it may, other threads know from here on
    /// that they must wake it.
    pub(crate) fn prepare_to_wait(&self) -> Option<Duration> {
        if self.busy() || !self.shared.fall_asleep() {
            return Some(Duration::ZERO);
        }
        self.until_next()
    }

    /// How long until a deadline is due, or the poller is to be asked again for what it refused.
    fn until_next(&self) -> Option<Duration> {
        let deadline = self
            .deadlines
            .borrow_mut()
            .next(&mut self.slots.borrow_mut());
        let next = match (deadline, self.changes.next_attempt()) {
            (deadline, None) => deadline,
            (None, attempt) => attempt,
            (Some(deadline), Some(attempt)) => Some(deadline.min(attempt)),
        };
        next.map(|due| Duration::from_nanos(due.saturating_sub(self.now())))
    }

    /// Whether there is work that can be seen without asking the poller.
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

    /// Whether there is a post that has not run.
    fn has_posts(&self) -> bool {
        !self.posts.borrow().is_empty() || self.batch_continues.get() || self.shared.pending()
    }

    pub(crate) fn alive(&self) -> bool {
        self.live.get() > 0
            || !self.closing.borrow().is_empty()
            // In this order: what was posted before the last `KeepAlive` was dropped is seen once that is.
            || self.shared.kept_alive()
            || self.has_posts()
    }

    fn dispatch_events(&self) {
        let events = self.events.borrow();
        for event in events.iter() {
            let source = self.source_at(event.key);
            // It may have been closed since it was reported, by whoever had a turn before.
            let Some(source) = source.filter(|source| !source.handle().is_closing()) else {
                continue;
            };
            let mut readiness = Interest::NONE;
            readiness.set(Interest::READABLE, event.readable);
            readiness.set(Interest::WRITABLE, event.writable);
            source.on_ready(readiness);
        }
    }

    /// Tells handles what the poller does not watch for them.
    fn report_refusals(&self) {
        while let Some(Report { polled, error }) = self.changes.next_report() {
            let key = polled.upgrade().and_then(|polled| polled.key());
            let source = key.and_then(|key| self.source_at(key));
            if let Some(source) = source.filter(|source| !source.handle().is_closing()) {
                source.interest_refused(error);
            }
        }
    }

    fn source_at(&self, key: usize) -> Option<Rc<dyn Source>> {
        let slots = self.slots.borrow();
        slots.get(key).and_then(|slot| slot.source.upgrade())
    }

    fn run_closing(&self) {
        let closing = self.closing.borrow().len();
        for _ in 0..closing {
            let Some(source) = pop(&self.closing) else {
                break;
            };
            let turn = ClosingTurn {
                core: self,
                source: Some(Rc::clone(&source)),
            };
            Rc::clone(&source).on_phase(Phase::Closing);
            turn.done();
            source.handle().closed();
        }
    }
}

fn pop<T>(queue: &RefCell<VecDeque<T>>) -> Option<T> {
    queue.borrow_mut().pop_front()
}

/// The turn of a batch of posts: after a panic in one, those after it have another.
struct PostBatchGuard<'a> {
    core: &'a Core,
    batch: Option<Box<dyn PostBatch>>,
}

impl Drop for PostBatchGuard<'_> {
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

/// A closing turn, which is given again unless it is done: after a panic.
struct ClosingTurn<'a> {
    core: &'a Core,
    source: Option<Rc<dyn Source>>,
}

impl ClosingTurn<'_> {
    fn done(mut self) {
        self.source = None;
    }
}

impl Drop for ClosingTurn<'_> {
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

    use super::*;
    use crate::handle::Handle;

    struct Nobody;

    impl Source for Nobody {
        fn handle(&self) -> &Handle {
            unreachable!()
        }

        fn on_phase(self: Rc<Self>, _: Phase) {}
    }

    #[test]
    fn a_wait_for_a_deadline_does_not_count_again_what_the_callbacks_before_it_took() {
        const WAIT: u64 = 100_000;
        let core = Core::new().unwrap();
        core.count_live(true);
        core.running.set(true);
        let source: Weak<dyn Source> = Weak::<Nobody>::new();
        core.set_deadline(core.insert(&source), core.now() + WAIT);
        let start = Instant::now();
        while start.elapsed() < Duration::from_nanos(WAIT) {}
        assert_eq!(
            core.wait_while_alive(false),
            Some(Duration::from_nanos(WAIT)),
            "the clock stands still where nothing ran"
        );
        assert_eq!(core.wait_while_alive(true), Some(Duration::ZERO));
    }
}
