//! `cargo xtask ci`: every check that a change must pass, as named steps. Each step is timed, and
//! the first failure ends the run. A step without its tool is skipped with the reason.

use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::packages;
use crate::step::{Done, Failed, Step, Tool, Work, passes, tests_pass};
use crate::stress;
use crate::tools::{build_messages, cargo, works};

const fn step(name: &'static str, about: &'static str, needs: Option<Tool>, work: Work) -> Step {
    Step {
        name,
        about,
        needs,
        work,
    }
}

/// All steps in their order: quick ones that fail often come first.
#[rustfmt::skip]
static STEPS: [Step; 15] = [
    step("fmt", "the code is formatted", None, Work::Cargo("fmt --all --check")),
    step("clippy", "clippy and the compiler report nothing", None, Work::Cargo("clippy --quiet --workspace --all-targets -- -D warnings")),
    step("docs", "the documentation builds without warnings", None, Work::Function(docs)),
    step("test", "the tests of the workspace pass", None, Work::Cargo("test --workspace")),
    step("conform", "the conformance suite passes, through Rust and through compiled C", None, Work::Function(conform)),
    step("sanitizers", "AddressSanitizer and UBSan find nothing in the C programs and the rules in C", Some(Tool::CompilerWithSanitizers), Work::Tests("test --quiet --package uv-capi --test c_face -- --ignored address_sanitizer")),
    step("libuv", "the C programs do the same with libuv, and beside it", Some(Tool::CompilerWithLibuv), Work::Tests("test --quiet --package uv-capi --test c_face -- --ignored with_libuv beside_libuv")),
    step("strace", "an idle loop, and a handle after an option was switched off, make no extra system calls", Some(Tool::Strace), Work::Tests("test --quiet --package uv-udp --test idle --test switched_off -- --ignored")),
    step("inject", "the conformance suite in Rust passes under injected system call errors", Some(Tool::Strace), Work::Tests("test --quiet --package conformance --test inject -- --ignored")),
    step("sandbox", "the conformance suite in Rust passes with refused system calls", None, Work::Tests("test --quiet --package conformance --test sandbox -- --ignored")),
    step("fuzz", "the fuzz targets find nothing in a minute each", None, Work::Function(crate::fuzz::step)),
    step("stress", "every test passes under conditions that expose races, for a minute", None, Work::Function(stress)),
    step("valgrind", "valgrind finds nothing in the tests of the crates, in Rust and in C", Some(Tool::Valgrind), Work::Function(valgrind)),
    step("miri", "Miri finds nothing in the pointers that the kernel gets", Some(Tool::Miri), Work::Function(miri)),
    step("package", "each published crate packages, with the usual files alone", None, Work::Function(packages::package)),
];

/// The names of all steps.
pub fn names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|step| step.name)
}

/// Runs the steps except those in `skip`. Returns whether all of them held.
pub fn run(skip: &[String]) -> bool {
    let chosen = STEPS
        .iter()
        .filter(|step| !skip.iter().any(|name| name == step.name));
    let mut summary = Vec::new();
    let began = Instant::now();
    let mut holds = true;
    for step in chosen {
        println!("── {}: {}", step.name, step.about);
        let began = Instant::now();
        let (sign, remark) = match step.run() {
            Ok(Done::Holds(remark)) => ('✓', remark),
            Ok(Done::Skipped(reason)) => ('–', format!("skipped: {reason}")),
            Err(Failed(reason)) => {
                holds = false;
                ('✗', reason)
            }
        };
        let (name, seconds) = (step.name, began.elapsed().as_secs_f64());
        let line = format!("{sign} {name:10} {seconds:6.1} s  {remark}");
        println!("{line}\n");
        summary.push(line);
        if !holds {
            break;
        }
    }
    println!("── together, {:.1} s", began.elapsed().as_secs_f64());
    summary
        .iter()
        .for_each(|line| println!("{}", line.trim_end()));
    holds
}

fn docs() -> Result<Done, Failed> {
    let mut command = cargo("doc --quiet --workspace --no-deps");
    command.env("RUSTDOCFLAGS", "-D warnings");
    passes(command)
}

fn conform() -> Result<Done, Failed> {
    let mut suite = cargo("run --quiet --package conformance -- --format json");
    let output = suite.stderr(Stdio::inherit()).output()?;
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failed(format!("the report is no JSON: {error}")))?;
    let (passed, failed, skipped) = (&report["passed"], &report["failed"], &report["skipped"]);
    let count = format!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        return Ok(Done::Holds(count));
    }
    let rules = report["rules"].as_array().into_iter().flatten();
    let failures = rules.filter(|rule| rule["status"] == "failed").map(|rule| {
        let field = |name: &str| rule[name].as_str().unwrap_or_default();
        let (id, family, face) = (field("id"), field("family"), field("face"));
        format!(
            "✗ {id} {family} ({face}): {}\n  {}\n",
            field("title"),
            field("detail")
        )
    });
    Err(Failed(failures.collect::<String>() + &count))
}

fn stress() -> Result<Done, Failed> {
    if stress::run(&stress::Arguments::default())? {
        Ok(Done::Holds(String::new()))
    } else {
        Err(Failed("some tests failed".into()))
    }
}

/// Test binaries that only start other programs, which valgrind does not follow.
const START_OTHERS: [&str; 3] = ["c_face", "idle", "switched_off"];

/// Test cases of each property under valgrind, which slows them down thirty times.
const CASES_UNDER_VALGRIND: &str = "8";

fn valgrind() -> Result<Done, Failed> {
    let mut build = cargo("test --quiet --no-run --message-format json");
    for package in packages::names(packages::is_crate)? {
        build.args(["--package", &package]);
    }
    let messages = build_messages(build)?;
    let tests = messages.iter().filter(|message| {
        let name = message["target"]["name"].as_str();
        message["profile"]["test"] == true && !name.is_some_and(|name| START_OTHERS.contains(&name))
    });
    let mut count = 0;
    for binary in tests.filter_map(|test| test["executable"].as_str()) {
        let mut command = Command::new("valgrind");
        command.env("PROPTEST_CASES", CASES_UNDER_VALGRIND);
        command.args(["--quiet", "--error-exitcode=1", binary, "--quiet"]);
        passes(command)?;
        count += 1;
    }
    if !works("cc", &["--version"]) {
        let remark = format!("{count} binaries; in C skipped: no C compiler");
        return Ok(Done::Holds(remark));
    }
    tests_pass(cargo(
        "test --quiet --package uv-capi --test c_face -- --ignored valgrind",
    ))?;
    Ok(Done::Holds(format!("{count} binaries, and C")))
}

/// The tests of the receive calls in uv-sys, which replace the kernel's calls by their own.
fn miri() -> Result<Done, Failed> {
    let mut command = Command::new("cargo");
    command.args(["+nightly", "miri", "test", "--quiet", "--package", "uv-sys"]);
    command.args(["--lib", "--target-dir", "target/miri", "recv_ring::"]);
    tests_pass(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_different_names() {
        let mut names: Vec<_> = names().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
