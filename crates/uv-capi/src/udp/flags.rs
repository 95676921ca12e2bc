//! `uv_udp_flags`, as the header documents them.

use std::ffi::c_uint;

macro_rules! flags {
    ($($name:ident = $value:literal;)*) => {
        $(pub(super) const $name: c_uint = $value;)*
        /// All flags, for the comparison with the header.
        #[cfg(test)]
        pub(crate) const FLAGS: &[(&str, c_uint)] = &[$((stringify!($name), $name),)*];
    };
}

flags! {
    UV_UDP_IPV6ONLY = 1;
    UV_UDP_PARTIAL = 2;
    UV_UDP_REUSEADDR = 4;
    UV_UDP_MMSG_CHUNK = 8;
    UV_UDP_MMSG_FREE = 16;
    UV_UDP_LINUX_RECVERR = 32;
    UV_UDP_REUSEPORT = 64;
    UV_UDP_RECVMMSG = 256;
}
