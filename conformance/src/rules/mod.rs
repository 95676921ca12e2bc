//! The rules: one file for each thing promised.

mod batches;
mod beside;
mod callbacks;
mod errors;
mod event_loop;
mod fairness;
mod groups;
mod input;
mod kernel;
mod life;
mod local;
mod memory;
mod options;
mod peers;
mod policy;
mod policy_transfer;
mod pressure;
mod proposal;
mod reports;
mod requests;
mod routes;
mod system;
pub(crate) mod takeover;
mod wire;

use crate::rule::Rule;

/// Every rule, in the order of the report.
pub(crate) fn all() -> impl Iterator<Item = &'static [Rule]> {
    let rules = [
        proposal::RULES,
        policy::RULES,
        policy_transfer::RULES,
        callbacks::RULES,
        requests::RULES,
        peers::RULES,
        local::RULES,
        takeover::RULES,
        errors::RULES,
        reports::RULES,
        options::RULES,
        kernel::RULES,
        groups::RULES,
        beside::RULES,
        wire::RULES,
        memory::RULES,
        fairness::RULES,
        input::RULES,
        life::RULES,
        batches::RULES,
        routes::RULES,
        pressure::RULES,
        event_loop::RULES,
        system::RULES,
    ];
    rules.into_iter()
}
