//! Receiving: boundaries, coalesced messages, stops, fairness.

use std::net::UdpSocket;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, RunMode, Timer, Transmit, Udp};

use super::harness::*;

fn send_numbered(socket: &UdpSocket, to: std::net::SocketAddr, count: u8) {
    for number in 0..count {
        socket.send_to(&[number; 10], to).unwrap();
    }
}

/// Sends `count` datagrams of ten bytes as one message.
fn send_coalesced(event_loop: &Loop, to: std::net::SocketAddr, count: u8) -> Udp {
    let sender = connected(event_loop, to);
    let data: Vec<u8> = (0..count).flat_map(|number| [number; 10]).collect();
    let size = NonZeroU16::new(10).unwrap();
    assert_eq!(
        sender.try_transmit(&Transmit::new(&data).with_segment_size(size)),
        Ok(data.len())
    );
    sender
}

fn first_bytes(heard: &Log<Heard>) -> Vec<u8> {
    heard
        .get()
        .into_iter()
        .map(|heard| heard.unwrap().0[0])
        .collect()
}

#[test]
fn coalesced_datagrams_are_delivered_one_by_one_from_their_source() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        // Two bursts switch coalescing on, so only later ones are coalesced.
        for burst in 1..6 {
            let sender = send_coalesced(&event_loop, address, 50);
            let before = fault::calls(Call::Recvmmsg);
            run_until(&event_loop, || heard.len() == burst * 50);
            let source = sender.local_addr().unwrap();
            let expected: Vec<Heard> = (0..50)
                .map(|number| Ok((vec![number; 10], source)))
                .collect();
            assert_eq!(heard.get()[(burst - 1) * 50..], expected);
            let reads = fault::calls(Call::Recvmmsg) - before;
            assert!(
                burst < 4 || reads == 1,
                "{reads} reads for one coalesced burst"
            );
        }
    }
}

#[test]
fn a_batch_has_the_datagrams_of_one_system_call() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let batches = Log::new();
        let log = batches.clone();
        udp.recv_batch_start(move |_, received| {
            log.add(
                received
                    .unwrap()
                    .map(|datagram| datagram.data[0])
                    .collect::<Vec<_>>(),
            );
        })
        .unwrap();
        let _sender = send_coalesced(&event_loop, address, 20);
        send_numbered(&raw(ip).0, address, 10);
        run_until(&event_loop, || batches.get().concat().len() == 30);
        assert_eq!(batches.len(), 1);
        assert_eq!(
            batches.get().concat(),
            (0..20).chain(0..10).collect::<Vec<_>>()
        );
    }
}

#[test]
fn next_segments_takes_the_rest_of_a_coalesced_message() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (bytes, runs) = (Log::new(), Log::new());
        let (all, log) = (bytes.clone(), runs.clone());
        udp.recv_batch_start(move |_, received| {
            let mut batch = received.unwrap();
            batch
                .next()
                .unwrap()
                .data
                .iter()
                .for_each(|&byte| all.add(byte));
            while let Some(run) = batch.next_segments() {
                run.bytes().iter().for_each(|&byte| all.add(byte));
                let (source, count) = (run.source(), run.len());
                assert!(run.clone().all(|datagram| datagram.source == source));
                assert_eq!(run.count(), count);
                log.add((source, count));
            }
        })
        .unwrap();
        // Two bursts switch coalescing on, so only later ones are coalesced.
        for burst in 1..6 {
            let (before, found) = (bytes.len(), runs.len());
            let sender = send_coalesced(&event_loop, address, 20);
            run_until(&event_loop, || bytes.len() - before == 200);
            let expected: Vec<u8> = (0..20).flat_map(|number| [number; 10]).collect();
            assert_eq!(bytes.get()[before..], expected);
            if burst > 3 {
                let source = sender.local_addr().unwrap();
                assert_eq!(runs.get()[found..], [(source, 19)]);
            }
        }
    }
}

#[test]
fn after_a_stop_in_the_callback_the_next_start_delivers_the_rest() {
    for ip in loopbacks() {
        for coalesced in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let heard = Log::new();
            let log = heard.clone();
            udp.recv_start(move |udp, received| {
                log.add(received.unwrap().data[0]);
                if log.len() == 3 {
                    udp.recv_stop().unwrap();
                }
            })
            .unwrap();
            let (socket, _) = raw(ip);
            let _sender = if coalesced {
                Some(send_coalesced(&event_loop, address, 10))
            } else {
                send_numbered(&socket, address, 10);
                None
            };
            run_until(&event_loop, || heard.len() == 3);
            settle(&event_loop);
            assert_eq!(heard.get(), [0, 1, 2], "nothing is delivered while stopped");
            let rest = listen(&udp);
            run_until(&event_loop, || rest.len() == 7);
            assert_eq!(first_bytes(&rest), [3, 4, 5, 6, 7, 8, 9]);
        }
    }
}

#[test]
fn a_callback_may_replace_itself() {
    let event_loop = Loop::new().unwrap();
    for ip in loopbacks() {
        let (udp, address) = bound(&event_loop, ip);
        let (first, second) = (Log::new(), Log::new());
        let (to_first, to_second) = (first.clone(), second.clone());
        udp.recv_start(move |udp, received| {
            to_first.add(received.unwrap().data[0]);
            udp.recv_stop().unwrap();
            let to_second = to_second.clone();
            udp.recv_start(move |_, received| to_second.add(received.unwrap().data[0]))
                .unwrap();
        })
        .unwrap();
        send_numbered(&raw(ip).0, address, 5);
        run_until(&event_loop, || second.len() == 4);
        assert_eq!((first.get(), second.get()), (vec![0], vec![1, 2, 3, 4]));
        udp.close(|_| ()).unwrap();
    }
}

#[test]
fn a_flooded_handle_leaves_time_for_others() {
    let ip = "127.0.0.1".parse().unwrap();
    let event_loop = Loop::new().unwrap();
    let (flooded, address) = bound(&event_loop, ip);
    let (quiet, to_quiet) = bound(&event_loop, ip);
    let (sender, _) = raw(ip);
    // A flood that never ends: each datagram is followed by two more.
    let (count, ticks) = (Log::new(), Log::new());
    let log = count.clone();
    let echo = sender.try_clone().unwrap();
    flooded
        .recv_start(move |_, _| {
            log.add(());
            // A full socket buffer stops the flood until the next datagram.
            let _ = echo.send_to(b"flood", address);
            let _ = echo.send_to(b"flood", address);
        })
        .unwrap();
    let heard = listen(&quiet);
    let timer = Timer::new(&event_loop);
    let log = ticks.clone();
    timer
        .start(Duration::ZERO, Duration::from_nanos(1), move |_| {
            log.add(())
        })
        .unwrap();
    sender.send_to(b"flood", address).unwrap();
    run_until(&event_loop, || count.len() > 1000);
    let ticked = ticks.len();
    sender.send_to(b"quiet", to_quiet).unwrap();
    run_until(&event_loop, || heard.len() == 1 && ticks.len() > ticked);
}

#[test]
fn an_error_of_receiving_is_delivered_and_costs_no_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        let (sender, from) = raw(ip);
        sender.send_to(b"x", address).unwrap();
        fault::script(Call::Recvmmsg, [Fault::Errno(Errno::ENOMEM)]);
        run_until(&event_loop, || heard.len() == 2);
        assert_eq!(heard.get(), [Err(Errno::ENOMEM), Ok((b"x".to_vec(), from))]);
    }
}

#[test]
fn single_datagrams_cost_one_recvmsg_each() {
    let ip = "127.0.0.1".parse().unwrap();
    let event_loop = Loop::new().unwrap();
    let ((a, to_a), (b, to_b)) = (bound(&event_loop, ip), bound(&event_loop, ip));
    let heard = Log::new();
    for (udp, peer) in [(&a, to_b), (&b, to_a)] {
        udp.connect(peer).unwrap();
        let log = heard.clone();
        udp.recv_start(move |udp, received| {
            log.add(());
            udp.try_send(received.unwrap().data).unwrap();
        })
        .unwrap();
    }
    a.try_send(b"ball").unwrap();
    let stop = |event_loop: &Loop, count: usize| {
        let (log, goal) = (heard.clone(), heard.len() + count);
        let check = uv_udp::Check::new(event_loop);
        check
            .start(move |check| {
                if log.len() >= goal {
                    check.event_loop().unwrap().stop();
                    check.stop().unwrap();
                }
            })
            .unwrap();
        event_loop.run(RunMode::Default).unwrap();
    };
    stop(&event_loop, 1000);
    let (single, many, before) = (
        fault::calls(Call::Recvmsg),
        fault::calls(Call::Recvmmsg),
        heard.len(),
    );
    stop(&event_loop, 1000);
    let received = heard.len() - before;
    let single = fault::calls(Call::Recvmsg) - single;
    let many = fault::calls(Call::Recvmmsg) - many;
    assert!(
        single + many <= received + received / 100,
        "{single} + {many} reads for {received} datagrams"
    );
    assert!(many <= received / 3, "{many} of the reads ask for several");
}

#[test]
fn without_a_receiver_datagrams_stay_in_the_socket() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        send_numbered(&raw(ip).0, address, 3);
        settle(&event_loop);
        let heard = listen(&udp);
        run_until(&event_loop, || heard.len() == 3);
        assert_eq!(first_bytes(&heard), [0, 1, 2]);
    }
}

/// After many single datagrams, a handle reads one at a time.
#[test]
fn a_batch_of_the_same_loop_is_read_with_one_call_by_every_send() {
    for (ip, queued) in loopbacks()
        .into_iter()
        .flat_map(|ip| [(ip, true), (ip, false)])
    {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        let sender = connected(&event_loop, address);
        for single in 1..=20 {
            sender.try_send(b"x").unwrap();
            run_until(&event_loop, || heard.len() == single);
        }
        let before = udp.counters().recv_calls;
        // Of two sizes, so that they are not coalesced.
        let batch = ["x", "yyy"].map(Transmit::new).repeat(5);
        if queued {
            let mut sends = batch.into_iter();
            sends
                .try_for_each(|send| sender.transmit(send, |_, _, _| ()))
                .unwrap();
        } else {
            assert_eq!(sender.try_transmit_batch(&batch), Ok(10));
        }
        run_until(&event_loop, || heard.len() == 30);
        let calls = udp.counters().recv_calls - before;
        assert!(
            calls <= 4,
            "queued: {queued}, {calls} reads for ten datagrams"
        );
    }
}

#[test]
fn a_panic_in_a_callback_costs_no_stored_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = Log::new();
        let log = heard.clone();
        udp.recv_start(move |_, received| {
            log.add(received.unwrap().data[0]);
            assert!(log.len() > 2, "as planned");
        })
        .unwrap();
        send_numbered(&raw(ip).0, address, 4);
        let mut panics = 0;
        for _ in 0..50 {
            let run = catch_unwind(AssertUnwindSafe(|| event_loop.run(RunMode::NoWait)));
            panics += usize::from(run.is_err());
        }
        assert_eq!((heard.get(), panics), (vec![0, 1, 2, 3], 2));
    }
}

#[test]
fn an_error_between_datagrams_is_delivered_without_recvmmsg() {
    for ip in loopbacks() {
        for into in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let (numbers, errors) = (Log::new(), Log::new());
            let (add, failed) = (numbers.clone(), errors.clone());
            let started = if into {
                udp.recv_into_start(
                    |_, slot| Some(vec![0; 4 * slot]),
                    move |_, buffer, outcome| match (buffer, outcome) {
                        (Some(buffer), Ok(arrivals)) => {
                            let each = arrivals.iter();
                            each.for_each(|arrival| add.add(buffer[arrival.offset]));
                        }
                        (_, outcome) => failed.add(outcome.unwrap_err().errno()),
                    },
                )
            } else {
                udp.recv_start(move |_, received| match received {
                    Ok(datagram) => add.add(datagram.data[0]),
                    Err(error) => failed.add(error.errno()),
                })
            };
            started.unwrap();
            send_numbered(&raw(ip).0, address, 4);
            fault::script(Call::Recvmmsg, vec![Fault::Errno(Errno::ENOSYS); 9]);
            let refused = Fault::Errno(Errno::ECONNREFUSED);
            fault::script(Call::Recvmsg, [Fault::Pass, Fault::Pass, refused]);
            run_until(&event_loop, || numbers.len() == 4 && errors.len() == 1);
            settle(&event_loop);
            assert_eq!(numbers.get(), [0, 1, 2, 3], "{ip}, into: {into}");
            assert_eq!(errors.get(), [Errno::ECONNREFUSED], "{ip}, into: {into}");
            fault::clear();
        }
    }
}
