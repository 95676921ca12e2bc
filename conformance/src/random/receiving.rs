//! Receiving in every form.

use std::net::SocketAddr;
use std::rc::Rc;

use uv_udp::{Errno, NetworkError, RecvMeta, Udp};

use super::ledger::same;
use super::options::Check;
use super::plan::RecvForm;
use super::world::{Actor, World};

impl World {
    pub(super) fn start(self: &Rc<Self>, actor: &Rc<Actor>, form: RecvForm) {
        let Some(udp) = actor.udp() else { return };
        if self.ip.is_ipv6() && udp.with_fd(|_| ()).is_err() && !udp.is_closing() {
            // This call makes an IPv4 socket.
            return;
        }
        let mut expected = Vec::new();
        if udp.is_closing() {
            expected.push(Errno::EBADF);
        } else if actor.receiving.get() {
            expected.push(Errno::EALREADY);
        }
        let result = self.call(|| self.start_form(actor, &udp, form));
        self.expect("recv_start", &result, &expected);
        self.require(expected.is_empty() || result.is_err(), Check::Errno, || {
            format!("recv_start answered {result:?}, not {expected:?}")
        });
        if result.is_ok() {
            actor.receiving.set(true);
        }
        self.look(actor, false);
    }

    fn start_form(
        self: &Rc<Self>,
        actor: &Rc<Actor>,
        udp: &Udp,
        form: RecvForm,
    ) -> uv_udp::Result<()> {
        let hear = Hear {
            world: Rc::clone(self),
            actor: Rc::clone(actor),
        };
        match form {
            RecvForm::Each => udp.recv_start(move |udp, received| {
                hear.all(udp, received, |heard, datagram| {
                    heard.one(datagram.source, datagram.data, datagram.truncated);
                });
            }),
            RecvForm::Batch | RecvForm::PartOfBatch(_) => {
                let most = match form {
                    RecvForm::PartOfBatch(most) => most,
                    _ => usize::MAX,
                };
                udp.recv_batch_start(move |udp, received| {
                    hear.all(udp, received, |heard, mut batch| {
                        for datagram in batch.by_ref().take(most) {
                            heard.one(datagram.source, datagram.data, datagram.truncated);
                        }
                        if batch.next().is_some() {
                            hear.actor.left_some.set(true);
                        }
                    });
                })
            }
            RecvForm::Into | RecvForm::IntoSmall => {
                let room = if matches!(form, RecvForm::Into) {
                    65_536
                } else {
                    40
                };
                let supply = move |_: &Udp, _| Some(vec![0; room]);
                udp.recv_into_start(supply, hear.into_buffers())
            }
            RecvForm::IntoScarce => {
                let mut there = false;
                let supply = move |_: &Udp, _| {
                    there = !there;
                    there.then(|| vec![0; 2_000])
                };
                udp.recv_into_start(supply, hear.into_buffers())
            }
            RecvForm::IntoMany => {
                // Room for a part of a segmented message, for one message, and for three.
                let mut rooms = [2_000, 65_536, 200_000].into_iter().cycle();
                let supply = move |_: &Udp, _| Some(vec![0; rooms.next()?]);
                udp.recv_into_start(supply, hear.into_buffers())
            }
        }
    }
}

type Outcome<'a> = Result<&'a [RecvMeta], NetworkError>;

/// The receive callback of a handle.
struct Hear {
    world: Rc<World>,
    actor: Rc<Actor>,
}

/// The arguments of one call.
struct Heard<'a> {
    world: &'a World,
    actor: &'a Actor,
    udp: &'a Udp,
    peer: Option<SocketAddr>,
    ids: std::cell::RefCell<Vec<usize>>,
}

impl Hear {
    fn all<T>(
        &self,
        udp: &Udp,
        received: Result<T, NetworkError>,
        each: impl FnOnce(&Heard<'_>, T),
    ) {
        let Self { world, actor } = self;
        world.called_back(|| {
            let wanted = actor.receiving.get() && !actor.closing.get();
            world.require(wanted, Check::Stopped, || {
                "the receive callback was called after it was stopped".into()
            });
            let heard = Heard {
                world,
                actor,
                udp,
                peer: udp.peer_addr().ok(),
                ids: std::cell::RefCell::default(),
            };
            match received {
                Ok(received) => each(&heard, received),
                Err(error) => self.error(udp, error.errno()),
            }
            let ids = heard.ids.take();
            world.react(&ids);
        });
    }

    fn error(&self, udp: &Udp, error: Errno) {
        let Self { world, actor } = self;
        world.count(actor, udp);
        // Without memory the error is ENOBUFS.
        let known = [Errno::ECONNREFUSED, Errno::ENOBUFS].contains(&error);
        // The first EMSGSIZE of a send may be taken for a pending network error, if the second one
        // differs.
        let known = known || error == Errno::EMSGSIZE && world.has_faults();
        world.require(known || world.excuses(&error), Check::Errno, || {
            format!("the network says {error:?}")
        });
        world.retransmit(actor);
    }

    fn into_buffers(self) -> impl FnMut(&Udp, Option<Vec<u8>>, Outcome<'_>) + 'static {
        move |udp, buffer, outcome| {
            let buffer = buffer.unwrap_or_default();
            self.all(udp, outcome, |heard, received| {
                for meta in received {
                    heard.arrival(meta, &buffer);
                }
            });
        }
    }
}

impl Heard<'_> {
    fn one(&self, source: SocketAddr, data: &[u8], truncated: bool) {
        let Self {
            world, actor, udp, ..
        } = self;
        world.count(actor, udp);
        actor.heard.set(actor.heard.get() + 1);
        let is_peer = self.peer.is_none_or(|peer| same(peer, source));
        world.require(is_peer, Check::Stranger, || {
            format!(
                "a datagram from {source} on a handle whose peer is {:?}",
                self.peer
            )
        });
        let receiver = actor.sender.get();
        let id = world.ledger.arrived(receiver, source, data, truncated);
        self.ids.borrow_mut().extend(id);
        if actor.restless.get() {
            world.reconnect(actor, udp);
        }
    }

    fn arrival(&self, arrival: &RecvMeta, buffer: &[u8]) {
        for datagram in arrival.segments(buffer) {
            self.one(datagram.source, datagram.data, datagram.truncated);
        }
    }
}
