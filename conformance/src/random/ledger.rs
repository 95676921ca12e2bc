//! The ledger of datagrams: sender, destination and fate of each, and the first failed check.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;

use super::options::Check;

/// Bytes of the header of every datagram that is not empty.
pub(super) const HEADER: usize = 16;
const MAGIC: [u8; 2] = *b"uc";

/// The fate of a datagram, as its sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    Taken,
    /// The kernel did not get it, so it must not arrive.
    Refused,
    /// Its sender gets no result.
    Unknown,
}

#[derive(Debug)]
struct Sent {
    to: Option<SocketAddr>,
    fate: Fate,
    arrived: bool,
}

/// Datagrams of one stream leave in order. A handle has one, and each thread that sends through it
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    pub(super) sender: usize,
    pub(super) thread: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    ignored: Vec<Check>,
    broken: RefCell<Option<(Check, String)>>,
    /// The known local addresses of all past and present senders.
    senders: RefCell<Vec<Option<SocketAddr>>>,
    /// Addresses that handles had and lost.
    lost: RefCell<Vec<SocketAddr>>,
    sent: RefCell<Vec<Sent>>,
    /// The last datagram of a stream that a receiver got.
    last: RefCell<HashMap<(Stream, usize), usize>>,
    empty: Cell<(usize, usize)>,
    arrivals: Cell<usize>,
}

impl Ledger {
    pub(super) fn new(ignored: &[Check]) -> Self {
        Self {
            ignored: ignored.to_vec(),
            ..Self::default()
        }
    }

    /// Records the first failure: later ones may be its consequences.
    pub(super) fn require(&self, holds: bool, check: Check, what: impl FnOnce() -> String) {
        if !holds && !self.ignored.contains(&check) && self.broken.borrow().is_none() {
            *self.broken.borrow_mut() = Some((check, what()));
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    pub(super) fn take_broken(&self) -> Option<(Check, String)> {
        self.broken.take()
    }

    /// The numbers of sent and of received datagrams, counted at each receiver of a group.
    pub(super) fn totals(&self) -> (usize, usize) {
        (self.sent.borrow().len(), self.arrivals.get())
    }

    pub(super) fn add_sender(&self, address: Option<SocketAddr>) -> usize {
        let mut senders = self.senders.borrow_mut();
        senders.push(address);
        senders.len() - 1
    }

    pub(super) fn set_address(&self, sender: usize, address: SocketAddr) {
        self.senders.borrow_mut()[sender] = Some(address);
    }

    /// The handle lost its address: what it had queued leaves from another one, and what it had received came to this one.
    pub(super) fn lose_address(&self, sender: usize) {
        let lost = self.senders.borrow_mut()[sender].take();
        self.lost.borrow_mut().extend(lost);
    }

    pub(super) fn address(&self, sender: usize) -> Option<SocketAddr> {
        self.senders.borrow()[sender]
    }

    /// Makes the next datagrams, with or without a result for their sender.
    pub(super) fn send(&self, count: usize, to: Option<SocketAddr>, is_told: bool) -> Range<usize> {
        let mut sent = self.sent.borrow_mut();
        let first = sent.len();
        let fate = if is_told {
            Fate::Pending
        } else {
            Fate::Unknown
        };
        sent.extend((0..count).map(|_| Sent {
            to,
            fate,
            arrived: false,
        }));
        first..sent.len()
    }

    pub(super) fn send_empty(&self) {
        let (sent, heard) = self.empty.get();
        self.empty.set((sent + 1, heard));
    }

    pub(super) fn is_taken(&self, ids: Range<usize>, taken: bool) {
        let fate = if taken { Fate::Taken } else { Fate::Refused };
        for id in ids {
            let mut sent = self.sent.borrow_mut();
            sent[id].fate = fate;
            self.require(taken || !sent[id].arrived, Check::Delivery, || {
                format!("datagram {id} arrived, and its result says that it was not sent")
            });
        }
    }

    /// Checks a datagram that arrived, and names it.
    pub(super) fn arrived(
        &self,
        receiver: usize,
        source: SocketAddr,
        data: &[u8],
        truncated: bool,
    ) -> Option<usize> {
        if data.is_empty() && !truncated {
            if !self.is_a_sender(source) {
                // It may be of another process, as below.
                return None;
            }
            let (sent, heard) = self.empty.get();
            self.empty.set((sent, heard + 1));
            self.require(heard < sent, Check::Delivery, || {
                format!("an empty datagram from {source} without a sender")
            });
            return None;
        }
        if is_of_another_process(data) {
            // This handle has the port that a handle of that process lost.
            return None;
        }
        let Some(header) = Header::read(data) else {
            // A truncated header names no datagram.
            self.require(truncated, Check::Delivery, || {
                format!("{} bytes from {source} without a sender", data.len())
            });
            return None;
        };
        self.check_contents(&header, data, source, truncated);
        self.check_way(&header, receiver, source);
        Some(header.id)
    }

    fn is_a_sender(&self, address: SocketAddr) -> bool {
        let (senders, lost) = (self.senders.borrow(), self.lost.borrow());
        let mut known = senders.iter().flatten().chain(lost.iter());
        known.any(|known| same(*known, address))
    }

    fn check_contents(&self, header: &Header, data: &[u8], source: SocketAddr, truncated: bool) {
        let (id, length) = (header.id, header.length);
        let fits = data.len() == length || truncated && data.len() < length;
        self.require(fits, Check::Delivery, || {
            let cut = if truncated { ", cut" } else { "" };
            format!(
                "{} bytes{cut} of datagram {id} with {length} bytes from {source}",
                data.len()
            )
        });
        let stays = data.iter().enumerate().skip(HEADER);
        let stays = stays.into_iter().all(|(at, byte)| *byte == filler(id, at));
        self.require(stays, Check::Delivery, || {
            format!("datagram {id} from {source} has other bytes than were sent")
        });
    }

    fn check_way(&self, header: &Header, receiver: usize, source: SocketAddr) {
        self.arrivals.set(self.arrivals.get() + 1);
        let (id, stream) = (header.id, header.stream);
        let from = self.senders.borrow().get(stream.sender).copied().flatten();
        self.require(
            from.is_none_or(|from| same(from, source)),
            Check::Peer,
            || format!("datagram {id} is said to come from {source} and was sent by {from:?}"),
        );
        let own = self.address(receiver);
        let mut sent = self.sent.borrow_mut();
        let Some(sent) = sent.get_mut(id) else {
            return self.require(false, Check::Delivery, || {
                format!("there is no datagram {id}")
            });
        };
        sent.arrived = true;
        if let (Some(to), Some(own)) = (sent.to, own) {
            let is_there = same(to, own)
                || to.ip().is_multicast() && to.port() == own.port()
                || self.lost.borrow().iter().any(|lost| same(*lost, to));
            self.require(is_there, Check::Peer, || {
                format!("datagram {id} was accepted for {to} and came to {own}")
            });
        }
        self.require(sent.fate != Fate::Refused, Check::Delivery, || {
            format!("datagram {id} came to {own:?} after a result that it was not sent")
        });
        let last = self.last.borrow_mut().insert((stream, receiver), id);
        self.require(last.is_none_or(|last| last != id), Check::Delivery, || {
            format!("datagram {id} came to {own:?} twice")
        });
        self.require(last.is_none_or(|last| last <= id), Check::Order, || {
            format!("datagram {id} from {source} came to {own:?} after datagram {last:?}")
        });
    }
}

/// Whether both are one address, without flow labels and scopes.
pub(super) fn same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && one.ip().to_canonical() == other.ip().to_canonical()
}

/// The first bytes of a datagram of this process. Other processes that make random calls at the same
/// time have other ones.
fn mark() -> [u8; 4] {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let [first, second] = MAGIC;
    [first, second, high, low]
}

fn is_of_another_process(data: &[u8]) -> bool {
    data.starts_with(&MAGIC) && data.get(..4).is_some_and(|start| start != mark())
}

struct Header {
    stream: Stream,
    id: usize,
    length: usize,
}

impl Header {
    fn read(data: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = data.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        if data.get(..4)? != mark() {
            return None;
        }
        let sender = word(4)?;
        Some(Self {
            stream: Stream {
                sender: usize::try_from(sender >> 1).ok()?,
                thread: sender & 1 == 1,
            },
            id: usize::try_from(word(8)?).ok()?,
            length: usize::try_from(word(12)?).ok()?,
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it is a pattern")]
fn filler(id: usize, at: usize) -> u8 {
    id.wrapping_mul(31).wrapping_add(at) as u8
}

/// The bytes of a datagram, at least a header.
pub(super) fn datagram(stream: Stream, id: usize, length: usize) -> Vec<u8> {
    let word = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let sender = stream.sender << 1 | usize::from(stream.thread);
    let words = [mark(), word(sender), word(id), word(length)];
    let mut data = words.concat();
    data.extend((HEADER..length).map(|at| filler(id, at)));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: Stream = Stream {
        sender: 0,
        thread: false,
    };

    fn broken(arrivals: &[(usize, bool)]) -> Option<Check> {
        let ledger = Ledger::new(&[]);
        let (from, to) = (
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        ledger.add_sender(Some(from));
        let receiver = ledger.add_sender(Some(to));
        ledger.send(3, Some(to), true);
        for (id, taken) in arrivals {
            ledger.is_taken(*id..id + 1, *taken);
            ledger.arrived(receiver, from, &datagram(STREAM, *id, 20), false);
        }
        ledger.take_broken().map(|(check, _)| check)
    }

    #[test]
    fn what_arrives_in_order_and_once_is_right() {
        assert_eq!(broken(&[(0, true), (2, true)]), None);
    }

    #[test]
    fn what_overtakes_comes_twice_or_was_refused_is_wrong() {
        assert_eq!(broken(&[(1, true), (0, true)]), Some(Check::Order));
        assert_eq!(broken(&[(1, true), (1, true)]), Some(Check::Delivery));
        assert_eq!(broken(&[(1, false)]), Some(Check::Delivery));
    }

    #[test]
    fn another_source_or_receiver_is_wrong() {
        let ledger = Ledger::new(&[]);
        let (from, to) = (
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        ledger.add_sender(Some(from));
        let receiver = ledger.add_sender(Some(to));
        ledger.send(2, Some(to), true);
        ledger.arrived(receiver, to, &datagram(STREAM, 0, 20), false);
        assert_eq!(
            ledger.take_broken().map(|(check, _)| check),
            Some(Check::Peer)
        );
        ledger.arrived(0, from, &datagram(STREAM, 1, 20), false);
        assert_eq!(
            ledger.take_broken().map(|(check, _)| check),
            Some(Check::Peer)
        );
    }
}
