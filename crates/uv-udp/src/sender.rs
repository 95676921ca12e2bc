//! Sending from other threads.

use std::net::SocketAddr;

use uv_core::{HandleId, KeepAlive, Loop, LoopProxy};
use uv_sys::{Payload, Result};

use crate::api::ignore;
use crate::handle::{Inner, Udp};
use crate::policy::has_port;

/// The `Send + Sync` proxy of a [`Udp`] handle for other threads, from [`Udp::sender`].
///
/// Closures and sends run on the handle's loop, in order. If the handle is closing, closed or
/// dropped by then, nothing happens.
///
/// A sender keeps neither the handle nor the loop alive. An inactive handle lives as long as a
/// [`Udp`] refers to it, and [`Loop::run`] returns when nothing is active: see
/// [`keep_alive`](Self::keep_alive).
///
/// Posted sends count towards the [limit of the queue](Udp::set_send_queue_limit) once they run.
/// One iteration runs all posted closures before it flushes the queue, so the limit needs room for
/// the largest burst. A thread that sends faster than the network posts closures that send with a
/// callback, and waits for the callbacks.
///
/// ```
/// use uv_udp::{Loop, RunMode, Udp};
///
/// let event_loop = Loop::new()?;
/// let udp = Udp::new(&event_loop);
/// udp.connect("127.0.0.1:9".parse().unwrap())?;
/// let (sender, alive) = (udp.sender()?, udp.sender()?.keep_alive());
/// let thread = std::thread::spawn(move || {
///     for number in 0..3 {
///         sender.send(vec![number]).unwrap();
///     }
///     drop(alive);
/// });
/// // Runs until the thread drops `alive`.
/// event_loop.run(RunMode::Default)?;
/// assert_eq!(udp.counters().datagrams_sent, 3);
/// # thread.join().unwrap();
/// # Ok::<(), uv_udp::Errno>(())
/// ```
#[derive(Clone, Debug)]
pub struct UdpSender {
    proxy: LoopProxy,
    id: HandleId,
}

impl UdpSender {
    pub(crate) fn new(proxy: LoopProxy, id: HandleId) -> Self {
        Self { proxy, id }
    }

    /// Runs `closure` with the handle, on its loop.
    ///
    /// # Errors
    ///
    /// `ECANCELED` if the loop was dropped.
    pub fn post(&self, closure: impl FnOnce(&Udp) + Send + 'static) -> Result<()> {
        let id = self.id;
        self.proxy.post(move |event_loop| {
            if let Some(udp) = find(event_loop, id) {
                closure(&udp);
            }
        })
    }

    /// Keeps [`Loop::run`] running until the returned guard is dropped, for threads that will send
    /// later.
    ///
    /// It does not keep the handle alive. See [`LoopProxy::keep_alive`].
    #[must_use = "the loop is kept alive until this is dropped"]
    pub fn keep_alive(&self) -> KeepAlive {
        self.proxy.keep_alive()
    }

    /// Sends a datagram to the peer, as [`Udp::send`] does.
    ///
    /// [`Counters::errors`](crate::Counters::errors) counts errors that only the handle detects,
    /// such as `EDESTADDRREQ` without a peer or `ENOBUFS` beyond the limit of the queue. To get
    /// the result, [`post`](Self::post) a closure that sends with a callback.
    ///
    /// # Errors
    ///
    /// Nothing was posted: `EMSGSIZE` for more than 65,507 bytes; `ECANCELED` if the loop was
    /// dropped.
    pub fn send(&self, payload: Vec<u8>) -> Result<()> {
        Payload::from(&payload).check()?;
        self.post(move |udp| count(udp, udp.send(&payload, ignore)))
    }

    /// Sends a datagram to `destination`, as [`Udp::send_to`] does, and otherwise as
    /// [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// `EINVAL` for port 0; those of `send`.
    pub fn send_to(&self, payload: Vec<u8>, destination: SocketAddr) -> Result<()> {
        has_port(&destination)?;
        Payload::from(&payload).check()?;
        self.post(move |udp| count(udp, udp.send_to(&payload, destination, ignore)))
    }
}

/// Counts the error of a send on a handle that, for example, was disconnected meanwhile.
fn count(udp: &Udp, accepted: Result<()>) {
    if let Err(error) = accepted {
        udp.inner.stats.error(error);
    }
}

/// Returns the handle if it is open. The loop also has closing ones.
fn find(event_loop: &Loop, id: HandleId) -> Option<Udp> {
    let inner = event_loop.source::<Inner>(id)?;
    inner.handle.check_open().ok()?;
    Some(Udp { inner })
}
