//! Errors and datagrams that await a receive callback: it stopped receiving, left datagrams in its
//! batch, or changed the peer; or their socket was replaced.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use uv_sys::Metadata;

use super::datagram::Datagram;
use crate::error::NetworkError;
use crate::lazy::LazyBox;

/// Stored errors at most. As in the kernel's error queue, the oldest ones are dropped.
const MAX_ERRORS: usize = 256;

/// The stored errors and datagrams of a handle. Most handles never store any.
#[derive(Default)]
pub(super) struct Undelivered {
    queues: LazyBox<Queues>,
}

#[derive(Default)]
struct Queues {
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

impl Undelivered {
    fn queues(&self) -> &Queues {
        self.queues.get_or_init(Box::default)
    }

    /// The number of stored datagrams, and the bytes in them.
    pub(super) fn size(&self) -> (usize, usize) {
        self.queues.get().map_or((0, 0), |queues| {
            let datagrams = queues.datagrams.borrow();
            let bytes = datagrams.iter().map(|stored| stored.data.len()).sum();
            (datagrams.len(), bytes)
        })
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queues.get().is_none_or(|queues| {
            queues.errors.borrow().is_empty() && queues.datagrams.borrow().is_empty()
        })
    }

    /// Whether datagrams are stored. They are older than those in the socket.
    pub(super) fn has_datagrams(&self) -> bool {
        let queues = self.queues.get();
        queues.is_some_and(|queues| !queues.datagrams.borrow().is_empty())
    }

    pub(super) fn next_error(&self) -> Option<NetworkError> {
        self.queues.get()?.errors.borrow_mut().pop_front()
    }

    pub(super) fn next_datagram(&self) -> Option<Stored> {
        self.queues.get()?.datagrams.borrow_mut().pop_front()
    }

    pub(super) fn clear(&self) {
        if let Some(queues) = self.queues.get() {
            queues.datagrams.borrow_mut().clear();
            queues.errors.borrow_mut().clear();
        }
    }

    /// Drops errors of the former peer, which the callback would attribute to the next one. Full
    /// reports name their destination, and stay.
    pub(super) fn forget_unnamed_errors(&self) {
        if let Some(queues) = self.queues.get() {
            let mut errors = queues.errors.borrow_mut();
            errors.retain(|error| error.report().is_some());
        }
    }

    pub(super) fn push_error(&self, error: NetworkError) {
        let mut errors = self.queues().errors.borrow_mut();
        if errors.len() == MAX_ERRORS {
            errors.pop_front();
        }
        errors.push_back(error);
    }

    /// Appends datagrams. Returns whether there were any.
    pub(super) fn append<'a>(&self, datagrams: impl Iterator<Item = Datagram<'a>>) -> bool {
        let mut datagrams = datagrams.peekable();
        let any = datagrams.peek().is_some();
        if any {
            let mut stored = self.queues().datagrams.borrow_mut();
            stored.extend(datagrams.map(Stored::from));
        }
        any
    }

    /// Inserts datagrams before all others. A disconnect in the callback that left them may have
    /// stored later ones of the old socket. Returns whether there were any.
    pub(super) fn prepend<'a>(&self, datagrams: impl Iterator<Item = Datagram<'a>>) -> bool {
        let later = self.queues().datagrams.take();
        let any = self.append(datagrams);
        self.queues().datagrams.borrow_mut().extend(later);
        any
    }

    pub(super) fn push_front(&self, datagram: Stored) {
        self.queues().datagrams.borrow_mut().push_front(datagram);
    }
}
