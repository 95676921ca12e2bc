//! Receiving: one read loop for all forms of receiving, which differ in their [`Sink`].
//!
//! [`RecvState`] knows neither the handle's type nor its callback: a [`RecvContext`] lends it the
//! rest of the handle, and a sink delivers. Each change that ends a delivery (a stop, another peer,
//! a close) increments the epoch.
//!
//! `state.rs` holds the state, `read_loop.rs` delivers and reads, `loop_memory.rs` and
//! `user_memory.rs` are the two sinks. `undelivered.rs` stores datagrams and errors until the next
//! delivery, `error_queue.rs` collects network errors, and `drain.rs` empties a replaced socket.

mod context;
mod datagram;
mod drain;
mod error_queue;
mod loop_memory;
mod predictor;
mod read_loop;
mod requested;
mod sink;
mod state;
mod undelivered;
mod user_memory;

pub(crate) use self::context::RecvContext;
pub use self::datagram::{Batch, Datagram, RecvMeta, Segments};
pub(crate) use self::loop_memory::LoopMemory;
pub(crate) use self::predictor::ReadReason;
pub(crate) use self::requested::Kind;
pub(crate) use self::state::RecvState;
pub(crate) use self::user_memory::{Outcome, UserBuffers, UserMemory};
