//! Sending: the public calls, and what the policy says of each before the sending half gets it.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_sys::{Errno, PacketInfo, Payload, Result, Transmit};

use crate::handle::{Completion, Inner, SendCallback, Udp};
use crate::policy::{Plan, State};

/// Sending.
///
/// Payloads are a `&[u8]`, or several slices that leave as one datagram. A datagram may have 65,507 bytes (what IPv4 can
/// carry) in 1 to 1,024 slices.
impl Udp {
    /// Accepts a datagram for the peer. `callback` gets the result, from the loop.
    ///
    /// A datagram on an empty queue goes to the kernel at once; what follows it in the same iteration is copied, and leaves
    /// together at the end of the iteration. The result is the kernel's: that it took the datagram, not that it arrived.
    /// `ECANCELED` when the handle was closed, disconnected or connected anew before the kernel took it.
    ///
    /// # Errors
    ///
    /// `EDESTADDRREQ` when the handle has no peer; `EINVAL` for an empty list of slices; `EMSGSIZE` for more slices or
    /// bytes than a datagram can have; `ENOBUFS` beyond the [limit](Self::set_send_queue_limit), if there is one. Nothing was
    /// accepted then, and `callback` is dropped.
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

    /// Accepts a datagram for `destination`; otherwise as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// `EISCONN` when the handle is connected, whatever the destination; `EINVAL` for port 0 or an empty list of slices;
    /// `EAFNOSUPPORT` for an IPv6 destination on an IPv4 socket, or the reverse; `EMSGSIZE` as in `send`. A first socket
    /// is made and bound to the wildcard address here, with the errors of [`bind`](Self::bind).
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

    /// Accepts a datagram with everything that a [`Transmit`] can say. Without a destination as [`send`](Self::send), with one
    /// as [`send_to`](Self::send_to). `callback` gets [`Transmit::token`] and the result.
    ///
    /// A payload with a segment size is several datagrams in one buffer, which leave together or not at all. The handle itself
    /// puts runs of equal datagrams together, without a segment size.
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
    /// Those of `send` and `send_to`; `EINVAL` for a TTL of 0; `EAFNOSUPPORT` for a source address of another family than the
    /// destination; `EOPNOTSUPP` for a segment size where the kernel does not segment. A transmit time completes with `EINVAL`
    /// without [`set_txtime`](crate::Options::set_txtime), and with `ENOPROTOOPT` before Linux 4.19.
    #[inline]
    pub fn transmit(
        &self,
        transmit: Transmit<'_>,
        callback: impl FnOnce(&Udp, usize, Result<()>) + 'static,
    ) -> Result<()> {
        self.inner.send(transmit, Box::new(callback))
    }

    /// Sends a datagram to the peer now, or not at all. Returns its length in bytes.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when the kernel cannot take it now, or a datagram is queued before it; `ENOBUFS` when the device's queue is
    /// full; those of [`send`](Self::send); others as in send(2).
    #[doc(alias = "uv_udp_try_send")]
    pub fn try_send<'a>(&self, payload: impl Into<Payload<'a>>) -> Result<usize> {
        self.inner.try_send(Transmit::new(payload))
    }

    /// Sends a datagram to `destination` now, or not at all. Returns its length in bytes.
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

    /// Sends one [`Transmit`] now, or not at all. Returns how many bytes left.
    ///
    /// With a segment size, the payload may be a buffer of any length: it leaves in datagrams of that size, the last of which may
    /// be shorter. The result is then all of it, or a whole number of segments when the kernel had room for no more; 0 for an
    /// empty buffer, which is one empty datagram. Where the kernel or the path refuses segmentation, the datagrams leave one by
    /// one. Several slices with a segment size are one message, which leaves together or not at all.
    ///
    /// # Errors
    ///
    /// If nothing could leave, the reason: as in [`try_send`](Self::try_send) and [`transmit`](Self::transmit), whose results are
    /// returned here.
    #[doc(alias = "UDP_SEGMENT")]
    pub fn try_transmit(&self, transmit: &Transmit<'_>) -> Result<usize> {
        match (transmit.segment_size, transmit.payload) {
            (Some(size), Payload::Bytes(data)) => self.inner.try_send_buffer(transmit, data, size),
            _ => self.inner.try_send(*transmit),
        }
    }

    /// Sends several datagrams now, each to its own destination (or all to the peer), from the caller's memory. Returns how many
    /// left: the first ones of `batch`. Runs of equal size to one destination are segmented as in [`send`](Self::send). Nothing is
    /// copied but, on a handle with a [default source](Self::set_send_source), the list.
    ///
    /// # Errors
    ///
    /// If the first one could not leave, the reason: see [`try_send`](Self::try_send) and [`send_to`](Self::send_to). Bad input
    /// anywhere in `batch` is refused before the first one leaves.
    #[doc(alias = "uv_udp_try_send2")]
    #[doc(alias = "sendmmsg")]
    pub fn try_transmit_batch(&self, batch: &[Transmit<'_>]) -> Result<usize> {
        let inner = &self.inner;
        let mut completed = Vec::new();
        let batch = if inner.send.source().is_some() {
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

    /// Bytes in the accepted sends whose callbacks were not called yet.
    #[doc(alias = "uv_udp_get_send_queue_size")]
    pub fn send_queue_size(&self) -> usize {
        self.inner.send.queue().bytes()
    }

    /// The number of accepted sends whose callbacks were not called yet.
    #[doc(alias = "uv_udp_get_send_queue_count")]
    pub fn send_queue_count(&self) -> usize {
        self.inner.send.queue().count()
    }
}

/// What holds for all that the handle sends, and what holds the sender back.
impl Udp {
    /// Sets the local address and the interface that datagrams leave from, unless one says otherwise
    /// ([`Transmit::with_source`](crate::Transmit::with_source)).
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
        self.inner.send.set_source(source);
        Ok(())
    }

    /// Where datagrams leave from unless they say otherwise.
    #[must_use]
    pub fn send_source(&self) -> Option<PacketInfo> {
        self.inner.send.source()
    }

    /// Limits [`send_queue_size`](Self::send_queue_size) to so many bytes: a send that would go beyond it answers `ENOBUFS`,
    /// and nothing is accepted. `None`, as at first, for no limit. The `try_…` calls queue nothing and know no limit.
    ///
    /// Bytes count until the callback of their send was called. So what is sent in one go, in a callback or through a
    /// [`UdpSender`](crate::UdpSender), needs room for all of it.
    pub fn set_send_queue_limit(&self, bytes: Option<usize>) {
        self.inner.send.set_limit(bytes);
    }

    /// The limit of [`set_send_queue_limit`](Self::set_send_queue_limit), in bytes.
    #[must_use]
    pub fn send_queue_limit(&self) -> Option<usize> {
        self.inner.send.limit()
    }

    /// Calls `callback` each time that the send queue has become empty: after the callback of the last accepted send, from the
    /// loop. In the place of the one before; it is dropped when the handle is closed.
    ///
    /// # Errors
    ///
    /// `EBADF`, see the type.
    pub fn on_drained(&self, callback: impl FnMut(&Udp) + 'static) -> Result<()> {
        self.inner.handle.check_open()?;
        let drained = self.inner.drained.get_or_init(Box::default);
        drained.set(Box::new(callback));
        Ok(())
    }
}

impl Inner {
    /// Accepts a datagram, or returns why not. Inlined into the caller, where the compiler drops what the datagram does not say.
    #[inline(always)]
    pub(crate) fn send(&self, transmit: Transmit<'_>, callback: SendCallback) -> Result<()> {
        let completion = Completion {
            callback,
            token: transmit.token,
        };
        match transmit.payload {
            Payload::Bytes(payload) if transmit.is_plain() => {
                let destination = transmit.destination.as_ref();
                match self.try_coalesce(payload, destination, completion) {
                    Ok(()) => Ok(()),
                    Err(completion) => self.send_plain(payload, destination, completion),
                }
            }
            _ => self.send_checked(transmit, completion),
        }
    }

    fn try_coalesce(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        completion: Completion,
    ) -> std::result::Result<(), Completion> {
        if !self.send.needs_no_defaults(payload.len()) || self.handle.is_closing() {
            return Err(completion);
        }
        self.send.try_coalesce(payload, destination, completion)
    }

    fn add_defaults(&self, transmit: &mut Transmit<'_>) {
        let socket_tos = || self.with_socket(|socket| uv_sys::option::tos(socket)).ok();
        self.send.add_defaults(transmit, socket_tos);
    }

    #[inline(never)]
    fn send_plain(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        completion: Completion,
    ) -> Result<()> {
        let mut transmit = Transmit::new(payload);
        transmit.destination = destination.copied();
        self.send_checked(transmit, completion)
    }

    fn send_checked(&self, mut transmit: Transmit<'_>, completion: Completion) -> Result<()> {
        self.add_defaults(&mut transmit);
        let plan = self.check_send(&transmit, self.state.get())?;
        self.send.check_limit(transmit.payload.len())?;
        plan.map_or(Ok(()), |plan| self.execute(plan))?;
        self.with_send(|send, cx| {
            send.accept(cx, &transmit, completion);
            Ok(())
        })
    }

    fn try_send(&self, mut transmit: Transmit<'_>) -> Result<usize> {
        self.add_defaults(&mut transmit);
        self.prepare_to_send(&transmit)?;
        self.with_send(|send, cx| send.try_send(cx, &transmit))
    }

    fn try_send_buffer(
        &self,
        transmit: &Transmit<'_>,
        data: &[u8],
        size: NonZeroU16,
    ) -> Result<usize> {
        let first = data.get(..usize::from(size.get())).unwrap_or(data);
        let mut header = transmit.with_payload(first);
        header.segment_size = None;
        self.add_defaults(&mut header);
        self.prepare_to_send(&header)?;
        self.with_send(|send, cx| send.try_send_buffer(cx, &header, data, size))
    }

    /// Checks a send against the policy. Returns the steps that must come first, if any.
    #[inline]
    fn check_send(&self, transmit: &Transmit<'_>, state: State) -> Result<Option<Plan>> {
        self.handle.check_open()?;
        let plan = match transmit.destination {
            None => state.send().map(|()| None)?,
            Some(destination) => Some(state.send_to(destination)?),
        };
        transmit.payload.check()?;
        if !transmit.is_plain() {
            self.check_header(transmit, state)?;
        }
        Ok(plan.filter(|plan| !plan.is_nothing()))
    }

    fn check_header(&self, transmit: &Transmit<'_>, state: State) -> Result<()> {
        if transmit.segment_size.is_some() && self.shared.max_segments == 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut transmit = *transmit;
        transmit.destination = transmit.destination.or(state.peer().ok());
        transmit.check()
    }

    /// Checks a send, and executes the steps that must come first.
    #[inline]
    fn prepare_to_send(&self, transmit: &Transmit<'_>) -> Result<()> {
        match self.check_send(transmit, self.state.get())? {
            Some(plan) => self.execute(plan),
            None => Ok(()),
        }
    }

    /// The same for several sends: no step is executed unless all sends pass the checks.
    fn prepare_to_send_all(&self, batch: &[Transmit<'_>]) -> Result<()> {
        self.handle.check_open()?;
        let (mut state, mut first) = (self.state.get(), None);
        for transmit in batch {
            if let Some(plan) = self.check_send(transmit, state)? {
                state = state.after_sending(&plan);
                first = Some(plan);
            }
        }
        first.map_or(Ok(()), |plan| self.execute(plan))
    }
}
