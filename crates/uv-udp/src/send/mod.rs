//! Sending: a datagram on an empty queue goes straight to the kernel; later ones are queued, and
//! leave in batches at the end of the iteration.
//!
//! [`SendState`] knows neither the handle's type nor its callbacks: a [`SendContext`] lends it the
//! rest of the handle, and a type parameter stands for the data that a completion needs.
//!
//! `state.rs` accepts and sends datagrams, `flush.rs` sends the queue, and `immediate.rs` sends
//! from the caller's memory. `segmentation.rs` plans GSO messages, `pending_error.rs` tells errors
//! of earlier datagrams from a datagram's own.

mod caller_memory;
mod context;
mod defaults;
mod flush;
mod immediate;
mod pending_error;
mod queue;
mod segmentation;
mod state;

pub(crate) use self::context::{SendContext, SocketErrors};
pub(crate) use self::state::SendState;
