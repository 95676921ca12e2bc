//! Predicts the next read from recent ones: its number of messages, and whether to read before the
//! poller reports. A miss costs at most one system call.

use std::cell::Cell;

use crate::shared::RECV_SLOTS;

/// Reads in a row that found a single datagram, before the handle asks for one message at a time:
/// recvmsg(2) is cheaper than a recvmmsg(2) that finds one.
const SINGLE_STREAK: u8 = 16;
/// Reads of one message from one probe to the next. A probe asks for two messages, and so detects a
/// burst of another loop; bursts of the own loop are counted.
const PROBE_EVERY: u8 = 16;
const PROBE: usize = 2;
/// Messages to ask for after a single datagram, while a burst is still likely. Preparing memory for
/// more costs a twentieth of a datagram.
const FEW: usize = 4;
/// Successful reads in a row after which the handle leaves the poller. Leaving and returning are
/// two system calls, a small fraction of these reads.
const HOT: u16 = 256;
/// Messages to ask for at most while messages are coalesced.
const PACKED: usize = 4;
/// Datagrams in one read that are a burst. Two bursts in a row switch coalescing on; earlier, it
/// would cost each single datagram a message header, which recvfrom(2) does not need.
const BURST: usize = 4;
/// Unsuccessful speculative reads in a row after which the handle waits for the poller.
const MAX_MISSES: u8 = 2;
/// Reads reported by the poller after which such a handle reads speculatively again.
const READS_BEFORE_RETRY: u8 = 16;

/// The reason for a read.
#[derive(Clone, Copy)]
pub(crate) enum ReadReason {
    /// The poller reported the socket.
    Ready,
    /// The last read found datagrams, so there may be more.
    Scheduled,
    /// The last read found nothing, but the loop runs an iteration anyway, and the peer may have
    /// answered.
    Speculative,
}

/// Predicts the next read of one handle.
pub(crate) struct ReadPredictor {
    /// Reads in a row that found a single datagram.
    streak: Cell<u8>,
    /// Unsuccessful speculative reads left.
    misses_left: Cell<u8>,
    /// Reads reported by the poller since no misses were left.
    ready_reads: Cell<u8>,
    /// Whether the last read found a burst.
    burst: Cell<bool>,
    /// Successful reads in a row.
    hit_streak: Cell<u16>,
    /// Messages in the last read, if they were coalesced; 0 otherwise.
    packed: Cell<usize>,
    /// Bursts that handles of this loop had sent at the last read.
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

    /// The number of messages to ask for. `sent` counts the bursts that handles of this loop sent.
    pub(crate) fn width(&self, sent: u32) -> usize {
        let streak = self.streak.get();
        let new_burst = self.seen.replace(sent) != sent;
        let packed = self.packed.get();
        if packed > 0 {
            // One more than last time: a short read then proves the socket empty without another
            // call.
            PACKED.min(packed + 1)
        } else if streak == 0 {
            RECV_SLOTS
        } else if new_burst || streak < SINGLE_STREAK {
            FEW
        } else if streak.is_multiple_of(PROBE_EVERY) {
            PROBE
        } else {
            1
        }
    }

    /// Learns from a read that found `datagrams` in `messages`.
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

    /// Learns whether a read for this reason was successful.
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

    /// Whether the last [`HOT`] reads were successful, so that the poller need not watch. Each
    /// arrival at a watched socket costs a twentieth of a small datagram.
    pub(crate) fn is_hot(&self) -> bool {
        self.hit_streak.get() >= HOT
    }

    /// Whether to read again before the poller reports.
    pub(crate) fn expects_more(&self) -> bool {
        self.misses_left.get() > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_datagrams_are_read_one_at_a_time_until_a_burst() {
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
        assert_eq!(probes, 10, "one read in PROBE_EVERY is a probe");
        predictor.found(2, 2);
        assert_eq!(predictor.width(0), RECV_SLOTS);
    }

    #[test]
    fn a_burst_of_the_same_loop_widens_the_next_read() {
        let predictor = ReadPredictor::new();
        (0..=SINGLE_STREAK).for_each(|_| predictor.found(1, 1));
        assert_eq!(predictor.width(0), 1);
        assert_eq!(predictor.width(1), FEW);
        assert_eq!(predictor.width(1), 1);
        predictor.found(FEW, FEW);
        assert_eq!(predictor.width(1), RECV_SLOTS, "a burst");
    }

    #[test]
    fn coalesced_messages_are_read_with_room_for_one_more() {
        let predictor = ReadPredictor::new();
        for (messages, width) in [(1, 2), (2, 3), (3, PACKED), (PACKED, PACKED), (1, 2)] {
            predictor.found(messages, 64);
            assert_eq!(predictor.width(0), width);
        }
        predictor.found(2, 2);
        assert_eq!(predictor.width(0), RECV_SLOTS);
    }

    #[test]
    fn two_bursts_in_a_row_are_detected() {
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
    fn a_handle_is_hot_after_many_successful_reads_until_an_unsuccessful_one() {
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
    fn speculative_reads_stop_after_misses_and_resume_later() {
        let predictor = ReadPredictor::new();
        for _ in 0..MAX_MISSES {
            assert!(predictor.expects_more());
            predictor.read(ReadReason::Scheduled, false);
        }
        let mut ready = 0;
        while !predictor.expects_more() {
            predictor.read(ReadReason::Ready, true);
            ready += 1;
        }
        assert_eq!(ready, READS_BEFORE_RETRY);
        predictor.read(ReadReason::Scheduled, true);
        predictor.read(ReadReason::Scheduled, false);
        assert!(predictor.expects_more(), "a hit resets the misses");
    }
}
