//! Sent datagrams.

use std::io::IoSlice;
use std::num::NonZeroU16;
use std::rc::Rc;

use uv_udp::{Errno, Result, Transmit, Udp};

use super::world::{MAX_UNDER_WAY, Sent, World, payload, weight};
use super::{Odd, Step};

impl World {
    pub(super) fn send(
        self: &Rc<Self>,
        (to, length): (usize, usize),
        odd: Option<Odd>,
        then: Option<Step>,
    ) {
        let (to, length) = match odd {
            Some(Odd::To(to)) => (to, length),
            Some(Odd::Length(length)) => (to, length),
            Some(Odd::Tos | Odd::Pieces) | None => (to, length),
        };
        if self.under_way() + weight(length) > MAX_UNDER_WAY {
            return;
        }
        let (id, waits) = (self.sent.borrow().len(), self.udp.send_queue_count() > 0);
        let payload = payload(id, length);
        let world = Rc::clone(self);
        let callback = move |_: &Udp, token, result| {
            world.expect(token == id, || format!("the token of {id} is {token}"));
            world.complete(id, result, then);
        };
        let (peer, address) = (self.peer.get(), self.sockets[to].1);
        let (one, other) = payload.split_at(length / 2);
        let pieces = [IoSlice::new(one), IoSlice::new(other)];
        let mut transmit = match odd {
            Some(Odd::Pieces) => Transmit::new(&pieces),
            _ => Transmit::new(&payload),
        };
        transmit.tos = matches!(odd, Some(Odd::Tos)).then_some(0x10);
        transmit.destination = peer.is_none().then_some(address);
        let (_, under_way) = self.open();
        let result = self.call(|udp| udp.transmit(transmit.with_token(id), callback));
        let full = self
            .limit
            .get()
            .is_some_and(|limit| under_way + length > limit);
        if full && !self.closing.get() {
            self.expect(result == Err(Errno::ENOBUFS), || {
                format!("{result:?} beyond the limit")
            });
        } else {
            self.expect_open(result);
        }
        if result.is_ok() {
            self.accept(peer.unwrap_or(to), length, None);
            // In a callback, the time in the queue is unknown.
            self.queued
                .set(self.queued.get() || (waits && !self.running.get()));
        }
    }

    pub(super) fn accept(&self, to: usize, length: usize, outcome: Option<Result<()>>) {
        self.sent.borrow_mut().push(Sent {
            to,
            length,
            outcome,
        });
    }

    pub(super) fn complete(self: &Rc<Self>, id: usize, result: Result<()>, then: Option<Step>) {
        self.called_back(|| {
            let first = {
                let mut sent = self.sent.borrow_mut();
                let first = sent.iter().position(|sent| sent.outcome.is_none());
                if let Some(sent) = sent.get_mut(id) {
                    sent.outcome = Some(result);
                }
                first
            };
            self.expect(first == Some(id), || {
                format!("{id} completed before {first:?}")
            });
            let may = match result {
                Ok(()) => true,
                Err(Errno::ECANCELED) => id < self.cancelled.get(),
                Err(error) => self.may_be_refused(error),
            };
            self.expect(may, || format!("{id} completed with {result:?}"));
            if let Some(step) = then {
                self.apply(&step);
            }
        });
    }

    /// Whether this error was injected as a datagram's own. `EAGAIN` is waited out, and
    /// `ECONNREFUSED` is another datagram's.
    pub(super) fn may_be_refused(&self, error: Errno) -> bool {
        let own = ![Errno::EAGAIN, Errno::ECONNREFUSED].contains(&error);
        own && self.injected.borrow().contains(&error)
    }

    /// Checks the result of a direct send: the number of datagrams sent, or the error.
    pub(super) fn expect_direct(&self, result: Result<usize>) -> usize {
        let may = match result {
            _ if self.closing.get() => result == Err(Errno::EBADF),
            Ok(_) => !self.queued.get(),
            Err(Errno::EAGAIN) => true,
            Err(error) => !self.queued.get() && self.may_be_refused(error),
        };
        self.expect(may, || format!("a direct send said {result:?}"));
        result.unwrap_or(0)
    }

    pub(super) fn try_send(&self, to: usize, length: usize) {
        let payload = payload(self.sent.borrow().len(), length);
        let (peer, address) = (self.peer.get(), self.sockets[to].1);
        let result = self.call(|udp| match peer {
            Some(_) => udp.try_send(&payload),
            None => udp.try_send_to(&payload, address),
        });
        if self.expect_direct(result) == length && result.is_ok() {
            self.accept(peer.unwrap_or(to), length, Some(Ok(())));
        }
    }

    pub(super) fn try_batch(&self, batch: &[(usize, usize)]) {
        let (first, peer) = (self.sent.borrow().len(), self.peer.get());
        let payloads: Vec<_> = (first..)
            .zip(batch)
            .map(|(id, (_, length))| payload(id, *length))
            .collect();
        let batch_of = payloads.iter().zip(batch).map(|(payload, (to, _))| {
            let transmit = Transmit::new(payload);
            match peer {
                Some(_) => transmit,
                None => transmit.with_destination(self.sockets[*to].1),
            }
        });
        let transmits: Vec<_> = batch_of.collect();
        let result = self.call(|udp| udp.try_transmit_batch(&transmits));
        for (to, length) in batch.iter().take(self.expect_direct(result)) {
            self.accept(peer.unwrap_or(*to), *length, Some(Ok(())));
        }
    }

    pub(super) fn try_segments(&self, to: usize, size: usize, length: usize) {
        let lengths = (0..length)
            .step_by(size)
            .map(|start| size.min(length - start));
        let lengths: Vec<_> = lengths.take(60).collect();
        let first = self.sent.borrow().len();
        let data = (first..)
            .zip(&lengths)
            .flat_map(|(id, length)| payload(id, *length));
        let data: Vec<_> = data.collect();
        let (peer, address) = (self.peer.get(), self.sockets[to].1);
        let step = NonZeroU16::new(size as u16).unwrap();
        let destination = peer.is_none().then_some(address);
        let mut buffer = Transmit::new(&data).with_segment_size(step);
        buffer.destination = destination;
        let result = self.call(|udp| udp.try_transmit(&buffer));
        let bytes = self.expect_direct(result);
        self.expect(bytes == data.len() || bytes.is_multiple_of(size), || {
            format!("{bytes} bytes are no segments of {size}")
        });
        for length in lengths.iter().take(bytes.div_ceil(size)) {
            self.accept(peer.unwrap_or(to), *length, Some(Ok(())));
        }
    }

    pub(super) fn send_wrongly(self: &Rc<Self>) {
        let world = Rc::clone(self);
        let callback = move |_: &Udp, _| world.expect(false, || "refused and called back".into());
        let address = self.sockets[0].1;
        let (result, expected) = match self.peer.get() {
            Some(_) => {
                let result = self.call(|udp| udp.send_to(b"wrong", address, callback));
                (result, Errno::EISCONN)
            }
            None => (
                self.call(|udp| udp.send(b"wrong", callback)),
                Errno::EDESTADDRREQ,
            ),
        };
        let expected = if self.closing.get() {
            Errno::EBADF
        } else {
            expected
        };
        self.expect(result == Err(expected), || {
            format!("a wrong send said {result:?}")
        });
    }
}
