//! Sends of raw peers to handles.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::num::NonZeroU16;
use std::rc::Rc;

use uv_udp::{Errno, Interface, Result, Transmit, Udp};

use super::helper::{Order, Sender};
use super::ledger::{Stream, datagram};
use super::options::Check;
use super::plan::{Mode, Step};
use super::world::{Actor, World};

/// Rounds of a probe, in each of which a peer sends again: injected faults and small buffers lose
/// datagrams.
const PROBES: usize = 200;
/// Iterations of a round.
const PROBE_ITERATIONS: usize = 10;
/// The index of the loopback interface in every network namespace.
const LOOPBACK: u32 = 1;

impl World {
    /// A group of this host, and the interface that reaches it.
    fn group(&self) -> (SocketAddr, Interface) {
        if self.ip.is_ipv4() {
            let group = SocketAddr::from(([239, 255, 7, 7], 0));
            (group, Interface::Address(Ipv4Addr::LOCALHOST))
        } else {
            // Interface-local: it never leaves the host.
            let group = SocketAddrV6::new(
                "ff01::77".parse().unwrap_or(Ipv6Addr::LOCALHOST),
                0,
                0,
                LOOPBACK,
            );
            (group.into(), Interface::Index(LOOPBACK))
        }
    }

    pub(super) fn member(&self, actor: &Actor, change: fn(&Udp, IpAddr, Interface) -> Result<()>) {
        let Some(udp) = actor.udp() else { return };
        let (group, interface) = self.group();
        let result = self.call(|| change(&udp, group.ip(), interface));
        // Errors: no socket, already or not a member, the system's limit.
        let expected = [
            Errno::EBADF,
            Errno::EADDRINUSE,
            Errno::EADDRNOTAVAIL,
            Errno::ENOBUFS,
            Errno::ENODEV,
        ];
        self.expect("a change of membership", &result, &expected);
    }

    pub(super) fn hear_group(&self, actor: &Actor, from: usize) {
        let Some(address) = self.ledger.address(actor.sender.get()) else {
            return;
        };
        let (mut group, interface) = self.group();
        group.set_port(address.port());
        let peers = self.peers.borrow();
        let peer = &peers[from];
        if let Some(socket) = &peer.socket
            && uv_sys::multicast::set_multicast_interface(socket, interface).is_ok()
        {
            let id = self.ledger.send(1, Some(group), false).start;
            let stream = Stream {
                sender: peer.sender,
                thread: false,
            };
            let _ = socket.send_to(&datagram(stream, id, 100), group);
        }
    }

    pub(super) fn hear(
        &self,
        actor: &Actor,
        from: usize,
        (length, count): (usize, usize),
        then: Option<&Step>,
    ) {
        let Some(address) = self.ledger.address(actor.sender.get()) else {
            return;
        };
        let peers = self.peers.borrow();
        let peer = &peers[from];
        let Some(socket) = &peer.socket else { return };
        let stream = Stream {
            sender: peer.sender,
            thread: false,
        };
        let ids = self.ledger.send(count, Some(address), true);
        if let Some(step) = then {
            let id = ids.start + count / 2;
            self.reactions.borrow_mut().push((id, step.clone()));
        }
        // Some leave as one message, which the handle's socket may get coalesced.
        let size = u16::try_from(length).ok().and_then(NonZeroU16::new);
        if count > 1 && count % 2 == 0 && count * length < 65_000 {
            let data: Vec<u8> = ids
                .clone()
                .flat_map(|id| datagram(stream, id, length))
                .collect();
            // Not a socket option: the helper thread sends from this socket too.
            let mut transmit = Transmit::new(&data).with_destination(address);
            transmit.segment_size = size;
            let sent = uv_sys::message::sendmsg(socket, &transmit).is_ok();
            return self.ledger.is_taken(ids, sent);
        }
        for id in ids {
            let sent = socket.send_to(&datagram(stream, id, length), address);
            self.ledger.is_taken(id..id + 1, sent.is_ok());
        }
    }

    pub(super) fn hear_thread(&self, actor: &Actor, from: usize, (length, count): (usize, usize)) {
        let Some(address) = self.ledger.address(actor.sender.get()) else {
            return;
        };
        let peers = self.peers.borrow();
        let peer = &peers[from];
        let socket = peer.socket.as_ref().map(UdpSocket::try_clone);
        if let (Some(Ok(socket)), Some(helper)) = (socket, &*self.helper.borrow()) {
            helper.ask(Order {
                sender: Sender::Peer(socket, address),
                stream: Stream {
                    sender: peer.sender,
                    thread: true,
                },
                ids: self.ledger.send(count, Some(address), false),
                length,
            });
        }
    }

    /// Applies the step for the arrival of these datagrams.
    pub(super) fn react(self: &Rc<Self>, ids: &[usize]) {
        for id in ids {
            let place = self.reactions.borrow().iter().position(|(of, _)| of == id);
            if let Some(place) = place {
                let (_, step) = self.reactions.borrow_mut().swap_remove(place);
                self.apply(&step);
            }
        }
    }

    pub(super) fn peer_returns(&self, peer: usize) {
        let peer = &mut self.peers.borrow_mut()[peer];
        if peer.socket.is_none() {
            let socket = UdpSocket::bind(peer.address).ok();
            peer.socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
        }
    }

    /// A live peer that can reach the handle now.
    fn heard_peer(&self, actor: &Actor) -> Option<usize> {
        let udp = actor.udp()?;
        if !actor.receiving.get() || actor.impaired.get() || self.few_descriptors.get() {
            return None;
        }
        let peers = self.peers.borrow();
        let lives = |index: &usize| peers[*index].socket.is_some();
        let mut living = (0..peers.len()).filter(lives);
        match udp.peer_addr() {
            Ok(address) => living.find(|index| peers[*index].address == address),
            Err(_) => living.next(),
        }
    }

    /// Checks that a receiving handle gets a datagram of its peer.
    pub(super) fn probe(self: &Rc<Self>, actor: &Rc<Actor>) {
        // A callback cannot run the loop.
        for _ in 0..PROBES {
            let before = actor.heard.get();
            let Some(peer) = self.heard_peer(actor) else {
                return;
            };
            self.hear(actor, peer, (100, 1), None);
            for _ in 0..PROBE_ITERATIONS {
                self.run(Mode::NoWait);
                if actor.heard.get() != before || self.ledger.is_broken() {
                    return;
                }
            }
            // A callback that takes nothing of its batch.
            if actor.left_some.get() {
                return;
            }
        }
        self.require(false, Check::Deaf, || {
            format!("a receiving handle got none of {PROBES} datagrams")
        });
    }
}
