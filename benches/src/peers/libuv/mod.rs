//! libuv, the C library, as the system has it: found by pkg-config when the feature `libuv` is on.
//!
//! There are two peers. `libuv` sends with `uv_udp_send` requests and receives one datagram per
//! system call, as most programs do. `libuv-try` sends with `uv_udp_try_send` from an idle handle,
//! per iteration as many datagrams as others keep outstanding. It receives with `UV_UDP_RECVMMSG`.

use super::Peer;

#[cfg(feature = "libuv")]
mod datagrams;
#[cfg(feature = "libuv")]
mod ffi;
#[cfg(feature = "libuv")]
mod handles;
#[cfg(feature = "libuv")]
mod work;

#[cfg(not(feature = "libuv"))]
const ABSENT: &str = "built without it: `apt install libuv1-dev` (Debian, Ubuntu) or `dnf install libuv-devel` \
                      (Fedora), then build with `--features libuv`";

/// libuv with send requests.
pub const PEER: Peer = Peer {
    name: "libuv",
    about: "libuv's uv_udp_send and uv_udp_recv_start, uv_timer_t, and uv_async_t with a locked queue",
    #[cfg(feature = "libuv")]
    runs: &runs::QUEUED,
    #[cfg(feature = "libuv")]
    otherwise: "",
    #[cfg(not(feature = "libuv"))]
    runs: &[],
    #[cfg(not(feature = "libuv"))]
    otherwise: ABSENT,
    lacks: &[],
    prepare: None,
};

/// libuv with direct sends and batched receives.
pub const TRY: Peer = Peer {
    name: "libuv-try",
    about: "libuv's uv_udp_try_send from an idle handle, and UV_UDP_RECVMMSG",
    #[cfg(feature = "libuv")]
    runs: &runs::TRIED,
    #[cfg(feature = "libuv")]
    otherwise: "the same as libuv: the workload sends no datagrams",
    #[cfg(not(feature = "libuv"))]
    runs: &[],
    #[cfg(not(feature = "libuv"))]
    otherwise: ABSENT,
    lacks: &[],
    prepare: None,
};

/// The version of the C library that is linked, if one is.
pub fn version() -> Option<String> {
    #[cfg(feature = "libuv")]
    return Some(handles::version());
    #[cfg(not(feature = "libuv"))]
    None
}

#[cfg(feature = "libuv")]
mod runs {
    use super::{
        super::Bench,
        datagrams::{burst, fanout, pingpong, pummel, two_loops},
        handles::Style::{Queued, Tried},
        work::{posts, posts_send, timers},
    };
    use crate::workload::{BURST, LARGE, SMALL, Workload};

    pub(super) static QUEUED: [(Workload, Bench); 12] = [
        (Workload::Pummel1, |params| pummel(params, Queued, 1)),
        (Workload::Pummel10, |params| pummel(params, Queued, 10)),
        (Workload::Pummel100, |params| pummel(params, Queued, 100)),
        (Workload::Connected1, |params| {
            burst(params, Queued, SMALL, 1)
        }),
        (Workload::Burst45, |params| {
            burst(params, Queued, SMALL, BURST)
        }),
        (Workload::Burst1200, |params| {
            burst(params, Queued, LARGE, BURST)
        }),
        (Workload::TwoLoops1200, |params| two_loops(params, Queued)),
        (Workload::PingPong45, |params| pingpong(params, Queued)),
        (Workload::Fanout10k, |params| fanout(params, Queued)),
        (Workload::Timers1m, timers),
        (Workload::Posts, posts),
        (Workload::PostsSend, |params| posts_send(params, Queued)),
    ];

    pub(super) static TRIED: [(Workload, Bench); 10] = [
        (Workload::Pummel1, |params| pummel(params, Tried, 1)),
        (Workload::Pummel10, |params| pummel(params, Tried, 10)),
        (Workload::Pummel100, |params| pummel(params, Tried, 100)),
        (Workload::Connected1, |params| {
            burst(params, Tried, SMALL, 1)
        }),
        (Workload::Burst45, |params| {
            burst(params, Tried, SMALL, BURST)
        }),
        (Workload::Burst1200, |params| {
            burst(params, Tried, LARGE, BURST)
        }),
        (Workload::TwoLoops1200, |params| two_loops(params, Tried)),
        (Workload::PingPong45, |params| pingpong(params, Tried)),
        (Workload::Fanout10k, |params| fanout(params, Tried)),
        (Workload::PostsSend, |params| posts_send(params, Tried)),
    ];
}
