//! Both suites as one: the Rust rules, and beside each what C says of the same promise.

use std::io;

use super::c_rules;
use super::not_in_c::NOT_IN_C;
use super::report::{Outcome, Report};
use super::run::{Instance, instances};

/// What is checked.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Through the Rust API.
    pub rust: bool,
    /// Through compiled C, in both forms.
    pub c: bool,
    /// Only rules whose name and family have every word of this in them.
    pub filter: String,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self {
            rust: true,
            c: true,
            filter: String::new(),
        }
    }

    fn instances(&self) -> Vec<Instance> {
        let mut chosen = if self.rust { instances() } else { Vec::new() };
        chosen.retain(|instance| {
            c_rules::is_chosen(&self.filter, instance.rule.id, instance.family_name())
        });
        chosen
    }
}

/// Checks what is selected.
///
/// # Errors
///
/// What hinders the rules in C: a library or a program that does not build. That there is no C compiler is none: those
/// rules are skipped.
pub fn run(selection: &Selection) -> io::Result<Report> {
    // First, so that what does not build is told at once.
    let in_c = if selection.c {
        c_rules::run(&selection.filter)?
    } else {
        Vec::new()
    };
    let in_rust = selection.instances();
    let in_rust = in_rust.iter().map(|instance| instance.run()).collect();
    Ok(Report::new(beside(in_rust, in_c)))
}

/// The names of what is selected, each with its family and its promise.
///
/// # Errors
///
/// That the sources of the rules in C cannot be read.
pub fn list(selection: &Selection) -> io::Result<Vec<String>> {
    let mut in_c = if selection.c {
        c_rules::listed()?
    } else {
        Vec::new()
    };
    in_c.retain(|rule| c_rules::is_chosen(&selection.filter, &rule.id, rule.family));
    let mut lines = Vec::new();
    for instance in selection.instances() {
        let reason = NOT_IN_C.iter().find(|(id, _)| *id == instance.rule.id);
        let reason = reason.filter(|_| selection.c);
        let reason = reason.map_or_else(String::new, |(_, reason)| format!(" Not in C: {reason}."));
        lines.push(format!(
            "{:60} {}{reason}",
            instance.to_string(),
            instance.rule.title
        ));
        in_c.retain(|rule| (&*rule.id, rule.family) != (instance.rule.id, instance.family_name()));
    }
    in_c.dedup_by(|one, other| (&one.id, one.family) == (&other.id, other.family));
    lines.extend(in_c.iter().map(|rule| {
        let title = rule.title.as_deref().or_else(|| promise_of(&rule.id));
        let name = format!("{} {}", rule.id, rule.family);
        format!("{name:60} {}", title.unwrap_or_default())
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

/// Puts what C says of a promise behind what Rust says of it, and promises of C's own behind the last of their group.
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
    use super::super::report::{Face, Status};
    use super::*;

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
    fn what_c_says_stands_beside_what_rust_says_of_the_same_promise() {
        let rust = ["send/connected-sends", "peer-addr/connected-is-the-peer"];
        let rust = rust.map(|id| outcome(id, Face::Rust, "As Rust says."));
        let c = [
            outcome("send/own", Face::C, "A promise of C's own."),
            outcome("elsewhere/own", Face::C, "Another."),
            outcome("send/connected-sends", Face::C, ""),
            outcome("send/connected-sends", Face::CV1, ""),
        ];
        let all = beside(rust.into(), c.into());
        let names: Vec<_> = all
            .iter()
            .map(|each| (&*each.id, each.face.name()))
            .collect();
        assert_eq!(
            names,
            [
                ("send/connected-sends", "rust"),
                ("send/connected-sends", "c"),
                ("send/connected-sends", "c-v1"),
                ("send/own", "c"),
                ("peer-addr/connected-is-the-peer", "rust"),
                ("elsewhere/own", "c"),
            ]
        );
        assert!(all[1].title.contains("reaches the peer"), "{:?}", all[1]);
    }

    #[test]
    fn a_list_names_each_rule_once_and_says_what_c_cannot() {
        let lines = list(&Selection {
            filter: "reports/ v4".into(),
            ..Selection::all()
        })
        .unwrap();
        let full = lines.iter().filter(|line| line.contains("told-in-full"));
        let full: Vec<_> = full.collect();
        assert_eq!(full.len(), 1);
        assert!(full[0].contains("Not in C: "), "{}", full[0]);
        let own = list(&Selection {
            filter: "loop/walks".into(),
            rust: false,
            ..Selection::all()
        });
        assert_eq!(own.unwrap().len(), 1);
    }
}
