//! Memory: every program runs under valgrind and AddressSanitizer without a leak or an invalid access.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolchain::{
    Against, Form, PROGRAMS, compile, compile_conformance, expect_success, source, workshop,
};

/// Every program, compiled with these flags.
fn programs(dir: &Path, flags: &[&str]) -> Vec<PathBuf> {
    let compiled = PROGRAMS.map(|name| {
        let program = dir.join(name);
        let sources = [source(&format!("{name}.c"))];
        compile("cc", flags, Against::OursAsLibuv, &sources, &program);
        program
    });
    compiled.into()
}

/// The conformance rules in one form, compiled with these flags.
fn suite(dir: &Path, flags: &[&str], form: Form) -> PathBuf {
    let program = dir.join(format!("conform-{}", form.name()));
    compile_conformance(form, flags, &program);
    program
}

/// Runs the programs that are compiled in a workshop of that name.
fn clean_under_valgrind(name: &str, compiled: impl FnOnce(&Path) -> Vec<PathBuf>) {
    for program in compiled(&workshop(name)) {
        let mut valgrind = Command::new("valgrind");
        valgrind.args([
            "--quiet",
            "--leak-check=full",
            "--show-leak-kinds=all",
            "--errors-for-leak-kinds=all",
            "--error-exitcode=9",
        ]);
        expect_success(valgrind.arg(program));
    }
}

#[test]
#[ignore = "a step of `cargo xtask ci`: valgrind"]
fn valgrind_finds_no_leak_and_no_error() {
    clean_under_valgrind("valgrind", |dir| programs(dir, &["-std=c11"]));
}

// One for each form, so that they run beside each other: valgrind is slow.
#[test]
#[ignore = "a step of `cargo xtask ci`: valgrind"]
fn valgrind_finds_nothing_in_the_rules_in_the_proposals_form() {
    clean_under_valgrind("valgrind-rules", |dir| {
        vec![suite(dir, &["-std=c11"], Form::Proposal)]
    });
}

#[test]
#[ignore = "a step of `cargo xtask ci`: valgrind"]
fn valgrind_finds_nothing_in_the_rules_in_the_form_of_libuv_1() {
    clean_under_valgrind("valgrind-rules1", |dir| {
        vec![suite(dir, &["-std=c11"], Form::LibuvV1)]
    });
}

#[test]
#[ignore = "a step of `cargo xtask ci`: sanitizers"]
fn address_sanitizer_finds_no_leak_and_no_error() {
    let dir = workshop("sanitizer");
    let flags = [
        "-std=c11",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ];
    let mut compiled = programs(&dir, &flags);
    compiled.extend(Form::ALL.map(|form| suite(&dir, &flags, form)));
    for program in compiled {
        expect_success(&mut Command::new(program));
    }
}
