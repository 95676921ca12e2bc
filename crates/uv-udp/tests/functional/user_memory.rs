//! Receiving into the user's memory, one datagram or many at a time.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, RecvBuffer, RecvMeta, RunMode, Timer, Transmit, Udp, UninitSlice};

use super::harness::*;

const SLOT: usize = 65_536;

/// The outcome of one buffer: the datagrams of each message and its metadata, or an error.
type Back = Result<Vec<(Vec<Vec<u8>>, RecvMeta)>, Errno>;

/// The datagrams of a message.
fn split(buffer: &[u8], meta: &RecvMeta) -> Vec<Vec<u8>> {
    let segments = meta.segments(buffer);
    segments.map(|datagram| datagram.data.to_vec()).collect()
}

/// Receives into buffers of `room` bytes.
fn listen_into(udp: &Udp, room: usize) -> Log<Back> {
    let log = Log::new();
    let entries = log.clone();
    let supply = move |_: &Udp, slot| {
        assert_eq!(slot, SLOT);
        Some(vec![0; room])
    };
    udp.recv_into_start(supply, move |_, buffer, outcome| {
        let outcome = outcome.map(|arrivals| {
            let buffer = buffer.unwrap();
            let all = arrivals.iter();
            all.map(|arrival| (split(&buffer, arrival), *arrival))
                .collect()
        });
        entries.add(outcome.map_err(Errno::from));
    })
    .unwrap();
    log
}

fn arrivals(log: &Log<Back>) -> Vec<(Vec<Vec<u8>>, RecvMeta)> {
    log.get().into_iter().flat_map(Result::unwrap).collect()
}

fn datagrams(log: &Log<Back>) -> Vec<Vec<u8>> {
    arrivals(log)
        .into_iter()
        .flat_map(|(datagrams, _)| datagrams)
        .collect()
}

fn expected(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; 10]).collect()
}

fn send_coalesced(event_loop: &Loop, to: SocketAddr, count: u8) -> SocketAddr {
    let sender = connected(event_loop, to);
    let data = expected(count).concat();
    let sent =
        sender.try_transmit(&Transmit::new(&data).with_segment_size(NonZeroU16::new(10).unwrap()));
    assert_eq!(sent, Ok(data.len()));
    sender.local_addr().unwrap()
}

fn send_numbered(to: SocketAddr, count: u8) {
    let (socket, _) = raw(to.ip());
    for data in expected(count) {
        socket.send_to(&data, to).unwrap();
    }
}

#[test]
fn a_buffer_is_filled_with_several_datagrams_by_one_system_call() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (one, other) = (raw(ip), raw(ip));
        let texts = [&b"one"[..], b"", b"three", b"four", b"five"];
        for (text, (socket, _)) in texts.iter().zip([&one, &other].into_iter().cycle()) {
            socket.send_to(text, address).unwrap();
        }
        let back = listen_into(&udp, 4 * SLOT + 100);
        let before = fault::calls(Call::Recvmmsg);
        run_until(&event_loop, || arrivals(&back).len() == 5);
        // Four messages fill the first buffer. The short read into the second one ends the loop.
        assert_eq!(fault::calls(Call::Recvmmsg) - before, 2);
        let first = back.get()[0].clone().unwrap();
        let offsets: Vec<_> = first.iter().map(|(_, arrival)| arrival.offset).collect();
        assert_eq!(offsets, [0, SLOT, 2 * SLOT, 3 * SLOT]);
        for ((datagrams, arrival), (text, from)) in arrivals(&back)
            .into_iter()
            .zip(texts.iter().zip([one.1, other.1].into_iter().cycle()))
        {
            assert_eq!((datagrams.concat(), arrival.source), (text.to_vec(), from));
            assert_eq!((arrival.full_len, arrival.truncated), (text.len(), false));
        }
    }
}

#[test]
fn bursts_are_coalesced_only_for_buffers_with_room() {
    for ip in loopbacks() {
        for room in [20, SLOT, 3 * SLOT] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let back = listen_into(&udp, room);
            for burst in 1..6 {
                let from = send_coalesced(&event_loop, address, 50);
                run_until(&event_loop, || datagrams(&back).len() == burst * 50);
                assert_eq!(datagrams(&back)[(burst - 1) * 50..], expected(50));
                assert!(
                    arrivals(&back)[burst - 1..]
                        .iter()
                        .all(|(_, last)| !last.truncated)
                );
                assert_eq!(arrivals(&back).last().unwrap().1.source, from);
            }
            let runs = arrivals(&back)
                .iter()
                .filter(|(datagrams, _)| datagrams.len() == 50)
                .count();
            assert_eq!(
                runs > 0,
                room >= SLOT,
                "{runs} runs in buffers of {room} bytes"
            );
        }
    }
}

#[test]
fn a_coalesced_message_in_the_socket_is_split_for_short_buffers() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let back = listen_into(&udp, 3 * SLOT);
        for burst in 1..6 {
            send_coalesced(&event_loop, address, 50);
            run_until(&event_loop, || datagrams(&back).len() == burst * 50);
        }
        udp.recv_stop().unwrap();
        send_coalesced(&event_loop, address, 50);
        let back = listen_into(&udp, 20);
        run_until(&event_loop, || datagrams(&back).len() == 50);
        assert_eq!(datagrams(&back), expected(50));
        assert!(arrivals(&back).iter().all(|(_, arrival)| arrival.len == 10));
    }
}

#[test]
fn without_a_buffer_the_callback_gets_enobufs_and_nothing_is_lost() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (errors, lengths) = (Log::new(), Log::new());
        let (failed, found) = (errors.clone(), lengths.clone());
        // Popped from the end: none, an empty one, and one with room.
        let supplies = Rc::new(RefCell::new(vec![
            Some(vec![0; 2 * SLOT]),
            Some(vec![]),
            None,
        ]));
        udp.recv_into_start(
            move |_, _| supplies.borrow_mut().pop().flatten(),
            move |udp, buffer, outcome| match outcome {
                Ok(arrivals) => {
                    arrivals.iter().for_each(|arrival| found.add(arrival.len));
                    udp.recv_stop().unwrap();
                }
                Err(error) => failed.add((error.errno(), buffer.is_some())),
            },
        )
        .unwrap();
        let (socket, _) = raw(ip);
        socket.send_to(b"four", address).unwrap();
        socket.send_to(b"three", address).unwrap();
        run_until(&event_loop, || lengths.len() == 2);
        assert_eq!(lengths.get(), [4, 5]);
        assert_eq!(
            errors.get(),
            [(Errno::ENOBUFS, false), (Errno::ENOBUFS, true)]
        );
        assert_eq!(udp.counters().errors, [(Errno::ENOBUFS, 2)]);
    }
}

#[test]
fn a_supply_that_changes_the_peer_each_time_leaves_time_for_others() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (peer, to) = raw(ip);
        peer.send_to(b"x", address).unwrap();
        udp.recv_into_start(
            move |udp, slot| {
                udp.connect(to).unwrap();
                Some(vec![0; slot])
            },
            |_, _, _| (),
        )
        .unwrap();
        let due = Log::new();
        let log = due.clone();
        let timer = Timer::new(&event_loop);
        timer
            .start(Duration::from_millis(1), Duration::ZERO, move |_| {
                log.add(())
            })
            .unwrap();
        run_until(&event_loop, || due.len() == 1);
    }
}

#[test]
fn filtered_datagrams_leave_a_gap_and_a_network_error_costs_no_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let ((peer, to), (stranger, _)) = (raw(ip), raw(ip));
        for (socket, text) in [(&peer, "one"), (&stranger, "no"), (&peer, "two")] {
            socket.send_to(text.as_bytes(), address).unwrap();
        }
        udp.connect(to).unwrap();
        let back = listen_into(&udp, 3 * SLOT);
        run_until(&event_loop, || arrivals(&back).len() == 2);
        assert_eq!(datagrams(&back), [b"one", b"two"]);
        let offsets: Vec<_> = arrivals(&back)
            .iter()
            .map(|(_, arrival)| arrival.offset)
            .collect();
        assert_eq!(offsets, [0, 2 * SLOT]);
        assert_eq!(udp.counters().filtered, 1);
        // The error arrives with the next read.
        drop(peer);
        assert_eq!(udp.try_send(b"x"), Ok(1));
        run_until(&event_loop, || {
            back.get().contains(&Err(Errno::ECONNREFUSED))
        });
    }
}

/// Restarts receiving with buffers of `room` bytes.
fn restart_single(udp: &Udp, room: usize, heard: &Log<Vec<u8>>) {
    let log = heard.clone();
    udp.recv_stop().unwrap();
    let supply = move |_: &Udp, _| Some(vec![0; room]);
    udp.recv_into_start(supply, move |_, buffer, outcome| {
        let buffer = buffer.unwrap_or_default();
        for arrival in outcome.unwrap_or_default() {
            let datagrams = arrival.segments(&buffer);
            datagrams.for_each(|datagram| log.add(datagram.data.to_vec()));
        }
    })
    .unwrap();
}

#[test]
fn a_supply_that_restarts_in_another_form_loses_nothing() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = Log::new();
        let log = heard.clone();
        udp.recv_into_start(
            move |udp, slot| {
                restart_single(udp, 4 * SLOT, &log);
                Some(vec![0; 4 * slot])
            },
            |_, _, _| (),
        )
        .unwrap();
        let (peer, _) = raw(ip);
        for datagram in expected(3) {
            peer.send_to(&datagram, address).unwrap();
        }
        run_until(&event_loop, || heard.len() == 3);
        assert_eq!(heard.get(), expected(3));
    }
}

#[test]
fn after_a_restart_with_short_buffers_nothing_is_coalesced() {
    for ip in loopbacks() {
        for many in [true, false] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let (heard, seen) = (Log::new(), Rc::new(RefCell::new(0)));
            let (log, total) = (heard.clone(), Rc::clone(&seen));
            let count = move |udp: &Udp, count: usize| {
                *total.borrow_mut() += count;
                if *total.borrow() == 20 {
                    restart_single(udp, 15, &log);
                }
            };
            if many {
                let supply = |_: &Udp, slot| Some(vec![0; 32 * slot]);
                udp.recv_into_start(supply, move |udp, _, outcome| {
                    count(udp, outcome.unwrap().len());
                })
                .unwrap();
            } else {
                udp.recv_batch_start(move |udp, outcome| count(udp, outcome.unwrap().count()))
                    .unwrap();
            }
            for burst in 1..3 {
                send_coalesced(&event_loop, address, 10);
                run_until(&event_loop, || *seen.borrow() == burst * 10);
            }
            send_coalesced(&event_loop, address, 10);
            run_until(&event_loop, || heard.len() == 10);
            assert_eq!(heard.get(), expected(10));
        }
    }
}

#[test]
fn filtered_datagrams_are_counted_with_short_buffers() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        udp.options().set_gro(true).unwrap();
        let ((peer, to), (stranger, _)) = (raw(ip), raw(ip));
        stranger.send_to(b"no", address).unwrap();
        peer.send_to(b"one", address).unwrap();
        udp.connect(to).unwrap();
        let back = listen_into(&udp, 100);
        run_until(&event_loop, || arrivals(&back).len() == 1);
        assert_eq!(udp.counters().filtered, 1);
    }
}

#[test]
fn single_datagrams_do_not_switch_coalescing_on() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (peer, _) = raw(ip);
        let back = listen_into(&udp, SLOT);
        for count in 1..50 {
            peer.send_to(b"x", address).unwrap();
            run_until(&event_loop, || arrivals(&back).len() == count);
            settle(&event_loop);
        }
        assert_eq!(
            udp.with_fd(|fd| uv_sys::option::gro(fd)).unwrap(),
            Ok(false)
        );
    }
}

#[test]
fn segments_of_a_message_need_its_whole_buffer() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let parts = Log::new();
        let log = parts.clone();
        udp.recv_into_start(
            |_, _| Some(vec![0; 10]),
            move |_, buffer, outcome| {
                let buffer = buffer.unwrap();
                for arrival in outcome.unwrap() {
                    let run = arrival.segments(&buffer);
                    assert_eq!((run.source(), run.len()), (arrival.source, 1));
                    let datagram = run.clone().next().unwrap();
                    log.add((datagram.data.to_vec(), datagram.truncated));
                    let short = &buffer[..arrival.len.saturating_sub(1)];
                    assert_eq!(
                        arrival.segments(short).count(),
                        usize::from(arrival.len == 0)
                    );
                }
            },
        )
        .unwrap();
        let sender = raw(ip).0;
        for data in [&b""[..], b"hello", b"hello, world"] {
            sender.send_to(data, address).unwrap();
        }
        run_until(&event_loop, || parts.len() == 3);
        let expected = [("", false), ("hello", false), ("hello, wor", true)];
        assert_eq!(
            parts.get(),
            expected.map(|(data, truncated)| (data.as_bytes().to_vec(), truncated))
        );
    }
}

/// Uninitialized memory.
struct Fresh(Box<[MaybeUninit<u8>]>);

impl Fresh {
    fn of(room: usize) -> Self {
        Self(Box::new_uninit_slice(room))
    }

    fn start(&self, len: usize) -> Vec<u8> {
        // SAFETY: the metadata has the number of bytes that the handle wrote.
        let bytes = self.0[..len]
            .iter()
            .map(|byte| unsafe { byte.assume_init() });
        bytes.collect()
    }
}

impl RecvBuffer for Fresh {
    fn as_uninit(&mut self) -> &mut UninitSlice {
        UninitSlice::uninit(&mut self.0)
    }
}

#[test]
fn uninitialized_memory_is_filled() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let ((one, to_one), (many, to_many)) = (bound(&event_loop, ip), bound(&event_loop, ip));
        let (log, log_of_many) = (Log::new(), Log::new());
        let (entries, entries_of_many) = (log.clone(), log_of_many.clone());
        one.recv_into_start(
            |_, _| Some(Fresh::of(4)),
            move |_, buffer, outcome| {
                if let (Some(buffer), Ok([arrival])) = (buffer, outcome) {
                    entries.add(buffer.start(arrival.len));
                }
            },
        )
        .unwrap();
        many.recv_into_start(
            |_, slot| Some(Fresh::of(2 * slot)),
            move |_, buffer, outcome| {
                if let (Some(buffer), Ok([arrival])) = (buffer, outcome) {
                    entries_of_many.add(buffer.start(arrival.len));
                }
            },
        )
        .unwrap();
        let (sender, _) = raw(ip);
        sender.send_to(b"abcdef", to_one).unwrap();
        sender.send_to(b"abcdef", to_many).unwrap();
        run_until(&event_loop, || log.len() + log_of_many.len() == 2);
        assert_eq!(log.get(), [b"abcd"]);
        assert_eq!(log_of_many.get(), [b"abcdef"]);
    }
}

#[test]
fn messages_coalesced_for_another_form_are_split_into_the_users_buffers() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        // Two bursts switch coalescing on.
        send_coalesced(&event_loop, address, 50);
        run_until(&event_loop, || heard.len() == 50);
        send_coalesced(&event_loop, address, 50);
        run_until(&event_loop, || heard.len() == 100);
        udp.recv_stop().unwrap();
        send_coalesced(&event_loop, address, 50);
        let back = listen_into(&udp, 4);
        run_until(&event_loop, || datagrams(&back).len() == 50);
        let (first, meta) = arrivals(&back)[0].clone();
        assert_eq!((first.concat(), meta.full_len), (vec![0; 4], 10));
        assert!(meta.truncated);
    }
}

#[test]
fn a_supply_that_stops_or_closes_gets_its_buffer_back_unused() {
    let rooms = [Some(SLOT), Some(16), Some(0), None];
    for (ip, room, close) in loopbacks()
        .into_iter()
        .flat_map(|ip| rooms.map(|room| (ip, room)))
        .flat_map(|(ip, room)| [(ip, room, false), (ip, room, true)])
    {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (asked, back) = (Log::new(), Log::new());
        let (log, heard) = (asked.clone(), back.clone());
        udp.recv_into_start(
            move |udp, _| {
                if close {
                    udp.close(|_| ()).unwrap();
                } else {
                    udp.recv_stop().unwrap();
                }
                log.add(());
                room.map(|room| vec![0; room])
            },
            move |_, buffer, outcome| {
                let nothing = outcome.map(<[_]>::is_empty);
                heard.add((
                    buffer.map(|buffer| buffer.len()),
                    nothing.map_err(|error| error.errno()),
                ))
            },
        )
        .unwrap();
        send_numbered(address, 1);
        run_until(&event_loop, || asked.len() == 1);
        settle(&event_loop);
        let expected: Vec<_> = room
            .map(|room| (Some(room), Ok(true)))
            .into_iter()
            .collect();
        assert_eq!(back.get(), expected);
        if !close {
            let heard = listen(&udp);
            run_until(&event_loop, || heard.len() == 1);
        }
    }
}

#[test]
fn a_network_error_comes_with_the_buffer_and_costs_no_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (sender, from) = raw(ip);
        let back = Log::new();
        let log = back.clone();
        udp.recv_into_start(
            |_, _| Some(vec![0; 16]),
            move |_, buffer, outcome| {
                let sources = outcome.map(|all| all.iter().map(|meta| meta.source).collect());
                let outcome: Result<Vec<_>, _> = sources.map_err(Errno::from);
                log.add((buffer.is_some(), outcome));
            },
        )
        .unwrap();
        sender.send_to(b"x", address).unwrap();
        fault::script(Call::Recvmsg, [Fault::Errno(Errno::ENOMEM)]);
        run_until(&event_loop, || back.len() == 3);
        assert_eq!(
            back.get(),
            [
                (true, Err(Errno::ENOMEM)),
                (true, Ok(vec![from])),
                (true, Ok(vec![])),
            ]
        );
        udp.connect(dead(ip)).unwrap();
        udp.try_send(b"x").unwrap();
        run_until(&event_loop, || {
            back.get().contains(&(true, Err(Errno::ECONNREFUSED)))
        });
    }
}

#[test]
fn a_panic_in_either_callback_costs_no_other_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (calls, back) = (Log::new(), Log::new());
        let log = back.clone();
        udp.recv_into_start(
            move |_, _| {
                calls.add(());
                assert_ne!(calls.len(), 2, "as planned");
                Some(vec![0; 16])
            },
            move |_, buffer, outcome| {
                if !outcome.unwrap().is_empty() {
                    log.add(buffer.unwrap()[0]);
                    assert_ne!(log.len(), 2, "as planned");
                }
            },
        )
        .unwrap();
        send_numbered(address, 4);
        for _ in 0..2 {
            let mut panics = false;
            for _ in 0..50 {
                let run = catch_unwind(AssertUnwindSafe(|| event_loop.run(RunMode::NoWait)));
                panics |= run.is_err();
                if panics {
                    break;
                }
            }
            assert!(panics);
        }
        settle(&event_loop);
        assert_eq!(back.get(), [0, 1, 2, 3]);
    }
}

#[test]
fn a_flooded_handle_with_user_memory_leaves_time_for_others() {
    let ip = "127.0.0.1".parse().unwrap();
    let event_loop = Loop::new().unwrap();
    let ((flooded, to_flooded), (quiet, to_quiet)) =
        (bound(&event_loop, ip), bound(&event_loop, ip));
    let (echo, _) = raw(ip);
    flooded
        .recv_into_start(
            |_, _| Some([0; 16]),
            move |_, _, outcome| {
                if !outcome.unwrap().is_empty() {
                    // A full socket buffer stops the flood until the next datagram.
                    let _ = echo.send_to(b"flood", to_flooded);
                    let _ = echo.send_to(b"flood", to_flooded);
                }
            },
        )
        .unwrap();
    let heard = listen(&quiet);
    send_numbered(to_flooded, 1);
    settle(&event_loop);
    send_numbered(to_quiet, 1);
    run_until(&event_loop, || heard.len() == 1);
}

#[test]
fn with_set_gro_coalesced_messages_arrive_whole() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        udp.options().set_gro(true).unwrap();
        let log = Log::new();
        let entries = log.clone();
        udp.recv_into_start(
            |_, _| Some(vec![0; 65_536]),
            move |_, _, outcome| {
                if let [arrival] = outcome.unwrap() {
                    entries.add((arrival.len, arrival.metadata.segment_size));
                }
            },
        )
        .unwrap();
        send_coalesced(&event_loop, address, 50);
        send_numbered(address, 1);
        run_until(&event_loop, || log.len() == 2);
        assert_eq!(log.get(), [(500, Some(10)), (10, None)]);
        udp.recv_stop().unwrap();
        assert_eq!(udp.options().set_gro(false), Err(Errno::EBUSY));
        let back = listen_into(&udp, 16);
        send_coalesced(&event_loop, address, 50);
        run_until(&event_loop, || datagrams(&back).len() == 50);
        assert_eq!(datagrams(&back), expected(50));
    }
}

#[test]
fn a_supply_that_changes_the_peer_without_a_buffer_is_called_once_per_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (peer, to_peer) = raw(ip);
        udp.connect(to_peer).unwrap();
        let asked = Log::new();
        let log = asked.clone();
        udp.recv_into_start(
            move |udp, _| {
                log.add(());
                if log.len() == 1 {
                    return Some(vec![0; 16]);
                }
                udp.connect(to_peer).unwrap();
                None
            },
            |_, _, _| (),
        )
        .unwrap();
        peer.send_to(b"x", address).unwrap();
        run_until(&event_loop, || asked.len() > 0);
        for _ in 0..50 {
            event_loop.run(RunMode::NoWait).unwrap();
        }
        assert!(asked.len() <= 4, "{}", asked.len());
    }
}
