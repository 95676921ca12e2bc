//! The UDP handle: its state, its public calls, and its turns on the loop.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::{Rc, Weak};

use uv_core::{Handle, Loop, Phase, PollSource, Source};
use uv_sys::{Errno, Family, Interest, Result};

use crate::defaults::Defaults;
use crate::errors::NetworkError;
use crate::policy::{Plan, State};
use crate::predictor::ReadReason;
use crate::receiving::Receiver;
use crate::sender::UdpSender;
use crate::sending::Sender;
use crate::settings::Settings;
use crate::shared::Shared;
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

/// What most handles never need: the memory for it comes with its first use, so that many idle handles need little.
pub(crate) type LazyBox<T> = OnceCell<Box<T>>;

pub(crate) struct Inner {
    pub(crate) handle: Handle,
    pub(crate) state: Cell<State>,
    pub(crate) socket: RefCell<Option<Rc<PollSource>>>,
    /// The local address to go back to when a disconnect lost it, with the port that was asked for.
    pub(crate) bound_to: Cell<Option<SocketAddr>>,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) settings: LazyBox<Settings>,
    pub(crate) defaults: LazyBox<Defaults>,
    pub(crate) stats: Stats,
    pub(crate) shared: Rc<Shared>,
    close_callback: RefCell<Option<CloseCallback>>,
    data: RefCell<Option<Rc<dyn Any>>>,
}

/// The life of a handle.
impl Udp {
    /// A handle without a socket.
    #[doc(alias = "uv_udp_init")]
    pub fn new(event_loop: &Loop) -> Self {
        let shared = event_loop.local(Shared::new);
        let inner = Rc::new_cyclic(|this: &Weak<Inner>| Inner {
            handle: Handle::new(event_loop, this.clone()),
            state: Cell::new(State::NoSocket),
            socket: RefCell::new(None),
            bound_to: Cell::new(None),
            sender: Sender::new(shared.pool()),
            receiver: Receiver::new(),
            settings: LazyBox::new(),
            defaults: LazyBox::new(),
            stats: Stats::default(),
            shared,
            close_callback: RefCell::new(None),
            data: RefCell::new(None),
        });
        Self { inner }
    }

    /// Closes the handle and its socket. What is queued is offered to the kernel once more; what it does not take completes
    /// with `ECANCELED`. The receive callback is not called again. `callback` runs after the last completion, in the
    /// closing phase of the loop, never inside this call.
    ///
    /// # Errors
    ///
    /// `EBADF` when the handle is closed already; `callback` is then dropped.
    #[doc(alias = "uv_close")]
    pub fn close(&self, callback: impl FnOnce(&Udp) + 'static) -> Result<()> {
        let inner = &self.inner;
        inner.handle.close()?;
        *inner.close_callback.borrow_mut() = Some(Box::new(callback));
        inner.end();
        Ok(())
    }

    /// Gives the handle something to keep for its callbacks, in the place of what it had.
    ///
    /// A callback that captures nothing costs no allocation: what a send's callback needs can be kept here instead. It
    /// is dropped when the handle is closed or dropped.
    ///
    /// ```
    /// use std::cell::Cell;
    /// use std::rc::Rc;
    /// use uv_udp::{Loop, RunMode, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// let sent = Rc::new(Cell::new(0_u32));
    /// udp.set_data(Some(sent.clone()));
    /// udp.send_to(b"x", "127.0.0.1:9".parse().unwrap(), |udp, _| {
    ///     let sent: Rc<Cell<u32>> = udp.data().unwrap();
    ///     sent.set(sent.get() + 1);
    /// })?;
    /// event_loop.run(RunMode::Default)?;
    /// assert_eq!(sent.get(), 1);
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    #[doc(alias = "uv_handle_set_data")]
    pub fn set_data(&self, data: Option<Rc<dyn Any>>) {
        // Dropped after the borrow: it may use this handle when it goes.
        let old = self.inner.data.replace(data);
        drop(old);
    }

    /// What [`set_data`](Self::set_data) gave the handle, if that is a `T`.
    #[doc(alias = "uv_handle_get_data")]
    #[inline]
    pub fn data<T: Any>(&self) -> Option<Rc<T>> {
        let data = self.inner.data.borrow().clone()?;
        data.downcast().ok()
    }

    /// The end of this handle that other threads may hold. It keeps neither the handle nor its loop alive: hold the `Udp`
    /// while they use it, and what [`UdpSender::keep_alive`] answers.
    ///
    /// # Errors
    ///
    /// `EBADF`, see the type.
    pub fn sender(&self) -> Result<UdpSender> {
        self.inner.handle.check_open()?;
        let event_loop = self.event_loop().ok_or(Errno::EBADF)?;
        Ok(UdpSender::new(event_loop.proxy(), self.inner.handle.id()?))
    }

    /// The number of the handle's descriptor, for system calls that this crate does not wrap. It is the handle's until that is
    /// closed: do not close it. [`with_fd`](Self::with_fd) lends it in safe code.
    ///
    /// An IPv6 handle that disconnects gets another socket, under the same number (where `RLIMIT_NOFILE` was lowered below it,
    /// under another): what only the old socket knew of is gone, as a registration in another epoll instance, and options that
    /// this crate has no name for.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    #[doc(alias = "uv_fileno")]
    pub fn fileno(&self) -> Result<RawFd> {
        self.inner.handle.check_open()?;
        self.inner.forget_tos();
        Ok(self.inner.socket()?.as_fd().as_raw_fd())
    }
}

uv_core::handle_methods!(Udp, inner.handle);

/// Addresses.
impl Udp {
    /// Binds to a local address; port 0 lets the kernel choose one.
    ///
    /// From now on anybody can send to the handle. What arrives before [`connect`](Self::connect) and is not from the peer is
    /// dropped there, and counted in [`Counters::strangers`](crate::Counters::strangers): to receive it, start receiving and run
    /// the loop first.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the handle has a local address already: from `bind`, `connect`, `send_to` or `recv_start`.
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES` as in bind(2); the handle is then as before.
    #[doc(alias = "uv_udp_bind")]
    pub fn bind(&self, address: SocketAddr) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().bind(address)?;
        self.inner.execute(plan)
    }

    /// Connects to a peer: from here on the handle sends to it alone, and delivers only its datagrams.
    ///
    /// What others sent before, since the handle was bound, is dropped without a callback, also if it arrived while the handle
    /// was meant to receive from everybody: [`Counters::strangers`](crate::Counters::strangers) counts it. That suits a client; a
    /// server that connects a socket on its own address drops what other clients sent to that socket in between.
    ///
    /// A handle that was bound to the wildcard address has one address while it is connected. Other sockets, also of other
    /// users, can bind its port on this host's other addresses then, and an IPv6 handle's port for IPv4; disconnecting and
    /// connecting anew are `EADDRINUSE` where that happened.
    ///
    /// Nothing is sent. A connected handle disconnects first, and keeps its local port: see
    /// [`disconnect`](Self::disconnect). If connecting then fails, the handle is unconnected; if disconnecting does, it is as
    /// `disconnect` leaves it. Sends accepted for other destinations are offered to the kernel once more; what it does not take
    /// completes with `ECANCELED`. Errors about datagrams for the former peer are heard no more, but for full reports, which
    /// say whom they are about ([`set_recv_errors`](Self::set_recv_errors)); [`counters`](Self::counters) counts them all.
    ///
    /// # Errors
    ///
    /// `EINVAL` for port 0; `EAFNOSUPPORT` for an IPv6 peer on an IPv4 socket, or the reverse; `ENETUNREACH`, `EACCES`,
    /// `EADDRNOTAVAIL` and others as in connect(2).
    #[doc(alias = "uv_udp_connect")]
    pub fn connect(&self, peer: SocketAddr) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().connect(peer)?;
        self.inner.flush_or_cancel();
        self.inner.execute(plan)
    }

    /// Dissolves the connection and keeps the local address. Nobody can take the port meanwhile: where the kernel would give it
    /// up, a second socket has it. Only a process of the same user that sets `SO_REUSEPORT` can join it, in the moment in which
    /// one of the two sockets binds, or while a process that was just forked has a copy of the former socket; and before Linux 3.9 also other users, with `SO_REUSEADDR`. A socket that belongs to another
    /// user than the process, adopted or older than a setuid(2), needs `CAP_CHOWN` for that: without it the port is free for a
    /// moment with IPv6, and with IPv4 if the kernel chose it. See [`owner`](uv_sys::owner).
    ///
    /// Sends that are queued are offered to the kernel once more;
    /// what it does not take completes with `ECANCELED`. Errors about datagrams for the former peer are heard no more, as after
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when the handle has no peer. Where the kernel refuses to let go of the peer, its error: the handle stays
    /// connected. After any other error the handle is unconnected, as [`is_connected`](Self::is_connected) tells, and something
    /// was not kept: `EADDRINUSE` for the local port if another socket took it, `EACCES` for a privileged one; `ENODEV`, `EPERM`
    /// for the device; `ENODEV` for a group whose interface is gone. An IPv6 handle needs another socket (`EMFILE`, `ENFILE`,
    /// `ENOBUFS`, `ENOMEM`, `EPERM` for a mark or a priority whose privilege is gone, and `ENODEV` for a multicast interface that
    /// is): without it it keeps the old one, which hears the former peer's address alone.
    #[doc(alias = "uv_udp_disconnect")]
    pub fn disconnect(&self) -> Result<()> {
        self.inner.handle.check_open()?;
        let plan = self.inner.state.get().disconnect()?;
        self.inner.flush_or_cancel();
        self.inner.execute(plan)
    }

    /// The local address.
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    #[doc(alias = "uv_udp_getsockname")]
    pub fn local_addr(&self) -> Result<SocketAddr> {
        self.inner.handle.check_open()?;
        uv_sys::local_addr(&*self.inner.socket()?)
    }

    /// The peer that the handle is connected to, as the kernel names it: a connect to the wildcard address is one to
    /// loopback.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` when the handle has no peer.
    #[doc(alias = "uv_udp_getpeername")]
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        self.inner.handle.check_open()?;
        self.inner.state.get().peer()
    }

    /// Whether the handle has a peer.
    pub fn is_connected(&self) -> bool {
        self.inner.state.get().is_connected()
    }
}

impl Inner {
    /// The socket.
    pub(crate) fn socket(&self) -> Result<Rc<PollSource>> {
        self.socket.borrow().clone().ok_or(Errno::EBADF)
    }

    /// Does what the policy says, and tells the state of each step that was done.
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
        if let Some(family) = plan.create {
            // A new socket becomes the handle's only when all of it worked: a failed first call changes nothing.
            let fd = uv_sys::socket(family)?;
            options(fd.as_fd())?;
            let state = self.bind_and_connect(&fd, family, plan)?;
            return self.adopt(fd, state).map_err(|(errno, _)| errno);
        }
        let Some(family) = self.state.get().family() else {
            return Ok(());
        };
        if plan.disconnect {
            let disconnected = self.disconnect_socket(family, plan.connect.is_some());
            if self.state.get().peer().is_err() {
                self.forget_errors();
            }
            disconnected?;
        }
        if plan.bind.is_none() && plan.connect.is_none() {
            return Ok(());
        }
        let socket = self.socket()?;
        options(socket.as_fd())?;
        let result = self.bind_and_connect(&*socket, family, plan);
        match result {
            Ok(state) => self.set_state(state),
            Err(_) if plan.disconnect => self.forget_old_peer(family),
            Err(_) => {}
        }
        result.map(drop)
    }

    /// Binds and connects `fd` as planned, and says what state it is in then.
    fn bind_and_connect(&self, fd: impl AsFd, family: Family, plan: Plan) -> Result<State> {
        if let Some(address) = plan.bind {
            uv_sys::bind(&fd, &address)?;
            self.bound_to.set(Some(address));
        }
        let Some(peer) = plan.connect else {
            return Ok(State::Unconnected {
                family,
                bound: plan.bind.is_some(),
            });
        };
        uv_sys::connect(&fd, &peer)?;
        Ok(State::Connected {
            family,
            peer: uv_sys::peer_addr(&fd)?,
        })
    }

    /// Makes `fd` the handle's socket, or returns it with the error.
    pub(crate) fn adopt(
        &self,
        fd: OwnedFd,
        state: State,
    ) -> std::result::Result<(), (Errno, OwnedFd)> {
        let socket = self.handle.register(fd)?;
        self.receiver.prepare(&socket);
        *self.socket.borrow_mut() = Some(Rc::new(socket));
        self.set_state(state);
        Ok(())
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.set(state);
        self.receiver.peer_changed(state.peer().ok());
        self.learn_segments_anew();
    }

    /// What the poller should watch for, if that is another interest than before.
    fn new_interest(&self) -> Option<(Rc<PollSource>, Interest)> {
        let socket = self.socket().ok()?;
        let mut interest = Interest::NONE;
        interest.set(Interest::READABLE, self.receiver.is_watched());
        interest.set(Interest::WRITABLE, self.sender.is_blocked());
        (socket.interest() != interest).then_some((socket, interest))
    }

    /// Has the poller watch for what the handle waits for.
    pub(crate) fn update_interest(&self) -> Result<()> {
        self.new_interest()
            .map_or(Ok(()), |(socket, interest)| socket.set_interest(interest))
    }

    /// The same where nobody takes an error: the loop tries until it is done, and reports it if that takes long.
    pub(crate) fn request_interest(&self) {
        if let Some((socket, interest)) = self.new_interest() {
            // A handle that is closing needs none.
            let _ = socket.request_interest(interest);
        }
    }

    /// Active while there is a callback to wait for.
    pub(crate) fn update_active(&self) {
        self.handle
            .set_active(self.receiver.is_started() || self.sender.queue().count() > 0);
    }

    /// Ends the use of a handle that is closing, once, whoever closed it.
    fn end(&self) {
        if self.state.get() != State::Closed {
            self.flush_or_cancel();
            self.state.set(State::Closed);
            self.release();
        }
    }

    /// Lets go of the socket and of all that may not be called or delivered any more.
    fn release(&self) {
        self.receiver.release();
        self.rest(false);
        if let Some(defaults) = self.defaults.get() {
            defaults.release();
        }
        drop(self.socket.take());
    }
}

impl Source for Inner {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, readiness: Interest) {
        if readiness.contains(Interest::WRITABLE) && self.sender.unblock() {
            // What is in the error queue makes the socket look writable, too.
            self.empty_error_queue();
            self.flush();
        }
        // A turn of receiving that is scheduled comes right after the reports.
        if readiness.contains(Interest::READABLE) && self.waits_for_poller() {
            self.receive(ReadReason::Ready);
        }
    }

    fn interest_refused(self: Rc<Self>, error: Errno) {
        self.cancel_blocked(error);
        if self.receiver.is_started() {
            self.tell(NetworkError::new(error));
        }
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        match phase {
            Phase::Completions => self.complete(),
            Phase::Flush => self.flush(),
            Phase::Dispatch => self.receive(ReadReason::Scheduled),
            Phase::Speculative => self.receive(ReadReason::Speculative),
            Phase::Deadline => {
                self.sender.end_pause();
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
                self.sender.abandon();
                self.release();
                drop(self.close_callback.take());
                drop(self.data.take());
            }
            Phase::Hook => {}
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
