//! A loop with handles, the raw sockets on the other side, and the known state of both.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use uv_udp::{Check as Hook, Errno, Loop, Result, RunMode, Timer, Udp};

use super::helper::Helper;
use super::ledger::{Ledger, Stream};
use super::options::Check;
use super::plan::{HANDLES, Mode, PEERS, Scene, Setting, Step, TIMERS};
use super::process;

/// Longest wait of a check: under strace on a busy machine everything takes long.
const DEADLINE: Duration = Duration::from_secs(30);
/// Receive callbacks of one handle in one iteration: several times the datagrams in all socket
/// buffers of a world.
const MAX_PER_ITERATION: usize = 20_000;
/// Outstanding bytes of all handles.
const MAX_UNDER_WAY: usize = 8 << 20;
/// Allocated bytes: several times the datagrams under way and the memory of the loop.
const MAX_LIVE_BYTES: usize = 256 << 20;
/// Longest wait of an iteration that waits.
const GUARD: Duration = Duration::from_millis(2);

/// A raw socket.
pub(super) struct Peer {
    pub(super) socket: Option<UdpSocket>,
    pub(super) address: SocketAddr,
    pub(super) sender: usize,
}

/// An outstanding send.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) request: usize,
    pub(super) bytes: usize,
    /// The peer changed or the handle closed meanwhile.
    pub(super) may_be_cancelled: bool,
}

/// A handle with its expected state.
#[derive(Default)]
pub(super) struct Actor {
    pub(super) udp: RefCell<Option<Udp>>,
    pub(super) sender: Cell<usize>,
    pub(super) receiving: Cell<bool>,
    pub(super) closing: Cell<bool>,
    pub(super) closed: Cell<bool>,
    /// A disconnect failed: the socket may still receive from the former peer only.
    pub(super) impaired: Cell<bool>,
    pub(super) open: RefCell<VecDeque<Open>>,
    pub(super) heard: Cell<usize>,
    pub(super) heard_in_iteration: Cell<usize>,
    /// A callback took a part of its batch.
    pub(super) left_some: Cell<bool>,
    pub(super) retransmits: Cell<usize>,
    pub(super) restless: Cell<bool>,
    pub(super) settings: RefCell<Vec<Setting>>,
}

impl Actor {
    /// A clone of the handle, unless it was dropped: no borrow lasts during a call.
    pub(super) fn udp(&self) -> Option<Udp> {
        self.udp.borrow().clone()
    }

    pub(super) fn stream(&self) -> Stream {
        Stream {
            sender: self.sender.get(),
            thread: false,
        }
    }

    pub(super) fn let_go(&self) {
        for open in self.open.borrow_mut().iter_mut() {
            open.may_be_cancelled = true;
        }
    }
}

pub(super) struct World {
    pub(super) event_loop: RefCell<Option<Loop>>,
    pub(super) ledger: Ledger,
    pub(super) ip: IpAddr,
    pub(super) scene: Scene,
    /// Errors that an injected fault may cause at any time.
    tolerated: Vec<String>,
    pub(super) actors: RefCell<Vec<Rc<Actor>>>,
    pub(super) all_actors: RefCell<Vec<Rc<Actor>>>,
    pub(super) peers: RefCell<Vec<Peer>>,
    pub(super) timers: RefCell<Vec<Timer>>,
    hook: RefCell<Option<Hook>>,
    pub(super) helper: RefCell<Option<Helper>>,
    pub(super) reactions: RefCell<Vec<(usize, Step)>>,
    requests: Cell<usize>,
    /// Whether a call is on the stack, in which no callback may run.
    calling: Cell<bool>,
    ticked: Cell<bool>,
    pub(super) few_descriptors: Cell<bool>,
    pub(super) iterations: Cell<u64>,
    buffer: RefCell<Vec<u8>>,
}

impl World {
    pub(super) fn new(
        scene: Scene,
        any: usize,
        ignored: &[Check],
        tolerated: &[String],
    ) -> Result<Rc<Self>> {
        let ip: IpAddr = if scene.v6 {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        let event_loop = Loop::new()?;
        let ledger = Ledger::new(ignored);
        let mut peers = Vec::new();
        while peers.len() < PEERS {
            let socket = UdpSocket::bind((ip, 0)).map_err(Errno::from)?;
            socket.set_nonblocking(true).map_err(Errno::from)?;
            let address = socket.local_addr().map_err(Errno::from)?;
            peers.push(Peer {
                socket: Some(socket),
                address,
                sender: ledger.add_sender(Some(address)),
            });
        }
        let timers = (0..TIMERS).map(|_| Timer::new(&event_loop)).collect();
        Ok(Rc::new(Self {
            event_loop: RefCell::new(Some(event_loop)),
            ledger,
            ip,
            scene,
            tolerated: tolerated.to_vec(),
            actors: RefCell::default(),
            all_actors: RefCell::default(),
            peers: RefCell::new(peers),
            timers: RefCell::new(timers),
            hook: RefCell::default(),
            helper: RefCell::new(Some(Helper::new(any))),
            reactions: RefCell::default(),
            requests: Cell::default(),
            calling: Cell::default(),
            ticked: Cell::new(true),
            few_descriptors: Cell::default(),
            iterations: Cell::default(),
            buffer: RefCell::new(vec![0; 65_536]),
        }))
    }

    pub(super) fn event_loop(&self) -> Loop {
        let event_loop = self.event_loop.borrow();
        event_loop
            .clone()
            .expect("the loop is there until the world ends")
    }

    pub(super) fn require(&self, holds: bool, check: Check, what: impl FnOnce() -> String) {
        self.ledger.require(holds, check, what);
    }

    /// Makes a call during which no callback may run.
    pub(super) fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        let outer = self.calling.replace(true);
        let result = call();
        self.calling.set(outer);
        result
    }

    /// Runs the body of a callback.
    pub(super) fn called_back<T>(&self, work: impl FnOnce() -> T) -> T {
        self.require(!self.calling.get(), Check::Reentrance, || {
            "a callback was called inside a call".into()
        });
        work()
    }

    /// Whether an injected fault may cause the error.
    pub(super) fn excuses(&self, error: &dyn std::fmt::Debug) -> bool {
        let shown = format!("{error:?}");
        let names = |name: &str| shown.contains(name);
        let few = self.few_descriptors.get() && (names("EMFILE") || names("ENFILE"));
        few || self.tolerated.iter().any(|name| names(name))
    }

    /// Whether faults are injected.
    pub(super) fn has_faults(&self) -> bool {
        !self.tolerated.is_empty()
    }

    /// Checks the result of a call against its documented errors.
    pub(super) fn expect<T>(&self, call: &str, result: &Result<T>, expected: &[Errno]) {
        if let Err(error) = result {
            let known = expected.contains(error) || self.excuses(error);
            self.require(known, Check::Errno, || format!("{call} answered {error:?}"));
        }
    }

    /// Numbers a send.
    pub(super) fn next_request(&self) -> usize {
        self.requests.replace(self.requests.get() + 1)
    }

    pub(super) fn under_way(&self) -> usize {
        let actors = self.all_actors.borrow();
        let open = |actor: &Rc<Actor>| -> usize {
            let open = actor.open.borrow();
            open.iter().map(|open| open.bytes + 1_000).sum()
        };
        actors.iter().map(open).sum()
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.under_way() + bytes < MAX_UNDER_WAY
    }

    /// The current address of a destination.
    pub(super) fn address(&self, to: usize) -> Option<SocketAddr> {
        if let Some(peer) = self.peers.borrow().get(to) {
            return Some(peer.address);
        }
        let actor = self.actor(to - PEERS)?;
        self.ledger.address(actor.sender.get())
    }

    pub(super) fn actor(&self, handle: usize) -> Option<Rc<Actor>> {
        self.actors.borrow().get(handle % HANDLES).cloned()
    }

    /// Checks the handle's local address, which changes only with an error.
    pub(super) fn look(&self, actor: &Actor, may_change: bool) {
        let Some(udp) = actor.udp().filter(|udp| !udp.is_closing()) else {
            return;
        };
        let Ok(mut address) = udp.local_addr() else {
            return;
        };
        if address.port() == 0 {
            let known = self.ledger.address(actor.sender.get());
            self.require(known.is_none() || may_change, Check::Address, || {
                format!("the local address {known:?} was lost")
            });
            // It may also have had an address for so short a time that it is not known.
            if known.is_some() || may_change {
                self.ledger.lose_address(actor.sender.get());
                actor.sender.set(self.ledger.add_sender(None));
            }
            return;
        }
        if address.ip().is_unspecified() {
            address.set_ip(self.ip);
        }
        let known = self.ledger.address(actor.sender.get());
        match known {
            None => self.ledger.set_address(actor.sender.get(), address),
            Some(known) if known.port() == address.port() => {}
            Some(known) => {
                self.require(may_change, Check::Address, || {
                    format!("the local address went from {known} to {address}")
                });
                self.ledger.lose_address(actor.sender.get());
                actor.sender.set(self.ledger.add_sender(Some(address)));
            }
        }
        let (open, bytes) = {
            let open = actor.open.borrow();
            (
                open.len(),
                open.iter().map(|open| open.bytes).sum::<usize>(),
            )
        };
        // Sends of other threads are in the queue too, in unknown number.
        let shown = (udp.send_queue_count(), udp.send_queue_size());
        self.require(shown.0 >= open && shown.1 >= bytes, Check::Queue, || {
            format!("{shown:?} sends and bytes under way, where {open} and {bytes} are open")
        });
    }

    /// Counts the callbacks of a handle, and stops one that does not end its iteration.
    pub(super) fn count(&self, actor: &Actor, udp: &Udp) {
        let count = actor.heard_in_iteration.get() + 1;
        actor.heard_in_iteration.set(count);
        if count > MAX_PER_ITERATION {
            self.require(false, Check::Starvation, || {
                format!("one handle was called {count} times in one iteration")
            });
            let _ = udp.recv_stop();
            actor.receiving.set(false);
        }
    }

    /// Starts the hooks that watch the iterations.
    pub(super) fn watch(self: &Rc<Self>) -> Result<()> {
        let event_loop = self.event_loop();
        let hook = Hook::new(&event_loop);
        let world = Rc::clone(self);
        hook.start(move |_| {
            world.iterations.set(world.iterations.get() + 1);
            for actor in &*world.all_actors.borrow() {
                actor.heard_in_iteration.set(0);
            }
            let ticked = world.ticked.replace(!world.scene.ticks);
            world.require(ticked, Check::Starvation, || {
                "a timer that was due was not called in an iteration".into()
            });
            let live = process::live_bytes();
            world.require(live < MAX_LIVE_BYTES, Check::Memory, || {
                format!("{live} bytes are allocated")
            });
        })?;
        hook.unreference();
        if self.scene.ticks {
            let tick = Timer::new(&event_loop);
            tick.unreference();
            let world = Rc::clone(self);
            tick.start(Duration::ZERO, Duration::from_nanos(1), move |_| {
                world.ticked.set(true);
            })?;
            self.timers.borrow_mut().push(tick);
        }
        *self.hook.borrow_mut() = Some(hook);
        Ok(())
    }

    pub(super) fn run(self: &Rc<Self>, mode: Mode) {
        let event_loop = self.event_loop();
        let guard = Timer::new(&event_loop);
        let stop = |guard: &Timer| {
            if let Some(event_loop) = guard.event_loop() {
                event_loop.stop();
            }
        };
        let result = match mode {
            Mode::NoWait => event_loop.run(RunMode::NoWait),
            Mode::Once => guard
                .start(GUARD, Duration::ZERO, |_| ())
                .and_then(|()| event_loop.run(RunMode::Once)),
            Mode::Default => guard
                .start(GUARD, Duration::ZERO, stop)
                .and_then(|()| event_loop.run(RunMode::Default)),
        };
        self.expect("run", &result, &[]);
        let _ = guard.stop();
        self.read_peers();
    }

    /// Runs the loop until a condition holds. Returns whether it does.
    pub(super) fn run_until(self: &Rc<Self>, done: impl Fn() -> bool) -> bool {
        let start = Instant::now();
        while !done() {
            if self.ledger.is_broken() || start.elapsed() > DEADLINE {
                return false;
            }
            self.run(Mode::Once);
        }
        true
    }

    /// Receives from the raw sockets.
    pub(super) fn read_peers(&self) {
        let mut buffer = self.buffer.borrow_mut();
        for peer in &*self.peers.borrow() {
            while let Some(socket) = &peer.socket
                && let Some((length, source)) = received(socket, &mut buffer)
            {
                self.ledger
                    .arrived(peer.sender, source, &buffer[..length], false);
            }
        }
    }
}

/// The next datagram, past errors about earlier ones.
fn received(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Ok(received) => return Some(received),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

/// The end of a world.
impl World {
    /// Checks that all sends complete, all receivers receive, and all handles close.
    pub(super) fn end(self: &Rc<Self>) {
        self.few_descriptors.set(false);
        let _ = process::limit_descriptors(None);
        if let Some(helper) = self.helper.take() {
            helper.join();
        }
        self.run(Mode::NoWait);
        let open = || -> usize {
            let actors = self.all_actors.borrow();
            actors.iter().map(|actor| actor.open.borrow().len()).sum()
        };
        let rests = self.run_until(|| open() == 0);
        self.require(rests, Check::Completion, || {
            format!("{} sends are never called back", open())
        });
        for actor in self.actors.borrow().clone() {
            self.probe(&actor);
        }
        if !self.scene.drops_loop {
            self.close_all();
        }
        for timer in self.timers.take() {
            let _ = timer.close(|_| ());
        }
        if let Some(hook) = self.hook.take() {
            let _ = hook.close(|_| ());
        }
        self.run(Mode::NoWait);
        self.run(Mode::NoWait);
        drop(self.event_loop.take());
        self.read_peers();
        self.reactions.take();
        for actor in self.all_actors.take() {
            drop(actor.udp.take());
        }
        self.actors.take();
    }

    fn close_all(self: &Rc<Self>) {
        for actor in self.all_actors.borrow().clone() {
            self.close(&actor);
        }
        let closed = || {
            let actors = self.all_actors.borrow();
            actors
                .iter()
                .all(|actor| actor.closed.get() || !actor.closing.get())
        };
        let all = self.run_until(closed);
        self.require(all, Check::Completion, || {
            "a close callback is never called".into()
        });
    }
}
