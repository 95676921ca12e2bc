//! The measurement of one round of one workload: its parameters ([`Params`]), its result
//! ([`Measurement`] or [`Failure`]), and its clock ([`Meter`]), which all peers share.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::stats;

/// Iterations of a loop between two reads of the clock, so that short iterations do not pay for a
/// read each. The longest iteration takes a third of a millisecond: the window overshoots by 5 ms.
const ITERATIONS_PER_READ: u32 = 16;
/// A round ends without a measurement if it did not deliver [`Params::at_least`] within this time
/// after its duration.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Duration and size of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Warm-up before counting begins.
    pub warmup: Duration,
    /// Duration of counting.
    pub duration: Duration,
    /// Counting continues until this many units are delivered.
    pub at_least: u64,
    /// Handles of `fanout-10k`.
    pub handles: usize,
    /// Timers of `timers-1m`.
    pub timers: usize,
}

impl Params {
    /// A round of a full run: 400 ms after 40 ms of warm-up.
    pub fn full() -> Params {
        Params {
            warmup: Duration::from_millis(40),
            duration: Duration::from_millis(400),
            at_least: 1,
            handles: 10_000,
            timers: 1_000_000,
        }
    }

    /// A round of a quick run: 100 ms after 15 ms of warm-up, in the full sizes.
    pub fn quick() -> Params {
        Params {
            warmup: Duration::from_millis(15),
            duration: Duration::from_millis(100),
            ..Params::full()
        }
    }

    /// A round for tests of a workload: 20 units, 200 handles, 2,000 timers.
    pub fn tiny() -> Params {
        Params {
            warmup: Duration::ZERO,
            duration: Duration::ZERO,
            at_least: 20,
            handles: 200,
            timers: 2_000,
        }
    }
}

/// The result of one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Units of the workload per second.
    pub rate: f64,
    /// The share of the datagrams sent that arrived, 0 to 1, where the workload can lose some.
    pub share: Option<f64>,
    /// Percentiles of round trip times, where the workload has round trips.
    pub latency: Option<Latency>,
    /// Resident bytes of user memory per idle handle, where the workload has idle handles.
    pub bytes_per_handle: Option<f64>,
}

impl Measurement {
    /// `count` units within `elapsed`.
    pub fn of(count: u64, elapsed: Duration) -> Measurement {
        Measurement {
            rate: count as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            ..Measurement::default()
        }
    }
}

/// Percentiles of the time of a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The median, in nanoseconds.
    pub p50_ns: u64,
    /// The 99th percentile, in nanoseconds.
    pub p99_ns: u64,
}

/// The reason for a round without a measurement.
#[derive(Debug)]
pub enum Failure {
    /// The peer or this machine cannot do the workload, for this reason.
    Unsupported(String),
    /// A system call or a peer's own call failed.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unsupported(reason) => f.write_str(reason),
            Failure::Io(error) => write!(f, "failed: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

/// The result of a round, or its failure.
pub type Outcome = Result<Measurement, Failure>;

/// A count that one thread writes and any thread may read, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only one thread may add to a counter: this is a load and a store, not a locked
    /// addition.
    pub fn add(&self, n: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(n), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of a round: datagrams, round trips or closures.
#[derive(Debug, Default)]
pub struct Counters {
    /// Accepted by the kernel for sending.
    pub sent: Counter,
    /// Arrived at the receiver.
    pub delivered: Counter,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    at: Instant,
    sent: u64,
    delivered: u64,
}

impl Mark {
    pub(crate) fn of(counters: &Counters, at: Instant) -> Mark {
        Mark {
            at,
            sent: counters.sent.get(),
            delivered: counters.delivered.get(),
        }
    }

    /// Units delivered from `self` until `end`.
    pub(crate) fn delivered_until(self, end: Mark) -> u64 {
        end.delivered - self.delivered
    }

    /// The failure of a round that ended at `end` without a measurement.
    pub(crate) fn too_little(self, end: Mark, at_least: u64) -> Failure {
        Failure::Io(io::Error::other(format!(
            "{} of {at_least} units delivered within {:?}",
            self.delivered_until(end),
            end.at - self.at
        )))
    }

    /// The measurement from `self` until `end`, without a share if no datagram was counted as sent.
    pub(crate) fn until(self, end: Mark) -> Measurement {
        let delivered = end.delivered - self.delivered;
        let sent = end.sent - self.sent;
        Measurement {
            share: (sent > 0).then(|| (delivered as f64 / sent as f64).min(1.0)),
            ..Measurement::of(delivered, end.at - self.at)
        }
    }
}

/// The clock of a workload on one thread. It reads the counters after the warm-up and after the
/// duration, and then stops the loop.
#[derive(Debug)]
pub struct Meter {
    counters: Arc<Counters>,
    begins: Instant,
    duration: Duration,
    at_least: u64,
    iterations: u32,
    first: Option<Mark>,
    last: Option<Mark>,
    lap: Instant,
    laps: Vec<u64>,
}

impl Meter {
    /// A clock that starts now, for counts starting at zero.
    pub fn new(params: &Params) -> Meter {
        Meter::over(Arc::default(), params)
    }

    /// A clock that starts now, for counts that began before it.
    pub fn over(counters: Arc<Counters>, params: &Params) -> Meter {
        let now = Instant::now();
        Meter {
            counters,
            begins: now + params.warmup,
            duration: params.duration,
            at_least: params.at_least,
            iterations: 0,
            first: None,
            last: None,
            lap: now,
            laps: Vec::new(),
        }
    }

    /// The counts that this clock reads.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Called once per iteration of the loop. Returns whether the round continues.
    pub fn tick(&mut self) -> bool {
        self.iterations = self.iterations.wrapping_add(1);
        if self.iterations.is_multiple_of(ITERATIONS_PER_READ) {
            self.look(Instant::now());
        }
        self.last.is_none()
    }

    /// Called at the end of each round trip, whose time it records. Returns whether the round
    /// continues.
    pub fn lap(&mut self) -> bool {
        let now = Instant::now();
        if self.first.is_some() {
            self.laps.push((now - self.lap).as_nanos() as u64);
        }
        self.lap = now;
        self.look(now);
        self.last.is_none()
    }

    fn look(&mut self, now: Instant) {
        match self.first {
            None if now >= self.begins => self.first = Some(Mark::of(&self.counters, now)),
            Some(first) if self.last.is_none() && now >= first.at + self.duration => {
                let last = Mark::of(&self.counters, now);
                if first.delivered_until(last) >= self.at_least
                    || now >= first.at + self.duration + LONGEST_WAIT
                {
                    self.last = Some(last);
                }
            }
            _ => {}
        }
    }

    /// The measurement, after `tick` or `lap` returned `false`.
    pub fn finish(&mut self) -> Outcome {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return Err(Failure::Io(io::Error::other(
                "the loop ended before the end of the round",
            )));
        };
        if first.delivered_until(last) < self.at_least {
            return Err(first.too_little(last, self.at_least));
        }
        let measured = first.until(last);
        self.laps.sort_unstable();
        let quantile = |q| stats::quantile(&self.laps, q);
        let (Some(p50_ns), Some(p99_ns)) = (quantile(0.5), quantile(0.99)) else {
            return Ok(measured);
        };
        Ok(Measurement {
            latency: Some(Latency { p50_ns, p99_ns }),
            // A lost datagram would stop the ping-pong, so none is lost.
            share: None,
            ..measured
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARMUP: Duration = Duration::from_secs(1);
    const DURATION: Duration = Duration::from_secs(10);

    fn params() -> Params {
        Params {
            warmup: WARMUP,
            duration: DURATION,
            ..Params::full()
        }
    }

    #[test]
    fn a_meter_counts_neither_the_warm_up_nor_what_follows_the_end() {
        let mut meter = Meter::new(&params());
        let (counters, begins) = (meter.counters(), meter.begins);
        counters.sent.add(1_000_000);
        counters.delivered.add(1_000_000);
        meter.look(begins);
        counters.sent.add(400);
        counters.delivered.add(100);
        meter.look(begins + DURATION);
        counters.delivered.add(1_000_000);
        meter.look(begins + 2 * DURATION);
        let measured = meter.finish().unwrap();
        assert_eq!(measured.rate, 10.0);
        assert_eq!(measured.share, Some(0.25));
        assert_eq!(measured.latency, None);
    }

    #[test]
    fn a_meter_waits_beyond_the_duration_for_the_units_that_a_round_needs() {
        let mut meter = Meter::new(&params());
        let (counters, begins) = (meter.counters(), meter.begins);
        meter.look(begins);
        meter.look(begins + DURATION);
        assert!(meter.last.is_none());
        counters.delivered.add(1);
        meter.look(begins + 2 * DURATION);
        assert!(meter.finish().unwrap().rate > 0.0);
    }

    #[test]
    fn a_round_that_delivers_nothing_ends_without_a_measurement() {
        let mut meter = Meter::new(&params());
        let begins = meter.begins;
        meter.look(begins);
        meter.look(begins + DURATION + LONGEST_WAIT);
        let failure = meter.finish().unwrap_err().to_string();
        assert!(failure.contains("0 of 1 units"), "{failure}");
    }

    #[test]
    fn laps_become_percentiles() {
        let mut meter = Meter::new(&Params::tiny());
        let counters = meter.counters();
        loop {
            counters.delivered.add(1);
            if !meter.lap() {
                break;
            }
        }
        let latency = meter.finish().unwrap().latency.unwrap();
        assert!(latency.p50_ns > 0 && latency.p99_ns >= latency.p50_ns);
    }

    #[test]
    fn a_loop_that_ends_early_has_no_measurement() {
        assert!(Meter::new(&params()).finish().is_err());
    }

    #[test]
    fn a_share_never_exceeds_one() {
        let counters = Counters::default();
        let start = Mark::of(&counters, Instant::now());
        counters.sent.add(9);
        counters.delivered.add(10);
        let end = Mark::of(&counters, start.at + Duration::from_secs(2));
        assert_eq!(start.until(end).share, Some(1.0));
        assert_eq!(start.until(end).rate, 5.0);
    }
}
