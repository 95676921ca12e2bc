use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use uv_sys::message::sendmsg;
use uv_sys::multicast::interface_index;
use uv_sys::option::{
    set_ipv6_only, set_recv_buffer_size, set_recv_drops, set_recv_packet_info, set_recv_timestamps,
    set_recv_tos, set_recv_ttl, set_tos, set_ttl, set_txtime,
};
use uv_sys::socket::{bind, connect, socket};
use uv_sys::{Ecn, Errno, Family, Metadata, PacketInfo, RecvBatch, SendBatch, Transmit};

use crate::util::{EVERYTHING, FAMILIES, bound, loopback, next, pair, wait_readable};

/// Sends with both calls, with and without a destination, and returns the received metadata.
fn transmit(sender: &UdpSocket, receiver: &UdpSocket, message: Transmit<'_>) -> [Metadata; 4] {
    let named = message.with_destination(sender.peer_addr().unwrap());
    let mut batch = SendBatch::new();
    sendmsg(sender, &message).unwrap();
    sendmsg(sender, &named).unwrap();
    assert_eq!(batch.send(sender, [message, named]), Ok(2));
    std::array::from_fn(|_| next(receiver).1.metadata)
}

/// An IPv6 receiver of both families, and an IPv6 sender that is connected to it by a mapped IPv4
/// address.
fn mapped_pair() -> (UdpSocket, UdpSocket) {
    let [sender, receiver] = [(); 2].map(|()| {
        let fd = socket(Family::V6).unwrap();
        set_ipv6_only(&fd, false).unwrap();
        bind(&fd, &"[::]:0".parse().unwrap()).unwrap();
        UdpSocket::from(fd)
    });
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let port = receiver.local_addr().unwrap().port();
    connect(&sender, &SocketAddr::new(mapped.into(), port)).unwrap();
    (sender, receiver)
}

fn pairs() -> [(UdpSocket, UdpSocket); 3] {
    [pair(Family::V4), pair(Family::V6), mapped_pair()]
}

#[test]
fn metadata_is_empty_without_options() {
    for (sender, receiver) in pairs() {
        assert_eq!(
            transmit(&sender, &receiver, Transmit::new("x")),
            [Metadata::default(); 4]
        );
    }
}

#[test]
fn the_tos_byte_reaches_the_receiver() {
    for (sender, receiver) in pairs() {
        set_recv_tos(&receiver, true).unwrap();
        let tos = |message| transmit(&sender, &receiver, message).map(|metadata| metadata.tos);
        assert_eq!(tos(Transmit::new("x")), [Some(0); 4]);
        assert_eq!(
            tos(Transmit::new("x").with_tos(0b1011_1010)),
            [Some(0b1011_1010); 4]
        );
        for ecn in [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce] {
            assert_eq!(tos(Transmit::new("x").with_ecn(ecn)), [Some(ecn as u8); 4]);
            assert_eq!(Ecn::from_tos(0b1011_1000 | ecn as u8), ecn);
        }
        assert_eq!(
            tos(Transmit::new("x").with_tos(0xff).with_ecn(Ecn::Ect0)),
            [Some(0xfe); 4]
        );
        set_tos(&sender, 0x20).unwrap();
        assert_eq!(tos(Transmit::new("x")), [Some(0x20); 4]);
        let ecn_alone = Transmit::new("x").with_ecn(Ecn::Ce);
        assert_eq!(tos(ecn_alone), [Some(0x23); 4], "the socket's DSCP");
        assert_eq!(tos(ecn_alone.with_tos(0x40)), [Some(0x40); 4]);
        let mut both = ecn_alone;
        both.tos = Some(0x40);
        assert_eq!(tos(both), [Some(0x43); 4]);
    }
}

#[test]
fn the_time_to_live_reaches_the_receiver() {
    for (sender, receiver) in pairs() {
        set_recv_ttl(&receiver, true).unwrap();
        let ttl = |message| transmit(&sender, &receiver, message).map(|metadata| metadata.ttl);
        for value in [1, 77, 255] {
            assert_eq!(ttl(Transmit::new("x").with_ttl(value)), [Some(value); 4]);
        }
        set_ttl(&sender, 33).unwrap();
        assert_eq!(ttl(Transmit::new("x")), [Some(33); 4]);
    }
}

#[test]
fn the_destination_is_reported_with_its_interface() {
    let lo = interface_index("lo").unwrap();
    for (sender, receiver) in pairs() {
        set_recv_packet_info(&receiver, true).unwrap();
        let expected = PacketInfo {
            address: Some(sender.peer_addr().unwrap().ip()),
            interface: lo,
        };
        for metadata in transmit(&sender, &receiver, Transmit::new("x")) {
            assert_eq!(metadata.destination, Some(expected));
        }
    }
}

#[test]
fn the_source_address_can_be_chosen() {
    // All of 127.0.0.0/8 is this host.
    let source = IpAddr::from([127, 0, 0, 9]);
    let receiver = bound(Family::V4);
    let to = receiver.local_addr().unwrap();
    let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
    sendmsg(
        &sender,
        &Transmit::new("x").with_destination(to).with_source(source),
    )
    .unwrap();
    assert_eq!(next(&receiver).1.source.map(|from| from.ip()), Some(source));

    // A dual-stack socket accepts both forms.
    let sender = UdpSocket::bind("[::]:0").unwrap();
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let to_mapped = SocketAddr::new(mapped.into(), to.port());
    for source in [
        source,
        IpAddr::V6(Ipv4Addr::new(127, 0, 0, 9).to_ipv6_mapped()),
    ] {
        sendmsg(
            &sender,
            &Transmit::new("x")
                .with_destination(to_mapped)
                .with_source(source),
        )
        .unwrap();
        assert_eq!(
            next(&receiver).1.source.map(|from| from.ip()),
            Some(source.to_canonical())
        );
    }

    for family in FAMILIES {
        let receiver = bound(family);
        let to = receiver.local_addr().unwrap();
        let sender = UdpSocket::bind((family.unspecified(), 0)).unwrap();
        let lo = interface_index("lo").unwrap();
        for source in [
            PacketInfo::from(loopback(family)),
            PacketInfo {
                address: Some(loopback(family)),
                interface: lo,
            },
            PacketInfo {
                address: None,
                interface: lo,
            },
        ] {
            sendmsg(
                &sender,
                &Transmit::new("x").with_destination(to).with_source(source),
            )
            .unwrap();
            assert_eq!(
                next(&receiver).1.source.map(|from| from.ip()),
                Some(loopback(family))
            );
        }
    }
}

#[test]
fn a_connected_socket_can_name_its_source_too() {
    for (sender, receiver) in pairs() {
        let own = sender.local_addr().unwrap().ip();
        for metadata in transmit(&sender, &receiver, Transmit::new("x").with_source(own)) {
            assert_eq!(metadata, Metadata::default());
        }
    }
}

#[test]
fn the_receive_time_is_now() {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64
    };
    for (sender, receiver) in pairs() {
        set_recv_timestamps(&receiver, true).unwrap();
        let before = now();
        // The kernel begins to stamp a moment after the first socket asks for it, so that early
        // datagrams may be stamped when they are received.
        let stamps = transmit(&sender, &receiver, Transmit::new("x"))
            .map(|metadata| metadata.timestamp.unwrap());
        let after = now();
        for stamp in stamps {
            assert!(
                (before..=after).contains(&stamp),
                "{before} {stamp} {after}"
            );
        }
    }
}

#[test]
fn drops_are_counted() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        set_recv_drops(&receiver, true).unwrap();
        set_recv_buffer_size(&receiver, 0).unwrap();
        for _ in 0..100 {
            sender.send(&[0; 1_000]).unwrap();
        }
        let mut batch = RecvBatch::new(100, 1_000);
        wait_readable(&receiver);
        let kept = batch.recv(&receiver, 100, EVERYTHING).unwrap();
        assert!(kept < 100);
        sender.send(b"after").unwrap();
        let dropped = next(&receiver).1.metadata.kernel_drops;
        assert_eq!(dropped, Some(100 - u32::try_from(kept).unwrap()));
    }
}

#[test]
fn everything_at_once_fits_the_control_buffers() {
    for (sender, receiver) in pairs() {
        for set in [
            set_recv_tos,
            set_recv_ttl,
            set_recv_packet_info,
            set_recv_timestamps,
            set_recv_drops,
        ] {
            set(&receiver, true).unwrap();
        }
        uv_sys::option::set_gro(&receiver, true).unwrap();
        set_recv_buffer_size(&receiver, 0).unwrap();
        for _ in 0..50 {
            sender.send(&[0; 1_000]).unwrap();
        }
        let mut batch = RecvBatch::new(50, 65_535);
        wait_readable(&receiver);
        while batch.recv(&receiver, 50, EVERYTHING).is_ok() {}

        set_recv_buffer_size(&receiver, 100_000).unwrap();
        set_txtime(&sender, uv_sys::TxTimeClock::Monotonic).unwrap();
        let message = Transmit::new("aabb")
            .with_tos(0x15)
            .with_ttl(21)
            .with_source(sender.local_addr().unwrap().ip())
            .with_segment_size(std::num::NonZeroU16::new(2).unwrap())
            .with_transmit_time(1);
        for metadata in transmit(&sender, &receiver, message) {
            assert_eq!(
                (metadata.tos, metadata.ttl, metadata.segment_size),
                (Some(0x15), Some(21), Some(2))
            );
            assert!(
                metadata.destination.is_some()
                    && metadata.timestamp.is_some()
                    && metadata.kernel_drops.is_some()
            );
        }
    }
}

#[test]
fn a_transmit_time_needs_the_option() {
    let (sender, receiver) = pair(Family::V4);
    assert_eq!(
        sendmsg(&sender, &Transmit::new("x").with_transmit_time(1)),
        Err(Errno::EINVAL)
    );
    set_txtime(&sender, uv_sys::TxTimeClock::Monotonic).unwrap();
    assert_eq!(
        sendmsg(&sender, &Transmit::new("x").with_transmit_time(1)),
        Ok(1)
    );
    assert_eq!(next(&receiver).0, b"x");
}
