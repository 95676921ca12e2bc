use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use uv_sys::message::{recvmsg_with_control, sendmsg_with_control};
use uv_sys::option::{set_recv_tos, set_recv_ttl};
use uv_sys::{
    ControlEncoder, ControlMessage, ControlMessages, Errno, Family, Metadata, PacketInfo,
    RecvOptions,
};

use crate::util::{FAMILIES, pair, wait_readable};

#[test]
fn decoding_returns_the_encoded_messages() {
    let mut buffer = [0xff; 512];
    let mut control = ControlEncoder::new(&mut buffer);
    assert!(control.as_bytes().is_empty());
    control.segment_size(1_200).unwrap();
    for family in FAMILIES {
        control.tos(family, 0xba).unwrap();
        control.ttl(family, 9).unwrap();
    }
    let v6 = PacketInfo {
        address: Some(Ipv6Addr::LOCALHOST.into()),
        interface: 7,
    };
    control.source(Family::V6, v6).unwrap();
    control.transmit_at(123).unwrap();
    let messages: Vec<_> = ControlMessages::new(control.as_bytes()).collect();
    let (at, known) = messages.split_last().unwrap();
    assert_eq!(known[0], ControlMessage::Segment(1_200));
    assert_eq!(
        known[1..5]
            .iter()
            .filter(|message| **message == ControlMessage::Tos(0xba))
            .count(),
        2
    );
    assert_eq!(
        known[1..5]
            .iter()
            .filter(|message| **message == ControlMessage::Ttl(9))
            .count(),
        2
    );
    assert_eq!(known[5], ControlMessage::PacketInfo(v6));
    assert!(matches!(at, ControlMessage::Other { data, .. } if *data == 123_u64.to_ne_bytes()));
}

#[test]
fn a_full_buffer_stays_as_it_was() {
    let mut buffer = [0; ControlEncoder::space(2) + 8];
    let mut control = ControlEncoder::new(&mut buffer);
    control.segment_size(1).unwrap();
    let before = control.as_bytes().to_vec();
    assert_eq!(control.ttl(Family::V4, 1), Err(Errno::ENOBUFS));
    assert_eq!(control.push(0, 0, &[0; 1_000]), Err(Errno::ENOBUFS));
    assert_eq!(control.as_bytes(), before);
    assert_eq!(
        ControlEncoder::new(&mut []).push(0, 0, &[]),
        Err(Errno::ENOBUFS)
    );
}

#[test]
fn the_encoder_refuses_values_that_the_kernel_refuses() {
    let mut buffer = [0; 256];
    let mut control = ControlEncoder::new(&mut buffer);
    let (v4, v6) = (
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    );
    let mapped = IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
    assert_eq!(control.ttl(Family::V4, 0), Err(Errno::EINVAL));
    assert_eq!(
        control.source(Family::V4, v6.into()),
        Err(Errno::EAFNOSUPPORT)
    );
    assert_eq!(
        control.source(Family::V6, v4.into()),
        Err(Errno::EAFNOSUPPORT)
    );
    assert!(control.as_bytes().is_empty());
    assert_eq!(control.source(Family::V4, mapped.into()), Ok(()));
    assert_eq!(control.source(Family::V6, mapped.into()), Ok(()));
}

#[test]
fn raw_control_messages_reach_the_receiver() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        set_recv_tos(&receiver, true).unwrap();
        set_recv_ttl(&receiver, true).unwrap();
        let mut buffer = [0; 128];
        let mut control = ControlEncoder::new(&mut buffer);
        control.tos(family, 0x48).unwrap();
        control.ttl(family, 5).unwrap();
        assert_eq!(
            sendmsg_with_control(&sender, "hello", None, &control),
            Ok(5)
        );
        wait_readable(&receiver);
        let (mut bytes, mut control) = ([0; 8], [0; 128]);
        let bufs = &mut [IoSliceMut::new(&mut bytes)];
        let (received, messages) =
            recvmsg_with_control(&receiver, bufs, &mut control, RecvOptions::default()).unwrap();
        assert_eq!((received.len, received.metadata), (5, Metadata::default()));
        let metadata = Metadata::from_control(messages);
        assert_eq!((metadata.tos, metadata.ttl), (Some(0x48), Some(5)));
    }
}

#[test]
fn control_messages_that_do_not_fit_are_dropped() {
    let (sender, receiver) = pair(Family::V4);
    set_recv_ttl(&receiver, true).unwrap();
    sender.send(b"hello").unwrap();
    wait_readable(&receiver);
    let mut control = [0; 10];
    let (received, mut messages) =
        recvmsg_with_control(&receiver, &mut [], &mut control, RecvOptions::default()).unwrap();
    assert_eq!((received.full_len, messages.next()), (5, None));
}

#[test]
fn a_wrong_length_ends_the_list() {
    let mut buffer = [0; 64];
    let mut control = ControlEncoder::new(&mut buffer);
    control.segment_size(1).unwrap();
    control.segment_size(2).unwrap();
    let good = control.as_bytes().to_vec();
    for len in [0, 1, 15, 16, 17, good.len() + 1, usize::MAX - 7, usize::MAX] {
        let mut bytes = good.clone();
        bytes[..8].copy_from_slice(&len.to_ne_bytes());
        let messages: Vec<_> = ControlMessages::new(&bytes).collect();
        // 17: one byte of contents, well-formed but no segment size, and the second message after
        // its padding. 16: no contents, and the rest is malformed.
        let expected = match len {
            16 => 1,
            17 => 2,
            _ => 0,
        };
        assert_eq!(messages.len(), expected, "{len}: {messages:?}");
        assert!(!messages.contains(&ControlMessage::Segment(1)));
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_iterated(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let messages = ControlMessages::new(&bytes);
        prop_assert!(messages.clone().count() <= bytes.len() / 16);
        let _ = Metadata::from_control(messages);
    }

    /// Correct headers with contents of any length, of every known type.
    #[test]
    fn any_contents_can_be_decoded(
        contents in prop::collection::vec(
            (prop::sample::select(vec![0, 1, 17, 41]), 0..110_i32, prop::collection::vec(any::<u8>(), 0..40)),
            0..8,
        ),
        cut in 0..64_usize,
    ) {
        let mut buffer = [0; 1_024];
        let mut control = ControlEncoder::new(&mut buffer);
        for (level, kind, data) in &contents {
            control.push(*level, *kind, data).unwrap();
        }
        prop_assert_eq!(ControlMessages::new(control.as_bytes()).count(), contents.len());
        for (message, (level, kind, data)) in ControlMessages::new(control.as_bytes()).zip(&contents) {
            if let ControlMessage::Other { level: l, kind: k, data: d } = message {
                prop_assert_eq!((l, k, d), (*level, *kind, data.as_slice()));
            }
        }
        let whole = control.as_bytes();
        let short = &whole[..whole.len().saturating_sub(cut)];
        prop_assert!(ControlMessages::new(short).count() <= contents.len());
    }
}
