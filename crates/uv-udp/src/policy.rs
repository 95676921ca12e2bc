//! The connected-socket policy: the steps or the error of each call in each state. Pure, and the
//! only place with these rules.
//!
//! [`State`] returns the [`Plan`] of a call, or its error. `socket/` executes the plan, and reports
//! the state after each step, so that a step that fails leaves the state true.

use std::net::SocketAddr;

use uv_sys::{Errno, Family, Result, Transmit};

/// The state of a handle's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No socket: the first call that needs one decides the family.
    NoSocket,
    /// A socket without a peer.
    Unconnected { family: Family, bound: bool },
    /// A socket with a peer, and therefore with a local address.
    Connected { family: Family, peer: SocketAddr },
    /// Closing or closed.
    Closed,
}

/// The steps of a call, executed in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Create a socket of this family.
    pub(crate) create: Option<Family>,
    /// Disconnect from the peer, and keep the local address.
    pub(crate) disconnect: bool,
    /// Bind to this address.
    pub(crate) bind: Option<SocketAddr>,
    /// Connect to this peer.
    pub(crate) connect: Option<SocketAddr>,
}

impl State {
    /// The state of an adopted socket. Without a local port, it is not bound.
    pub(crate) fn of_socket(family: Family, local: &SocketAddr, peer: Option<SocketAddr>) -> Self {
        match peer {
            Some(peer) => Self::Connected { family, peer },
            None => Self::Unconnected {
                family,
                bound: local.port() != 0,
            },
        }
    }

    /// Adopting a socket: `EALREADY` if the handle has one.
    pub(crate) fn adopt(self) -> Result<()> {
        match self {
            Self::NoSocket => Ok(()),
            Self::Unconnected { .. } | Self::Connected { .. } => Err(Errno::EALREADY),
            Self::Closed => Err(Errno::EBADF),
        }
    }

    /// Creating a socket, without binding it.
    pub(crate) fn create(self, family: Family) -> Result<Plan> {
        self.adopt().map(|()| Plan {
            create: Some(family),
            ..Plan::default()
        })
    }

    /// `EINVAL` if the handle is bound already, also by an earlier connect, send or receive.
    pub(crate) fn bind(self, address: SocketAddr) -> Result<Plan> {
        let create = match self {
            Self::NoSocket => Some(Family::of(&address)),
            Self::Unconnected { bound: true, .. } | Self::Connected { .. } => {
                return Err(Errno::EINVAL);
            }
            Self::Unconnected {
                family,
                bound: false,
            } => same_family(family, &address)?,
            Self::Closed => return Err(Errno::EBADF),
        };
        Ok(Plan {
            create,
            bind: Some(address),
            ..Plan::default()
        })
    }

    /// A connected handle disconnects first. The proposal: "in some cases, the kernel returns
    /// `EINVAL` on consecutive `connect()` calls"; on Linux the source address of the first
    /// connect sticks.
    pub(crate) fn connect(self, peer: SocketAddr) -> Result<Plan> {
        let create = match self {
            Self::NoSocket => Some(Family::of(&peer)),
            Self::Unconnected { family, .. } | Self::Connected { family, .. } => {
                same_family(family, &peer)?
            }
            Self::Closed => return Err(Errno::EBADF),
        };
        has_port(&peer)?;
        Ok(Plan {
            create,
            disconnect: self.is_connected(),
            connect: Some(peer),
            ..Plan::default()
        })
    }

    pub(crate) fn disconnect(self) -> Result<Plan> {
        self.peer().map(|_| Plan {
            disconnect: true,
            ..Plan::default()
        })
    }

    /// For `send` and `try_send`.
    #[inline]
    pub(crate) fn send(self) -> Result<()> {
        match self {
            Self::Connected { .. } => Ok(()),
            Self::NoSocket | Self::Unconnected { .. } => Err(Errno::EDESTADDRREQ),
            Self::Closed => Err(Errno::EBADF),
        }
    }

    /// For `send_to` and `try_send_to`.
    pub(crate) fn send_to(self, destination: SocketAddr) -> Result<Plan> {
        let plan = match self {
            Self::NoSocket => Plan::first(Family::of(&destination)),
            Self::Unconnected { family, bound } => Plan {
                create: same_family(family, &destination)?,
                // The kernel would bind it as well, but the state would not record it.
                bind: (!bound).then(|| wildcard(family)),
                ..Plan::default()
            },
            Self::Connected { .. } => return Err(Errno::EISCONN),
            Self::Closed => return Err(Errno::EBADF),
        };
        has_port(&destination)?;
        Ok(plan)
    }

    /// The state after a plan of `send_to`, which creates a socket, binds it, or both.
    pub(crate) fn after_sending(self, plan: &Plan) -> Self {
        match plan.create.or(self.family()) {
            Some(family) => Self::Unconnected {
                family,
                bound: true,
            },
            None => self,
        }
    }

    /// Checks a send of any form. Returns the steps that must precede it, if any. `max_segments` is
    /// 1 where the kernel does not segment.
    #[inline]
    pub(crate) fn transmit(
        self,
        transmit: &Transmit<'_>,
        max_segments: usize,
    ) -> Result<Option<Plan>> {
        let plan = match transmit.destination {
            None => self.send().map(|()| None)?,
            Some(destination) => Some(self.send_to(destination)?),
        };
        transmit.payload.check()?;
        if !transmit.is_plain() {
            self.check_header(transmit, max_segments)?;
        }
        Ok(plan.filter(|plan| !plan.is_nothing()))
    }

    fn check_header(self, transmit: &Transmit<'_>, max_segments: usize) -> Result<()> {
        if transmit.segment_size.is_some() && max_segments == 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut transmit = *transmit;
        transmit.destination = transmit.destination.or(self.peer().ok());
        transmit.check()
    }

    pub(crate) fn recv_start(self) -> Result<Plan> {
        match self {
            Self::NoSocket => Ok(Plan::first(Family::V4)),
            Self::Unconnected {
                family,
                bound: false,
            } => Ok(Plan {
                bind: Some(wildcard(family)),
                ..Plan::default()
            }),
            Self::Unconnected { .. } | Self::Connected { .. } => Ok(Plan::default()),
            Self::Closed => Err(Errno::EBADF),
        }
    }

    pub(crate) fn peer(self) -> Result<SocketAddr> {
        match self {
            Self::Connected { peer, .. } => Ok(peer),
            Self::NoSocket | Self::Unconnected { .. } => Err(Errno::ENOTCONN),
            Self::Closed => Err(Errno::EBADF),
        }
    }

    pub(crate) fn is_connected(self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    pub(crate) fn family(self) -> Option<Family> {
        match self {
            Self::Unconnected { family, .. } | Self::Connected { family, .. } => Some(family),
            Self::NoSocket | Self::Closed => None,
        }
    }
}

impl Plan {
    /// Whether there are no steps.
    pub(crate) fn is_nothing(&self) -> bool {
        self.create.is_none() && !self.disconnect && self.bind.is_none() && self.connect.is_none()
    }

    /// A first socket, for a call without a local address.
    fn first(family: Family) -> Self {
        Self {
            create: Some(family),
            bind: Some(wildcard(family)),
            ..Self::default()
        }
    }
}

/// The wildcard address, and port 0: the kernel chooses one.
fn wildcard(family: Family) -> SocketAddr {
    SocketAddr::new(family.unspecified(), 0)
}

/// Returns no family to create for an address of the socket's family, and `EAFNOSUPPORT` for
/// another.
fn same_family(family: Family, address: &SocketAddr) -> Result<Option<Family>> {
    if Family::of(address) == family {
        Ok(None)
    } else {
        Err(Errno::EAFNOSUPPORT)
    }
}

/// Returns `EINVAL` for port 0, which no socket has.
pub(crate) fn has_port(address: &SocketAddr) -> Result<()> {
    if address.port() == 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = "127.0.0.1:7";
    const V6: &str = "[::1]:7";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn states() -> Vec<State> {
        let mut states = vec![State::NoSocket, State::Closed];
        for (family, peer) in [(Family::V4, V4), (Family::V6, V6)] {
            states.push(State::Unconnected {
                family,
                bound: false,
            });
            states.push(State::Unconnected {
                family,
                bound: true,
            });
            states.push(State::Connected {
                family,
                peer: address(peer),
            });
        }
        states
    }

    #[test]
    fn every_call_in_every_state_has_the_steps_of_the_policy_table() {
        for state in states() {
            let (family, connected) = (state.family(), state.is_connected());
            for (text, own) in [(V4, Family::V4), (V6, Family::V6)] {
                let to = address(text);
                let fits = family.is_none_or(|family| family == own);
                let create = family.is_none().then_some(own);
                let expect = |plan: Plan| {
                    if fits {
                        Ok(plan)
                    } else {
                        Err(Errno::EAFNOSUPPORT)
                    }
                };
                let [bind, connect, send_to] = match state {
                    State::Closed => [Err(Errno::EBADF); 3],
                    State::NoSocket => [
                        Ok(Plan {
                            create,
                            bind: Some(to),
                            ..Plan::default()
                        }),
                        Ok(Plan {
                            create,
                            connect: Some(to),
                            ..Plan::default()
                        }),
                        Ok(Plan {
                            create,
                            bind: Some(wildcard(own)),
                            ..Plan::default()
                        }),
                    ],
                    State::Unconnected { bound, .. } => [
                        if bound {
                            Err(Errno::EINVAL)
                        } else {
                            expect(Plan {
                                bind: Some(to),
                                ..Plan::default()
                            })
                        },
                        expect(Plan {
                            connect: Some(to),
                            ..Plan::default()
                        }),
                        expect(Plan {
                            bind: (!bound).then(|| wildcard(own)),
                            ..Plan::default()
                        }),
                    ],
                    State::Connected { .. } => [
                        Err(Errno::EINVAL),
                        expect(Plan {
                            disconnect: true,
                            connect: Some(to),
                            ..Plan::default()
                        }),
                        Err(Errno::EISCONN),
                    ],
                };
                assert_eq!(state.bind(to), bind, "bind({to}) in {state:?}");
                assert_eq!(state.connect(to), connect, "connect({to}) in {state:?}");
                assert_eq!(state.send_to(to), send_to, "send_to({to}) in {state:?}");
                let after = send_to.map(|plan| state.after_sending(&plan));
                let bound = State::Unconnected {
                    family: own,
                    bound: true,
                };
                assert_eq!(after, send_to.map(|_| bound), "after send_to in {state:?}");
            }
            let closed = state == State::Closed;
            let unless_connected = |errno| if closed { Errno::EBADF } else { errno };
            let yes = |plan| {
                if connected {
                    Ok(plan)
                } else {
                    Err(unless_connected(Errno::ENOTCONN))
                }
            };
            assert_eq!(
                state.disconnect(),
                yes(Plan {
                    disconnect: true,
                    ..Plan::default()
                }),
                "disconnect in {state:?}"
            );
            let send = if connected {
                Ok(())
            } else {
                Err(unless_connected(Errno::EDESTADDRREQ))
            };
            assert_eq!(state.send(), send, "send in {state:?}");
            assert_eq!(state.peer().is_ok(), connected, "peer in {state:?}");
        }
    }

    #[test]
    fn a_handle_adopts_one_socket_and_derives_the_state_from_its_addresses() {
        for state in states() {
            let expected = match state {
                State::NoSocket => Ok(()),
                State::Closed => Err(Errno::EBADF),
                _ => Err(Errno::EALREADY),
            };
            assert_eq!(state.adopt(), expected, "adopt in {state:?}");
            let created = Plan {
                create: Some(Family::V6),
                ..Plan::default()
            };
            let created = expected.map(|()| created);
            assert_eq!(state.create(Family::V6), created, "create in {state:?}");
        }
        let (v4, zero) = (address(V4), address("0.0.0.0:0"));
        let of = |local, peer| State::of_socket(Family::V4, local, peer);
        let unconnected = |bound| State::Unconnected {
            family: Family::V4,
            bound,
        };
        assert_eq!(of(&zero, None), unconnected(false));
        assert_eq!(of(&v4, None), unconnected(true));
        let connected = State::Connected {
            family: Family::V4,
            peer: v4,
        };
        assert_eq!(of(&v4, Some(v4)), connected);
    }

    #[test]
    fn receiving_binds_an_unbound_handle_to_the_wildcard_address() {
        let any4 = Some(address("0.0.0.0:0"));
        let first = Plan {
            create: Some(Family::V4),
            bind: any4,
            ..Plan::default()
        };
        assert_eq!(State::NoSocket.recv_start(), Ok(first));
        let unbound = State::Unconnected {
            family: Family::V6,
            bound: false,
        };
        assert_eq!(
            unbound.recv_start(),
            Ok(Plan {
                bind: Some(address("[::]:0")),
                ..Plan::default()
            })
        );
        let bound = State::Unconnected {
            family: Family::V4,
            bound: true,
        };
        assert_eq!(bound.recv_start(), Ok(Plan::default()));
        assert_eq!(State::Closed.recv_start(), Err(Errno::EBADF));
    }

    #[test]
    fn port_0_is_einval_but_on_a_connected_handle_eisconn_precedes_it() {
        for state in states() {
            let zero = address(if state.family() == Some(Family::V6) {
                "[::1]:0"
            } else {
                "127.0.0.1:0"
            });
            let usable = if state == State::Closed {
                Errno::EBADF
            } else {
                Errno::EINVAL
            };
            assert_eq!(state.connect(zero), Err(usable), "connect in {state:?}");
            let send_to = if state.is_connected() {
                Errno::EISCONN
            } else {
                usable
            };
            assert_eq!(state.send_to(zero), Err(send_to), "send_to in {state:?}");
        }
    }
}
