//! `uv_udp_t`: one file for each group of its functions.

mod access;
mod addresses;
mod connecting;
mod flags;
mod multicast;
mod options;
mod receiver;
mod receiving;
mod sending;
mod setup;
pub(crate) mod state;

#[cfg(test)]
pub(crate) use flags::FLAGS;
