//! The conformance suite in C, in both forms of the calls.

use std::path::Path;
use std::process::Command;

use super::toolchain::{Against, Compile, conformance, expect_success, has, workshop};

/// Runs the suite, and lists what does not hold.
fn every_rule_holds(form: &str) {
    if !has("cc") {
        return;
    }
    let dir = workshop(&format!("conform{form}"));
    let program = dir.join("conform");
    let compile = Compile {
        compiler: "cc",
        flags: &["-std=c99", form],
        against: Against::Ours,
    };
    compile.program(&conformance(), &program);
    let output = Command::new(&program).output().unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    let not_passed: Vec<_> = report
        .lines()
        .filter(|line| !line.starts_with("passed"))
        .collect();
    eprintln!("{}", not_passed.join("\n"));
    assert!(output.status.success());
    let listed = run_with(&program, "--list");
    assert!(listed.lines().count() > 100);
    assert_eq!(report.lines().count(), listed.lines().count());
}

fn run_with(program: &Path, argument: &str) -> String {
    let output = expect_success(Command::new(program).arg(argument));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_rule_holds_in_the_proposals_form() {
    every_rule_holds("-DPROPOSAL");
}

#[test]
fn every_rule_holds_in_the_form_of_libuv_1() {
    every_rule_holds("-DUV_UDP_V1");
}
