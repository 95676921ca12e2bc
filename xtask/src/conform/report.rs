//! What a run found out: as a table for people, as JSON for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// How a rule ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It cannot be checked here.
    Skipped,
}

/// One rule, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Group and name.
    pub id: String,
    /// The promise.
    pub title: String,
    /// `v4`, `v6` or `-`.
    pub family: String,
    /// How it ended.
    pub status: Status,
    /// What was noted, what does not hold, or why it was skipped.
    pub detail: String,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Always `"conform"`.
    pub suite: String,
    /// Rules that hold.
    pub passed: usize,
    /// Rules that do not.
    pub failed: usize,
    /// Rules that cannot be checked here.
    pub skipped: usize,
    /// All of them, in the order of the suite.
    pub rules: Vec<Outcome>,
}

impl Report {
    /// The report on these rules.
    pub fn new(rules: Vec<Outcome>) -> Self {
        let count = |status| rules.iter().filter(|rule| rule.status == status).count();
        Self {
            suite: "conform".into(),
            passed: count(Status::Passed),
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
            rules,
        }
    }

    /// Indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys")
    }

    /// A table with a line for each rule and family; what failed once more below it, and the count as the last line.
    pub fn to_table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "rule", "", "µs", "promise"]);
        for rule in &self.rules {
            let promise = match rule.status {
                Status::Passed if rule.detail.is_empty() => rule.title.clone(),
                Status::Passed => format!("{} ({})", rule.title, rule.detail),
                Status::Failed => rule.title.clone(),
                Status::Skipped => format!("{} Skipped: {}.", rule.title, rule.detail),
            };
            table.add_row([
                sign(rule.status).to_owned(),
                rule.id.clone(),
                rule.family.clone(),
                rule.micros.to_string(),
                promise,
            ]);
        }
        if let Some(column) = table.column_mut(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}\n{}", table.trim_fmt(), self.failures_and_count())
    }

    /// What failed and why, and the count as the last line.
    pub fn failures_and_count(&self) -> String {
        let failed = self
            .rules
            .iter()
            .filter(|rule| rule.status == Status::Failed);
        let failures = failed.map(|rule| {
            let Outcome {
                id,
                title,
                family,
                detail,
                ..
            } = rule;
            format!("\n✗ {id} {family}: {title}\n  {detail}\n")
        });
        format!("{}\n{}", failures.collect::<String>(), self.count())
    }

    /// As in `12 passed, 0 failed, 1 skipped`.
    pub fn count(&self) -> String {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }
}

fn sign(status: Status) -> &'static str {
    match status {
        Status::Passed => "✓",
        Status::Failed => "✗",
        Status::Skipped => "–",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(id: &str, status: Status, detail: &str) -> Outcome {
        Outcome {
            id: id.into(),
            title: "Something holds.".into(),
            family: "v6".into(),
            status,
            detail: detail.into(),
            micros: 17,
        }
    }

    fn sample() -> Report {
        Report::new(vec![
            outcome("a/passes", Status::Passed, ""),
            outcome("a/fails", Status::Failed, "expected 1, got 2"),
            outcome("a/cannot", Status::Skipped, "no IPv6 here"),
        ])
    }

    #[test]
    fn the_json_has_the_counts_and_every_field_of_every_rule() {
        let json: serde_json::Value = serde_json::from_str(&sample().to_json()).unwrap();
        assert_eq!(json["suite"], "conform");
        assert_eq!(
            (&json["passed"], &json["failed"], &json["skipped"]),
            (&1.into(), &1.into(), &1.into())
        );
        assert_eq!(
            json["rules"][1],
            serde_json::json!({
                "id": "a/fails", "title": "Something holds.", "family": "v6", "status": "failed",
                "detail": "expected 1, got 2", "micros": 17,
            })
        );
    }

    #[test]
    fn the_table_ends_with_the_count_and_shows_reasons() {
        let table = sample().to_table();
        assert_eq!(table.lines().last(), Some("1 passed, 1 failed, 1 skipped"));
        assert!(table.contains("Skipped: no IPv6 here."));
        assert!(table.contains("✗ a/fails v6: Something holds.\n  expected 1, got 2"));
    }
}
