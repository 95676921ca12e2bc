//! Scripted failures of system calls, for tests of errors that a healthy kernel never returns.
//!
//! A script is a queue of [`Fault`]s per [`Call`], in one thread. Each system call of that kind
//! consumes one fault; without one it is made as usual. [`lack`] hides [`Feature`]s of the kernel,
//! also in one thread.
//!
//! The Cargo feature `fault-injection` only adds this module and a check per system call. It
//! changes nothing for threads that call no function of this module, so crates that share a build
//! with such tests behave as before.
//!
//! ```
//! use std::net::UdpSocket;
//! use uv_sys::fault::{self, Call, Fault};
//! use uv_sys::{Errno, Transmit};
//! use uv_sys::message::sendmsg;
//!
//! let socket = UdpSocket::bind("127.0.0.1:0")?;
//! let message = Transmit::new("hello").with_destination(socket.local_addr()?);
//! fault::script(Call::Sendmsg, [Fault::Pass, Fault::Errno(Errno::ENOBUFS)]);
//! assert_eq!(sendmsg(&socket, &message), Ok(5));
//! assert_eq!(sendmsg(&socket, &message), Err(Errno::ENOBUFS));
//! assert_eq!(sendmsg(&socket, &message), Ok(5));
//! assert_eq!(fault::calls(Call::Sendmsg), 3);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::errno::{Errno, Result};

/// A system call that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Call {
    /// [`sendmsg`](super::message::sendmsg), by any system call, and
    /// [`SendBatch::send`](crate::SendBatch::send) of one message.
    Sendmsg,
    /// [`SendBatch::send`](crate::SendBatch::send) of two messages or more.
    Sendmmsg,
    /// [`recvmsg`](super::message::recvmsg), by any system call, and
    /// [`RecvBatch::recv`](crate::RecvBatch::recv) with a `max` of 1.
    Recvmsg,
    /// [`RecvBatch::recv`](crate::RecvBatch::recv) with a `max` of 2 or more.
    Recvmmsg,
    /// [`connect`](super::socket::connect) and [`disconnect`](super::socket::disconnect).
    Connect,
    /// [`bind`](super::socket::bind).
    Bind,
    /// Each system call of `Poller::wait`. `EINTR` simulates a signal.
    EpollWait,
    /// `Poller::register` and `Registration::set_interest`, except with an empty interest.
    EpollCtl,
}

const CALLS: usize = 8;

/// A feature that a kernel may lack. All but the last are fields of
/// [`Capabilities`](crate::Capabilities).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Feature {
    /// `UDP_SEGMENT`.
    Segmentation,
    /// `UDP_GRO`.
    Gro,
    /// `SO_TXTIME`.
    TxTime,
    /// `SO_TIMESTAMPNS`.
    Timestamps,
    /// `SO_RXQ_OVFL`.
    RecvDrops,
    /// `SO_REUSEPORT`, before Linux 3.9.
    ReusePort,
}

/// The outcome of one system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The call is made.
    Pass,
    /// The call returns this error, without being made.
    Errno(Errno),
    /// The call is made for this many messages at most, but at least one. As `Pass` for calls that
    /// move one message.
    Partial(usize),
}

#[derive(Default)]
struct State {
    lacking: Vec<Feature>,
    script: [VecDeque<Fault>; CALLS],
    calls: [usize; CALLS],
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Appends `faults` to this thread's script for `call`.
pub fn script(call: Call, faults: impl IntoIterator<Item = Fault>) {
    // Collected first: the iterator may call functions of this module.
    let faults: Vec<Fault> = faults.into_iter().collect();
    STATE.with_borrow_mut(|state| state.script[call as usize].extend(faults));
}

/// Hides exactly these features of the kernel from this thread: their options return `ENOPROTOOPT`,
/// and [`capabilities`](super::capabilities()) probes again in each call.
///
/// ```
/// use std::net::UdpSocket;
/// use uv_sys::fault::{self, Feature};
/// use uv_sys::{Errno, capabilities};
/// use uv_sys::option::set_gro;
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// fault::lack([Feature::Gro]);
/// assert_eq!(set_gro(&socket, true), Err(Errno::ENOPROTOOPT));
/// assert!(!capabilities().gro);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lack(features: impl IntoIterator<Item = Feature>) {
    let lacking = features.into_iter().collect();
    STATE.with_borrow_mut(|state| state.lacking = lacking);
}

/// Clears this thread's scripts and hidden features. The counts of [`calls`] continue.
pub fn clear() {
    STATE.with_borrow_mut(|state| {
        state.script.iter_mut().for_each(VecDeque::clear);
        state.lacking.clear();
    });
}

/// Whether a feature is hidden.
pub(crate) fn lacks_something() -> bool {
    STATE.with_borrow(|state| !state.lacking.is_empty())
}

/// `ENOPROTOOPT` for an option of a hidden feature.
pub(crate) fn option(feature: Option<Feature>) -> Result<()> {
    match feature {
        Some(feature) if STATE.with_borrow(|state| state.lacking.contains(&feature)) => {
            Err(Errno::ENOPROTOOPT)
        }
        _ => Ok(()),
    }
}

/// The number of this thread's calls of this kind so far, including scripted failures.
#[must_use]
pub fn calls(call: Call) -> usize {
    STATE.with_borrow(|state| state.calls[call as usize])
}

/// Runs `child` in a forked process, waits for its end, and returns its exit code: 0 after a
/// return, 1 after a panic; `None` after a signal.
///
/// # Errors
///
/// `EBUSY` when this process has several threads, whose locks the child would inherit. `EAGAIN`,
/// `ENOMEM` as in [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html).
pub fn in_child(child: impl FnOnce()) -> Result<Option<i32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(Errno::EBUSY);
    }
    crate::sys::fork::in_child(child)
}

/// Counts a call and consumes its fault. Returns the error, or the maximum number of messages.
pub(crate) fn before(call: Call) -> Result<Option<usize>> {
    STATE.with_borrow_mut(|state| {
        state.calls[call as usize] += 1;
        match state.script[call as usize].pop_front() {
            None | Some(Fault::Pass) => Ok(None),
            Some(Fault::Errno(errno)) => Err(errno),
            Some(Fault::Partial(most)) => Ok(Some(most.max(1))),
        }
    })
}
