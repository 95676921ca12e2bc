//! TOS, ECN and TTL of sent datagrams, as a raw socket receives them.

use std::num::NonZeroU16;

use uv_udp::{Ecn, Errno, Udp};

use super::forms::{FORMS, Way, every_form, observe};
use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Results;

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "transmit/ttl-and-tos-by-default",
        "A handle's TTL and TOS are on every datagram without its own, in every form of sending.",
        ttl_and_tos,
    ),
    Rule::each(
        "transmit/tos-ecn-and-ttl-per-datagram",
        "Each datagram leaves with its own TOS, ECN and TTL, in every form of sending and in batches of different ones.",
        per_datagram,
    ),
    Rule::each(
        "transmit/ecn-alone-keeps-the-dscp",
        "A datagram with ECN bits alone leaves with the handle's DSCP, in every form of sending.",
        ecn_alone,
    ),
];

fn ttl_and_tos(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = observer(stage)?;
        let (udp, way) = Way::new(stage, &raw, connect)?;
        udp.options().set_ttl(9)?;
        udp.options().set_tos(46 << 2 | Ecn::Ect0 as u8)?;
        let plain = way.transmit("plain");
        for (what, transmit, expected) in [
            ("no header", plain, (0xba, 9)),
            (
                "ECN",
                plain.with_tos(46 << 2).with_ecn(Ecn::Ect1),
                (0xb9, 9),
            ),
            ("a DSCP", plain.with_tos(8 << 2), (0x20, 9)),
            ("a TTL", plain.with_ttl(200), (0xba, 200)),
        ] {
            every_form(stage, &udp, transmit)?;
            for form in 0..FORMS {
                let (_, _, metadata) = observe(&raw)?;
                let (tos, ttl) = expected;
                ensure_eq!(
                    (metadata.tos, metadata.ttl),
                    (Some(tos), Some(ttl)),
                    "TOS and TTL of datagram {form} with {what}, connected: {connect}"
                );
            }
        }
    }
    Ok(())
}

fn per_datagram(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = observer(stage)?;
        let (udp, way) = Way::new(stage, &raw, connect)?;
        let plain = way.transmit("plain");
        let marked = way
            .transmit("marked")
            .with_tos(0x40)
            .with_ecn(Ecn::Ce)
            .with_ttl(17);
        udp.try_transmit(&marked)?;
        stage.send_batch(&udp, &[plain, marked, marked, plain])?;
        let results = Results::default();
        let queued = [marked, plain, marked, marked, plain];
        for (number, transmit) in queued.into_iter().enumerate() {
            udp.transmit(transmit.with_token(number), results.by_token())?;
        }
        stage.until("all of them complete", || results.len() == 5)?;
        for (index, expected) in "mpmmpmpmmp".chars().enumerate() {
            let expected = match expected {
                'm' => ("marked".to_owned(), Some(0x43), Some(17)),
                _ => ("plain".to_owned(), Some(0), Some(64)),
            };
            let (text, _, metadata) = observe(&raw)?;
            let seen = (text, metadata.tos, metadata.ttl);
            ensure_eq!(seen, expected, "datagram {index}, connected: {connect}");
        }
    }
    Ok(())
}

/// The TOS bytes of marked datagrams in every form of sending.
fn marked_in_every_form(
    stage: &Stage,
    udp: &Udp,
    way: Way,
    raw: &Raw,
) -> Result<Vec<Option<u8>>, Broken> {
    every_form(stage, udp, way.transmit("marked").with_ecn(Ecn::Ect0))?;
    let size = NonZeroU16::new(6).ok_or(Errno::EINVAL)?;
    let cut = way
        .transmit("markedmarked")
        .with_ecn(Ecn::Ect0)
        .with_segment_size(size);
    let segments = if uv_udp::capabilities().segmentation {
        udp.try_transmit(&cut)?;
        2
    } else {
        0
    };
    (0..FORMS + segments)
        .map(|_| Ok(observe(raw)?.2.tos))
        .collect()
}

fn ecn_alone(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let raw = observer(stage)?;
        let (udp, way) = Way::new(stage, &raw, connect)?;
        let all_are = |dscp: u8, what: &str| -> Verdict {
            let seen = marked_in_every_form(stage, &udp, way, &raw)?;
            let marked = seen.iter().all(|&tos| tos == Some(dscp | 0b10));
            ensure!(marked, "{seen:?} {what}");
            Ok(())
        };
        for dscp in [0xb8, 0x20] {
            udp.options().set_tos(dscp)?;
            all_are(dscp, "with a DSCP of the handle")?;
        }
        udp.with_fd(|fd| uv_sys::option::set_tos(fd, 0x40))??;
        all_are(0x40, "with one that was set on its socket")?;
        if connect {
            udp.disconnect()?;
            udp.connect(raw.address())?;
            all_are(0x40, "after connecting anew")?;
        }
        udp.try_transmit(&way.transmit("own").with_tos(0x80).with_ecn(Ecn::Ce))?;
        ensure_eq!(observe(&raw)?.2.tos, Some(0x83), "with a DSCP of its own");
    }
    Ok(())
}

/// A raw socket that receives TOS and TTL.
fn observer(stage: &Stage) -> Result<Raw, Broken> {
    let raw = stage.raw()?;
    uv_sys::option::set_recv_tos(&raw, true)?;
    uv_sys::option::set_recv_ttl(&raw, true)?;
    Ok(raw)
}
