//! Both suites as one report: the Rust rules, and beside each the outcome of the same rule in C.

use std::io;

use uv_capi_harness::Profile;

use crate::c_rules::{Programs, no_compiler};
use crate::report::{Outcome, Report};
use crate::run::{Instance, instances};

/// The selected rules.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Through the Rust API.
    pub rust: bool,
    /// Through compiled C, in both forms.
    pub c: bool,
    /// Only rules whose name and family contain every word of this.
    pub filter: String,
}

impl Selection {
    fn instances(&self) -> Vec<Instance> {
        let mut chosen = if self.rust { instances() } else { Vec::new() };
        chosen.retain(|instance| {
            let name = instance.to_string();
            let mut words = self.filter.split_whitespace();
            words.all(|word| name.contains(word))
        });
        chosen
    }

    /// The compiled rules in C: `None` if they are not selected, or without a C compiler.
    fn programs(&self) -> io::Result<Option<Programs>> {
        if self.c {
            Programs::new(Profile::Release)
        } else {
            Ok(None)
        }
    }
}

/// Checks the selected rules.
///
/// # Errors
///
/// A C library or a C program that does not build. Without a C compiler, the report has one skip.
pub fn run(selection: &Selection) -> io::Result<Report> {
    // First, so that a failed build ends the run at once.
    let in_c = match selection.programs()? {
        Some(programs) => programs.run(&selection.filter)?,
        None if selection.c => vec![no_compiler()],
        None => Vec::new(),
    };
    let in_rust = selection.instances();
    let in_rust = in_rust.iter().map(|instance| instance.run()).collect();
    Ok(Report::new(beside(in_rust, in_c)))
}

/// The names of the selected rules, each with its family and its promise.
///
/// # Errors
///
/// A C library or a C program that does not build.
pub fn list(selection: &Selection) -> io::Result<Vec<String>> {
    let line = |name: String, title: &str| format!("{name:60} {title}");
    let in_rust = selection.instances();
    let mut lines: Vec<_> = in_rust
        .iter()
        .map(|instance| line(instance.to_string(), instance.rule.title))
        .collect();
    let Some(programs) = selection.programs()? else {
        if selection.c {
            let skip = no_compiler();
            lines.push(line(format!("{} -", skip.id), &skip.detail));
        }
        return Ok(lines);
    };
    let mut in_c = programs.list(&selection.filter)?;
    in_c.retain(|rule| {
        let same = |instance: &&Instance| {
            (instance.rule.id, instance.family_name()) == (&*rule.id, &*rule.family)
        };
        !in_rust.iter().any(|instance| same(&instance))
    });
    in_c.sort_by(|one, other| (&one.id, &one.family).cmp(&(&other.id, &other.family)));
    in_c.dedup_by(|one, other| (&one.id, &one.family) == (&other.id, &other.family));
    lines.extend(in_c.iter().map(|rule| {
        let title = if rule.title.is_empty() {
            promise_of(&rule.id).unwrap_or_default()
        } else {
            &rule.title
        };
        line(format!("{} {}", rule.id, rule.family), title)
    }));
    Ok(lines)
}

/// The promise of a rule in the Rust suite.
fn promise_of(id: &str) -> Option<&'static str> {
    let instances = instances().into_iter();
    instances
        .map(|instance| instance.rule)
        .find(|rule| rule.id == id)
        .map(|rule| rule.title)
}

/// Puts the outcomes in C behind those of the same rule in Rust, and rules of C alone behind the
/// last of their group.
fn beside(in_rust: Vec<Outcome>, in_c: Vec<Outcome>) -> Vec<Outcome> {
    let mut all = in_rust;
    for mut outcome in in_c {
        if outcome.title.is_empty() {
            outcome.title = promise_of(&outcome.id).unwrap_or_default().into();
        }
        let same = |other: &Outcome| (&other.id, &other.family) == (&outcome.id, &outcome.family);
        let group = |id: &str| id.split('/').next().unwrap_or_default().to_owned();
        let akin = |other: &Outcome| group(&other.id) == group(&outcome.id);
        let place = all
            .iter()
            .rposition(same)
            .or_else(|| all.iter().rposition(akin));
        all.insert(place.map_or(all.len(), |place| place + 1), outcome);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Face, Status};

    fn outcome(id: &str, face: Face, title: &str) -> Outcome {
        Outcome {
            id: id.into(),
            face,
            title: title.into(),
            family: "v4".into(),
            status: Status::Passed,
            detail: String::new(),
            micros: 1,
        }
    }

    #[test]
    fn outcomes_in_c_follow_those_in_rust_of_the_same_rule() {
        let rust = [
            "closed/every-call-is-ebadf",
            "peer-addr/connected-is-the-peer",
        ];
        let rust = rust.map(|id| outcome(id, Face::Rust, "As Rust says."));
        let c = [
            outcome("closed/own", Face::C, "A promise of C alone."),
            outcome("elsewhere/own", Face::C, "Another."),
            outcome("closed/every-call-is-ebadf", Face::C, ""),
            outcome("closed/every-call-is-ebadf", Face::CV1, ""),
        ];
        let all = beside(rust.into(), c.into());
        let names: Vec<_> = all
            .iter()
            .map(|each| (&*each.id, each.face.name()))
            .collect();
        assert_eq!(
            names,
            [
                ("closed/every-call-is-ebadf", "rust"),
                ("closed/every-call-is-ebadf", "c"),
                ("closed/every-call-is-ebadf", "c-v1"),
                ("closed/own", "c"),
                ("peer-addr/connected-is-the-peer", "rust"),
                ("elsewhere/own", "c"),
            ]
        );
        assert!(all[1].title.contains("every call is EBADF"), "{:?}", all[1]);
    }
}
