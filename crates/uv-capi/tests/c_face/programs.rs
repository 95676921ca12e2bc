//! Programs written for libuv print the same with libuv and with this library.

use std::fs;

use super::toolchain::{Against, PROGRAMS, compile, has, run, source, workshop};

/// Compiles a program of `tests/c` against one library, and compares its output.
fn prints_the_expected_output(name: &str, against: Against) {
    let dir = workshop(&format!("{name}-{against:?}"));
    let program = dir.join(name);
    let source_file = source(&format!("{name}.c"));
    compile("cc", &["-std=c11"], against, &[source_file], &program);
    let expected = fs::read_to_string(source(&format!("expected/{name}.txt"))).unwrap();
    assert_eq!(run(&program), expected, "{name} against {against:?}");
}

#[test]
fn every_program_prints_the_expected_output() {
    if has("cc") {
        for name in PROGRAMS {
            prints_the_expected_output(name, Against::OursAsLibuv);
        }
    }
}

#[test]
#[ignore = "a step of `cargo xtask ci`: libuv"]
fn every_program_prints_the_same_with_libuv() {
    for name in PROGRAMS {
        prints_the_expected_output(name, Against::Libuv);
    }
}
