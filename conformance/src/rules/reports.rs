//! Full reports: the datagram, the sender of the ICMP message, and the reason.

use std::time::Duration;

use uv_udp::{
    BindOptions, Errno, ErrorKind, Family, NetworkError, PathMtuDiscovery, Timer, Transmit, Udp,
};

use crate::network::{Near, far, near};
use crate::raw::{DeadPeer, Raw};
use crate::router::{Fate, beyond};
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Log, Results};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "reports/a-closed-port-in-full",
        "A full report has the error's kind, ICMP type and code, destination, offender and the datagram's start.",
        closed_port,
    ),
    Rule::each(
        "reports/are-off-at-first",
        "By default the receive callback gets the error without a report.",
        off_at_first,
    ),
    Rule::each(
        "reports/cost-no-datagram-of-another-peer",
        "On an unconnected handle with full reports, an unreachable peer costs no datagram to another one.",
        cost_nothing,
    ),
    Rule::each(
        "reports/come-once-each",
        "Each undelivered datagram is reported once, and an emptied error queue causes no busy loop.",
        once_each,
    ),
    Rule::each(
        "reports/survive-disconnecting",
        "Full reports stay on through disconnects and reconnects.",
        survive,
    ),
    Rule::isolated(
        "reports/port-unreachable",
        "An ICMP port unreachable of a host behind a cable is reported as ECONNREFUSED with its origin.",
        far_port,
    ),
    Rule::each(
        "reports/a-long-datagram-is-quoted-by-its-start",
        "A report on a datagram longer than the ICMP quotation has its start.",
        long_datagram,
    ),
    Rule::isolated(
        "reports/host-unreachable",
        "A router's host unreachable is reported as such.",
        |stage, near| from_router(stage, near, Fate::NoHost, ErrorKind::HostUnreachable),
    ),
    Rule::isolated(
        "reports/network-unreachable",
        "A router's network unreachable is reported as such.",
        |stage, near| from_router(stage, near, Fate::NoNetwork, ErrorKind::NetworkUnreachable),
    ),
    Rule::isolated(
        "reports/prohibited",
        "A router's administratively prohibited is reported as such.",
        |stage, near| from_router(stage, near, Fate::Prohibited, ErrorKind::Prohibited),
    ),
    Rule::isolated(
        "reports/ttl-exceeded",
        "A router's time exceeded is reported with the router's address.",
        ttl_exceeded,
    ),
    Rule::isolated(
        "reports/too-big-with-its-mtu",
        "A datagram above the path MTU is reported with that MTU, which path_mtu returns from then on.",
        too_big,
    ),
];

type Errors = Log<NetworkError>;

/// A handle with full reports, and its errors.
fn hearing(stage: &Stage, local: std::net::SocketAddr) -> Result<(Udp, Errors), Broken> {
    let (udp, errors) = (stage.udp(), Errors::default());
    udp.bind_with(local, BindOptions::default().recv_errors(true))?;
    let log = errors.clone();
    udp.recv_start(move |_, received| {
        if let Err(error) = received {
            log.push(error);
        }
    })?;
    Ok((udp, errors))
}

fn first(errors: &Errors) -> Result<NetworkError, Broken> {
    let first = errors.all().into_iter().next();
    first.ok_or_else(|| Broken::new("no error was reported"))
}

fn closed_port(stage: &Stage) -> Verdict {
    for connect in [false, true] {
        let (udp, errors) = hearing(stage, stage.loopback())?;
        let dead = DeadPeer::new(stage.family)?;
        if connect {
            udp.connect(dead.address())?;
            udp.try_send(b"anyone?")?;
        } else {
            udp.try_send_to(b"anyone?", dead.address())?;
        }
        stage.until("the refusal is reported", || errors.len() > 0)?;
        let error = first(&errors)?;
        ensure_eq!(error.errno(), Errno::ECONNREFUSED, "the error");
        let Some(report) = error.report() else {
            return Err(Broken::new("there is no report"));
        };
        let icmp = match stage.family {
            Family::V4 => (3, 3),
            Family::V6 => (1, 4),
        };
        ensure_eq!(report.kind, ErrorKind::PortUnreachable, "the kind");
        ensure_eq!(
            (report.icmp_type, report.icmp_code),
            icmp,
            "ICMP type and code"
        );
        ensure_eq!(report.destination, Some(dead.address()), "the destination");
        ensure_eq!(report.offender, Some(dead.address().ip()), "who says so");
        ensure_eq!(report.payload, b"anyone?", "the datagram");
    }
    Ok(())
}

fn off_at_first(stage: &Stage) -> Verdict {
    let dead = DeadPeer::new(stage.family)?;
    let (udp, errors) = (stage.connected(dead.address())?, Errors::default());
    let log = errors.clone();
    udp.recv_start(move |_, received| {
        if let Err(error) = received {
            log.push(error);
        }
    })?;
    ensure_eq!(udp.options().recv_errors()?, false, "full reports at first");
    udp.try_send(b"anyone?")?;
    stage.until("the refusal is reported", || errors.len() > 0)?;
    ensure_eq!(first(&errors)?.report(), None, "the report");
    Ok(())
}

fn cost_nothing(stage: &Stage) -> Verdict {
    let (udp, errors) = hearing(stage, stage.loopback())?;
    let (dead, live) = (DeadPeer::new(stage.family)?, stage.raw()?);
    let results = Results::default();
    for number in 0..20 {
        udp.try_send_to(b"lost", dead.address())?;
        let sent = udp.try_send_to(format!("{number}").as_bytes(), live.address());
        ensure!(sent.is_ok(), "try_send_to a live peer: {sent:?}");
        udp.send_to(b"lost", dead.address(), results.of(0))?;
        udp.send_to(b"lost", dead.address(), results.of(0))?;
        udp.send_to(b"queued", live.address(), results.of(0))?;
        stage.until("the queue is empty", || udp.send_queue_count() == 0)?;
    }
    stage.until("all refusals are reported", || errors.len() == 60)?;
    let expected: Vec<_> = (0..20)
        .flat_map(|n| [n.to_string(), "queued".into()])
        .collect();
    ensure_eq!(live.rest()?, expected, "the datagrams at the live peer");
    ensure_eq!(results.with(Ok(())).len(), 60, "sends that completed well");
    Ok(())
}

fn once_each(stage: &Stage) -> Verdict {
    let (udp, errors) = hearing(stage, stage.loopback())?;
    let dead = DeadPeer::new(stage.family)?;
    for number in 0..10_u8 {
        udp.try_send_to(&[number], dead.address())?;
    }
    stage.until("all of them are reported", || errors.len() == 10)?;
    stage.a_little_longer()?;
    let payloads = errors.all().into_iter();
    let payloads = payloads.filter_map(|error| error.report().map(|report| report.payload.clone()));
    let expected: Vec<_> = (0..10).map(|number| vec![number]).collect();
    ensure_eq!(
        payloads.collect::<Vec<_>>(),
        expected,
        "the datagrams reported"
    );
    let calls = udp.counters().recv_calls;
    stage.a_little_longer()?;
    ensure!(
        udp.counters().recv_calls <= calls + 3,
        "the handle is woken for nothing"
    );
    Ok(())
}

fn survive(stage: &Stage) -> Verdict {
    let (udp, errors) = hearing(stage, stage.loopback())?;
    udp.connect(stage.raw()?.address())?;
    udp.connect(stage.raw()?.address())?;
    udp.disconnect()?;
    udp.try_send_to(b"anyone?", DeadPeer::new(stage.family)?.address())?;
    stage.until("something is reported", || errors.len() > 0)?;
    ensure!(first(&errors)?.report().is_some(), "there is no report");
    Ok(())
}

fn from_router(stage: &Stage, near: &Near, fate: Fate, kind: ErrorKind) -> Verdict {
    let _router = near.router(stage.family)?;
    let to = beyond(stage.family, fate);
    for connect in [false, true] {
        let (udp, errors) = hearing(stage, stage.wildcard())?;
        if connect {
            udp.connect(to)?;
        }
        // Repeated: Linux sends no ICMP message to a host that it has known for less than a second.
        let (timer, sender) = (Timer::new(&stage.event_loop), udp.clone());
        let every = Duration::from_millis(50);
        timer.start(Duration::ZERO, every, move |_| {
            let _ = if connect {
                sender.try_send(b"over there?")
            } else {
                sender.try_send_to(b"over there?", to)
            };
        })?;
        stage.until("the router's word is reported", || errors.len() > 0)?;
        timer.stop()?;
        udp.recv_stop()?;
        let error = first(&errors)?;
        let Some(report) = error.report() else {
            return Err(Broken::new("there is no report"));
        };
        let seen = (report.kind, report.icmp_type, report.icmp_code);
        // RFC 792 and RFC 1812; RFC 4443.
        let (icmp_type, icmp_code) = match (stage.family, kind) {
            (Family::V4, ErrorKind::NetworkUnreachable) => (3, 0),
            (Family::V4, ErrorKind::HostUnreachable) => (3, 1),
            (Family::V4, _) => (3, 13),
            (Family::V6, ErrorKind::NetworkUnreachable) => (1, 0),
            (Family::V6, ErrorKind::HostUnreachable) => (1, 3),
            (Family::V6, _) => (1, 1),
        };
        let expected = (kind, icmp_type, icmp_code);
        ensure_eq!(seen, expected, "the kind, ICMP type and code");
        ensure_eq!(report.destination, Some(to), "the destination");
        ensure_eq!(report.offender, Some(far(stage.family)), "who says so");
        ensure!(
            !report.is_from_destination(),
            "it is the destination's word"
        );
        ensure_eq!(report.mtu, None, "the MTU");
        ensure_eq!(report.payload, b"over there?", "the datagram");
        stage.note(format_args!(
            "{} {}/{}",
            error.errno(),
            report.icmp_type,
            report.icmp_code
        ));
    }
    Ok(())
}

fn far_port(stage: &Stage, here: &Near) -> Verdict {
    let _cable = here.cable()?;
    let to = std::net::SocketAddr::new(far(stage.family), 9);
    for connect in [false, true] {
        let (udp, errors) = hearing(stage, stage.wildcard())?;
        if connect {
            udp.connect(to)?;
            udp.try_send(b"anyone?")?;
        } else {
            udp.try_send_to(b"anyone?", to)?;
        }
        stage.until("the refusal is reported", || errors.len() > 0)?;
        let error = first(&errors)?;
        ensure_eq!(error.errno(), Errno::ECONNREFUSED, "the error");
        let Some(report) = error.report() else {
            return Err(Broken::new("there is no report"));
        };
        ensure_eq!(report.kind, ErrorKind::PortUnreachable, "the kind");
        let whose = (report.destination, report.offender);
        ensure_eq!(
            whose,
            (Some(to), Some(to.ip())),
            "where to, and who says so"
        );
        ensure!(
            report.is_from_destination(),
            "it is not the destination's word"
        );
        ensure_eq!(report.payload, b"anyone?", "the datagram");
    }
    Ok(())
}

fn long_datagram(stage: &Stage) -> Verdict {
    let (udp, errors) = hearing(stage, stage.loopback())?;
    let data: Vec<_> = (0..4000_u16).map(|number| number as u8).collect();
    udp.try_send_to(&data, DeadPeer::new(stage.family)?.address())?;
    stage.until("the refusal is reported", || errors.len() > 0)?;
    let error = first(&errors)?;
    let Some(report) = error.report() else {
        return Err(Broken::new("there is no report"));
    };
    let len = report.payload.len();
    ensure!((8..data.len()).contains(&len), "the report has {len} bytes");
    ensure!(data.starts_with(&report.payload), "it is not the start");
    let raw = stage.raw()?;
    uv_sys::option::set_recv_errors(&raw, true)?;
    raw.send(&data, DeadPeer::new(stage.family)?.address())?;
    let there = uv_sys::error_queue::recv_error(&raw, &mut [0; 4000])?.payload_len;
    ensure_eq!(len, there, "bytes of the quotation");
    stage.note(format_args!("{len} bytes of it"));
    Ok(())
}

fn ttl_exceeded(stage: &Stage, near: &Near) -> Verdict {
    let _router = near.router(stage.family)?;
    let (udp, errors) = hearing(stage, stage.wildcard())?;
    let to = beyond(stage.family, Fate::Thin);
    udp.try_transmit(&Transmit::new(b"far").with_destination(to).with_ttl(1))?;
    stage.until("the router's word is reported", || errors.len() > 0)?;
    let error = first(&errors)?;
    let seen = error
        .report()
        .map(|report| (report.kind, report.offender, report.payload.clone()));
    let expected = (
        ErrorKind::TtlExceeded,
        Some(far(stage.family)),
        b"far".to_vec(),
    );
    ensure_eq!(seen, Some(expected), "the report");
    Ok(())
}

fn too_big(stage: &Stage, near_side: &Near) -> Verdict {
    let _router = near_side.router(stage.family)?;
    let (udp, errors) = hearing(stage, stage.wildcard())?;
    udp.options().set_path_mtu_discovery(PathMtuDiscovery::Do)?;
    udp.connect(beyond(stage.family, Fate::Thin))?;
    ensure_eq!(udp.options().path_mtu()?, 1500, "the path MTU at first");
    udp.try_send(&[7; 1400])?;
    stage.until("the router's word is reported", || errors.len() > 0)?;
    let error = first(&errors)?;
    let seen = error.report().map(|report| (report.kind, report.mtu));
    ensure_eq!(seen, Some((ErrorKind::TooBig, Some(1280))), "the report");
    ensure_eq!(udp.options().path_mtu()?, 1280, "the path MTU from then on");
    let sent = udp.try_send(&[7; 1400]);
    ensure_eq!(sent, Err(Errno::EMSGSIZE), "another one that is too big");
    stage.a_little_longer()?;
    ensure_eq!(errors.len(), 1, "errors reported");
    // The user's own probes may exceed the path MTU.
    udp.options()
        .set_path_mtu_discovery(PathMtuDiscovery::Probe)?;
    ensure_eq!(udp.try_send(&[7; 1400]), Ok(1400), "a probe");
    // A live neighbour causes no report.
    let neighbour = Raw::bind((near(stage.family), 0).into())?;
    udp.connect(neighbour.address())?;
    udp.try_send(b"hello")?;
    ensure_eq!(neighbour.recv_text()?, "hello", "what a neighbour got");
    Ok(())
}
