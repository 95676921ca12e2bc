//! The rules: one file for each thing promised.

mod policy;
mod policy_transfer;
mod proposal;

use super::Rule;

/// Every rule, in the order of the report.
pub(crate) fn all() -> impl Iterator<Item = &'static [Rule]> {
    [proposal::RULES, policy::RULES, policy_transfer::RULES].into_iter()
}
