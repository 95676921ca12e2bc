//! Runs workloads in interleaved rounds: one round of every peer, then the next round of every
//! peer, each time starting with another peer. A slow phase of the machine then affects all peers
//! alike, and the order of the peers does not bias one of them.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    measure::{Measurement, Params},
    peers::{self, Peer, ours},
    report::{MissingPeer, PeerResult, Report, WorkloadReport},
    workload::Workload,
};

/// Every workload, in the order in which [`run`] runs them.
pub fn list() -> &'static [Workload] {
    &Workload::ALL
}

/// Number and length of the rounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Rounds of each peer in each workload.
    pub rounds: usize,
    /// Parameters of one round.
    pub params: Params,
    /// Time for all rounds, from the moment when every peer is prepared. Each workload gets an
    /// equal share of the rest, and does fewer rounds (at least one) when its share is used
    /// up.
    pub budget: Option<Duration>,
}

impl Options {
    /// Seven rounds of 400 ms.
    pub fn full() -> Options {
        Options {
            rounds: 7,
            params: Params::full(),
            budget: None,
        }
    }

    /// Three rounds of 100 ms, and an end before 50 seconds are over.
    pub fn quick() -> Options {
        Options {
            rounds: 3,
            params: Params::quick(),
            budget: Some(Duration::from_secs(50)),
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options::full()
    }
}

/// A name that is neither a workload nor a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    known: Vec<&'static str>,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownName { kind, name, known } = self;
        write!(
            f,
            "no {kind} is called `{name}`; there are {}",
            known.join(", ")
        )
    }
}

impl std::error::Error for UnknownName {}

/// The workloads and peers to run.
#[derive(Clone, Debug)]
pub struct Selection {
    workloads: Vec<Workload>,
    peers: Vec<&'static Peer>,
}

impl Selection {
    /// Every workload, every peer.
    pub fn all() -> Selection {
        Selection {
            workloads: Workload::ALL.to_vec(),
            peers: peers::ALL.to_vec(),
        }
    }

    /// The workloads and peers of those names, or all for an empty list. Ours is always among the
    /// peers, because the ratios need it. The order is that of the suite.
    ///
    /// # Errors
    ///
    /// [`UnknownName`] for a name of no workload or no peer.
    pub fn new<S: AsRef<str>>(workloads: &[S], peers: &[S]) -> Result<Selection, UnknownName> {
        let mut selection = Selection::all();
        for name in workloads.iter().map(AsRef::as_ref) {
            Workload::named(name).ok_or_else(|| UnknownName {
                kind: "workload",
                name: name.into(),
                known: Workload::ALL.map(Workload::name).to_vec(),
            })?;
        }
        for name in peers.iter().map(AsRef::as_ref) {
            peers::named(name).ok_or_else(|| UnknownName {
                kind: "peer",
                name: name.into(),
                known: peers::ALL.map(|peer| peer.name).to_vec(),
            })?;
        }
        if !workloads.is_empty() {
            let chosen =
                |each: &Workload| workloads.iter().any(|name| name.as_ref() == each.name());
            selection.workloads.retain(chosen);
        }
        if !peers.is_empty() {
            selection.peers.retain(|each| {
                each.name == ours::PEER.name || peers.iter().any(|name| name.as_ref() == each.name)
            });
        }
        Ok(selection)
    }

    /// The workloads selected.
    pub fn workloads(&self) -> &[Workload] {
        &self.workloads
    }

    /// The peers selected, ours first.
    pub fn peers(&self) -> &[&'static Peer] {
        &self.peers
    }
}

/// The next round, and the progress of the run.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Rounds done or skipped.
    pub done: usize,
    /// Rounds in all.
    pub total: usize,
    /// The workload of the next round.
    pub workload: Workload,
    /// The peer of the next round.
    pub peer: &'static str,
    /// The number of the round, from 1.
    pub round: usize,
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{} {} {} (round {})",
            self.done, self.total, self.workload, self.peer, self.round
        )
    }
}

/// Runs `selection` and returns the report. `progress` is called before each round. A peer whose
/// round fails has no result in that workload; the report has the reason, and the others continue.
pub fn run(selection: &Selection, options: &Options, progress: &mut dyn FnMut(Progress)) -> Report {
    let cells = |workload: Workload| {
        let peers = selection.peers.iter();
        peers.filter(|peer| peer.bench(workload).is_ok()).count()
    };
    let total = options.rounds
        * selection
            .workloads
            .iter()
            .copied()
            .map(cells)
            .sum::<usize>();
    for peer in &selection.peers {
        let runs = |workload: &Workload| peer.bench(*workload).is_ok();
        if let Some(prepare) = peer
            .prepare
            .filter(|_| selection.workloads.iter().any(runs))
        {
            prepare();
        }
    }
    let mut done = 0;
    let ends = options.budget.map(|budget| Instant::now() + budget);
    let mut report = Report::new();
    for (index, &workload) in selection.workloads.iter().enumerate() {
        let left = (selection.workloads.len() - index) as u32;
        let share_ends = ends.map(|ends| {
            let now = Instant::now();
            now + ends.saturating_duration_since(now) / left
        });
        let first = done;
        let mut before_round = |peer, round, index| {
            progress(Progress {
                done: first + index,
                total,
                workload,
                peer,
                round,
            });
        };
        report.workloads.push(run_one(
            workload,
            &selection.peers,
            options,
            share_ends,
            &mut before_round,
        ));
        done += options.rounds * cells(workload);
    }
    report
}

/// A peer in the rounds of one workload.
struct PeerRounds {
    peer: &'static Peer,
    bench: peers::Bench,
    rounds: Vec<Measurement>,
    failed: Option<String>,
}

fn run_one(
    workload: Workload,
    peers: &[&'static Peer],
    options: &Options,
    ends: Option<Instant>,
    before_round: &mut dyn FnMut(&'static str, usize, usize),
) -> WorkloadReport {
    let mut entries = Vec::new();
    let mut missing = Vec::new();
    for &peer in peers {
        match peer.bench(workload) {
            Ok(bench) => entries.push(PeerRounds {
                peer,
                bench,
                rounds: Vec::with_capacity(options.rounds),
                failed: None,
            }),
            Err("") => {}
            Err(reason) => missing.push(MissingPeer {
                peer: peer.name.into(),
                reason: reason.into(),
            }),
        }
    }
    let count = entries.len();
    for round in 0..options.rounds {
        if round > 0 && ends.is_some_and(|ends| Instant::now() >= ends) {
            break;
        }
        for position in 0..count {
            let entry = &mut entries[(round + position) % count];
            if entry.failed.is_some() {
                continue;
            }
            before_round(entry.peer.name, round + 1, round * count + position);
            match (entry.bench)(&options.params) {
                Ok(measurement) => entry.rounds.push(measurement),
                Err(failure) => entry.failed = Some(failure.to_string()),
            }
        }
    }
    let mut results = Vec::new();
    for entry in entries {
        let name = entry.peer.name;
        match (entry.failed, PeerResult::of(name, &entry.rounds)) {
            (None, Some(result)) => results.push(result),
            (failed, _) => missing.push(MissingPeer {
                peer: name.into(),
                reason: failed.unwrap_or_else(|| "no round was run".into()),
            }),
        }
    }
    WorkloadReport::new(workload, results, missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Failure, Outcome};
    use std::cell::RefCell;

    thread_local! {
        static ORDER: RefCell<String> = const { RefCell::new(String::new()) };
    }

    fn note(letter: char, rate: f64) -> Outcome {
        ORDER.with_borrow_mut(|order| order.push(letter));
        Ok(Measurement {
            rate,
            ..Measurement::default()
        })
    }

    const fn peer(name: &'static str, runs: &'static [(Workload, peers::Bench)]) -> Peer {
        Peer {
            name,
            about: "",
            runs,
            lacks: &[],
            otherwise: "cannot",
            prepare: None,
        }
    }

    static OURS: Peer = peer("uv-udp", &[(Workload::Posts, |_| note('o', 30.0))]);
    static FAST: Peer = peer("fast", &[(Workload::Posts, |_| note('f', 60.0))]);
    static SLOW: Peer = peer("slow", &[(Workload::Posts, |_| note('s', 10.0))]);
    static NONE: Peer = peer("none", &[]);
    static ELSEWHERE: Peer = Peer {
        otherwise: "",
        ..peer("elsewhere", &[])
    };
    static BROKEN: Peer = peer(
        "broken",
        &[(Workload::Posts, |_| {
            Err(Failure::Unsupported("broke".into()))
        })],
    );

    fn run_posts(peers: &[&'static Peer], budget: Option<Duration>) -> (Report, Vec<usize>) {
        let selection = Selection {
            workloads: vec![Workload::Posts],
            peers: peers.to_vec(),
        };
        let options = Options {
            rounds: 3,
            params: Params::tiny(),
            budget,
        };
        ORDER.take();
        let mut seen = Vec::new();
        let report = run(&selection, &options, &mut |progress| {
            assert!(progress.done < progress.total);
            seen.push(progress.done);
        });
        (report, seen)
    }

    #[test]
    fn rounds_are_interleaved_and_begin_with_another_peer_each_time() {
        let (report, seen) = run_posts(&[&OURS, &FAST, &SLOW], None);
        assert_eq!(ORDER.take(), "ofs".to_owned() + "fso" + "sof");
        assert_eq!(seen, (0..9).collect::<Vec<_>>());
        let posts = report.workload("posts").unwrap();
        assert_eq!(posts.ratios["fast"], 0.5);
        assert_eq!(posts.ratios["slow"], 3.0);
        assert!(posts.results.iter().all(|result| result.rounds == 3));
    }

    #[test]
    fn a_peer_that_cannot_or_that_fails_is_missing_with_its_reason() {
        let (report, _) = run_posts(&[&OURS, &BROKEN, &NONE], None);
        let posts = report.workload("posts").unwrap();
        assert_eq!(posts.results.len(), 1);
        let reasons: Vec<_> = posts
            .missing
            .iter()
            .map(|each| (&*each.peer, &*each.reason))
            .collect();
        assert_eq!(reasons, [("none", "cannot"), ("broken", "broke")]);
    }

    #[test]
    fn a_peer_that_is_no_candidate_is_not_mentioned() {
        let (report, _) = run_posts(&[&OURS, &ELSEWHERE], None);
        assert_eq!(report.workloads[0].missing, []);
    }

    #[test]
    fn a_peer_is_prepared_once_before_anybodys_round_and_only_if_it_has_one() {
        static PREPARED: Peer = Peer {
            prepare: Some(|| ORDER.with_borrow_mut(|order| order.push('P'))),
            ..peer("prepared", &[(Workload::Posts, |_| note('p', 5.0))])
        };
        static IDLE: Peer = Peer {
            prepare: Some(|| ORDER.with_borrow_mut(|order| order.push('I'))),
            ..peer("idle", &[(Workload::Burst45, |_| note('i', 5.0))])
        };
        run_posts(&[&OURS, &PREPARED, &IDLE], Some(Duration::ZERO));
        assert_eq!(ORDER.take(), "Pop");
    }

    #[test]
    fn a_spent_budget_leaves_one_round() {
        let (report, _) = run_posts(&[&OURS, &FAST], Some(Duration::ZERO));
        assert!(
            report.workloads[0]
                .results
                .iter()
                .all(|result| result.rounds == 1)
        );
    }

    #[test]
    fn a_selection_always_has_ours_and_keeps_the_order_of_the_suite() {
        let selection = Selection::new(&["posts", "burst-45"], &["tokio", "raw"]).unwrap();
        assert_eq!(selection.workloads(), [Workload::Burst45, Workload::Posts]);
        let names: Vec<_> = selection.peers().iter().map(|peer| peer.name).collect();
        assert_eq!(names, ["uv-udp", "raw", "tokio"]);
        let everything = Selection::new::<&str>(&[], &[]).unwrap();
        assert_eq!(everything.workloads(), list());
        assert_eq!(everything.peers().len(), peers::ALL.len());
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let refused = Selection::new(&["bursts"], &[]).unwrap_err().to_string();
        assert!(
            refused.contains("no workload is called `bursts`") && refused.contains("burst-1200")
        );
        let refused = Selection::new(&[], &["libev"]).unwrap_err().to_string();
        assert!(refused.contains("no peer is called `libev`") && refused.contains("quinn-udp"));
    }
}
