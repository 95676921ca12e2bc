//! The conformance suite in C, in both forms of the calls.

use std::path::Path;
use std::process::Command;

use super::toolchain::{Form, compile_conformance, expect_success, has, workshop};

/// Runs the suite, and prints the rules that do not hold.
fn every_rule_holds(form: Form) {
    if !has("cc") {
        return;
    }
    let dir = workshop(&format!("conform-{}", form.name()));
    let program = dir.join("conform");
    compile_conformance(form, &["-std=c99"], &program);
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
    every_rule_holds(Form::Proposal);
}

#[test]
fn every_rule_holds_in_the_form_of_libuv_1() {
    every_rule_holds(Form::LibuvV1);
}
