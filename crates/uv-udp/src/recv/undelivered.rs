//! Errors and datagrams that wait for the receive callback: the callback stopped receiving, did not take them, or changed the
//! peer; or they came with a socket that was replaced.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use uv_core::Phase;
use uv_sys::Metadata;

use super::datagram::Datagram;
use super::{RecvContext, RecvState};
use crate::error::NetworkError;

/// Stored errors at most. Like the kernel, a handle without a receiver forgets the oldest.
const MAX_ERRORS: usize = 256;

/// Everything that is stored. Most handles never store anything.
#[derive(Default)]
pub(super) struct Undelivered {
    datagrams: RefCell<VecDeque<Stored>>,
    errors: RefCell<VecDeque<NetworkError>>,
}

/// One stored datagram.
pub(crate) struct Stored {
    pub(super) data: Vec<u8>,
    pub(super) source: SocketAddr,
    pub(super) truncated: bool,
    pub(super) metadata: Metadata,
}

impl Stored {
    pub(super) fn datagram(&self) -> Datagram<'_> {
        Datagram {
            data: &self.data,
            source: self.source,
            truncated: self.truncated,
            metadata: &self.metadata,
        }
    }
}

impl From<Datagram<'_>> for Stored {
    fn from(datagram: Datagram<'_>) -> Self {
        Self {
            data: datagram.data.to_vec(),
            source: datagram.source,
            truncated: datagram.truncated,
            metadata: *datagram.metadata,
        }
    }
}

impl RecvState {
    fn undelivered(&self) -> &Undelivered {
        self.undelivered.get_or_init(Box::default)
    }

    /// The number of stored datagrams, and the bytes in them.
    pub(crate) fn stored_size(&self) -> (usize, usize) {
        self.undelivered.get().map_or((0, 0), |undelivered| {
            let datagrams = undelivered.datagrams.borrow();
            let bytes = datagrams.iter().map(|stored| stored.data.len()).sum();
            (datagrams.len(), bytes)
        })
    }

    #[inline]
    pub(crate) fn has_undelivered(&self) -> bool {
        self.undelivered.get().is_some_and(|undelivered| {
            !undelivered.errors.borrow().is_empty() || !undelivered.datagrams.borrow().is_empty()
        })
    }

    /// Whether datagrams are stored, which come before those in the socket.
    pub(super) fn has_stored_datagrams(&self) -> bool {
        let undelivered = self.undelivered.get();
        undelivered.is_some_and(|undelivered| !undelivered.datagrams.borrow().is_empty())
    }

    pub(super) fn next_error(&self) -> Option<NetworkError> {
        self.undelivered.get()?.errors.borrow_mut().pop_front()
    }

    pub(super) fn next_datagram(&self) -> Option<Stored> {
        self.undelivered.get()?.datagrams.borrow_mut().pop_front()
    }

    pub(super) fn forget_undelivered(&self) {
        if let Some(undelivered) = self.undelivered.get() {
            undelivered.datagrams.borrow_mut().clear();
            undelivered.errors.borrow_mut().clear();
        }
    }

    /// Drops stored errors of the former peer, which would be taken for the next one's. Full reports name their datagram, and stay.
    pub(super) fn forget_unnamed_errors(&self) {
        if let Some(undelivered) = self.undelivered.get() {
            let mut errors = undelivered.errors.borrow_mut();
            errors.retain(|error| error.report().is_some());
        }
    }

    /// Stores and counts an error.
    pub(crate) fn store_error(&self, cx: &RecvContext<'_>, error: NetworkError) {
        cx.stats.error(error.errno());
        let mut errors = self.undelivered().errors.borrow_mut();
        if errors.len() == MAX_ERRORS {
            errors.pop_front();
        }
        errors.push_back(error);
        drop(errors);
        self.schedule_if_started(cx);
    }

    /// Stores datagrams behind those that are stored already.
    pub(crate) fn store<'a>(
        &self,
        cx: &RecvContext<'_>,
        datagrams: impl Iterator<Item = Datagram<'a>>,
    ) {
        let mut datagrams = datagrams.peekable();
        if datagrams.peek().is_some() {
            let mut stored = self.undelivered().datagrams.borrow_mut();
            stored.extend(datagrams.map(Stored::from));
            drop(stored);
            self.schedule_if_started(cx);
        }
    }

    /// Stores datagrams that were lent to a callback, before those that are stored already: a disconnect in the callback may have
    /// stored later ones of the old socket.
    pub(super) fn put_back<'a>(
        &self,
        cx: &RecvContext<'_>,
        datagrams: impl Iterator<Item = Datagram<'a>>,
    ) {
        if cx.handle.is_closing() {
            return;
        }
        let undelivered = self.undelivered();
        let later = undelivered.datagrams.take();
        self.store(cx, datagrams);
        undelivered.datagrams.borrow_mut().extend(later);
    }

    /// The same for one stored datagram, which nobody has taken.
    pub(super) fn put_back_first(&self, cx: &RecvContext<'_>, datagram: Stored) {
        if !cx.handle.is_closing() {
            self.undelivered()
                .datagrams
                .borrow_mut()
                .push_front(datagram);
            cx.handle.schedule(Phase::Dispatch);
        }
    }
}
