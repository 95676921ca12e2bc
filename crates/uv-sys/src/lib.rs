//! Typed, safe datagram system calls.
//!
//! The standard library sends and receives one datagram per call, without metadata. This crate adds
//! batches (sendmmsg(2), recvmmsg(2)), segmentation and receive offload, control messages, the
//! error queue, the options of datagram sockets, and connecting and *disconnecting*.
//!
//! The one surprise: **no function here waits**, in either mode of the descriptor. An operation
//! that would block returns [`Errno::EAGAIN`]. Wait with your runtime or, with the feature
//! `poller`, with `Poller`.
//!
//! Functions take `impl AsFd`: a `std::net::UdpSocket`, a tokio or mio socket, an `OwnedFd`. They
//! return [`Result<T>`], whose error is an [`Errno`]: a number that prints its name.
//!
//! | module | contents |
//! | --- | --- |
//! | [`socket`] | creating, binding, connecting, disconnecting; addresses and owner |
//! | [`message`] | sending and receiving one message; [`SendBatch`] and [`RecvBatch`] move many |
//! | [`option`] | socket options |
//! | [`multicast`] | groups and their options |
//! | [`error_queue`] | ICMP errors about sent datagrams |
//!
//! [`Transmit`] describes a message to send, [`Received`] and its [`Metadata`] a received one.
//! [`capabilities()`] returns the features of the running kernel.
//!
//! # Beside a runtime
//!
//! A runtime owns the socket and reports readiness; this crate makes the system calls. With tokio
//! that is `socket.try_io(Interest::READABLE, || Ok(batch.recv(&socket, 64, options)?))`, in which
//! [`Errno::EAGAIN`] becomes the `WouldBlock` that tokio expects. `async_io` also waits for
//! readiness:
//!
//! ```ignore
//! socket.async_io(Interest::READABLE, || Ok(batch.recv(&socket, batch.slots(), options)?)).await?
//! ```
//!
//! With the standard library alone:
//!
//! ```
//! use std::io::IoSliceMut;
//! use std::net::UdpSocket;
//! use uv_sys::{Ecn, Errno, RecvOptions, Transmit};
//! use uv_sys::message::{recvmsg, sendmsg};
//! use uv_sys::option::set_recv_tos;
//!
//! let receiver = UdpSocket::bind("127.0.0.1:0")?;
//! set_recv_tos(&receiver, true)?;
//! let sender = UdpSocket::bind("127.0.0.1:0")?;
//! sendmsg(&sender, &Transmit::new("hello").with_destination(receiver.local_addr()?).with_ecn(Ecn::Ect0))?;
//!
//! let mut bytes = [0; 1_500];
//! let options = RecvOptions::new().with_control(true);
//! let received = recvmsg(&receiver, &mut [IoSliceMut::new(&mut bytes)], options)?;
//! assert_eq!(&bytes[..received.len], b"hello");
//! assert_eq!(received.metadata.tos.map(Ecn::from_tos), Some(Ecn::Ect0));
//! assert_eq!(recvmsg(&receiver, &mut [], options), Err(Errno::EAGAIN));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Features
//!
//! - `poller`: `Poller`, a safe wrapper of the crate `polling`.
//! - `fault-injection`: the module `fault`, for tests. Threads that do not use it are not affected.

mod addr;
mod buffer;
mod capabilities;
mod cmsg;
mod control_message;
mod copy;
mod errno;
pub mod error_queue;
#[cfg(feature = "fault-injection")]
pub mod fault;
pub mod message;
pub mod multicast;
pub mod option;
mod option_value;
mod payload;
#[cfg(feature = "poller")]
mod poll_instance;
#[cfg(feature = "poller")]
mod poller;
mod queued_error;
#[cfg(feature = "poller")]
mod readiness;
mod receive;
mod received;
mod send;
pub mod socket;
mod sys;
mod transmit;
mod transmit_control;

pub use addr::Family;
pub use buffer::{RecvBuffer, UninitSlice};
pub use capabilities::{Capabilities, capabilities};
pub use cmsg::{ControlEncoder, ControlMessages};
pub use control_message::ControlMessage;
pub use copy::copy_options;
pub use errno::{Errno, Result};
pub use option_value::{Interface, PathMtuDiscovery, TxTimeClock};
pub use payload::{MAX_DATAGRAM, MAX_SLICES, Payload};
#[cfg(feature = "poller")]
pub use poll_instance::PollEvents;
#[cfg(feature = "poller")]
pub use poller::{Poller, Registration};
pub use queued_error::{ErrorOrigin, ExtendedError, QueuedError};
#[cfg(feature = "poller")]
pub use readiness::{Interest, PollEvent};
pub use receive::RecvBatch;
pub use received::{Metadata, Received, RecvOptions};
pub use send::SendBatch;
pub use transmit::{Ecn, PacketInfo, Transmit};

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
