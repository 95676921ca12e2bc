//! What holds for everything that a handle sends unless a datagram says otherwise, and what holds the sender back.
//!
//! TTL and TOS are options of the socket (`options.rs`), which costs a send nothing.

use std::cell::Cell;
use std::num::NonZeroU16;

use uv_core::Callback;
use uv_sys::{Errno, PacketInfo, Result, Transmit, TxTimeClock};

use crate::policy::State;
use crate::udp::{Inner, Udp};

/// The defaults and the limit of one handle.
#[derive(Debug)]
pub(crate) struct Defaults {
    /// Where datagrams leave from.
    source: Cell<Option<PacketInfo>>,
    /// The socket's TOS byte, once a datagram with ECN bits alone needed it.
    tos: Cell<Option<u8>>,
    /// Whether the socket cuts what it sends by itself.
    segmented: Cell<bool>,
    /// Bytes that may be accepted and not yet called back.
    limit: Cell<usize>,
    drained: Callback<dyn FnMut(&Udp)>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            source: Cell::new(None),
            tos: Cell::new(None),
            segmented: Cell::new(false),
            limit: Cell::new(usize::MAX),
            drained: Callback::new(),
        }
    }
}

impl Defaults {
    pub(crate) fn set_segmented(&self, on: bool) {
        self.segmented.set(on);
    }

    /// Gives a message what it leaves to the handle.
    pub(crate) fn complete(&self, transmit: &mut Transmit<'_>) {
        if transmit.source.is_none() {
            transmit.source = self.source.get();
        }
    }

    /// Lets go of what could be called.
    pub(crate) fn release(&self) {
        self.drained.clear();
    }
}

/// What holds for all that the handle sends, and what holds the sender back.
impl Udp {
    /// Sets the local address and the interface that datagrams leave from, unless one says otherwise
    /// ([`Transmit::from_source`]).
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` for an IPv6 address on an IPv4 socket. Sends answer `EAFNOSUPPORT` where the address is of another family
    /// than their destination, and complete with `ENETUNREACH` (IPv4) or `EINVAL` (IPv6) where it is not this host's, and with
    /// `ENODEV` where the interface is not there.
    #[doc(alias = "IP_PKTINFO")]
    #[doc(alias = "IPV6_PKTINFO")]
    #[doc(alias = "IP_UNICAST_IF")]
    pub fn set_send_source(&self, source: Option<PacketInfo>) -> Result<()> {
        self.inner.handle.check_open()?;
        let address = source.and_then(|source| source.address);
        let family = self.inner.state.get().family();
        if let (Some(address), Some(uv_sys::Family::V4)) = (address, family)
            && !address.to_canonical().is_ipv4()
        {
            return Err(Errno::EAFNOSUPPORT);
        }
        self.inner.defaults().source.set(source);
        Ok(())
    }

    /// Where datagrams leave from unless they say otherwise.
    #[must_use]
    pub fn send_source(&self) -> Option<PacketInfo> {
        self.inner.defaults.get()?.source.get()
    }

    /// Cuts everything that is sent into datagrams of so many bytes, of which the last may be shorter; `None` for not. That goes
    /// for what is queued already, too, as it does for the options of the socket. For one buffer alone, see
    /// [`Transmit::segments_of`] and [`try_send_segments`](Self::try_send_segments), which take precedence.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` without segmentation ([`Capabilities::segmentation`](crate::Capabilities::segmentation), Linux 4.18). Sends complete with `EINVAL` for more
    /// segments than [`Capabilities::max_segments`](crate::Capabilities::max_segments), and with `EINVAL` or `EMSGSIZE` for
    /// segments that the path does not take. `EBADF` also while there is no socket yet.
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    #[doc(alias = "UDP_SEGMENT")]
    pub fn set_send_segment_size(&self, size: Option<NonZeroU16>) -> Result<()> {
        self.inner.with_socket(|socket| {
            // A kernel may take the option and do nothing about it, and a sandbox refuse it.
            if size.is_some() && !uv_sys::capabilities().segmentation {
                return Err(Errno::ENOPROTOOPT);
            }
            uv_sys::set_segment_size(socket, size)
        })?;
        self.inner.defaults().segmented.set(size.is_some());
        self.inner.learn_segments_anew();
        Ok(())
    }

    /// Bytes of each datagram that sends are cut into.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` where the kernel has no segmentation. `EBADF` also while there is no socket yet.
    #[doc(alias = "UDP_SEGMENT")]
    pub fn send_segment_size(&self) -> Result<Option<NonZeroU16>> {
        self.inner
            .with_socket(|socket| uv_sys::segment_size(socket))
    }

    /// Allows [`Transmit::at`], in the time of this clock. There is no way to take it back.
    ///
    /// Without it, a datagram with a time is `EINVAL`. Only the queueing disciplines `fq` and `etf` mind the time; the others
    /// send at once.
    ///
    /// # Errors
    ///
    /// `EPERM` for another clock than [`TxTimeClock::Monotonic`] without `CAP_NET_ADMIN`; `ENOPROTOOPT` before Linux 4.19.
    /// `EBADF` also while there is no socket yet.
    ///
    /// See [tc-etf(8)](https://man7.org/linux/man-pages/man8/tc-etf.8.html).
    #[doc(alias = "SO_TXTIME")]
    pub fn set_txtime(&self, clock: TxTimeClock) -> Result<()> {
        self.inner
            .with_socket(|socket| uv_sys::set_txtime(socket, clock))
    }

    /// The clock that [`set_txtime`](Self::set_txtime) chose.
    ///
    /// # Errors
    ///
    /// `ENOPROTOOPT` before Linux 4.19. `EBADF` also while there is no socket yet.
    #[doc(alias = "SO_TXTIME")]
    pub fn txtime(&self) -> Result<Option<TxTimeClock>> {
        self.inner.with_socket(|socket| uv_sys::txtime(socket))
    }

    /// Limits [`send_queue_size`](Self::send_queue_size) to so many bytes: a send that would go beyond it answers `ENOBUFS`,
    /// and nothing is accepted. `None`, as at first, for no limit. The `try_…` calls queue nothing and know no limit.
    ///
    /// Bytes count until the callback of their send was called. So what is sent in one go, in a callback or through a
    /// [`UdpSender`](crate::UdpSender), needs room for all of it.
    pub fn set_send_queue_limit(&self, bytes: Option<usize>) {
        let limit = bytes.unwrap_or(usize::MAX);
        self.inner.defaults().limit.set(limit);
    }

    /// The limit of [`set_send_queue_limit`](Self::set_send_queue_limit), in bytes.
    #[must_use]
    pub fn send_queue_limit(&self) -> Option<usize> {
        let limit = self.inner.defaults.get()?.limit.get();
        Some(limit).filter(|&limit| limit != usize::MAX)
    }

    /// Calls `callback` each time that the send queue has become empty: after the callback of the last accepted send, from the
    /// loop. In the place of the one before; it is dropped when the handle is closed.
    ///
    /// # Errors
    ///
    /// `EBADF`, see the type.
    pub fn on_drained(&self, callback: impl FnMut(&Udp) + 'static) -> Result<()> {
        self.inner.handle.check_open()?;
        self.inner.defaults().drained.set(Box::new(callback));
        Ok(())
    }
}

impl Inner {
    pub(crate) fn defaults(&self) -> &Defaults {
        self.defaults.get_or_init(Box::default)
    }

    /// Gives a message what it leaves to the handle.
    #[inline]
    pub(crate) fn complete_header(&self, transmit: &mut Transmit<'_>) {
        if transmit.ecn.is_some() {
            self.complete_tos(transmit);
        }
        if let Some(defaults) = self.defaults.get() {
            defaults.complete(transmit);
        }
    }

    #[inline(never)]
    fn complete_tos(&self, transmit: &mut Transmit<'_>) {
        let default = transmit.tos.or_else(|| self.socket_tos());
        // A handle without a socket gets one with nothing set.
        *transmit = transmit.with_default_tos(default.unwrap_or(0));
    }

    /// The socket's TOS byte. The kernel is asked once for each [`forget_tos`](Self::forget_tos).
    fn socket_tos(&self) -> Option<u8> {
        let known = &self.defaults().tos;
        if known.get().is_none() {
            known.set(self.with_socket(|socket| uv_sys::tos(socket)).ok());
        }
        known.get()
    }

    /// The socket's TOS byte may be another one from now on.
    pub(crate) fn forget_tos(&self) {
        if let Some(defaults) = self.defaults.get() {
            defaults.tos.set(None);
        }
    }

    /// Whether a datagram of so many bytes may be accepted with nothing added.
    #[inline]
    pub(crate) fn needs_no_defaults(&self, bytes: usize) -> bool {
        match self.defaults.get() {
            None => true,
            Some(defaults) => defaults.source.get().is_none() && self.check_room(bytes).is_ok(),
        }
    }

    /// Whether the socket cuts what it sends by itself.
    pub(crate) fn is_segmented(&self) -> bool {
        let defaults = self.defaults.get();
        defaults.is_some_and(|defaults| defaults.segmented.get())
    }

    /// `ENOBUFS` for a datagram that the limit has no room for.
    #[inline]
    pub(crate) fn check_room(&self, bytes: usize) -> Result<()> {
        let limit = self.defaults.get().map(|defaults| defaults.limit.get());
        match limit {
            Some(limit) if self.sender.queue().bytes().saturating_add(bytes) > limit => {
                Err(Errno::ENOBUFS)
            }
            _ => Ok(()),
        }
    }

    /// Tells that nothing is queued any more, if that is so.
    pub(crate) fn tell_drained(&self, udp: &Udp) {
        if let Some(defaults) = self.defaults.get()
            && self.sender.queue().count() == 0
            && !self.handle.is_closing()
        {
            defaults.drained.call(|callback| callback(udp));
        }
    }

    /// Checks what a message says beside its payload and its destination.
    pub(crate) fn check_header(&self, transmit: &Transmit<'_>, state: State) -> Result<()> {
        if transmit.segment_size.is_some() && self.shared.max_segments == 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        Transmit {
            destination: transmit.destination.or(state.peer().ok()),
            ..*transmit
        }
        .check()
    }
}
