//! Connected UDP sockets on an event loop: the system that libuv's enhancement proposal "Connected UDP sockets" describes.
//!
//! A [`Udp`] handle is connected to one peer or not. Connected, it sends with [`send`](Udp::send) and hears only its peer;
//! unconnected, it sends with [`send_to`](Udp::send_to) and hears everybody; the wrong one of the two answers
//! `EDESTADDRREQ` or `EISCONN`. Reconnecting disconnects first and keeps the local port.
//!
//! The surprise first: **a callback never runs inside a call that you make**. `send` and `close` return at once, and their
//! callbacks run from [`Loop::run`], so user code is never re-entered. See [`Udp`] for a first program, and
//! `examples/resolver.rs` for a longer one: a DNS resolver with a timeout and a second server.
//!
//! # What you can rely on
//!
//! 1. Every accepted send completes exactly once, in the order of acceptance; on close with `ECANCELED` at worst, before
//!    the close callback. A call that returns an error accepted nothing.
//! 2. Datagrams leave a handle in the order of acceptance; [`try_send`](Udp::try_send) never overtakes.
//! 3. A datagram goes to the peer that it was accepted for, or nowhere.
//! 4. A connected handle delivers its peer's datagrams only, also of those that arrived before it was connected.
//! 5. The local address survives disconnecting and reconnecting, or the error says why it did not.
//! 6. A network error about one datagram does not cost another: the next one still goes out, and the receive callback gets
//!    the error as a [`NetworkError`].
//! 7. One flooded handle leaves room for timers, other handles and its own other direction in every iteration.
//! 8. Bad input gets a named error and changes nothing.
//!
//! # Speed without knobs
//!
//! A datagram sent on an empty queue goes straight from your slices to the kernel. What is sent while others are under way
//! leaves at the end of the iteration in batches: runs of equal size to one destination as one message that the kernel
//! segments (`UDP_SEGMENT`), the rest with sendmmsg(2). Receiving takes coalesced datagrams (`UDP_GRO`) and batches
//! (recvmmsg(2)) into memory that the loop owns, and lends them to the callback one by one. Nothing is allocated per
//! datagram, but for the box of a send's callback that captures something.
//!
//! # What goes beside the datagrams
//!
//! A [`Transmit`] says more than where to: TOS and ECN, TTL, the source address, a segment size, a time to leave. What comes
//! beside received datagrams is switched on by itself (`set_recv_tos` and the like) and is in their [`Metadata`]. With
//! [full reports](crate::Options::set_recv_errors) a [`NetworkError`] names the datagram, who could not deliver it, and why. Datagrams
//! can be received into memory of one's own, [one](Udp::recv_into_start) or [many](Udp::recv_into_start) at a time, the
//! queue can be [limited](Udp::set_send_queue_limit), and [`Counters`] tell what was done. [`capabilities`] tells what the
//! kernel can do.
//!
//! # Where things are
//!
//! `policy.rs` says what each call does in each state. The public calls: `udp.rs` (life, addresses), `sockets.rs`,
//! `send_calls.rs`, `recv_calls.rs`, `user_memory.rs`, `options.rs`, `multicast.rs`, `defaults.rs`, `metadata.rs`, `errors.rs`,
//! `counters.rs`, `remote.rs`. The way out: `sending.rs`, `request.rs`, `borrowed.rs`, `runs.rs`, `attempt.rs`; the way in:
//! `receiving.rs`, `user_batches.rs`, `waiting.rs`, `predictor.rs`, `datagram.rs`. Letting go of a peer: `reconnect.rs`,
//! `settings.rs`.

#![forbid(unsafe_code)]

mod api;
mod error;
mod flow_control;
mod handle;
mod lazy;
mod policy;
mod recv;
mod send;
mod sender;
mod shared;
mod socket;
mod stats;

pub use api::{BindOptions, Options};
pub use error::{ErrorKind, ErrorReport, NetworkError};
pub use handle::Udp;
pub use recv::{Batch, Datagram, RecvMeta, Segments};
pub use sender::UdpSender;
pub use stats::Counters;

pub use uv_core::{Check, HandleId, Idle, KeepAlive, Loop, LoopProxy, Prepare, RunMode, Timer};
pub use uv_sys::multicast::interface_index;
pub use uv_sys::{
    Capabilities, Ecn, Errno, Family, Interface, MAX_DATAGRAM, MAX_SLICES, Metadata, PacketInfo,
    PathMtuDiscovery, Payload, RecvBuffer, Result, Transmit, TxTimeClock, UninitSlice,
    capabilities,
};

/// The examples of the project's README and of this crate's, compiled and run with the other doc tests.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../../README.md")]
    struct Project;
    #[doc = include_str!("../README.md")]
    struct Crate;
}
