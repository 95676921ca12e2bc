//! The duration of each bench.

use std::time::Duration;

use criterion::Criterion;

/// Short: there are many of them.
pub(crate) fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}
