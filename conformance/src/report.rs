//! The report of a run: a table for people, JSON for programs.

use std::collections::BTreeSet;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// The result of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Passed,
    /// It does not hold.
    Failed,
    /// This machine cannot check it.
    Skipped,
}

/// The API through which a rule was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Face {
    /// The Rust API.
    Rust,
    /// Compiled C, in the proposal's form.
    C,
    /// Compiled C, in libuv 1.x's form.
    #[serde(rename = "c-v1")]
    CV1,
}

impl Face {
    /// The name in JSON and at the head of a column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::CV1 => "c-v1",
        }
    }
}

/// One rule, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Group and name.
    pub id: String,
    /// The API of the check.
    pub face: Face,
    /// The promise.
    pub title: String,
    /// `v4`, `v6` or `-`.
    pub family: String,
    /// The result.
    pub status: Status,
    /// A note, the failure, or the reason of a skip.
    pub detail: String,
    /// The time of the check in microseconds.
    pub micros: u64,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Always `"conform"`.
    pub suite: String,
    /// Rules that hold.
    pub passed: usize,
    /// Rules that do not hold.
    pub failed: usize,
    /// Rules that this machine cannot check.
    pub skipped: usize,
    /// All rules in the order of the suite. The outcomes of one rule are adjacent, by family and
    /// face.
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

    /// A table with a line per rule and family and a column per face. Below it are the failures,
    /// and the count as the last line.
    pub fn to_table(&self) -> String {
        let faces: BTreeSet<_> = self.rules.iter().map(|rule| rule.face).collect();
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let mut header: Vec<_> = faces.iter().map(|face| face.name()).collect();
        header.extend(["rule", "", "µs", "promise"]);
        table.set_header(header);
        for line in self
            .rules
            .chunk_by(|one, next| (&one.id, &one.family) == (&next.id, &next.family))
        {
            let signs = faces.iter().map(|&face| {
                let of_it = line.iter().find(|rule| rule.face == face);
                of_it.map_or("", |rule| sign(rule.status)).to_owned()
            });
            let micros: u64 = line.iter().map(|rule| rule.micros).sum();
            let mut cells: Vec<_> = signs.collect();
            cells.extend([
                line[0].id.clone(),
                line[0].family.clone(),
                micros.to_string(),
                promise(line, faces.len() > 1),
            ]);
            table.add_row(cells);
        }
        if let Some(column) = table.column_mut(faces.len() + 2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        format!("{}\n{}", table.trim_fmt(), self.failures_and_count())
    }

    /// The failures with their reasons, and the count as the last line.
    pub fn failures_and_count(&self) -> String {
        let failed = self
            .rules
            .iter()
            .filter(|rule| rule.status == Status::Failed);
        let failures = failed.map(|rule| {
            let Outcome {
                id,
                face,
                title,
                family,
                detail,
                ..
            } = rule;
            let face = face.name();
            format!("\n✗ {id} {family} ({face}): {title}\n  {detail}\n")
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

/// The promise of a line, with its notes and the reasons of skips.
fn promise(line: &[Outcome], names_faces: bool) -> String {
    let mut text = line[0].title.clone();
    let mut told = Vec::new();
    for rule in line.iter().filter(|rule| !rule.detail.is_empty()) {
        let Outcome { status, detail, .. } = rule;
        let faces = line
            .iter()
            .filter(|other| (&other.status, &other.detail) == (status, detail));
        let faces: Vec<_> = faces.map(|rule| rule.face.name()).collect();
        let by = if names_faces && faces.len() < line.len() {
            format!(" {}", faces.join(", "))
        } else {
            String::new()
        };
        let more = match status {
            Status::Passed if by.is_empty() => format!(" ({detail})"),
            Status::Passed => format!(" ({}: {detail})", by.trim_start()),
            Status::Skipped => format!(" Skipped{by}: {detail}."),
            // The failures are below the table.
            Status::Failed => continue,
        };
        if !told.contains(&more) {
            text.push_str(&more);
            told.push(more);
        }
    }
    text
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

    fn outcome(id: &str, face: Face, status: Status, detail: &str) -> Outcome {
        Outcome {
            id: id.into(),
            face,
            title: "Something holds.".into(),
            family: "v6".into(),
            status,
            detail: detail.into(),
            micros: 17,
        }
    }

    fn sample() -> Report {
        Report::new(vec![
            outcome("a/passes", Face::Rust, Status::Passed, ""),
            outcome("a/fails", Face::Rust, Status::Failed, "expected 1, got 2"),
            outcome("a/cannot", Face::Rust, Status::Skipped, "no IPv6 here"),
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
                "id": "a/fails", "face": "rust", "title": "Something holds.", "family": "v6", "status": "failed",
                "detail": "expected 1, got 2", "micros": 17,
            })
        );
    }

    #[test]
    fn faces_have_the_same_name_in_json_and_in_the_table() {
        for face in [Face::Rust, Face::C, Face::CV1] {
            let json = serde_json::to_value(face).unwrap();
            assert_eq!(json, face.name());
        }
    }

    #[test]
    fn the_table_ends_with_the_count_and_shows_reasons() {
        let table = sample().to_table();
        assert_eq!(table.lines().last(), Some("1 passed, 1 failed, 1 skipped"));
        assert!(table.contains("Skipped: no IPv6 here."));
        assert!(table.contains("✗ a/fails v6 (rust): Something holds.\n  expected 1, got 2"));
    }

    #[test]
    fn the_faces_of_a_rule_share_a_line() {
        let table = Report::new(vec![
            outcome("a/both", Face::Rust, Status::Passed, "one of two"),
            outcome("a/both", Face::C, Status::Skipped, "no compiler"),
            outcome("a/both", Face::CV1, Status::Skipped, "no compiler"),
            outcome("a/rust", Face::Rust, Status::Passed, ""),
            outcome("b/c", Face::C, Status::Failed, "x == 1"),
        ])
        .to_table();
        let words = |line: usize| -> Vec<_> {
            let line = table.lines().nth(line).unwrap_or_default();
            line.split_whitespace().collect()
        };
        assert_eq!(words(0), ["rust", "c", "c-v1", "rule", "µs", "promise"]);
        assert_eq!(words(1)[..6], ["✓", "–", "–", "a/both", "v6", "51"]);
        assert!(
            table.contains("(rust: one of two) Skipped c, c-v1: no compiler."),
            "{table}"
        );
        assert_eq!(words(2)[..3], ["✓", "a/rust", "v6"]);
        assert_eq!(words(3)[..3], ["✗", "b/c", "v6"]);
        assert!(table.contains("✗ b/c v6 (c): Something holds.\n  x == 1"));
    }
}
