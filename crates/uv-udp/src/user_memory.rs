//! Receiving into memory of the user's own: one callback supplies a buffer, another gets it back with what was stored in it.
//!
//! A handle that receives in this form reads one datagram at a time, straight into the buffer. The kernel must not coalesce
//! what comes (`UDP_GRO`): a socket that has been asked to once may hold runs of datagrams whose boundaries are lost when it
//! is told to stop, so the datagrams of such a socket go on being received and split in the loop's memory, and are copied. Unless the
//! user wants runs.

use std::net::SocketAddr;

use uv_core::Phase;
use uv_sys::{Errno, Metadata, Received, RecvBuffer, UninitSlice};

use crate::datagram::{Datagram, Segments, stride};
use crate::errors::NetworkError;
use crate::predictor::ReadReason;
use crate::receiving::{MAX_RECEIVED, Receiving};
use crate::shared::RECV_SLOT;
use crate::udp::{Inner, Udp};
use crate::waiting::Waiting;

/// A datagram, or a run of them, that was stored in a buffer that the user supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvMeta {
    /// Where in the buffer it begins: 0, or in [`recv_batch_into_start`](Udp::recv_batch_into_start) a multiple of 65,536.
    pub offset: usize,
    /// Bytes that were stored. 0 is an empty datagram, which is a datagram.
    pub len: usize,
    /// Bytes that the datagram had.
    pub full_len: usize,
    /// Who sent it. On a connected handle that is always the peer.
    pub source: SocketAddr,
    /// Whether the datagram had more bytes than the buffer, which holds only its start then.
    #[doc(alias = "UV_UDP_PARTIAL")]
    pub truncated: bool,
    /// What else came with it. A [`segment_size`](Metadata::segment_size) smaller than `full_len` says that it is a run of several,
    /// which are of that size but for the last ([`set_gro`](Udp::set_gro)): see [`segments`](Self::segments).
    pub metadata: Metadata,
}

impl RecvMeta {
    pub(crate) fn new(received: &Received, source: SocketAddr, offset: usize) -> Self {
        Self {
            offset,
            len: received.len,
            full_len: received.full_len,
            source,
            truncated: received.truncated,
            metadata: received.metadata,
        }
    }

    /// The datagrams of it, one by one: mostly one, several where the kernel put them together. `buffer` is the one that it came
    /// with; there is nothing in one that is too short to be that.
    ///
    /// ```no_run
    /// # fn look(buffer: &[u8], arrival: uv_udp::RecvMeta) {
    /// for datagram in arrival.segments(buffer) {
    ///     println!("{} bytes from {}", datagram.data.len(), datagram.source);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn segments<'a>(&'a self, buffer: &'a [u8]) -> Segments<'a> {
        let end = self.offset.saturating_add(self.len);
        let Some(data) = buffer.get(self.offset..end) else {
            return Segments::SPENT;
        };
        let whole = Datagram {
            data,
            source: self.source,
            truncated: self.truncated,
            metadata: &self.metadata,
        };
        Segments::of_message(whole)
    }

    /// How many datagrams it is. An empty one is one, too.
    pub(crate) fn datagrams(&self) -> usize {
        self.len.div_ceil(stride(&self.metadata)).max(1)
    }
}

/// What a buffer comes back with.
pub(crate) type Outcome<'a> = Result<&'a [RecvMeta], NetworkError>;

/// The two callbacks, and the buffer that is on its way from one to the other.
pub(crate) trait Buffers {
    /// Asks for a buffer; `false` if there is none, or one without room.
    fn supply(&mut self, udp: &Udp) -> bool;
    /// The memory of the buffer.
    fn memory(&mut self) -> &mut UninitSlice;
    /// Gives the buffer back, with what became of it. Says nothing where there is neither a buffer nor anything to say.
    fn give_back(&mut self, udp: &Udp, outcome: Outcome<'_>);
    /// Whether a buffer may come back with several arrivals.
    fn take_many(&self) -> bool;
}

struct Pair<B, S, C> {
    supply: S,
    callback: C,
    buffer: Option<B>,
    many: bool,
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

    fn take_many(&self) -> bool {
        self.many
    }
}

impl Udp {
    /// Receives into memory of the caller's own: `supply` is asked for a buffer before each read, and `callback` gets it
    /// back with what was stored in it. Otherwise as [`recv_start`](Self::recv_start).
    ///
    /// `supply` is told how many bytes every datagram fits into (65,536). A buffer may have fewer; what does not fit is lost,
    /// and [`RecvMeta::truncated`] says so. It may be anything that lends its bytes ([`RecvBuffer`]): a `Vec<u8>`, a boxed
    /// slice, an entry of a pool, memory that is not initialised. Each buffer comes back once, whatever happens, with one of these:
    ///
    /// - `Ok(Some(arrival))`: a datagram.
    /// - `Ok(None)`: nothing. There was no datagram after all, or `supply` stopped receiving, changed the peer or closed the
    ///   handle.
    /// - `Err`: an error that the network reports, or one of receiving itself, as in the other forms. It may come without a
    ///   buffer, when there is nothing to read for it.
    ///
    /// Nothing is copied and nothing allocated, unless the kernel puts datagrams together for this handle: because bursts came
    /// while it received in another form, or because it was adopted so. Each of them is copied twice then;
    /// [`set_gro`](Self::set_gro) spares that.
    ///
    /// If `supply` has no buffer, or one without room, `callback` is told `ENOBUFS` and nothing is lost. As long as there
    /// is something to read, `supply` is asked again in every iteration, and the loop does not wait meanwhile: it spins,
    /// as libuv does. So stop receiving when all buffers are lent, and start again when one is back. A `supply` that has
    /// none, and stops receiving, changes the peer or closes the handle, hears nothing.
    ///
    /// ```
    /// use uv_udp::{Loop, RunMode, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// udp.recv_into_start(
    ///     |_, _| Some(vec![0; 1500]),
    ///     |udp, buffer, outcome| {
    ///         if let (Some(buffer), Ok(Some(arrival))) = (buffer, outcome) {
    ///             assert_eq!(&buffer[..arrival.len], b"hello");
    ///             udp.close(|_| ()).unwrap();
    ///         }
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
    pub fn recv_into_start<B: RecvBuffer + 'static>(
        &self,
        supply: impl FnMut(&Udp, usize) -> Option<B> + 'static,
        mut callback: impl FnMut(&Udp, Option<B>, Result<Option<RecvMeta>, NetworkError>) + 'static,
    ) -> uv_sys::Result<()> {
        let first = |arrivals: &[RecvMeta]| arrivals.first().copied();
        self.start(Receiving::Into(Box::new(Pair {
            supply,
            callback: move |udp: &Udp, buffer, outcome: Outcome<'_>| {
                callback(udp, buffer, outcome.map(first));
            },
            buffer: None,
            many: false,
        })))
    }

    /// Receives many datagrams with one system call into memory of the caller's own. As
    /// [`recv_into_start`](Self::recv_into_start), but that a buffer may have room for several: the first arrival is stored at
    /// its start, and each of the others 65,536 bytes after the one before. A buffer for less than two is for one.
    ///
    /// Where bursts come, the kernel puts datagrams of one source and size together, as in [`recv_start`](Self::recv_start):
    /// an arrival is a run of several then, which [`RecvMeta::segments`] takes apart. A buffer of less than 65,536 bytes never gets
    /// a run.
    ///
    /// A `supply` without a buffer is asked again in every iteration here, too: stop receiving when all of them are lent.
    ///
    /// `callback` gets a buffer back with the arrivals in it. There are none where `recv_into_start` says `None`, and in a buffer
    /// that was too short for a run: its datagrams come one by one in the next iteration.
    ///
    /// ```
    /// use uv_udp::{Loop, RunMode, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// udp.recv_batch_into_start(
    ///     |_, slot| Some(vec![0; 8 * slot]),
    ///     |udp, buffer, outcome| {
    ///         let (Some(buffer), Ok(arrivals)) = (buffer, outcome) else { return };
    ///         for arrival in arrivals {
    ///             for datagram in arrival.segments(&buffer) {
    ///                 assert_eq!(datagram.data, b"hello");
    ///             }
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
    #[doc(alias = "UV_UDP_RECVMMSG")]
    pub fn recv_batch_into_start<B: RecvBuffer + 'static>(
        &self,
        supply: impl FnMut(&Udp, usize) -> Option<B> + 'static,
        callback: impl FnMut(&Udp, Option<B>, Result<&[RecvMeta], NetworkError>) + 'static,
    ) -> uv_sys::Result<()> {
        self.start(Receiving::Into(Box::new(Pair {
            supply,
            callback,
            buffer: None,
            many: true,
        })))
    }
}

impl Udp {
    /// Lets the kernel put runs of datagrams from one source into one buffer of [`recv_into_start`](Self::recv_into_start):
    /// each of [`Metadata::segment_size`](crate::Metadata::segment_size) bytes, the last perhaps shorter. Off at first, and from
    /// the next start on. Buffers should have 65,535 bytes then: what does not fit is lost.
    ///
    /// # Errors
    ///
    /// `EOPNOTSUPP` where the kernel cannot ([`Capabilities::gro`](crate::Capabilities::gro), Linux 5.0).
    ///
    /// See [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
    #[doc(alias = "UDP_GRO")]
    pub fn set_gro(&self, on: bool) -> uv_sys::Result<()> {
        self.inner.handle.check_open()?;
        if on && !uv_sys::capabilities().gro {
            return Err(Errno::EOPNOTSUPP);
        }
        self.inner.receiver.set_runs(on);
        Ok(())
    }

    /// Whether [`set_gro`](Self::set_gro) is on.
    #[must_use]
    #[doc(alias = "UDP_GRO")]
    pub fn gro(&self) -> bool {
        self.inner.receiver.runs()
    }
}

impl Inner {
    /// One turn of reading straight into the user's buffers.
    pub(crate) fn receive_into(&self, udp: &Udp, reason: ReadReason, budget: usize) {
        let receiver = &self.receiver;
        if receiver.many.get() {
            return self.receive_many(udp, reason, budget);
        }
        let epoch = receiver.epoch();
        let mut left = budget;
        // As in the loop's own memory.
        let mut had_errors = budget < MAX_RECEIVED;
        while left > 0 && receiver.is_started() && receiver.epoch() == epoch {
            if left < budget && receiver.has_waiting() {
                // Errors that a callback caused are delivered before the datagrams behind them.
                break;
            }
            let mut go_on = false;
            receiver.call(|receiving| {
                if let Receiving::Into(buffers) = receiving {
                    go_on =
                        self.read_into(udp, buffers.as_mut(), &mut left, &mut had_errors, reason);
                }
            });
            if !go_on {
                return;
            }
        }
        if receiver.is_started() {
            self.handle.schedule(Phase::Dispatch);
        }
    }

    /// Reads one datagram. `false` if there is no point in another read in this turn.
    fn read_into(
        &self,
        udp: &Udp,
        buffers: &mut dyn Buffers,
        left: &mut usize,
        had_errors: &mut bool,
        reason: ReadReason,
    ) -> bool {
        let receiver = &self.receiver;
        let epoch = receiver.epoch();
        let supplied = buffers.supply(udp);
        let Some(socket) = self.socket().ok().filter(|_| receiver.epoch() == epoch) else {
            buffers.give_back(udp, Ok(&[]));
            // Where there is no buffer either, only another datagram is a reason to ask again.
            return supplied;
        };
        if !supplied {
            self.lack_buffer(udp, buffers);
            return false;
        }
        while *left > 0 {
            *left -= 1;
            let filter = receiver.filter();
            self.stats.recv_call();
            match uv_sys::recv_into(&*socket, buffers.memory(), receiver.options(&filter)) {
                Ok(received) => {
                    // A stranger's datagram leaves the buffer to the next one.
                    if let Some(source) = filter.admit(received.source) {
                        let arrival = RecvMeta::new(&received, source, 0);
                        self.count_arrival(&arrival);
                        self.count_drops(arrival.metadata.kernel_drops);
                        buffers.give_back(udp, Ok(&[arrival]));
                        return true;
                    }
                    self.stats.filtered(1);
                }
                Err(error) if *had_errors && error != Errno::EAGAIN => self.report(error),
                Err(error) => {
                    *had_errors = true;
                    let outcome = self.judge_read(error, reason);
                    buffers.give_back(udp, outcome);
                    return error != Errno::EAGAIN;
                }
            }
        }
        buffers.give_back(udp, Ok(&[]));
        true
    }

    /// What a buffer comes back with after a read that failed. Reports that the handle asked for are told next, without one.
    pub(crate) fn judge_read(&self, error: Errno, reason: ReadReason) -> Outcome<'static> {
        if error == Errno::EAGAIN {
            if let Ok(socket) = self.socket() {
                self.receiver.check_backlog(&*socket);
            }
            match reason {
                ReadReason::Ready => self.empty_error_queue(),
                ReadReason::Scheduled | ReadReason::Speculative => self.collect_reports(),
            };
            return Ok(&[]);
        }
        if self.collect_reports() {
            return Ok(&[]);
        }
        self.stats.error(error);
        Err(NetworkError::new(error))
    }

    /// Tells a user who has no buffer, or one without room.
    pub(crate) fn lack_buffer(&self, udp: &Udp, buffers: &mut dyn Buffers) {
        self.stats.error(Errno::ENOBUFS);
        buffers.give_back(udp, Err(NetworkError::new(Errno::ENOBUFS)));
    }

    fn count_arrival(&self, arrival: &RecvMeta) {
        let datagrams = arrival.datagrams();
        self.stats.received(datagrams, arrival.len);
        if datagrams > 1 {
            self.stats.received_batch();
        }
        if arrival.truncated {
            self.stats.truncated();
        }
    }

    /// Delivers a datagram that was kept. `false` if the user has no buffer for it, or no longer wants it: it is kept again.
    pub(crate) fn copy_into(&self, udp: &Udp, buffers: &mut dyn Buffers, waiting: Waiting) -> bool {
        let epoch = self.receiver.epoch();
        let mut unclaimed = Unclaimed {
            inner: self,
            waiting: Some(waiting),
        };
        let supplied = buffers.supply(udp);
        if self.receiver.epoch() != epoch {
            buffers.give_back(udp, Ok(&[]));
            return false;
        }
        if !supplied {
            self.lack_buffer(udp, buffers);
            return false;
        }
        let Some(waiting) = unclaimed.waiting.take() else {
            return true;
        };
        let datagram = waiting.datagram();
        let len = buffers.memory().write(datagram.data);
        let arrival = RecvMeta {
            offset: 0,
            len,
            full_len: datagram.data.len(),
            source: datagram.source,
            truncated: datagram.truncated || len < datagram.data.len(),
            metadata: *datagram.metadata,
        };
        self.count_arrival(&arrival);
        buffers.give_back(udp, Ok(&[arrival]));
        true
    }
}

/// A datagram without a buffer yet: unless it is taken it goes back to where it came from, also after a panic.
struct Unclaimed<'a> {
    inner: &'a Inner,
    waiting: Option<Waiting>,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.take()
            && !self.inner.handle.is_closing()
        {
            self.inner.receiver.keep_first(waiting);
        }
    }
}
