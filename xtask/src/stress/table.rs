//! The failures of a stress run, per test.

use std::collections::BTreeMap;
use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets};

/// A test of a subject, under a condition.
pub(super) type Key = (String, String, &'static str);

/// The runs and failures of a test.
#[derive(Clone, Debug, Default)]
struct Count {
    runs: usize,
    failures: usize,
    /// The output of the last failed run, and the seed of that run.
    output: Option<(PathBuf, u64)>,
}

/// The counts of all tests.
#[derive(Debug, Default)]
pub(super) struct Counts(BTreeMap<Key, Count>);

impl Counts {
    pub(super) fn passed(&mut self, key: Key) {
        self.0.entry(key).or_default().runs += 1;
    }

    pub(super) fn failed(&mut self, key: Key, output: PathBuf, seed: u64) {
        let count = self.0.entry(key).or_default();
        count.runs += 1;
        count.failures += 1;
        count.output = Some((output, seed));
    }

    /// Runs of tests, and how many of them failed.
    pub(super) fn total(&self) -> (usize, usize) {
        self.0.values().fold((0, 0), |(runs, failures), count| {
            (runs + count.runs, failures + count.failures)
        })
    }

    /// The tests that failed at least once; `None` if there are none.
    pub(super) fn failures(&self) -> Option<String> {
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header([
                "subject",
                "test",
                "condition",
                "failed",
                "of",
                "rate",
                "seed",
                "output",
            ]);
        let mut any = false;
        for ((subject, test, condition), count) in &self.0 {
            let Some((output, seed)) = &count.output else {
                continue;
            };
            any = true;
            let rate = 100.0 * count.failures as f64 / count.runs as f64;
            table.add_row([
                subject.clone(),
                test.clone(),
                (*condition).to_owned(),
                count.failures.to_string(),
                count.runs.to_string(),
                format!("{rate:.1} %"),
                seed.to_string(),
                output.display().to_string(),
            ]);
        }
        any.then(|| table.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(test: &str) -> Key {
        ("uv-udp functional".into(), test.into(), "one CPU")
    }

    #[test]
    fn a_test_that_fails_once_in_four_runs_has_its_rate_seed_and_output_in_the_table() {
        let mut counts = Counts::default();
        (0..3).for_each(|_| counts.passed(key("a")));
        counts.failed(key("a"), "target/stress/1.log".into(), 77);
        counts.passed(key("b"));
        assert_eq!(counts.total(), (5, 1));
        let table = counts.failures().unwrap();
        for part in ["25.0 %", "77", "target/stress/1.log", "one CPU"] {
            assert!(table.contains(part), "{part} in {table}");
        }
        assert!(!table.contains("│ b "), "{table}");
    }

    #[test]
    fn without_failures_there_is_no_table() {
        let mut counts = Counts::default();
        counts.passed(key("a"));
        assert_eq!(counts.failures(), None);
    }
}
