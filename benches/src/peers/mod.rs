//! The peers, a module each, written as the peer's own documentation recommends for speed.

use crate::{
    measure::{Outcome, Params},
    workload::Workload,
};

pub mod c_face;
pub mod libuv;
pub mod mio_peer;
pub mod ours;
pub mod quinn;
pub mod raw;
pub mod tokio_peer;

/// One round of a workload.
pub type Bench = fn(&Params) -> Outcome;

/// An implementation of the workloads.
#[derive(Debug)]
pub struct Peer {
    /// The name on the command line and in every report.
    pub name: &'static str,
    /// A description in one sentence.
    pub about: &'static str,
    /// The workloads that it implements.
    pub runs: &'static [(Workload, Bench)],
    /// Workloads that it cannot do, with the reason.
    pub lacks: &'static [(Workload, &'static str)],
    /// The reason for all workloads in neither list. If empty, reports do not mention the peer
    /// there.
    pub otherwise: &'static str,
    /// Slow preparation before the first round of any peer, as building a program. Its failure is
    /// that of the first round.
    pub prepare: Option<fn()>,
}

impl Peer {
    /// The implementation of `workload`, or the reason why there is none: empty if reports do not
    /// mention it.
    pub fn bench(&self, workload: Workload) -> Result<Bench, &'static str> {
        if let Some((_, bench)) = self.runs.iter().find(|(each, _)| *each == workload) {
            return Ok(*bench);
        }
        let reason = self.lacks.iter().find(|(each, _)| *each == workload);
        Err(reason.map_or(self.otherwise, |(_, reason)| reason))
    }
}

/// Every peer, ours first.
pub const ALL: [&Peer; 11] = [
    &ours::PEER,
    &c_face::PEER,
    &raw::PEER,
    &raw::PLAIN,
    &raw::EPOLL,
    &raw::EPOLL_PLAIN,
    &libuv::PEER,
    &libuv::TRY,
    &mio_peer::PEER,
    &tokio_peer::PEER,
    &quinn::PEER,
];

/// The peer of that name.
pub fn named(name: &str) -> Option<&'static Peer> {
    ALL.into_iter().find(|peer| peer.name == name)
}
