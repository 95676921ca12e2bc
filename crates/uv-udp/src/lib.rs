//! Connected UDP sockets on an event loop, as libuv's enhancement proposal "Connected UDP sockets"
//! describes them.
//!
//! Take this crate for programs that exchange datagrams with one peer per socket: DNS resolvers,
//! QUIC and DTLS stacks, TURN and game servers, VPN tunnels, shippers of metrics and logs. It
//! handles the kernel's traps of connected UDP sockets: datagrams from before the connect, ports
//! lost by a disconnect, and ICMP errors that fail an unrelated send.
//!
//! A [`Udp`] handle is connected to one peer or unconnected. Connected, it sends with
//! [`send`](Udp::send) and receives only from its peer. Unconnected, it sends with
//! [`send_to`](Udp::send_to) and receives from everybody. The wrong call of the two returns
//! `EDESTADDRREQ` or `EISCONN`. Connecting to another peer disconnects first, and keeps the local
//! port.
//!
//! The surprise: **a callback never runs inside a call that you make**. `send` and `close` return
//! at once, and [`Loop::run`] calls their callbacks, so user code is never re-entered. [`Udp`] has
//! a first program. `examples/resolver.rs` is a longer one: a DNS resolver with a timeout and a
//! second server.
//!
//! # What you can rely on
//!
//! 1. Every accepted send completes exactly once, in the order of acceptance. A close completes the
//!    rest with `ECANCELED`, before the close callback. A call that returns an error accepted
//!    nothing.
//! 2. Datagrams leave a handle in the order of acceptance; [`try_send`](Udp::try_send) never
//!    overtakes.
//! 3. A datagram goes to the peer that it was accepted for, or nowhere.
//! 4. A connected handle delivers only its peer's datagrams, even of those that arrived before the
//!    connect.
//! 5. The local address survives disconnecting and reconnecting, or the error names the reason.
//! 6. A network error about one datagram does not cost another: the next one is still sent, and the
//!    receive callback gets the error as a [`NetworkError`].
//! 7. A flooded handle leaves time in every iteration for timers, for other handles, and for its
//!    own other direction.
//! 8. Bad input is a named error, and changes nothing.
//!
//! # Speed without options
//!
//! With an empty queue, a datagram goes from the caller's slices to the kernel. Later datagrams
//! leave at the end of the iteration in batches: equally long ones to one destination as one GSO
//! message (`UDP_SEGMENT`), the others with sendmmsg(2). Receiving takes coalesced datagrams
//! (`UDP_GRO`) and batches (recvmmsg(2)) into memory of the loop, and lends them to the callback.
//! Nothing is allocated per datagram, except the box of a send's callback that captures variables.
//!
//! # Beyond datagrams
//!
//! - A [`Transmit`] has options for one datagram: TOS and ECN, TTL, source address, segment size,
//!   transmit time.
//! - [`Options`] has those of the socket. It also switches on the [`Metadata`] of received
//!   datagrams, each kind by itself.
//! - With [`Options::set_recv_errors`], a [`NetworkError`] has a full [`ErrorReport`]: the
//!   datagram, the reporting host, the reason.
//! - [`Udp::recv_into_start`] receives into the user's memory.
//! - [`Udp::set_send_queue_limit`] bounds the memory of a handle.
//! - [`Counters`] has the counts of a handle, and [`capabilities`] the features of the kernel.
//! - [`UdpSender`] sends from other threads.
//!
//! # Where things are
//!
//! - `api/`: the public methods of [`Udp`] and [`Options`], one file per topic. `api/os.rs` has all
//!   that names a descriptor.
//! - `policy.rs`: the steps or the error of each call in each state, as a pure function.
//! - `handle.rs`: the state of a handle and its phases on the loop; the only file that knows all
//!   rooms. `submit.rs` leads a send from the public call to the sending half.
//! - `send/`: the way out. Queue, GSO messages and their fallback, pending errors, back-off.
//! - `recv/`: the way in. The read loop, its two sinks, stored datagrams, the error queue.
//! - `socket/`: executing a plan of the policy; disconnecting while the port is held.
//! - `shared.rs`, `flow_control.rs`: memory and budgets that the handles of one loop share.

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
mod submit;

pub use api::{BindOptions, Options, ignore};
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

/// The examples of the project's README and of this crate's, compiled and run with the other doc
/// tests.
#[cfg(doctest)]
mod readme {
    #[doc = include_str!("../../../README.md")]
    struct Project;
    #[doc = include_str!("../README.md")]
    struct Crate;
}
