//! Scripted failures, so that the crates above can test what they do about errors that a healthy kernel never gives.
//!
//! A script is a queue of steps per [`Call`], of the calling thread alone. Each syscall of that kind takes one step;
//! without one it does what it always does. A [`Feature`] can be taken away from the kernel, for the calling thread too, as if
//! it were an older one. Exists only under the feature `fault-injection`.
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

/// A syscall that can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Call {
    /// [`sendmsg`](super::message::sendmsg), by whatever syscall, and [`SendBatch::send`](crate::SendBatch::send) of one message.
    Sendmsg,
    /// [`SendBatch::send`](crate::SendBatch::send) of two messages or more.
    Sendmmsg,
    /// [`recvmsg`](super::message::recvmsg), by whatever syscall, and [`RecvBatch::recv`](crate::RecvBatch::recv) with a `max` of 1.
    Recvmsg,
    /// [`RecvBatch::recv`](crate::RecvBatch::recv) with a `max` of 2 or more.
    Recvmmsg,
    /// [`connect`](super::socket::connect) and [`disconnect`](super::socket::disconnect).
    Connect,
    /// [`bind`](super::socket::bind).
    Bind,
    /// `Poller::wait`, each time that it asks the kernel. `EINTR` is a signal.
    EpollWait,
    /// `Poller::register` and `Registration::set_interest`, but for an interest in nothing.
    EpollCtl,
}

const CALLS: usize = 8;

/// What a kernel may lack: each but the last is a field of [`Capabilities`](crate::Capabilities).
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

/// What happens to one syscall.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing: it is made.
    Pass,
    /// It is not made, and this is its error.
    Errno(Errno),
    /// It is made for the first so many messages only, but at least one. For the calls that move one: as `Pass`.
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

/// Adds `plan` to the steps that this thread's calls of this kind have yet to take.
pub fn script(call: Call, plan: impl IntoIterator<Item = Fault>) {
    // Collected first: the iterator is the caller's code, and may itself come here.
    let plan: Vec<Fault> = plan.into_iter().collect();
    STATE.with_borrow_mut(|state| state.script[call as usize].extend(plan));
}

/// Takes these features away from the kernel, for this thread's calls, and gives back those that were taken before: their
/// options answer `ENOPROTOOPT`, and [`capabilities`](super::capabilities()) finds them out anew in each call.
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

/// Forgets all of this thread's steps, and gives back what [`lack`] took away. The counts of [`calls`] go on.
pub fn clear() {
    STATE.with_borrow_mut(|state| {
        state.script.iter_mut().for_each(VecDeque::clear);
        state.lacking.clear();
    });
}

/// Whether anything was taken away.
pub(crate) fn lacks_something() -> bool {
    STATE.with_borrow(|state| !state.lacking.is_empty())
}

/// `ENOPROTOOPT` for an option of a feature that was taken away.
pub(crate) fn option(feature: Option<Feature>) -> Result<()> {
    match feature {
        Some(feature) if STATE.with_borrow(|state| state.lacking.contains(&feature)) => {
            Err(Errno::ENOPROTOOPT)
        }
        _ => Ok(()),
    }
}

/// How many syscalls of this kind this thread has asked for so far, those that were made to fail included.
#[must_use]
pub fn calls(call: Call) -> usize {
    STATE.with_borrow(|state| state.calls[call as usize])
}

/// Runs `child` in a forked process, waits until that ends, and gives its exit code: 0 when `child` returned, 1 when it
/// panicked. `None` when a signal ended it.
///
/// # Errors
///
/// `EBUSY` when this process has several threads: the child would have one, and the locks of all. `EAGAIN`, `ENOMEM` as in
/// [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html).
pub fn in_child(child: impl FnOnce()) -> Result<Option<i32>> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(Errno::EBUSY);
    }
    crate::sys::fork::in_child(child)
}

/// Counts a call and takes its step: the error, or the most messages that it may move.
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
