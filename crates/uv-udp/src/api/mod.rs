//! The public calls of [`Udp`](crate::Udp), one file per topic.

mod addresses;
mod lifecycle;
mod multicast;
mod options;
mod receive;
mod recv_options;
mod send;
mod sockets;

pub use self::options::Options;
pub use self::sockets::BindOptions;
