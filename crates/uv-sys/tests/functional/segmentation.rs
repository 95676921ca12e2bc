use std::num::NonZeroU16;

use uv_sys::message::sendmsg;
use uv_sys::option::{set_gro, set_segment_size};
use uv_sys::{Errno, Family, RecvBatch, SendBatch, Transmit, capabilities};

use crate::util::{EVERYTHING, FAMILIES, next, pair, skipped, wait_readable};

const SIZE: NonZeroU16 = NonZeroU16::new(1_000).unwrap();

/// `segments` of 1,000 bytes each, numbered; the last one 10 bytes shorter.
fn run(segments: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..segments)
        .flat_map(|number| [number as u8; 1_000])
        .collect();
    bytes.truncate(bytes.len() - 10);
    bytes
}

#[test]
fn a_message_of_64_segments_arrives_as_64_datagrams() {
    if !capabilities().segmentation {
        skipped("no segmentation offload");
        return;
    }
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let bytes = run(64);
        assert_eq!(
            sendmsg(&sender, &Transmit::new(&bytes).with_segment_size(SIZE)),
            Ok(bytes.len())
        );
        for segment in bytes.chunks(1_000) {
            assert_eq!(next(&receiver).0, segment);
        }
    }
}

#[test]
fn with_gro_64_segments_arrive_in_one_buffer() {
    if !capabilities().segmentation || !capabilities().gro {
        skipped("no offloads");
        return;
    }
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        set_gro(&receiver, true).unwrap();
        let bytes = run(64);
        sendmsg(&sender, &Transmit::new(&bytes).with_segment_size(SIZE)).unwrap();
        let (got, received) = next(&receiver);
        assert_eq!(
            (received.metadata.segment_size, received.truncated),
            (Some(1_000), false)
        );
        assert_eq!(got, bytes);
        // A single datagram has no segment size.
        sendmsg(&sender, &Transmit::new("alone")).unwrap();
        assert_eq!(next(&receiver).1.metadata.segment_size, None);
    }
}

#[test]
fn batches_send_and_receive_segments() {
    if !capabilities().segmentation || !capabilities().gro {
        skipped("no offloads");
        return;
    }
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        set_gro(&receiver, true).unwrap();
        let (short, long) = (run(2), run(20));
        let messages = [
            Transmit::new(&short).with_segment_size(SIZE),
            Transmit::new("alone"),
            Transmit::new(&long).with_segment_size(SIZE).with_tos(3),
        ];
        assert_eq!(SendBatch::new().send(&sender, messages), Ok(3));
        wait_readable(&receiver);
        let mut batch = RecvBatch::new(8, 65_535);
        assert_eq!(batch.recv(&receiver, 8, EVERYTHING), Ok(3));
        let got: Vec<_> = (0..3)
            .filter_map(|index| batch.get(index))
            .map(|(bytes, received)| (bytes, received.metadata.segment_size))
            .collect();
        let expected: [(&[u8], _); 3] = [
            (&short, Some(1_000)),
            (b"alone", None),
            (&long, Some(1_000)),
        ];
        assert_eq!(got, expected);
    }
}

#[test]
fn max_segments_is_the_kernels_limit() {
    if !capabilities().segmentation {
        skipped("no segmentation offload");
        return;
    }
    let most = capabilities().max_segments;
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let bytes: Vec<u8> = (0..=most).map(|number| number as u8).collect();
        let too_many = Transmit::new(&bytes).with_segment_size(NonZeroU16::MIN);
        let refused = sendmsg(&sender, &too_many);
        assert!(
            matches!(refused, Err(Errno::EINVAL | Errno::EMSGSIZE)),
            "{refused:?}"
        );
        let enough = Transmit::new(&bytes[1..]).with_segment_size(NonZeroU16::MIN);
        assert_eq!(sendmsg(&sender, &enough), Ok(most));
        for byte in &bytes[1..] {
            assert_eq!(next(&receiver).0, [*byte]);
        }
    }
}

#[test]
fn a_payload_no_longer_than_a_segment_is_one_datagram() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        for len in [0, 1, 999, 1_000] {
            let bytes = vec![1; len];
            assert_eq!(
                sendmsg(&sender, &Transmit::new(&bytes).with_segment_size(SIZE)),
                Ok(len)
            );
            assert_eq!(next(&receiver).0, bytes);
        }
    }
}

#[test]
fn the_socket_option_splits_every_message() {
    if !capabilities().segmentation {
        skipped("no segmentation offload");
        return;
    }
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        set_segment_size(&sender, NonZeroU16::new(2)).unwrap();
        sendmsg(&sender, &Transmit::new("aabb")).unwrap();
        assert_eq!(
            (next(&receiver).0, next(&receiver).0),
            (b"aa".to_vec(), b"bb".to_vec())
        );
        // The message's own size takes precedence, even if it splits nothing.
        sendmsg(&sender, &Transmit::new("aabb").with_segment_size(SIZE)).unwrap();
        assert_eq!(next(&receiver).0, b"aabb");
        set_segment_size(&sender, None).unwrap();
        sendmsg(&sender, &Transmit::new("aabb")).unwrap();
        assert_eq!(next(&receiver).0, b"aabb");
    }
}

#[test]
fn capabilities_on_this_machine_are_consistent() {
    let found = capabilities();
    assert_eq!(found, capabilities());
    assert_eq!(found.max_segments > 1, found.segmentation);
    let fd = uv_sys::socket::socket(Family::V4).unwrap();
    assert_eq!(set_gro(&fd, true).is_ok(), found.gro);
}
