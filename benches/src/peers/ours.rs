//! This project: `uv-udp` on `uv-core`'s loop.

use super::{Bench, Peer};
use crate::workload::Workload;

/// The peer that all others are compared with.
pub const PEER: Peer = Peer {
    name: "uv-udp",
    about: "this project's UDP handles on its own loop",
    runs: RUNS,
    lacks: &[],
    otherwise: "not written yet",
};

const RUNS: &[(Workload, Bench)] = &[];
