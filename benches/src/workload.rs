//! The workloads: what is measured, under which name and in which unit. Every peer is measured on the same list;
//! nothing here knows how a peer does the work.

use std::{fmt, ops::Range};

/// Bytes of a small datagram: the text that libuv's own pummel benchmark sends.
pub const SMALL: usize = 45;
/// Bytes of a large datagram: what a QUIC or DTLS stack sends over a path of ordinary MTU.
pub const LARGE: usize = 1200;
/// Sends outstanding in the burst workloads.
pub const BURST: usize = 64;
/// Of all `fanout-10k` handles, one in this many is active at a time.
pub const FANOUT_SHARE: usize = 100;
/// Turns of the loop for which one set of `fanout-10k` handles stays active, before the next handles take over.
pub const FANOUT_TURNS: usize = 100;
/// Timers of `timers-1m` fall due within this many milliseconds, 1 the earliest: sooner than a million are started,
/// so that the run is bound by the processor and not by waiting.
pub const TIMER_SPREAD_MS: u64 = 50;
/// Closures posted and not yet run at any time in `posts`.
pub const POSTS_WINDOW: u64 = 8192;
/// Sends handed over and not yet carried out at any time in `posts-send`: no more than libuv receives in a turn of its
/// loop, so that the figure is about handing over and not about starving a receiver, which the bursts show.
pub const POSTED_SENDS_WINDOW: u64 = 32;

/// The 45 bytes of libuv's pummel benchmark, in the five slices in which it sends them.
pub const SLICES: [&[u8]; 5] = [
    b"RANG TANG",
    b" DING DON",
    b"G I AM TH",
    b"E JAPANES",
    b"E SANDMAN",
];

/// The slices of the pummel copied into one buffer, for those who send from one.
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

/// The due times of `timers-1m`, in milliseconds from the start: scattered, and the same for every peer.
pub fn timer_delays(count: usize) -> impl Iterator<Item = u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        1 + state % TIMER_SPREAD_MS
    })
}

/// Which handles of `fanout-10k` are active in each turn of the loop.
#[derive(Debug)]
pub struct ActiveSets {
    handles: usize,
    size: usize,
    start: usize,
    turns: usize,
}

impl ActiveSets {
    /// Sets of one in [`FANOUT_SHARE`] of so many handles.
    pub fn new(handles: usize) -> ActiveSets {
        ActiveSets {
            handles,
            size: (handles / FANOUT_SHARE).max(1),
            start: 0,
            turns: 0,
        }
    }

    /// Handles of one set.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The set for the next turn: the same for [`FANOUT_TURNS`] turns, then the one after it.
    pub fn turn(&mut self) -> Range<usize> {
        if self.turns == FANOUT_TURNS {
            self.turns = 0;
            self.start += self.size;
            if self.start + self.size > self.handles {
                self.start = 0;
            }
        }
        self.turns += 1;
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

    /// What the rate counts.
    pub const fn unit(self) -> &'static str {
        match self {
            Workload::PingPong45 => "round trips/s",
            Workload::Timers1m => "timers/s",
            Workload::Posts => "closures/s",
            _ => "datagrams/s",
        }
    }

    /// What the workload does and measures, in a sentence.
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
                "10,000 connected handles on one loop, 100 active in a turn (the next 100 after 100 turns), 45 bytes \
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
        assert!((0..FANOUT_TURNS).all(|_| sets.turn() == (0..2)));
        assert!((0..FANOUT_TURNS).all(|_| sets.turn() == (2..4)));
        let starts: Vec<usize> = (0..FANOUT_TURNS * 125).map(|_| sets.turn().start).collect();
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
