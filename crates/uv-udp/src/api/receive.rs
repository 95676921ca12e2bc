//! Receiving, into the loop's memory or the user's.

use uv_sys::{Errno, RecvBuffer, Result, UninitSlice};

use crate::error::NetworkError;
use crate::handle::{Receiver, Udp};
use crate::recv::{Batch, Datagram, Outcome, RecvMeta, UserBuffers};
use crate::shared::RECV_SLOT;

/// Receiving.
impl Udp {
    /// Calls `callback` with each received datagram, and with network errors.
    ///
    /// The callback borrows the datagram. A handle without a socket gets one, bound to the IPv4
    /// wildcard address. A connected handle delivers only its peer's datagrams.
    ///
    /// # Errors
    ///
    /// `EALREADY` if the handle is receiving already; those of [`bind`](Self::bind) on an unbound
    /// handle.
    #[doc(alias = "uv_udp_recv_start")]
    pub fn recv_start(
        &self,
        callback: impl FnMut(&Udp, std::result::Result<Datagram<'_>, NetworkError>) + 'static,
    ) -> Result<()> {
        self.start(Receiver::Datagrams(Box::new(callback)))
    }

    /// Calls `callback` with the datagrams of one system call, as a [`Batch`]. Otherwise as
    /// [`recv_start`](Self::recv_start).
    ///
    /// Datagrams that the callback leaves in the batch return to the handle when the batch is
    /// dropped. They are delivered again before all others, each in a batch of its own, and
    /// counted once. To discard the rest of a batch, take it: `batch.for_each(drop)`. The next
    /// delivery is:
    ///
    /// - In the next iteration, if the callback continues receiving. The loop does not wait
    ///   meanwhile: a callback that takes nothing is called once per iteration, and keeps a
    ///   processor busy. To pause, stop receiving.
    /// - After the next start, if the callback stops receiving.
    /// - Restricted to the new peer, if the callback disconnects or connects to another peer.
    ///   [`Counters::filtered`](crate::Counters::filtered) counts the others.
    /// - Never, if the callback closes the handle.
    ///
    /// # Errors
    ///
    /// Those of `recv_start`.
    #[doc(alias = "UV_UDP_RECVMMSG")]
    #[doc(alias = "UV_UDP_MMSG_CHUNK")]
    #[doc(alias = "uv_udp_using_recvmmsg")]
    pub fn recv_batch_start(
        &self,
        callback: impl FnMut(&Udp, std::result::Result<Batch<'_>, NetworkError>) + 'static,
    ) -> Result<()> {
        self.start(Receiver::Batches(Box::new(callback)))
    }

    /// Receives into the user's memory: `supply` returns a buffer for a read, and `callback` gets
    /// it back with the received messages. Otherwise as [`recv_start`](Self::recv_start).
    ///
    /// The argument of `supply` is the number of bytes that every message fits into (65,536). A
    /// buffer is any [`RecvBuffer`]: a `Vec<u8>`, a boxed slice, uninitialized memory. Its
    /// length decides the read:
    ///
    /// - Less than 65,536 bytes: one datagram. A longer one is truncated ([`RecvMeta::truncated`]).
    /// - 65,536 bytes: one message, which may be several coalesced datagrams
    ///   ([`RecvMeta::segments`]).
    /// - A multiple of that: as many messages with one system call, at offsets that are multiples
    ///   of 65,536.
    ///
    /// Each buffer comes back once:
    ///
    /// - With `Ok` and the received messages. There are none if the read found none, or if `supply`
    ///   stopped receiving, changed the peer or closed the handle.
    /// - With `Err` and a network error, or an error of receiving. An error may come without a
    ///   buffer.
    ///
    /// Nothing is copied and nothing allocated per datagram, with one exception. On a socket that
    /// coalesces (after bursts in another form, or adopted so), datagrams are copied into
    /// buffers shorter than 65,536 bytes.
    ///
    /// If `supply` returns `None` or an empty buffer, `callback` gets `ENOBUFS`, and no datagram is
    /// lost. While the socket has datagrams, the loop calls `supply` again in every iteration
    /// without waiting, as libuv does. So stop receiving while all buffers are in use. There is
    /// no `ENOBUFS` if `supply` itself stopped receiving, changed the peer or closed the
    /// handle.
    ///
    /// ```
    /// use uv_udp::{Loop, RunMode, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// udp.recv_into_start(
    ///     |_, message| Some(vec![0; 8 * message]),
    ///     |udp, buffer, outcome| {
    ///         let (Some(buffer), Ok(received)) = (buffer, outcome) else { return };
    ///         for datagram in received.iter().flat_map(|meta| meta.segments(&buffer)) {
    ///             assert_eq!(datagram.data, b"hello");
    ///         }
    ///         udp.close(|_| ()).unwrap();
    ///     },
    /// )?;
    /// udp.try_send_to(b"hello", udp.local_addr()?)?;
    /// event_loop.run(RunMode::Default)?;
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `recv_start`.
    #[doc(alias = "uv_udp_recv_start")]
    #[doc(alias = "uv_alloc_cb")]
    #[doc(alias = "UV_UDP_RECVMMSG")]
    pub fn recv_into_start<B: RecvBuffer + 'static>(
        &self,
        supply: impl FnMut(&Udp, usize) -> Option<B> + 'static,
        callback: impl FnMut(&Udp, Option<B>, std::result::Result<&[RecvMeta], NetworkError>) + 'static,
    ) -> Result<()> {
        self.start(Receiver::Buffers(Box::new(Pair {
            supply,
            callback,
            buffer: None,
            list: Vec::new(),
        })))
    }

    fn start(&self, receiver: Receiver) -> Result<()> {
        let inner = &self.inner;
        inner.handle.check_open()?;
        if inner.recv.is_started() {
            return Err(Errno::EALREADY);
        }
        inner.execute(inner.state.get().recv_start()?)?;
        inner.start_receiving(receiver)
    }

    /// Stops receiving, and drops the callback.
    ///
    /// Later datagrams stay in the socket's buffer, and undelivered ones in the handle, until the
    /// next start. On a handle that is not receiving, nothing happens.
    ///
    /// # Errors
    ///
    /// `EBADF` on a closed handle.
    #[doc(alias = "uv_udp_recv_stop")]
    pub fn recv_stop(&self) -> Result<()> {
        self.inner.handle.check_open()?;
        self.inner.stop_receiving();
        Ok(())
    }
}

/// The two callbacks of [`Udp::recv_into_start`], and the buffer between them.
struct Pair<B, S, C> {
    supply: S,
    callback: C,
    buffer: Option<B>,
    list: Vec<RecvMeta>,
}

impl<B, S, C> UserBuffers<Udp> for Pair<B, S, C>
where
    B: RecvBuffer,
    S: FnMut(&Udp, usize) -> Option<B>,
    C: FnMut(&Udp, Option<B>, Outcome<'_>),
{
    fn supply(&mut self, udp: &Udp) -> bool {
        self.buffer = (self.supply)(udp, RECV_SLOT);
        !self.memory().is_empty()
    }

    fn memory(&mut self) -> &mut UninitSlice {
        match &mut self.buffer {
            Some(buffer) => buffer.as_uninit(),
            None => UninitSlice::new(&mut []),
        }
    }

    fn give_back(&mut self, udp: &Udp, outcome: Outcome<'_>) {
        let buffer = self.buffer.take();
        if buffer.is_some() || !matches!(outcome, Ok([])) {
            (self.callback)(udp, buffer, outcome);
        }
    }

    fn list(&mut self) -> &mut Vec<RecvMeta> {
        &mut self.list
    }
}
