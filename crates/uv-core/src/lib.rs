//! A small single-threaded event loop to write handles on: polling, timers, hooks, a request queue, posts from other
//! threads, and the life of a handle from first use to close. It knows nothing of UDP.
//!
//! The surprise first: **a callback never runs inside a call that you make**. Not from `start`, not from `close`. All
//! callbacks run from [`Loop::run`], one after another, so user code is never re-entered; and `run` inside a callback is an
//! error (`EDEADLK`), not a hang.
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
//! The order is a promise:
//!
//! ```text
//!   ┌─▶ clock          read at its first use in the iteration
//!   │   timers         deadlines that are due, in due order, ties in start order
//!   │   completions    callbacks of requests that are done
//!   │   posts          closures from other threads (LoopProxy)
//!   │   idle, prepare  hooks
//!   │   flush          what was queued since goes out together
//!   │   poll           waits if there is nothing to do; left out while there is (see below)
//!   │   dispatch       handles that are ready
//!   │   check          hooks
//!   └── closing        close callbacks
//! ```
//!
//! Asking the poller costs as much as a datagram, so under [`RunMode::Default`] the loop does not ask while it has work it
//! can see without asking, for [`MAX_UNPOLLED_ITERATIONS`] iterations at most: handles that only the poller knows of keep
//! their turn. It asks more often while sends are flushed, at once where a handle type requests it ([`Loop::force_poll`]), and beside an
//! idle hook, whose work may be long, every time.
//!
//! # Writing a handle
//!
//! A handle type holds an [`Rc`](std::rc::Rc) of a struct that embeds a [`Handle`] and implements [`Source`];
//! `examples/unix_datagram.rs` is one in some 150 lines. The handle asks for turns ([`Handle::schedule`],
//! [`Handle::set_deadline`], [`Handle::register`]), says when it is active, and keeps accepted operations in a
//! [`RequestQueue`]; [`handle_methods!`] gives it the methods that all handles have. Ownership is one rule: an active handle
//! is kept alive by its loop, an inactive one by its holders.
//!
//! # Embedding
//!
//! A loop can be driven from another one: wait until its descriptor ([`AsFd`](std::os::fd::AsFd)) is readable, for as long
//! as [`Loop::poll_timeout`] says, then call [`Loop::run`] with [`RunMode::NoWait`]. An example with poll(2) is there.
//!
//! Without an active handle there is nothing to run for: whoever waits for [`Loop::alive`] to end ends at once then. A
//! [`KeepAlive`] keeps such a loop alive for what others will post.
//!
//! A reactor that reports changes only (edge-triggered) does not report again what a `run` left undone, because its
//! descriptor stays readable. So forget that the descriptor is readable only when [`Loop::has_events`] says so after a `run`.
//! With tokio:
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
//!             // What came since is another change, and not forgotten.
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
//! A child process shares the loop's poller with its parent. It may close and drop what it inherited, and the parent goes on
//! undisturbed; to run the loop it calls [`Loop::reinit_after_fork`].

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
