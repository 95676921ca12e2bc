//! How a handle reads next, from what it lately found: one datagram or many, at once or when ready_reads.
//!
//! Each of these is a bet on the near future being like the near past, and costs one system call at most when it is lost.

use std::cell::Cell;

use crate::shared::RECV_SLOTS;

/// Reads in a row that found one datagram alone, after which the handle asks for one at a time: one recvmsg(2) is cheaper
/// than a recvmmsg(2) that finds one.
const SINGLE_STREAK: u8 = 16;
/// While it asks for one at a time, every so many reads it asks for two, and so notices a burst from elsewhere. One from
/// its own loop it knows of at once.
const PROBE_EVERY: u8 = 16;
const PROBE: usize = 2;
/// How many messages to ask for where the last read found one datagram alone, but more may come: to prepare for many costs a
/// twentieth of a datagram.
const FEW: usize = 4;
/// Reads in a row that found something, after which the poller is not asked to watch. To leave it and come back is two
/// system calls, which is nothing beside so many reads.
const HOT: u16 = 256;
/// Messages to ask for at most where each may have many datagrams.
const PACKED: usize = 4;
/// Datagrams in one read that are a burst. After two bursts in a row the kernel is asked to put datagrams together; asked
/// earlier, that would cost each single datagram a message header, which recvfrom(2) does without.
const BURST: usize = 4;
/// Failed guesses in a row after which a handle no longer reads on the guess that more has come, but waits to be ready_reads.
const MAX_MISSES: u8 = 2;
/// Reads on being told after which such a handle guesses again.
const READS_BEFORE_RETRY: u8 = 16;

/// ReadReason a handle reads.
#[derive(Clone, Copy)]
pub(crate) enum ReadReason {
    /// The poller says that there is something.
    Ready,
    /// There was something in the last iteration, so there may be more.
    Scheduled,
    /// The last guess failed, but the loop runs an iteration anyhow: whoever was behind the last datagram may have answered.
    Speculative,
}

/// What lately came tells how to read next.
pub(crate) struct ReadPredictor {
    /// Reads in a row that found one datagram alone.
    streak: Cell<u8>,
    /// Failed guesses left.
    misses_left: Cell<u8>,
    /// Reads on being told since the misses_left ran out.
    ready_reads: Cell<u8>,
    /// Whether the last read found a burst.
    burst: Cell<bool>,
    /// Reads in a row that found something.
    hit_streak: Cell<u16>,
    /// How many messages the last read found, if they were of several datagrams; 0 otherwise.
    packed: Cell<usize>,
    /// The bursts that handles of this loop had sent when this one last read.
    seen: Cell<u32>,
}

impl ReadPredictor {
    pub(crate) fn new() -> Self {
        Self {
            streak: Cell::new(0),
            misses_left: Cell::new(MAX_MISSES),
            ready_reads: Cell::new(0),
            burst: Cell::new(false),
            seen: Cell::new(0),
            packed: Cell::new(0),
            hit_streak: Cell::new(0),
        }
    }

    /// How many messages to ask for. `sent` counts the bursts that handles of this loop sent.
    pub(crate) fn width(&self, sent: u32) -> usize {
        let streak = self.streak.get();
        let news = self.seen.replace(sent) != sent;
        let packed = self.packed.get();
        if packed > 0 {
            // One more than there were: if it is not there, nothing is, and that costs no call of its own.
            PACKED.min(packed + 1)
        } else if streak == 0 {
            RECV_SLOTS
        } else if news || streak < SINGLE_STREAK {
            FEW
        } else if streak.is_multiple_of(PROBE_EVERY) {
            PROBE
        } else {
            1
        }
    }

    /// A read found so many datagrams in so many messages.
    pub(crate) fn found(&self, messages: usize, datagrams: usize) {
        let packed = datagrams > messages;
        self.packed.set(if packed { messages } else { 0 });
        let streak = self.streak.get();
        self.streak.set(match datagrams {
            0 | 1 if streak < SINGLE_STREAK + PROBE_EVERY => streak + 1,
            0 | 1 => SINGLE_STREAK + 1,
            _ => 0,
        });
        self.burst.set(datagrams >= BURST);
    }

    /// Whether a read that finds this many datagrams would be the second burst in a row.
    pub(crate) fn sees_bursts(&self, datagrams: usize) -> bool {
        datagrams >= BURST && self.burst.get()
    }

    /// A read for this reason found something, or nothing.
    pub(crate) fn read(&self, reason: ReadReason, found: bool) {
        let misses_left = self.misses_left.get();
        let hit_streak = if found {
            self.hit_streak.get().saturating_add(1)
        } else {
            0
        };
        self.hit_streak.set(hit_streak);
        self.misses_left.set(match (reason, found) {
            (ReadReason::Scheduled, true) => MAX_MISSES,
            (ReadReason::Scheduled | ReadReason::Speculative, false) => {
                misses_left.saturating_sub(1)
            }
            (ReadReason::Ready | ReadReason::Speculative, true) if misses_left == 0 => {
                self.ready_reads
                    .set((self.ready_reads.get() + 1) % READS_BEFORE_RETRY);
                u8::from(self.ready_reads.get() == 0)
            }
            (ReadReason::Ready | ReadReason::Speculative, _) => misses_left,
        });
    }

    /// Whether every read for so long found something that the poller need not watch: each arrival would tell it, which
    /// costs a twentieth of a small datagram.
    pub(crate) fn is_hot(&self) -> bool {
        self.hit_streak.get() >= HOT
    }

    /// Whether to read again without being ready_reads.
    pub(crate) fn expects_more(&self) -> bool {
        self.misses_left.get() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn singles_are_asked_for_one_at_a_time_until_a_burst_comes() {
        let predictor = ReadPredictor::new();
        assert_eq!(predictor.width(0), RECV_SLOTS);
        for _ in 1..SINGLE_STREAK {
            predictor.found(1, 1);
            assert_eq!(predictor.width(0), FEW);
        }
        predictor.found(1, 1);
        let mut probes = 0;
        for _ in 0..10 * u32::from(PROBE_EVERY) {
            probes += u32::from(predictor.width(0) == PROBE);
            predictor.found(1, 1);
        }
        assert_eq!(probes, 10, "one in so many asks for more");
        predictor.found(2, 2);
        assert_eq!(predictor.width(0), RECV_SLOTS);
    }

    #[test]
    fn a_burst_sent_on_the_same_loop_is_asked_for_at_once() {
        let predictor = ReadPredictor::new();
        (0..=SINGLE_STREAK).for_each(|_| predictor.found(1, 1));
        assert_eq!(predictor.width(0), 1);
        assert_eq!(predictor.width(1), FEW);
        assert_eq!(predictor.width(1), 1);
        predictor.found(FEW, FEW);
        assert_eq!(predictor.width(1), RECV_SLOTS, "there may be many");
    }

    #[test]
    fn of_messages_with_many_datagrams_one_more_is_asked_for_than_there_were() {
        let predictor = ReadPredictor::new();
        for (messages, width) in [(1, 2), (2, 3), (3, PACKED), (PACKED, PACKED), (1, 2)] {
            predictor.found(messages, 64);
            assert_eq!(predictor.width(0), width);
        }
        predictor.found(2, 2);
        assert_eq!(predictor.width(0), RECV_SLOTS);
    }

    #[test]
    fn two_bursts_in_a_row_are_bursts() {
        let predictor = ReadPredictor::new();
        for (found, bursts) in [
            (64, false),
            (1, false),
            (64, false),
            (64, true),
            (64, true),
            (1, false),
        ] {
            assert_eq!(predictor.sees_bursts(found), bursts);
            predictor.found(found, found);
        }
    }

    #[test]
    fn a_handle_is_hot_after_many_reads_that_found_something_and_cold_after_one_that_did_not() {
        let predictor = ReadPredictor::new();
        for _ in 0..HOT {
            assert!(!predictor.is_hot());
            predictor.read(ReadReason::Scheduled, true);
        }
        assert!(predictor.is_hot());
        predictor.read(ReadReason::Scheduled, false);
        assert!(!predictor.is_hot());
    }

    #[test]
    fn guesses_that_fail_end_and_are_tried_again_later() {
        let predictor = ReadPredictor::new();
        for _ in 0..MAX_MISSES {
            assert!(predictor.expects_more());
            predictor.read(ReadReason::Scheduled, false);
        }
        let mut told = 0;
        while !predictor.expects_more() {
            predictor.read(ReadReason::Ready, true);
            told += 1;
        }
        assert_eq!(told, READS_BEFORE_RETRY);
        predictor.read(ReadReason::Scheduled, true);
        predictor.read(ReadReason::Scheduled, false);
        assert!(
            predictor.expects_more(),
            "one that came true makes up for those that did not"
        );
    }
}
