//! The results of a run, as plain structs that serialize to
//! `{"suite":"bench","machine":{…},"workloads":[{"name","unit","results":[…],"ratios":{…}}]}`.

use std::{collections::BTreeMap, fs, thread};

use serde::{Deserialize, Serialize};

use crate::{
    measure::Measurement,
    peers::{libuv, ours},
    stats,
    workload::Workload,
};

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `"bench"`.
    pub suite: String,
    /// The machine.
    pub machine: Machine,
    /// The workloads, in the order of the suite.
    pub workloads: Vec<WorkloadReport>,
}

impl Report {
    pub(crate) fn new() -> Report {
        Report {
            suite: "bench".into(),
            machine: Machine::here(),
            workloads: Vec::new(),
        }
    }

    /// The workload of that name, if it was run.
    pub fn workload(&self, name: &str) -> Option<&WorkloadReport> {
        self.workloads.iter().find(|each| each.name == name)
    }

    /// The report as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys")
    }
}

/// The machine and the build that were measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The name of the processor.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// The operating system and its version.
    pub kernel: String,
    /// `"release"` or `"debug"`. Figures of a debug build are not comparable.
    pub build: String,
    /// The version of the C library libuv, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libuv: Option<String>,
}

impl Machine {
    /// This machine.
    pub fn here() -> Machine {
        let unknown = || "unknown".to_owned();
        let cpu = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")
            .map(|release| format!("{} {}", std::env::consts::OS, release.trim()));
        Machine {
            cpu: cpu.unwrap_or_else(unknown),
            cores: thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            build: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .into(),
            libuv: libuv::version(),
        }
    }
}

/// One workload with the result of each peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkloadReport {
    /// The workload's name.
    pub name: String,
    /// The unit of the figures, as `"datagrams/s"`.
    pub unit: String,
    /// The result of each peer, ours first.
    pub results: Vec<PeerResult>,
    /// Our median divided by the peer's, for each peer. Empty if ours was not measured.
    pub ratios: BTreeMap<String, f64>,
    /// The peers without a result, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingPeer>,
}

impl WorkloadReport {
    pub(crate) fn new(
        workload: Workload,
        results: Vec<PeerResult>,
        missing: Vec<MissingPeer>,
    ) -> WorkloadReport {
        let our_median = results
            .iter()
            .find(|result| result.peer == ours::PEER.name)
            .map(|result| result.median);
        let ratios = our_median.map_or_else(BTreeMap::new, |our_median| {
            let others = results
                .iter()
                .filter(|result| result.peer != ours::PEER.name);
            others
                .filter(|result| result.median > 0.0)
                .map(|result| (result.peer.clone(), our_median / result.median))
                .collect()
        });
        WorkloadReport {
            name: workload.name().into(),
            unit: workload.unit().into(),
            results,
            ratios,
            missing,
        }
    }

    /// The result of `peer`, if there is one.
    pub fn result(&self, peer: &str) -> Option<&PeerResult> {
        self.results.iter().find(|result| result.peer == peer)
    }
}

/// The result of one peer in one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerResult {
    /// The peer's name.
    pub peer: String,
    /// The median rate of all rounds, in the unit of the workload.
    pub median: f64,
    /// The slowest round.
    pub min: f64,
    /// The fastest round.
    pub max: f64,
    /// The number of rounds.
    pub rounds: usize,
    /// The median share of the datagrams sent that arrived, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// The median of the rounds' median round-trip times, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ns: Option<f64>,
    /// The median of the rounds' 99th percentiles of the round-trip time, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<f64>,
    /// The median of the resident bytes of user memory per idle handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_handle: Option<f64>,
}

impl PeerResult {
    /// The result of the rounds of `peer`, or `None` if there were none.
    pub fn of(peer: &str, rounds: &[Measurement]) -> Option<PeerResult> {
        let rates: Vec<f64> = rounds.iter().map(|round| round.rate).collect();
        let (min, max) = stats::extent(&rates)?;
        let median_of = |field: &dyn Fn(&Measurement) -> Option<f64>| {
            stats::median(&rounds.iter().filter_map(field).collect::<Vec<_>>())
        };
        Some(PeerResult {
            peer: peer.into(),
            median: stats::median(&rates)?,
            min,
            max,
            rounds: rounds.len(),
            share: median_of(&|round| round.share),
            p50_ns: median_of(&|round| round.latency.map(|latency| latency.p50_ns as f64)),
            p99_ns: median_of(&|round| round.latency.map(|latency| latency.p99_ns as f64)),
            bytes_per_handle: median_of(&|round| round.bytes_per_handle),
        })
    }
}

/// A peer without a result in a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingPeer {
    /// The peer's name.
    pub peer: String,
    /// The reason.
    pub reason: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::measure::Latency;
    use serde_json::{Value, json};

    fn round(rate: f64) -> Measurement {
        Measurement {
            rate,
            ..Measurement::default()
        }
    }

    /// A report with one workload, two results and one peer missing.
    pub(crate) fn sample() -> Report {
        let ours = PeerResult::of("uv-udp", &[round(300.0), round(100.0), round(200.0)]).unwrap();
        let libuv = PeerResult::of(
            "libuv",
            &[Measurement {
                rate: 160.0,
                share: Some(0.5),
                latency: Some(Latency {
                    p50_ns: 7_000,
                    p99_ns: 12_000,
                }),
                bytes_per_handle: Some(216.0),
            }],
        )
        .unwrap();
        let missing = MissingPeer {
            peer: "mio".into(),
            reason: "has no timers".into(),
        };
        let mut report = Report::new();
        report.machine.libuv = None;
        report.workloads.push(WorkloadReport::new(
            Workload::Burst1200,
            vec![ours, libuv],
            vec![missing],
        ));
        report
    }

    #[test]
    fn the_json_has_the_agreed_shape() {
        let value: Value = serde_json::from_str(&sample().to_json()).unwrap();
        assert_eq!(value["suite"], "bench");
        for key in ["cpu", "cores", "kernel", "build"] {
            assert!(!value["machine"][key].is_null(), "{key}");
        }
        assert_eq!(
            value["workloads"],
            json!([{
                "name": "burst-1200",
                "unit": "datagrams/s",
                "results": [
                    {"peer": "uv-udp", "median": 200.0, "min": 100.0, "max": 300.0, "rounds": 3},
                    {"peer": "libuv", "median": 160.0, "min": 160.0, "max": 160.0, "rounds": 1, "share": 0.5,
                     "p50_ns": 7000.0, "p99_ns": 12000.0, "bytes_per_handle": 216.0},
                ],
                "ratios": {"libuv": 1.25},
                "missing": [{"peer": "mio", "reason": "has no timers"}],
            }])
        );
    }

    #[test]
    fn a_report_survives_the_way_to_json_and_back() {
        let report = sample();
        assert_eq!(
            serde_json::from_str::<Report>(&report.to_json()).unwrap(),
            report
        );
    }

    #[test]
    fn without_ours_there_are_no_ratios() {
        let raw = PeerResult::of("raw", &[round(1.0)]).unwrap();
        let report = WorkloadReport::new(Workload::Posts, vec![raw], Vec::new());
        assert!(report.ratios.is_empty());
    }

    #[test]
    fn no_rounds_are_no_result() {
        assert_eq!(PeerResult::of("raw", &[]), None);
    }
}
