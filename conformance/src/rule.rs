//! A rule: one promise with its check.

use uv_udp::Family;

use crate::network::Near;
use crate::stage::Stage;
use crate::verdict::Verdict;

/// One promise with its check.
#[derive(Debug)]
pub struct Rule {
    /// Group and name, in kebab case.
    pub id: &'static str,
    /// The promise, as a sentence.
    pub title: &'static str,
    /// The address families of the promise; `None` where the family makes no difference.
    pub(crate) families: &'static [Option<Family>],
    pub(crate) check: Check,
}

/// The surroundings of a check.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// On a loop.
    Plain(fn(&Stage) -> Verdict),
    /// On a loop, in a network namespace.
    Isolated(fn(&Stage, &Near) -> Verdict),
    /// On a loop, beside a thread whose sockets belong to another user.
    BesideOtherUser(fn(&Stage) -> Verdict),
}

const EACH: &[Option<Family>] = &[Some(Family::V4), Some(Family::V6)];

impl Rule {
    /// A rule for IPv4 and for IPv6.
    pub(crate) const fn each(
        id: &'static str,
        title: &'static str,
        check: fn(&Stage) -> Verdict,
    ) -> Self {
        Self {
            id,
            title,
            families: EACH,
            check: Check::Plain(check),
        }
    }

    /// A rule that no address family changes.
    pub(crate) const fn once(
        id: &'static str,
        title: &'static str,
        check: fn(&Stage) -> Verdict,
    ) -> Self {
        Self {
            families: &[None],
            ..Self::each(id, title, check)
        }
    }

    /// A rule for IPv6 alone.
    pub(crate) const fn v6(
        id: &'static str,
        title: &'static str,
        check: fn(&Stage) -> Verdict,
    ) -> Self {
        Self {
            families: &[Some(Family::V6)],
            ..Self::each(id, title, check)
        }
    }

    /// A rule for both families, each in a network namespace of its own.
    pub(crate) const fn isolated(
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
    pub(crate) const fn beside_other_user(
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
