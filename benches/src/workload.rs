//! The workloads: names, units and sizes. Every peer is measured on the same list. This module does
//! not know the peers.

use std::{fmt, ops::Range};

/// Bytes of a small datagram: the text that libuv's own pummel benchmark sends.
pub const SMALL: usize = 45;
/// Bytes of a large datagram: a QUIC or DTLS packet on a path with an MTU of 1,500.
pub const LARGE: usize = 1200;
/// Sends outstanding in the burst workloads.
pub const BURST: usize = 64;
/// One in this many `fanout-10k` handles is active at a time.
pub const FANOUT_SHARE: usize = 100;
/// Iterations of the loop for which one set of `fanout-10k` handles stays active.
pub const FANOUT_ITERATIONS: usize = 100;
/// Milliseconds within which the timers of `timers-1m` are due, from 1. Starting a million timers
/// takes longer, so the processor bounds the run and not the wait.
pub const TIMER_SPREAD_MS: u64 = 50;
/// Closures in `posts` that are posted and not yet run, at most.
pub const POSTS_WINDOW: u64 = 8192;
/// Sends in `posts-send` that are posted and not yet executed, at most. libuv receives this many in
/// one iteration, so the figure measures the hand-over and not a starved receiver.
pub const POSTED_SENDS_WINDOW: u64 = 32;

/// The 45 bytes of libuv's pummel benchmark, in the five slices in which it sends them.
pub const SLICES: [&[u8]; 5] = [
    b"RANG TANG",
    b" DING DON",
    b"G I AM TH",
    b"E JAPANES",
    b"E SANDMAN",
];

/// The slices of the pummel copied into one buffer, for peers that send from one slice.
pub fn gathered_slices() -> [u8; SMALL] {
    let mut data = [0; SMALL];
    let mut rest = &mut data[..];
    for slice in SLICES {
        let (head, tail) = rest.split_at_mut(slice.len());
        head.copy_from_slice(slice);
        rest = tail;
    }
    data
}

/// `size` bytes to send: the pummel text, repeated.
pub fn payload(size: usize) -> Vec<u8> {
    SLICES.concat().into_iter().cycle().take(size).collect()
}

/// The due times of `timers-1m`, in milliseconds from the start: scattered, and the same for every
/// peer.
pub fn timer_delays(count: usize) -> impl Iterator<Item = u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        1 + state % TIMER_SPREAD_MS
    })
}

/// The handles of `fanout-10k` that are active in each iteration.
#[derive(Debug)]
pub struct ActiveSets {
    handles: usize,
    size: usize,
    start: usize,
    iterations: usize,
}

impl ActiveSets {
    /// Sets of one in [`FANOUT_SHARE`] of `handles`.
    pub fn new(handles: usize) -> ActiveSets {
        ActiveSets {
            handles,
            size: (handles / FANOUT_SHARE).max(1),
            start: 0,
            iterations: 0,
        }
    }

    /// Handles of one set.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The set for the next iteration. It changes after [`FANOUT_ITERATIONS`] iterations.
    pub fn next_set(&mut self) -> Range<usize> {
        if self.iterations == FANOUT_ITERATIONS {
            self.iterations = 0;
            self.start += self.size;
            if self.start + self.size > self.handles {
                self.start = 0;
            }
        }
        self.iterations += 1;
        self.start..self.start + self.size
    }
}

/// One workload of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Workload {
    Pummel1,
    Pummel10,
    Pummel100,
    Connected1,
    Burst45,
    Burst1200,
    TwoLoops1200,
    PingPong45,
    Fanout10k,
    Timers1m,
    Posts,
    PostsSend,
}

impl Workload {
    /// Every workload, in the order in which the suite runs them.
    pub const ALL: [Workload; 12] = [
        Workload::Pummel1,
        Workload::Pummel10,
        Workload::Pummel100,
        Workload::Connected1,
        Workload::Burst45,
        Workload::Burst1200,
        Workload::TwoLoops1200,
        Workload::PingPong45,
        Workload::Fanout10k,
        Workload::Timers1m,
        Workload::Posts,
        Workload::PostsSend,
    ];

    /// The name on the command line and in every report.
    pub const fn name(self) -> &'static str {
        match self {
            Workload::Pummel1 => "pummel-1v1",
            Workload::Pummel10 => "pummel-10v10",
            Workload::Pummel100 => "pummel-100v100",
            Workload::Connected1 => "connected-1",
            Workload::Burst45 => "burst-45",
            Workload::Burst1200 => "burst-1200",
            Workload::TwoLoops1200 => "two-loops-1200",
            Workload::PingPong45 => "pingpong-45",
            Workload::Fanout10k => "fanout-10k",
            Workload::Timers1m => "timers-1m",
            Workload::Posts => "posts",
            Workload::PostsSend => "posts-send",
        }
    }

    /// The unit of the rate.
    pub const fn unit(self) -> &'static str {
        match self {
            Workload::PingPong45 => "round trips/s",
            Workload::Timers1m => "timers/s",
            Workload::Posts => "closures/s",
            _ => "datagrams/s",
        }
    }

    /// A description in one sentence.
    pub const fn about(self) -> &'static str {
        match self {
            Workload::Pummel1 => {
                "1 unconnected sender and 1 receiver on one loop, one send outstanding, 45 bytes in 5 slices; delivered"
            }
            Workload::Pummel10 => {
                "10 unconnected senders and 10 receivers on one loop, one send outstanding each, 45 bytes in 5 slices; \
                 delivered"
            }
            Workload::Pummel100 => {
                "100 unconnected senders and 100 receivers on one loop, one send outstanding each, 45 bytes in \
                 5 slices; delivered"
            }
            Workload::Connected1 => {
                "a connected sender and a receiver on one loop, one send outstanding, 45 bytes; delivered"
            }
            Workload::Burst45 => {
                "a connected sender and a receiver on one loop, 64 sends outstanding, 45 bytes; delivered, and the \
                 share delivered"
            }
            Workload::Burst1200 => {
                "a connected sender and a receiver on one loop, 64 sends outstanding, 1,200 bytes; delivered, and the \
                 share delivered"
            }
            Workload::TwoLoops1200 => {
                "a connected sender and a receiver on a thread each, 64 sends outstanding, 1,200 bytes, unpaced; \
                 delivered, and the share delivered"
            }
            Workload::PingPong45 => {
                "two sockets connected to each other on one loop, 45 bytes there and back; round trips, each one \
                 timed for the percentiles"
            }
            Workload::Fanout10k => {
                "10,000 connected handles on one loop, 100 active at a time (the next 100 after 100 iterations), 45 bytes \
                 to each; delivered, and resident user memory per handle"
            }
            Workload::Timers1m => {
                "a million timers created and started, due in 1 to 50 ms, until the last has fired"
            }
            Workload::Posts => {
                "closures posted to the loop by another thread, at most 8,192 waiting; run"
            }
            Workload::PostsSend => {
                "sends of 45 bytes handed to the loop by another thread, at most 32 waiting; delivered to a receiver \
                 on the loop"
            }
        }
    }

    /// The workload of that name.
    pub fn named(name: &str) -> Option<Workload> {
        Workload::ALL.into_iter().find(|each| each.name() == name)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_found_by_its_own_name() {
        for workload in Workload::ALL {
            assert_eq!(Workload::named(workload.name()), Some(workload));
        }
        assert_eq!(Workload::named("pummel"), None);
    }

    #[test]
    fn the_slices_are_the_small_datagram() {
        assert_eq!(SLICES.concat(), gathered_slices());
        assert_eq!(
            payload(SMALL),
            b"RANG TANG DING DONG I AM THE JAPANESE SANDMAN"
        );
        assert_eq!(payload(LARGE).len(), LARGE);
    }

    #[test]
    fn the_active_set_moves_on_and_comes_round() {
        let mut sets = ActiveSets::new(250);
        assert!((0..FANOUT_ITERATIONS).all(|_| sets.next_set() == (0..2)));
        assert!((0..FANOUT_ITERATIONS).all(|_| sets.next_set() == (2..4)));
        let starts: Vec<usize> = (0..FANOUT_ITERATIONS * 125)
            .map(|_| sets.next_set().start)
            .collect();
        assert!(starts.contains(&248) && starts.last() == Some(&2));
    }

    #[test]
    fn timer_delays_are_scattered_within_the_spread_and_repeatable() {
        let delays: Vec<u64> = timer_delays(1000).collect();
        assert!(delays.iter().all(|ms| (1..=TIMER_SPREAD_MS).contains(ms)));
        assert!(delays.contains(&1) && delays.contains(&TIMER_SPREAD_MS));
        assert_eq!(delays, timer_delays(1000).collect::<Vec<_>>());
    }
}
