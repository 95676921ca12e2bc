//! Network errors and full reports.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use uv_udp::{
    BindOptions, Errno, ErrorKind, Loop, MAX_DATAGRAM, NetworkError, PathMtuDiscovery, Timer,
    Transmit, Udp,
};

use super::harness::*;
use super::network::{Fate, address, beyond, with_router};

/// Logs all datagrams and errors of a handle.
fn hearing(event_loop: &Loop, local: SocketAddr) -> (Udp, Log<Result<Vec<u8>, NetworkError>>) {
    let udp = Udp::new(event_loop);
    udp.bind_with(local, BindOptions::default().recv_errors(true))
        .unwrap();
    let log = Log::new();
    let entries = log.clone();
    udp.recv_start(move |_, received| entries.add(received.map(|datagram| datagram.data.to_vec())))
        .unwrap();
    (udp, log)
}

fn wildcard(v6: bool) -> SocketAddr {
    if v6 { "[::]:0" } else { "0.0.0.0:0" }.parse().unwrap()
}

#[test]
fn a_full_report_has_the_payload_the_destination_and_the_reporting_host() {
    for ip in loopbacks() {
        for connected in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (udp, heard) = hearing(&event_loop, SocketAddr::new(ip, 0));
            let nobody = dead(ip);
            if connected {
                udp.connect(nobody).unwrap();
                udp.try_send(b"anyone?").unwrap();
            } else {
                udp.try_send_to(b"anyone?", nobody).unwrap();
            }
            run_until(&event_loop, || heard.len() == 1);
            settle(&event_loop);
            assert_eq!(heard.len(), 1);
            let error = heard.get()[0].clone().unwrap_err();
            assert_eq!(error.errno(), Errno::ECONNREFUSED);
            let report = error.report().unwrap();
            assert_eq!(report.kind, ErrorKind::PortUnreachable);
            assert_eq!(report.destination, Some(nobody));
            assert_eq!(report.offender, Some(ip));
            assert!(report.is_from_destination());
            assert_eq!(report.payload, b"anyone?");
            let icmp = (report.icmp_type, report.icmp_code);
            assert_eq!(icmp, if ip.is_ipv4() { (3, 3) } else { (1, 4) });
            assert_eq!(report.mtu, None);
        }
    }
}

#[test]
fn without_full_reports_an_error_has_only_its_number() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = connected(&event_loop, dead(ip));
        assert_eq!(udp.options().recv_errors(), Ok(false));
        let log = Log::new();
        let entries = log.clone();
        udp.recv_start(move |_, received| entries.add(received.map(|_| ())))
            .unwrap();
        udp.try_send(b"anyone?").unwrap();
        run_until(&event_loop, || log.len() == 1);
        let error = log.get()[0].clone().unwrap_err();
        assert_eq!((error.errno(), error.report()), (Errno::ECONNREFUSED, None));
    }
}

#[test]
fn unreachable_peers_cost_an_unconnected_handle_no_datagram_of_another_peer() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, heard) = hearing(&event_loop, SocketAddr::new(ip, 0));
        let (peer, to_peer) = raw(ip);
        let nobody = [dead(ip), dead(ip), dead(ip)];
        let results = Log::new();
        for round in 0..20_u8 {
            for nobody in nobody {
                udp.send_to(&[round], nobody, note(&results)).unwrap();
            }
            udp.send_to(&[round], to_peer, note(&results)).unwrap();
            settle(&event_loop);
            // At once, past the pending errors.
            udp.try_send_to(&[round], nobody[0]).unwrap();
            assert_eq!(udp.try_send_to(&[100 + round], to_peer), Ok(1));
        }
        run_until(&event_loop, || heard.len() == 80);
        let expected: Vec<_> = (0..20).flat_map(|n| [vec![n], vec![100 + n]]).collect();
        assert_eq!(all(&peer), expected);
        assert_eq!(results.get(), vec![Ok(()); 80]);
        settle(&event_loop);
        let mut reported = [0; 3];
        for error in heard.get() {
            let error = error.unwrap_err();
            let to = error.report().unwrap().destination.unwrap();
            reported[nobody.iter().position(|&other| other == to).unwrap()] += 1;
        }
        assert_eq!(reported, [40, 20, 20]);
        assert_eq!(udp.counters().errors, [(Errno::ECONNREFUSED, 80)]);
    }
}

#[test]
fn errors_without_a_receiver_are_delivered_later_and_cause_no_busy_loop() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = Udp::new(&event_loop);
        udp.bind_with(
            SocketAddr::new(ip, 0),
            BindOptions::default().recv_errors(true),
        )
        .unwrap();
        udp.try_send_to(b"one", dead(ip)).unwrap();
        settle(&event_loop);
        let log = Log::new();
        let entries = log.clone();
        udp.recv_start(move |_, received| entries.add(received.map(|_| ()).map_err(|e| e.errno())))
            .unwrap();
        run_until(&event_loop, || log.len() == 1);
        assert_eq!(log.get(), [Err(Errno::ECONNREFUSED)]);
        let calls = udp.counters().recv_calls;
        settle(&event_loop);
        assert!(
            udp.counters().recv_calls <= calls + 3,
            "an empty queue wakes nobody"
        );
    }
}

#[test]
fn full_reports_survive_disconnecting() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, heard) = hearing(&event_loop, SocketAddr::new(ip, 0));
        udp.connect(dead(ip)).unwrap();
        udp.disconnect().unwrap();
        assert_eq!(udp.options().recv_errors(), Ok(true));
        udp.try_send_to(b"anyone?", dead(ip)).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        assert!(heard.get()[0].clone().unwrap_err().report().is_some());
    }
}

#[test]
fn recv_into_start_delivers_full_reports() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = Udp::new(&event_loop);
        udp.bind_with(
            SocketAddr::new(ip, 0),
            BindOptions::default().recv_errors(true),
        )
        .unwrap();
        let log = Log::new();
        let entries = log.clone();
        udp.recv_into_start(
            |_, _| Some([0; 16]),
            move |_, _, outcome| {
                if let Err(error) = outcome {
                    entries.add(error.report().map(|report| report.kind));
                }
            },
        )
        .unwrap();
        udp.try_send_to(b"anyone?", dead(ip)).unwrap();
        run_until(&event_loop, || log.len() == 1);
        assert_eq!(log.get(), [Some(ErrorKind::PortUnreachable)]);
    }
}

/// Sends to each destination, and expects the router's report.
fn expect_from_router(v6: bool, connected: bool, fate: Fate, expected: (Errno, ErrorKind)) {
    let event_loop = Loop::new().unwrap();
    let (udp, heard) = hearing(&event_loop, wildcard(v6));
    let to = beyond(v6, fate);
    if connected {
        udp.connect(to).unwrap();
    }
    // Repeatedly: Linux limits its ICMP messages to a host that it has known for less than a second
    // (`ip_error`).
    let (timer, sender) = (Timer::new(&event_loop), udp.clone());
    let every = Duration::from_millis(50);
    timer
        .start(Duration::ZERO, every, move |_| {
            let to = (!connected).then_some(to);
            let transmit = Transmit::new(b"over there?");
            let transmit = to.map_or(transmit, |to| transmit.with_destination(to));
            sender.try_transmit(&transmit).unwrap();
        })
        .unwrap();
    run_until(&event_loop, || heard.len() > 0);
    let error = heard.get()[0].clone().unwrap_err();
    let report = error.report().unwrap();
    assert_eq!((error.errno(), report.kind), expected, "{error}");
    assert_eq!(report.destination, Some(to));
    assert!(!report.is_from_destination());
    assert_eq!(report.payload, b"over there?");
}

#[test]
fn a_routers_report_has_the_kind_of_the_error() {
    with_router(|v6| {
        for connected in [false, true] {
            let prohibited = (Errno::EACCES, ErrorKind::Prohibited);
            let prohibited_v4 = (Errno::EHOSTUNREACH, ErrorKind::Prohibited);
            let no_network = (Errno::ENETUNREACH, ErrorKind::NetworkUnreachable);
            let no_host = (Errno::EHOSTUNREACH, ErrorKind::HostUnreachable);
            expect_from_router(v6, connected, Fate::NoHost, no_host);
            expect_from_router(v6, connected, Fate::NoNetwork, no_network);
            let expected = if v6 { prohibited } else { prohibited_v4 };
            expect_from_router(v6, connected, Fate::Prohibited, expected);
        }
    });
}

#[test]
fn an_exceeded_ttl_is_reported() {
    with_router(|v6| {
        let event_loop = Loop::new().unwrap();
        let (udp, heard) = hearing(&event_loop, wildcard(v6));
        let transmit = Transmit::new(b"far")
            .with_destination(beyond(v6, Fate::Thin))
            .with_ttl(1);
        udp.try_transmit(&transmit).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        let error = heard.get()[0].clone().unwrap_err();
        let report = error.report().unwrap();
        assert_eq!(report.kind, ErrorKind::TtlExceeded);
        assert_eq!(report.offender, Some(address(v6, Fate::Arrives)));
        assert_eq!(report.payload, b"far");
    });
}

#[test]
fn too_big_is_reported_with_the_mtu_and_lowers_the_path_mtu() {
    with_router(|v6| {
        let event_loop = Loop::new().unwrap();
        let (udp, heard) = hearing(&event_loop, wildcard(v6));
        udp.options()
            .set_path_mtu_discovery(PathMtuDiscovery::Do)
            .unwrap();
        udp.connect(beyond(v6, Fate::Thin)).unwrap();
        assert_eq!(udp.options().path_mtu(), Ok(1500));
        udp.try_send(&[7; 1400]).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        let error = heard.get()[0].clone().unwrap_err();
        let report = error.report().unwrap();
        assert_eq!(
            (error.errno(), report.kind),
            (Errno::EMSGSIZE, ErrorKind::TooBig)
        );
        assert_eq!(report.mtu, Some(1280));
        assert!(
            report.payload.starts_with(&[7; 500]),
            "{} bytes",
            report.payload.len()
        );
        assert_eq!(udp.options().path_mtu(), Ok(1280));
        // From here on the error is local: it is the result of the send, and not reported again.
        assert_eq!(udp.try_send(&[7; 1400]), Err(Errno::EMSGSIZE));
        settle(&event_loop);
        assert_eq!(heard.len(), 1);
        let calls = udp.counters().recv_calls;
        settle(&event_loop);
        let more = udp.counters().recv_calls - calls;
        assert!(
            more <= 3,
            "the host's own word wakes the handle {more} times"
        );
        let header = if v6 { 48 } else { 28 };
        assert_eq!(udp.try_send(&vec![7; 1280 - header]), Ok(1280 - header));
        // With probing, the known path MTU does not limit sends.
        udp.options()
            .set_path_mtu_discovery(PathMtuDiscovery::Probe)
            .unwrap();
        assert_eq!(udp.try_send(&[7; 1400]), Ok(1400));
        assert_eq!(udp.try_send(&[7; 1500]), Err(Errno::EMSGSIZE));
        assert_eq!(udp.try_send(&[7; MAX_DATAGRAM]), Err(Errno::EMSGSIZE));
        udp.options()
            .set_path_mtu_discovery(PathMtuDiscovery::Off)
            .unwrap();
        assert_eq!(udp.try_send(&[7; 1500]), Ok(1500));
    });
}

#[test]
fn a_routers_report_costs_no_datagram_of_another_peer() {
    with_router(|v6| {
        let event_loop = Loop::new().unwrap();
        let (udp, heard) = hearing(&event_loop, wildcard(v6));
        let peer = UdpSocket::bind((if v6 { "2001:db8::1" } else { "192.0.2.1" }, 0)).unwrap();
        let to_peer = peer.local_addr().unwrap();
        for number in 0..10_u8 {
            udp.try_send_to(b"x", beyond(v6, Fate::NoHost)).unwrap();
            let far = Transmit::new(b"x")
                .with_destination(beyond(v6, Fate::Thin))
                .with_ttl(1);
            udp.try_transmit(&far).unwrap();
            run_until(&event_loop, || heard.len() >= usize::from(number) * 2);
            assert_eq!(udp.try_send_to(&[number], to_peer), Ok(1));
        }
        run_until(&event_loop, || heard.len() == 20);
        assert_eq!(all(&peer), (0..10).map(|n| vec![n]).collect::<Vec<_>>());
    });
}

#[test]
fn after_a_failed_bind_a_handle_receives_and_does_not_busy_loop() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_taken, address) = raw(ip);
        let udp = Udp::for_family(&event_loop, uv_udp::Family::of(&address)).unwrap();
        let bound = udp.bind_with(address, BindOptions::default().recv_errors(true));
        assert_eq!(bound, Err(Errno::EADDRINUSE));
        let log = Log::new();
        let entries = log.clone();
        udp.recv_start(move |_, received| entries.add(received.unwrap_err().report().is_some()))
            .unwrap();
        udp.try_send_to(b"anyone?", dead(ip)).unwrap();
        run_until(&event_loop, || log.len() == 1);
        assert_eq!(log.get(), [true]);
        let calls = udp.counters().recv_calls;
        settle(&event_loop);
        assert!(udp.counters().recv_calls <= calls + 3);
    }
}

/// Another program may open the error queue; an entry in it keeps the socket ready.
#[test]
fn an_error_queue_opened_by_another_program_causes_no_busy_loop() {
    for ip in loopbacks() {
        for into in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            udp.with_fd(|fd| uv_sys::option::set_recv_errors(fd, true).unwrap())
                .unwrap();
            let heard = Log::new();
            let log = heard.clone();
            if into {
                udp.recv_into_start(
                    |_, _| Some([0; 9]),
                    move |_, _, outcome| log.add(outcome.map(drop).is_err()),
                )
                .unwrap();
            } else {
                udp.recv_start(move |_, received| log.add(received.is_err()))
                    .unwrap();
            }
            let to_dead = dead(ip);
            for _ in 0..3 {
                udp.try_send_to(b"x", to_dead).unwrap();
            }
            settle(&event_loop);
            assert!(heard.get().contains(&true));
            let calls = udp.counters().recv_calls;
            settle(&event_loop);
            let more = udp.counters().recv_calls - calls;
            assert!(more <= 3, "{more} reads of nothing, into: {into}");
            let count = heard.len();
            raw(ip).0.send_to(b"y", address).unwrap();
            run_until(&event_loop, || heard.get()[count..].contains(&false));
        }
    }
}
