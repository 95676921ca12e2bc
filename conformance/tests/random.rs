//! A few random calls with fixed seeds. A binary of its own: the checks limit the descriptors of the
//! process and count its allocations.

use std::alloc::System;

use conformance::random::{self, Options};
use stats_alloc::StatsAlloc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = random::ALLOCATOR;

#[test]
fn a_few_random_calls_break_no_promise() {
    let options = Options {
        steps: 1_000,
        ..Options::default()
    };
    let report = random::run(&options);
    assert!(report.holds(), "{}", report.lines().join("\n"));
    let (made, arrived, iterations) = report.done;
    assert_eq!((report.worlds, report.unplayed), (4, 0));
    assert!(made > 0 && arrived > 0 && iterations > 0);
}
