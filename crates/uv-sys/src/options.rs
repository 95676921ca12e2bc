//! Socket options, typed.

use std::os::fd::AsFd;

use crate::errno::Result;
use crate::sys::options as sys;

/// Documents and exports a setter and a getter of one option.
macro_rules! option {
    (
        $(#[$doc:meta])*
        $set:ident, $get:ident: $type:ty
    ) => {
        $(#[$doc])*
        pub fn $set(fd: impl AsFd, value: $type) -> Result<()> {
            sys::$set(fd.as_fd(), value)
        }

        #[doc = concat!("The value of [`", stringify!($set), "`], where its meaning and errors are told.")]
        $(#[$doc])*
        pub fn $get(fd: impl AsFd) -> Result<$type> {
            sys::$get(fd.as_fd())
        }
    };
}

option! {
    /// x
    #[doc(alias = "SO_REUSEADDR")]
    set_reuse_address, reuse_address: bool
}
option! {
    /// x
    #[doc(alias = "SO_REUSEPORT")]
    set_reuse_port, reuse_port: bool
}
option! {
    /// x
    #[doc(alias = "SO_BROADCAST")]
    set_broadcast, broadcast: bool
}
option! {
    /// x
    #[doc(alias = "IPV6_V6ONLY")]
    set_ipv6_only, ipv6_only: bool
}
option! {
    /// x
    #[doc(alias = "UDP_GRO")]
    set_gro, gro: bool
}
option! {
    /// x
    #[doc(alias = "SO_SNDBUF")]
    set_send_buffer_size, send_buffer_size: usize
}
option! {
    /// x
    #[doc(alias = "SO_RCVBUF")]
    set_recv_buffer_size, recv_buffer_size: usize
}
