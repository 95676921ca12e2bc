use std::io::IoSliceMut;

use uv_sys::message::{recvmsg, sendmsg};
use uv_sys::socket::connect;
use uv_sys::{Errno, Family, RecvBatch, RecvOptions, Transmit};

use crate::util::{EVERYTHING, FAMILIES, bound, nobody, pair, wait_readable};

const NOTHING: RecvOptions = RecvOptions::new().with_source(false);

#[test]
fn a_truncated_datagram_reports_its_whole_length() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        sender.send(b"hello world").unwrap();
        wait_readable(&receiver);
        let mut bytes = [0; 5];
        let received = recvmsg(&receiver, &mut [IoSliceMut::new(&mut bytes)], NOTHING).unwrap();
        assert_eq!(
            (received.len, received.full_len, received.truncated),
            (5, 11, true)
        );
        assert_eq!((&bytes, received.source), (b"hello", None));
        // The rest of the datagram is discarded.
        assert_eq!(
            recvmsg(&receiver, &mut [IoSliceMut::new(&mut bytes)], NOTHING),
            Err(Errno::EAGAIN)
        );
    }
}

#[test]
fn a_datagram_is_scattered_over_buffers() {
    let (sender, receiver) = pair(Family::V6);
    sender.send(b"hello world").unwrap();
    wait_readable(&receiver);
    let (mut head, mut tail) = ([0; 6], [0; 10]);
    let bufs = &mut [IoSliceMut::new(&mut head), IoSliceMut::new(&mut tail)];
    let received = recvmsg(&receiver, bufs, RecvOptions::default()).unwrap();
    assert_eq!((received.len, received.truncated), (11, false));
    assert_eq!((&head, &tail[..5]), (b"hello ", &b"world"[..]));
    assert_eq!(received.source, Some(sender.local_addr().unwrap()));
}

#[test]
fn peeking_leaves_the_datagram() {
    let (sender, receiver) = pair(Family::V4);
    sender.send(b"hello").unwrap();
    wait_readable(&receiver);
    let peek = EVERYTHING.with_peek(true);
    let mut batch = RecvBatch::new(8, 100);
    // A batch peeks at one datagram, not at eight copies of it.
    for _ in 0..2 {
        assert_eq!(
            recvmsg(&receiver, &mut [], peek).map(|received| received.full_len),
            Ok(5)
        );
        assert_eq!(batch.recv(&receiver, 8, peek), Ok(1));
        assert_eq!(batch.get(0).unwrap().0, b"hello");
    }
    assert_eq!(batch.recv(&receiver, 8, EVERYTHING), Ok(1));
    assert_eq!(batch.recv(&receiver, 8, peek), Err(Errno::EAGAIN));
}

#[test]
fn a_batch_receives_into_its_own_memory_after_the_callers() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let mut batch = RecvBatch::new(4, 100);
        let mut memory = vec![7; 250];
        assert_eq!(
            batch.recv_into(&receiver, &mut memory[..99], 4, EVERYTHING),
            Err(Errno::EINVAL)
        );
        for text in ["one", "four", "left"] {
            sender.send(text.as_bytes()).unwrap();
        }
        wait_readable(&receiver);
        // The memory has room for two slots. The bytes after them are not written.
        assert_eq!(
            batch.recv_into(&receiver, &mut memory, 4, EVERYTHING),
            Ok(2)
        );
        assert_eq!(
            (&memory[..4], &memory[100..105]),
            (&b"one\x07"[..], &b"four\x07"[..])
        );
        assert!(memory[200..].iter().all(|&byte| byte == 7));
        let lengths = [0, 1, 2].map(|index| batch.received(index).map(|received| received.len));
        assert_eq!(lengths, [Some(3), Some(4), None]);
        assert!(batch.get(0).is_none());
        assert_eq!(batch.recv(&receiver, 4, EVERYTHING), Ok(1));
        assert_eq!(batch.get(0).unwrap().0, b"left");
        for (max, text) in [(1, "seven"), (4, "ten"), (1, "more")] {
            sender.send(text.as_bytes()).unwrap();
            wait_readable(&receiver);
            memory.fill(7);
            assert_eq!(batch.recv(&receiver, max, EVERYTHING), Ok(1));
            assert_eq!(batch.get(0).unwrap().0, text.as_bytes());
            assert!(
                memory.iter().all(|&byte| byte == 7),
                "the memory was given back"
            );
            sender.send(b"into").unwrap();
            wait_readable(&receiver);
            assert_eq!(
                batch.recv_into(&receiver, &mut memory, max, EVERYTHING),
                Ok(1)
            );
            assert_eq!(&memory[..4], b"into");
        }
        assert_eq!(
            batch.recv_into(&receiver, &mut memory, 4, EVERYTHING),
            Err(Errno::EAGAIN)
        );
        assert!(batch.received(0).is_none());
    }
}

#[test]
fn an_icmp_error_is_returned_once() {
    for family in FAMILIES {
        let socket = bound(family);
        connect(&socket, &nobody(family)).unwrap();
        let mut batch = RecvBatch::new(4, 100);
        for max in [1, 4] {
            sendmsg(&socket, &Transmit::new("anyone?")).unwrap();
            assert_eq!(batch.recv(&socket, max, NOTHING), Err(Errno::ECONNREFUSED));
            assert_eq!(batch.recv(&socket, max, NOTHING), Err(Errno::EAGAIN));
            assert!(batch.get(0).is_none());
        }
    }
}

#[test]
fn a_batch_receives_in_order_up_to_max() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        for number in 0..10_u8 {
            sender.send(&vec![number; usize::from(number)]).unwrap();
        }
        wait_readable(&receiver);
        let mut batch = RecvBatch::new(4, 100);
        assert_eq!((batch.slots(), batch.slot_len()), (4, 100));
        let mut expected = 0..10_u8;
        for (max, count) in [(3, 3), (1, 1), (100, 4), (4, 2)] {
            assert_eq!(
                batch.recv(&receiver, max, RecvOptions::default()),
                Ok(count)
            );
            for index in 0..count {
                let number = expected.next().unwrap();
                let (bytes, received) = batch.get(index).unwrap();
                assert_eq!(bytes, vec![number; usize::from(number)]);
                assert_eq!(
                    (received.len, received.full_len),
                    (bytes.len(), bytes.len())
                );
                assert_eq!(received.source, Some(sender.local_addr().unwrap()));
                assert!(!received.truncated);
            }
            assert!(batch.get(count).is_none());
        }
        assert_eq!(
            batch.recv(&receiver, 4, RecvOptions::default()),
            Err(Errno::EAGAIN)
        );
        assert!(batch.get(0).is_none());
        assert_eq!(
            batch.recv(&receiver, 0, RecvOptions::default()),
            Err(Errno::EINVAL)
        );
    }
}

#[test]
fn options_may_differ_between_calls_of_a_batch() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        uv_sys::option::set_recv_ttl(&receiver, true).unwrap();
        let mut batch = RecvBatch::new(2, 100);
        for round in 0..12 {
            let options = RecvOptions::new()
                .with_source(round % 2 == 0)
                .with_control(round % 3 == 0);
            for _ in 0..=round % 2 {
                sender.send(b"hello").unwrap();
            }
            wait_readable(&receiver);
            assert_eq!(batch.recv(&receiver, 2, options), Ok(1 + round % 2));
            for index in 0..=round % 2 {
                let (bytes, received) = batch.get(index).unwrap();
                assert_eq!(bytes, b"hello");
                assert_eq!(received.source.is_some(), options.source);
                assert_eq!(received.metadata.ttl.is_some(), options.control);
            }
        }
    }
}

#[test]
fn a_short_slot_keeps_the_beginning_of_a_datagram() {
    let (sender, receiver) = pair(Family::V4);
    for text in ["first one", "2nd", "third one"] {
        sender.send(text.as_bytes()).unwrap();
    }
    wait_readable(&receiver);
    let mut batch = RecvBatch::new(3, 5);
    assert_eq!(batch.recv(&receiver, 3, NOTHING), Ok(3));
    let got: Vec<_> = (0..3)
        .filter_map(|index| batch.get(index))
        .map(|(bytes, received)| (bytes, received.full_len, received.truncated))
        .collect();
    assert_eq!(
        got,
        [
            (&b"first"[..], 9, true),
            (&b"2nd"[..], 3, false),
            (&b"third"[..], 9, true)
        ]
    );
}

#[test]
fn batch_sizes_out_of_range_are_clamped() {
    let smallest = RecvBatch::new(0, 0);
    assert_eq!((smallest.slots(), smallest.slot_len()), (1, 1));
    let largest = RecvBatch::new(usize::MAX, usize::MAX);
    assert_eq!(
        (largest.slots(), largest.slot_len()),
        (RecvBatch::MAX_SLOTS, RecvBatch::MAX_SLOT_LEN)
    );
}

#[test]
fn a_batch_survives_being_moved() {
    let (sender, receiver) = pair(Family::V4);
    let mut batch = RecvBatch::new(2, 10);
    sender.send(b"one").unwrap();
    wait_readable(&receiver);
    batch.recv(&receiver, 2, RecvOptions::default()).unwrap();
    let mut batch = Box::new(batch);
    assert_eq!(batch.get(0).unwrap().0, b"one");
    std::thread::spawn(move || {
        sender.send(b"two").unwrap();
        wait_readable(&receiver);
        batch.recv(&receiver, 2, RecvOptions::default()).unwrap();
        assert_eq!(batch.get(0).unwrap().0, b"two");
    })
    .join()
    .unwrap();
}
