//! System calls are really refused (seccomp(2)), and the promises hold all the same: a part of what `cargo xtask ci` checks.

use std::process::Command;

use xtask::conform::{Report, Status};

/// What the suite finds, for the rules that are chosen; `None` where no system calls can be refused.
fn conform_without(refused: &[&str], filter: &str) -> Option<Report> {
    let this = env!("CARGO_BIN_EXE_xtask");
    let deny = |program: &[&str]| {
        let mut command = Command::new(this);
        command.arg("deny").args(refused).arg("--").args(program);
        command
    };
    if !deny(&["true"]).status().unwrap().success() {
        println!("skipped: no system calls can be refused here");
        return None;
    }
    let arguments = ["conform", "--face", "rust", "--format", "json", "--filter"];
    let output = deny(&[this]).args(arguments).arg(filter).output().unwrap();
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.failed, 0, "{}", report.failures_and_count());
    assert!(report.passed > 0, "{filter}");
    Some(report)
}

#[test]
fn an_option_that_is_refused_is_a_capability_that_is_missing() {
    let refused = [
        "setsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
        "getsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
    ];
    let rule = "transmit/a-default-segment-size-cuts-everything v4";
    if let Some(report) = conform_without(&refused, rule) {
        let outcomes = report.rules.iter();
        let passed = outcomes.filter(|outcome| outcome.status == Status::Passed);
        let notes: Vec<_> = passed.map(|outcome| &*outcome.detail).collect();
        assert_eq!(notes, ["this kernel has no segmentation"]);
    }
    conform_without(&refused, "disconnect");
}

#[test]
fn an_option_that_is_set_without_an_effect_is_a_capability_that_is_missing() {
    let refused = [
        "setsockopt:SOL_UDP:UDP_SEGMENT=0",
        "getsockopt:SOL_UDP:UDP_SEGMENT=ENOPROTOOPT",
    ];
    conform_without(&refused, "sys/capabilities");
    conform_without(&refused, "batch/");
}

#[test]
fn no_datagram_is_lost_where_batches_are_refused() {
    for error in ["EPERM", "ENOSYS"] {
        let refused =
            ["sendmmsg", "recvmmsg", "epoll_pwait2"].map(|call| format!("{call}={error}"));
        let refused: Vec<_> = refused.iter().map(|text| &**text).collect();
        for filter in [
            "batch/",
            "order/",
            "fairness/an-idle-loop-sleeps",
            "errors/",
        ] {
            conform_without(&refused, filter);
        }
    }
}
