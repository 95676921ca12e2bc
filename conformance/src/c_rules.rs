//! The rules through compiled C, in both forms of the calls.
//!
//! The C program `crates/uv-capi/tests/c/conform` lists its rules (`--list`) and checks them. Without
//! a C compiler, one skipped outcome stands for all of its rules.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use uv_capi_harness::{Form, Profile, conformance_program, has_compiler};

use crate::report::{Face, Outcome, Status};

/// A rule of the C program, for one family and in one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) family: String,
    pub(crate) face: Face,
    /// Empty if the Rust suite has a rule of the same id.
    pub(crate) title: String,
}

/// The C program in both forms, in a directory that is removed with this value.
pub(crate) struct Programs {
    directory: PathBuf,
    programs: Vec<(Face, PathBuf)>,
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Programs {
    /// Compiles the program. `None` without a C compiler.
    ///
    /// # Errors
    ///
    /// A library or a program that does not build.
    pub(crate) fn new(profile: Profile) -> io::Result<Option<Self>> {
        if !has_compiler() {
            return Ok(None);
        }
        let directory = env::temp_dir().join(format!("uv-conform-c-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let mut all = Self {
            directory,
            programs: Vec::new(),
        };
        for (face, form) in [(Face::C, Form::Proposal), (Face::CV1, Form::LibuvV1)] {
            let program = all.directory.join(form.name());
            conformance_program(form, profile, &["-std=c99", "-O2"], &program)?;
            all.programs.push((face, program));
        }
        Ok(Some(all))
    }

    /// The rules of both forms with every word of `filter` in their id and family.
    pub(crate) fn list(&self, filter: &str) -> io::Result<Vec<Listed>> {
        let mut all = Vec::new();
        for (_, program) in &self.programs {
            let text = output(Command::new(program).arg("--list"), filter)?;
            all.extend(text.lines().filter_map(parse_listed));
        }
        Ok(all)
    }

    /// Checks the rules with every word of `filter` in their id and family, in both forms. A
    /// listed rule without a result fails.
    pub(crate) fn run(&self, filter: &str) -> io::Result<Vec<Outcome>> {
        let mut reported = Vec::new();
        for (face, program) in &self.programs {
            reported.extend(run_form(program, *face, filter)?);
        }
        let listed = self.list(filter)?;
        let outcome = |rule: Listed| {
            let found = reported.iter().find(|each| {
                (&each.id, &each.family, each.face) == (&rule.id, &rule.family, rule.face)
            });
            found.cloned().unwrap_or_else(|| Outcome {
                id: rule.id,
                face: rule.face,
                title: rule.title,
                family: rule.family,
                status: Status::Failed,
                detail: "the C program reports no result".into(),
                micros: 0,
            })
        };
        Ok(listed.into_iter().map(outcome).collect())
    }
}

/// The outcome for all rules in C on a machine without a C compiler.
pub(crate) fn no_compiler() -> Outcome {
    Outcome {
        id: "c/every-rule".into(),
        face: Face::C,
        title: "The rules in C hold.".into(),
        family: "-".into(),
        status: Status::Skipped,
        detail: "no C compiler here".into(),
        micros: 0,
    }
}

fn run_form(program: &Path, face: Face, filter: &str) -> io::Result<Vec<Outcome>> {
    let text = output(&mut Command::new(program), filter)?;
    Ok(text.lines().filter_map(|line| parse(line, face)).collect())
}

/// Runs the program with the words of a filter. Its exit status repeats its output.
fn output(program: &mut Command, filter: &str) -> io::Result<String> {
    let output = program.args(filter.split_whitespace()).output()?;
    // The messages of an aborting library.
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A line of `--list`: id, family, form and promise, separated by tabs.
fn parse_listed(line: &str) -> Option<Listed> {
    let mut fields = line.split('\t').map(str::to_owned);
    let (id, family, form) = (fields.next()?, fields.next()?, fields.next()?);
    let face = [Face::C, Face::CV1]
        .into_iter()
        .find(|face| face.name() == form)?;
    Some(Listed {
        id,
        family,
        face,
        title: fields.next()?,
    })
}

/// A line of a check: status, id, family, microseconds, promise, detail, separated by tabs.
fn parse(line: &str, face: Face) -> Option<Outcome> {
    let mut fields = line.split('\t');
    let status = match fields.next()? {
        "passed" => Status::Passed,
        "failed" => Status::Failed,
        "skipped" => Status::Skipped,
        _ => return None,
    };
    let (id, family) = (fields.next()?.into(), fields.next()?.into());
    let micros = fields.next()?.parse().ok()?;
    Some(Outcome {
        id,
        face,
        title: fields.next()?.into(),
        family,
        status,
        detail: fields.next()?.into(),
        micros,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::run::instances;

    #[test]
    fn a_line_of_the_c_program_is_a_rule_of_the_report() {
        let line = "failed\tbind/flags\tv6\t12\tIt knows its flags.\tx == 1";
        let outcome = parse(line, Face::C).unwrap();
        assert_eq!((&*outcome.id, outcome.face), ("bind/flags", Face::C));
        assert_eq!((outcome.family.as_str(), outcome.micros), ("v6", 12));
        assert_eq!(outcome.status, Status::Failed);
        assert_eq!(outcome.detail, "x == 1");
        assert!(parse("nonsense", Face::C).is_none());
    }

    #[test]
    fn a_line_of_the_list_names_the_form_and_perhaps_a_promise() {
        let rule = parse_listed("bind/flags\t-\tc-v1\t").unwrap();
        assert_eq!((rule.face, &*rule.title), (Face::CV1, ""));
        let own = parse_listed("fork/a-child\tv6\tc\tIt holds.").unwrap();
        assert_eq!((&*own.family, &*own.title), ("v6", "It holds."));
        assert!(parse_listed("bind/flags\tv4\trust\t").is_none());
    }

    #[test]
    fn a_rule_in_c_is_listed_once_and_has_a_promise_of_its_own_or_one_of_the_rust_suite() {
        let Some(programs) = Programs::new(Profile::current()).unwrap() else {
            crate::skipped("no C compiler here");
            return;
        };
        let rust: BTreeSet<_> = instances()
            .iter()
            .map(|instance| {
                (
                    instance.rule.id.to_owned(),
                    instance.family_name().to_owned(),
                )
            })
            .collect();
        let mut names = BTreeSet::new();
        for rule in programs.list("").unwrap() {
            let name = (rule.id.clone(), rule.family.clone());
            assert!(
                !rule.title.is_empty() || rust.contains(&name),
                "{name:?} has no promise"
            );
            assert!(names.insert((name, rule.face)), "{rule:?} is there twice");
        }
        assert!(!names.is_empty());
    }
}
