//! The public calls of [`Udp`](crate::Udp), one file per topic.

mod addresses;
mod bind;
mod lifecycle;
mod multicast;
mod options;
mod os;
mod receive;
mod recv_options;
mod send;

pub use self::bind::BindOptions;
pub use self::options::Options;
pub use self::send::ignore;
