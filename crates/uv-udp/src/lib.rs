//! Connected UDP sockets on an event loop: the system that libuv's enhancement proposal "Connected UDP sockets" describes.
//!
//! A [`Udp`] handle is connected to one peer or not. Connected, it sends with [`send`](Udp::send) and hears only its peer;
//! unconnected, it sends with [`send_to`](Udp::send_to) and hears everybody; the wrong one of the two answers
//! `EDESTADDRREQ` or `EISCONN`. Reconnecting disconnects first and keeps the local port.
//!
//! The surprise first: **a callback never runs inside a call that you make**. `send` and `close` return at once, and their
//! callbacks run from [`Loop::run`], so user code is never re-entered. See [`Udp`] for a first program.
//!
//! # What you can rely on
//!
//! 1. Every accepted send completes exactly once, in the order of acceptance; on close with `ECANCELED` at worst, before
//!    the close callback. A call that returns an error accepted nothing.
//! 2. Datagrams leave a handle in the order of acceptance; [`try_send`](Udp::try_send) never overtakes.
//! 3. A datagram goes to the peer that it was accepted for, or nowhere.
//! 4. A connected handle delivers its peer's datagrams only, also of those that arrived before it was connected.
//! 5. The local port survives disconnecting and reconnecting.
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
//! datagram.
//!
//! # Where things are
//!
//! `policy.rs` says what each call does in each state; `udp.rs` has the public calls; `sending.rs`, `runs.rs` and
//! `attempt.rs` the way out; `receiving.rs` and `datagram.rs` the way in; `reconnect.rs` letting go of a peer.

#![forbid(unsafe_code)]

mod attempt;
mod datagram;
mod policy;
mod receiving;
mod reconnect;
mod remote;
mod rhythm;
mod runs;
mod scratch;
mod sending;
mod udp;
mod user_memory;

pub use datagram::{Batch, Datagram, NetworkError};
pub use remote::UdpRemote;
pub use udp::Udp;
pub use user_memory::Arrival;

pub use uv_core::{Check, Idle, KeepAlive, Loop, Prepare, Remote, RunMode, Timer};
pub use uv_sys::{
    Ecn, Errno, Family, MAX_DATAGRAM, MAX_SLICES, Metadata, PacketInfo, Payload, Result, Transmit,
};
