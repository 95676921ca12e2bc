//! The conformance suite through compiled C: the rules that C can express, in both forms of the calls, in the same report.
//!
//! The rules themselves are a C program, `crates/uv-capi/tests/c/conform`, which prints a line for each.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::c_face::{Libraries, package};
use crate::conform::{Outcome, Report, Status};

/// The two forms: how the program is compiled, and how its rules are called here.
const FORMS: [(&str, &str); 2] = [("PROPOSAL", "c/"), ("UV_UDP_V1", "c-v1/")];

/// Compiles and runs the rules whose name and family have every word of `filter` in them.
///
/// # Errors
///
/// What hinders that: no C compiler, a program that does not compile or says what nobody understands.
pub fn run(filter: &str) -> io::Result<Report> {
    let dir = env::temp_dir().join(format!("uv-conform-c-{}", std::process::id()));
    let outcomes = Libraries::build().and_then(|libraries| {
        libraries.put_into(&dir)?;
        let mut outcomes = Vec::new();
        for (form, prefix) in FORMS {
            outcomes.extend(run_form(&dir, form, prefix)?);
        }
        Ok(outcomes)
    });
    let _ = fs::remove_dir_all(&dir);
    let chosen = outcomes?.into_iter().filter(|outcome| {
        let name = format!("{} {}", outcome.id, outcome.family);
        filter.split_whitespace().all(|word| name.contains(word))
    });
    Ok(Report::new(chosen.collect()))
}

fn run_form(dir: &Path, form: &str, prefix: &str) -> io::Result<Vec<Outcome>> {
    let program = dir.join(form);
    let sources = fs::read_dir(package("tests/c/conform"))?
        .map(|entry| Ok(entry?.path()))
        .filter(|path: &io::Result<_>| {
            path.as_ref()
                .is_ok_and(|path| path.extension().is_some_and(|end| end == "c"))
        })
        .collect::<io::Result<Vec<_>>>()?;
    let mut compile = Command::new("cc");
    compile.args(["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror"]);
    compile.arg("-D_DEFAULT_SOURCE").arg(format!("-D{form}"));
    compile.arg("-I").arg(package("include"));
    compile.args(sources).arg("-L").arg(dir).arg("-luv_udp");
    compile.arg(format!("-Wl,-rpath,{}", dir.display()));
    let status = compile.arg("-o").arg(&program).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("cc: {status}")));
    }
    let output = Command::new(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let outcomes: Vec<_> = text
        .lines()
        .filter_map(|line| parse(line, prefix))
        .collect();
    let told_of_failure = outcomes.iter().any(|rule| rule.status == Status::Failed);
    if outcomes.is_empty() || output.status.success() == told_of_failure {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!(
            "the rules in C ended with {} after {} lines\n{said}",
            output.status,
            outcomes.len()
        )));
    }
    Ok(outcomes)
}

/// One line of the program: status, name, family, microseconds, promise, detail, with tabs between them.
fn parse(line: &str, prefix: &str) -> Option<Outcome> {
    let mut fields = line.split('\t');
    let status = match fields.next()? {
        "passed" => Status::Passed,
        "failed" => Status::Failed,
        "skipped" => Status::Skipped,
        _ => return None,
    };
    let id = format!("{prefix}{}", fields.next()?);
    let family = fields.next()?.into();
    let micros = fields.next()?.parse().ok()?;
    Some(Outcome {
        id,
        title: fields.next()?.into(),
        family,
        status,
        detail: fields.next()?.into(),
        micros,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_c_program_is_a_rule_of_the_report() {
        let line = "failed\tbind/flags\tv6\t12\tIt knows its flags.\tx == 1";
        let outcome = parse(line, "c/").unwrap();
        assert_eq!(outcome.id, "c/bind/flags");
        assert_eq!((outcome.family.as_str(), outcome.micros), ("v6", 12));
        assert_eq!(outcome.status, Status::Failed);
        assert_eq!(outcome.detail, "x == 1");
        assert!(parse("nonsense", "c/").is_none());
    }
}
