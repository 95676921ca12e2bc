//! The promises hold with refused system calls (seccomp(2)).

use std::process::Command;

use conformance::{Report, Status};

/// The report on the selected rules; `None` on a kernel without seccomp filters.
fn conform_without(refused: &[&str], filter: &str) -> Option<Report> {
    let deny = |program: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deny"));
        command.args(refused).arg("--").args(program);
        command
    };
    if !deny(&["true"]).status().unwrap().success() {
        println!("skipped: no system calls can be refused here");
        return None;
    }
    let arguments = ["--face", "rust", "--format", "json", "--filter"];
    let suite = env!("CARGO_BIN_EXE_conformance");
    let output = deny(&[suite]).args(arguments).arg(filter).output().unwrap();
    let report: Report = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report.failed, 0, "{}", report.failures_and_count());
    assert!(report.passed > 0, "{filter}");
    Some(report)
}

/// Refusals of one run, as `cargo xtask deny` reads them.
const REFUSALS: [&[&str]; 7] = [
    // Container filters that are older than the call.
    &["epoll_pwait2=EPERM"],
    &["sendmmsg=EPERM"],
    &["recvmmsg=EPERM"],
    // Kernels and filters without the call.
    &["epoll_pwait2=ENOSYS", "sendmmsg=ENOSYS"],
    &["recvmmsg=ENOSYS"],
    &[
        "setsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
        "getsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
        "setsockopt:SOL_UDP:UDP_GRO=EPERM",
        "getsockopt:SOL_UDP:UDP_GRO=EPERM",
    ],
    // gVisor: setting the option succeeds without an effect.
    &[
        "setsockopt:SOL_UDP:UDP_SEGMENT=0",
        "getsockopt:SOL_UDP:UDP_SEGMENT=ENOPROTOOPT",
        "setsockopt:SOL_UDP:UDP_GRO=0",
        "getsockopt:SOL_UDP:UDP_GRO=ENOPROTOOPT",
    ],
];

#[test]
#[ignore = "a step of `cargo xtask ci`: sandbox"]
fn every_rule_holds_under_each_refusal() {
    for refused in REFUSALS {
        conform_without(refused, "");
    }
}

#[test]
fn an_option_that_is_refused_is_a_capability_that_is_missing() {
    let refused = [
        "setsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
        "getsockopt:SOL_UDP:UDP_SEGMENT=EPERM",
    ];
    let rule = "transmit/segment-size-in-every-form v4";
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
