//! The rules: one file per topic.

mod batches;
mod callbacks;
mod counters;
mod errors;
mod event_loop;
mod fairness;
mod forms;
mod groups;
mod headers;
mod input;
mod kernel;
mod life;
mod local;
mod memory;
mod metadata;
mod multicast;
mod options;
mod peers;
mod policy;
mod posts;
mod pressure;
mod proposal;
mod reports;
mod requests;
mod routes;
mod system;
pub(crate) mod takeover;
mod timers;
mod transmit;

use crate::rule::Rule;

/// Every rule, in the order of the report.
pub(crate) fn all() -> impl Iterator<Item = &'static [Rule]> {
    let rules = [
        proposal::RULES,
        policy::RULES,
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
        metadata::RULES,
        headers::RULES,
        transmit::RULES,
        multicast::RULES,
        memory::RULES,
        counters::RULES,
        fairness::RULES,
        input::RULES,
        life::RULES,
        batches::RULES,
        routes::RULES,
        pressure::RULES,
        event_loop::RULES,
        timers::RULES,
        posts::RULES,
        system::RULES,
    ];
    rules.into_iter()
}
