//! Nothing leaks, and no callback touches memory that is gone: every program under valgrind and under AddressSanitizer.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolchain::{Against, Compile, expect_success, has, source, workshop};

const PROGRAMS: [&str; 7] = [
    "echo_server",
    "retransmit",
    "recvmmsg",
    "multicast",
    "walk_and_close",
    "helpers",
    "events",
];

fn compiled(dir: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = dir.join(name);
    let compile = Compile {
        compiler: "cc",
        flags,
        against: Against::OursAsLibuv,
    };
    compile.program(&source(&format!("{name}.c")), &program);
    program
}

#[test]
fn valgrind_finds_no_leak_and_no_error() {
    if !has("cc") || !has("valgrind") {
        return;
    }
    let dir = workshop("valgrind");
    for name in PROGRAMS {
        let program = compiled(&dir, name, &["-std=c11"]);
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
    for name in PROGRAMS {
        let flags = [
            "-std=c11",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
        ];
        expect_success(&mut Command::new(compiled(&dir, name, &flags)));
    }
}
