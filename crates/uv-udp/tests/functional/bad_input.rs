//! Bad input gets a named error, and changes nothing.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_udp::{Errno, Loop, MAX_DATAGRAM, MAX_SLICES, Payload, Transmit, Udp};

use super::harness::*;

#[test]
fn an_empty_list_of_slices_is_no_datagram_but_an_empty_slice_is_one() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        assert_eq!(udp.try_send(Payload::Slices(&[])), Err(Errno::EINVAL));
        assert_eq!(
            udp.send(Payload::Slices(&[]), |_, _| unreachable!()),
            Err(Errno::EINVAL)
        );
        assert_eq!(udp.try_send(b""), Ok(0));
        assert_eq!(udp.try_send(&[IoSlice::new(b""), IoSlice::new(b"")]), Ok(0));
        for _ in 0..3 {
            udp.send(b"", |_, result| result.unwrap()).unwrap();
        }
        settle(&event_loop);
        assert_eq!(all(&peer), vec![b""; 5]);
        assert_eq!(udp.send_queue_count(), 0);
    }
}

#[test]
fn zero_length_datagrams_are_delivered() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        let (sender, from) = raw(ip);
        sender.send_to(b"", address).unwrap();
        sender.send_to(b"x", address).unwrap();
        run_until(&event_loop, || heard.len() == 2);
        assert_eq!(heard.get(), [Ok((vec![], from)), Ok((b"x".to_vec(), from))]);
    }
}

#[test]
fn a_datagram_has_1024_slices_and_65507_bytes_at_most() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let slices = vec![IoSlice::new(b"x"); MAX_SLICES + 1];
        assert_eq!(udp.try_send(&slices), Err(Errno::EMSGSIZE));
        assert_eq!(
            udp.send(&slices, |_, _| unreachable!()),
            Err(Errno::EMSGSIZE)
        );
        assert_eq!(udp.try_send(&slices[1..]), Ok(MAX_SLICES));
        assert_eq!(next(&peer).len(), MAX_SLICES);
        let bytes = vec![7; MAX_DATAGRAM + 1];
        assert_eq!(udp.try_send(&bytes), Err(Errno::EMSGSIZE));
        assert_eq!(
            udp.send(&bytes, |_, _| unreachable!()),
            Err(Errno::EMSGSIZE)
        );
        assert_eq!(udp.try_send(&bytes[1..]), Ok(MAX_DATAGRAM));
        assert_eq!(next(&peer).len(), MAX_DATAGRAM);
        assert_eq!(udp.send_queue_count(), 0);
    }
}

#[test]
fn addresses_of_the_other_family_are_refused() {
    let event_loop = Loop::new().unwrap();
    let [v4, v6] = ["127.0.0.1:9", "[::1]:9"].map(|text| text.parse::<SocketAddr>().unwrap());
    for ip in loopbacks() {
        let (udp, address) = bound(&event_loop, ip);
        let other = if ip.is_ipv4() { v6 } else { v4 };
        assert_eq!(udp.connect(other), Err(Errno::EAFNOSUPPORT));
        assert_eq!(udp.try_send_to(b"x", other), Err(Errno::EAFNOSUPPORT));
        assert_eq!(
            udp.send_to(b"x", other, |_, _| unreachable!()),
            Err(Errno::EAFNOSUPPORT)
        );
        assert_eq!(udp.local_addr(), Ok(address));
        udp.connect(dead(ip)).unwrap();
        assert_eq!(udp.connect(other), Err(Errno::EAFNOSUPPORT));
        assert!(udp.is_connected(), "a refused connect does not disconnect");
    }
}

#[test]
fn port_0_is_nobodys_address() {
    let event_loop = Loop::new().unwrap();
    for ip in loopbacks() {
        let zero = SocketAddr::new(ip, 0);
        let udp = Udp::new(&event_loop);
        assert_eq!(udp.connect(zero), Err(Errno::EINVAL));
        assert_eq!(udp.try_send_to(b"x", zero), Err(Errno::EINVAL));
        assert_eq!(udp.local_addr(), Err(Errno::EBADF), "no socket was made");
    }
}

#[test]
fn a_handle_is_bound_once() {
    let event_loop = Loop::new().unwrap();
    for ip in loopbacks() {
        let any = SocketAddr::new(ip, 0);
        let (udp, address) = bound(&event_loop, ip);
        assert_eq!(udp.bind(any), Err(Errno::EINVAL));
        assert_eq!(udp.local_addr(), Ok(address));
        let by_connecting = connected(&event_loop, dead(ip));
        assert_eq!(by_connecting.bind(any), Err(Errno::EINVAL));
        by_connecting.disconnect().unwrap();
        assert_eq!(by_connecting.bind(any), Err(Errno::EINVAL));
        let by_sending = Udp::new(&event_loop);
        by_sending.try_send_to(b"x", dead(ip)).unwrap();
        assert_eq!(by_sending.bind(any), Err(Errno::EINVAL));
    }
}

#[test]
fn a_closed_handle_answers_ebadf_to_everything() {
    let event_loop = Loop::new().unwrap();
    for ip in loopbacks() {
        let (_peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        udp.close(|_| ()).unwrap();
        for when in ["closing", "closed"] {
            let transmit = Transmit::new(b"x");
            let answers = [
                ("bind", udp.bind(address)),
                ("connect", udp.connect(address)),
                ("disconnect", udp.disconnect()),
                ("send", udp.send(b"x", |_, _| unreachable!())),
                ("send_to", udp.send_to(b"x", address, |_, _| unreachable!())),
                ("try_send", udp.try_send(b"x").map(drop)),
                ("try_send_to", udp.try_send_to(b"x", address).map(drop)),
                (
                    "try_transmit_batch",
                    udp.try_transmit_batch(&[transmit]).map(drop),
                ),
                (
                    "try_transmit with segments",
                    udp.try_transmit(&Transmit::new(b"x").with_segment_size(NonZeroU16::MIN))
                        .map(drop),
                ),
                ("recv_start", udp.recv_start(|_, _| unreachable!())),
                ("recv_stop", udp.recv_stop()),
                ("local_addr", udp.local_addr().map(drop)),
                ("peer_addr", udp.peer_addr().map(drop)),
                ("remote", udp.sender().map(drop)),
                ("close", udp.close(|_| unreachable!())),
            ];
            for (call, answer) in answers {
                assert_eq!(answer, Err(Errno::EBADF), "{call} on a {when} handle");
            }
            assert!(!udp.is_connected());
            settle(&event_loop);
        }
    }
}

#[test]
fn calls_that_need_a_peer_say_so() {
    let event_loop = Loop::new().unwrap();
    let udp = Udp::new(&event_loop);
    assert_eq!(udp.disconnect(), Err(Errno::ENOTCONN));
    assert_eq!(udp.peer_addr(), Err(Errno::ENOTCONN));
    udp.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(udp.disconnect(), Err(Errno::ENOTCONN));
    assert_eq!(udp.peer_addr(), Err(Errno::ENOTCONN));
}

#[test]
fn receiving_twice_is_ealready_and_stopping_twice_is_nothing() {
    let event_loop = Loop::new().unwrap();
    let udp = Udp::new(&event_loop);
    udp.recv_start(|_, _| ()).unwrap();
    assert_eq!(udp.recv_start(|_, _| ()), Err(Errno::EALREADY));
    assert_eq!(udp.recv_batch_start(|_, _| ()), Err(Errno::EALREADY));
    udp.recv_stop().unwrap();
    udp.recv_stop().unwrap();
    udp.recv_start(|_, _| ()).unwrap();
}

#[test]
fn a_refused_first_send_makes_no_socket() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = Udp::new(&event_loop);
        let (address, zero) = (dead(ip), SocketAddr::new(ip, 0));
        let other = if ip.is_ipv4() {
            "[::1]:9"
        } else {
            "127.0.0.1:9"
        };
        let good = Transmit::new(b"good").with_destination(address);
        for (bad, error) in [
            (good.with_destination(zero), Errno::EINVAL),
            (
                good.with_destination(other.parse().unwrap()),
                Errno::EAFNOSUPPORT,
            ),
            (Transmit::new(b"bad"), Errno::EDESTADDRREQ),
            (good.with_ttl(0), Errno::EINVAL),
        ] {
            assert_eq!(udp.try_transmit_batch(&[good, bad]), Err(error));
            assert_eq!(udp.local_addr(), Err(Errno::EBADF), "{error:?}");
        }
        udp.set_send_queue_limit(Some(3));
        let full = udp.send_to(b"long", address, |_, _| unreachable!());
        assert_eq!(full, Err(Errno::ENOBUFS));
        assert_eq!(udp.local_addr(), Err(Errno::EBADF));
        udp.bind(SocketAddr::new(ip, 0)).unwrap();
    }
}

#[test]
fn an_empty_batch_is_nothing_to_send_in_every_state_but_closed() {
    let event_loop = Loop::new().unwrap();
    let udp = Udp::new(&event_loop);
    assert_eq!(udp.try_transmit_batch(&[]), Ok(0));
    assert_eq!(
        udp.local_addr(),
        Err(Errno::EBADF),
        "nothing was made for it"
    );
    let (_peer, address) = raw(loopbacks()[0]);
    udp.connect(address).unwrap();
    assert_eq!(udp.try_transmit_batch(&[]), Ok(0));
    for _ in 0..2 {
        udp.send(b"queued", uv_udp::ignore).unwrap();
    }
    assert_eq!(udp.try_transmit_batch(&[]), Ok(0), "it overtakes nobody");
    udp.close(|_| ()).unwrap();
    assert_eq!(udp.try_transmit_batch(&[]), Err(Errno::EBADF));
}

#[test]
fn a_default_source_of_another_family_than_the_peer_is_refused_in_every_form_of_sending() {
    let event_loop = Loop::new().unwrap();
    let udp = Udp::new(&event_loop);
    let source: std::net::IpAddr = "::1".parse().unwrap();
    udp.set_send_source(Some(source.into())).unwrap();
    udp.connect(raw(loopbacks()[0]).1).unwrap();
    let refused = Errno::EAFNOSUPPORT;
    assert_eq!(udp.send(b"x", |_, _| unreachable!()), Err(refused));
    assert_eq!(udp.try_send(b"x"), Err(refused));
    assert_eq!(udp.try_transmit_batch(&[Transmit::new(b"x")]), Err(refused));
    let size = NonZeroU16::MIN;
    assert_eq!(
        udp.try_transmit(&Transmit::new(b"xx").with_segment_size(size)),
        Err(refused)
    );
    assert_eq!(
        udp.try_transmit(&Transmit::new(b"").with_segment_size(size)),
        Err(refused)
    );
}
