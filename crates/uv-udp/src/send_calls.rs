//! The public calls that send.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_sys::{Payload, Result, Transmit};

use crate::udp::Udp;

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
        self.transmit(Transmit::new(payload), callback)
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
        self.transmit(
            Transmit::new(payload).with_destination(destination),
            callback,
        )
    }

    /// Accepts a datagram with all that a [`Transmit`] can say of it. Without a destination as [`send`](Self::send), with one
    /// as [`send_to`](Self::send_to). With a segment size it is several datagrams in one buffer, which go together or not at
    /// all; what the kernel says of that is the result. The handle puts runs of equal datagrams together by itself.
    ///
    /// # Errors
    ///
    /// Those of `send` and `send_to`; `EINVAL` for a TTL of 0; `EAFNOSUPPORT` for a source address of another family than the
    /// destination; `EOPNOTSUPP` for a segment size where the kernel does not segment. A time is `EINVAL` as the result, without
    /// [`set_txtime`](Self::set_txtime), and `ENOPROTOOPT` where the kernel knows no transmit times.
    #[inline]
    pub fn transmit(
        &self,
        transmit: Transmit<'_>,
        callback: impl FnOnce(&Udp, Result<()>) + 'static,
    ) -> Result<()> {
        self.transmit_with_token(transmit, 0, |udp, _, result| callback(udp, result))
    }

    /// As [`transmit`](Self::transmit), and `token` is given to the callback: a function that captures nothing knows by it
    /// which send it is about, and costs no allocation.
    ///
    /// ```
    /// use uv_udp::{Loop, RunMode, Transmit, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.connect("127.0.0.1:9".parse().unwrap())?;
    /// for token in 0..3 {
    ///     let message = Transmit::new("x");
    ///     udp.transmit_with_token(message, token, |_, token, result| println!("{token}: {result:?}"))?;
    /// }
    /// event_loop.run(RunMode::Default)?;
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `transmit`.
    #[inline]
    pub fn transmit_with_token(
        &self,
        transmit: Transmit<'_>,
        token: usize,
        callback: impl FnOnce(&Udp, usize, Result<()>) + 'static,
    ) -> Result<()> {
        self.inner.send(transmit, Box::new(callback), token)
    }

    /// Sends a datagram to the peer now, or not at all, and says how many bytes it had.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when the kernel cannot take it now, or something is queued before it; `ENOBUFS` when the device's queue is
    /// full; those of [`send`](Self::send); others as in send(2).
    #[doc(alias = "uv_udp_try_send")]
    pub fn try_send<'a>(&self, payload: impl Into<Payload<'a>>) -> Result<usize> {
        self.try_transmit(&Transmit::new(payload))
    }

    /// Sends a datagram to `destination` now, or not at all, and says how many bytes it had.
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
        self.try_transmit(&Transmit::new(payload).with_destination(destination))
    }

    /// Sends one [`Transmit`] now, or not at all, and says how many bytes it had. With a segment size it is several
    /// datagrams in one buffer, which go together or not at all; see [`try_send_segments`](Self::try_send_segments).
    ///
    /// # Errors
    ///
    /// As in [`try_send`](Self::try_send) and [`transmit`](Self::transmit), whose results are told here.
    pub fn try_transmit(&self, transmit: &Transmit<'_>) -> Result<usize> {
        let mut transmit = *transmit;
        self.inner.complete_header(&mut transmit);
        self.inner.prepare_to_send(&transmit)?;
        self.inner.send_now(&transmit)
    }

    /// Sends several datagrams now, each to its own destination (or all to the peer), from the caller's own memory. Says
    /// how many went: the first so many of `batch`. Runs that fit are segmented as in [`send`](Self::send). Nothing is copied
    /// but, where the handle has a [default source](Self::set_send_source), the list.
    ///
    /// # Errors
    ///
    /// If the first one could not go, why: see [`try_send`](Self::try_send) and [`send_to`](Self::send_to). Bad input
    /// anywhere in `batch` is found before the first one goes.
    #[doc(alias = "uv_udp_try_send2")]
    pub fn try_send_batch(&self, batch: &[Transmit<'_>]) -> Result<usize> {
        let mut completed = Vec::new();
        let batch = if self.send_source().is_some() {
            completed.extend_from_slice(batch);
            let each = completed.iter_mut();
            each.for_each(|transmit| self.inner.complete_header(transmit));
            &completed
        } else {
            batch
        };
        self.inner.prepare_to_send_all(batch)?;
        self.inner.send_batch_now(batch)
    }

    /// Sends `data` now as datagrams of `segment_size` bytes, of which the last may be shorter, to `destination` or to the
    /// peer. Says how many bytes went: all of them, or a whole number of segments when the kernel had room for no more. No
    /// data is one empty datagram, and `Ok(0)` when it went.
    ///
    /// # Errors
    ///
    /// If the first segment could not go, why: see [`try_send`](Self::try_send) and [`send_to`](Self::send_to).
    #[doc(alias = "UDP_SEGMENT")]
    pub fn try_send_segments(
        &self,
        data: &[u8],
        segment_size: NonZeroU16,
        destination: Option<SocketAddr>,
    ) -> Result<usize> {
        let mut first = Transmit::new(data.get(..usize::from(segment_size.get())).unwrap_or(data));
        first.destination = destination;
        self.inner.complete_header(&mut first);
        self.inner.prepare_to_send(&first)?;
        self.inner.send_segments_now(data, segment_size, &first)
    }

    /// Bytes in the sends that were accepted and whose callbacks were not called yet.
    #[doc(alias = "uv_udp_get_send_queue_size")]
    pub fn send_queue_size(&self) -> usize {
        self.inner.sender.queue().bytes()
    }

    /// How many sends were accepted whose callbacks were not called yet.
    #[doc(alias = "uv_udp_get_send_queue_count")]
    pub fn send_queue_count(&self) -> usize {
        self.inner.sender.queue().count()
    }
}
