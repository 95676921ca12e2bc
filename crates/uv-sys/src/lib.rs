//! Typed, safe datagram syscalls.
//!
//! The standard library sends and receives one datagram per call and says nothing about what else came with it. This
//! crate adds the rest: batches (sendmmsg(2), recvmmsg(2)), segmentation and receive offload, control messages, the
//! error queue, every socket option that a datagram socket has a use for, and connecting and *disconnecting*.
//!
//! The one surprise: **no function here waits**, whatever the mode of the descriptor. What cannot be done at once is
//! [`Errno::EAGAIN`]. Waiting is the business of a poller: your runtime's or, with the feature `poller`, [`Poller`].
//!
//! Functions take `impl AsFd`, so they serve a `std::net::UdpSocket`, a tokio or mio socket and an `OwnedFd` alike.
//! They return [`Result<T>`], whose error is an [`Errno`]: a number that prints its name.

#[macro_use]
mod errno;
mod addr;
mod capabilities;
mod cmsg;
mod error_queue;
#[cfg(feature = "fault-injection")]
pub mod fault;
mod multicast;
mod options;
mod payload;
#[cfg(feature = "poller")]
mod poller;
mod receive;
mod send;
mod socket;
mod sys;
mod transmit;

pub use addr::Family;
pub use capabilities::{Capabilities, capabilities};
pub use cmsg::{ControlEncoder, ControlMessage, ControlMessages};
pub use errno::{Errno, Result};
pub use error_queue::{ErrorOrigin, ExtendedError, QueuedError, recv_error};
pub use multicast::*;
pub use options::*;
pub use payload::{MAX_DATAGRAM, MAX_SLICES, Payload};
#[cfg(feature = "poller")]
pub use poller::{Interest, PollEvent, PollEvents, Poller, Registration};
pub use receive::{Metadata, Received, RecvBatch, RecvOptions, recvmsg, recvmsg_with_control};
pub use send::{SendBatch, sendmsg, sendmsg_with_control};
pub use socket::*;
pub use transmit::{Ecn, PacketInfo, Transmit};
