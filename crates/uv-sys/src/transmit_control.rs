//! The control messages of a [`Transmit`].

use std::net::{IpAddr, SocketAddr};

use crate::addr::Family;
use crate::cmsg::ControlEncoder;
use crate::errno::{Errno, Result};
use crate::transmit::Transmit;

/// The protocols whose control messages a message to this address needs.
///
/// The kernel ignores those of the other protocol. So a message without a destination gets both,
/// which saves the system call to ask the socket for its family.
fn families(address: Option<IpAddr>) -> &'static [Family] {
    match address.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(_)) => &[Family::V4],
        Some(IpAddr::V6(_)) => &[Family::V6],
        None => &[Family::V4, Family::V6],
    }
}

/// Encodes the options of `transmit` into `buffer`, and returns the bytes used.
pub(crate) fn encode(transmit: &Transmit<'_>, buffer: &mut [u8]) -> Result<usize> {
    let mut control = ControlEncoder::new(buffer);
    if let Some(size) = transmit.segment_size {
        control.segment_size(size.get())?;
    }
    if let Some(at) = transmit.transmit_at {
        control.transmit_at(at)?;
    }
    let to = families(transmit.destination.as_ref().map(SocketAddr::ip));
    for family in to {
        if let Some(tos) = transmit.tos {
            control.tos(*family, tos)?;
        }
        if let Some(ttl) = transmit.ttl {
            control.ttl(*family, ttl)?;
        }
    }
    if let Some(source) = transmit.source {
        let from = families(source.address);
        let mut none_fits = true;
        for family in to.iter().filter(|family| from.contains(family)) {
            control.source(*family, source)?;
            none_fits = false;
        }
        if none_fits {
            return Err(Errno::EAFNOSUPPORT);
        }
    }
    Ok(control.as_bytes().len())
}
