//! Receiving many datagrams at once into memory of the user's own.
//!
//! The handle asks for as many as it would if it received into the loop's memory ([`ReadPredictor`](crate::predictor::ReadPredictor)), and for
//! no more than the buffer has room for.

use uv_core::{Phase, PollSource};
use uv_sys::{Errno, Received, Result, UninitSlice};

use crate::datagram::{Batch, Filter};
use crate::predictor::ReadReason;
use crate::receiving::{MAX_RECEIVED, Receiving};
use crate::shared::RECV_SLOT;
use crate::udp::{Inner, Udp};
use crate::user_memory::{Buffers, RecvMeta};

/// What the reads of a turn found so far.
#[derive(Default)]
struct Found {
    messages: usize,
    datagrams: usize,
    /// Whether the last buffer had room for a run.
    for_runs: bool,
    /// What is left of the budget of the turn.
    left: usize,
    /// Whether an error was delivered in this turn: further ones come in the next turn, after the datagrams behind them.
    had_errors: bool,
}

impl Inner {
    /// One turn of it.
    pub(crate) fn receive_many(&self, udp: &Udp, reason: ReadReason, budget: usize) {
        let receiver = &self.receiver;
        let epoch = receiver.epoch();
        let same = || receiver.is_started() && receiver.epoch() == epoch;
        let mut found = Found {
            left: budget,
            had_errors: budget < MAX_RECEIVED,
            ..Found::default()
        };
        let mut go_on = true;
        while go_on && same() {
            go_on = false;
            receiver.call(|receiving| {
                if let Receiving::Into(buffers) = receiving {
                    go_on = self.read_many(udp, buffers.as_mut(), &mut found, reason);
                }
            });
            // Errors that a callback caused are delivered before the datagrams behind them.
            go_on &= !receiver.has_waiting();
        }
        if found.messages > 0 {
            // All of them are one read that had too little room.
            receiver.predictor.found(found.messages, found.datagrams);
        }
        if same()
            && found.for_runs
            && receiver.predictor.bursts()
            && receiver.may_coalesce()
            && let Ok(socket) = self.socket()
        {
            receiver.coalesce(&*socket);
        }
        if receiver.is_started() && (!same() || receiver.has_waiting()) {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Fills one buffer. `false` if there is no point in another read in this turn.
    fn read_many(
        &self,
        udp: &Udp,
        buffers: &mut dyn Buffers,
        found: &mut Found,
        reason: ReadReason,
    ) -> bool {
        let receiver = &self.receiver;
        let epoch = receiver.epoch();
        let supplied = buffers.supply(udp);
        let Some(socket) = self.socket().ok().filter(|_| receiver.epoch() == epoch) else {
            buffers.give_back(udp, Ok(&[]));
            return false;
        };
        if !supplied {
            self.lack_buffer(udp, buffers);
            return false;
        }
        let filter = receiver.filter();
        let memory = buffers.memory();
        let slots = memory.len() / RECV_SLOT;
        let wanted = receiver.predictor.width(self.shared.bursts.get());
        let width = wanted.min(slots.max(1));
        let mut arrivals = self.shared.arrivals.take();
        arrivals.clear();
        let mut read = || {
            self.stats.recv_call();
            if slots == 0 && receiver.coalescing.get() {
                self.keep_one(&socket, &filter)
            } else {
                self.fill(&socket, memory, width, &filter, &mut arrivals)
            }
        };
        let mut result = read();
        while let Err(error) = result
            && error != Errno::EAGAIN
            && found.had_errors
            && found.left > 0
        {
            found.left -= 1;
            self.report(error);
            result = read();
        }
        let go_on = match result {
            Ok(count) => {
                let delivered = arrivals.iter().map(RecvMeta::datagrams).sum();
                if count.max(delivered) > 1 {
                    self.stats.received_batch();
                }
                found.messages += count;
                found.datagrams += delivered.max(count);
                found.left = found.left.saturating_sub(delivered.max(count));
                found.for_runs = slots > 0;
                receiver.predictor.read(reason, true);
                if count < width && filter.backlog {
                    receiver.check_backlog(&*socket);
                }
                buffers.give_back(udp, Ok(&arrivals));
                let unfinished = found.left == 0 || receiver.epoch() != epoch;
                let last = count < width || wanted == 1 || unfinished;
                if last && receiver.is_started() && (unfinished || receiver.predictor.guess()) {
                    self.handle.schedule(Phase::Dispatch);
                }
                !last
            }
            Err(error) => {
                found.had_errors = true;
                let outcome = self.judge_read(error, reason);
                buffers.give_back(udp, outcome);
                if error == Errno::EAGAIN {
                    receiver.predictor.read(reason, false);
                    if receiver.is_started() && receiver.predictor.guess() {
                        self.handle.schedule(Phase::Speculative);
                    }
                } else {
                    found.left = found.left.saturating_sub(1);
                }
                error != Errno::EAGAIN && found.left > 0
            }
        };
        self.shared.arrivals.set(arrivals);
        go_on
    }

    /// Reads into `memory`, and says how many messages there were; `arrivals` gets those that are not strangers'.
    fn fill(
        &self,
        socket: &PollSource,
        memory: &mut UninitSlice,
        width: usize,
        filter: &Filter,
        arrivals: &mut Vec<RecvMeta>,
    ) -> Result<usize> {
        let options = self.receiver.options(filter);
        let mut add = |received: &Received, offset| {
            self.count_drops(received.metadata.kernel_drops);
            let Some(source) = filter.admit(received.source) else {
                return self.stats.filtered(1);
            };
            let arrival = RecvMeta::new(received, source, offset);
            self.stats.received(arrival.datagrams(), arrival.len);
            if arrival.truncated {
                self.stats.truncated();
            }
            arrivals.push(arrival);
        };
        if memory.len() < RECV_SLOT {
            let received = uv_sys::recv_into(socket, memory, options)?;
            add(&received, 0);
            return Ok(1);
        }
        // Nobody else receives during this handle's turn.
        let mut batch = self
            .shared
            .recv
            .try_borrow_mut()
            .map_err(|_| Errno::EAGAIN)?;
        let count = batch.recv_into(socket, memory, width, options)?;
        if let Some(error) = batch.take_interruption() {
            self.report(error);
        }
        for index in 0..count {
            if let Some(received) = batch.received(index) {
                add(received, index * RECV_SLOT);
            }
        }
        Ok(count)
    }

    /// Reads a message that may be a run into the loop's memory, because the user's is too short for one. Its datagrams are
    /// delivered next.
    fn keep_one(&self, socket: &PollSource, filter: &Filter) -> Result<usize> {
        let mut batch = self
            .shared
            .recv
            .try_borrow_mut()
            .map_err(|_| Errno::EAGAIN)?;
        let count = batch.recv(socket, 1, self.receiver.options(filter))?;
        self.count_beside(&batch, count, filter);
        self.keep(Batch::new(&batch, count, *filter));
        Ok(count)
    }
}
