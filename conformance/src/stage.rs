//! The stage of one check: a loop, handles on it, and waits that fail instead of hanging.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use uv_udp::{Errno, Family, Loop, RunMode, Timer, Transmit, Udp};

use crate::raw::{DEADLINE, DEFAULT_BUFFER, Raw, loopback};
use crate::verdict::{Broken, Verdict, ensure};

/// The loop of a rule, its address family and its notes.
pub(crate) struct Stage {
    pub(crate) event_loop: Loop,
    pub(crate) family: Family,
    notes: RefCell<Vec<String>>,
}

impl Stage {
    pub(crate) fn new(family: Family) -> Result<Self, Broken> {
        Ok(Self {
            event_loop: Loop::new()?,
            family,
            notes: RefCell::default(),
        })
    }

    /// Adds a note to the report.
    pub(crate) fn note(&self, what: impl fmt::Display) {
        self.notes.borrow_mut().push(what.to_string());
    }

    pub(crate) fn notes(&self) -> String {
        self.notes.borrow().join(", ")
    }

    /// The loopback address with a port of the kernel's choice.
    pub(crate) fn loopback(&self) -> SocketAddr {
        loopback(self.family)
    }

    /// The loopback address of the other family.
    pub(crate) fn other_loopback(&self, port: u16) -> SocketAddr {
        let other = match self.family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        SocketAddr::new(loopback(other).ip(), port)
    }

    /// The wildcard address with a port of the kernel's choice.
    pub(crate) fn wildcard(&self) -> SocketAddr {
        SocketAddr::new(self.family.unspecified(), 0)
    }

    /// A raw socket on loopback.
    pub(crate) fn raw(&self) -> io::Result<Raw> {
        Raw::bind(self.loopback())
    }

    /// A handle without a socket.
    pub(crate) fn udp(&self) -> Udp {
        Udp::new(&self.event_loop)
    }

    /// A handle on loopback.
    pub(crate) fn bound(&self) -> Result<Udp, Broken> {
        let udp = self.udp();
        udp.bind(self.loopback())?;
        with_default_buffers(udp)
    }

    /// A handle at the wildcard address.
    pub(crate) fn bound_to_wildcard(&self) -> Result<Udp, Broken> {
        let udp = self.udp();
        udp.bind(self.wildcard())?;
        with_default_buffers(udp)
    }

    /// A handle that is connected to `peer`.
    pub(crate) fn connected(&self, peer: SocketAddr) -> Result<Udp, Broken> {
        let udp = self.udp();
        udp.connect(peer)?;
        with_default_buffers(udp)
    }

    /// Runs the loop until something holds. `what` names it, as in "the send completes".
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) -> Verdict {
        let late = self.deadline()?;
        while !holds() {
            ensure!(
                !late.expired.get(),
                "within {DEADLINE:?} it was not so that {what}"
            );
            self.event_loop.run(RunMode::Once)?;
        }
        Ok(())
    }

    /// Calls run once, until nothing keeps the loop alive or a callback stops it.
    #[track_caller]
    pub(crate) fn to_the_end(&self) -> Verdict {
        let late = self.deadline()?;
        late.timer.unreference();
        self.event_loop.run(RunMode::Default)?;
        ensure!(
            !late.expired.get(),
            "the loop did not come to an end within {DEADLINE:?}"
        );
        Ok(())
    }

    /// Sends a whole batch with `try_transmit_batch`. After EAGAIN the loop runs, and the rest is
    /// offered again.
    pub(crate) fn send_batch(&self, udp: &Udp, batch: &[Transmit<'_>]) -> Verdict {
        let (mut sent, began) = (0, Instant::now());
        while sent < batch.len() {
            ensure!(began.elapsed() < DEADLINE, "{sent} of {} went", batch.len());
            match udp.try_transmit_batch(&batch[sent..]) {
                Ok(0) => return Err(Broken::new("none went, and no error says why")),
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => self.a_little_longer()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Runs some more iterations, to find unexpected callbacks.
    pub(crate) fn a_little_longer(&self) -> Verdict {
        for _ in 0..50 {
            self.event_loop.run(RunMode::NoWait)?;
        }
        Ok(())
    }

    /// Runs the loop for this long, by its own clock.
    pub(crate) fn for_a_while(&self, duration: Duration) -> Verdict {
        let over = Rc::new(Cell::new(false));
        let (timer, set) = (Timer::new(&self.event_loop), Rc::clone(&over));
        timer.start(duration, Duration::ZERO, move |_| set.set(true))?;
        self.until("a timer fires", || over.get())
    }

    fn deadline(&self) -> Result<Deadline, Errno> {
        let (timer, expired) = (Timer::new(&self.event_loop), Rc::new(Cell::new(false)));
        let (set, event_loop) = (Rc::clone(&expired), self.event_loop.clone());
        timer.start(DEADLINE, Duration::ZERO, move |_| {
            set.set(true);
            event_loop.stop();
        })?;
        Ok(Deadline { timer, expired })
    }
}

/// A timer that ends a wait. Its callback holds the loop: it must not outlive the wait.
struct Deadline {
    timer: Timer,
    expired: Rc<Cell<bool>>,
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The callback holds the loop, so the timer is open.
        let _ = self.timer.stop();
    }
}

/// Gives a handle the default buffers, independent of net.core.rmem_default and
/// net.core.wmem_default.
fn with_default_buffers(udp: Udp) -> Result<Udp, Broken> {
    udp.options().set_recv_buffer_size(DEFAULT_BUFFER)?;
    udp.options().set_send_buffer_size(DEFAULT_BUFFER)?;
    Ok(udp)
}
