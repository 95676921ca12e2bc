//! Connecting, disconnecting, reconnecting: the address and options they keep, and the datagrams
//! and errors they filter.

use std::net::SocketAddr;

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Family, Interface, Loop, Result, Udp};

use super::harness::*;
use super::network::with_device;

/// Handles with a local address from every call that binds one.
fn local_addresses(event_loop: &Loop, ip: std::net::IpAddr) -> Vec<(&'static str, Udp)> {
    let wildcard = if ip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let chosen = {
        let (_, address) = raw(ip);
        let udp = Udp::new(event_loop);
        udp.bind(address).unwrap();
        udp
    };
    let wild = Udp::new(event_loop);
    wild.bind(wildcard.parse().unwrap()).unwrap();
    vec![
        ("a port of the kernel's choice", bound(event_loop, ip).0),
        ("a port of one's own choice", chosen),
        ("the wildcard address", wild),
        ("nothing: bound by connecting", Udp::new(event_loop)),
    ]
}

/// An error may end a read early, and a send then returns it.
#[test]
fn others_datagrams_behind_an_error_that_a_send_returned_are_filtered() {
    for ip in loopbacks() {
        for queued in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let ((peer, to_peer), (stranger, _)) = (raw(ip), raw(ip));
            peer.send_to(b"peer", address).unwrap();
            stranger.send_to(b"stranger", address).unwrap();
            udp.connect(to_peer).unwrap();
            let heard = Log::new();
            let log = heard.clone();
            udp.recv_start(move |udp, received| {
                let heard = received.map(|datagram| datagram.data.to_vec());
                if log.len() == 0 {
                    let refused = Fault::Errno(Errno::ECONNREFUSED);
                    fault::script(Call::Sendmsg, [refused]);
                    if queued {
                        udp.send(b"x", |_, result| result.unwrap()).unwrap();
                    } else {
                        udp.try_send(b"x").unwrap();
                    }
                }
                log.add(heard.map_err(|error| error.errno()));
            })
            .unwrap();
            fault::script(Call::Recvmmsg, [Fault::Partial(1)]);
            run_until(&event_loop, || heard.len() >= 2);
            settle(&event_loop);
            fault::clear();
            let expected = [Ok(b"peer".to_vec()), Err(Errno::ECONNREFUSED)];
            assert_eq!(heard.get(), expected);
            assert_eq!(udp.counters().filtered, 1);
        }
    }
}

/// An IPv6 handle stores the datagrams of its old socket at each disconnect.
#[test]
fn a_handle_that_never_receives_stores_a_bounded_number_of_datagrams() {
    const ROUNDS: usize = 70;
    for ip in loopbacks() {
        for length in [1, 60_000] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let (peer, to_peer) = raw(ip);
            let mut sent = 0;
            for _ in 0..ROUNDS {
                udp.connect(to_peer).unwrap();
                let bytes = vec![7; length];
                for _ in 0..100_000 / (length + 1_000) {
                    sent += peer.send_to(&bytes, address).unwrap();
                }
                udp.disconnect().unwrap();
            }
            let heard = Log::new();
            let log = heard.clone();
            udp.recv_start(move |_, received| log.add(received.unwrap().data.len()))
                .unwrap();
            settle(&event_loop);
            let kept: usize = heard.get().iter().sum();
            assert!((1..=4_096 + 300).contains(&heard.len()), "{}", heard.len());
            assert!(kept <= 5 << 20, "{kept} bytes of {sent}");
        }
    }
}

#[test]
fn after_a_reconnect_in_a_callback_the_old_peer_is_filtered() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let ((a, to_a), (b, to_b)) = (raw(ip), raw(ip));
        let (udp, address) = bound(&event_loop, ip);
        udp.connect(to_a).unwrap();
        for data in [b"a1", b"a2", b"a3"] {
            a.send_to(data, address).unwrap();
        }
        let heard = Log::new();
        let log = heard.clone();
        udp.recv_start(move |udp, received| {
            log.add(received.unwrap().data.to_vec());
            if udp.peer_addr() == Ok(to_a) {
                udp.connect(to_b).unwrap();
            }
        })
        .unwrap();
        run_until(&event_loop, || heard.len() == 1);
        b.send_to(b"b1", address).unwrap();
        run_until(&event_loop, || heard.len() == 2);
        settle(&event_loop);
        assert_eq!(heard.get(), [b"a1", b"b1"]);
    }
}

/// Sends two datagrams to a closed port: the second send stored one error, the other is pending in
/// the kernel.
fn with_two_errors(event_loop: &Loop, to_dead: SocketAddr) -> Udp {
    let udp = connected(event_loop, to_dead);
    assert_eq!(udp.try_send(b"x"), Ok(1));
    assert_eq!(udp.try_send(b"y"), Ok(1));
    udp
}

#[test]
fn errors_about_the_former_peer_are_counted_and_not_delivered() {
    for (ip, disconnects) in loopbacks()
        .into_iter()
        .flat_map(|ip| [(ip, false), (ip, true)])
    {
        let event_loop = Loop::new().unwrap();
        let udp = with_two_errors(&event_loop, dead(ip));
        let (peer, to_peer) = raw(ip);
        if disconnects {
            udp.disconnect().unwrap();
        } else {
            udp.connect(to_peer).unwrap();
        }
        let heard = listen(&udp);
        peer.send_to(b"alive", udp.local_addr().unwrap()).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        settle(&event_loop);
        assert_eq!(heard.get(), [Ok((b"alive".to_vec(), to_peer))]);
        assert_eq!(udp.counters().errors, [(Errno::ECONNREFUSED, 2)]);
    }
}

#[test]
fn full_reports_about_the_former_peer_are_delivered() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (to_dead, (_peer, to_peer)) = (dead(ip), raw(ip));
        let udp = Udp::for_family(&event_loop, Family::of(&to_dead)).unwrap();
        udp.options().set_recv_errors(true).unwrap();
        udp.connect(to_dead).unwrap();
        assert_eq!(udp.try_send(b"x"), Ok(1));
        assert_eq!(udp.try_send(b"y"), Ok(1));
        udp.connect(to_peer).unwrap();
        let about = Log::new();
        let log = about.clone();
        udp.recv_start(move |_, received| {
            let error = received.unwrap_err();
            log.add(error.report().and_then(|report| report.destination));
        })
        .unwrap();
        run_until(&event_loop, || about.len() == 2);
        settle(&event_loop);
        assert_eq!(about.get(), [Some(to_dead); 2]);
    }
}

#[test]
fn a_client_that_connects_to_the_next_server_on_each_error_skips_none() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (server, to_server) = raw(ip);
        let servers = [dead(ip), to_server, dead(ip)];
        let udp = connected(&event_loop, servers[0]);
        let tried = Log::new();
        let log = tried.clone();
        udp.recv_start(move |udp, received| {
            received.unwrap_err();
            log.add(());
            udp.connect(servers[log.len()]).unwrap();
            udp.send(b"question", |_, result| result.unwrap()).unwrap();
        })
        .unwrap();
        for _ in 0..2 {
            udp.send(b"question", |_, result| result.unwrap()).unwrap();
        }
        run_until(&event_loop, || tried.len() == 1);
        settle(&event_loop);
        assert_eq!(next(&server), b"question");
        assert_eq!((tried.len(), udp.peer_addr()), (1, Ok(to_server)));
    }
}

#[test]
fn connecting_to_the_wildcard_address_connects_to_loopback() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let wildcard = if ip.is_ipv4() { "0.0.0.0:1" } else { "[::]:1" };
        let mut wildcard: SocketAddr = wildcard.parse().unwrap();
        wildcard.set_port(address.port());
        let udp = connected(&event_loop, wildcard);
        assert_eq!(udp.peer_addr(), Ok(address));
        let heard = listen(&udp);
        peer.send_to(b"x", udp.local_addr().unwrap()).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        assert_eq!(heard.get(), [Ok((b"x".to_vec(), address))]);
    }
}

#[test]
fn a_failed_reconnect_leaves_the_handle_unconnected_on_its_port() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (other, to_other) = raw(ip);
        let (udp, address) = bound(&event_loop, ip);
        udp.connect(dead(ip)).unwrap();
        // A broadcast address needs SO_BROADCAST, and a link-local one a scope.
        let refused: SocketAddr = if ip.is_ipv4() {
            "255.255.255.255:9"
        } else {
            "[fe80::1]:9"
        }
        .parse()
        .unwrap();
        assert!(udp.connect(refused).is_err());
        assert!(!udp.is_connected());
        assert_eq!(udp.peer_addr(), Err(Errno::ENOTCONN));
        assert_eq!(udp.local_addr(), Ok(address));
        let heard = listen(&udp);
        other.send_to(b"x", address).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        assert_eq!(heard.get(), [Ok((b"x".to_vec(), to_other))]);
        assert_eq!(udp.try_send_to(b"y", to_other), Ok(1));
        assert_eq!(next(&other), b"y");
    }
}

#[test]
fn a_bind_that_fails_changes_nothing() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_owner, taken) = raw(ip);
        let udp = Udp::new(&event_loop);
        assert_eq!(udp.bind(taken), Err(Errno::EADDRINUSE));
        assert_eq!(udp.local_addr(), Err(Errno::EBADF));
        udp.bind(SocketAddr::new(ip, 0)).unwrap();
    }
}

/// No other socket can share the handle's port.
fn is_exclusive(udp: &Udp) {
    let address = udp.local_addr().unwrap();
    let other = uv_sys::socket::socket(uv_udp::Family::of(&address)).unwrap();
    uv_sys::option::set_reuse_address(&other, true).unwrap();
    assert_eq!(
        uv_sys::socket::bind(other, &address),
        Err(Errno::EADDRINUSE)
    );
}

#[test]
fn a_handle_stays_connected_if_the_kernel_refuses_to_disconnect() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let ((peer, to_peer), (_other, to_other)) = (raw(ip), raw(ip));
        for (how, udp) in local_addresses(&event_loop, ip) {
            udp.connect(to_peer).unwrap();
            let address = udp.local_addr().unwrap();
            let stays = |refused: Result<()>| {
                fault::clear();
                assert_eq!(refused, Err(Errno::EIO), "bound to {how}");
                assert_eq!(udp.peer_addr(), Ok(to_peer), "bound to {how}");
                assert_eq!(udp.local_addr(), Ok(address), "bound to {how}");
                is_exclusive(&udp);
                assert_eq!(udp.try_send(b"x"), Ok(1));
                assert_eq!(next(&peer), b"x");
            };
            fault::script(Call::Connect, [Fault::Errno(Errno::EIO)]);
            stays(udp.connect(to_other));
            // On IPv6, this concerns the new socket, if there is one.
            if ip.is_ipv6() {
                fault::script(Call::Bind, [Fault::Errno(Errno::EMFILE)]);
            }
            fault::script(Call::Connect, [Fault::Errno(Errno::EIO)]);
            if ip.is_ipv4() {
                stays(udp.disconnect());
            } else {
                stays(udp.disconnect().map_err(|error| {
                    assert_eq!(error, Errno::EMFILE, "what came first");
                    Errno::EIO
                }));
            }
            assert_eq!(udp.disconnect(), Ok(()), "bound to {how}");
            assert_eq!(udp.local_addr().unwrap().port(), address.port());
            is_exclusive(&udp);
        }
    }
}

#[test]
fn an_ipv6_socket_that_cannot_connect_to_itself_is_replaced() {
    for ip in loopbacks().into_iter().filter(|ip| ip.is_ipv6()) {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        udp.connect(dead(ip)).unwrap();
        fault::script(Call::Connect, [Fault::Errno(Errno::EIO); 2]);
        assert_eq!(udp.disconnect(), Ok(()));
        fault::clear();
        assert_eq!(udp.local_addr(), Ok(address));
        let heard = listen(&udp);
        raw(ip).0.send_to(b"x", address).unwrap();
        run_until(&event_loop, || heard.len() == 1);
    }
}

#[test]
fn a_handle_keeps_its_port_without_a_second_socket() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, to_peer) = raw(ip);
        for (how, udp) in local_addresses(&event_loop, ip) {
            udp.connect(to_peer).unwrap();
            let port = udp.local_addr().unwrap().port();
            // With a port chosen by number, only the second socket is bound.
            fault::script(Call::Bind, [Fault::Errno(Errno::EADDRINUSE)]);
            let result = udp.disconnect();
            fault::clear();
            if ip.is_ipv6() {
                assert_eq!(result, Err(Errno::EADDRINUSE), "bound to {how}");
            }
            assert!(!udp.is_connected());
            assert_eq!(udp.local_addr().unwrap().port(), port, "bound to {how}");
            is_exclusive(&udp);
            assert_eq!(udp.try_send_to(b"x", to_peer), Ok(1));
            assert_eq!(peer.recv_from(&mut [0]).unwrap().1.port(), port);
            // The next disconnect succeeds.
            udp.connect(to_peer).unwrap();
            assert_eq!(udp.disconnect(), Ok(()));
            assert_eq!(udp.local_addr().unwrap().port(), port, "bound to {how}");
            let heard = listen(&udp);
            raw(ip).0.send_to(b"x", (ip, port)).unwrap();
            run_until(&event_loop, || heard.len() == 1);
            udp.close(|_| ()).unwrap();
        }
    }
}

/// An option that a new socket cannot have: an interface that is gone.
#[test]
fn a_socket_that_cannot_be_replaced_stays_and_its_port_is_not_shared() {
    with_device(|remove| {
        for ip in loopbacks().into_iter().filter(|ip| ip.is_ipv6()) {
            let event_loop = Loop::new().unwrap();
            let (peer, to_peer) = raw(ip);
            let (udp, address) = bound(&event_loop, ip);
            let gone = uv_sys::multicast::interface_index("gone").unwrap();
            udp.options()
                .set_multicast_interface(Interface::Index(gone))
                .unwrap();
            udp.connect(to_peer).unwrap();
            remove();
            assert_eq!(udp.disconnect(), Err(Errno::ENODEV));
            assert!(!udp.is_connected());
            assert_eq!(udp.local_addr(), Ok(address));
            is_exclusive(&udp);
            assert_eq!(udp.try_send_to(b"x", to_peer), Ok(1));
            assert_eq!(next(&peer), b"x");
        }
    });
}

#[test]
fn losing_the_port_is_an_error_and_the_handle_can_be_bound_again() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, to_peer) = raw(ip);
        let (udp, address) = bound(&event_loop, ip);
        udp.connect(to_peer).unwrap();
        fault::script(Call::Bind, [Fault::Errno(Errno::EADDRINUSE); 2]);
        assert_eq!(udp.disconnect(), Err(Errno::EADDRINUSE));
        fault::clear();
        assert!(!udp.is_connected());
        assert_eq!(udp.local_addr().unwrap().port(), 0);
        assert_eq!(udp.bind(address), Ok(()), "it is nobody's");
        assert_eq!(udp.try_send_to(b"x", to_peer), Ok(1));
        assert_eq!(next(&peer), b"x");
    }
}
