//! The promises hold under errors that strace(1) injects: errors that a kernel may return at any
//! time and seldom returns.

use std::process::{Command, Stdio};

use conformance::Report;

/// An interrupted call, and a batch without room.
const INJECTED: [&str; 2] = [
    "sendmsg:error=EINTR:when=3+3",
    "sendmmsg:error=EAGAIN:when=2+2",
];

#[test]
#[ignore = "a step of `cargo xtask ci`: inject"]
fn every_rule_holds_under_each_injected_error() {
    for injected in INJECTED {
        let inject = format!("inject={injected}");
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &inject])
            .arg(env!("CARGO_BIN_EXE_conformance"))
            .args(["--face", "rust", "--format", "json"]);
        let output = strace.stderr(Stdio::inherit()).output().unwrap();
        let report: Report = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            report.failed,
            0,
            "{injected}{}",
            report.failures_and_count()
        );
    }
}
