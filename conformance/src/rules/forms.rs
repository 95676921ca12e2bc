//! Every form of sending, and the datagrams at a raw socket.

use std::io::IoSliceMut;
use std::net::{Ipv6Addr, SocketAddr};

use uv_sys::{Metadata, RecvOptions};
use uv_udp::{Family, Transmit, Udp};

use crate::raw::{DEADLINE, Raw};
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Results, text};

/// The destination of the datagrams of a rule.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// The handle is connected.
    ToPeer,
    /// Each datagram has its own destination.
    To(SocketAddr),
}

impl Way {
    /// A handle for a raw socket, connected or not.
    pub(super) fn new(stage: &Stage, raw: &Raw, connect: bool) -> Result<(Udp, Self), Broken> {
        Ok(match connect {
            true => (stage.connected(raw.address())?, Self::ToPeer),
            false => (stage.bound()?, Self::To(raw.address())),
        })
    }

    pub(super) fn transmit<'a>(self, data: &'a str) -> Transmit<'a> {
        match self {
            Self::ToPeer => Transmit::new(data),
            Self::To(address) => Transmit::new(data).with_destination(address),
        }
    }
}

/// Sends the message in each form: `try_transmit`, `try_transmit_batch`, and `transmit`, directly and
/// from the queue.
pub(super) fn every_form(stage: &Stage, udp: &Udp, transmit: Transmit<'_>) -> Verdict {
    let results = Results::default();
    udp.try_transmit(&transmit)?;
    stage.send_batch(udp, &[transmit; 2])?;
    for number in 0..3 {
        udp.transmit(transmit.with_token(number), results.by_token())?;
    }
    stage.until("all complete", || results.len() == 3)?;
    ensure_eq!(results.with(Ok(())), [0, 1, 2], "sends that went well");
    Ok(())
}

/// Messages of `every_form`.
pub(super) const FORMS: usize = 6;

/// The next datagram of a raw socket with its source and metadata.
pub(super) fn observe(raw: &Raw) -> Result<(String, Option<SocketAddr>, Metadata), Broken> {
    let mut buffer = [0; 2000];
    let peeked = raw.peek_within(DEADLINE)?;
    ensure!(peeked, "nothing arrives");
    let options = RecvOptions::new().with_control(true);
    let received = uv_sys::message::recvmsg(raw, &mut [IoSliceMut::new(&mut buffer)], options)?;
    let data = buffer.get(..received.len).unwrap_or_default();
    Ok((text(data), received.source, received.metadata))
}

/// The group of all hosts on a network, which needs no join.
pub(super) fn all_hosts(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => ([224, 0, 0, 1], port).into(),
        Family::V6 => (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), port).into(),
    }
}
