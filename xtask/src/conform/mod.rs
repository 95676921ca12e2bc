//! The conformance suite: what the project promises, as named rules that are checked against real sockets.
//!
//! `cargo xtask conform` and the test of the same name run it. Each rule has a loop and a thread of its own, works through
//! the public API, and is told one family of addresses. Where the network itself must misbehave (no route, an unanswered
//! neighbour, a small MTU), the thread moves into a network namespace first.
//!
//! Rules stand in `rules/`, one file for each thing promised; what they work with is in `stage` and `network`. The same
//! promises, as far as C can express them, are checked a second time through compiled C: `c_rules` and `suite`.

mod c_rules;
mod network;
mod not_in_c;
mod report;
mod router;
mod rules;
mod run;
mod stage;
mod suite;
mod watch;

pub use report::{Face, Outcome, Report, Status};
pub use run::{Instance, instances};
pub use suite::{Selection, list, run};

pub(crate) use c_rules::programs as c_programs;
pub(crate) use stage::DeadPeer;

use uv_udp::Family;

use network::Near;
use stage::{Broken, Stage};

/// What a check finds: nothing to say, or what does not hold.
type Verdict = Result<(), Broken>;

/// One promise, and how to check it.
#[derive(Debug)]
pub struct Rule {
    /// Group and name, in kebab case.
    pub id: &'static str,
    /// The promise, as a sentence.
    pub title: &'static str,
    /// The families of addresses that it is a promise about; `None` where they make no difference.
    families: &'static [Option<Family>],
    check: Check,
}

#[derive(Clone, Copy, Debug)]
enum Check {
    /// On a loop.
    Plain(fn(&Stage) -> Verdict),
    /// On a loop, in a network namespace.
    Isolated(fn(&Stage, &Near) -> Verdict),
    /// On a loop, beside a thread whose sockets are another user's.
    BesideOtherUser(fn(&Stage) -> Verdict),
}

const EACH: &[Option<Family>] = &[Some(Family::V4), Some(Family::V6)];

impl Rule {
    /// A rule for IPv4 and for IPv6.
    const fn each(id: &'static str, title: &'static str, check: fn(&Stage) -> Verdict) -> Self {
        Self {
            id,
            title,
            families: EACH,
            check: Check::Plain(check),
        }
    }

    /// A rule that has nothing to do with the family.
    const fn once(id: &'static str, title: &'static str, check: fn(&Stage) -> Verdict) -> Self {
        Self {
            families: &[None],
            ..Self::each(id, title, check)
        }
    }

    /// A rule that makes sense for IPv6 only.
    const fn v6(id: &'static str, title: &'static str, check: fn(&Stage) -> Verdict) -> Self {
        Self {
            families: &[Some(Family::V6)],
            ..Self::each(id, title, check)
        }
    }

    /// A rule for both families, each in a network namespace of its own.
    const fn isolated(
        id: &'static str,
        title: &'static str,
        check: fn(&Stage, &Near) -> Verdict,
    ) -> Self {
        Self {
            id,
            title,
            families: EACH,
            check: Check::Isolated(check),
        }
    }

    /// A rule for both families, with sockets of another user.
    const fn beside_other_user(
        id: &'static str,
        title: &'static str,
        check: fn(&Stage) -> Verdict,
    ) -> Self {
        Self {
            check: Check::BesideOtherUser(check),
            ..Self::each(id, title, check)
        }
    }
}
