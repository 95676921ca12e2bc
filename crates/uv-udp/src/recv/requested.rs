//! The metadata that a handle requests from the kernel for each datagram. All of it is off by
//! default, and costs nothing then.

use std::cell::Cell;
use std::os::fd::AsFd;

/// One kind of metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Tos = 1,
    Ttl = 1 << 1,
    PacketInfo = 1 << 2,
    Timestamp = 1 << 3,
    Drops = 1 << 4,
}

/// The requested kinds, one bit each.
#[derive(Debug, Default)]
pub(crate) struct Requested {
    bits: Cell<u8>,
}

impl Requested {
    pub(crate) fn any(&self) -> bool {
        self.bits.get() != 0
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.bits.get() & kind as u8 != 0
    }

    pub(crate) fn set(&self, kind: Kind, on: bool) {
        let others = self.bits.get() & !(kind as u8);
        self.bits.set(if on { others | kind as u8 } else { others });
    }

    /// Takes over the options of an adopted socket.
    pub(super) fn recognize(&self, fd: impl AsFd) {
        let fd = fd.as_fd();
        for (kind, on) in [
            (Kind::Tos, uv_sys::option::recv_tos(fd)),
            (Kind::Ttl, uv_sys::option::recv_ttl(fd)),
            (Kind::PacketInfo, uv_sys::option::recv_packet_info(fd)),
            (Kind::Timestamp, uv_sys::option::recv_timestamps(fd)),
            (Kind::Drops, uv_sys::option::recv_drops(fd)),
        ] {
            // An option that the kernel lacks is off.
            self.set(kind, on == Ok(true));
        }
    }
}
