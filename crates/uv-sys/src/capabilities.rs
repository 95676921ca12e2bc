//! Capabilities of the running kernel.

use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::sync::OnceLock;

use crate::addr::Family;
use crate::errno::Errno;
use crate::option::{
    TxTimeClock, gro, recv_drops, recv_timestamps, segment_size, set_gro, set_recv_drops,
    set_recv_timestamps, set_segment_size, set_txtime, txtime,
};
use crate::send::sendmsg;
use crate::transmit::Transmit;

/// Capabilities of the running kernel, from [`capabilities()`].
///
/// Using one that the kernel lacks returns `ENOPROTOOPT`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`Transmit::segment_size`] and [`set_segment_size`] work: since Linux 4.18.
    #[doc(alias = "UDP_SEGMENT")]
    pub segmentation: bool,
    /// The maximum number of segments in one message: 64 on Linux, 128 since 6.9; 1 without
    /// [`segmentation`](Self::segmentation).
    #[doc(alias = "UDP_MAX_SEGMENTS")]
    pub max_segments: usize,
    /// [`set_gro`] works: since Linux 5.0.
    #[doc(alias = "UDP_GRO")]
    pub gro: bool,
    /// [`Transmit::transmit_at`] and [`set_txtime`] work: since Linux 4.19. Only some queueing
    /// disciplines of the device use the time.
    #[doc(alias = "SO_TXTIME")]
    #[doc(alias = "pacing")]
    pub txtime: bool,
    /// [`set_recv_timestamps`] works.
    #[doc(alias = "SO_TIMESTAMPNS")]
    pub timestamps: bool,
    /// [`set_recv_drops`] works.
    #[doc(alias = "SO_RXQ_OVFL")]
    pub recv_drops: bool,
}

/// Returns the capabilities of the running kernel. The first call probes them with loopback sockets
/// of its own (about ten system calls) and caches the result.
///
/// If no socket can be made, for instance without free descriptors, it returns no capabilities and
/// caches nothing.
///
/// ```
/// let capabilities = uv_sys::capabilities();
/// assert!(capabilities.max_segments >= 1);
/// ```
#[must_use]
pub fn capabilities() -> Capabilities {
    static PROBED: OnceLock<Capabilities> = OnceLock::new();
    #[cfg(feature = "fault-injection")]
    if crate::fault::lacks_something() {
        return probe(Family::V4)
            .or_else(|| probe(Family::V6))
            .unwrap_or(NOTHING);
    }
    if let Some(known) = PROBED.get() {
        return *known;
    }
    match probe(Family::V4).or_else(|| probe(Family::V6)) {
        Some(probed) => *PROBED.get_or_init(|| probed),
        None => NOTHING,
    }
}

const NOTHING: Capabilities = Capabilities {
    segmentation: false,
    max_segments: 1,
    gro: false,
    txtime: false,
    timestamps: false,
    recv_drops: false,
};

fn probe(family: Family) -> Option<Capabilities> {
    let socket = crate::socket::socket(family).ok()?;
    // gVisor accepts options that it ignores, but does not return them.
    let (size, clock) = (NonZeroU16::new(1), TxTimeClock::Monotonic);
    let segmentation = set_segment_size(&socket, size).is_ok() && segment_size(&socket) == Ok(size);
    Some(Capabilities {
        segmentation,
        max_segments: if segmentation {
            max_segments(family)
        } else {
            1
        },
        gro: set_gro(&socket, true).is_ok() && gro(&socket) == Ok(true),
        txtime: set_txtime(&socket, clock).is_ok() && txtime(&socket) == Ok(Some(clock)),
        timestamps: set_recv_timestamps(&socket, true).is_ok()
            && recv_timestamps(&socket) == Ok(true),
        recv_drops: set_recv_drops(&socket, true).is_ok() && recv_drops(&socket) == Ok(true),
    })
}

/// Found by sending: the kernel cannot be asked.
fn max_segments(family: Family) -> usize {
    const ONE_BYTE: NonZeroU16 = NonZeroU16::MIN;
    /// The limit of Linux before 6.9.
    const LEAST: usize = 64;

    let loopback = match family {
        Family::V4 => SocketAddr::from(([127, 0, 0, 1], 0)),
        Family::V6 => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 0)),
    };
    // To the socket itself, so that no other socket gets the datagrams.
    let attempt = |segments: usize| -> Result<bool, Errno> {
        let socket = UdpSocket::bind(loopback)?;
        let bytes = vec![0; segments];
        let transmit = Transmit::new(&bytes)
            .with_destination(socket.local_addr()?)
            .with_segment_size(ONE_BYTE);
        Ok(sendmsg(&socket, &transmit)? == segments)
    };
    let mut most = LEAST;
    while most < 1024 && matches!(attempt(most * 2), Ok(true)) {
        most *= 2;
    }
    most
}
