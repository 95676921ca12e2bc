//! The behaviour of every public function, on real sockets of the loopback interface.
#![allow(missing_docs)]

#[path = "functional/control.rs"]
mod control;
#[path = "functional/copy.rs"]
mod copy;
#[path = "functional/error_queue.rs"]
mod error_queue;
#[cfg(feature = "fault-injection")]
#[path = "functional/fault.rs"]
mod fault;
#[path = "functional/metadata.rs"]
mod metadata;
#[path = "functional/multicast.rs"]
mod multicast;
#[path = "functional/options.rs"]
mod options;
#[cfg(feature = "poller")]
#[path = "functional/poller.rs"]
mod poller;
#[path = "functional/receive.rs"]
mod receive;
#[path = "functional/segmentation.rs"]
mod segmentation;
#[path = "functional/send.rs"]
mod send;
#[path = "functional/socket.rs"]
mod socket;
#[path = "functional/util.rs"]
mod util;
