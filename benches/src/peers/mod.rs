//! Who is measured: one module per peer, each written the way the peer's own documentation recommends for speed.

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

/// Somebody who does the workloads.
#[derive(Debug)]
pub struct Peer {
    /// The name on the command line and in every report.
    pub name: &'static str,
    /// What it is and how it is used here, in a sentence.
    pub about: &'static str,
    /// The workloads that it does.
    pub runs: &'static [(Workload, Bench)],
    /// Why it does not do others.
    pub lacks: &'static [(Workload, &'static str)],
    /// Why it does not do any workload in neither list. If empty, it is no candidate for them: reports leave it out.
    pub otherwise: &'static str,
    /// What takes time and is to be over before anybody's first round: building a program, say. It fails when a round does.
    pub prepare: Option<fn()>,
}

impl Peer {
    /// How this peer does `workload`, or why it does not: empty if nobody would expect it to.
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
