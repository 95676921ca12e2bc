//! A small single-threaded event loop for writing handle types: polling, timers, hooks, a request
//! queue, posts from other threads, and the life of a handle from first use to close. It knows
//! nothing of UDP.
//!
//! The surprise first: **a callback never runs inside a call that you make**, neither `start` nor
//! `close`. [`Loop::run`] runs all callbacks, one after another, so user code is never re-entered.
//! Calling `run` inside a callback returns `EDEADLK`.
//!
//! ```
//! use std::{cell::RefCell, rc::Rc, time::Duration};
//! use uv_core::{Loop, RunMode, Timer};
//!
//! let event_loop = Loop::new()?;
//! let fired = Rc::new(RefCell::new(Vec::new()));
//! for (name, milliseconds) in [("late", 20), ("early", 1)] {
//!     let (fired, timer) = (Rc::clone(&fired), Timer::new(&event_loop));
//!     let timeout = Duration::from_millis(milliseconds);
//!     timer.start(timeout, Duration::ZERO, move |_| fired.borrow_mut().push(name))?;
//! }
//! event_loop.run(RunMode::Default)?;
//! assert_eq!(*fired.borrow(), ["early", "late"]);
//! # Ok::<(), uv_core::Errno>(())
//! ```
//!
//! # One iteration
//!
//! The order of the phases is a promise:
//!
//! ```text
//!          ┌───────────────────────────────────────────────────────────────────────────┐
//!    ┌────▶│ timers       due deadlines, in due order; equal ones in start order       │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    │     │ completions  callbacks of completed requests                              │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    │     │ posts        closures from other threads (LoopProxy)                      │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    │     │ hooks        idle, then prepare                                           │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    │     │ flush        operations queued in this iteration, together                │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    │     │ poll         waits for events if there is no other work                   │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    │     │ dispatch     ready handles, AfterPoll, then Dispatch                      │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    │     │ hooks        check                                                        │
//!    │     ├───────────────────────────────────────────────────────────────────────────┤
//!    └─────│ closing      close callbacks                                              │
//!          └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! [`Phase`] names the phases in which a handle can run. The clock ([`Loop::now`]) is read once per
//! iteration, at its first use.
//!
//! A poll costs as much as a datagram. Under [`RunMode::Default`] the loop therefore skips it while
//! it has other work, in at most [`MAX_UNPOLLED_ITERATIONS`] iterations in a row, so handles that
//! only the poller reports do not starve. It polls more often while handles flush, at once after
//! [`Loop::force_poll`], and in every iteration with an idle hook, whose work may take long.
//!
//! # Writing a handle type
//!
//! A handle type holds an [`Rc`](std::rc::Rc) of a struct that embeds a [`Handle`] and implements
//! [`Source`]; `examples/unix_datagram.rs` is one in about 150 lines. Four parts of the crate serve
//! it:
//!
//! - [`Handle::schedule`], [`Handle::set_deadline`], [`Handle::set_hook`] and [`Handle::register`]
//!   request the phases and reports in which it runs.
//! - [`Handle::set_active`] keeps it and the loop alive while it waits for something. The loop owns
//!   active handles; the user owns inactive ones.
//! - A [`RequestQueue`] keeps accepted operations until their callbacks are called.
//! - [`handle_methods!`] gives the type the methods that all handles have.
//!
//! # Embedding
//!
//! Another event loop can drive a loop. It waits until the loop's descriptor
//! ([`AsFd`](std::os::fd::AsFd)) is readable, at most for [`Loop::poll_timeout`], then calls
//! [`Loop::run`] with [`RunMode::NoWait`]. `poll_timeout` has an example with poll(2).
//!
//! An outer loop that ends when [`Loop::alive`] is false ends at once without an active handle. A
//! [`KeepAlive`] keeps the loop alive for later posts.
//!
//! With an edge-triggered reactor the descriptor may stay readable after a `run`, which is then not
//! reported again. So clear the reactor's readiness only when [`Loop::has_events`] returns `false`
//! after a `run`. With tokio:
//!
//! ```
//! use std::os::fd::AsFd;
//! use std::time::Duration;
//! use tokio::io::Interest;
//! use tokio::io::unix::AsyncFd;
//! use uv_core::{Loop, RunMode, Timer};
//!
//! async fn drive(event_loop: &Loop) -> std::io::Result<()> {
//!     let fd = event_loop.as_fd().try_clone_to_owned()?;
//!     // SAFETY: the `AsyncFd` owns the descriptor, which stays open until it is dropped. (In tokio before 1.54 this is
//!     // `AsyncFd::with_interest`, which is safe.)
//!     let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
//!     loop {
//!         let timeout = event_loop.poll_timeout()?;
//!         if !event_loop.alive() {
//!             return Ok(());
//!         }
//!         let readable = match timeout {
//!             Some(timeout) => tokio::time::timeout(timeout, fd.readable()).await.ok(),
//!             None => Some(fd.readable().await),
//!         };
//!         event_loop.run(RunMode::NoWait)?;
//!         if let Some(readable) = readable
//!             && !event_loop.has_events()?
//!         {
//!             // Later events are a new edge, which tokio does not clear.
//!             readable?.clear_ready();
//!         }
//!     }
//! }
//!
//! let event_loop = Loop::new()?;
//! Timer::new(&event_loop).start(Duration::from_millis(1), Duration::ZERO, |_| println!("due"))?;
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(drive(&event_loop))?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # After fork(2)
//!
//! A child process shares the loop's poller with its parent. It may close and drop inherited
//! handles without an effect on the parent. To run the loop it calls [`Loop::reinit_after_fork`].

#![forbid(unsafe_code)]

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod any_handle;
mod callback;
mod clock;
mod core;
mod deadlines;
mod event_loop;
mod handle;
mod hook_list;
mod hooks;
mod interest;
mod iteration;
mod methods;
mod phase;
mod poll_source;
mod posts;
mod proxy;
mod queue;
mod runnable;
mod timer;

pub use any_handle::AnyHandle;
pub use callback::Callback;
pub use core::HandleId;
pub use event_loop::Loop;
pub use handle::{Handle, Source};

pub use hooks::{Check, Idle, Prepare};
pub use iteration::{MAX_UNPOLLED_ITERATIONS, RunMode};
pub use phase::{HookPhase, Phase};
pub use poll_source::PollSource;
pub use proxy::{KeepAlive, LoopProxy};
pub use queue::{Pending, PendingRun, Pool, RequestQueue};
pub use timer::Timer;
pub use uv_sys::{Errno, Interest, Payload, Result};
