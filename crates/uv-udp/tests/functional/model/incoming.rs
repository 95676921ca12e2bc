//! Arriving datagrams.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::rc::Rc;

use uv_udp::{Errno, Result, Udp};

use super::world::{Fate, Heard, MAX_HEARD, World, payload};
use super::{Form, Step};

impl World {
    pub(super) fn recv_start(self: &Rc<Self>, form: Form) {
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
                    let buffer = buffer.unwrap_or_default();
                    let heard = outcome.map(|received| {
                        let datagram =
                            |meta: &uv_udp::RecvMeta| (buffer[..meta.len].to_vec(), meta.source);
                        received.iter().map(datagram).collect()
                    });
                    world.hear_all(heard.map_err(Errno::from));
                })
            }),
            Form::IntoMany => self.call(|udp| {
                // Room for a single datagram, for one message, and for three.
                let mut rooms = [2_000, 65_536, 200_000].into_iter().cycle();
                let supply = move |_: &Udp, _| Some(vec![0; rooms.next()?]);
                udp.recv_into_start(supply, move |_, buffer, outcome| {
                    let buffer = buffer.unwrap_or_default();
                    let split = |arrival: &uv_udp::RecvMeta| {
                        let all = arrival.segments(&buffer);
                        all.map(|datagram| (datagram.data.to_vec(), datagram.source))
                            .collect::<Vec<_>>()
                    };
                    let heard = outcome.map(|arrivals| arrivals.iter().flat_map(split).collect());
                    world.hear_all(heard.map_err(Errno::from));
                })
            }),
        };
        self.expect(result == expected, || format!("recv_start said {result:?}"));
        self.receiving.set(self.receiving.get() || result.is_ok());
    }

    /// The content of one receive callback.
    pub(super) fn hear_all(self: &Rc<Self>, heard: Result<Vec<(Vec<u8>, SocketAddr)>>) {
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

    /// Checks a delivery, and returns the next step.
    pub(super) fn hear_one(&self, data: &[u8], source: SocketAddr) -> Option<Step> {
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

    pub(super) fn hear(&self, from: usize, length: usize, count: usize, then: Option<&Step>) {
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
            then: then.filter(|_| id == first + count / 2).cloned(),
        }));
        // As one GSO message, which the handle's socket may get coalesced.
        let data: Vec<_> = ids.flat_map(|id| payload(id, length)).collect();
        let socket = &self.sockets[from].0;
        let size = u16::try_from(length).ok().and_then(NonZeroU16::new);
        uv_sys::option::set_segment_size(socket, size.filter(|_| count > 1)).unwrap();
        assert_eq!(socket.send_to(&data, self.local).unwrap(), data.len());
    }
}
