use uv_sys::error_queue::recv_error;
use uv_sys::message::sendmsg;
use uv_sys::option::{set_path_mtu_discovery, set_recv_errors, take_error};
use uv_sys::socket::connect;
use uv_sys::{Errno, ErrorOrigin, Family, PathMtuDiscovery, Transmit};

use crate::util::{FAMILIES, bound, loopback, nobody, skipped};

#[test]
fn a_closed_port_is_reported_with_the_sent_datagram() {
    for family in FAMILIES {
        for connected in [false, true] {
            let socket = bound(family);
            set_recv_errors(&socket, true).unwrap();
            let to = nobody(family);
            if connected {
                connect(&socket, &to).unwrap();
            }
            sendmsg(&socket, &Transmit::new("anyone?").with_destination(to)).unwrap();
            let mut payload = [0; 64];
            let error = recv_error(&socket, &mut payload).unwrap();
            assert_eq!(
                (error.errno, error.destination),
                (Errno::ECONNREFUSED, Some(to))
            );
            assert_eq!(error.offender, Some(loopback(family)));
            assert_eq!(&payload[..error.payload_len], b"anyone?");
            // Destination unreachable, port unreachable: RFC 792, RFC 4443.
            let expected = match family {
                Family::V4 => (ErrorOrigin::Icmp, 3, 3),
                Family::V6 => (ErrorOrigin::Icmp6, 1, 4),
            };
            assert_eq!((error.origin, error.kind, error.code), expected);
            // Fetched from the queue, it is no longer pending.
            assert_eq!(take_error(&socket), Ok(None));
            assert_eq!(recv_error(&socket, &mut payload), Err(Errno::EAGAIN));
        }
    }
}

#[test]
fn errors_come_in_order_and_are_cut_to_the_buffer() {
    let socket = bound(Family::V4);
    set_recv_errors(&socket, true).unwrap();
    let gone = [nobody(Family::V4), nobody(Family::V4)];
    assert_eq!(
        sendmsg(&socket, &Transmit::new("first").with_destination(gone[0])),
        Ok(5)
    );
    // The next call returns the first error and sends nothing; the queue keeps it.
    assert_eq!(
        sendmsg(&socket, &Transmit::new("second").with_destination(gone[1])),
        Err(Errno::ECONNREFUSED)
    );
    assert_eq!(
        sendmsg(&socket, &Transmit::new("second").with_destination(gone[1])),
        Ok(6)
    );
    let mut payload = [0; 3];
    for (to, text) in gone.into_iter().zip([b"fir", b"sec"]) {
        let error = recv_error(&socket, &mut payload).unwrap();
        assert_eq!((error.destination, error.payload_len), (Some(to), 3));
        assert_eq!(&payload, text);
    }
}

#[test]
fn an_error_about_a_too_large_datagram_carries_the_path_mtu() {
    for family in FAMILIES {
        let socket = bound(family);
        set_recv_errors(&socket, true).unwrap();
        set_path_mtu_discovery(&socket, PathMtuDiscovery::Do).unwrap();
        let receiver = bound(family);
        connect(&socket, &receiver.local_addr().unwrap()).unwrap();
        let mtu = uv_sys::option::path_mtu(&socket).unwrap();
        let sent = sendmsg(&socket, &Transmit::new(&vec![0; mtu.min(65_507)]));
        if sent.is_ok() {
            skipped("everything fits the loopback interface");
            continue;
        }
        assert_eq!(sent, Err(Errno::EMSGSIZE));
        let error = recv_error(&socket, &mut []).unwrap();
        assert_eq!(
            (error.errno, error.origin, error.offender),
            (Errno::EMSGSIZE, ErrorOrigin::Local, None)
        );
        assert_eq!(error.info as usize, mtu);
    }
}

#[test]
fn an_empty_queue_does_not_wait() {
    let socket = bound(Family::V6);
    socket.set_nonblocking(false).unwrap();
    assert_eq!(recv_error(&socket, &mut [0; 8]), Err(Errno::EAGAIN));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(recv_error(&file, &mut [0; 8]), Err(Errno::ENOTSOCK));
}

#[test]
fn mapped_addresses_are_reported_as_such() {
    let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
    set_recv_errors(&socket, true).unwrap();
    let gone = nobody(Family::V4);
    let mapped = match gone.ip() {
        std::net::IpAddr::V4(ip) => {
            std::net::SocketAddr::new(ip.to_ipv6_mapped().into(), gone.port())
        }
        std::net::IpAddr::V6(_) => gone,
    };
    sendmsg(&socket, &Transmit::new("anyone?").with_destination(mapped)).unwrap();
    let error = recv_error(&socket, &mut [0; 8]).unwrap();
    assert_eq!(
        (error.errno, error.origin),
        (Errno::ECONNREFUSED, ErrorOrigin::Icmp)
    );
    assert_eq!(error.destination, Some(mapped));
    assert_eq!(
        error.offender.map(|ip| ip.to_canonical()),
        Some(loopback(Family::V4))
    );
}
