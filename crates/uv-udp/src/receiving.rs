//! The way in: what the kernel has is lent to the receive callback, and a connected handle delivers its peer's datagrams only.

use std::cell::Cell;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;

use uv_core::{Callback, Phase};
use uv_sys::{Errno, RecvBatch, RecvOptions, Result};

use crate::datagram::{Batch, Datagram, Filter};
use crate::errors::NetworkError;
use crate::metadata::{DROPS, Wanted};
use crate::predictor::{ReadPredictor, ReadReason};
use crate::udp::{Inner, LazyBox, Udp};
use crate::user_memory::Buffers;
use crate::waiting::Backlog;

/// Datagrams and errors after which a handle leaves the turn to others, whatever their origin: kept, reported or read. Twice the
/// datagrams that one handle may send in a turn, so that a receiver keeps up with a sender on the same loop. Datagrams that one
/// system call read are delivered together, also where they exceed it.
pub(crate) const MAX_RECEIVED: usize = 128;

type EachCallback = Box<dyn FnMut(&Udp, std::result::Result<Datagram<'_>, NetworkError>)>;
type BatchCallback = Box<dyn FnMut(&Udp, std::result::Result<Batch<'_>, NetworkError>)>;

/// The receive callback, in the form that the user chose.
pub(crate) enum Receiving {
    Each(EachCallback),
    Batch(BatchCallback),
    Into(Box<dyn Buffers>),
}

/// The receiving half of a handle.
pub(crate) struct Receiver {
    callback: Callback<Receiving>,
    started: Cell<bool>,
    /// Whether datagrams are read straight into the user's memory.
    direct: Cell<bool>,
    /// Whether several at once.
    pub(crate) many: Cell<bool>,
    /// Whether the user's memory may get runs of datagrams.
    runs: Cell<bool>,
    /// Counts what ends a delivery under way: a stop, another peer, a close.
    epoch: Cell<u32>,
    filter: Cell<Filter>,
    pub(crate) kept: LazyBox<Backlog>,
    pub(crate) predictor: ReadPredictor,
    /// Whether the handle is counted among those that rest.
    resting: Cell<bool>,
    /// Whether the poller need not watch, because the handle has a turn in every iteration.
    unwatched: Cell<bool>,
    /// Whether the kernel may put datagrams together in one buffer (`UDP_GRO`), and says how. Never taken back: what it put
    /// together before would come without its boundaries.
    pub(crate) coalescing: Cell<bool>,
    wanted: Wanted,
    /// Whether errors are queued in full.
    recv_errors: Cell<bool>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        Self {
            callback: Callback::new(),
            started: Cell::new(false),
            direct: Cell::new(false),
            many: Cell::new(false),
            runs: Cell::new(false),
            epoch: Cell::new(0),
            filter: Cell::new(Filter {
                peer: None,
                backlog: false,
            }),
            kept: LazyBox::new(),
            predictor: ReadPredictor::new(),
            resting: Cell::new(false),
            unwatched: Cell::new(false),
            coalescing: Cell::new(false),
            wanted: Wanted::default(),
            recv_errors: Cell::new(false),
        }
    }

    /// A new socket is to be received from, as the one before.
    pub(crate) fn prepare(&self, fd: impl AsFd) {
        if self.coalescing.get() {
            self.coalesce(fd);
        }
    }

    /// Lets the kernel put datagrams together. Where it cannot, that is slower and nothing else.
    pub(crate) fn coalesce(&self, fd: impl AsFd) {
        let _ = uv_sys::set_gro(fd, true);
        self.coalescing.set(true);
    }

    /// Whether the kernel may be let put datagrams together without the user asking for it. It counts a coalesced buffer that it
    /// drops as one: who asked for that count wants datagrams.
    pub(crate) fn may_coalesce(&self) -> bool {
        !self.coalescing.get() && !self.wanted.has(DROPS)
    }

    /// Whether the poller must watch for datagrams.
    pub(crate) fn is_watched(&self) -> bool {
        self.started.get() && !self.unwatched.get()
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started.get()
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.get()
    }

    pub(crate) fn filter(&self) -> Filter {
        self.filter.get()
    }

    /// After a read that found less than it asked for: the backlog is over if nothing is in the socket's queue.
    ///
    /// The read itself does not prove that. It also ends early for an error, and before Linux 4.2 a datagram with a bad
    /// checksum is an `EAGAIN` although more are behind it. poll(2) looks at the queue. Once that was empty after the connect,
    /// only the peer can fill it.
    pub(crate) fn check_backlog(&self, socket: impl AsFd) {
        let filter = self.filter.get();
        if filter.backlog && uv_sys::is_readable(socket) == Ok(false) {
            let backlog = false;
            self.filter.set(Filter { backlog, ..filter });
        }
    }

    /// What comes beside the datagrams.
    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub(crate) fn runs(&self) -> bool {
        self.runs.get()
    }

    pub(crate) fn set_runs(&self, on: bool) {
        self.runs.set(on);
    }

    pub(crate) fn has_recv_errors(&self) -> bool {
        self.recv_errors.get()
    }

    pub(crate) fn set_recv_errors(&self, on: bool) {
        self.recv_errors.set(on);
    }

    /// What somebody else asked of a socket.
    pub(crate) fn recognise(&self, fd: impl AsFd) {
        let fd = fd.as_fd();
        self.coalescing.set(uv_sys::gro(fd) == Ok(true));
        self.recv_errors.set(uv_sys::recv_errors(fd) == Ok(true));
        self.wanted.recognise(fd);
    }

    pub(crate) fn call(&self, with: impl FnOnce(&mut Receiving)) {
        self.callback.call(with);
    }

    fn next_epoch(&self) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
    }

    /// From here on the kernel filters for `peer`; what came before is still in its buffer.
    pub(crate) fn peer_changed(&self, peer: Option<SocketAddr>) {
        self.filter.set(Filter {
            peer,
            backlog: peer.is_some(),
        });
        self.next_epoch();
    }

    fn stop(&self) {
        self.started.set(false);
        self.next_epoch();
        self.callback.clear();
    }

    /// Lets go of everything that could be delivered, and of the callback.
    pub(crate) fn release(&self) {
        self.stop();
        self.forget_kept();
    }

    pub(crate) fn options(&self, filter: &Filter) -> RecvOptions {
        RecvOptions {
            source: filter.peer.is_none() || filter.backlog,
            control: self.coalescing.get() || self.wanted.any(),
            peek: false,
        }
    }
}

impl Inner {
    pub(crate) fn start_receiving(&self, callback: Receiving) -> Result<()> {
        let receiver = &self.receiver;
        receiver.started.set(true);
        if let Err(error) = self.update_interest() {
            receiver.started.set(false);
            return Err(error);
        }
        let (into, many) = match &callback {
            Receiving::Into(buffers) => (true, buffers.take_many()),
            _ => (false, false),
        };
        if into && receiver.runs.get() && !receiver.coalescing.get() {
            receiver.coalesce(&*self.socket()?);
        }
        let whole = many || receiver.runs.get() || !receiver.coalescing.get();
        receiver.direct.set(into && whole);
        receiver.many.set(many);
        receiver.next_epoch();
        receiver.callback.set(Box::new(callback));
        self.update_active();
        self.rest(true);
        if receiver.has_waiting() {
            self.handle.schedule(Phase::Dispatch);
        }
        Ok(())
    }

    /// Whether the handle receives, and has no turn of it but when the poller tells of something.
    pub(crate) fn waits_for_poller(&self) -> bool {
        let scheduled = |phase| self.handle.is_scheduled(phase);
        let comes = scheduled(Phase::Dispatch) || scheduled(Phase::Speculative);
        self.receiver.is_started() && !comes
    }

    /// Counts the handle among those that wait for the poller, or no more.
    pub(crate) fn rest(&self, rests: bool) {
        if self.receiver.resting.replace(rests) != rests {
            let resting = &self.shared.resting;
            let others = resting.get() - usize::from(!rests);
            resting.set(others + usize::from(rests));
        }
    }

    pub(crate) fn stop_receiving(&self) {
        self.receiver.stop();
        self.rest(false);
        self.request_interest();
        self.update_active();
    }

    /// One turn of receiving.
    pub(crate) fn receive(self: &Rc<Self>, reason: ReadReason) {
        let _turn = Turn(self);
        self.receive_some(reason);
    }

    fn receive_some(self: &Rc<Self>, reason: ReadReason) {
        let udp = Udp {
            inner: Rc::clone(self),
        };
        let receiver = &self.receiver;
        let mut left = MAX_RECEIVED;
        if receiver.has_waiting() {
            self.deliver_waiting(&udp, &mut left);
        }
        if !receiver.is_started() || receiver.has_datagrams() {
            return;
        }
        if left == 0 {
            self.handle.schedule(Phase::Dispatch);
        } else if receiver.direct.get() {
            self.receive_into(&udp, reason, left);
        } else {
            self.read(&udp, reason, left);
        }
    }

    /// Reads into the loop's memory, as far as the budget of the turn goes.
    fn read(&self, udp: &Udp, reason: ReadReason, budget: usize) {
        let receiver = &self.receiver;
        let (Ok(socket), Ok(mut memory)) = (self.socket(), self.shared.recv.try_borrow_mut())
        else {
            return;
        };
        let mut left = budget;
        // Whether an error was delivered in this turn: further ones come in the next turn, after the datagrams behind them.
        let mut had_errors = budget < MAX_RECEIVED;
        loop {
            let width = receiver.predictor.width(self.shared.bursts.get());
            let filter = receiver.filter.get();
            let epoch = receiver.epoch.get();
            self.stats.recv_call();
            match memory.recv(&*socket, width, receiver.options(&filter)) {
                Ok(count) => {
                    if count < width {
                        if filter.backlog {
                            receiver.check_backlog(&*socket);
                        }
                        if let Some(error) = memory.take_interruption() {
                            self.report(error);
                        }
                    }
                    let delivered = self.deliver(udp, &memory, count, &filter);
                    if count.max(delivered) > 1 {
                        self.stats.received_batch();
                    }
                    receiver.predictor.found(count, delivered.max(count));
                    // Not behind the back of who began anew in the callback, and wants them one by one.
                    if receiver.epoch.get() == epoch
                        && receiver.predictor.bursts()
                        && receiver.may_coalesce()
                    {
                        receiver.coalesce(&*socket);
                    }
                    receiver.predictor.read(reason, true);
                    left = left.saturating_sub(delivered.max(count));
                    let unfinished = left == 0 || receiver.epoch.get() != epoch;
                    if count < width || width == 1 || unfinished {
                        if receiver.is_started() && (unfinished || receiver.predictor.guess()) {
                            self.handle.schedule(Phase::Dispatch);
                        }
                        return;
                    }
                }
                Err(Errno::EAGAIN) => {
                    receiver.check_backlog(&*socket);
                    receiver.predictor.read(reason, false);
                    if matches!(reason, ReadReason::Ready) && left == budget {
                        // It was told of something.
                        self.empty_error_queue();
                    }
                    if receiver.predictor.guess() {
                        self.handle.schedule(Phase::Speculative);
                    }
                    return;
                }
                Err(error) if had_errors && left > 0 => {
                    left -= 1;
                    self.report(error);
                    continue;
                }
                Err(error) => {
                    had_errors = true;
                    if !self.collect_reports() {
                        self.deliver_error(udp, NetworkError::new(error));
                    }
                    left = left.saturating_sub(1);
                    if left == 0 || receiver.epoch.get() != epoch {
                        return;
                    }
                }
            }
            // Errors that a callback caused are delivered before the datagrams behind them.
            if !receiver.is_started() || receiver.has_waiting() {
                return;
            }
        }
    }

    /// Calls the callback with the datagrams of the first `count` messages in `memory`, and says how many there were. What
    /// it does not get to, because it stopped receiving or changed the peer or panicked, is kept.
    fn deliver(&self, udp: &Udp, memory: &RecvBatch, count: usize, filter: &Filter) -> usize {
        let receiver = &self.receiver;
        let epoch = receiver.epoch.get();
        let mut delivered = 0;
        if filter.backlog || receiver.wanted.has(DROPS) {
            self.count_beside(memory, count, filter);
        }
        receiver.callback.call(|receiving| match receiving {
            // One datagram alone needs nobody to look after the rest.
            Receiving::Each(callback) if count == 1 && !receiver.coalescing.get() => {
                if let Some((data, received)) = memory.get(0)
                    && let Some(source) = filter.admit(received.source)
                {
                    delivered = 1;
                    self.stats.received(1, data.len());
                    let datagram = Datagram {
                        data,
                        source,
                        truncated: received.truncated,
                        metadata: &received.metadata,
                    };
                    callback(udp, Ok(datagram));
                }
            }
            Receiving::Each(callback) => {
                let mut rest = Rest {
                    inner: self,
                    batch: Batch::new(memory, count, *filter),
                    datagrams: 0,
                    bytes: 0,
                };
                while receiver.epoch.get() == epoch
                    && let Some(datagram) = rest.batch.next()
                {
                    rest.datagrams += 1;
                    rest.bytes += datagram.data.len();
                    callback(udp, Ok(datagram));
                }
                delivered = rest.datagrams;
            }
            Receiving::Batch(callback) => {
                let batch = Batch::new(memory, count, *filter).lent_by(self);
                let (datagrams, bytes) = batch.totals();
                delivered = datagrams;
                if delivered > 0 {
                    self.stats.received(datagrams, bytes);
                    callback(udp, Ok(batch));
                }
            }
            // The next turn copies them into the user's memory, for which the loop's own must be free.
            Receiving::Into(_) => {
                let batch = Batch::new(memory, count, *filter);
                delivered = batch.totals().0;
                self.keep(batch);
            }
        });
        delivered
    }

    /// Counts what the kernel dropped.
    #[inline]
    pub(crate) fn count_drops(&self, drops: Option<u32>) {
        if let Some(drops) = drops {
            self.stats
                .kernel_drops(drops, self.receiver.coalescing.get());
        }
    }

    /// Counts what is told beside the datagrams: who is turned away, and what the kernel dropped.
    pub(crate) fn count_beside(&self, memory: &RecvBatch, count: usize, filter: &Filter) {
        for (_, received) in (0..count).filter_map(|index| memory.get(index)) {
            if filter.admit(received.source).is_none() {
                self.stats.filtered(1);
            }
            self.count_drops(received.metadata.kernel_drops);
        }
    }
}

/// A turn of receiving: after it, and also after a panic in it, the poller watches the handle, or the handle has another
/// turn and is hot; and what is kept has another turn.
struct Turn<'a>(&'a Inner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let receiver = &self.0.receiver;
        if receiver.is_started() && receiver.has_waiting() {
            self.0.handle.schedule(Phase::Dispatch);
        }
        self.0.rest(self.0.waits_for_poller());
        let unwatched = receiver.predictor.is_hot() && self.0.handle.is_scheduled(Phase::Dispatch);
        if receiver.unwatched.replace(unwatched) != unwatched {
            self.0.request_interest();
        }
    }
}

/// A delivery under way: what is left of it when it ends is kept, unless the handle was closed.
struct Rest<'a> {
    inner: &'a Inner,
    batch: Batch<'a>,
    /// What was delivered.
    datagrams: usize,
    bytes: usize,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.inner.stats.received(self.datagrams, self.bytes);
        self.inner.put_back(&mut self.batch);
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use uv_core::{Loop, RunMode};

    use super::*;

    #[test]
    fn a_connected_handle_asks_for_no_sources_once_what_came_before_is_read() {
        let event_loop = Loop::new().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = Udp::new(&event_loop);
        udp.connect(peer.local_addr().unwrap()).unwrap();
        udp.recv_start(|_, _| ()).unwrap();
        let receiver = &udp.inner.receiver;
        assert!(receiver.options(&receiver.filter()).source);
        // Once by a read that brings less than it asks for, and once by one that brings nothing.
        for datagrams in [1, 0] {
            receiver.peer_changed(udp.peer_addr().ok());
            for _ in 0..datagrams {
                peer.send_to(b"x", udp.local_addr().unwrap()).unwrap();
            }
            udp.inner.handle.schedule(Phase::Dispatch);
            event_loop.run(RunMode::NoWait).unwrap();
            assert!(
                !receiver.options(&receiver.filter()).source,
                "after {datagrams}"
            );
        }
        udp.disconnect().unwrap();
        assert!(
            receiver.options(&receiver.filter()).source,
            "everybody is heard"
        );
    }
}
