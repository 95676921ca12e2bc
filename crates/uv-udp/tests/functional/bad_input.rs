//! Bad input gets a named error, and changes nothing.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_udp::{Errno, Loop, Transmit, Udp};

use super::harness::*;

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
fn an_empty_batch_sends_nothing_in_every_state_but_closed() {
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
fn a_default_source_of_another_family_than_the_peer_is_refused_by_every_send() {
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
