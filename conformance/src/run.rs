//! Runs each rule on a thread of its own, which may change its network namespace, panic or hang.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use uv_udp::Family;

use crate::network::{self, Near};
use crate::report::{Face, Outcome, Status};
use crate::rule::{Check, Rule};
use crate::rules;
use crate::stage::Stage;
use crate::verdict::Broken;

/// A rule that takes longer hangs: its waits have shorter deadlines.
const HANGS_AFTER: Duration = Duration::from_secs(200);

/// A rule with its address family.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    /// The rule.
    pub rule: &'static Rule,
    /// `None` where the family makes no difference.
    pub family: Option<Family>,
}

/// Every rule for every family, in the order of the suite.
pub fn instances() -> Vec<Instance> {
    let rules = rules::all().flat_map(|rules| rules.iter());
    rules
        .flat_map(|rule| {
            let families = rule.families.iter();
            families.map(move |&family| Instance { rule, family })
        })
        .collect()
}

/// The id and the family, as in `closed/every-call-is-ebadf v6`.
impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.rule.id, self.family_name())
    }
}

impl Instance {
    /// `v4`, `v6`, or `-` where the family makes no difference.
    pub fn family_name(&self) -> &'static str {
        match self.family {
            Some(Family::V4) => "v4",
            Some(Family::V6) => "v6",
            None => "-",
        }
    }

    /// The reason why this machine cannot check the rule, if it cannot.
    pub fn why_not(&self) -> Option<String> {
        let family = self.family.unwrap_or(Family::V4);
        network::why_no_family(family).or_else(|| match self.rule.check {
            Check::Plain(_) => None,
            Check::Isolated(_) => network::why_no_namespace(),
            Check::BesideOtherUser(_) => why_no_other_user(),
        })
    }

    /// Checks the rule.
    pub fn run(&self) -> Outcome {
        let began = Instant::now();
        let (status, detail) = match self.why_not() {
            Some(reason) => (Status::Skipped, reason),
            None => match self.check() {
                Ok(notes) => (Status::Passed, notes),
                Err(broken) => (Status::Failed, broken),
            },
        };
        Outcome {
            id: self.rule.id.into(),
            face: Face::Rust,
            title: self.rule.title.into(),
            family: self.family_name().into(),
            status,
            detail,
            micros: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        }
    }

    fn check(&self) -> Result<String, String> {
        let (tell, told) = mpsc::channel();
        let (check, family) = (self.rule.check, self.family.unwrap_or(Family::V4));
        let thread = thread::Builder::new()
            .name(self.to_string())
            .spawn(move || {
                let result = catch_unwind(AssertUnwindSafe(|| perform(check, family)));
                let result =
                    result.unwrap_or_else(|payload| Err(Broken::panicked(text(&*payload))));
                // After a hang the receiver is gone.
                let _ = tell.send(result.map_err(|broken| broken.to_string()));
            });
        let thread = thread.map_err(|error| format!("no thread: {error}"))?;
        match told.recv_timeout(HANGS_AFTER) {
            Ok(result) => {
                // The result is there: a panic of the thread adds nothing.
                let _ = thread.join();
                result
            }
            Err(_) => Err(format!("the rule hangs: no end within {HANGS_AFTER:?}")),
        }
    }
}

/// The reason why this machine makes no sockets of another user, if it makes none.
fn why_no_other_user() -> Option<String> {
    let attempt = thread::spawn(rules::takeover::become_other_user).join();
    let refused = !attempt.unwrap_or(false);
    refused.then(|| "no sockets of another user here: setfsuid(2) needs CAP_SETUID".to_owned())
}

fn perform(check: Check, family: Family) -> Result<String, Broken> {
    match check {
        Check::Plain(check) | Check::BesideOtherUser(check) => {
            let stage = Stage::new(family)?;
            check(&stage)?;
            Ok(stage.notes())
        }
        Check::Isolated(check) => {
            let near = Near::enter()?;
            let stage = Stage::new(family)?;
            check(&stage, &near)?;
            Ok(stage.notes())
        }
    }
}

/// The message of a panic.
fn text(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("something that is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: &'static Rule) -> Outcome {
        Instance { rule, family: None }.run()
    }

    #[test]
    fn a_rule_passes_with_its_notes() {
        static RULE: Rule = Rule::once("a/b", "It holds.", |stage| {
            stage.note("64 of 64");
            Ok(())
        });
        let outcome = run(&RULE);
        assert_eq!(outcome.status, Status::Passed);
        assert_eq!(outcome.detail, "64 of 64");
        assert_eq!(outcome.family, "-");
    }

    #[test]
    fn a_rule_fails_with_the_place_and_the_error() {
        static RULE: Rule = Rule::once("a/b", "It does not hold.", |stage| {
            stage.bound()?.send(b"", uv_udp::ignore)?;
            Ok(())
        });
        let outcome = run(&RULE);
        assert_eq!(outcome.status, Status::Failed);
        assert!(
            outcome.detail.contains("EDESTADDRREQ"),
            "{}",
            outcome.detail
        );
        assert!(outcome.detail.contains("run.rs:"), "{}", outcome.detail);
    }

    #[test]
    fn a_rule_that_panics_fails() {
        static RULE: Rule = Rule::once("a/b", "It panics.", |_| {
            std::panic::resume_unwind(Box::new("of all things"))
        });
        let outcome = run(&RULE);
        assert_eq!(outcome.status, Status::Failed);
        assert_eq!(outcome.detail, "it panicked: of all things");
    }

    #[test]
    fn there_are_enough_rules_with_good_names() {
        let instances = instances();
        let mut names: Vec<_> = instances.iter().map(Instance::to_string).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), instances.len(), "a name is used twice");
        assert!(names.len() >= 200);
        for Instance { rule, .. } in instances {
            let (group, name) = rule.id.split_once('/').expect("an id has a group");
            let kebab = |text: &str| {
                let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                !text.is_empty() && text.chars().all(fits)
            };
            assert!(kebab(group) && kebab(name), "{}", rule.id);
            assert!(rule.title.ends_with('.'), "{} is no sentence", rule.title);
        }
    }
}
