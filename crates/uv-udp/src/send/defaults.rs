//! What holds for everything that a handle sends, unless a datagram says otherwise, and the limit of its queue.

use std::cell::Cell;

use uv_sys::{Errno, PacketInfo, Result, Transmit};

use super::SendState;

/// The defaults and the limit of one handle. TTL and TOS are not among them: they are options of the socket.
#[derive(Debug)]
pub(super) struct Defaults {
    source: Cell<Option<PacketInfo>>,
    /// The socket's TOS byte, once a datagram with ECN bits alone needed it.
    tos: Cell<Option<u8>>,
    /// Whether the socket itself cuts everything that it sends (`UDP_SEGMENT` as an option).
    socket_segments: Cell<bool>,
    /// Bytes that may be accepted and not completed.
    limit: Cell<usize>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            source: Cell::new(None),
            tos: Cell::new(None),
            socket_segments: Cell::new(false),
            limit: Cell::new(usize::MAX),
        }
    }
}

impl<C> SendState<C> {
    fn defaults(&self) -> &Defaults {
        self.defaults.get_or_init(Box::default)
    }

    pub(crate) fn source(&self) -> Option<PacketInfo> {
        self.defaults.get()?.source.get()
    }

    pub(crate) fn set_source(&self, source: Option<PacketInfo>) {
        self.defaults().source.set(source);
    }

    /// Whether the socket itself cuts everything that it sends.
    pub(crate) fn socket_segments(&self) -> bool {
        let defaults = self.defaults.get();
        defaults.is_some_and(|defaults| defaults.socket_segments.get())
    }

    pub(crate) fn set_socket_segments(&self, on: bool) {
        self.defaults().socket_segments.set(on);
        self.reset_largest_segment();
    }

    /// The most bytes that may be accepted and not completed.
    pub(crate) fn limit(&self) -> Option<usize> {
        let limit = self.defaults.get()?.limit.get();
        Some(limit).filter(|&limit| limit != usize::MAX)
    }

    pub(crate) fn set_limit(&self, bytes: Option<usize>) {
        self.defaults().limit.set(bytes.unwrap_or(usize::MAX));
    }

    /// The socket's TOS byte may have changed.
    pub(crate) fn forget_tos(&self) {
        if let Some(defaults) = self.defaults.get() {
            defaults.tos.set(None);
        }
    }

    /// Adds the defaults to a message that leaves them open. `socket_tos` asks the kernel, once for each
    /// [`forget_tos`](Self::forget_tos).
    #[inline]
    pub(crate) fn add_defaults(
        &self,
        transmit: &mut Transmit<'_>,
        socket_tos: impl FnOnce() -> Option<u8>,
    ) {
        if transmit.ecn.is_some() {
            self.add_tos(transmit, socket_tos);
        }
        if transmit.source.is_none()
            && let Some(defaults) = self.defaults.get()
        {
            transmit.source = defaults.source.get();
        }
    }

    #[inline(never)]
    fn add_tos(&self, transmit: &mut Transmit<'_>, socket_tos: impl FnOnce() -> Option<u8>) {
        let known = &self.defaults().tos;
        if transmit.tos.is_none() && known.get().is_none() {
            known.set(socket_tos());
        }
        // A handle without a socket gets one with nothing set.
        let default = transmit.tos.or(known.get()).unwrap_or(0);
        *transmit = transmit.with_default_tos(default);
    }

    /// Whether a datagram of `bytes` bytes is within the limit and needs no defaults.
    #[inline]
    pub(crate) fn needs_no_defaults(&self, bytes: usize) -> bool {
        match self.defaults.get() {
            None => true,
            Some(defaults) => defaults.source.get().is_none() && self.check_limit(bytes).is_ok(),
        }
    }

    /// `ENOBUFS` for a datagram beyond the limit.
    #[inline]
    pub(crate) fn check_limit(&self, bytes: usize) -> Result<()> {
        match self.defaults.get() {
            Some(defaults)
                if self.queue.borrow().bytes().saturating_add(bytes) > defaults.limit.get() =>
            {
                Err(Errno::ENOBUFS)
            }
            _ => Ok(()),
        }
    }
}
