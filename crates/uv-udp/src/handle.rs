//! The UDP handle: its state, and its phases on the loop. The only file that knows all rooms.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use uv_core::{Callback, Handle, Loop, Phase, PollSource, Source};
use uv_sys::{Errno, Interest, Result};

use crate::error::NetworkError;
use crate::lazy::LazyBox;
use crate::policy::{Plan, State};
use crate::recv::{
    Batch, Datagram, LoopMemory, ReadReason, RecvContext, RecvState, UserBuffers, UserMemory,
};
use crate::send::{SendContext, SendState, SocketErrors};
use crate::shared::Shared;
use crate::socket::{Owner, SocketState};
use crate::stats::Stats;

/// A UDP handle on a [`Loop`], connected to one peer or unconnected.
///
/// The first call that needs a socket creates it, for the family of the address in that call. A
/// clone is another reference to the same handle.
///
/// A handle is active while it receives or has pending sends, and its loop keeps an active handle
/// alive. Dropping the last reference closes an inactive one. Callbacks get the handle as an
/// argument; a callback that captures a clone of it keeps it alive until it is closed.
///
/// Every method also returns `EBADF` once the handle is closed or its loop is dropped.
///
/// ```
/// use uv_udp::{Errno, Loop, RunMode, Udp};
///
/// let event_loop = Loop::new()?;
/// let server = Udp::new(&event_loop);
/// server.bind("127.0.0.1:0".parse().unwrap())?;
/// server.recv_start(|server, received| {
///     if let Ok(datagram) = received {
///         server.send_to(datagram.data, datagram.source, uv_udp::ignore).unwrap();
///     }
/// })?;
///
/// let client = Udp::new(&event_loop);
/// client.connect(server.local_addr()?)?;
/// let refused = client.send_to(b"ping", server.local_addr()?, uv_udp::ignore);
/// assert_eq!(refused, Err(Errno::EISCONN));
/// client.send(b"ping", |_, result| result.unwrap())?;
/// client.recv_start(move |client, received| {
///     assert_eq!(received.unwrap().data, b"ping");
///     client.close(|_| ()).unwrap();
///     server.close(|_| ()).unwrap();
/// })?;
/// event_loop.run(RunMode::Default)?;
/// # Ok::<(), Errno>(())
/// ```
#[derive(Clone)]
#[doc(alias = "uv_udp_t")]
pub struct Udp {
    pub(crate) inner: Rc<Inner>,
}

type CloseCallback = Box<dyn FnOnce(&Udp)>;

/// The callback of a send, which gets the token and the result.
pub(crate) type SendCallback = Box<dyn FnOnce(&Udp, usize, Result<()>)>;

type DatagramCallback = Box<dyn FnMut(&Udp, std::result::Result<Datagram<'_>, NetworkError>)>;

type BatchCallback = Box<dyn FnMut(&Udp, std::result::Result<Batch<'_>, NetworkError>)>;

type DrainedCallback = Callback<dyn FnMut(&Udp)>;

/// The receive callback, in one of its three forms.
pub(crate) enum Receiver {
    /// Datagrams in the loop's memory, one by one.
    Datagrams(DatagramCallback),
    /// Datagrams in the loop's memory.
    Batches(BatchCallback),
    /// Buffers of the user.
    Buffers(Box<dyn UserBuffers<Udp>>),
}

/// The callback of a send, and the token that it gets.
pub(crate) struct Completion {
    pub(crate) callback: SendCallback,
    pub(crate) token: usize,
}

pub(crate) struct Inner {
    pub(crate) handle: Handle,
    pub(crate) state: Cell<State>,
    pub(crate) socket: SocketState,
    pub(crate) send: SendState<Completion>,
    pub(crate) recv: RecvState,
    receiver: Callback<Receiver>,
    /// Called after the callback of the last pending send.
    pub(crate) drained: LazyBox<DrainedCallback>,
    pub(crate) stats: Stats,
    pub(crate) shared: Rc<Shared>,
    pub(crate) close_callback: RefCell<Option<CloseCallback>>,
    pub(crate) data: RefCell<Option<Rc<dyn Any>>>,
}

impl Inner {
    pub(crate) fn new(event_loop: &Loop) -> Rc<Self> {
        let shared = event_loop.local(Shared::new);
        Rc::new_cyclic(|this: &Weak<Self>| Self {
            handle: Handle::new(event_loop, this.clone()),
            state: Cell::new(State::NoSocket),
            socket: SocketState::default(),
            send: SendState::new(shared.pool()),
            recv: RecvState::new(),
            receiver: Callback::new(),
            drained: LazyBox::new(),
            stats: Stats::default(),
            shared,
            close_callback: RefCell::new(None),
            data: RefCell::new(None),
        })
    }

    /// Runs `with` on the socket of an open handle; `EBADF` while there is none.
    pub(crate) fn with_socket<T>(&self, with: impl FnOnce(&PollSource) -> Result<T>) -> Result<T> {
        self.handle.check_open()?;
        with(&*self.socket.get()?)
    }

    /// Executes a plan of the policy.
    #[inline]
    pub(crate) fn execute(&self, plan: Plan) -> Result<()> {
        if plan.is_nothing() {
            return Ok(());
        }
        self.execute_with(plan, |_| Ok(()))
    }

    /// Executes a plan, and sets options before the socket is bound.
    pub(crate) fn execute_with(
        &self,
        plan: Plan,
        options: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<()> {
        self.socket.execute(self, self.state.get(), plan, options)
    }

    fn interest(&self) -> Interest {
        let mut interest = Interest::NONE;
        interest.set(Interest::READABLE, self.recv.is_watched());
        interest.set(Interest::WRITABLE, self.send.is_blocked());
        interest
    }

    /// Updates the poller's interest. The loop retries where the system refuses, and reports an
    /// error after a while.
    fn request_interest(&self) {
        self.socket.request_interest(self.interest());
    }

    /// Makes the handle active while a callback is pending.
    fn update_active(&self) {
        let has_sends = self.send.queue().count() > 0;
        self.handle.set_active(self.recv.is_started() || has_sends);
    }

    /// Runs `with` on the sending half.
    #[inline]
    pub(crate) fn with_send<T>(
        &self,
        with: impl FnOnce(&SendState<Completion>, &SendContext<'_>) -> Result<T>,
    ) -> Result<T> {
        let socket = self.socket.get()?;
        let cx = SendContext {
            handle: &self.handle,
            socket: &socket,
            shared: &self.shared,
            stats: &self.stats,
            errors: self,
        };
        with(&self.send, &cx)
    }

    fn flush(&self) {
        let _ = self.with_send(|send, cx| {
            send.flush(cx);
            Ok(())
        });
        self.watch_or_cancel();
    }

    /// Sends the queue once more before the peer changes or the handle closes, and cancels the
    /// rest.
    pub(crate) fn flush_or_cancel(&self) {
        let _ = self.with_send(|send, cx| {
            send.flush_or_cancel(cx);
            Ok(())
        });
        self.watch_or_cancel();
    }

    /// Updates the poller's interest. If the poller cannot watch for a writable socket, nothing
    /// would end the wait: pending sends complete with the error.
    fn watch_or_cancel(&self) {
        if self.handle.is_closing() {
            return;
        }
        if !self.send.is_blocked() {
            self.request_interest();
        } else if let Err(error) = self.socket.set_interest(self.interest()) {
            self.cancel_blocked(error);
        }
    }

    fn cancel_blocked(&self, error: Errno) {
        if self.send.is_blocked() {
            self.send.cancel(&self.handle, error);
        }
    }

    /// Calls the callbacks of completed sends. Sends that complete meanwhile get the next phase.
    fn complete(self: &Rc<Self>) {
        let udp = Udp {
            inner: Rc::clone(self),
        };
        let guard = CompletionGuard(self);
        let completed = self.send.queue().completed_count();
        for _ in 0..completed {
            let Some((Completion { callback, token }, result)) = self.send.pop_completed() else {
                break;
            };
            if let Err(error) = result {
                self.stats.error(error);
            }
            callback(&udp, token, result);
        }
        drop(guard);
        if completed > 0
            && let Some(drained) = self.drained.get()
            && self.send.queue().count() == 0
            && !self.handle.is_closing()
        {
            drained.call(|callback| callback(&udp));
        }
    }

    /// Runs `with` on the receiving half, if there is a socket.
    fn with_recv<T>(&self, with: impl FnOnce(&RecvState, &RecvContext<'_>) -> T) -> Option<T> {
        let socket = self.socket.get().ok()?;
        let cx = RecvContext {
            handle: &self.handle,
            socket: &socket,
            shared: &self.shared,
            stats: &self.stats,
        };
        Some(with(&self.recv, &cx))
    }

    /// Starts receiving.
    pub(crate) fn start_receiving(&self, receiver: Receiver) -> Result<()> {
        self.recv.set_started(true);
        if let Err(error) = self.socket.set_interest(self.interest()) {
            self.recv.set_started(false);
            return Err(error);
        }
        self.receiver.set(Box::new(receiver));
        self.update_active();
        self.recv.set_poll_driven(&self.shared, true);
        if self.recv.has_undelivered() {
            self.handle.schedule(Phase::Dispatch);
        }
        Ok(())
    }

    pub(crate) fn stop_receiving(&self) {
        self.recv.set_started(false);
        self.receiver.clear();
        self.recv.set_poll_driven(&self.shared, false);
        self.request_interest();
        self.update_active();
    }

    /// One phase of receiving.
    fn receive(self: &Rc<Self>, reason: ReadReason) {
        let _guard = ReceiveGuard(self);
        let udp = Udp {
            inner: Rc::clone(self),
        };
        self.with_recv(|recv, cx| {
            self.receiver.call(|receiver| match receiver {
                Receiver::Datagrams(callback) => {
                    let callback = |received: std::result::Result<&mut Batch<'_>, _>| match received
                    {
                        Ok(batch) => {
                            let epoch = recv.epoch();
                            while recv.epoch() == epoch
                                && let Some(datagram) = batch.next()
                            {
                                callback(&udp, Ok(datagram));
                            }
                        }
                        Err(error) => callback(&udp, Err(error)),
                    };
                    recv.receive(cx, &mut LoopMemory::new(cx, callback), reason);
                }
                Receiver::Batches(callback) => {
                    let callback = |received: std::result::Result<&mut Batch<'_>, _>| {
                        callback(&udp, received.map(Batch::take));
                    };
                    recv.receive(cx, &mut LoopMemory::new(cx, callback), reason);
                }
                Receiver::Buffers(buffers) => {
                    recv.receive(cx, &mut UserMemory::new(&udp, &mut **buffers), reason);
                }
            });
        });
    }

    /// Ends the use of a closing handle, once.
    pub(crate) fn end(&self) {
        if self.state.get() != State::Closed {
            self.flush_or_cancel();
            self.state.set(State::Closed);
            self.release();
        }
    }

    /// Drops callbacks and undelivered datagrams, and closes the socket.
    fn release(&self) {
        self.recv.release();
        self.receiver.clear();
        self.recv.set_poll_driven(&self.shared, false);
        if let Some(drained) = self.drained.get() {
            drained.clear();
        }
        self.socket.close();
    }
}

/// Ends a phase of receiving, also after a panic in it.
struct ReceiveGuard<'a>(&'a Inner);

impl Drop for ReceiveGuard<'_> {
    fn drop(&mut self) {
        let Self(inner) = self;
        if inner.recv.end_phase(&inner.handle, &inner.shared) {
            inner.request_interest();
        }
    }
}

/// Schedules the remaining completions after a phase, also after a panic in it.
struct CompletionGuard<'a>(&'a Inner);

impl Drop for CompletionGuard<'_> {
    fn drop(&mut self) {
        let Self(inner) = self;
        if inner.send.queue().completed_count() > 0 {
            inner.handle.schedule(Phase::Completions);
        }
        inner.send.trim();
        inner.update_active();
    }
}

impl SocketErrors for Inner {
    fn has_error_queue(&self) -> bool {
        self.recv.recv_errors()
    }

    fn drain_error_queue(&self) -> bool {
        self.with_recv(RecvState::collect_reports) == Some(true)
    }

    fn report(&self, errno: Errno) {
        self.with_recv(|recv, cx| recv.report(cx, errno));
    }
}

impl Owner for Inner {
    fn register(&self, fd: OwnedFd) -> std::result::Result<PollSource, (Errno, OwnedFd)> {
        self.handle.register(fd)
    }

    fn set_state(&self, state: State) {
        self.state.set(state);
        self.recv.set_peer(state.peer().ok());
        self.send.reset_largest_segment();
    }

    fn prepare(&self, socket: BorrowedFd<'_>) {
        self.recv.prepare(socket);
    }

    fn socket_replaced(&self) {
        self.stats.socket_replaced();
    }

    fn drain(&self, socket: BorrowedFd<'_>) {
        self.with_recv(|recv, cx| recv.drain(cx, socket));
    }

    fn forget_errors(&self) {
        self.with_recv(RecvState::forget_errors);
    }

    fn is_connected(&self) -> bool {
        self.state.get().is_connected()
    }

    fn is_receiving(&self) -> bool {
        self.recv.is_started()
    }

    fn requests_metadata(&self) -> bool {
        self.recv.requested().any()
    }
}

impl Source for Inner {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, readiness: Interest) {
        if readiness.contains(Interest::WRITABLE) && self.send.unblock() {
            // A non-empty error queue also makes the socket writable.
            self.with_recv(RecvState::drain_error_queue);
            self.flush();
        }
        // A scheduled phase of receiving follows in this iteration.
        if readiness.contains(Interest::READABLE) && self.recv.waits_for_poller(&self.handle) {
            self.receive(ReadReason::Ready);
        }
    }

    fn interest_refused(self: Rc<Self>, error: Errno) {
        self.cancel_blocked(error);
        if self.recv.is_started() {
            self.with_recv(|recv, cx| recv.store_error(cx, NetworkError::new(error)));
        }
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        match phase {
            Phase::Completions => self.complete(),
            Phase::Flush => self.flush(),
            Phase::Dispatch => self.receive(ReadReason::Scheduled),
            Phase::AfterPoll => self.receive(ReadReason::Speculative),
            Phase::Deadline => {
                self.send.end_pause();
                self.flush();
            }
            Phase::Closing => {
                self.end();
                self.complete();
                let callback = self.close_callback.take();
                if let Some(callback) = callback {
                    callback(&Udp {
                        inner: Rc::clone(&self),
                    });
                }
                drop(self.data.take());
            }
            Phase::LoopDropped => {
                self.state.set(State::Closed);
                self.send.clear();
                self.release();
                drop(self.close_callback.take());
                drop(self.data.take());
            }
            // A `Udp` has no hook.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use uv_core::RunMode;

    use super::*;

    #[test]
    fn a_connected_handle_asks_for_no_sources_once_the_backlog_is_read() {
        let event_loop = Loop::new().unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = Udp::new(&event_loop);
        udp.connect(peer.local_addr().unwrap()).unwrap();
        udp.recv_start(|_, _| ()).unwrap();
        let recv = &udp.inner.recv;
        assert!(recv.asks_for_source());
        // Once by a short read, and once by a read that finds nothing.
        for datagrams in [1, 0] {
            recv.set_peer(udp.peer_addr().ok());
            for _ in 0..datagrams {
                peer.send_to(b"x", udp.local_addr().unwrap()).unwrap();
            }
            udp.inner.handle.schedule(Phase::Dispatch);
            event_loop.run(RunMode::NoWait).unwrap();
            assert!(!recv.asks_for_source(), "after {datagrams} datagrams");
        }
        udp.disconnect().unwrap();
        assert!(recv.asks_for_source(), "an unconnected handle");
    }
}
