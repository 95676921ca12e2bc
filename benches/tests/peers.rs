//! Runs every workload of every peer for a few units, and checks the reported figures.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::Command;

use uv_benches::{
    Options, Selection, Workload, list,
    measure::{Measurement, Params},
    peers::{self, Peer},
    run, table,
};

fn measure(peer: &Peer, workload: Workload) -> Option<Measurement> {
    let bench = peer.bench(workload).ok()?;
    let measured = bench(&Params::tiny());
    Some(measured.unwrap_or_else(|failure| panic!("{} {workload}: {failure}", peer.name)))
}

fn every_workload_of(name: &str) {
    let peer = peers::named(name).expect("a peer");
    for &workload in list() {
        let Some(measured) = measure(peer, workload) else {
            continue;
        };
        assert!(measured.rate > 0.0, "{name} {workload}: {measured:?}");
        if let Some(share) = measured.share {
            assert!(
                share > 0.0 && share <= 1.0,
                "{name} {workload}: {measured:?}"
            );
        }
        let round_trips = workload == Workload::PingPong45;
        assert_eq!(measured.latency.is_some(), round_trips, "{name} {workload}");
    }
}

#[test]
fn ours() {
    every_workload_of("uv-udp");
}

#[test]
fn c_face() {
    if Command::new("cc").arg("--version").output().is_err() {
        // The test harness does not capture the handle, as it does `eprintln!`.
        let _ = writeln!(io::stderr(), "skipped c_face: there is no `cc` here");
        return;
    }
    every_workload_of("uv-udp (C)");
}

#[test]
fn raw() {
    every_workload_of("raw");
    every_workload_of("raw-plain");
    every_workload_of("raw-epoll");
    every_workload_of("raw-epoll-plain");
}

#[test]
fn libuv() {
    every_workload_of("libuv");
    every_workload_of("libuv-try");
}

#[test]
fn mio() {
    every_workload_of("mio");
}

#[test]
fn tokio() {
    every_workload_of("tokio");
}

#[test]
fn quinn_udp() {
    every_workload_of("quinn-udp");
}

#[test]
fn names_are_unique() {
    let names: HashSet<_> = peers::ALL.iter().map(|peer| peer.name).collect();
    assert_eq!(names.len(), peers::ALL.len());
}

#[test]
fn every_peer_is_a_candidate_for_some_workload() {
    for peer in peers::ALL {
        let candidate = |&&workload: &&Workload| peer.bench(workload) != Err("");
        assert!(list().iter().filter(candidate).count() > 0, "{}", peer.name);
    }
}

#[test]
fn without_its_feature_libuv_says_how_to_install_it() {
    let libuv = peers::named("libuv").expect("a peer");
    if let Err(reason) = libuv.bench(Workload::Timers1m) {
        assert!(reason.contains("apt install libuv1-dev"), "{reason}");
    }
}

#[test]
fn a_run_of_two_peers_becomes_a_table() {
    let options = Options {
        rounds: 2,
        params: Params::tiny(),
        budget: None,
    };
    let selection = Selection::new(&["connected-1", "timers-1m"], &["raw", "tokio"]).unwrap();
    let mut rounds = 0;
    let report = run(&selection, &options, &mut |_| rounds += 1);
    let results: usize = report.workloads.iter().map(|each| each.results.len()).sum();
    assert_eq!(rounds, 2 * results);
    let connected = report.workload("connected-1").unwrap();
    assert!(connected.result("raw").unwrap().median > 0.0);
    let text = table(&report);
    assert!(text.contains("timers-1m") && text.contains("a timer queue is not a system call"));
}
