//! The steps that change handles, peers and timers.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::{Duration, Instant};

use uv_udp::{BindOptions, Errno, Family, PathMtuDiscovery, Result, Udp};

use super::options::Check;
use super::plan::{Origin, Setting, Step};
use super::process;
use super::world::{Actor, World};

fn work(microseconds: u64) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(microseconds) {}
}

impl World {
    pub(super) fn apply(self: &Rc<Self>, step: &Step) {
        if self.ledger.is_broken() {
            return;
        }
        match step {
            Step::Make(handle, origin) => self.make(*handle, *origin),
            Step::PeerDies(peer) => self.peers.borrow_mut()[*peer].socket = None,
            Step::PeerReturns(peer) => self.peer_returns(*peer),
            Step::AdoptWrong(kind) => self.adopt_wrong(*kind),
            Step::Timer {
                timer,
                after,
                microseconds,
                repeats,
                then,
            } => {
                work(*after);
                self.start_timer(*timer, *microseconds, *repeats, then.as_deref());
            }
            Step::Work(microseconds) => work(*microseconds),
            Step::Descriptors(free) => {
                self.few_descriptors.set(free.is_some());
                let _ = process::limit_descriptors(*free);
            }
            Step::Run(mode, times) => (0..*times).for_each(|_| self.run(*mode)),
            Step::Send { handle, .. }
            | Step::Try { handle, .. }
            | Step::Post { handle, .. }
            | Step::Hear { handle, .. }
            | Step::HearThread { handle, .. }
            | Step::Connect(handle, _)
            | Step::Disconnect(handle)
            | Step::Start(handle, _)
            | Step::Stop(handle)
            | Step::Set(handle, _)
            | Step::GiveBack(handle, _)
            | Step::Join(handle)
            | Step::Leave(handle)
            | Step::HearGroup(_, handle)
            | Step::Probe(handle)
            | Step::Close(handle)
            | Step::Drop(handle) => {
                if let Some(actor) = self.actor(*handle) {
                    self.apply_to(&actor, step);
                }
            }
        }
    }

    fn apply_to(self: &Rc<Self>, actor: &Rc<Actor>, step: &Step) {
        match step {
            Step::Send {
                to,
                length,
                count,
                form,
                then,
                ..
            } => self.send(actor, (*to, *length, *count), *form, then.as_deref()),
            Step::Try {
                to,
                length,
                count,
                form,
                ..
            } => self.try_send(actor, (*to, *length, *count), *form),
            Step::Post {
                to,
                length,
                count,
                form,
                ..
            } => self.post(actor, (*to, *length, *count), *form),
            Step::Hear {
                from,
                length,
                count,
                then,
                ..
            } => self.hear(actor, *from, (*length, *count), then.as_deref()),
            Step::HearThread {
                from,
                length,
                count,
                ..
            } => self.hear_thread(actor, *from, (*length, *count)),
            Step::Connect(_, to) => self.connect(actor, *to),
            Step::Disconnect(_) => self.disconnect(actor),
            Step::Start(_, form) => self.start(actor, *form),
            Step::Stop(_) => self.stop(actor),
            Step::Set(_, setting) => self.set(actor, *setting),
            Step::GiveBack(handle, adopts) => self.give_back(*handle, actor, *adopts),
            Step::Join(_) => self.member(actor, Udp::join_multicast),
            Step::Leave(_) => self.member(actor, Udp::leave_multicast),
            Step::HearGroup(from, _) => self.hear_group(actor, *from),
            Step::Probe(_) => self.probe(actor),
            Step::Close(_) => self.close(actor),
            Step::Drop(_) => {
                self.stop(actor);
                drop(actor.udp.take());
            }
            _ => {}
        }
    }

    fn make(self: &Rc<Self>, handle: usize, origin: Origin) {
        if let Some(old) = self.actor(handle) {
            self.close(&old);
        }
        let made = self.call(|| self.make_from(origin));
        self.expect("a new handle", &made, &[]);
        if let Ok(udp) = made {
            self.add(handle, udp);
        }
    }

    fn make_from(&self, origin: Origin) -> Result<Udp> {
        let event_loop = self.event_loop();
        let any = SocketAddr::new(self.ip, 0);
        let family = Family::of(&any);
        let raw = |address: SocketAddr| UdpSocket::bind(address).map_err(Errno::from);
        let adopt = |fd: OwnedFd| match Udp::from_fd(&event_loop, fd) {
            Ok(udp) => Ok(udp),
            Err(error) if self.excuses(&error) => Err(Errno::EMFILE),
            Err(_) => Err(Errno::EIO),
        };
        let udp = match origin {
            Origin::Bare => Udp::new(&event_loop),
            Origin::ForFamily => Udp::for_family(&event_loop, family)?,
            Origin::Bound => {
                let udp = Udp::new(&event_loop);
                udp.bind(any)?;
                udp
            }
            Origin::ReusePort => {
                let udp = Udp::new(&event_loop);
                udp.bind_with(any, BindOptions::default().reuse_port(true))?;
                udp
            }
            Origin::Wildcard => {
                let udp = Udp::new(&event_loop);
                udp.bind(SocketAddr::new(family.unspecified(), 0))?;
                udp
            }
            Origin::AdoptUnbound => adopt(uv_sys::socket::socket(family)?)?,
            Origin::AdoptBound => adopt(raw(any)?.into())?,
            Origin::AdoptConnected(peer) => {
                let socket = raw(any)?;
                let peer = self.peers.borrow()[peer].address;
                socket.connect(peer).map_err(Errno::from)?;
                adopt(socket.into())?
            }
        };
        Ok(udp)
    }

    /// Replaces a handle by a new one.
    fn add(self: &Rc<Self>, handle: usize, udp: Udp) {
        if self.scene.tiny_buffers {
            let _ = udp.options().set_send_buffer_size(1);
            let _ = udp.options().set_recv_buffer_size(1);
        }
        let actor = Rc::new(Actor::default());
        actor.sender.set(self.ledger.add_sender(None));
        *actor.udp.borrow_mut() = Some(udp);
        self.all_actors.borrow_mut().push(Rc::clone(&actor));
        let mut actors = self.actors.borrow_mut();
        match actors.get_mut(handle) {
            Some(place) => *place = Rc::clone(&actor),
            None => actors.push(Rc::clone(&actor)),
        }
        drop(actors);
        self.reach(&actor);
        self.look(&actor, false);
    }

    fn connect(&self, actor: &Actor, to: usize) {
        let (Some(udp), Some(address)) = (actor.udp(), self.address(to)) else {
            return;
        };
        if actor.closing.get() {
            return;
        }
        actor.let_go();
        let result = self.call(|| udp.connect(address));
        self.moved("connect", actor, &udp, result);
    }

    fn disconnect(&self, actor: &Actor) {
        let Some(udp) = actor.udp() else { return };
        if actor.closing.get() {
            return;
        }
        if !udp.is_connected() {
            let result = self.call(|| udp.disconnect());
            return self.require(result == Err(Errno::ENOTCONN), Check::Errno, || {
                format!("disconnect without a peer answered {result:?}")
            });
        }
        actor.let_go();
        let result = self.call(|| udp.disconnect());
        self.moved("disconnect", actor, &udp, result);
    }

    /// Checks the handle after a change of its peer.
    fn moved(&self, call: &str, actor: &Actor, udp: &Udp, result: Result<()>) {
        // With an error, another program may have taken the released port.
        self.expect(call, &result, &[Errno::EADDRINUSE]);
        if result.is_err() {
            actor.impaired.set(true);
        } else {
            self.check_settings(actor, udp);
            if call == "connect" {
                actor.impaired.set(false);
            }
        }
        self.look(actor, result.is_err());
    }

    fn stop(&self, actor: &Actor) {
        let Some(udp) = actor.udp() else { return };
        let result = self.call(|| udp.recv_stop());
        let expected: &[_] = if udp.is_closing() {
            &[Errno::EBADF]
        } else {
            &[]
        };
        self.expect("recv_stop", &result, expected);
        actor.receiving.set(false);
    }

    pub(super) fn close(self: &Rc<Self>, actor: &Rc<Actor>) {
        let Some(udp) = actor.udp() else { return };
        if actor.closing.replace(true) {
            let result = self.call(|| udp.close(|_| ()));
            return self.require(result == Err(Errno::EBADF), Check::Errno, || {
                format!("closing once more answered {result:?}")
            });
        }
        actor.let_go();
        let (world, this) = (Rc::clone(self), Rc::clone(actor));
        let result = self.call(|| {
            udp.close(move |_| {
                world.called_back(|| world.is_closed(&this));
            })
        });
        self.expect("close", &result, &[]);
        actor.receiving.set(false);
        drop(actor.udp.take());
    }

    fn is_closed(&self, actor: &Actor) {
        let open = actor.open.borrow().len();
        self.require(open == 0, Check::Completion, || {
            format!("a handle is closed before {open} of its sends are called back")
        });
        self.require(!actor.closed.replace(true), Check::Completion, || {
            "a close callback is called twice".into()
        });
    }

    fn give_back(self: &Rc<Self>, handle: usize, actor: &Rc<Actor>, adopts: bool) {
        let Some(udp) = actor.udp().filter(|udp| udp.with_fd(|_| ()).is_ok()) else {
            return;
        };
        actor.let_go();
        let given = self.call(|| udp.into_fd());
        self.expect("into_fd", &given, &[]);
        let Ok(fd) = given else { return };
        actor.closing.set(true);
        actor.closed.set(true);
        actor.receiving.set(false);
        drop(actor.udp.take());
        if !adopts {
            return;
        }
        let event_loop = self.event_loop();
        match self.call(|| Udp::from_fd(&event_loop, fd)) {
            Ok(udp) => self.add(handle, udp),
            Err(error) => self.require(self.excuses(&error), Check::Errno, || {
                format!("a socket that a handle gave back is refused with {error:?}")
            }),
        }
    }

    fn adopt_wrong(&self, kind: usize) {
        let fd: std::io::Result<OwnedFd> = match kind {
            0 => TcpListener::bind((self.ip, 0)).map(Into::into),
            1 => UnixDatagram::unbound().map(Into::into),
            _ => File::open("/dev/null").map(Into::into),
        };
        if let Ok(fd) = fd {
            let event_loop = self.event_loop();
            let adopted = self.call(|| Udp::from_fd(&event_loop, fd).is_ok());
            self.require(!adopted, Check::Errno, || {
                format!("a handle adopted a descriptor of kind {kind}, which is not UDP")
            });
        }
    }

    /// Disconnects, and connects to the same peer.
    pub(super) fn reconnect(&self, actor: &Actor, udp: &Udp) {
        if let (Ok(peer), false) = (udp.peer_addr(), actor.closing.get()) {
            actor.let_go();
            let result = self.call(|| udp.disconnect().and_then(|()| udp.connect(peer)));
            self.moved("connect", actor, udp, result);
        }
    }

    fn start_timer(
        self: &Rc<Self>,
        timer: usize,
        microseconds: u64,
        repeats: bool,
        then: Option<&Step>,
    ) {
        let timer = self.timers.borrow()[timer].clone();
        let timeout = Duration::from_micros(microseconds);
        let repeat = if repeats { timeout } else { Duration::ZERO };
        let (world, mut then) = (Rc::clone(self), then.cloned());
        let (started, mut fired) = (Instant::now(), 0);
        let result = self.call(|| {
            timer.start(timeout, repeat, move |timer| {
                world.called_back(|| {
                    fired += 1;
                    let (waited, least) = (started.elapsed(), timeout * fired);
                    world.require(waited >= least, Check::EarlyTimer, || {
                        format!("a timer fired after {waited:?} instead of {least:?}")
                    });
                    if fired == 20 {
                        let _ = timer.stop();
                    }
                    if let Some(step) = then.take() {
                        world.apply(&step);
                    }
                });
            })
        });
        self.expect("a timer", &result, &[]);
    }

    fn set(self: &Rc<Self>, actor: &Rc<Actor>, setting: Setting) {
        let Some(udp) = actor.udp() else { return };
        let own = self.ip;
        let result = self.call(|| match setting {
            Setting::Ttl(ttl) => udp.options().set_ttl(ttl),
            Setting::Tos(tos) => udp.options().set_tos(tos),
            Setting::Broadcast(on) => udp.options().set_broadcast(on),
            Setting::SendBuffer(size) => udp.options().set_send_buffer_size(size),
            Setting::RecvBuffer(size) => udp.options().set_recv_buffer_size(size),
            Setting::Mtu(way) => udp.options().set_path_mtu_discovery(
                [
                    PathMtuDiscovery::Off,
                    PathMtuDiscovery::Want,
                    PathMtuDiscovery::Do,
                ][way],
            ),
            Setting::RecvTos(on) => udp.options().set_recv_tos(on),
            Setting::RecvTtl(on) => udp.options().set_recv_ttl(on),
            Setting::RecvDestination(on) => udp.options().set_recv_packet_info(on),
            Setting::RecvTimestamp(on) => udp.options().set_recv_timestamps(on),
            Setting::RecvDrops(on) => udp.options().set_recv_drops(on),
            Setting::FullReports(on) => udp.options().set_recv_errors(on),
            Setting::Source(on) => udp.set_send_source(on.then(|| own.into())),
            Setting::Limit(limit) => {
                udp.set_send_queue_limit(limit);
                Ok(())
            }
            Setting::Drained => {
                let world = Rc::clone(self);
                udp.on_drained(move |udp| {
                    world.called_back(|| {
                        let count = udp.send_queue_count();
                        world.require(count == 0, Check::Queue, || {
                            format!("drained, with {count} sends under way")
                        });
                    });
                })
            }
            Setting::Referenced(true) => {
                udp.reference();
                Ok(())
            }
            Setting::Referenced(false) => {
                udp.unreference();
                Ok(())
            }
            Setting::Runs(on) => match udp.options().set_gro(on) {
                // Coalescing that is on stays on.
                Err(Errno::EBUSY) if !on && udp.options().gro() => Ok(()),
                result => result,
            },
            Setting::Retransmit(count) => {
                actor.retransmits.set(count);
                Ok(())
            }
            Setting::Restless(on) => {
                actor.restless.set(on);
                Ok(())
            }
        });
        let has_socket = udp.with_fd(|_| ()).is_ok();
        let expected: &[_] = if has_socket {
            &[]
        } else {
            &[Errno::EBADF, Errno::EAFNOSUPPORT]
        };
        self.expect("an option", &result, expected);
        if result.is_ok() && has_socket {
            let mut settings = actor.settings.borrow_mut();
            settings.retain(|old| std::mem::discriminant(old) != std::mem::discriminant(&setting));
            settings.push(setting);
        }
    }

    /// Options survive a change of the peer.
    fn check_settings(&self, actor: &Actor, udp: &Udp) {
        for setting in &*actor.settings.borrow() {
            let holds = match *setting {
                Setting::Ttl(ttl) => udp.options().ttl() == Ok(ttl),
                Setting::Tos(tos) => udp.options().tos() == Ok(tos),
                Setting::Broadcast(on) => udp.options().broadcast() == Ok(on),
                Setting::FullReports(on) => udp.options().recv_errors() == Ok(on),
                Setting::RecvTos(on) => udp.options().recv_tos() == on,
                _ => true,
            };
            self.require(holds, Check::Options, || {
                format!("{setting:?} did not survive a change of the peer")
            });
        }
    }
}
