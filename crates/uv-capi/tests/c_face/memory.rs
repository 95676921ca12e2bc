//! Nothing leaks, and no callback touches memory that is gone: every program under valgrind and under AddressSanitizer.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolchain::{Against, Compile, conformance, expect_success, has, source, workshop};

const PROGRAMS: [&str; 7] = [
    "echo_server",
    "retransmit",
    "recvmmsg",
    "multicast",
    "walk_and_close",
    "helpers",
    "events",
];

/// Every program, and the conformance suite in both forms, compiled with these flags.
fn compiled(dir: &Path, flags: &[&str]) -> Vec<PathBuf> {
    let compile = |name: &str, sources: &[PathBuf], form: &str, against| {
        let program = dir.join(name);
        let flags: Vec<_> = flags.iter().copied().chain([form]).collect();
        let compile = Compile {
            compiler: "cc",
            flags: &flags,
            against,
        };
        compile.program(sources, &program);
        program
    };
    let mut programs: Vec<_> = PROGRAMS
        .map(|name| {
            let source = source(&format!("{name}.c"));
            compile(name, &[source], "-DPROGRAM", Against::OursAsLibuv)
        })
        .into();
    for (name, form) in [("conform", "-DPROPOSAL"), ("conform1", "-DUV_UDP_V1")] {
        programs.push(compile(name, &conformance(), form, Against::Ours));
    }
    programs
}

#[test]
fn valgrind_finds_no_leak_and_no_error() {
    if !has("cc") || !has("valgrind") {
        return;
    }
    let dir = workshop("valgrind");
    for program in compiled(&dir, &["-std=c11"]) {
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
fn address_sanitizer_finds_no_leak_and_no_error() {
    if !has("cc") {
        return;
    }
    let dir = workshop("sanitizer");
    let probe = Command::new("cc")
        .args(["-fsanitize=address,undefined", "-xc", "-", "-o"])
        .arg(dir.join("probe"))
        .stdin(std::process::Stdio::null())
        .output();
    let text = probe.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    if text.is_ok_and(|text| text.contains("asan")) {
        eprintln!("skipped: the compiler has no AddressSanitizer");
        return;
    }
    let flags = [
        "-std=c11",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ];
    for program in compiled(&dir, &flags) {
        expect_success(&mut Command::new(program));
    }
}
