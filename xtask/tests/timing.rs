//! No test depends on how fast the machine is: none sleeps, and none but a deadline bounds an elapsed time from above.

use std::fs;
use std::path::{Path, PathBuf};

/// Where tests are, from the workspace.
const TESTS: [&str; 9] = [
    "crates/uv-sys/src",
    "crates/uv-sys/tests",
    "crates/uv-core/src",
    "crates/uv-core/tests",
    "crates/uv-udp/src",
    "crates/uv-udp/tests",
    "crates/uv-capi/tests",
    "conformance/src/rules",
    "benches/tests",
];

/// What a line of a test must not contain, and what may stand in the same line all the same.
const FORBIDDEN: [(&str, &str); 6] = [
    ("thread::sleep", ""),
    ("usleep(", ""),
    ("nanosleep(", ""),
    ("park_timeout(", ""),
    (".elapsed() < ", "DEADLINE"),
    (".elapsed() <= ", "DEADLINE"),
];

/// Lines that do not judge by time, with the reason.
const EXCEPTIONS: [(&str, &str, &str); 4] = [
    (
        "crates/uv-udp/tests/idle.rs",
        "thread::sleep(REST)",
        "the test counts the system calls of a program at rest, however long it rests",
    ),
    (
        "crates/uv-core/tests/functional/run.rs",
        "while start.elapsed() < time",
        "lets time pass, at least so much",
    ),
    (
        "crates/uv-core/src/iteration.rs",
        "while start.elapsed() < Duration::from_nanos(WAIT)",
        "lets time pass, at least so much",
    ),
    (
        "conformance/src/rules/timers.rs",
        "while begin.elapsed() < WORK",
        "works in a callback, at least so long",
    ),
];

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| ["rs", "c", "h"].iter().any(|each| end == *each))
        {
            found.push(path);
        }
    }
}

#[test]
fn no_test_sleeps_or_bounds_an_elapsed_time_from_above() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut used = [false; EXCEPTIONS.len()];
    let mut offending = Vec::new();
    for directory in TESTS {
        let mut files = Vec::new();
        sources(&workspace.join(directory), &mut files);
        assert!(!files.is_empty(), "{directory} has no sources");
        for file in files {
            let name = file.strip_prefix(workspace).unwrap().display().to_string();
            for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
                let forbidden = FORBIDDEN.iter().any(|(text, unless)| {
                    line.contains(text) && (unless.is_empty() || !line.contains(unless))
                });
                if !forbidden {
                    continue;
                }
                let exception = EXCEPTIONS
                    .iter()
                    .position(|(file, text, _)| *file == name && line.contains(text));
                match exception {
                    Some(exception) => used[exception] = true,
                    None => offending.push(format!("{name}:{}: {}", number + 1, line.trim())),
                }
            }
        }
    }
    assert!(offending.is_empty(), "{}", offending.join("\n"));
    for ((file, text, _), used) in EXCEPTIONS.iter().zip(used) {
        assert!(used, "{file} no longer contains `{text}`");
    }
}
