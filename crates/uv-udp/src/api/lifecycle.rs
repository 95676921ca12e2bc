//! Creating and closing a handle; its data, counters and sender.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use uv_core::Loop;
use uv_sys::{Errno, Result};

use crate::handle::{Inner, Udp};
use crate::sender::UdpSender;
use crate::stats::Counters;

/// Creating, closing, user data, counters.
impl Udp {
    /// Creates a handle without a socket.
    #[must_use = "dropping the last reference closes the handle"]
    #[doc(alias = "uv_udp_init")]
    pub fn new(event_loop: &Loop) -> Self {
        let inner = Inner::new(event_loop);
        Self { inner }
    }

    /// Closes the handle and its socket.
    ///
    /// Pending sends are offered to the kernel once more, and complete with `ECANCELED` if it does
    /// not take them. The receive callback is not called again. The loop calls `callback` after
    /// the last completion, in its closing phase.
    ///
    /// # Errors
    ///
    /// `EBADF` if the handle is closed already; `callback` is dropped.
    #[doc(alias = "uv_close")]
    pub fn close(&self, callback: impl FnOnce(&Udp) + 'static) -> Result<()> {
        let inner = &self.inner;
        inner.handle.close()?;
        *inner.close_callback.borrow_mut() = Some(Box::new(callback));
        inner.end();
        Ok(())
    }

    /// Stores user data in the handle, for its callbacks. Replaces earlier data.
    ///
    /// A callback that captures nothing needs no allocation, and finds its state here. The data is
    /// dropped when the handle is closed or dropped.
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
        // Dropped after the borrow: its destructor may use this handle.
        let old = self.inner.data.replace(data);
        drop(old);
    }

    /// The data of [`set_data`](Self::set_data), if it is a `T`.
    #[must_use]
    #[doc(alias = "uv_handle_get_data")]
    #[inline]
    pub fn data<T: Any>(&self) -> Option<Rc<T>> {
        let data = self.inner.data.borrow().clone()?;
        data.downcast().ok()
    }

    /// Creates a proxy for other threads, which sends through this handle.
    ///
    /// It keeps neither the handle nor its loop alive: keep the `Udp`, and the guard of
    /// [`UdpSender::keep_alive`].
    ///
    /// # Errors
    ///
    /// `EBADF` on a closed handle.
    pub fn sender(&self) -> Result<UdpSender> {
        self.inner.handle.check_open()?;
        let event_loop = self.event_loop().ok_or(Errno::EBADF)?;
        Ok(UdpSender::new(event_loop.proxy(), self.inner.handle.id()?))
    }

    /// A snapshot of the handle's counters, also of a closed handle.
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
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udp")
            .field("state", &self.inner.state.get())
            .field("handle", &self.inner.handle)
            .finish()
    }
}

uv_core::handle_methods!(Udp, inner.handle);
