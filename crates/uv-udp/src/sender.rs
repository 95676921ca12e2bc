//! The end of a handle that other threads hold.

use std::net::SocketAddr;

use uv_core::{HandleId, KeepAlive, Loop, LoopProxy};
use uv_sys::{Payload, Result};

use crate::handle::{Inner, Udp};
use crate::policy::has_port;

/// Reaches a [`Udp`] from any thread: the `Send + Sync` end of a handle, from [`Udp::sender`].
///
/// What is asked for runs on the handle's loop, in order. Nothing happens if the handle is closing, closed or dropped by
/// then.
///
/// It keeps neither the handle nor the loop alive. An inactive handle lives as long as somebody holds the [`Udp`], and
/// without anything active [`Loop::run`] returns: see [`keep_alive`](Self::keep_alive).
///
/// What was posted and has not run counts towards no [limit](Udp::set_send_queue_limit). All that was posted by then runs in
/// one iteration, before what it queues is flushed: of a burst the limit refuses what is beyond it, however idle the network
/// is. So leave room for the largest burst. Whoever may send more than the network takes posts closures that send with a
/// callback, and waits for those before it posts the next.
///
/// ```
/// use uv_udp::{Loop, RunMode, Udp};
///
/// let event_loop = Loop::new()?;
/// let udp = Udp::new(&event_loop);
/// udp.connect("127.0.0.1:9".parse().unwrap())?;
/// let (remote, alive) = (udp.sender()?, udp.sender()?.keep_alive());
/// let thread = std::thread::spawn(move || {
///     for number in 0..3 {
///         remote.send(vec![number]).unwrap();
///     }
///     drop(alive);
/// });
/// // Runs until the thread is done. The handle is held here meanwhile.
/// event_loop.run(RunMode::Default)?;
/// assert_eq!(udp.counters().datagrams_sent, 3);
/// # thread.join().unwrap();
/// # Ok::<(), uv_udp::Errno>(())
/// ```
#[derive(Clone, Debug)]
pub struct UdpSender {
    remote: LoopProxy,
    id: HandleId,
}

impl UdpSender {
    pub(crate) fn new(remote: LoopProxy, id: HandleId) -> Self {
        Self { remote, id }
    }

    /// Runs `closure` with the handle, on its loop.
    ///
    /// # Errors
    ///
    /// `ECANCELED` when the loop is gone.
    pub fn post(&self, closure: impl FnOnce(&Udp) + Send + 'static) -> Result<()> {
        let id = self.id;
        self.remote.post(move |event_loop| {
            if let Some(udp) = find(event_loop, id) {
                closure(&udp);
            }
        })
    }

    /// Keeps [`Loop::run`] from returning for want of work until the answer is dropped, as [`LoopProxy::keep_alive`] does: for
    /// threads that will send later. It keeps the loop alive and not the handle.
    #[must_use = "the loop is kept alive until this is dropped"]
    pub fn keep_alive(&self) -> KeepAlive {
        self.remote.keep_alive()
    }

    /// Sends a datagram to the peer, as [`Udp::send`] does. Whoever must know its fate posts a closure that sends: what only
    /// the handle can tell, as `EDESTADDRREQ` without a peer or `ENOBUFS` beyond the limit of the queue, is counted in
    /// [`Counters::errors`](crate::Counters::errors).
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` for more than 65,507 bytes; `ECANCELED` when the loop is gone. Nothing was asked for then.
    pub fn send(&self, payload: Vec<u8>) -> Result<()> {
        Payload::from(&payload).check()?;
        self.post(move |udp| count(udp, udp.send(&payload, |_, _| ())))
    }

    /// Sends a datagram to `destination`, as [`Udp::send_to`] does, and otherwise as [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// `EINVAL` for port 0; those of `send`.
    pub fn send_to(&self, payload: Vec<u8>, destination: SocketAddr) -> Result<()> {
        has_port(&destination)?;
        Payload::from(&payload).check()?;
        self.post(move |udp| count(udp, udp.send_to(&payload, destination, |_, _| ())))
    }
}

/// There is nobody to tell that a handle refuses a send, perhaps because it was disconnected meanwhile.
fn count(udp: &Udp, accepted: Result<()>) {
    if let Err(error) = accepted {
        udp.inner.stats.error(error);
    }
}

/// The handle, if it is still open: the loop knows it also while it is closing.
fn find(event_loop: &Loop, id: HandleId) -> Option<Udp> {
    let inner = event_loop.source::<Inner>(id)?;
    inner.handle.check_open().ok()?;
    Some(Udp { inner })
}
