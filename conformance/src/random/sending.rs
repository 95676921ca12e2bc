//! Sending in every form, and the results.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::ops::Range;
use std::rc::Rc;

use uv_udp::{Errno, Result, Transmit, Udp};

use super::helper::{Order, Sender};
use super::ledger::{HEADER, Stream, datagram};
use super::options::Check;
use super::plan::{PostForm, SendForm, Step, TryForm};
use super::world::{Actor, Open, World};

/// The largest segment, in bytes.
const MAX_SEGMENT: usize = 1_400;
/// Segments of a message, fewer than any kernel allows.
const MAX_SEGMENTS: usize = 40;

/// Finds the world in closures of other threads.
struct Reach {
    world: Rc<World>,
    actor: Rc<Actor>,
}

impl World {
    /// Registers this world for closures of other threads.
    pub(super) fn reach(self: &Rc<Self>, actor: &Rc<Actor>) {
        if let Some(udp) = actor.udp() {
            udp.set_data(Some(Rc::new(Reach {
                world: Rc::clone(self),
                actor: Rc::clone(actor),
            })));
        }
    }

    /// The destination of a datagram, and whether the call names it.
    fn way(&self, udp: &Udp, to: usize) -> Option<(SocketAddr, bool)> {
        match udp.peer_addr() {
            Ok(peer) => Some((peer, false)),
            Err(_) => Some((self.address(to)?, true)),
        }
    }

    pub(super) fn send(
        self: &Rc<Self>,
        actor: &Rc<Actor>,
        (to, length, count): (usize, usize, usize),
        form: SendForm,
        then: Option<&Step>,
    ) {
        let count = if matches!(form, SendForm::Segments) {
            1 + count / 20
        } else {
            count
        };
        for index in 0..count {
            let Some(udp) = actor.udp() else { return };
            if !self.has_room(length.max(MAX_SEGMENT * MAX_SEGMENTS)) {
                return;
            }
            let then = then.filter(|_| index + 1 == count);
            self.send_one(actor, &udp, (to, length), form, then);
        }
        self.look(actor, false);
    }

    fn send_one(
        self: &Rc<Self>,
        actor: &Rc<Actor>,
        udp: &Udp,
        (to, length): (usize, usize),
        form: SendForm,
        then: Option<&Step>,
    ) {
        let Some((address, is_named)) = self.way(udp, to) else {
            return;
        };
        let (count, length) = match form {
            SendForm::Segments => (2 + length % (MAX_SEGMENTS - 2), length.min(MAX_SEGMENT)),
            SendForm::Empty => (0, 0),
            _ => (1, length),
        };
        let ids = self.ledger.send(count, Some(address), true);
        let data: Vec<u8> = ids
            .clone()
            .flat_map(|id| datagram(actor.stream(), id, length))
            .collect();
        let (one, other) = data.split_at(data.len() / 2);
        let pieces = [std::io::IoSlice::new(one), std::io::IoSlice::new(other)];
        let mut transmit = match form {
            SendForm::Pieces => Transmit::new(&pieces),
            _ => Transmit::new(&data),
        };
        transmit.destination = is_named.then_some(address);
        match form {
            SendForm::Tos => transmit.tos = Some(0x10),
            SendForm::Ttl => transmit.ttl = Some(5),
            SendForm::Segments => transmit.segment_size = segment_size(length),
            SendForm::Empty => self.ledger.send_empty(),
            SendForm::Plain | SendForm::Pieces | SendForm::Token => {}
        }
        let (request, bytes) = (self.next_request(), data.len());
        let callback = self.completion(actor, request, ids.clone(), then.cloned());
        let result = match form {
            SendForm::Token => self.call(|| {
                udp.transmit(transmit.with_token(request), move |udp, token, result| {
                    callback(udp, token, result);
                })
            }),
            SendForm::Plain if is_named => self.call(|| {
                udp.send_to(&data, address, move |udp, result| {
                    callback(udp, request, result);
                })
            }),
            SendForm::Plain => {
                self.call(|| udp.send(&data, move |udp, result| callback(udp, request, result)))
            }
            _ => self.call(|| {
                udp.transmit(transmit, move |udp, _, result| {
                    callback(udp, request, result)
                })
            }),
        };
        self.expect("send", &result, &refusals(udp));
        match result {
            Ok(()) => actor.open.borrow_mut().push_back(Open {
                request,
                bytes,
                may_be_cancelled: false,
            }),
            Err(_) => self.ledger.is_taken(ids, false),
        }
    }

    fn completion(
        self: &Rc<Self>,
        actor: &Rc<Actor>,
        request: usize,
        ids: Range<usize>,
        then: Option<Step>,
    ) -> impl FnOnce(&Udp, usize, Result<()>) + 'static {
        let (world, actor) = (Rc::clone(self), Rc::clone(actor));
        move |_, token, result| {
            world.called_back(|| {
                world.require(token == request, Check::Completion, || {
                    format!("the token of send {request} is {token}")
                });
                world.complete(&actor, request, ids, result);
                if let Some(step) = then {
                    world.apply(&step);
                }
            });
        }
    }

    fn complete(&self, actor: &Actor, request: usize, ids: Range<usize>, result: Result<()>) {
        let next = actor.open.borrow_mut().pop_front();
        let is_next = next.as_ref().is_some_and(|next| next.request == request);
        self.require(is_next, Check::Completion, || {
            format!("send {request} is called back where {next:?} is the next")
        });
        let may_be_cancelled = next.as_ref().is_some_and(|next| next.may_be_cancelled);
        let bytes = next.map_or(0, |next| next.bytes);
        if let Err(error) = result {
            let known = match error {
                Errno::ECANCELED => may_be_cancelled,
                Errno::EMSGSIZE => bytes > 60_000,
                // A datagram of several packets may exceed a small send buffer: see `try_send`.
                Errno::ENOBUFS => bytes > 2_000,
                _ => false,
            };
            self.require(known || self.excuses(&error), Check::Errno, || {
                format!("send {request} completes with {error:?}")
            });
        }
        self.ledger.is_taken(ids, result.is_ok());
    }

    pub(super) fn try_send(
        &self,
        actor: &Actor,
        (to, length, count): (usize, usize, usize),
        form: TryForm,
    ) {
        let Some(udp) = actor.udp() else { return };
        let Some((address, is_named)) = self.way(&udp, to) else {
            return;
        };
        let count = count.min(MAX_SEGMENTS);
        let length = match form {
            TryForm::One => length,
            TryForm::Batch => length.min(2_000),
            TryForm::Segments => length.min(MAX_SEGMENT),
        };
        let ids = self.ledger.send(count, Some(address), true);
        let destination = is_named.then_some(address);
        let data: Vec<Vec<u8>> = ids
            .clone()
            .map(|id| datagram(actor.stream(), id, length))
            .collect();
        let transmits: Vec<_> = data
            .iter()
            .map(|data| {
                let mut transmit = Transmit::new(data);
                transmit.destination = destination;
                transmit
            })
            .collect();
        let sent = match (form, segment_size(length)) {
            (TryForm::Batch, _) => self.call(|| udp.try_transmit_batch(&transmits)),
            (TryForm::Segments, Some(size)) => {
                let whole = data.concat();
                let mut buffer = Transmit::new(&whole).with_segment_size(size);
                buffer.destination = destination;
                let sent = self.call(|| udp.try_transmit(&buffer));
                sent.map(|bytes| bytes / length)
            }
            _ => {
                let mut sent = Ok(0);
                for transmit in &transmits {
                    match self.call(|| udp.try_transmit(transmit)) {
                        Ok(_) => sent = sent.map(|sent| sent + 1),
                        Err(error) => {
                            sent =
                                sent.and_then(|sent| if sent > 0 { Ok(sent) } else { Err(error) });
                            break;
                        }
                    }
                }
                sent
            }
        };
        let mut expected = refusals(&udp);
        // A datagram of several packets that exceeds a small send buffer is ENOBUFS too
        // (ip_append_data()).
        expected.extend([Errno::EAGAIN, Errno::ENOBUFS]);
        if length > 60_000 {
            expected.push(Errno::EMSGSIZE);
        }
        self.expect("try_send", &sent, &expected);
        let end = ids.start + sent.unwrap_or(0);
        self.require(end <= ids.end, Check::Completion, || {
            format!("{sent:?} of {count} datagrams went")
        });
        self.ledger.is_taken(ids.start..end.min(ids.end), true);
        self.ledger.is_taken(end.min(ids.end)..ids.end, false);
        self.send_wrongly(&udp, address, is_named);
        self.look(actor, false);
    }

    /// A destination on a connected handle, or none on an unconnected one.
    fn send_wrongly(&self, udp: &Udp, address: SocketAddr, is_named: bool) {
        if udp.is_closing() {
            return;
        }
        let (result, expected) = if is_named {
            (self.call(|| udp.try_send(b"")), Errno::EDESTADDRREQ)
        } else {
            (self.call(|| udp.try_send_to(b"", address)), Errno::EISCONN)
        };
        self.require(result == Err(expected), Check::Errno, || {
            format!("the wrong one of two calls answered {result:?}, not {expected:?}")
        });
    }

    /// Answers an error with datagrams, as a retransmission does.
    pub(super) fn retransmit(&self, actor: &Actor) {
        for _ in 0..actor.retransmits.get() {
            self.try_send(actor, (0, HEADER, 1), TryForm::One);
        }
    }

    pub(super) fn post(
        self: &Rc<Self>,
        actor: &Rc<Actor>,
        (to, length, count): (usize, usize, usize),
        form: PostForm,
    ) {
        let (Some(udp), Some(address)) = (actor.udp(), self.address(to)) else {
            return;
        };
        if !self.has_room(count * length) {
            return;
        }
        let Ok(sender) = self.call(|| udp.sender()) else {
            let closing = udp.is_closing();
            return self.require(closing, Check::Errno, || {
                "an open handle has no sender".into()
            });
        };
        let (destination, sender) = match form {
            PostForm::Send => (None, Sender::ToPeer(sender)),
            PostForm::SendTo => (Some(address), Sender::To(sender, address)),
            PostForm::Closure => (None, Sender::Post(sender, send_on_loop, to)),
        };
        let ids = match form {
            PostForm::Closure => 0..count,
            PostForm::Send | PostForm::SendTo => self.ledger.send(count, destination, false),
        };
        let stream = Stream {
            thread: true,
            ..actor.stream()
        };
        if let Some(helper) = &*self.helper.borrow() {
            helper.ask(Order {
                sender,
                stream,
                ids,
                length,
            });
        }
    }
}

/// Runs on the loop for another thread.
fn send_on_loop(udp: &Udp, to: usize, length: usize) {
    if let Some(reach) = udp.data::<Reach>() {
        let Reach { world, actor } = &*reach;
        world.called_back(|| world.send(actor, (to, length, 1), SendForm::Plain, None));
    }
}

fn segment_size(length: usize) -> Option<NonZeroU16> {
    u16::try_from(length).ok().and_then(NonZeroU16::new)
}

/// The errors of a send.
fn refusals(udp: &Udp) -> Vec<Errno> {
    if udp.is_closing() {
        return vec![Errno::EBADF];
    }
    match udp.send_queue_limit() {
        Some(_) => vec![Errno::ENOBUFS],
        None => Vec::new(),
    }
}
