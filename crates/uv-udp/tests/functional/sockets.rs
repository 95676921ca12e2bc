//! Binding with options, adopting sockets, and giving them back.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use uv_udp::{BindOptions, Errno, Family, Loop, Transmit, Udp};

use super::harness::*;
use super::network::with_device;

fn options() -> BindOptions {
    BindOptions::default()
}

fn v6() -> Option<IpAddr> {
    loopbacks().into_iter().find(IpAddr::is_ipv6)
}

#[test]
fn an_address_is_shared_only_if_all_sockets_have_the_option() {
    for ip in loopbacks() {
        for shared in [options().reuse_address(true), options().reuse_port(true)] {
            let event_loop = Loop::new().unwrap();
            let handles = [
                Udp::new(&event_loop),
                Udp::new(&event_loop),
                Udp::new(&event_loop),
            ];
            let [first, second, third] = &handles;
            first.bind_with((ip, 0).into(), shared).unwrap();
            let address = first.local_addr().unwrap();
            second.bind_with(address, shared).unwrap();
            assert_eq!(third.bind(address), Err(Errno::EADDRINUSE));
            assert_eq!(third.bind_with(address, shared), Ok(()));
        }
    }
}

#[test]
fn a_reuse_port_group_distributes_flows() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (one, other) = (Udp::new(&event_loop), Udp::new(&event_loop));
        one.bind_with((ip, 0).into(), options().reuse_port(true))
            .unwrap();
        let address = one.local_addr().unwrap();
        other
            .bind_with(address, options().reuse_port(true))
            .unwrap();
        let (at_one, at_other) = (listen(&one), listen(&other));
        for _ in 0..64 {
            raw(ip).0.send_to(b"x", address).unwrap();
        }
        run_until(&event_loop, || at_one.len() + at_other.len() == 64);
        assert!(at_one.len() > 0 && at_other.len() > 0);
        // The selector distinguishes processor 0 from all others.
        one.options().attach_reuseport_cpu_selector(1).unwrap();
        let before = at_other.len();
        for _ in 0..64 {
            raw(ip).0.send_to(b"x", address).unwrap();
        }
        run_until(&event_loop, || at_one.len() + at_other.len() == 128);
        assert_eq!(at_other.len(), before, "position 0 gets all of it");
    }
}

#[test]
fn a_member_of_a_group_disconnects_and_keeps_its_port() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (one, other) = (Udp::new(&event_loop), Udp::new(&event_loop));
        one.bind_with((ip, 0).into(), options().reuse_port(true))
            .unwrap();
        let address = one.local_addr().unwrap();
        other
            .bind_with(address, options().reuse_port(true))
            .unwrap();
        for udp in [&one, &other] {
            udp.connect(dead(ip)).unwrap();
            udp.connect(dead(ip)).unwrap();
            assert_eq!(udp.disconnect(), Ok(()));
            assert_eq!(udp.local_addr(), Ok(address));
        }
    }
}

#[test]
fn an_ipv6_only_handle_receives_no_ipv4() {
    let Some(_) = v6() else { return };
    let event_loop = Loop::new().unwrap();
    for only in [false, true] {
        let udp = Udp::new(&event_loop);
        let wildcard = "[::]:0".parse().unwrap();
        udp.bind_with(wildcard, options().ipv6_only(only)).unwrap();
        let port = udp.local_addr().unwrap().port();
        let heard = listen(&udp);
        raw("127.0.0.1".parse().unwrap())
            .0
            .send_to(b"v4", ("127.0.0.1", port))
            .unwrap();
        raw("::1".parse().unwrap())
            .0
            .send_to(b"v6", ("::1", port))
            .unwrap();
        settle(&event_loop);
        assert_eq!(heard.len(), if only { 1 } else { 2 });
        udp.connect(raw("::1".parse().unwrap()).1).unwrap();
        udp.disconnect().unwrap();
        let fd = udp.into_fd().unwrap();
        if only {
            assert_eq!(
                uv_sys::option::ipv6_only(fd),
                Ok(true),
                "also after a disconnect"
            );
        }
    }
    let v4 = Udp::new(&event_loop);
    let result = v4.bind_with("127.0.0.1:0".parse().unwrap(), options().ipv6_only(true));
    assert_eq!(result, Err(Errno::EINVAL));
    assert_eq!(
        v4.bind("127.0.0.1:0".parse().unwrap()),
        Ok(()),
        "nothing changed"
    );
}

#[test]
fn a_handle_for_a_family_has_a_socket_at_once() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let family = Family::of(&(ip, 0).into());
        let udp = Udp::for_family(&event_loop, family).unwrap();
        assert!(udp.with_fd(|_| ()).is_ok());
        udp.options().set_ttl(7).unwrap();
        let other = if ip.is_ipv4() {
            "[::1]:0"
        } else {
            "127.0.0.1:0"
        };
        assert_eq!(udp.bind(other.parse().unwrap()), Err(Errno::EAFNOSUPPORT));
        udp.bind((ip, 0).into()).unwrap();
        assert_eq!(udp.options().ttl(), Ok(7));
        assert_eq!(udp.bind((ip, 0).into()), Err(Errno::EINVAL));
        // Sending binds an unbound handle.
        let udp = Udp::for_family(&event_loop, family).unwrap();
        let (peer, to) = raw(ip);
        udp.try_send_to(b"x", to).unwrap();
        assert_eq!(next(&peer), b"x");
        assert_eq!(udp.bind((ip, 0).into()), Err(Errno::EINVAL));
        let heard = listen(&udp);
        let local = udp.local_addr().unwrap();
        peer.send_to(b"y", (ip, local.port())).unwrap();
        run_until(&event_loop, || heard.len() == 1);
    }
}

#[test]
fn an_adopted_socket_keeps_its_state() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let family = Family::of(&(ip, 0).into());
        let unbound = Udp::from_fd(&event_loop, uv_sys::socket::socket(family).unwrap()).unwrap();
        assert_eq!(unbound.bind((ip, 0).into()), Ok(()));

        let (socket, address) = raw(ip);
        let bound = Udp::from_fd(&event_loop, socket.into()).unwrap();
        assert_eq!(bound.local_addr(), Ok(address));
        assert_eq!(bound.bind((ip, 0).into()), Err(Errno::EINVAL));
        assert_eq!(bound.peer_addr(), Err(Errno::ENOTCONN));
        let heard = listen(&bound);
        raw(ip).0.send_to(b"x", address).unwrap();
        run_until(&event_loop, || heard.len() == 1);

        let ((socket, address), (peer, to_peer)) = (raw(ip), raw(ip));
        raw(ip).0.send_to(b"stranger", address).unwrap();
        socket.connect(to_peer).unwrap();
        let udp = Udp::from_fd(&event_loop, socket.into()).unwrap();
        assert_eq!(udp.peer_addr(), Ok(to_peer));
        assert_eq!(udp.try_send_to(b"x", to_peer), Err(Errno::EISCONN));
        udp.try_send(b"ping").unwrap();
        assert_eq!(next(&peer), b"ping");
        let heard = listen(&udp);
        peer.send_to(b"pong", address).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        assert_eq!(heard.get(), [Ok((b"pong".to_vec(), to_peer))]);
        assert_eq!(udp.counters().filtered, 1);
        udp.disconnect().unwrap();
        assert_eq!(udp.local_addr(), Ok(address), "whoever chose the port");
        raw(ip).0.send_to(b"anybody", address).unwrap();
        run_until(&event_loop, || heard.len() == 2);
    }
}

#[test]
fn an_adopted_socket_keeps_a_port_chosen_by_number() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let socket = bind_by_number(|port| Ok(UdpSocket::bind((ip, port))?));
        let address = socket.local_addr().unwrap();
        socket.connect(dead(ip)).unwrap();
        let udp = Udp::from_fd(&event_loop, socket.into()).unwrap();
        for _ in 0..2 {
            udp.connect(dead(ip)).unwrap();
            assert_eq!(udp.local_addr(), Ok(address));
        }
        udp.disconnect().unwrap();
        assert_eq!(udp.local_addr(), Ok(address));
        // With IPv4 the wildcard address is known; with IPv6 it is not.
        let wildcard = SocketAddr::new(Family::of(&address).unspecified(), 0);
        let socket = UdpSocket::bind(wildcard).unwrap();
        let port = socket.local_addr().unwrap().port();
        socket.connect(dead(ip)).unwrap();
        let udp = Udp::from_fd(&event_loop, socket.into()).unwrap();
        udp.disconnect().unwrap();
        assert_eq!(udp.local_addr().unwrap().port(), port);
    }
}

#[test]
fn an_adopted_socket_is_non_blocking_and_keeps_its_metadata_options() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (socket, address) = raw(ip);
        uv_sys::option::set_recv_ttl(&socket, true).unwrap();
        uv_sys::option::set_recv_errors(&socket, true).unwrap();
        uv_sys::option::set_gro(&socket, true).unwrap();
        let spy = socket.try_clone().unwrap();
        spy.set_nonblocking(false).unwrap();
        let udp = Udp::from_fd(&event_loop, socket.into()).unwrap();
        let error = spy.recv(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        let (log, errors) = (Log::new(), Log::new());
        let (entries, reports) = (log.clone(), errors.clone());
        udp.recv_into_start(
            |_, _| Some([0; 64]),
            move |_, _, outcome| match outcome {
                Ok([arrival]) => entries.add((arrival.len, arrival.metadata.ttl.is_some())),
                Ok(_) => {}
                Err(error) => reports.add(error.report().is_some()),
            },
        )
        .unwrap();
        let size = std::num::NonZeroU16::new(10).unwrap();
        let sender = connected(&event_loop, address);
        sender
            .try_transmit(&Transmit::new(&[7; 50]).with_segment_size(size))
            .unwrap();
        run_until(&event_loop, || log.len() == 5);
        assert_eq!(
            log.get(),
            [(10, true); 5],
            "split, though it came coalesced"
        );
        udp.try_send_to(b"anyone?", dead(ip)).unwrap();
        run_until(&event_loop, || errors.len() == 1);
        assert_eq!(errors.get(), [true]);
    }
}

#[test]
fn options_of_a_refused_descriptor_do_not_reach_the_handle() {
    with_device(|remove| {
        let sockets = loopbacks().into_iter().map(|ip| raw(ip).0);
        let sockets = Vec::from_iter(sockets.inspect(|socket| {
            uv_sys::option::bind_to_device(socket, Some("gone")).unwrap();
            uv_sys::option::set_recv_ttl(socket, true).unwrap();
            uv_sys::option::set_recv_errors(socket, true).unwrap();
            uv_sys::option::set_gro(socket, true).unwrap();
        }));
        remove();
        for (ip, socket) in loopbacks().into_iter().zip(sockets) {
            let event_loop = Loop::new().unwrap();
            let udp = Udp::new(&event_loop);
            assert_eq!(refusal(&udp, socket), Errno::ENODEV);
            assert!(!udp.options().recv_ttl());
            udp.bind(SocketAddr::new(ip, 0)).unwrap();
            assert_eq!(udp.with_fd(|fd| uv_sys::option::gro(fd)), Ok(Ok(false)));
        }
    });
}

/// Assigns a descriptor that is refused. Returns the error, after checking that the descriptor is
/// unchanged.
fn refusal(udp: &Udp, fd: impl Into<OwnedFd>) -> Errno {
    let fd = fd.into();
    uv_sys::socket::set_nonblocking(&fd, false).unwrap();
    let number = fd.as_raw_fd();
    let (errno, fd) = udp.assign_fd(fd).unwrap_err();
    assert_eq!(fd.as_raw_fd(), number, "{errno}");
    assert_eq!(uv_sys::socket::nonblocking(&fd), Ok(false), "{errno}");
    errno
}

#[test]
fn a_refused_descriptor_is_returned_unchanged_with_every_error() {
    let event_loop = Loop::new().unwrap();
    let empty = Udp::new(&event_loop);
    let stream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(refusal(&empty, stream), Errno::EINVAL);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(refusal(&empty, file), Errno::ENOTSOCK);
    let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
    assert_eq!(refusal(&empty, unix), Errno::EAFNOSUPPORT);
    assert_eq!(
        empty.with_fd(|_| ()),
        Err(Errno::EBADF),
        "nothing was adopted"
    );
    let ip = "127.0.0.1".parse().unwrap();
    let (udp, _) = bound(&event_loop, ip);
    assert_eq!(refusal(&udp, raw(ip).0), Errno::EALREADY);
    udp.close(|_| ()).unwrap();
    assert_eq!(refusal(&udp, raw(ip).0), Errno::EBADF);
    drop(event_loop);
    assert_eq!(refusal(&empty, raw(ip).0), Errno::EBADF, "without a loop");
}

#[test]
fn a_refused_descriptor_is_returned() {
    let event_loop = Loop::new().unwrap();
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let (errno, ours) = Udp::from_fd(&event_loop, ours.into()).unwrap_err();
    assert_eq!(errno, Errno::EAFNOSUPPORT);
    let ours = std::os::unix::net::UnixDatagram::from(ours);
    theirs.send(b"hello").unwrap();
    assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 5);
}

#[test]
fn into_fd_returns_the_socket_with_its_state() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, to_peer) = raw(ip);
        let udp = connected(&event_loop, to_peer);
        let address = udp.local_addr().unwrap();
        let heard = listen(&udp);
        let results = Log::new();
        udp.send(b"one", note(&results)).unwrap();
        udp.send(b"two", note(&results)).unwrap();
        let socket = UdpSocket::from(udp.clone().into_fd().unwrap());
        assert!(udp.is_closing());
        assert_eq!(socket.local_addr().unwrap(), address);
        assert_eq!(socket.peer_addr().unwrap(), to_peer);
        settle(&event_loop);
        assert_eq!(results.get(), [Ok(()), Ok(())], "offered once more");
        peer.send_to(b"for the new owner", address).unwrap();
        settle(&event_loop);
        assert_eq!(heard.len(), 0);
        assert_eq!(all(&socket), [b"for the new owner".to_vec()]);
        assert_eq!(all(&peer), [b"one".to_vec(), b"two".to_vec()]);
        let again = Udp::from_fd(&event_loop, socket.into()).unwrap();
        again.try_send(b"three").unwrap();
        assert_eq!(next(&peer), b"three");
    }
    let event_loop = Loop::new().unwrap();
    assert_eq!(Udp::new(&event_loop).into_fd().map(drop), Err(Errno::EBADF));
}

#[test]
fn into_fd_works_inside_the_handles_callback() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let given = std::rc::Rc::new(std::cell::RefCell::new(None));
        let room = std::rc::Rc::clone(&given);
        udp.recv_start(move |udp, _| {
            *room.borrow_mut() = Some(udp.clone().into_fd().unwrap());
        })
        .unwrap();
        raw(ip).0.send_to(b"x", address).unwrap();
        run_until(&event_loop, || given.borrow().is_some());
        settle(&event_loop);
        let socket = UdpSocket::from(given.take().unwrap());
        raw(ip).0.send_to(b"y", address).unwrap();
        assert_eq!(all(&socket), [b"y".to_vec()]);
    }
}

/// A forked process has copies of all sockets until it calls execve(2).
#[test]
fn a_copy_of_the_former_socket_receives_nothing_after_a_disconnect() {
    for (ip, wildcard) in loopbacks()
        .into_iter()
        .flat_map(|ip| [(ip, false), (ip, true)])
    {
        let event_loop = Loop::new().unwrap();
        let any = Family::of(&(ip, 0).into()).unspecified();
        let (socket, address) = raw(if wildcard { any } else { ip });
        let address = SocketAddr::new(ip, address.port());
        let _copy = socket.try_clone().unwrap();
        let udp = Udp::from_fd(&event_loop, socket.into()).unwrap();
        let (peer, to_peer) = raw(ip);
        let heard = listen(&udp);
        udp.connect(to_peer).unwrap();
        peer.send_to(b"before", address).unwrap();
        udp.disconnect().unwrap();
        peer.send_to(b"from the former peer", address).unwrap();
        raw(ip).0.send_to(b"from a stranger", address).unwrap();
        run_until(&event_loop, || heard.len() == 3);
        let texts = heard.get().into_iter().map(|heard| heard.unwrap().0);
        let expected = [&b"before"[..], b"from the former peer", b"from a stranger"];
        assert_eq!(texts.collect::<Vec<_>>(), expected);
    }
}

/// The second socket, which holds the port, is in the group too, and its datagrams must not be
/// lost.
#[test]
fn a_member_of_a_group_loses_nothing_of_what_arrives_during_a_disconnect() {
    const COUNT: u8 = 200;
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        for _ in 0..30 {
            let (peer, to_peer) = raw(ip);
            let udp = Udp::new(&event_loop);
            udp.bind_with((ip, 0).into(), options().reuse_port(true))
                .unwrap();
            // Independent of net.core.rmem_default.
            udp.options().set_recv_buffer_size(212_992).unwrap();
            let address = udp.local_addr().unwrap();
            let heard = listen(&udp);
            udp.connect(to_peer).unwrap();
            let (tell, told) = std::sync::mpsc::channel();
            let sender = std::thread::spawn(move || {
                for number in 0..COUNT {
                    peer.send_to(&[number], address).unwrap();
                    if number == COUNT / 4 {
                        tell.send(()).unwrap();
                    }
                }
            });
            told.recv().unwrap();
            udp.disconnect().unwrap();
            sender.join().unwrap();
            settle(&event_loop);
            let mut numbers: Vec<_> = heard
                .get()
                .into_iter()
                .map(|heard| heard.unwrap().0[0])
                .collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>());
            udp.close(|_| ()).unwrap();
        }
    }
}

#[test]
fn a_socket_of_the_standard_library_becomes_a_handle_and_back() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (socket, address) = raw(ip);
        let udp = Udp::from_std(&event_loop, socket).unwrap();
        assert_eq!(udp.local_addr(), Ok(address));
        let socket = udp.into_std().unwrap();
        assert_eq!(socket.local_addr().unwrap(), address);
    }
    let event_loop = Loop::new().unwrap();
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let ours = UdpSocket::from(std::os::fd::OwnedFd::from(ours));
    let (errno, ours) = Udp::from_std(&event_loop, ours).unwrap_err();
    assert_eq!(errno, Errno::EAFNOSUPPORT);
    theirs.send(b"hello").unwrap();
    assert_eq!(ours.recv(&mut [0; 8]).unwrap(), 5, "it is returned");
}
