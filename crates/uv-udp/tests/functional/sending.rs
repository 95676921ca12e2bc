//! The send queue: order, batches, completions, and errors of the kernel.

use std::io::IoSlice;
use std::net::IpAddr;
use std::num::NonZeroU16;

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, Result, RunMode, Transmit, Udp};

use super::harness::*;

/// Sends `payloads` in one go, and logs their results.
fn send_all(udp: &Udp, payloads: &[Vec<u8>]) -> Log<Result<()>> {
    let results = Log::new();
    for payload in payloads {
        udp.send(payload, note(&results)).unwrap();
    }
    results
}

fn numbered(count: u8, length: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; length]).collect()
}

/// System calls that send, so far.
fn calls() -> usize {
    fault::calls(Call::Sendmsg) + fault::calls(Call::Sendmmsg)
}

#[test]
fn a_callback_gets_the_token_of_its_send() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let tokens = Log::<(usize, Result<()>)>::new();
        udp.set_data(Some(std::rc::Rc::new(tokens.clone())));
        for token in [7, usize::MAX, 0, 7] {
            udp.transmit(
                Transmit::new("x").with_token(token),
                |udp, token, result| {
                    let tokens = udp.data::<Log<(usize, Result<()>)>>().unwrap();
                    tokens.add((token, result));
                },
            )
            .unwrap();
        }
        run_until(&event_loop, || tokens.len() == 4);
        let expected = [7, usize::MAX, 0, 7].map(|token| (token, Ok(())));
        assert_eq!(tokens.get(), expected);
    }
}

#[test]
fn limits_and_defaults_hold_for_coalesced_sends() {
    let event_loop = Loop::new().unwrap();
    let (_peer, address) = raw(loopbacks()[0]);
    let udp = connected(&event_loop, address);
    // The first is sent at once, the second is queued.
    send_all(&udp, &numbered(2, 10));
    udp.set_send_queue_limit(Some(29));
    assert_eq!(udp.send(&[2; 10], uv_udp::ignore), Err(Errno::ENOBUFS));
    udp.set_send_queue_limit(None);
    udp.set_send_source(Some(
        "192.0.2.1".parse::<std::net::IpAddr>().unwrap().into(),
    ))
    .unwrap();
    let results = send_all(&udp, &numbered(1, 10));
    run_until(&event_loop, || results.len() == 1);
    assert!(results.get()[0].is_err(), "that is no address of this host");
}

#[test]
fn the_first_datagram_is_sent_at_once_and_the_others_together() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let payloads = numbered(50, 100);
        let before = calls();
        let results = send_all(&udp, &payloads);
        assert_eq!(calls() - before, 1);
        assert_eq!(all(&peer), payloads[..1]);
        event_loop.run(RunMode::NoWait).unwrap();
        assert_eq!(
            calls() - before,
            2,
            "49 datagrams of one size are one message"
        );
        assert_eq!(all(&peer), payloads[1..]);
        run_until(&event_loop, || results.len() == 50);
    }
}

#[test]
fn mixed_sizes_and_destinations_arrive_whole_and_in_order() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let receivers = [raw(ip), raw(ip), raw(ip)];
        let udp = Udp::new(&event_loop);
        let mut expected = [vec![], vec![], vec![]];
        let results = Log::new();
        let lengths = [
            0, 1, 1, 1, 9, 9, 3, 9, 9, 0, 0, 1200, 1200, 1200, 600, 1200, 8000, 8000, 5,
        ];
        for (number, &length) in lengths.iter().cycle().take(60).enumerate() {
            let (payload, to) = (vec![number as u8; length], (number / 7) % 3);
            udp.send_to(&payload, receivers[to].1, note(&results))
                .unwrap();
            expected[to].push(payload);
        }
        run_until(&event_loop, || results.len() == 60);
        assert_eq!(results.get(), [Ok(()); 60]);
        for ((socket, _), expected) in receivers.iter().zip(expected) {
            assert_eq!(all(socket), expected);
        }
    }
}

#[test]
fn thousands_of_queued_datagrams_arrive_whole_and_in_order() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let lengths = (0..4_000).map(|number| match number % 500 {
            // A message ends with a shorter or empty datagram, and before a longer one.
            100 => 44,
            200 | 201 => 0,
            300 => 1_200,
            400 => 65_507,
            _ => 45,
        });
        let payload = |(number, length): (usize, usize)| {
            let mut payload = vec![number as u8; length];
            payload
                .iter_mut()
                .zip(number.to_le_bytes())
                .for_each(|(to, from)| *to = from);
            payload
        };
        let payloads: Vec<_> = lengths.enumerate().map(payload).collect();
        // A full socket buffer and errors of earlier datagrams cost none of them.
        let script = [
            Fault::Pass,
            Fault::Pass,
            Fault::Errno(Errno::EAGAIN),
            Fault::Errno(Errno::ECONNREFUSED),
            Fault::Pass,
            Fault::Errno(Errno::ENOBUFS),
        ];
        fault::script(Call::Sendmsg, script);
        fault::script(
            Call::Sendmmsg,
            [Fault::Partial(2), Fault::Pass, Fault::Partial(1)],
        );
        let results = send_all(&udp, &payloads);
        let mut arrived = Vec::new();
        run_until(&event_loop, || {
            arrived.extend(all(&peer));
            results.len() == payloads.len()
        });
        fault::clear();
        arrived.extend(all(&peer));
        assert_eq!(results.get(), vec![Ok(()); payloads.len()]);
        assert!(arrived == payloads, "{} arrived", arrived.len());
        let counters = udp.counters();
        assert_eq!(counters.datagrams_sent, 4_000);
        assert!(counters.segments > 3_000, "{counters:?}");
    }
}

#[test]
fn a_full_socket_buffer_is_waited_out() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let payloads = numbered(20, 10);
        fault::script(Call::Sendmsg, [Fault::Errno(Errno::EAGAIN); 3]);
        let results = send_all(&udp, &payloads);
        run_until(&event_loop, || results.len() == 20);
        fault::clear();
        assert_eq!(results.get(), [Ok(()); 20]);
        assert_eq!(all(&peer), payloads);
    }
}

#[test]
fn a_partly_sent_batch_continues_with_the_next_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        // No two neighbours can share a message: each is longer than the one before.
        let payloads: Vec<_> = (1..30)
            .map(|length| vec![length; usize::from(length)])
            .collect();
        fault::script(Call::Sendmmsg, [Fault::Partial(5)]);
        fault::script(
            Call::Sendmsg,
            [Fault::Pass, Fault::Pass, Fault::Errno(Errno::EAGAIN)],
        );
        let results = send_all(&udp, &payloads);
        run_until(&event_loop, || results.len() == 29);
        fault::clear();
        assert_eq!(results.get(), [Ok(()); 29]);
        assert_eq!(all(&peer), payloads);
    }
}

#[test]
fn a_refused_gso_message_is_sent_one_by_one() {
    for refusal in [
        Errno::EIO,
        Errno::EINVAL,
        Errno::ENOPROTOOPT,
        Errno::EOPNOTSUPP,
        Errno::EMSGSIZE,
    ] {
        for ip in loopbacks() {
            let event_loop = Loop::new().unwrap();
            let (peer, address) = raw(ip);
            let udp = connected(&event_loop, address);
            let heard = listen(&udp);
            let payloads = numbered(20, 500);
            // The first datagram, and the message; repeated, if the error may be an earlier
            // datagram's.
            fault::script(Call::Sendmsg, refused_from_the_second_on(refusal));
            let results = send_all(&udp, &payloads);
            run_until(&event_loop, || results.len() == 20);
            fault::clear();
            assert_eq!(results.get(), [Ok(()); 20], "{refusal:?}");
            assert_eq!(all(&peer), payloads, "{refusal:?}");
            assert_eq!(
                heard.get(),
                [],
                "a refused segmentation is no news from the network"
            );
            // The learned segment size avoids a second refusal.
            let before = calls();
            let results = send_all(&udp, &payloads);
            run_until(&event_loop, || results.len() == 20);
            assert_eq!(all(&peer), payloads, "{refusal:?}");
            assert_eq!(
                calls() - before,
                2,
                "one direct, nineteen by sendmmsg after {refusal:?}"
            );
        }
    }
}

/// Results of sendmsg(2): one datagram is sent, and then an error repeats until it counts as the
/// datagram's own.
fn refused_from_the_second_on(refusal: Errno) -> [Fault; 9] {
    let mut answers = [Fault::Errno(refusal); 9];
    answers[0] = Fault::Pass;
    answers
}

#[test]
fn after_a_refused_segment_size_smaller_ones_are_tried() {
    let event_loop = Loop::new().unwrap();
    let (peer, address) = raw("127.0.0.1".parse().unwrap());
    let udp = connected(&event_loop, address);
    fault::script(Call::Sendmsg, refused_from_the_second_on(Errno::EMSGSIZE));
    let results = send_all(&udp, &numbered(5, 500));
    run_until(&event_loop, || results.len() == 5);
    fault::clear();
    let before = fault::calls(Call::Sendmmsg);
    let results = send_all(&udp, &numbered(5, 499));
    run_until(&event_loop, || results.len() == 5);
    assert_eq!(
        fault::calls(Call::Sendmmsg),
        before,
        "runs of 499 bytes are segmented"
    );
    assert_eq!(all(&peer).len(), 10);
}

#[test]
fn a_segment_size_of_a_payload_precedes_the_sockets() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        udp.options().set_segment_size(NonZeroU16::new(2)).unwrap();
        for (length, size, expected) in [
            (25, 10, vec![10, 10, 5]),
            (10, 10, vec![10]),
            (6, 10, vec![6]),
            (6, u16::MAX, vec![6]),
        ] {
            let size = NonZeroU16::new(size).unwrap();
            let sent = udp.try_transmit(&Transmit::new(&vec![7; length]).with_segment_size(size));
            assert_eq!(sent, Ok(length));
            let lengths = all(&peer).iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(lengths, expected);
        }
        // The same if the path refuses them; later sends are segmented as before.
        fault::script(Call::Sendmsg, [Fault::Errno(Errno::EMSGSIZE); 8]);
        let size = NonZeroU16::new(10).unwrap();
        let refused = udp.try_transmit(&Transmit::new(&[7; 30]).with_segment_size(size));
        fault::clear();
        assert_eq!(refused, Err(Errno::EMSGSIZE));
        let results = Log::new();
        for _ in 0..5 {
            udp.send(b"aabb", note(&results)).unwrap();
        }
        run_until(&event_loop, || results.len() == 5);
        assert_eq!(results.get(), [Ok(()); 5]);
        assert_eq!(all(&peer), [b"aa", b"bb"].repeat(5));
    }
}

#[test]
fn each_datagram_of_a_refused_message_has_its_own_result() {
    let event_loop = Loop::new().unwrap();
    let (peer, address) = raw("127.0.0.1".parse().unwrap());
    let udp = connected(&event_loop, address);
    let payloads = numbered(4, 10);
    fault::script(
        Call::Sendmsg,
        // The first one; the message of three; then the second, one by one.
        [Fault::Pass, Fault::Errno(Errno::EPERM)],
    );
    fault::script(Call::Sendmmsg, [Fault::Errno(Errno::EPERM)]);
    let results = send_all(&udp, &payloads);
    run_until(&event_loop, || results.len() == 4);
    assert_eq!(results.get(), [Ok(()), Err(Errno::EPERM), Ok(()), Ok(())]);
    assert_eq!(all(&peer), [vec![0; 10], vec![2; 10], vec![3; 10]]);
}

#[test]
fn an_error_of_an_earlier_datagram_costs_no_datagram_of_a_batch() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let heard = listen(&udp);
        let mixed: Vec<_> = (1..20)
            .map(|length| vec![length; usize::from(length)])
            .collect();
        for payloads in [numbered(20, 100), mixed] {
            fault::script(
                Call::Sendmsg,
                [Fault::Pass, Fault::Errno(Errno::ECONNREFUSED)],
            );
            fault::script(Call::Sendmmsg, [Fault::Errno(Errno::EHOSTUNREACH)]);
            let results = send_all(&udp, &payloads);
            run_until(&event_loop, || results.len() == payloads.len());
            fault::clear();
            assert_eq!(results.get(), vec![Ok(()); payloads.len()]);
            assert_eq!(all(&peer), payloads);
        }
        run_until(&event_loop, || heard.len() == 2);
        assert_eq!(
            heard.get(),
            [Err(Errno::ECONNREFUSED), Err(Errno::EHOSTUNREACH)]
        );
    }
}

#[test]
fn a_full_device_queue_is_waited_out_with_growing_pauses_and_then_reported() {
    let event_loop = Loop::new().unwrap();
    let (peer, address) = raw("127.0.0.1".parse().unwrap());
    let udp = connected(&event_loop, address);
    let full = Fault::Errno(Errno::ENOBUFS);
    let before = calls();
    // The direct attempt, and one before each of eight pauses, and a last one.
    fault::script(Call::Sendmsg, [full; 10]);
    let times = Log::new();
    let log = times.clone();
    let start = event_loop.now();
    udp.send(b"unlucky", move |udp, result| {
        log.add((result, udp.event_loop().unwrap().now() - start))
    })
    .unwrap();
    run_until(&event_loop, || times.len() == 1);
    let (result, waited) = times.get()[0];
    assert_eq!(result, Err(Errno::ENOBUFS));
    assert_eq!(calls() - before, 10, "it does not spin");
    assert!(
        waited >= 255_000_000,
        "1 + 2 + … + 128 ms were waited, not {waited} ns"
    );
    // A queue that drains in time costs no datagram.
    fault::script(Call::Sendmsg, [full; 3]);
    let payloads = numbered(5, 10);
    let results = send_all(&udp, &payloads);
    run_until(&event_loop, || results.len() == 5);
    assert_eq!(results.get(), [Ok(()); 5]);
    assert_eq!(all(&peer), payloads);
}

#[test]
fn a_sender_does_not_starve_a_receiver_on_its_loop() {
    for ip in loopbacks() {
        for size in [45, 1200] {
            let event_loop = Loop::new().unwrap();
            let (receiver, address) = bound(&event_loop, ip);
            let heard = Log::new();
            let log = heard.clone();
            receiver
                .recv_start(move |_, received| log.add(received.unwrap().data.len()))
                .unwrap();
            let sender = connected(&event_loop, address);
            let sent = Log::new();
            for _ in 0..64 {
                send_again(&sender, size, &sent);
            }
            run_until(&event_loop, || sent.len() >= 20_000);
            run_until(&event_loop, || sender.send_queue_count() == 0);
            settle(&event_loop);
            let share = heard.len() * 100 / sent.len();
            assert!(share >= 99, "{share} % of {size} bytes were delivered");
            assert!(heard.get().iter().all(|&length| length == size));
        }
    }
}

/// Keeps one send pending until 20,000 were made.
fn send_again(udp: &Udp, size: usize, sent: &Log<()>) {
    let next = sent.clone();
    sent.add(());
    udp.send(&vec![7; size], move |udp, result| {
        result.unwrap();
        if next.len() < 20_000 {
            send_again(udp, size, &next);
        }
    })
    .unwrap();
}

#[test]
fn try_transmit_batch_sends_to_each_destination() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let ((a, to_a), (b, to_b)) = (raw(ip), raw(ip));
        let udp = Udp::new(&event_loop);
        let slices = [IoSlice::new(b"scattered "), IoSlice::new(b"payload")];
        let batch = [
            Transmit::new(b"one").with_destination(to_a),
            Transmit::new(b"two").with_destination(to_a),
            Transmit::new(b"3").with_destination(to_a),
            Transmit::new(b"four").with_destination(to_b),
            Transmit::new(&slices).with_destination(to_a),
            Transmit::new(b"").with_destination(to_b),
            Transmit::new(b"six").with_destination(to_b),
        ];
        assert_eq!(udp.try_transmit_batch(&batch), Ok(7));
        assert_eq!(all(&a), [&b"one"[..], b"two", b"3", b"scattered payload"]);
        assert_eq!(all(&b), [&b"four"[..], b"", b"six"]);
        assert_eq!(udp.try_transmit_batch(&[]), Ok(0));
        let bad = [
            Transmit::new(b"good").with_destination(to_a),
            Transmit::new(b"bad"),
        ];
        assert_eq!(udp.try_transmit_batch(&bad), Err(Errno::EDESTADDRREQ));
        assert_eq!(
            all(&a),
            [[]; 0],
            "bad input is found before the first one goes"
        );
    }
}

#[test]
fn try_transmit_batch_returns_the_number_sent() {
    let event_loop = Loop::new().unwrap();
    let (peer, address) = raw("127.0.0.1".parse().unwrap());
    let udp = connected(&event_loop, address);
    let payloads: Vec<_> = (1..20)
        .map(|length| vec![length; usize::from(length)])
        .collect();
    let batch: Vec<_> = payloads.iter().map(Transmit::new).collect();
    fault::script(Call::Sendmmsg, [Fault::Partial(5)]);
    fault::script(Call::Sendmsg, [Fault::Errno(Errno::EAGAIN)]);
    assert_eq!(udp.try_transmit_batch(&batch), Ok(5));
    assert_eq!(all(&peer), payloads[..5]);
    fault::script(Call::Sendmmsg, [Fault::Errno(Errno::EAGAIN)]);
    assert_eq!(udp.try_transmit_batch(&batch), Err(Errno::EAGAIN));
}

#[test]
fn try_transmit_with_a_segment_size_sends_a_buffer_as_datagrams() {
    for ip in loopbacks() {
        for refuse in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (peer, address) = raw(ip);
            let udp = Udp::new(&event_loop);
            let data: Vec<u8> = (0..50_050_u32).map(|number| (number % 251) as u8).collect();
            let size = NonZeroU16::new(1000).unwrap();
            if refuse {
                fault::script(Call::Sendmsg, [Fault::Errno(Errno::EIO)]);
            }
            assert_eq!(
                udp.try_transmit(
                    &Transmit::new(&data)
                        .with_segment_size(size)
                        .with_destination(address)
                ),
                Ok(data.len())
            );
            assert_eq!(
                all(&peer),
                data.chunks(1000).map(<[u8]>::to_vec).collect::<Vec<_>>()
            );
            assert_eq!(
                udp.try_transmit(
                    &Transmit::new(b"")
                        .with_segment_size(size)
                        .with_destination(address)
                ),
                Ok(0)
            );
            assert_eq!(all(&peer), [b""]);
        }
    }
}

#[test]
fn try_transmit_fills_messages_up_to_the_kernels_limit() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        // There is room for two messages of 128.
        uv_sys::option::set_recv_buffer_size(&peer, 212_992).unwrap();
        let udp = connected(&event_loop, address);
        let most = uv_udp::capabilities().max_segments;
        let data: Vec<u8> = (0..).map(|number| number as u8).take(2 * most).collect();
        let before = calls();
        assert_eq!(
            udp.try_transmit(&Transmit::new(&data).with_segment_size(NonZeroU16::MIN)),
            Ok(data.len())
        );
        assert_eq!(calls() - before, 2, "{most} segments at a time");
        assert_eq!(all(&peer).concat(), data);
    }
}

/// The number of segments in a burst: all datagrams but the first one, unless a refusal taught the
/// handle otherwise.
fn segmented(event_loop: &Loop, udp: &Udp) -> u64 {
    let before = udp.counters().segments;
    let results = send_all(udp, &numbered(32, 1_000));
    run_until(event_loop, || results.len() == 32);
    assert_eq!(results.get(), [Ok(()); 32]);
    udp.counters().segments - before
}

#[test]
fn errors_of_two_earlier_datagrams_cost_neither_a_later_one_nor_its_segments() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        segmented(&event_loop, &udp);
        let two = [Fault::Errno(Errno::EMSGSIZE); 2];
        fault::script(Call::Sendmsg, two);
        assert_eq!(udp.try_send(&[0; 100]), Ok(100));
        fault::script(Call::Sendmsg, [Fault::Pass, two[0], two[1]]);
        assert_eq!(segmented(&event_loop, &udp), 31);
        assert_eq!(segmented(&event_loop, &udp), 31);
        let heard = listen(&udp);
        settle(&event_loop);
        assert_eq!(heard.get(), vec![Err(Errno::EMSGSIZE); 4]);
    }
}

#[test]
fn an_error_of_the_datagrams_does_not_switch_segmentation_off() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        assert_eq!(segmented(&event_loop, &udp), 31);
        // A source address of another host.
        let elsewhere: IpAddr = if ip.is_ipv4() {
            "192.0.2.77"
        } else {
            "2001:db8:dead::1"
        }
        .parse()
        .unwrap();
        let message = Transmit::new(&[2; 45]).with_source(elsewhere);
        let results = Log::new();
        for _ in 0..3 {
            udp.transmit(message, note_any(&results)).unwrap();
        }
        run_until(&event_loop, || results.len() == 3);
        assert!(results.get().iter().all(Result::is_err));
        assert!(udp.try_transmit_batch(&[message; 3]).is_err());
        assert_eq!(segmented(&event_loop, &udp), 31);
    }
}

#[test]
fn a_refused_message_is_sent_one_by_one_also_after_eagain() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let payloads = numbered(20, 100);
        fault::script(Call::Sendmsg, [Fault::Pass, Fault::Errno(Errno::EIO)]);
        fault::script(Call::Sendmmsg, [Fault::Errno(Errno::EAGAIN)]);
        let results = send_all(&udp, &payloads);
        run_until(&event_loop, || results.len() == 20);
        assert_eq!(results.get(), [Ok(()); 20]);
        assert_eq!(all(&peer), payloads);
        let counters = udp.counters();
        assert_eq!((counters.fallbacks, counters.segments), (1, 0));
    }
}

#[test]
fn a_message_refused_with_enobufs_is_sent_one_by_one() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let payloads = numbered(20, 100);
        let full = Fault::Errno(Errno::ENOBUFS);
        fault::script(Call::Sendmsg, [Fault::Pass, full]);
        let before = calls();
        let results = send_all(&udp, &payloads);
        run_until(&event_loop, || results.len() == 20);
        assert_eq!(results.get(), [Ok(()); 20]);
        assert_eq!(all(&peer), payloads);
        let made = calls() - before;
        assert_eq!(made, 3, "the first, the run, and those of the run");
        let batch: Vec<_> = payloads.iter().map(Transmit::new).collect();
        fault::script(Call::Sendmsg, [full]);
        assert_eq!(udp.try_transmit_batch(&batch), Ok(20));
        fault::script(Call::Sendmsg, [full]);
        let size = NonZeroU16::new(100).unwrap();
        assert_eq!(
            udp.try_transmit(&Transmit::new(&payloads.concat()).with_segment_size(size)),
            Ok(2_000)
        );
        assert_eq!(all(&peer), [payloads.clone(), payloads].concat());
        assert_eq!(udp.counters().fallbacks, 3);
    }
}
