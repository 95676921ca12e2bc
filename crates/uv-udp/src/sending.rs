//! The way out: a datagram on an empty queue goes straight to the kernel, what follows it is queued and flushed in batches.

use std::cell::{Cell, Ref, RefCell};
use std::mem;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use uv_core::{Phase, PollSource, Pool, RequestQueue};
use uv_sys::{Errno, Payload, Result, SendBatch, Transmit};

use crate::borrowed::SINGLE;
use crate::budget::Budget;
use crate::pending_error::PendingErrorFilter;
use crate::policy::{Plan, State};
use crate::request::{Completion, SendCallback, SendQueue};
use crate::runs::{Runs, Share};
use crate::udp::{Inner, Udp};

/// How long the handle waits before it offers a datagram again that the device's queue had no room for (`ENOBUFS`); each
/// further wait is twice as long. Nanoseconds.
const FIRST_PAUSE: u64 = 1_000_000;
/// How many waits there are before `ENOBUFS` is the datagram's result: 1 + 2 + … + 128 ms, a quarter of a second, which is
/// longer than any device takes to drain its queue while its link is up.
const MAX_PAUSES: u32 = 8;

/// The sending half of a handle.
pub(crate) struct Sender {
    queue: RefCell<SendQueue>,
    /// The kernel had no room, and says when it has.
    blocked: Cell<bool>,
    /// The device had no room, and will not say when it has: a deadline runs.
    paused: Cell<bool>,
    /// What is not yet known of the oldest datagram's last error.
    attempt: Cell<PendingErrorFilter>,
    /// Pauses since the kernel last took something.
    pauses: Cell<u32>,
    /// With what the oldest run was refused, and the size of its segments: because of those if its datagrams go by themselves.
    refused: Cell<Option<(Errno, u16)>>,
    /// Bytes in the largest segment that the kernel may be offered. Smaller than at first where a path or a device refused.
    pub(crate) largest_segment: Cell<u16>,
}

impl Sender {
    pub(crate) fn new(pool: Rc<Pool>) -> Self {
        Self {
            queue: RefCell::new(RequestQueue::new(pool)),
            blocked: Cell::new(false),
            paused: Cell::new(false),
            attempt: Cell::default(),
            pauses: Cell::new(0),
            refused: Cell::new(None),
            largest_segment: Cell::new(u16::MAX),
        }
    }

    pub(crate) fn queue(&self) -> Ref<'_, SendQueue> {
        self.queue.borrow()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// The kernel has room again; `false` if nobody waited for it.
    pub(crate) fn unblock(&self) -> bool {
        self.blocked.replace(false)
    }

    pub(crate) fn end_pause(&self) {
        self.paused.set(false);
    }

    /// Segments of so many bytes may be tried again.
    fn try_segments(&self, largest: u16) {
        self.largest_segment.set(largest);
    }

    /// Drops everything, and calls nothing.
    pub(crate) fn abandon(&self) {
        let mut dropped = Vec::new();
        {
            let mut queue = self.queue.borrow_mut();
            queue.cancel(Errno::ECANCELED);
            while let Some(request) = queue.pop_completed() {
                dropped.push(request);
            }
        }
        drop(dropped);
    }

    fn waits(&self) -> bool {
        self.blocked.get() || self.paused.get()
    }

    /// What a refused message of segments of `size` bytes teaches for the next ones.
    pub(crate) fn segments_refused(&self, error: Errno, size: u16) {
        match error {
            // Longer than the path or the device allows; smaller ones may pass.
            Errno::EMSGSIZE | Errno::EINVAL => self.largest_segment.set(size.saturating_sub(1)),
            // No segmentation: an IPsec route, a device without checksum offload, an old kernel.
            Errno::EIO | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP => self.largest_segment.set(0),
            // Something about these datagrams, not about segments.
            _ => {}
        }
    }
}

/// Bytes in the oldest pending datagram.
pub(crate) fn first_length(queue: &SendQueue) -> usize {
    queue.pending().peek().map_or(0, |run| run.size)
}

pub(crate) fn no_room_in_device(error: Errno) -> bool {
    matches!(error, Errno::ENOBUFS | Errno::ENOMEM)
}

impl Inner {
    /// Another peer is another path. A socket that cuts all that it sends must not be given runs: it would cut those.
    pub(crate) fn learn_segments_anew(&self) {
        let own = self.is_segmented();
        self.sender.try_segments(if own { 0 } else { u16::MAX });
    }

    /// Takes a datagram like the one queued last: as long, for the same destination, and with nothing else said of it. What
    /// was checked for that one holds for this one, as whatever changes the peer or closes the handle leaves nothing queued
    /// (but for a loop that goes while something is); and its flush takes this one along. Gives the callback back if there is
    /// no such one.
    fn try_coalesce(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        callback: SendCallback,
        token: usize,
    ) -> std::result::Result<(), SendCallback> {
        if !self.needs_no_defaults(payload.len()) || self.handle.is_closing() {
            return Err(callback);
        }
        let completion = Completion { callback, token };
        let mut queue = self.sender.queue.borrow_mut();
        let accepted = queue.push_alike(payload, &destination, completion);
        accepted.map_err(|completion| completion.callback)
    }

    /// Checks a send against the policy, and says what must be done first, if anything.
    #[inline]
    fn check_send(&self, transmit: &Transmit<'_>, state: State) -> Result<Option<Plan>> {
        self.handle.check_open()?;
        let plan = match transmit.destination {
            None => state.send().map(|()| None)?,
            Some(destination) => Some(state.send_to(destination)?),
        };
        transmit.payload.check()?;
        if !transmit.is_plain() {
            self.check_header(transmit, state)?;
        }
        Ok(plan.filter(|plan| !plan.is_nothing()))
    }

    /// Checks a send, and does what must be done first.
    #[inline]
    pub(crate) fn prepare_to_send(&self, transmit: &Transmit<'_>) -> Result<()> {
        match self.check_send(transmit, self.state.get())? {
            Some(plan) => self.execute(plan),
            None => Ok(()),
        }
    }

    /// The same for several sends: nothing is done unless all of them may be made.
    pub(crate) fn prepare_to_send_all(&self, batch: &[Transmit<'_>]) -> Result<()> {
        self.handle.check_open()?;
        let (mut state, mut first) = (self.state.get(), None);
        for transmit in batch {
            if let Some(plan) = self.check_send(transmit, state)? {
                state = state.after_sending(&plan);
                first = Some(plan);
            }
        }
        first.map_or(Ok(()), |plan| self.execute(plan))
    }

    /// Accepts a datagram, or says why not. Compiled into the call of whoever sends: what is not said of the datagram there
    /// costs nothing then.
    #[inline(always)]
    pub(crate) fn send(
        &self,
        transmit: Transmit<'_>,
        callback: SendCallback,
        token: usize,
    ) -> Result<()> {
        match transmit.payload {
            Payload::Bytes(payload) if transmit.is_plain() => {
                let destination = transmit.destination.as_ref();
                match self.try_coalesce(payload, destination, callback, token) {
                    Ok(()) => Ok(()),
                    Err(callback) => self.send_plain(payload, destination, callback, token),
                }
            }
            _ => self.send_checked(transmit, Completion { callback, token }),
        }
    }

    #[inline(never)]
    fn send_plain(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        callback: SendCallback,
        token: usize,
    ) -> Result<()> {
        let transmit = Transmit {
            destination: destination.copied(),
            ..Transmit::new(payload)
        };
        self.send_checked(transmit, Completion { callback, token })
    }

    fn send_checked(&self, mut transmit: Transmit<'_>, completion: Completion) -> Result<()> {
        self.complete_header(&mut transmit);
        let plan = self.check_send(&transmit, self.state.get())?;
        self.check_room(transmit.payload.len())?;
        plan.map_or(Ok(()), |plan| self.execute(plan))?;
        self.accept(&transmit, completion);
        Ok(())
    }

    /// Takes a datagram that was checked: to the kernel if nothing is before it, or into the queue.
    #[inline]
    fn accept(&self, transmit: &Transmit<'_>, completion: Completion) {
        let mut queue = self.sender.queue.borrow_mut();
        if queue.count() > 0 {
            Self::enqueue(&mut queue, transmit, completion);
            if !self.sender.waits() {
                self.handle.schedule(Phase::Flush);
            }
            return;
        }
        drop(queue);
        let result = self.send_now(transmit);
        self.count_unread(1, transmit.payload.len());
        let mut queue = self.sender.queue.borrow_mut();
        match result {
            Err(error) if error == Errno::EAGAIN || no_room_in_device(error) => {
                Self::enqueue(&mut queue, transmit, completion);
                self.handle.schedule(Phase::Flush);
            }
            result => {
                queue.push_completed(transmit.payload.len(), completion, result.map(drop));
                self.handle.schedule(Phase::Completions);
            }
        }
        self.handle.set_active(true);
    }

    #[inline]
    fn enqueue(queue: &mut SendQueue, transmit: &Transmit<'_>, completion: Completion) {
        // No datagram that was checked is too long for the queue.
        let _ = queue.push(transmit.payload, transmit, completion);
    }

    /// Sends one message, unless something is queued before it.
    pub(crate) fn send_now(&self, transmit: &Transmit<'_>) -> Result<usize> {
        let socket = self.socket_without_queue()?;
        let bytes = self.retry_past_pending_error(|| uv_sys::sendmsg(&*socket, transmit))?;
        self.count_sent(transmit, bytes);
        Ok(bytes)
    }

    pub(crate) fn socket_without_queue(&self) -> Result<Rc<PollSource>> {
        if self.sender.queue.borrow().pending_count() > 0 {
            Err(Errno::EAGAIN)
        } else {
            self.socket()
        }
    }

    /// Makes a send past errors that are about earlier datagrams, and reports those.
    #[inline]
    pub(crate) fn retry_past_pending_error<T>(
        &self,
        mut send: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let result = send();
        if result.is_ok() {
            self.stats.send_call();
            return result;
        }
        self.retry_past_pending_error_slow(result, send)
    }

    #[cold]
    fn retry_past_pending_error_slow<T>(
        &self,
        mut result: Result<T>,
        mut send: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let mut attempt = PendingErrorFilter::default();
        loop {
            if let Some(result) = self.classify(&mut attempt, result) {
                attempt.give_up(|error| self.report(error));
                return result;
            }
            result = send();
        }
    }

    /// Offers what is queued to the kernel, within the bounds of one turn.
    pub(crate) fn flush(&self) {
        if self.sender.waits() {
            return;
        }
        self.flush_within_budget();
        if !self.sender.waits() && self.sender.queue.borrow().pending_count() > 0 {
            self.handle.schedule(Phase::Flush);
        }
    }

    /// Before the peer changes or the handle closes: what is queued is offered once more, and given up if that fails.
    pub(crate) fn flush_or_cancel(&self) {
        let sender = &self.sender;
        if sender.queue.borrow().pending_count() == 0 {
            return;
        }
        self.handle.clear_deadline();
        sender.blocked.set(false);
        sender.paused.set(false);
        while !sender.waits() && sender.queue.borrow().pending_count() > 0 {
            self.offer(Budget::FULL);
        }
        self.handle.clear_deadline();
        sender.queue.borrow_mut().cancel(Errno::ECANCELED);
        sender.refused.set(None);
        sender.attempt.take().give_up(|error| self.report(error));
        sender.blocked.set(false);
        sender.paused.set(false);
        self.handle.schedule(Phase::Completions);
        self.watch();
    }

    /// Offers so much of the queue, and says what is left of that. Every round completes a request, narrows what is offered
    /// next, or ends the turn.
    pub(crate) fn offer(&self, mut left: Budget) -> Budget {
        let Ok(socket) = self.socket() else {
            return left;
        };
        let sender = &self.sender;
        let mut queue = sender.queue.borrow_mut();
        let mut batch = self.shared.send.borrow_mut();
        let mut attempt = sender.attempt.take();
        let (mut width, mut segments) = (SendBatch::MAX, sender.refused.get().is_none());
        while left.datagrams > 0 && left.bytes > 0 && queue.pending_count() > 0 {
            let limits = self.limits(width, segments, left);
            let mut counts = [Share::default(); SendBatch::MAX];
            let result = batch.send(&*socket, Runs::new(&queue, &mut counts, limits));
            let Some(result) = self.classify(&mut attempt, result) else {
                continue;
            };
            match result {
                Ok(messages) => {
                    sender.pauses.set(0);
                    if let Some((error, size)) = sender.refused.take() {
                        sender.segments_refused(error, size);
                    }
                    let taken = self.count_taken(counts.iter().take(messages).copied());
                    queue.complete(taken.datagrams, Ok(()));
                    left = left.without(taken);
                    if counts.get(messages).is_some_and(|next| next.datagrams > 0) {
                        width = SINGLE;
                    } else if width > SINGLE {
                        break;
                    }
                }
                Err(Errno::EAGAIN) => {
                    sender.blocked.set(true);
                    break;
                }
                Err(error) if counts.first().is_some_and(|first| first.datagrams > 1) => {
                    self.stats.fallback();
                    let size = first_length(&queue);
                    let size = size.try_into().unwrap_or(u16::MAX);
                    sender.refused.set(Some((error, size)));
                    // Each datagram has a result of its own, and a device without room for all may have it for one.
                    segments = false;
                }
                Err(error) if no_room_in_device(error) => {
                    if self.pause() {
                        break;
                    }
                    queue.complete(1, Err(error));
                    mem::take(&mut attempt).give_up(|error| self.report(error));
                }
                Err(error) => {
                    sender.refused.set(None);
                    queue.complete(1, Err(error));
                    left.datagrams -= 1;
                }
            }
        }
        sender.attempt.set(attempt);
        if queue.completed_count() > 0 {
            self.handle.schedule(Phase::Completions);
        }
        drop(queue);
        self.watch();
        left
    }

    /// Has the poller watch for what the handle now waits for. If it cannot, waiting would be for ever.
    fn watch(&self) {
        if self.handle.is_closing() {
            // Nothing is waited for any more.
        } else if self.sender.is_blocked() {
            if let Err(error) = self.update_interest() {
                self.cancel_blocked(error);
            }
        } else {
            self.request_interest();
        }
    }

    /// The poller cannot watch for room: what waits for it would wait for ever.
    pub(crate) fn cancel_blocked(&self, error: Errno) {
        if self.sender.unblock() {
            self.sender.queue.borrow_mut().cancel(error);
            self.handle.schedule(Phase::Completions);
        }
    }

    /// Waits before the next offer; `false` when it has waited often enough.
    fn pause(&self) -> bool {
        let pauses = self.sender.pauses.get();
        if pauses >= MAX_PAUSES {
            self.sender.pauses.set(0);
            return false;
        }
        self.sender.pauses.set(pauses + 1);
        self.sender.paused.set(true);
        self.handle
            .set_timeout(Duration::from_nanos(FIRST_PAUSE << pauses));
        true
    }

    /// Calls the callbacks of the requests that are completed by now.
    pub(crate) fn complete(self: &Rc<Self>) {
        let udp = Udp {
            inner: Rc::clone(self),
        };
        let turn = CompletionTurn(self);
        let completed = self.sender.queue.borrow().completed_count();
        for _ in 0..completed {
            let request = self.sender.queue.borrow_mut().pop_completed();
            let Some((Completion { callback, token }, result)) = request else {
                break;
            };
            if let Err(error) = result {
                self.stats.error(error);
            }
            callback(&udp, token, result);
        }
        drop(turn);
        if completed > 0 {
            self.tell_drained(&udp);
        }
    }
}

/// After the turn, and also after a panic in it, what is left gets another one.
struct CompletionTurn<'a>(&'a Inner);

impl Drop for CompletionTurn<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.sender.queue.borrow_mut();
        if queue.completed_count() > 0 {
            self.0.handle.schedule(Phase::Completions);
        }
        queue.trim();
        drop(queue);
        self.0.update_active();
    }
}
