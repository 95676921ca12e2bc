//! Receiving into the loop's memory or the user's.

use uv_sys::{Errno, RecvBuffer, Result, UninitSlice};

use crate::error::NetworkError;
use crate::handle::{Buffers, Receiver, Udp};
use crate::recv::{Batch, Datagram, Outcome, RecvMeta};
use crate::shared::RECV_SLOT;

/// Receiving.
impl Udp {
    /// Calls `callback` with each datagram that arrives, and with errors that the network reports.
    ///
    /// The datagram is lent for the call: copy what must outlive it. A handle without a socket gets one, bound to the IPv4
    /// wildcard address. A connected handle delivers its peer's datagrams only.
    ///
    /// # Errors
    ///
    /// `EALREADY` when the handle is receiving already; those of [`bind`](Self::bind) where a socket is made here.
    #[doc(alias = "uv_udp_recv_start")]
    pub fn recv_start(
        &self,
        mut callback: impl FnMut(&Udp, std::result::Result<Datagram<'_>, NetworkError>) + 'static,
    ) -> Result<()> {
        self.recv_batch_start(move |udp, received| match received {
            Ok(mut batch) => {
                let recv = &udp.inner.recv;
                let epoch = recv.epoch();
                while recv.epoch() == epoch
                    && let Some(datagram) = batch.next()
                {
                    callback(udp, Ok(datagram));
                }
            }
            Err(error) => callback(udp, Err(error)),
        })
    }

    /// Calls `callback` with the datagrams that one system call received, together. Otherwise as
    /// [`recv_start`](Self::recv_start).
    ///
    /// Datagrams that the callback does not take from the batch are not lost: they go back to the handle when the batch is dropped,
    /// and come again before all others, each in a batch of its own. [`counters`](Self::counters) counts a datagram once it is
    /// taken. To discard the rest of a batch, take it: `batch.for_each(drop)`.
    ///
    /// - In the next iteration, if the callback goes on receiving. The loop does not wait meanwhile, but everything else on it has
    ///   its turn: a callback that takes nothing is called once in an iteration, and keeps a processor busy. Stop receiving to
    ///   pause.
    /// - From the next start on, if the callback stops receiving, or panics and the loop is run no more.
    /// - If the callback disconnects or connects to another peer: as far as the new peer sent them. The others are counted in
    ///   [`Counters::filtered`](crate::Counters::filtered).
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

    /// Receives into memory of the caller: `supply` is asked for a buffer before a read, and `callback` gets it back with what was
    /// stored in it. Otherwise as [`recv_start`](Self::recv_start).
    ///
    /// `supply` gets the number of bytes that every message fits into (65,536). A buffer may be anything that lends its bytes
    /// ([`RecvBuffer`]): a `Vec<u8>`, a boxed slice, memory that is not initialised. Its length decides what is read:
    ///
    /// - Less than 65,536 bytes: one datagram. The rest of a longer datagram is lost, and [`RecvMeta::truncated`] says so.
    /// - 65,536 bytes: one message, which may be several coalesced datagrams: see [`RecvMeta::segments`].
    /// - A multiple of that: as many messages with one system call, each 65,536 bytes after the one before.
    ///
    /// Each buffer comes back once, whatever happens:
    ///
    /// - `Ok` with what was stored in it. That is nothing if there was no datagram after all, or if `supply` stopped receiving,
    ///   changed the peer or closed the handle.
    /// - `Err` with an error that the network reports, or one of receiving itself. It may come without a buffer.
    ///
    /// Nothing is copied and nothing allocated per datagram. Only if a buffer is shorter than 65,536 bytes on a socket that coalesces
    /// (it received bursts in another form, or was adopted so), datagrams are copied into buffers one by one.
    ///
    /// If `supply` has no buffer, or an empty one, `callback` gets `ENOBUFS` and nothing is lost. While there is something to read,
    /// `supply` is asked again in every iteration, and the loop does not wait meanwhile, as in libuv. So stop receiving when all
    /// buffers are lent, and start again when one is back. A `supply` that returns none and stops receiving, changes the peer or
    /// closes the handle causes no `ENOBUFS`.
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

    /// Stops receiving, and drops the callback. What arrives from now on waits in the socket for the next
    /// [`recv_start`](Self::recv_start), and what was received but not delivered yet waits in the handle. On a handle that
    /// is not receiving, nothing happens.
    ///
    /// # Errors
    ///
    /// `EBADF`, see the type.
    #[doc(alias = "uv_udp_recv_stop")]
    pub fn recv_stop(&self) -> Result<()> {
        self.inner.handle.check_open()?;
        self.inner.stop_receiving();
        Ok(())
    }
}

/// The two callbacks of [`Udp::recv_into_start`], and the buffer that is on its way between them.
struct Pair<B, S, C> {
    supply: S,
    callback: C,
    buffer: Option<B>,
    list: Vec<RecvMeta>,
}

impl<B, S, C> Buffers for Pair<B, S, C>
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
