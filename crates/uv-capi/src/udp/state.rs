//! What is behind `uv_udp_t`.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use uv_core::KeepAlive;
use uv_udp::Udp;

use super::receiver::Receiver;

/// Behind `uv_udp_t`.
pub(crate) struct UdpBox {
    pub(crate) udp: Udp,
    pub(crate) receiver: Rc<Receiver>,
    /// Held while the handle has sends under way and does not keep the loop alive by itself: in libuv requests keep it alive
    /// also when their handle does not.
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

    /// The handle has another peer, or none.
    pub(crate) fn peer_changed(&self) {
        self.receiver.set_peer(self.udp.peer_addr().ok());
    }

    /// To be called when the handle's own reference changes, and while it has none when sends begin and end.
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
