//! Counters, and the callback of an empty queue.

use std::num::NonZeroU16;

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, Transmit, Udp};

use super::harness::*;

#[test]
fn on_drained_is_called_after_the_callback_of_the_last_send() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = connected(&event_loop, dead(ip));
        let log = Log::new();
        let entries = log.clone();
        udp.on_drained(move |udp| {
            assert_eq!(udp.send_queue_count(), 0);
            entries.add("drained");
            if entries.len() < 7 {
                let entries = entries.clone();
                udp.send(b"more", move |_, _| entries.add("more")).unwrap();
            }
        })
        .unwrap();
        for _ in 0..3 {
            let entries = log.clone();
            udp.send(b"x", move |_, _| entries.add("sent")).unwrap();
        }
        assert_eq!(log.len(), 0, "never inside a call");
        run_until(&event_loop, || log.len() == 8);
        settle(&event_loop);
        let expected = [
            "sent", "sent", "sent", "drained", "more", "drained", "more", "drained",
        ];
        assert_eq!(log.get(), expected);
        udp.send(b"x", uv_udp::ignore).unwrap();
        udp.close(|_| ()).unwrap();
        settle(&event_loop);
        assert_eq!(log.len(), 8, "closing is not draining");
        assert_eq!(udp.on_drained(|_| ()), Err(Errno::EBADF));
    }
}

#[test]
fn a_drained_callback_does_not_keep_its_handle_alive() {
    let event_loop = Loop::new().unwrap();
    let udp = connected(&event_loop, raw("127.0.0.1".parse().unwrap()).1);
    let witness = std::rc::Rc::new(());
    let (own, held) = (udp.clone(), std::rc::Rc::clone(&witness));
    udp.on_drained(move |_| {
        let _ = (&own, &held);
    })
    .unwrap();
    udp.close(|_| ()).unwrap();
    settle(&event_loop);
    assert_eq!(std::rc::Rc::strong_count(&witness), 1);
}

#[test]
fn counters_count_datagrams_bytes_and_calls() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (receiver, address) = bound(&event_loop, ip);
        let heard = listen(&receiver);
        let sender = connected(&event_loop, address);
        assert_eq!(sender.counters(), uv_udp::Counters::default());
        let results = Log::new();
        for _ in 0..10 {
            sender.send(&[7; 100], note(&results)).unwrap();
        }
        run_until(&event_loop, || heard.len() == 10);
        let counted = sender.counters();
        assert_eq!((counted.datagrams_sent, counted.bytes_sent), (10, 1000));
        assert_eq!((counted.send_calls, counted.batches_sent), (2, 1));
        assert_eq!((counted.segmented_messages, counted.segments), (1, 9));
        let counted = receiver.counters();
        assert_eq!(
            (counted.datagrams_received, counted.bytes_received),
            (10, 1000)
        );
        assert!(counted.recv_calls >= 1 && counted.batches_received >= 1);
        let size = NonZeroU16::new(10).unwrap();
        sender
            .try_transmit(&Transmit::new(&[7; 95]).with_segment_size(size))
            .unwrap();
        sender
            .try_transmit_batch(&[Transmit::new(b"one"); 3])
            .unwrap();
        let counted = sender.counters();
        assert_eq!((counted.datagrams_sent, counted.bytes_sent), (23, 1104));
        assert_eq!((counted.send_calls, counted.batches_sent), (4, 3));
        assert_eq!((counted.segmented_messages, counted.segments), (3, 22));
        run_until(&event_loop, || heard.len() == 23);
        let counted = receiver.counters();
        assert_eq!(
            (counted.datagrams_received, counted.bytes_received),
            (23, 1104)
        );
        assert_eq!((counted.filtered, counted.truncated), (0, 0));
    }
}

#[test]
fn counters_count_errors_and_losses() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (peer, to_peer) = raw(ip);
        for _ in 0..3 {
            raw(ip).0.send_to(b"stranger", address).unwrap();
        }
        peer.send_to(b"a long one", address).unwrap();
        udp.connect(to_peer).unwrap();
        udp.recv_into_start(|_, _| Some([0; 4]), |_, _, _| ())
            .unwrap();
        settle(&event_loop);
        let counted = udp.counters();
        assert_eq!((counted.filtered, counted.truncated), (3, 1));
        assert_eq!((counted.datagrams_received, counted.bytes_received), (1, 4));
        // No segmentation: each datagram is a message.
        fault::script(Call::Sendmsg, [Fault::Errno(Errno::EIO)]);
        let size = NonZeroU16::new(2).unwrap();
        assert_eq!(
            udp.try_transmit(&Transmit::new(b"aabb").with_segment_size(size)),
            Ok(4)
        );
        let counted = udp.counters();
        assert_eq!((counted.fallbacks, counted.datagrams_sent), (1, 2));
        assert_eq!(counted.segmented_messages, 0);
        udp.connect(dead(ip)).unwrap();
        for _ in 0..2 {
            udp.try_send(b"x").unwrap();
            settle(&event_loop);
        }
        udp.send(b"x", uv_udp::ignore).unwrap();
        udp.send(b"x", uv_udp::ignore).unwrap();
        fault::script(Call::Sendmsg, [Fault::Errno(Errno::EPERM)]);
        settle(&event_loop);
        let errors = udp.counters().errors;
        let refused = errors
            .iter()
            .find(|(errno, _)| *errno == Errno::ECONNREFUSED);
        assert!(refused.is_some_and(|&(_, count)| count >= 3), "{errors:?}");
        assert!(errors.contains(&(Errno::EPERM, 1)), "{errors:?}");
        udp.close(|_| ()).unwrap();
        settle(&event_loop);
        assert_eq!(udp.counters().filtered, 3, "also of a closed handle");
    }
}

#[test]
fn switched_off_metadata_costs_no_more_calls() {
    let ip = "127.0.0.1".parse().unwrap();
    let event_loop = Loop::new().unwrap();
    let (udp, address) = bound(&event_loop, ip);
    let heard = listen(&udp);
    let sender = Udp::new(&event_loop);
    sender.connect(address).unwrap();
    for _ in 0..200 {
        sender.try_send(b"x").unwrap();
        let before = heard.len();
        run_until(&event_loop, || heard.len() > before);
    }
    assert_eq!(sender.counters().send_calls, 200);
}

#[test]
fn undelivered_datagrams_are_counted_once_in_every_form() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (sender, _) = raw(ip);
        for _ in 0..6 {
            sender.send_to(b"four", address).unwrap();
        }
        for (form, total) in [("each", 1), ("into", 2), ("batch", 3), ("rest", 6)] {
            let left = std::rc::Rc::new(std::cell::Cell::new(if form == "rest" { 9 } else { 1 }));
            let count = move |udp: &Udp| {
                left.set(left.get() - 1);
                if left.get() == 0 {
                    udp.recv_stop().unwrap();
                }
            };
            let started = match form {
                "into" => udp.recv_into_start(|_, _| Some([0; 9]), move |udp, _, _| count(udp)),
                "batch" => udp.recv_batch_start(move |udp, batch| {
                    batch.unwrap().for_each(drop);
                    count(udp);
                }),
                _ => udp.recv_start(move |udp, _| count(udp)),
            };
            started.unwrap();
            settle(&event_loop);
            let counted = udp.counters();
            let seen = (counted.datagrams_received, counted.bytes_received);
            assert_eq!(seen, (total, 4 * total), "{form}");
        }
    }
}

#[test]
fn network_errors_are_counted_once_with_and_without_a_receiver() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = connected(&event_loop, dead(ip));
        for _ in 0..5 {
            udp.try_send(b"x").unwrap();
        }
        // Each send after the first one meets the error of the one before.
        assert_eq!(udp.counters().errors, [(Errno::ECONNREFUSED, 4)]);
        let heard = listen(&udp);
        run_until(&event_loop, || heard.len() == 5);
        assert_eq!(udp.counters().errors, [(Errno::ECONNREFUSED, 5)]);
    }
}

#[test]
fn errors_of_sends_from_other_threads_are_counted() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        udp.set_send_queue_limit(Some(2));
        let remote = udp.sender().unwrap();
        let sender = std::thread::spawn(move || {
            for _ in 0..3 {
                remote.send(b"x".to_vec()).unwrap();
            }
            remote.send_to(b"x".to_vec(), address).unwrap();
        });
        sender.join().unwrap();
        settle(&event_loop);
        let expected = [(Errno::ENOBUFS, 1), (Errno::EISCONN, 1)];
        assert_eq!(udp.counters().errors, expected);
        assert_eq!(all(&peer), [b"x", b"x"]);
    }
}

#[test]
fn segments_are_counted_as_datagrams_by_every_send() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let cut = Transmit::new(b"aabbc").with_segment_size(NonZeroU16::new(2).unwrap());
        let whole = Transmit::new(b"dd").with_segment_size(NonZeroU16::new(2).unwrap());
        let count = || {
            let counters = udp.counters();
            (
                counters.datagrams_sent,
                counters.bytes_sent,
                (counters.segmented_messages, counters.segments),
            )
        };
        udp.try_transmit(&cut).unwrap();
        assert_eq!(count(), (3, 5, (1, 3)));
        assert_eq!(udp.try_transmit_batch(&[cut, whole, cut]), Ok(3));
        assert_eq!(count(), (10, 17, (3, 9)));
        for transmit in [cut, cut, whole, cut] {
            udp.transmit(transmit, |_, _, result| result.unwrap())
                .unwrap();
        }
        run_until(&event_loop, || udp.send_queue_count() == 0);
        assert_eq!(count(), (20, 34, (6, 18)));
        assert_eq!(all(&peer).len(), 20);
    }
}

#[test]
fn coalesced_datagrams_are_counted_one_by_one_in_every_form() {
    for ip in loopbacks() {
        for form in ["each", "batch", "into"] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            udp.options().set_gro(true).unwrap();
            // From here on the kernel may coalesce, also for the other forms.
            udp.recv_into_start(|_, _| Some(vec![0; 65_536]), |_, _, _| ())
                .unwrap();
            if form != "into" {
                udp.recv_stop().unwrap();
            }
            match form {
                "each" => udp.recv_start(|_, _| ()).unwrap(),
                "batch" => udp
                    .recv_batch_start(|_, batch| batch.unwrap().for_each(drop))
                    .unwrap(),
                _ => {}
            }
            let sender = connected(&event_loop, address);
            let size = NonZeroU16::new(10).unwrap();
            sender
                .try_transmit(&Transmit::new(&[7; 95]).with_segment_size(size))
                .unwrap();
            settle(&event_loop);
            let counted = udp.counters();
            let seen = (counted.datagrams_received, counted.bytes_received);
            assert_eq!((seen, counted.batches_received), ((10, 95), 1), "{form}");
        }
    }
}

#[test]
fn a_batch_is_counted_if_the_callback_stops_in_it() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        for _ in 0..3 {
            raw(ip).0.send_to(b"x", address).unwrap();
        }
        udp.recv_start(|udp, _| udp.recv_stop().unwrap()).unwrap();
        settle(&event_loop);
        let counted = udp.counters();
        assert_eq!(
            (counted.datagrams_received, counted.batches_received),
            (1, 1)
        );
    }
}
