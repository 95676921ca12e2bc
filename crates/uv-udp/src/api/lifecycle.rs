//! The life of a handle.

use std::any::Any;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;

use uv_core::Loop;
use uv_sys::{Errno, Result};

use crate::handle::{Inner, Udp};
use crate::sender::UdpSender;
use crate::stats::Counters;

/// The life of a handle.
impl Udp {
    /// A handle without a socket.
    #[doc(alias = "uv_udp_init")]
    pub fn new(event_loop: &Loop) -> Self {
        let inner = Inner::new(event_loop);
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
        self.inner.send.forget_tos();
        Ok(self.inner.socket.get()?.as_fd().as_raw_fd())
    }

    /// What the handle has done so far. Also after it was closed.
    ///
    /// ```
    /// use uv_udp::{Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// udp.try_send_to(b"hello", udp.local_addr()?)?;
    /// let counters = udp.counters();
    /// assert_eq!((counters.datagrams_sent, counters.bytes_sent, counters.send_calls), (1, 5, 1));
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.inner.stats.counters()
    }

    /// Lends the handle's descriptor for what this crate does not wrap: options of other crates, filters. To read, write, bind
    /// or connect is the handle's own business, and so is the error queue, which it empties. The socket may be another one after
    /// `disconnect`, to which only the options are copied that this crate knows. A TOS byte that is set by a copy of the
    /// descriptor, after this call, is not in datagrams which have [ECN bits](crate::Transmit::with_ecn) of their own.
    ///
    /// ```
    /// use uv_udp::{Loop, Udp};
    ///
    /// let event_loop = Loop::new()?;
    /// let udp = Udp::new(&event_loop);
    /// udp.bind("127.0.0.1:0".parse().unwrap())?;
    /// let copy = udp.with_fd(|fd| fd.try_clone_to_owned())?.unwrap();
    /// # Ok::<(), uv_udp::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EBADF` also while there is no socket yet.
    #[doc(alias = "uv_fileno")]
    #[doc(alias = "AsFd")]
    pub fn with_fd<T>(&self, with: impl FnOnce(BorrowedFd<'_>) -> T) -> Result<T> {
        let result = self.inner.with_socket(|socket| Ok(with(socket.as_fd())));
        self.inner.send.forget_tos();
        result
    }
}

uv_core::handle_methods!(Udp, inner.handle);
