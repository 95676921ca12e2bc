//! The public calls that receive into the loop's memory; `user_memory.rs` has the one that receives into the user's.

use uv_sys::{Errno, Result};

use crate::datagram::{Batch, Datagram};
use crate::errors::NetworkError;
use crate::receiving::Receiving;
use crate::udp::Udp;

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
        callback: impl FnMut(&Udp, std::result::Result<Datagram<'_>, NetworkError>) + 'static,
    ) -> Result<()> {
        self.start(Receiving::Each(Box::new(callback)))
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
    ///   [`Counters::strangers`](crate::Counters::strangers).
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
        self.start(Receiving::Batch(Box::new(callback)))
    }

    pub(crate) fn start(&self, callback: Receiving) -> Result<()> {
        let inner = &self.inner;
        inner.handle.check_open()?;
        if inner.receiver.is_started() {
            return Err(Errno::EALREADY);
        }
        inner.execute(inner.state.get().recv_start()?)?;
        inner.start_receiving(callback)
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
