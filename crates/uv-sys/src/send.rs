//! Sending: one message, or a batch of them.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::cmsg::ControlEncoder;
use crate::errno::Result;
use crate::payload::Payload;
use crate::sys::{send as sys, send_batch::Scratch};
use crate::transmit::Transmit;

/// Sends one message, and returns its length: the kernel sends a datagram whole or not at all.
///
/// With a [`segment_size`](Transmit::segment_size) it may be many datagrams, all of which are sent
/// or none.
///
/// # Errors
///
/// - `EAGAIN`: the socket's send buffer is full. Never waits, in either mode of the descriptor.
/// - `EDESTADDRREQ`: no destination, and the socket is not connected.
/// - `EINVAL`: an empty list of slices, a time to live of 0, too many segments, port 0, an IPv6
///   source address that is not of this host.
/// - `EMSGSIZE`: more than [`MAX_SLICES`](crate::MAX_SLICES) slices, or a datagram larger than the
///   protocol allows or, without fragmentation, than the path.
/// - `EAFNOSUPPORT`: source and destination, or destination and socket, are of different families.
/// - `ENOPROTOOPT`: a [`segment_size`](Transmit::segment_size) or a
///   [`transmit_at`](Transmit::transmit_at) that the kernel does not support.
/// - `EIO`: segmentation on a route whose device cannot compute checksums.
/// - `ENOBUFS`: the device's queue is full; `EACCES`, `EPERM`: a broadcast without
///   [`set_broadcast`](super::option::set_broadcast), a firewall.
/// - `ENETUNREACH`, `EHOSTUNREACH`, `ENETDOWN`: no route, or an IPv4 source address that is not of
///   this host; `ENODEV`: no such interface.
/// - `ECONNREFUSED` and others about an **earlier** datagram: Linux returns a pending ICMP error
///   from the next call, which then sends nothing.
///
/// See [sendmsg(2)](https://man7.org/linux/man-pages/man2/sendmsg.2.html),
/// [udp(7)](https://man7.org/linux/man-pages/man7/udp.7.html).
///
/// ```
/// use std::net::UdpSocket;
/// use uv_sys::Transmit;
/// use uv_sys::message::sendmsg;
///
/// let receiver = UdpSocket::bind("127.0.0.1:0")?;
/// let sender = UdpSocket::bind("127.0.0.1:0")?;
/// let sent = sendmsg(&sender, &Transmit::new("hello").with_destination(receiver.local_addr()?))?;
/// assert_eq!(sent, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "send")]
#[doc(alias = "sendto")]
#[inline]
pub fn sendmsg(fd: impl AsFd, transmit: &Transmit<'_>) -> Result<usize> {
    sys::sendmsg(fd.as_fd(), transmit)
}

/// Sends one datagram with any control messages, including those that [`Transmit`] has no field
/// for.
///
/// # Errors
///
/// Those of [`sendmsg`], except `ENOPROTOOPT`: this function checks nothing. `EINVAL` for unknown
/// control messages of the socket's protocol. The kernel ignores those of other protocols, as one
/// without [`segmentation`](crate::Capabilities::segmentation) ignores a segment size.
///
/// See [sendmsg(2)](https://man7.org/linux/man-pages/man2/sendmsg.2.html),
/// [cmsg(3)](https://man7.org/linux/man-pages/man3/cmsg.3.html).
///
/// ```
/// use std::net::UdpSocket;
/// use uv_sys::{ControlEncoder, Family};
/// use uv_sys::message::sendmsg_with_control;
///
/// let socket = UdpSocket::bind("127.0.0.1:0")?;
/// let mut buffer = [0; ControlEncoder::space(4)];
/// let mut control = ControlEncoder::new(&mut buffer);
/// control.tos(Family::V4, 46 << 2)?;
/// sendmsg_with_control(&socket, "urgent", Some(socket.local_addr()?), &control)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias = "sendmsg")]
pub fn sendmsg_with_control<'a>(
    fd: impl AsFd,
    payload: impl Into<Payload<'a>>,
    destination: Option<SocketAddr>,
    control: &ControlEncoder<'_>,
) -> Result<usize> {
    sys::send_with(
        fd.as_fd(),
        payload.into(),
        destination.as_ref(),
        control.as_bytes(),
    )
}

/// Sends up to [`SendBatch::MAX`] messages with one system call.
///
/// It holds only the reusable memory of the call's arguments (about 24 KiB).
///
/// ```
/// use std::net::UdpSocket;
/// use uv_sys::{SendBatch, Transmit};
///
/// let receiver = UdpSocket::bind("[::1]:0")?;
/// let sender = UdpSocket::bind("[::1]:0")?;
/// let to = receiver.local_addr()?;
/// let mut batch = SendBatch::new();
/// let sent = batch.send(&sender, ["one", "two"].map(|text| Transmit::new(text).with_destination(to)))?;
/// assert_eq!(sent, 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SendBatch {
    scratch: Scratch,
}

impl SendBatch {
    /// The maximum number of messages per call.
    pub const MAX: usize = 64;

    /// Makes a batch, and allocates its memory.
    #[must_use]
    pub fn new() -> SendBatch {
        SendBatch {
            scratch: Scratch::new(Self::MAX),
        }
    }

    /// Sends the messages in order, and returns how many the kernel sent.
    ///
    /// Reads at most [`MAX`](Self::MAX) messages from the iterator, and none after the first
    /// invalid one. After fewer than given, send the next one again: that call returns its error,
    /// if it has one. One message is one sendmsg(2); no message is `Ok(0)` without a system call.
    /// After sendmmsg(2) was refused (`ENOSYS`, or `EPERM` from a sandbox), each message is one
    /// sendmsg(2).
    ///
    /// # Errors
    ///
    /// Those of [`sendmsg`], for the first message.
    ///
    /// See [sendmmsg(2)](https://man7.org/linux/man-pages/man2/sendmmsg.2.html).
    #[doc(alias = "sendmmsg")]
    #[inline]
    pub fn send<'a>(
        &mut self,
        fd: impl AsFd,
        messages: impl IntoIterator<Item = Transmit<'a>>,
    ) -> Result<usize> {
        let fd = fd.as_fd();
        let (mut filled, mut tos) = (0, None);
        for transmit in messages.into_iter().take(Self::MAX) {
            match self.scratch.fill(fd, filled, &transmit, &mut tos) {
                Ok(()) => filled += 1,
                Err(errno) if filled == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        // SAFETY: `fill` filled the first `filled` messages, whose payloads live for 'a, longer
        // than this call.
        unsafe { self.scratch.send(fd, filled) }
    }
}

impl Default for SendBatch {
    fn default() -> SendBatch {
        SendBatch::new()
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch").finish_non_exhaustive()
    }
}
