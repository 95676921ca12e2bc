//! What is kept for the receive callback: errors, and datagrams that were received and not delivered, because the callback
//! stopped receiving or changed the peer, or because they came with a socket that was given up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::iter;
use std::net::SocketAddr;

use uv_core::Phase;
use uv_sys::Metadata;

use crate::datagram::{Batch, Datagram, same_peer};
use crate::errors::NetworkError;
use crate::receiving::{MAX_RECEIVED, Receiver, Receiving};
use crate::udp::{Inner, Udp};

/// Errors that wait for a callback at most; like the kernel, a handle that nobody listens to forgets.
const MAX_ERRORS: usize = 256;
/// Errors that a turn delivers at most: half of its budget, so that datagrams are delivered also where each error causes more.
const MAX_ERRORS_DELIVERED: usize = MAX_RECEIVED / 2;

/// All that is kept. Most handles never keep anything.
#[derive(Default)]
pub(crate) struct Backlog {
    /// Received but not delivered when the callback stopped receiving, or the peer changed.
    datagrams: RefCell<VecDeque<Waiting>>,
    errors: RefCell<VecDeque<NetworkError>>,
    /// Counts the batches that came back because their callback did not take all of them.
    returned: Cell<u32>,
}

/// A datagram that is kept.
pub(crate) struct Waiting {
    data: Vec<u8>,
    source: SocketAddr,
    truncated: bool,
    metadata: Metadata,
}

impl Waiting {
    pub(crate) fn datagram(&self) -> Datagram<'_> {
        Datagram {
            data: &self.data,
            source: self.source,
            truncated: self.truncated,
            metadata: &self.metadata,
        }
    }
}

impl Receiver {
    fn kept(&self) -> &Backlog {
        self.kept.get_or_init(Box::default)
    }

    /// Keeps a datagram that is to be delivered before all others.
    pub(crate) fn keep_first(&self, datagram: Waiting) {
        self.kept().datagrams.borrow_mut().push_front(datagram);
    }

    /// Keeps datagrams that are to be delivered after all others.
    pub(crate) fn keep_last(&self, datagrams: impl IntoIterator<Item = Waiting>) {
        self.kept().datagrams.borrow_mut().extend(datagrams);
    }

    /// Takes all datagrams that are kept.
    pub(crate) fn take_kept(&self) -> VecDeque<Waiting> {
        let kept = self.kept.get().map(|kept| kept.datagrams.take());
        kept.unwrap_or_default()
    }

    /// How many datagrams are kept, and the bytes in them.
    pub(crate) fn kept_size(&self) -> (usize, usize) {
        self.kept.get().map_or((0, 0), |kept| {
            let datagrams = kept.datagrams.borrow();
            let bytes = datagrams.iter().map(|waiting| waiting.data.len()).sum();
            (datagrams.len(), bytes)
        })
    }

    #[inline]
    pub(crate) fn has_waiting(&self) -> bool {
        self.kept.get().is_some_and(|kept| {
            !kept.errors.borrow().is_empty() || !kept.datagrams.borrow().is_empty()
        })
    }

    /// Whether datagrams are kept, which come before those in the socket.
    pub(crate) fn has_datagrams(&self) -> bool {
        let kept = self.kept.get();
        kept.is_some_and(|kept| !kept.datagrams.borrow().is_empty())
    }

    fn returned(&self) -> u32 {
        self.kept.get().map_or(0, |kept| kept.returned.get())
    }

    fn next_error(&self) -> Option<NetworkError> {
        self.kept.get()?.errors.borrow_mut().pop_front()
    }

    fn next_waiting(&self) -> Option<Waiting> {
        self.kept.get()?.datagrams.borrow_mut().pop_front()
    }

    /// Lets go of all that is kept.
    pub(crate) fn forget_kept(&self) {
        if let Some(kept) = self.kept.get() {
            kept.datagrams.borrow_mut().clear();
            kept.errors.borrow_mut().clear();
        }
    }
}

impl Inner {
    /// The handle has no peer any more: what is still to be told of the former one would be taken for the next one's. Reports
    /// say whom they are about, and stay.
    pub(crate) fn forget_errors(&self) {
        if let Ok(socket) = self.socket()
            && let Ok(Some(pending)) = uv_sys::take_error(&*socket)
            && !self.collect_reports()
        {
            self.stats.error(pending);
        }
        if let Some(kept) = self.receiver.kept.get() {
            let mut errors = kept.errors.borrow_mut();
            errors.retain(|error| error.report().is_some());
        }
    }

    /// Keeps an error for the receive callback.
    pub(crate) fn tell(&self, error: NetworkError) {
        self.stats.error(error.errno());
        let mut errors = self.receiver.kept().errors.borrow_mut();
        if errors.len() == MAX_ERRORS {
            errors.pop_front();
        }
        errors.push_back(error);
        drop(errors);
        if self.receiver.is_started() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Keeps datagrams for when they can be delivered.
    pub(crate) fn keep<'a>(&self, datagrams: impl Iterator<Item = Datagram<'a>>) {
        let mut kept = datagrams.map(
            |Datagram {
                 data,
                 source,
                 truncated,
                 metadata,
             }| Waiting {
                data: data.to_vec(),
                source,
                truncated,
                metadata: *metadata,
            },
        );
        if let Some(first) = kept.next() {
            self.receiver.keep_last(iter::once(first).chain(kept));
        }
        if self.receiver.is_started() && self.receiver.has_waiting() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Keeps datagrams that were lent to a callback and not taken by it, to be delivered before all others.
    pub(crate) fn put_back<'a>(&self, datagrams: impl Iterator<Item = Datagram<'a>>) {
        if self.handle.is_closing() {
            return;
        }
        // A disconnect in the callback may have kept the datagrams of the old socket, which came later.
        let later = self.receiver.take_kept();
        self.keep(datagrams);
        if !later.is_empty() {
            self.receiver.keep_last(later);
        }
    }

    /// The same for a batch whose datagrams are counted as received already.
    #[cold]
    pub(crate) fn take_back(&self, batch: &mut Batch<'_>) {
        let (datagrams, bytes) = batch.totals();
        if datagrams > 0 {
            self.stats.returned(datagrams, bytes);
            self.put_back(batch);
            let returned = &self.receiver.kept().returned;
            returned.set(returned.get().wrapping_add(1));
        }
    }

    /// Delivers what is kept, as far as the budget `left` of the turn goes, or until the callback ends that. The turn ensures
    /// that what is left then comes in the next one.
    pub(crate) fn deliver_waiting(&self, udp: &Udp, left: &mut usize) {
        let receiver = &self.receiver;
        let end = left.saturating_sub(MAX_ERRORS_DELIVERED);
        while *left > end
            && receiver.is_started()
            && let Some(error) = receiver.next_error()
        {
            *left -= 1;
            self.hand_over(udp, error);
        }
        while *left > 0
            && receiver.is_started()
            && let Some(waiting) = receiver.next_waiting()
        {
            *left -= 1;
            let peer = receiver.filter().peer;
            if peer.is_some_and(|peer| !same_peer(&peer, &waiting.source)) {
                self.stats.filtered(1);
                continue;
            }
            let mut taken = true;
            let returned = receiver.returned();
            let bytes = waiting.data.len();
            receiver.call(|receiving| match receiving {
                Receiving::Each(callback) => {
                    self.stats.received(1, bytes);
                    callback(udp, Ok(waiting.datagram()));
                }
                Receiving::Batch(callback) => {
                    self.stats.received(1, bytes);
                    callback(udp, Ok(Batch::one(waiting.datagram()).lent_by(self)));
                    taken = receiver.returned() == returned;
                }
                Receiving::Into(buffers) => taken = self.copy_into(udp, buffers.as_mut(), waiting),
            });
            if !taken {
                break;
            }
        }
    }

    pub(crate) fn deliver_error(&self, udp: &Udp, error: NetworkError) {
        self.stats.error(error.errno());
        self.hand_over(udp, error);
    }

    /// Delivers an error that was counted.
    fn hand_over(&self, udp: &Udp, error: NetworkError) {
        self.receiver.call(|receiving| match receiving {
            Receiving::Each(callback) => callback(udp, Err(error)),
            Receiving::Batch(callback) => callback(udp, Err(error)),
            Receiving::Into(buffers) => buffers.give_back(udp, Err(error)),
        });
    }
}
