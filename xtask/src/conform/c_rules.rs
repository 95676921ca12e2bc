//! The rules through compiled C, in both forms of the calls.
//!
//! They are a C program, `crates/uv-capi/tests/c/conform`, which prints a line for each. What rules it has is read from the
//! tables in its sources, so that it is known without a compiler, and that none goes missing.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::report::{Face, Outcome, Status};
use crate::c_face::{Libraries, package};
use crate::ci::works;

/// The two forms, and how the program is compiled for each.
const FORMS: [(Face, &str); 2] = [(Face::C, "PROPOSAL"), (Face::CV1, "UV_UDP_V1")];

/// A rule of the C program, for one family and in one form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) family: &'static str,
    pub(super) face: Face,
    /// `None` if it is the one in the Rust suite.
    pub(super) title: Option<String>,
}

impl Listed {
    fn outcome(&self, status: Status, detail: &str) -> Outcome {
        Outcome {
            id: self.id.clone(),
            face: self.face,
            title: self.title.clone().unwrap_or_default(),
            family: self.family.into(),
            status,
            detail: detail.into(),
            micros: 0,
        }
    }
}

/// Every rule of the program, in the order of its sources.
pub(super) fn listed() -> io::Result<Vec<Listed>> {
    let mut all = Vec::new();
    for source in sources()? {
        all.extend(rules_in(&fs::read_to_string(source)?));
    }
    Ok(all)
}

fn sources() -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(package("tests/c/conform"))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "c"));
    paths.sort();
    Ok(paths)
}

/// The rules in the tables of a source: `EACH("id", check)` and the like, or `{"id", "promise", SCOPE, check}`.
fn rules_in(source: &str) -> Vec<Listed> {
    let mut rules = Vec::new();
    // Without the line breaks between the parts of a rule.
    let joined = source.replace(",\n     ", ", ");
    let mut only_v1 = false;
    for line in joined.lines() {
        match line {
            "#ifdef UV_UDP_V1" => only_v1 = true,
            "#else" | "#endif" => only_v1 = false,
            _ => {}
        }
        let Some(rule) = line.strip_prefix("    ") else {
            continue;
        };
        let mut quoted = rule.split('"');
        let (Some(before), Some(id)) = (quoted.next(), quoted.next()) else {
            continue;
        };
        let scopes = ["EACH(", "ONCE(", "V6(", "ISOLATED(", "ISOLATED_V4(", "{"];
        if !scopes.contains(&before) || !id.contains('/') {
            continue;
        }
        let title = (before == "{").then(|| quoted.nth(1).unwrap_or_default().to_owned());
        let families: &[_] = match (before, quoted.next().unwrap_or_default()) {
            ("ONCE(", _) => &["-"],
            ("{", scope) if scope.contains("NO_FAMILY") => &["-"],
            ("V6(", _) => &["v6"],
            ("ISOLATED_V4(", _) => &["v4"],
            _ => &["v4", "v6"],
        };
        for &family in families {
            for (face, _) in FORMS {
                if face == Face::CV1 || !only_v1 {
                    rules.push(Listed {
                        id: id.to_owned(),
                        family,
                        face,
                        title: title.clone(),
                    });
                }
            }
        }
    }
    rules
}

/// Checks the rules with every word of `filter` in their name and family, in both forms. Without a C compiler they are
/// skipped. One that the program says nothing of has failed.
///
/// # Errors
///
/// What hinders that: a library or a program that does not build.
pub(super) fn run(filter: &str) -> io::Result<Vec<Outcome>> {
    let mut wanted = listed()?;
    wanted.retain(|rule| is_chosen(filter, &rule.id, rule.family));
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    if !works("cc", &["--version"]) {
        let skip = |rule: &Listed| rule.outcome(Status::Skipped, "there is no C compiler here");
        return Ok(wanted.iter().map(skip).collect());
    }
    let dir = env::temp_dir().join(format!("uv-conform-c-{}", std::process::id()));
    let told = Libraries::build().and_then(|libraries| {
        libraries.put_into(&dir)?;
        let mut told = Vec::new();
        for (face, form) in FORMS {
            told.extend(run_form(&dir, face, form, filter)?);
        }
        Ok(told)
    });
    let _ = fs::remove_dir_all(&dir);
    let told = told?;
    let find = |rule: &Listed| {
        told.iter().find(|each| {
            (&*each.id, &*each.family, each.face) == (&*rule.id, rule.family, rule.face)
        })
    };
    let outcome = |rule: &Listed| {
        find(rule).map_or_else(
            || rule.outcome(Status::Failed, "the C program says nothing of it"),
            Clone::clone,
        )
    };
    Ok(wanted.iter().map(outcome).collect())
}

/// Whether a rule's name and family have every word of the filter in them.
pub(super) fn is_chosen(filter: &str, id: &str, family: &str) -> bool {
    let name = format!("{id} {family}");
    filter.split_whitespace().all(|word| name.contains(word))
}

/// Builds the suite in both forms into a directory, which must stay while they run. None without a C compiler.
///
/// # Errors
///
/// A library or a program that does not build.
pub(crate) fn programs(dir: &Path) -> io::Result<Vec<(&'static str, PathBuf)>> {
    if !works("cc", &["--version"]) {
        return Ok(Vec::new());
    }
    Libraries::build()?.put_into(dir)?;
    let built = FORMS.map(|(face, form)| Ok((face.name(), compile_form(dir, form)?)));
    built.into_iter().collect()
}

fn compile_form(dir: &Path, form: &str) -> io::Result<PathBuf> {
    let program = dir.join(form);
    let mut compile = Command::new("cc");
    compile.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]);
    compile.arg("-D_DEFAULT_SOURCE").arg(format!("-D{form}"));
    compile.arg("-I").arg(package("include"));
    compile.args(sources()?).arg("-L").arg(dir).arg("-luv_udp");
    compile.arg(format!("-Wl,-rpath,{}", dir.display()));
    let status = compile.arg("-o").arg(&program).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("cc: {status}")));
    }
    Ok(program)
}

fn run_form(dir: &Path, face: Face, form: &str, filter: &str) -> io::Result<Vec<Outcome>> {
    let output = Command::new(compile_form(dir, form)?)
        .args(filter.split_whitespace())
        .output()?;
    // What a library under test prints when it aborts.
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| parse(line, face)).collect())
}

/// One line of the program: status, name, family, microseconds, promise, detail, with tabs between them.
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
    use super::super::run::instances;
    use super::*;

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
    fn tables_in_c_are_read_with_their_families_and_forms() {
        let table = r#"
const rule_t some_rules[] = {
    EACH("a/one", check_one),
    ONCE("a/two", check_two),
    V6("a/three", check_three),
    ISOLATED_V4("a/only", check_only),
#ifdef UV_UDP_V1
    {"a/four", "It holds.",
     NO_FAMILY, check_four},
#endif
    END,
};
"#;
        let rules = rules_in(table);
        let names: Vec<_> = rules
            .iter()
            .map(|rule| format!("{} {} {}", rule.id, rule.family, rule.face.name()))
            .collect();
        assert_eq!(
            names,
            [
                "a/one v4 c",
                "a/one v4 c-v1",
                "a/one v6 c",
                "a/one v6 c-v1",
                "a/two - c",
                "a/two - c-v1",
                "a/three v6 c",
                "a/three v6 c-v1",
                "a/only v4 c",
                "a/only v4 c-v1",
                "a/four - c-v1",
            ]
        );
        let own = r#"    {"b/own", "A promise.", NO_FAMILY, check},"#;
        let own = rules_in(own);
        assert_eq!(own.len(), 2);
        assert_eq!(own[0].title.as_deref(), Some("A promise."));
    }

    #[test]
    fn a_rule_in_c_either_is_one_of_the_rust_suite_or_has_a_promise_of_its_own() {
        let of_rust = instances();
        for rule in listed().unwrap() {
            let known = of_rust.iter().find(|instance| {
                (instance.rule.id, instance.family_name()) == (&*rule.id, rule.family)
            });
            assert!(
                known.is_some() || rule.title.is_some(),
                "{} {} has no promise",
                rule.id,
                rule.family
            );
        }
    }

    #[test]
    fn no_rule_in_c_is_there_twice() {
        let mut names: Vec<_> = listed()
            .unwrap()
            .into_iter()
            .map(|rule| (rule.id, rule.family, rule.face))
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
