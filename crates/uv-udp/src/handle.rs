//! The UDP handle: its state, and its phases on the loop. The only file that knows all rooms.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};

use uv_core::{Callback, Handle, Loop, Phase, PollSource, Source};
use uv_sys::{Errno, Interest, Result, UninitSlice};

use crate::error::NetworkError;
use crate::lazy::LazyBox;
use crate::policy::{Plan, State};
use crate::recv::{
    Batch, LoopMemory, Outcome, ReadReason, RecvContext, RecvMeta, RecvState, UserBuffers,
    UserMemory,
};
use crate::send::{SendContext, SendState, SocketErrors};
use crate::shared::Shared;
use crate::socket::{Owner, SocketState};
use crate::stats::Stats;

/// A UDP handle on a [`Loop`], connected to one peer or not.
///
/// The socket is made by the first call that needs one, for the family of the address in that call. A clone is another
/// reference to the same handle. While it receives or has sends under way it is active, and its loop keeps it alive; otherwise
/// dropping the last reference closes it. Callbacks get the handle as an argument; one that captures a clone of it instead
/// keeps it alive until it is closed.
///
/// Every method answers `EBADF` once the handle is closed or its loop is gone; the errors that a method names are beside
/// that one.
///
/// ```
/// use uv_udp::{Errno, Loop, RunMode, Udp};
///
/// let event_loop = Loop::new()?;
/// let server = Udp::new(&event_loop);
/// server.bind("127.0.0.1:0".parse().unwrap())?;
/// server.recv_start(|server, received| {
///     if let Ok(datagram) = received {
///         server.send_to(datagram.data, datagram.source, |_, _| ()).unwrap();
///     }
/// })?;
///
/// let client = Udp::new(&event_loop);
/// client.connect(server.local_addr()?)?;
/// assert_eq!(client.send_to(b"ping", server.local_addr()?, |_, _| ()), Err(Errno::EISCONN));
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

/// The callback of a send; it gets the token and the result.
pub(crate) type SendCallback = Box<dyn FnOnce(&Udp, usize, Result<()>)>;

type BatchCallback = Box<dyn FnMut(&Udp, std::result::Result<Batch<'_>, NetworkError>)>;

type DrainedCallback = Callback<dyn FnMut(&Udp)>;

/// The receive callback, in one of its two forms.
pub(crate) enum Receiver {
    /// Datagrams in the loop's memory.
    Batches(BatchCallback),
    /// Buffers of the user.
    Buffers(Box<dyn Buffers>),
}

/// The two callbacks of [`Udp::recv_into_start`], and the buffer that is on its way between them.
pub(crate) trait Buffers {
    /// Asks for a buffer; `false` if there is none, or one without room.
    fn supply(&mut self, udp: &Udp) -> bool;
    /// The memory of the buffer.
    fn memory(&mut self) -> &mut UninitSlice;
    /// Gives the buffer back with an outcome. Does nothing where there is neither a buffer nor an outcome.
    fn give_back(&mut self, udp: &Udp, outcome: Outcome<'_>);
    /// An empty list, whose memory is used again and again.
    fn list(&mut self) -> &mut Vec<RecvMeta>;
}

/// What a send keeps for its completion.
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
    /// Called when the send queue has become empty.
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

    /// The same, with options for a socket that is to be bound.
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

    /// Updates what the poller watches for. The loop retries what the system refuses, and reports it if that takes long.
    fn request_interest(&self) {
        self.socket.request_interest(self.interest());
    }

    /// Active while there is a callback to wait for.
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

    /// Offers the queue once more before the peer changes or the handle closes, and cancels the rest.
    pub(crate) fn flush_or_cancel(&self) {
        let _ = self.with_send(|send, cx| {
            send.flush_or_cancel(cx);
            Ok(())
        });
        self.watch_or_cancel();
    }

    /// Updates what the poller watches for. If it cannot watch for a writable socket, nothing would end that wait.
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

    /// Calls the callbacks of the sends that are completed by now.
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
                Receiver::Batches(callback) => {
                    let callback = &mut |received: std::result::Result<Batch<'_>, _>| {
                        callback(&udp, received);
                    };
                    // Free: no callback runs inside another one's.
                    let memory = self.shared.recv.borrow_mut();
                    recv.receive(cx, &mut LoopMemory { memory, callback }, reason);
                }
                Receiver::Buffers(buffers) => {
                    let buffers = &mut BoundBuffers {
                        udp: &udp,
                        buffers: &mut **buffers,
                    };
                    recv.receive(cx, &mut UserMemory::new(buffers), reason);
                }
            });
        });
    }

    /// Ends the use of a closing handle, once, whoever closed it.
    pub(crate) fn end(&self) {
        if self.state.get() != State::Closed {
            self.flush_or_cancel();
            self.state.set(State::Closed);
            self.release();
        }
    }

    /// Drops everything that may not be called or delivered any more, and closes the socket.
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

/// The user's buffers, with the handle that their callbacks get.
struct BoundBuffers<'a> {
    udp: &'a Udp,
    buffers: &'a mut dyn Buffers,
}

impl UserBuffers for BoundBuffers<'_> {
    fn supply(&mut self) -> bool {
        self.buffers.supply(self.udp)
    }

    fn memory(&mut self) -> &mut UninitSlice {
        self.buffers.memory()
    }

    fn give_back(&mut self, outcome: Outcome<'_>) {
        self.buffers.give_back(self.udp, outcome);
    }

    fn list(&mut self) -> &mut Vec<RecvMeta> {
        self.buffers.list()
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

/// Schedules the completions that are left after a phase, also after a panic in it.
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
            // An error queue that is not empty makes the socket look writable, too.
            self.with_recv(RecvState::drain_error_queue);
            self.flush();
        }
        // A scheduled phase of receiving comes right after the reports.
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

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udp")
            .field("state", &self.inner.state.get())
            .field("handle", &self.inner.handle)
            .finish()
    }
}
