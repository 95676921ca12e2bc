use std::io::IoSlice;

use uv_sys::message::sendmsg;
use uv_sys::option::set_broadcast;
use uv_sys::{
    Ecn, Errno, Family, MAX_DATAGRAM, MAX_SLICES, PacketInfo, Payload, SendBatch, Transmit,
};

use crate::util::{FAMILIES, bound, loopback, next, nobody, pair};

#[test]
fn a_datagram_goes_to_its_destination_or_to_the_peer() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        assert_eq!(sendmsg(&sender, &Transmit::new("peer")), Ok(4));
        let (bytes, received) = next(&receiver);
        assert_eq!(bytes, b"peer");
        assert_eq!(received.source, Some(sender.local_addr().unwrap()));

        let stranger = bound(family);
        let message = Transmit::new("destination").with_destination(receiver.local_addr().unwrap());
        assert_eq!(sendmsg(&stranger, &message), Ok(11));
        assert_eq!(next(&receiver).0, b"destination");
    }
}

#[test]
fn slices_are_gathered_into_one_datagram() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let slices = [
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        assert_eq!(sendmsg(&sender, &Transmit::new(&slices)), Ok(7));
        assert_eq!(next(&receiver).0, b"one two");
    }
}

#[test]
fn an_empty_datagram_is_delivered() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        assert_eq!(sendmsg(&sender, &Transmit::new("")), Ok(0));
        let (bytes, received) = next(&receiver);
        assert_eq!(
            (bytes.len(), received.full_len, received.truncated),
            (0, 0, false)
        );
    }
}

#[test]
fn the_largest_datagram_fits_and_a_larger_one_does_not() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let bytes = vec![7; MAX_DATAGRAM];
        assert_eq!(sendmsg(&sender, &Transmit::new(&bytes)), Ok(MAX_DATAGRAM));
        assert_eq!(next(&receiver).0, bytes);
        assert_eq!(
            sendmsg(&sender, &Transmit::new(&vec![7; 70_000])),
            Err(Errno::EMSGSIZE)
        );
    }
}

#[test]
fn a_payload_knows_its_length_and_limits() {
    let (a, b) = ([1_u8; 3], vec![2_u8; 4]);
    let slices = vec![IoSlice::new(&a), IoSlice::new(&b)];
    for (payload, len, count) in [
        (Payload::from(&a), 3, 1),
        (Payload::from(&a[1..]), 2, 1),
        (Payload::from(&b), 4, 1),
        (Payload::from("text"), 4, 1),
        (Payload::from(&String::from("text")), 4, 1),
        (Payload::from(&slices), 7, 2),
        (Payload::from(&slices[..1]), 3, 1),
        (Payload::from(&[IoSlice::new(&b)]), 4, 1),
        (Payload::from(&slices[0]), 3, 1),
    ] {
        assert_eq!(
            (payload.len(), payload.slice_count(), payload.is_empty()),
            (len, count, false)
        );
        assert_eq!(payload.slices().map(<[u8]>::len).sum::<usize>(), len);
        assert_eq!(payload.check(), Ok(()));
    }
    assert!(Payload::from("").is_empty());
    assert_eq!(Payload::from("").check(), Ok(()));
    let none: [IoSlice<'_>; 0] = [];
    assert!(Payload::from(&none).is_empty());
    assert_eq!(Payload::from(&none).check(), Err(Errno::EINVAL));
    let many = vec![IoSlice::new(b"x"); MAX_SLICES + 1];
    assert_eq!(Payload::from(&many).check(), Err(Errno::EMSGSIZE));
    assert_eq!(Payload::from(&many[1..]).check(), Ok(()));
    let large = vec![0; MAX_DATAGRAM + 1];
    assert_eq!(Payload::from(&large).check(), Err(Errno::EMSGSIZE));
    assert_eq!(Payload::from(&large[1..]).check(), Ok(()));
}

#[test]
fn bad_messages_have_named_errors() {
    let socket = bound(Family::V4);
    let to = nobody(Family::V4);
    let none: [IoSlice<'_>; 0] = [];
    let many = vec![IoSlice::new(b"x"); MAX_SLICES + 1];
    let v6_source = Transmit::new("x")
        .with_destination(to)
        .with_source(loopback(Family::V6));
    let foreign_source = Transmit::new("x")
        .with_destination(to)
        .with_source(std::net::IpAddr::from([192, 0, 2, 254]));
    let no_such_interface = PacketInfo {
        address: None,
        interface: 0x00ff_ffff,
    };
    for (message, errno) in [
        (Transmit::new("x"), Errno::EDESTADDRREQ),
        (Transmit::new(&none).with_destination(to), Errno::EINVAL),
        (Transmit::new(&many).with_destination(to), Errno::EMSGSIZE),
        (
            Transmit::new("x").with_destination(to).with_ttl(0),
            Errno::EINVAL,
        ),
        (
            Transmit::new("x").with_destination(nobody(Family::V6)),
            Errno::EAFNOSUPPORT,
        ),
        (v6_source, Errno::EAFNOSUPPORT),
        (foreign_source, Errno::ENETUNREACH),
        (
            Transmit::new("x")
                .with_destination(to)
                .with_source(no_such_interface),
            Errno::ENODEV,
        ),
        // Port 0 is not a valid destination.
        (
            Transmit::new("x").with_destination(([127, 0, 0, 1], 0).into()),
            Errno::EINVAL,
        ),
    ] {
        assert_eq!(sendmsg(&socket, &message), Err(errno), "{message:?}");
        assert_eq!(
            SendBatch::new().send(&socket, [message, message]),
            Err(errno),
            "{message:?}"
        );
    }
    let foreign_source = "2001:db8::1".parse::<std::net::IpAddr>().unwrap();
    let message = Transmit::new("x")
        .with_destination(nobody(Family::V6))
        .with_source(foreign_source);
    assert_eq!(sendmsg(bound(Family::V6), &message), Err(Errno::EINVAL));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(sendmsg(&file, &Transmit::new("x")), Err(Errno::ENOTSOCK));
}

#[test]
fn broadcasts_need_to_be_allowed() {
    let socket = bound(Family::V4);
    let message = Transmit::new("x").with_destination(([127, 255, 255, 255], 9).into());
    assert_eq!(sendmsg(&socket, &message), Err(Errno::EACCES));
    set_broadcast(&socket, true).unwrap();
    assert_eq!(sendmsg(&socket, &message), Ok(1));
}

#[test]
fn the_next_send_returns_an_icmp_error_and_sends_nothing() {
    for family in FAMILIES {
        let socket = bound(family);
        uv_sys::socket::connect(&socket, &nobody(family)).unwrap();
        assert_eq!(sendmsg(&socket, &Transmit::new("lost")), Ok(4));
        assert_eq!(
            sendmsg(&socket, &Transmit::new("not sent")),
            Err(Errno::ECONNREFUSED)
        );
        assert_eq!(sendmsg(&socket, &Transmit::new("sent")), Ok(4));
        assert_eq!(
            uv_sys::option::take_error(&socket),
            Ok(Some(Errno::ECONNREFUSED))
        );
        assert_eq!(uv_sys::option::take_error(&socket), Ok(None));
    }
}

#[test]
fn a_batch_goes_in_order_each_to_its_own_destination() {
    for family in FAMILIES {
        let sender = bound(family);
        let (left, right) = (bound(family), bound(family));
        let (to_left, to_right) = (left.local_addr().unwrap(), right.local_addr().unwrap());
        let slices = [IoSlice::new(b"th"), IoSlice::new(b"ree")];
        let mut batch = SendBatch::new();
        // Twice, to detect state of the first round.
        for _ in 0..2 {
            let messages = [
                Transmit::new("one").with_destination(to_left).with_ttl(9),
                Transmit::new("two").with_destination(to_right),
                Transmit::new(&slices).with_destination(to_left),
                Transmit::new("")
                    .with_destination(to_right)
                    .with_ecn(Ecn::Ect1),
            ];
            assert_eq!(batch.send(&sender, messages), Ok(4));
            assert_eq!(next(&left).0, b"one");
            assert_eq!(next(&left).0, b"three");
            assert_eq!(next(&right).0, b"two");
            assert_eq!(next(&right).0, b"");
            assert_eq!(
                batch.send(&sender, [Transmit::new("four").with_destination(to_left)]),
                Ok(1)
            );
            assert_eq!(next(&left).0, b"four");
        }
    }
}

#[test]
fn a_batch_to_the_peer_needs_no_destinations() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let mut batch = SendBatch::new();
        // With destinations first: the second batch must not reuse them.
        let elsewhere = bound(family);
        let to = elsewhere.local_addr().unwrap();
        assert_eq!(
            batch.send(
                &sender,
                [
                    Transmit::new("a").with_destination(to),
                    Transmit::new("b").with_destination(to)
                ]
            ),
            Ok(2)
        );
        assert_eq!(
            batch.send(&sender, [Transmit::new("one"), Transmit::new("two")]),
            Ok(2)
        );
        assert_eq!(
            (next(&receiver).0, next(&receiver).0),
            (b"one".to_vec(), b"two".to_vec())
        );
    }
}

#[test]
fn a_batch_sends_at_most_its_capacity() {
    let (sender, receiver) = pair(Family::V4);
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let mut messages = texts.iter().map(Transmit::new);
    let mut batch = SendBatch::default();
    assert_eq!(batch.send(&sender, messages.by_ref()), Ok(SendBatch::MAX));
    assert_eq!(batch.send(&sender, messages), Ok(100 - SendBatch::MAX));
    for text in &texts {
        assert_eq!(next(&receiver).0, text.as_bytes());
    }
}

#[test]
fn a_batch_stops_before_the_first_invalid_message() {
    let (sender, receiver) = pair(Family::V6);
    let mut batch = SendBatch::new();
    let (good, bad) = (Transmit::new("good"), Transmit::new("bad").with_ttl(0));
    assert_eq!(batch.send(&sender, [good, good, bad, good]), Ok(2));
    assert_eq!(batch.send(&sender, [bad, good]), Err(Errno::EINVAL));
    // A message that only the kernel refuses.
    let large = vec![0; 70_000];
    assert_eq!(
        batch.send(&sender, [good, Transmit::new(&large), good]),
        Ok(1)
    );
    assert_eq!(
        batch.send(&sender, [Transmit::new(&large), good]),
        Err(Errno::EMSGSIZE)
    );
    for _ in 0..3 {
        assert_eq!(next(&receiver).0, b"good");
    }
}

#[test]
fn an_empty_batch_makes_no_system_call() {
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(SendBatch::new().send(&file, []), Ok(0));
}

#[test]
fn batches_can_move_between_threads() {
    let (sender, receiver) = pair(Family::V4);
    let mut batch = SendBatch::new();
    batch
        .send(&sender, [Transmit::new("one"), Transmit::new("two")])
        .unwrap();
    std::thread::spawn(move || {
        batch
            .send(&sender, [Transmit::new("three"), Transmit::new("four")])
            .unwrap()
    })
    .join()
    .unwrap();
    for text in ["one", "two", "three", "four"] {
        assert_eq!(next(&receiver).0, text.as_bytes());
    }
}
