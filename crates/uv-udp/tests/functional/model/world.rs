//! One handle among raw sockets, and what must be true of it.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::{Duration, Instant};

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, Result, RunMode, Transmit, Udp};

use super::super::harness::{all, bound, next, raw};
use super::{Form, PEERS, Step};

/// Bytes that a receiver has room for, as asked for. The kernel doubles that, and grants everybody so much.
const BUFFER: usize = 212_992;
/// Bytes that may be under way at once, by the kernel's way of counting: with room to spare in a receiver that nobody reads
/// meanwhile.
const MAX_UNDER_WAY: usize = 300_000;
/// Datagrams that come in altogether: for all of them there is room in the handle's socket.
const MAX_HEARD: usize = 200;
/// Injected answers of a kind that the handle gives up on if there are too many in a row, or waits longer each time.
const MAX_PATIENCE: usize = 4;
/// When something that must come has not come by then it never will.
const DEADLINE: Duration = Duration::from_secs(5);

/// A datagram that was accepted, and what came of it.
struct Sent {
    to: usize,
    length: usize,
    outcome: Option<Result<()>>,
}

/// A datagram that came in.
struct Heard {
    from: usize,
    length: usize,
    fate: Fate,
    then: Option<Step>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// It must be delivered.
    Due,
    /// It is lost if the handle was connected to somebody else when it came to it.
    Open,
    /// The handle was connected to somebody else when it came.
    Barred,
    Delivered,
}

pub(super) struct World {
    lp: Loop,
    udp: Udp,
    local: SocketAddr,
    /// The raw sockets, and at last the one that hears nobody.
    sockets: Vec<(UdpSocket, SocketAddr)>,
    arrived: RefCell<Vec<Vec<Vec<u8>>>>,
    peer: Cell<Option<usize>>,
    receiving: Cell<bool>,
    closing: Cell<bool>,
    closed: Cell<bool>,
    sent: RefCell<Vec<Sent>>,
    heard: RefCell<Vec<Heard>>,
    /// Sends before this one may have been cancelled.
    cancelled: Cell<usize>,
    /// Whether a send is certain to be queued.
    queued: Cell<bool>,
    injected: RefCell<Vec<Errno>>,
    /// Whether a call of the handle is under way.
    calling: Cell<bool>,
    /// Whether a callback is.
    running: Cell<bool>,
    broken: RefCell<Vec<String>>,
}

fn payload(id: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![id as u8; length];
    let name = (id as u32).to_le_bytes();
    bytes.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    bytes
}

/// What the kernel counts for one of so many bytes, at most.
fn weight(length: usize) -> usize {
    1_300 + 2 * length
}

impl World {
    /// Plays one case, and says which promise was broken.
    pub(super) fn play(
        ip: IpAddr,
        steps: &[Step],
        closes: bool,
    ) -> std::result::Result<(), String> {
        fault::clear();
        let lp = Loop::new().unwrap();
        let (udp, local) = bound(&lp, ip);
        udp.set_recv_buffer_size(BUFFER).unwrap();
        let sockets: Vec<_> = (0..=PEERS).map(|_| raw(ip)).collect();
        for (socket, _) in &sockets {
            uv_sys::set_recv_buffer_size(socket, BUFFER).unwrap();
        }
        // It hears nobody but itself, and to others the port is a dead one; nobody else can take it.
        sockets[PEERS].0.connect(sockets[PEERS].1).unwrap();
        let world = Rc::new(Self {
            lp,
            udp,
            local,
            arrived: RefCell::new(vec![Vec::new(); sockets.len()]),
            sockets,
            peer: Cell::new(None),
            receiving: Cell::new(false),
            closing: Cell::new(false),
            closed: Cell::new(false),
            sent: RefCell::default(),
            heard: RefCell::default(),
            cancelled: Cell::new(0),
            queued: Cell::new(false),
            injected: RefCell::default(),
            calling: Cell::new(false),
            running: Cell::new(false),
            broken: RefCell::default(),
        });
        for step in steps {
            world.apply(step);
            world.look();
            world.verdict()?;
        }
        fault::clear();
        if !closes {
            world.come_to_rest();
        }
        world.close();
        world.run_until(|world| world.closed.get());
        world.expect(!world.lp.alive(), || "the loop lives on".into());
        world.compare_arrivals();
        world.verdict()
    }

    fn verdict(&self) -> std::result::Result<(), String> {
        let broken = self.broken.borrow();
        broken.first().map_or(Ok(()), |first| Err(first.clone()))
    }

    fn expect(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.borrow_mut().push(what());
        }
    }

    /// Makes a call on the handle, in which no callback may run.
    fn call<T>(&self, call: impl FnOnce(&Udp) -> T) -> T {
        let outer = self.calling.replace(true);
        let result = call(&self.udp);
        self.calling.set(outer);
        result
    }

    /// Runs a callback's body.
    fn called_back(&self, body: impl FnOnce()) {
        self.expect(!self.calling.get(), || "a callback in a call".into());
        let nested = self.running.replace(true);
        self.expect(!nested, || "a callback in a callback".into());
        self.expect(!self.closed.get(), || "a callback after the last".into());
        body();
        self.running.set(nested);
    }

    fn apply(self: &Rc<Self>, step: &Step) {
        match step {
            Step::Send {
                to,
                length,
                count,
                then,
            } => {
                for index in 1..=*count {
                    let then = then.as_deref().filter(|_| index == *count);
                    self.send(*to, *length, then.cloned());
                }
            }
            Step::TrySend { to, length } => self.try_send(*to, *length),
            Step::TryBatch(batch) => self.try_batch(batch),
            Step::TrySegments { to, size, length } => self.try_segments(*to, *size, *length),
            Step::WrongSend => self.send_wrongly(),
            Step::Connect(to) => self.connect(*to),
            Step::Disconnect => self.disconnect(),
            Step::RecvStart(form) => self.recv_start(*form),
            Step::RecvStop => {
                let result = self.call(Udp::recv_stop);
                self.expect_open(result);
                self.receiving.set(false);
            }
            Step::Hear {
                from,
                length,
                count,
                then,
            } => self.hear(*from, *length, *count, then.as_deref()),
            Step::Run(iterations) => {
                for _ in 0..*iterations {
                    self.run(RunMode::NoWait);
                }
            }
            Step::Fail(call, faults) => self.inject(*call, faults),
            Step::Close => self.close(),
        }
    }

    fn run(&self, mode: RunMode) {
        self.queued.set(false);
        self.lp.run(mode).unwrap();
        self.look();
    }

    fn run_until(&self, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) && self.broken.borrow().is_empty() {
            // While a send waits something is certain to happen: the end of a pause, or room in the socket.
            let waits = !self.closing.get() && self.udp.send_queue_count() > 0;
            self.run(if waits {
                RunMode::Once
            } else {
                RunMode::NoWait
            });
            self.expect(start.elapsed() < DEADLINE, || "something never came".into());
        }
    }

    /// Takes in what arrived by now, and checks what can be seen from outside at any time.
    fn look(&self) {
        for (index, (socket, _)) in self.sockets.iter().enumerate().take(PEERS) {
            self.arrived.borrow_mut()[index].extend(all(socket));
        }
        if self.closing.get() {
            return;
        }
        let sent = self.sent.borrow();
        let open = sent.iter().filter(|sent| sent.outcome.is_none());
        let (count, size) = open.fold((0, 0), |(count, size), sent| {
            (count + 1, size + sent.length)
        });
        let shown = (self.udp.send_queue_count(), self.udp.send_queue_size());
        self.expect(shown == (count, size), || {
            format!("{shown:?} under way instead of {:?}", (count, size))
        });
        self.expect(
            self.udp.local_addr().map(|own| own.port()) == Ok(self.local.port()),
            || "the local port changed".into(),
        );
        let peer = self.peer.get().map(|peer| self.sockets[peer].1);
        self.expect(self.udp.peer_addr().ok() == peer, || "another peer".into());
    }

    fn under_way(&self) -> usize {
        let sent = self.sent.borrow();
        let open = sent.iter().filter(|sent| sent.outcome.is_none());
        open.map(|sent| weight(sent.length)).sum()
    }

    fn expect_open(&self, result: Result<()>) {
        let expected = if self.closing.get() {
            Err(Errno::EBADF)
        } else {
            Ok(())
        };
        self.expect(result == expected, || {
            format!("{result:?}, not {expected:?}")
        });
    }

    fn send(self: &Rc<Self>, to: usize, length: usize, then: Option<Step>) {
        if self.under_way() + weight(length) > MAX_UNDER_WAY {
            return;
        }
        let (id, waits) = (self.sent.borrow().len(), self.udp.send_queue_count() > 0);
        let payload = payload(id, length);
        let world = Rc::clone(self);
        let callback = move |_: &Udp, result| world.complete(id, result, then);
        let (peer, address) = (self.peer.get(), self.sockets[to].1);
        let result = self.call(|udp| match peer {
            Some(_) => udp.send(&payload, callback),
            None => udp.send_to(&payload, address, callback),
        });
        self.expect_open(result);
        if result.is_ok() {
            self.accept(peer.unwrap_or(to), length, None);
            // In a callback nobody knows how long it stays queued.
            self.queued
                .set(self.queued.get() || (waits && !self.running.get()));
        }
    }

    fn accept(&self, to: usize, length: usize, outcome: Option<Result<()>>) {
        self.sent.borrow_mut().push(Sent {
            to,
            length,
            outcome,
        });
    }

    fn complete(self: &Rc<Self>, id: usize, result: Result<()>, then: Option<Step>) {
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

    /// Whether the kernel was made to refuse a datagram so. `EAGAIN` is waited out, and `ECONNREFUSED` is another datagram's.
    fn may_be_refused(&self, error: Errno) -> bool {
        let own = ![Errno::EAGAIN, Errno::ECONNREFUSED].contains(&error);
        own && self.injected.borrow().contains(&error)
    }

    /// Checks what a direct send answered: how many of its datagrams went, or why none did.
    fn expect_direct(&self, result: Result<usize>) -> usize {
        let may = match result {
            _ if self.closing.get() => result == Err(Errno::EBADF),
            Ok(_) => !self.queued.get(),
            Err(Errno::EAGAIN) => true,
            Err(error) => !self.queued.get() && self.may_be_refused(error),
        };
        self.expect(may, || format!("a direct send said {result:?}"));
        result.unwrap_or(0)
    }

    fn try_send(&self, to: usize, length: usize) {
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

    fn try_batch(&self, batch: &[(usize, usize)]) {
        let (first, peer) = (self.sent.borrow().len(), self.peer.get());
        let payloads: Vec<_> = (first..)
            .zip(batch)
            .map(|(id, (_, length))| payload(id, *length))
            .collect();
        let batch_of = payloads.iter().zip(batch).map(|(payload, (to, _))| {
            let transmit = Transmit::new(payload);
            match peer {
                Some(_) => transmit,
                None => transmit.to(self.sockets[*to].1),
            }
        });
        let transmits: Vec<_> = batch_of.collect();
        let result = self.call(|udp| udp.try_send_batch(&transmits));
        for (to, length) in batch.iter().take(self.expect_direct(result)) {
            self.accept(peer.unwrap_or(*to), *length, Some(Ok(())));
        }
    }

    fn try_segments(&self, to: usize, size: usize, length: usize) {
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
        let result = self.call(|udp| udp.try_send_segments(&data, step, destination));
        let bytes = self.expect_direct(result);
        self.expect(bytes == data.len() || bytes % size == 0, || {
            format!("{bytes} bytes are no segments of {size}")
        });
        for length in lengths.iter().take(bytes.div_ceil(size)) {
            self.accept(peer.unwrap_or(to), *length, Some(Ok(())));
        }
    }

    fn send_wrongly(self: &Rc<Self>) {
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

    /// Everything that was accepted may be given up now, and what came from anybody but `peer` may.
    fn let_go(&self, peer: Option<usize>) {
        self.cancelled.set(self.sent.borrow().len());
        self.queued.set(false);
        for heard in self.heard.borrow_mut().iter_mut() {
            if heard.fate == Fate::Due && peer.is_some_and(|peer| peer != heard.from) {
                heard.fate = Fate::Open;
            }
        }
    }

    fn connect(&self, to: usize) {
        let address = self.sockets[to].1;
        let result = self.call(|udp| udp.connect(address));
        if self.closing.get() {
            return self.expect_open(result);
        }
        self.let_go(Some(to));
        match result {
            Ok(()) => self.peer.set(Some(to)),
            Err(error) => self.fall_back(error),
        }
    }

    fn disconnect(&self) {
        let result = self.call(Udp::disconnect);
        match (self.closing.get(), self.peer.get(), result) {
            (true, ..) => self.expect_open(result),
            (false, None, _) => {
                let refused = result == Err(Errno::ENOTCONN);
                self.expect(refused, || format!("nobody to let go of, and {result:?}"));
            }
            (false, Some(_), Ok(())) => {
                self.let_go(None);
                self.peer.set(None);
            }
            (false, Some(_), Err(error)) => {
                self.let_go(None);
                self.fall_back(error);
            }
        }
    }

    /// A change of peers failed: the handle has the old one, or none.
    fn fall_back(&self, error: Errno) {
        self.expect(self.may_be_refused(error), || format!("no peer: {error:?}"));
        if !self.udp.is_connected() {
            self.peer.set(None);
        }
        for heard in self.heard.borrow_mut().iter_mut() {
            if heard.fate == Fate::Due {
                heard.fate = Fate::Open;
            }
        }
    }

    fn recv_start(self: &Rc<Self>, form: Form) {
        let expected = match (self.closing.get(), self.receiving.get()) {
            (true, _) => Err(Errno::EBADF),
            (false, true) => Err(Errno::EALREADY),
            (false, false) => Ok(()),
        };
        let world = Rc::clone(self);
        let result = match form {
            Form::Each => self.call(|udp| {
                udp.recv_start(move |_, received| {
                    let heard = received.map(|datagram| (datagram.data.to_vec(), datagram.source));
                    world.hear_all(heard.map(|one| vec![one]).map_err(Errno::from));
                })
            }),
            Form::Batch => self.call(|udp| {
                udp.recv_batch_start(move |_, received| {
                    let heard = received.map(|batch| {
                        let owned = batch.map(|datagram| (datagram.data.to_vec(), datagram.source));
                        owned.collect()
                    });
                    world.hear_all(heard.map_err(Errno::from));
                })
            }),
            Form::Into => self.call(|udp| {
                let supply = |_: &Udp, _| Some(vec![0; 2_000]);
                udp.recv_into_start(supply, move |_, buffer, outcome| {
                    let arrival = outcome.map(|arrival| arrival.zip(buffer));
                    let heard = arrival.map(|arrival| {
                        let datagram = |(arrival, buffer): (uv_udp::Arrival, Vec<u8>)| {
                            (buffer[..arrival.len].to_vec(), arrival.source)
                        };
                        arrival.map(datagram).into_iter().collect()
                    });
                    world.hear_all(heard.map_err(Errno::from));
                })
            }),
        };
        self.expect(result == expected, || format!("recv_start said {result:?}"));
        self.receiving.set(self.receiving.get() || result.is_ok());
    }

    /// What one receive callback got.
    fn hear_all(self: &Rc<Self>, heard: Result<Vec<(Vec<u8>, SocketAddr)>>) {
        self.called_back(|| {
            self.expect(self.receiving.get() && !self.closing.get(), || {
                "something was delivered that nobody wanted".into()
            });
            let reactions = match heard {
                Ok(datagrams) => {
                    let reactions = datagrams
                        .iter()
                        .map(|(data, from)| self.hear_one(data, *from));
                    reactions.collect()
                }
                Err(error) => {
                    let known = error == Errno::ECONNREFUSED || self.may_be_refused(error);
                    self.expect(known, || format!("the network says {error:?}"));
                    Vec::new()
                }
            };
            for step in reactions.into_iter().flatten() {
                self.apply(&step);
            }
        });
    }

    /// Checks a delivery, and says what is to be done next.
    fn hear_one(&self, data: &[u8], source: SocketAddr) -> Option<Step> {
        let from = self
            .sockets
            .iter()
            .position(|(_, address)| *address == source);
        let peer = self.peer.get();
        self.expect(peer.is_none() || peer == from, || {
            format!("{from:?} is a stranger")
        });
        let mut heard = self.heard.borrow_mut();
        let id = heard.iter().enumerate().position(|(id, heard)| {
            Some(heard.from) == from
                && heard.length == data.len()
                && payload(id, heard.length) == data
        });
        let Some(id) = id else {
            self.expect(false, || format!("{} bytes that nobody sent", data.len()));
            return None;
        };
        let fate = std::mem::replace(&mut heard[id].fate, Fate::Delivered);
        self.expect(matches!(fate, Fate::Due | Fate::Open), || {
            format!("{id} came, though {fate:?}")
        });
        let mut missed = heard[..id]
            .iter()
            .filter(|earlier| Some(earlier.from) == from);
        let overtook = missed.any(|earlier| earlier.fate == Fate::Due);
        self.expect(!overtook, || format!("{id} overtook another one"));
        heard[id].then.take()
    }

    fn hear(&self, from: usize, length: usize, count: usize, then: Option<&Step>) {
        let first = self.heard.borrow().len();
        if self.closing.get() || first + count > MAX_HEARD {
            return;
        }
        let fate = match self.peer.get() {
            Some(peer) if peer != from => Fate::Barred,
            _ => Fate::Due,
        };
        let ids = first..first + count;
        self.heard.borrow_mut().extend(ids.clone().map(|id| Heard {
            from,
            length,
            fate,
            then: then.filter(|_| id + 1 == first + count).cloned(),
        }));
        // As one message, which the handle's socket may get whole.
        let data: Vec<_> = ids.flat_map(|id| payload(id, length)).collect();
        let socket = &self.sockets[from].0;
        let size = u16::try_from(length).ok().and_then(NonZeroU16::new);
        uv_sys::set_segment_size(socket, size.filter(|_| count > 1)).unwrap();
        assert_eq!(socket.send_to(&data, self.local).unwrap(), data.len());
    }

    fn inject(&self, call: Call, faults: &[Fault]) {
        for fault in faults {
            if let Fault::Errno(errno) = *fault {
                let mut injected = self.injected.borrow_mut();
                let same = injected.iter().filter(|&&other| other == errno).count();
                let tiring = [Errno::ENOBUFS, Errno::ECONNREFUSED].contains(&errno);
                if tiring && same == MAX_PATIENCE {
                    continue;
                }
                injected.push(errno);
            }
            fault::script(call, [*fault]);
        }
    }

    /// Everything that must come does: completions, and what was received.
    fn come_to_rest(self: &Rc<Self>) {
        if self.closing.get() {
            return;
        }
        if !self.receiving.get() {
            self.recv_start(Form::Each);
        }
        self.run_until(|world| {
            let receives = world.receiving.get() && !world.closing.get();
            let heard = world.heard.borrow();
            let due = receives && heard.iter().any(|heard| heard.fate == Fate::Due);
            let open = world
                .sent
                .borrow()
                .iter()
                .any(|sent| sent.outcome.is_none());
            !due && !open
        });
    }

    fn close(self: &Rc<Self>) {
        let world = Rc::clone(self);
        let callback = move |_: &Udp| {
            world.called_back(|| {
                let open = world
                    .sent
                    .borrow()
                    .iter()
                    .any(|sent| sent.outcome.is_none());
                world.expect(!open, || "closed before the last completion".into());
            });
            world.closed.set(true);
        };
        let result = self.call(|udp| udp.close(callback));
        self.expect_open(result);
        if result.is_ok() {
            self.let_go(None);
            self.closing.set(true);
        }
    }

    /// What has arrived at each socket is what was accepted for it and went well, in this order.
    fn compare_arrivals(&self) {
        for (to, (socket, _)) in self.sockets.iter().enumerate().take(PEERS) {
            let sent = self.sent.borrow();
            let went = sent.iter().enumerate();
            let went = went.filter(|(_, sent)| sent.to == to && sent.outcome == Some(Ok(())));
            let expected: Vec<_> = went
                .map(|(id, sent)| (id, payload(id, sent.length)))
                .collect();
            let mut arrived = std::mem::take(&mut self.arrived.borrow_mut()[to]);
            while arrived.len() < expected.len() {
                arrived.push(next(socket));
            }
            arrived.extend(all(socket));
            for (bytes, (id, payload)) in arrived.iter().zip(&expected) {
                self.expect(bytes == payload, || {
                    format!(
                        "{} bytes arrived at {to} instead of datagram {id}",
                        bytes.len()
                    )
                });
            }
            self.expect(arrived.len() == expected.len(), || {
                format!(
                    "{} datagrams at {to}, not {}",
                    arrived.len(),
                    expected.len()
                )
            });
        }
    }
}
