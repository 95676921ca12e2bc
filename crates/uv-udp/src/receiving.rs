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
use crate::rhythm::{Rhythm, Why};
use crate::udp::{Inner, Rare, Udp};
use crate::user_memory::Buffers;
use crate::waiting::Kept;

/// Datagrams after which a handle leaves the turn to others: twice what one handle may send in a turn, so that a receiver
/// keeps up with a sender on the same loop.
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
    pub(crate) kept: Rare<Kept>,
    pub(crate) rhythm: Rhythm,
    /// Whether the handle is counted among those that rest.
    resting: Cell<bool>,
    /// Whether the poller need not watch, because the handle has a turn in every iteration.
    unwatched: Cell<bool>,
    /// Whether the kernel may put datagrams together in one buffer (`UDP_GRO`), and says how. Never taken back: what it put
    /// together before would come without its boundaries.
    pub(crate) coalescing: Cell<bool>,
    wanted: Wanted,
    /// Whether errors are queued in full.
    full_reports: Cell<bool>,
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
            kept: Rare::new(),
            rhythm: Rhythm::new(),
            resting: Cell::new(false),
            unwatched: Cell::new(false),
            coalescing: Cell::new(false),
            wanted: Wanted::default(),
            full_reports: Cell::new(false),
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

    /// Whether what strangers sent before the handle was connected may still be there.
    pub(crate) fn set_backlog(&self, backlog: bool) {
        let filter = self.filter.get();
        self.filter.set(Filter { backlog, ..filter });
    }

    /// An error was told, to whatever call: a read that brought little may have stopped for it, and not because there was
    /// nothing more.
    pub(crate) fn doubt_backlog(&self) {
        self.set_backlog(self.filter.get().peer.is_some());
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

    pub(crate) fn has_full_reports(&self) -> bool {
        self.full_reports.get()
    }

    pub(crate) fn set_full_reports(&self, on: bool) {
        self.full_reports.set(on);
    }

    /// What somebody else asked of a socket.
    pub(crate) fn recognise(&self, fd: impl AsFd) {
        let fd = fd.as_fd();
        self.coalescing.set(uv_sys::gro(fd) == Ok(true));
        self.full_reports.set(uv_sys::recv_errors(fd) == Ok(true));
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
    pub(crate) fn shut(&self) {
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
        let comes = scheduled(Phase::Dispatch) || scheduled(Phase::Revisit);
        self.receiver.is_started() && !comes
    }

    /// Counts the handle among those that wait for the poller, or no more.
    pub(crate) fn rest(&self, rests: bool) {
        if self.receiver.resting.replace(rests) != rests {
            let resting = &self.scratch.resting;
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
    pub(crate) fn receive(self: &Rc<Self>, why: Why) {
        let _turn = Turn(self);
        self.receive_some(why);
    }

    fn receive_some(self: &Rc<Self>, why: Why) {
        let udp = Udp {
            inner: Rc::clone(self),
        };
        let receiver = &self.receiver;
        if receiver.has_waiting() {
            self.deliver_waiting(&udp);
        }
        if receiver.direct.get() {
            return self.receive_into(&udp, why);
        }
        let (Ok(socket), Ok(mut memory)) = (self.socket(), self.scratch.recv.try_borrow_mut())
        else {
            return;
        };
        let mut left = MAX_RECEIVED;
        while receiver.is_started() && !receiver.has_waiting() {
            let width = receiver.rhythm.width(self.scratch.bursts.get());
            let filter = receiver.filter.get();
            let epoch = receiver.epoch.get();
            self.tally.recv_call();
            match memory.recv(&*socket, width, receiver.options(&filter)) {
                Ok(count) => {
                    if count < width && filter.backlog {
                        // The kernel had no more, so no stranger's is left either. (It also stops early for an error, but
                        // whoever is told that, this handle's next read or send, puts the backlog back.)
                        receiver.set_backlog(false);
                    }
                    let delivered = self.deliver(&udp, &memory, count, &filter);
                    if count.max(delivered) > 1 {
                        self.tally.received_batch();
                    }
                    receiver.rhythm.found(count, delivered);
                    // Not behind the back of who began anew in the callback, and wants them one by one.
                    if receiver.epoch.get() == epoch
                        && receiver.rhythm.bursts()
                        && !receiver.coalescing.get()
                    {
                        receiver.coalesce(&*socket);
                    }
                    receiver.rhythm.read(why, true);
                    left = left.saturating_sub(delivered.max(1));
                    let unfinished = left == 0 || receiver.epoch.get() != epoch;
                    if count < width || width == 1 || unfinished {
                        if receiver.is_started() && (unfinished || receiver.rhythm.guess()) {
                            self.handle.schedule(Phase::Dispatch);
                        }
                        return;
                    }
                }
                Err(Errno::EAGAIN) => {
                    receiver.set_backlog(false);
                    receiver.rhythm.read(why, false);
                    if matches!(why, Why::Told) && left == MAX_RECEIVED {
                        // It was told of something.
                        self.empty_error_queue();
                    }
                    if receiver.rhythm.guess() {
                        self.handle.schedule(Phase::Revisit);
                    }
                    return;
                }
                Err(error) => {
                    receiver.doubt_backlog();
                    if !self.collect_reports() {
                        self.deliver_error(&udp, NetworkError::new(error));
                    }
                    left = left.saturating_sub(1);
                    if left == 0 || receiver.epoch.get() != epoch {
                        return;
                    }
                }
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
                    self.tally.received(1, data.len());
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
                let batch = Batch::new(memory, count, *filter);
                let (datagrams, bytes) = batch.totals();
                delivered = datagrams;
                if delivered > 0 {
                    self.tally.received(datagrams, bytes);
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

    /// Counts what is told beside the datagrams: who is turned away, and what the kernel dropped.
    pub(crate) fn count_beside(&self, memory: &RecvBatch, count: usize, filter: &Filter) {
        for (_, received) in (0..count).filter_map(|index| memory.get(index)) {
            if filter.admit(received.source).is_none() {
                self.tally.strangers(1);
            }
            self.tally.kernel_drops(received.metadata.kernel_drops);
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
        let unwatched = receiver.rhythm.is_hot() && self.0.handle.is_scheduled(Phase::Dispatch);
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
        self.inner.tally.received(self.datagrams, self.bytes);
        if self.inner.handle.is_closing() {
            return;
        }
        // What a disconnect in the callback took out of the socket came after what is left.
        let later = self.inner.receiver.take_kept();
        self.inner.keep(&mut self.batch);
        if !later.is_empty() {
            self.inner.receiver.keep_last(later);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use uv_core::{Loop, RunMode};

    use super::*;

    #[test]
    fn a_connected_handle_asks_for_no_sources_once_what_came_before_is_read() {
        let lp = Loop::new().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = Udp::new(&lp);
        udp.connect(peer.local_addr().unwrap()).unwrap();
        udp.recv_start(|_, _| ()).unwrap();
        let receiver = &udp.inner.receiver;
        assert!(receiver.options(&receiver.filter()).source);
        // Once by a read that brings less than it asks for, and once by one that brings nothing.
        for datagrams in [1, 0] {
            receiver.doubt_backlog();
            for _ in 0..datagrams {
                peer.send_to(b"x", udp.local_addr().unwrap()).unwrap();
            }
            udp.inner.handle.schedule(Phase::Dispatch);
            lp.run(RunMode::NoWait).unwrap();
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
