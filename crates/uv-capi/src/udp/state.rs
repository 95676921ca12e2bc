//! The box behind `uv_udp_t`.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use uv_core::KeepAlive;
use uv_udp::Udp;

use super::receiver::Receiver;

/// The Rust state of a `uv_udp_t`.
pub(crate) struct UdpBox {
    pub(crate) udp: Udp,
    pub(crate) receiver: Rc<Receiver>,
    /// Held while requests are queued on an unreferenced handle: libuv's requests keep the loop
    /// alive by themselves.
    keep_alive: RefCell<Option<KeepAlive>>,
}

impl UdpBox {
    pub(crate) fn new(udp: Udp, receiver: Rc<Receiver>) -> Self {
        Self {
            udp,
            receiver,
            keep_alive: RefCell::new(None),
        }
    }

    /// Passes the peer, or none, to the receiver.
    pub(crate) fn peer_changed(&self) {
        self.receiver.set_peer(self.udp.peer_addr().ok());
    }

    /// Updates `keep_alive`. Called when the handle's reference changes and, without one, when a
    /// send starts or completes.
    pub(crate) fn keep_loop_alive(&self) {
        let wanted = !self.udp.has_ref() && self.udp.send_queue_count() > 0;
        let mut held = self.keep_alive.borrow_mut();
        if held.is_some() != wanted {
            *held = self
                .udp
                .event_loop()
                .filter(|_| wanted)
                .map(|event_loop| event_loop.proxy().keep_alive());
        }
    }
}

impl fmt::Debug for UdpBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpBox")
            .field("udp", &self.udp)
            .finish_non_exhaustive()
    }
}
