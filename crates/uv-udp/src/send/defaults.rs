//! Default values for sent datagrams, and the limit of the queue.

use std::cell::Cell;

use uv_sys::{Errno, PacketInfo, Result, Transmit};

use crate::lazy::LazyBox;

/// The defaults and the limit of one handle. TTL and TOS are options of the socket instead.
///
/// Most handles set none of them, and need no memory for them.
#[derive(Debug)]
pub(crate) struct Defaults {
    values: LazyBox<Values>,
}

#[derive(Debug)]
struct Values {
    source: Cell<Option<PacketInfo>>,
    /// The socket's TOS byte, once a datagram with ECN bits alone needed it.
    tos: Cell<Option<u8>>,
    /// Whether the socket itself segments everything that it sends (`UDP_SEGMENT` as an option).
    socket_segments: Cell<bool>,
    /// Bytes that may be accepted and not completed.
    limit: Cell<usize>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            source: Cell::new(None),
            tos: Cell::new(None),
            socket_segments: Cell::new(false),
            limit: Cell::new(usize::MAX),
        }
    }
}

impl Defaults {
    pub(super) fn new() -> Self {
        Self {
            values: LazyBox::new(),
        }
    }

    fn values(&self) -> &Values {
        self.values.get_or_init(Box::default)
    }

    pub(crate) fn source(&self) -> Option<PacketInfo> {
        self.values.get()?.source.get()
    }

    pub(crate) fn set_source(&self, source: Option<PacketInfo>) {
        self.values().source.set(source);
    }

    /// Whether the socket itself segments everything that it sends.
    pub(super) fn socket_segments(&self) -> bool {
        let values = self.values.get();
        values.is_some_and(|values| values.socket_segments.get())
    }

    pub(super) fn set_socket_segments(&self, on: bool) {
        self.values().socket_segments.set(on);
    }

    /// The most bytes that may be accepted and not completed.
    pub(crate) fn limit(&self) -> Option<usize> {
        let limit = self.values.get()?.limit.get();
        Some(limit).filter(|&limit| limit != usize::MAX)
    }

    pub(crate) fn set_limit(&self, bytes: Option<usize>) {
        self.values().limit.set(bytes.unwrap_or(usize::MAX));
    }

    /// Asks the kernel again for the socket's TOS byte, which may have changed.
    pub(crate) fn forget_tos(&self) {
        if let Some(values) = self.values.get() {
            values.tos.set(None);
        }
    }

    /// Adds the defaults to a message that leaves them open. `socket_tos` asks the kernel, once for
    /// each [`forget_tos`](Self::forget_tos).
    #[inline]
    pub(crate) fn apply(
        &self,
        transmit: &mut Transmit<'_>,
        socket_tos: impl FnOnce() -> Option<u8>,
    ) {
        if transmit.ecn.is_some() {
            self.apply_tos(transmit, socket_tos);
        }
        if transmit.source.is_none()
            && let Some(values) = self.values.get()
        {
            transmit.source = values.source.get();
        }
    }

    #[inline(never)]
    fn apply_tos(&self, transmit: &mut Transmit<'_>, socket_tos: impl FnOnce() -> Option<u8>) {
        let known = &self.values().tos;
        if transmit.tos.is_none() && known.get().is_none() {
            known.set(socket_tos());
        }
        // A handle without a socket gets a new one, whose TOS byte is 0.
        let default = transmit.tos.or(known.get()).unwrap_or(0);
        *transmit = transmit.with_default_tos(default);
    }

    /// Whether a plain datagram needs no defaults, and `bytes` more in the queue are within the
    /// limit. `queued` returns the bytes in the queue.
    #[inline]
    pub(super) fn needs_none(&self, queued: impl FnOnce() -> usize, bytes: usize) -> bool {
        match self.values.get() {
            None => true,
            Some(values) => {
                values.source.get().is_none() && self.check_limit(queued, bytes).is_ok()
            }
        }
    }

    /// Returns `ENOBUFS` if `bytes` more in the queue are beyond the limit.
    #[inline]
    pub(super) fn check_limit(&self, queued: impl FnOnce() -> usize, bytes: usize) -> Result<()> {
        match self.values.get() {
            Some(values) if queued().saturating_add(bytes) > values.limit.get() => {
                Err(Errno::ENOBUFS)
            }
            _ => Ok(()),
        }
    }
}
