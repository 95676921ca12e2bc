//! One handle among raw sockets, and its invariants.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, Result, RunMode, Udp};

use super::super::harness::{all, raw};
use super::{Form, PEERS, Step};

/// The receive buffer of a receiver in bytes. The kernel doubles it, and allows it without a
/// privilege.
const BUFFER: usize = 212_992;
/// Bytes in flight at most, as the kernel counts them: they fit into the buffer of a receiver that
/// does not read.
pub(super) const MAX_UNDER_WAY: usize = 300_000;
/// Arriving datagrams in total, of 500 bytes at most: all fit into the handle's socket buffer.
pub(super) const MAX_HEARD: usize = 200;
/// Injected errors of a kind that ends after a number of repetitions, or grows a pause.
const MAX_PATIENCE: usize = 4;
/// The deadline of an expected event.
const DEADLINE: Duration = Duration::from_secs(60);
/// The deadline of a datagram on loopback, which typically arrives at once.
const LATEST: Duration = Duration::from_secs(60);

/// An accepted datagram, and its outcome.
pub(super) struct Sent {
    pub(super) to: usize,
    pub(super) length: usize,
    pub(super) outcome: Option<Result<()>>,
}

/// An arriving datagram.
pub(super) struct Heard {
    pub(super) from: usize,
    pub(super) length: usize,
    pub(super) fate: Fate,
    pub(super) then: Option<Step>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Fate {
    /// It must be delivered.
    Due,
    /// It is lost if the handle was connected to another peer when it was read.
    Open,
    /// The handle was connected to another peer when it arrived.
    Barred,
    Delivered,
}

pub(super) struct World {
    pub(super) event_loop: Loop,
    pub(super) udp: Udp,
    pub(super) local: SocketAddr,
    /// The raw sockets; the last one is connected to itself.
    pub(super) sockets: Vec<(UdpSocket, SocketAddr)>,
    pub(super) arrived: RefCell<Vec<Vec<Vec<u8>>>>,
    pub(super) peer: Cell<Option<usize>>,
    pub(super) receiving: Cell<bool>,
    pub(super) closing: Cell<bool>,
    pub(super) closed: Cell<bool>,
    pub(super) sent: RefCell<Vec<Sent>>,
    pub(super) heard: RefCell<Vec<Heard>>,
    /// Sends before this one may have been cancelled.
    pub(super) cancelled: Cell<usize>,
    /// Whether a send is certain to be queued.
    pub(super) queued: Cell<bool>,
    /// Bytes that may be in flight.
    pub(super) limit: Cell<Option<usize>>,
    pub(super) injected: RefCell<Vec<Errno>>,
    /// Whether a call of the handle is running.
    pub(super) calling: Cell<bool>,
    /// Whether a callback is running.
    pub(super) running: Cell<bool>,
    pub(super) broken: RefCell<Vec<String>>,
}

pub(super) fn payload(id: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![id as u8; length];
    let name = (id as u32).to_le_bytes();
    bytes.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    bytes
}

/// The most that the kernel counts for a datagram of this length.
pub(super) fn weight(length: usize) -> usize {
    1_300 + 2 * length
}

impl World {
    /// Plays one case, and returns the broken promise.
    pub(super) fn play(
        ip: IpAddr,
        coalesces: bool,
        steps: &[Step],
        closes: bool,
    ) -> std::result::Result<(), String> {
        fault::clear();
        let event_loop = Loop::new().unwrap();
        let (socket, local) = raw(ip);
        uv_sys::option::set_gro(&socket, coalesces).unwrap();
        let udp = Udp::from_fd(&event_loop, socket.into()).unwrap();
        udp.options().set_recv_buffer_size(BUFFER).unwrap();
        let sockets: Vec<_> = (0..=PEERS).map(|_| raw(ip)).collect();
        for (socket, _) in &sockets {
            uv_sys::option::set_recv_buffer_size(socket, BUFFER).unwrap();
            socket.set_read_timeout(Some(LATEST)).unwrap();
        }
        // Connected to itself: the port is closed to others, and no other socket can take it.
        sockets[PEERS].0.connect(sockets[PEERS].1).unwrap();
        let world = Rc::new(Self {
            event_loop,
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
            limit: Cell::new(None),
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
        world.expect(!world.event_loop.alive(), || "the loop lives on".into());
        world.compare_arrivals();
        world.compare_counters();
        world.verdict()
    }

    pub(super) fn verdict(&self) -> std::result::Result<(), String> {
        let broken = self.broken.borrow();
        broken.first().map_or(Ok(()), |first| Err(first.clone()))
    }

    pub(super) fn expect(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.borrow_mut().push(what());
        }
    }

    /// Makes a call on the handle, in which no callback may run.
    pub(super) fn call<T>(&self, call: impl FnOnce(&Udp) -> T) -> T {
        let outer = self.calling.replace(true);
        let result = call(&self.udp);
        self.calling.set(outer);
        result
    }

    /// Runs a callback's body.
    pub(super) fn called_back(&self, body: impl FnOnce()) {
        self.expect(!self.calling.get(), || "a callback in a call".into());
        let nested = self.running.replace(true);
        self.expect(!nested, || "a callback in a callback".into());
        self.expect(!self.closed.get(), || "a callback after the last".into());
        body();
        self.running.set(nested);
    }

    pub(super) fn apply(self: &Rc<Self>, step: &Step) {
        match step {
            Step::Send {
                to,
                length,
                count,
                odd,
                then,
            } => {
                for index in 1..=*count {
                    let then = then.as_deref().filter(|_| index == *count);
                    let odd = odd.filter(|(position, _)| index == *position);
                    self.send((*to, *length), odd.map(|(_, odd)| odd), then.cloned());
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
            Step::Limit(limit) => {
                self.udp.set_send_queue_limit(*limit);
                self.limit.set(*limit);
            }
            Step::Source(named) => {
                let source = named.then(|| self.local.ip().into());
                let result = self.call(|udp| udp.set_send_source(source));
                self.expect_open(result);
            }
            Step::Close => self.close(),
        }
    }

    pub(super) fn run(&self, mode: RunMode) {
        self.queued.set(false);
        self.event_loop.run(mode).unwrap();
        self.look();
    }

    pub(super) fn run_until(&self, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) && self.broken.borrow().is_empty() {
            // A waiting send ends: by the end of a pause, or by room in the socket.
            let waits = !self.closing.get() && self.udp.send_queue_count() > 0;
            self.run(if waits {
                RunMode::Once
            } else {
                RunMode::NoWait
            });
            self.expect(start.elapsed() < DEADLINE, || "something never came".into());
        }
    }

    /// Reads arrived datagrams, and checks the invariants that hold at any time.
    pub(super) fn look(&self) {
        for (index, (socket, _)) in self.sockets.iter().enumerate().take(PEERS) {
            self.arrived.borrow_mut()[index].extend(all(socket));
        }
        if self.closing.get() {
            return;
        }
        let (open, shown) = (
            self.open(),
            (self.udp.send_queue_count(), self.udp.send_queue_size()),
        );
        self.expect(shown == open, || {
            format!("{shown:?} under way instead of {open:?}")
        });
        self.expect(
            self.udp.local_addr().map(|own| own.port()) == Ok(self.local.port()),
            || "the local port changed".into(),
        );
        let peer = self.peer.get().map(|peer| self.sockets[peer].1);
        self.expect(self.udp.peer_addr().ok() == peer, || "another peer".into());
    }

    /// The number of pending sends, and their bytes.
    pub(super) fn open(&self) -> (usize, usize) {
        let sent = self.sent.borrow();
        let open = sent.iter().filter(|sent| sent.outcome.is_none());
        open.fold((0, 0), |(count, size), sent| {
            (count + 1, size + sent.length)
        })
    }

    pub(super) fn under_way(&self) -> usize {
        let sent = self.sent.borrow();
        let open = sent.iter().filter(|sent| sent.outcome.is_none());
        open.map(|sent| weight(sent.length)).sum()
    }

    pub(super) fn expect_open(&self, result: Result<()>) {
        let expected = if self.closing.get() {
            Err(Errno::EBADF)
        } else {
            Ok(())
        };
        self.expect(result == expected, || {
            format!("{result:?}, not {expected:?}")
        });
    }

    /// From now on, pending sends may be cancelled, and datagrams of others than `peer` may be
    /// lost.
    pub(super) fn let_go(&self, peer: Option<usize>) {
        self.cancelled.set(self.sent.borrow().len());
        self.queued.set(false);
        for heard in self.heard.borrow_mut().iter_mut() {
            if heard.fate == Fate::Due && peer.is_some_and(|peer| peer != heard.from) {
                heard.fate = Fate::Open;
            }
        }
    }

    pub(super) fn connect(&self, to: usize) {
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

    pub(super) fn disconnect(&self) {
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

    /// Handles a failed change of the peer: the handle has the old one, or none.
    pub(super) fn fall_back(&self, error: Errno) {
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

    pub(super) fn inject(&self, call: Call, faults: &[Fault]) {
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

    /// Waits for all completions and deliveries.
    pub(super) fn come_to_rest(self: &Rc<Self>) {
        while !self.closing.get() && self.broken.borrow().is_empty() && !self.is_at_rest() {
            // Again, if a callback stopped it.
            if !self.receiving.get() {
                self.recv_start(Form::Each);
            }
            self.run_until(|world| {
                world.closing.get() || !world.receiving.get() || world.is_at_rest()
            });
        }
    }

    fn is_at_rest(&self) -> bool {
        let open = |sent: &Sent| sent.outcome.is_none();
        let due = |heard: &Heard| heard.fate == Fate::Due;
        !self.sent.borrow().iter().any(open) && !self.heard.borrow().iter().any(due)
    }

    pub(super) fn close(self: &Rc<Self>) {
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

    /// Checks that each socket got the datagrams accepted for it, in order.
    pub(super) fn compare_arrivals(&self) {
        for (to, (socket, _)) in self.sockets.iter().enumerate().take(PEERS) {
            let sent = self.sent.borrow();
            let went = sent.iter().enumerate();
            let went = went.filter(|(_, sent)| sent.to == to && sent.outcome == Some(Ok(())));
            let expected: Vec<_> = went
                .map(|(id, sent)| (id, payload(id, sent.length)))
                .collect();
            let mut arrived = std::mem::take(&mut self.arrived.borrow_mut()[to]);
            let mut buffer = vec![0; 65_536];
            while arrived.len() < expected.len()
                && let Ok(length) = socket.recv(&mut buffer)
            {
                arrived.push(buffer[..length].to_vec());
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

    /// Checks the handle's counters.
    fn compare_counters(&self) {
        let counters = self.udp.counters();
        let sum =
            |lengths: Vec<usize>| (lengths.len() as u64, lengths.iter().sum::<usize>() as u64);
        let (sent, heard) = (self.sent.borrow(), self.heard.borrow());
        let went = sent.iter().filter(|sent| sent.outcome == Some(Ok(())));
        let went = sum(went.map(|sent| sent.length).collect());
        let counted = (counters.datagrams_sent, counters.bytes_sent);
        self.expect(counted == went, || {
            format!("{counted:?} sent, not {went:?}")
        });
        let came = heard.iter().filter(|heard| heard.fate == Fate::Delivered);
        let came = sum(came.map(|heard| heard.length).collect());
        let counted = (counters.datagrams_received, counters.bytes_received);
        self.expect(counted == came, || {
            format!("{counted:?} received, not {came:?}")
        });
    }
}
