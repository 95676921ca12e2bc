//! The socket of a handle: executing the policy's plans, and keeping the local address and options
//! that a disconnect would lose.
//!
//! [`SocketState`] does not know the handle. It reports each executed step to an [`Owner`], so that
//! a plan that fails in the middle leaves the handle's state true.
//!
//! `execute.rs` carries out a plan. `disconnect.rs` disconnects, `held_port.rs` keeps the
//! port meanwhile, and `survivors.rs` holds the options that must be set again. `adopted.rs`
//! recognizes sockets from elsewhere.

mod adopted;
mod disconnect;
mod execute;
mod held_port;
mod owner;
mod state;
mod survivors;

pub(crate) use self::adopted::Adopted;
pub(crate) use self::owner::Owner;
pub(crate) use self::state::SocketState;
pub(crate) use self::survivors::Membership;
