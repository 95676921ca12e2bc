//! Sending.

use std::net::SocketAddr;

use uv_sys::{Errno, PacketInfo, Payload, Result, Transmit};

use crate::handle::Udp;

/// Sending.
///
/// A payload is a `&[u8]` or `&str`, or a list of slices that are sent as one datagram. A datagram
/// has at most 65,507 bytes (the limit of IPv4) in 1 to 1,024 slices.
impl Udp {
    /// Sends a datagram to the peer. The loop calls `callback` with the result.
    ///
    /// With an empty queue, the datagram goes to the kernel at once. Later datagrams of the same
    /// iteration are copied, and are sent together at its end. Success means that the kernel took
    /// the datagram, not that it arrived. If the handle is closed, disconnected or connected to
    /// another peer before that, the result is `ECANCELED`.
    ///
    /// To ignore the result, pass [`ignore`].
    ///
    /// # Errors
    ///
    /// Nothing was accepted, and `callback` is dropped:
    ///
    /// - `EDESTADDRREQ` on an unconnected handle.
    /// - `EINVAL` for an empty list of slices.
    /// - `EMSGSIZE` for more slices or bytes than a datagram can have.
    /// - `ENOBUFS` beyond the [limit of the queue](Self::set_send_queue_limit).
    #[doc(alias = "uv_udp_send")]
    #[inline]
    pub fn send<'a>(
        &self,
        payload: impl Into<Payload<'a>>,
        callback: impl FnOnce(&Udp, Result<()>) + 'static,
    ) -> Result<()> {
        self.inner.send(
            Transmit::new(payload),
            Box::new(|udp, _, result| callback(udp, result)),
        )
    }

    /// Sends a datagram to `destination`; otherwise as [`send`](Self::send).
    ///
    /// A handle without a socket gets one, and an unbound one is bound to the wildcard address.
    ///
    /// # Errors
    ///
    /// - `EISCONN` on a connected handle, whatever the destination.
    /// - `EINVAL` for port 0 or an empty list of slices.
    /// - `EAFNOSUPPORT` for a destination of another family than the socket.
    /// - `EMSGSIZE` and `ENOBUFS` as in `send`; those of [`bind`](Self::bind).
    #[doc(alias = "uv_udp_sendto")]
    #[inline]
    pub fn send_to<'a>(
        &self,
        payload: impl Into<Payload<'a>>,
        destination: SocketAddr,
        callback: impl FnOnce(&Udp, Result<()>) + 'static,
    ) -> Result<()> {
        let transmit = Transmit::new(payload).with_destination(destination);
        self.inner
            .send(transmit, Box::new(|udp, _, result| callback(udp, result)))
    }

    /// Sends a [`Transmit`]: with a destination as [`send_to`](Self::send_to), without one as
    /// [`send`](Self::send). `callback` gets [`Transmit::token`] and the result.
    ///
    /// A payload with a segment size is several datagrams in one buffer, with one result: all of
    /// them leave or none. The handle itself combines equally long datagrams into GSO messages,
    /// without a segment size.
    ///
    /// ```
    /// use uv_udp::{Loop, RunMode, Transmit, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.connect("127.0.0.1:9".parse().unwrap())?;
    /// for token in 0..3 {
    ///     // A callback that captures nothing needs no allocation; the token names the send.
    ///     let message = Transmit::new("x").with_token(token);
    ///     udp.transmit(message, |_, token, result| println!("{token}: {result:?}"))?;
    /// }
    /// event_loop.run(RunMode::Default)?;
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - Those of `send` and `send_to`.
    /// - `EINVAL` for a TTL of 0.
    /// - `EAFNOSUPPORT` for a source address of another family than the destination.
    /// - `EOPNOTSUPP` for a segment size where the kernel does not segment.
    ///
    /// The result of a send with a transmit time is `EINVAL` without
    /// [`set_txtime`](crate::Options::set_txtime), and `ENOPROTOOPT` before Linux 4.19.
    #[inline]
    pub fn transmit(
        &self,
        transmit: Transmit<'_>,
        callback: impl FnOnce(&Udp, usize, Result<()>) + 'static,
    ) -> Result<()> {
        self.inner.send(transmit, Box::new(callback))
    }

    /// Sends a datagram to the peer now, or returns an error. Returns its length in bytes.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the socket buffer is full, or earlier datagrams are queued; `ENOBUFS` if the
    /// device's queue is full; those of [`send`](Self::send); others as in send(2).
    #[doc(alias = "uv_udp_try_send")]
    pub fn try_send<'a>(&self, payload: impl Into<Payload<'a>>) -> Result<usize> {
        self.inner.try_send(Transmit::new(payload))
    }

    /// Sends a datagram to `destination` now, or returns an error. Returns its length in bytes.
    ///
    /// # Errors
    ///
    /// As in [`try_send`](Self::try_send) and [`send_to`](Self::send_to).
    #[doc(alias = "uv_udp_try_sendto")]
    pub fn try_send_to<'a>(
        &self,
        payload: impl Into<Payload<'a>>,
        destination: SocketAddr,
    ) -> Result<usize> {
        self.inner
            .try_send(Transmit::new(payload).with_destination(destination))
    }

    /// Sends a [`Transmit`] now, or returns an error. Returns the number of bytes sent.
    ///
    /// With a segment size, the payload may be a buffer of any length, which is sent as datagrams
    /// of that size; the last may be shorter. The result is the whole length, or a multiple of
    /// the segment size if the kernel had no room for more. An empty buffer is one empty
    /// datagram, and the result is 0. Where the kernel or the path refuses segmentation, the
    /// datagrams are sent one by one. Several slices with a segment size are one message: all
    /// of it is sent, or nothing.
    ///
    /// # Errors
    ///
    /// If nothing was sent: as in [`try_send`](Self::try_send), and the errors and results of
    /// [`transmit`](Self::transmit).
    #[doc(alias = "UDP_SEGMENT")]
    pub fn try_transmit(&self, transmit: &Transmit<'_>) -> Result<usize> {
        match (transmit.segment_size, transmit.payload) {
            (Some(size), Payload::Bytes(data)) => self.inner.try_send_buffer(transmit, data, size),
            _ => self.inner.try_send(*transmit),
        }
    }

    /// Sends several datagrams now, each to its own destination or to the peer. Returns the number
    /// sent: the first ones of `batch`.
    ///
    /// Equally long datagrams to one destination are combined as in [`send`](Self::send). No
    /// payload is copied. A handle with a [default source](Self::set_send_source) copies the
    /// list.
    ///
    /// # Errors
    ///
    /// If the first datagram was not sent: as in [`try_send`](Self::try_send) and
    /// [`send_to`](Self::send_to). Bad input anywhere in `batch` is an error before anything is
    /// sent.
    #[doc(alias = "uv_udp_try_send2")]
    #[doc(alias = "sendmmsg")]
    pub fn try_transmit_batch(&self, batch: &[Transmit<'_>]) -> Result<usize> {
        let inner = &self.inner;
        let mut completed = Vec::new();
        let batch = if inner.send.defaults().source().is_some() {
            completed.extend_from_slice(batch);
            let each = completed.iter_mut();
            each.for_each(|transmit| inner.add_defaults(transmit));
            &completed
        } else {
            batch
        };
        inner.prepare_to_send_all(batch)?;
        if batch.is_empty() {
            return Ok(0);
        }
        inner.with_send(|send, cx| send.try_transmit_batch(cx, batch))
    }

    /// The bytes of accepted sends whose callbacks were not called yet.
    #[must_use]
    #[doc(alias = "uv_udp_get_send_queue_size")]
    pub fn send_queue_size(&self) -> usize {
        self.inner.send.queue().bytes()
    }

    /// The number of accepted sends whose callbacks were not called yet.
    #[must_use]
    #[doc(alias = "uv_udp_get_send_queue_count")]
    pub fn send_queue_count(&self) -> usize {
        self.inner.send.queue().count()
    }
}

/// Defaults for sends, and the limit of the queue.
impl Udp {
    /// Sets the local address and the interface of datagrams without a
    /// [source](crate::Transmit::with_source) of their own.
    ///
    /// # Errors
    ///
    /// `EAFNOSUPPORT` for an IPv6 address on an IPv4 socket.
    ///
    /// Later sends return `EAFNOSUPPORT` if the address is of another family than their
    /// destination. They complete with `ENETUNREACH` (IPv4) or `EINVAL` (IPv6) if the address
    /// is not local, and with `ENODEV` without such an interface.
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
        self.inner.send.defaults().set_source(source);
        Ok(())
    }

    /// The default source of [`set_send_source`](Self::set_send_source).
    #[must_use]
    pub fn send_source(&self) -> Option<PacketInfo> {
        self.inner.send.defaults().source()
    }

    /// Limits [`send_queue_size`](Self::send_queue_size) to a number of bytes; `None`, the default,
    /// is no limit.
    ///
    /// A send beyond the limit returns `ENOBUFS`, and nothing is accepted. The `try_…` calls queue
    /// nothing, and have no limit. The bytes of a send count until its callback is called, so the
    /// limit needs room for the largest burst of one callback or one
    /// [`UdpSender`](crate::UdpSender).
    pub fn set_send_queue_limit(&self, bytes: Option<usize>) {
        self.inner.send.defaults().set_limit(bytes);
    }

    /// The limit of [`set_send_queue_limit`](Self::set_send_queue_limit), in bytes.
    #[must_use]
    pub fn send_queue_limit(&self) -> Option<usize> {
        self.inner.send.defaults().limit()
    }

    /// Calls `callback` each time the send queue becomes empty, after the callback of the last
    /// send.
    ///
    /// The loop calls it. It replaces an earlier callback, and is dropped when the handle is
    /// closed.
    ///
    /// # Errors
    ///
    /// `EBADF` on a closed handle.
    pub fn on_drained(&self, callback: impl FnMut(&Udp) + 'static) -> Result<()> {
        self.inner.handle.check_open()?;
        let drained = self.inner.drained.get_or_init(Box::default);
        drained.set(Box::new(callback));
        Ok(())
    }
}

/// Ignores the result of a send: pass it in place of a callback.
///
/// It needs no allocation. [`Counters::errors`](crate::Counters::errors) counts the errors.
///
/// ```
/// use uv_udp::{Loop, RunMode, Udp, ignore};
///
/// let event_loop = Loop::new()?;
/// let udp = Udp::new(&event_loop);
/// udp.send_to(b"hello", "127.0.0.1:9".parse().unwrap(), ignore)?;
/// event_loop.run(RunMode::Default)?;
/// # Ok::<(), uv_udp::Errno>(())
/// ```
pub fn ignore(_: &Udp, _: Result<()>) {}
