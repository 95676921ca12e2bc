//! Receiving into the user's own memory.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, RecvBuffer, RunMode, Transmit, Udp, UninitSlice};

use super::harness::*;

/// What came back with a buffer: the bytes that were stored, the length of the datagram and its source; nothing; or an
/// error, and whether a buffer came with it.
#[derive(Clone, Debug, PartialEq)]
enum Back {
    Datagram(Vec<u8>, usize, SocketAddr),
    Nothing,
    Error(Errno, bool),
}

/// Receives into buffers of `room` bytes.
fn listen_into(udp: &Udp, room: usize) -> Log<Back> {
    let log = Log::new();
    let entries = log.clone();
    udp.recv_into_start(
        move |_, suggested| {
            assert_eq!(suggested, 65_536);
            Some(vec![0; room])
        },
        move |_, buffer, outcome| {
            entries.add(match outcome {
                Ok([arrival]) => {
                    let buffer = buffer.unwrap();
                    assert_eq!(buffer.len(), room);
                    assert_eq!(arrival.truncated, arrival.len < arrival.full_len);
                    Back::Datagram(
                        buffer[..arrival.len].to_vec(),
                        arrival.full_len,
                        arrival.source,
                    )
                }
                Ok([]) => {
                    buffer.unwrap();
                    Back::Nothing
                }
                Ok(received) => unreachable!("{received:?} in {room} bytes"),
                Err(error) => Back::Error(error.errno(), buffer.is_some()),
            });
        },
    )
    .unwrap();
    log
}

fn datagrams(log: &Log<Back>) -> Vec<Vec<u8>> {
    let data = |back| match back {
        Back::Datagram(data, ..) => Some(data),
        _ => None,
    };
    log.get().into_iter().filter_map(data).collect()
}

fn expected(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; 10]).collect()
}

fn send_numbered(to: SocketAddr, count: u8) {
    let (socket, _) = raw(to.ip());
    for data in expected(count) {
        socket.send_to(&data, to).unwrap();
    }
}

fn send_coalesced(event_loop: &Loop, to: SocketAddr, count: u8) {
    let size = NonZeroU16::new(10).unwrap();
    let data = expected(count).concat();
    let sent =
        connected(event_loop, to).try_transmit(&Transmit::new(&data).with_segment_size(size));
    assert_eq!(sent, Ok(data.len()));
}

#[test]
fn a_buffer_comes_back_with_a_datagram_its_source_and_its_full_length() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let back = listen_into(&udp, 4);
        let (sender, from) = raw(ip);
        for data in [&b"abc"[..], b"", b"abcdef"] {
            sender.send_to(data, address).unwrap();
        }
        run_until(&event_loop, || datagrams(&back).len() == 3);
        settle(&event_loop);
        let came: Vec<_> = back
            .get()
            .into_iter()
            .filter(|back| *back != Back::Nothing)
            .collect();
        assert_eq!(
            came,
            [
                Back::Datagram(b"abc".to_vec(), 3, from),
                Back::Datagram(vec![], 0, from),
                Back::Datagram(b"abcd".to_vec(), 6, from),
            ]
        );
    }
}

/// Memory that nobody initialised.
struct Fresh(Box<[MaybeUninit<u8>]>);

impl Fresh {
    fn of(room: usize) -> Self {
        Self(Box::new_uninit_slice(room))
    }

    fn start(&self, len: usize) -> Vec<u8> {
        // SAFETY: the handle says that it stored so many bytes at the start.
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
fn memory_that_is_not_initialised_is_filled_as_any_other() {
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
fn datagrams_are_not_coalesced_for_buffers_that_are_too_short() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let back = listen_into(&udp, 65_535);
        for _ in 0..3 {
            send_coalesced(&event_loop, address, 50);
            settle(&event_loop);
        }
        assert_eq!(
            datagrams(&back),
            [expected(50), expected(50), expected(50)].concat()
        );
    }
}

#[test]
fn what_was_coalesced_for_another_form_is_split_into_the_users_buffers() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        // After a burst the handle lets the kernel coalesce.
        send_coalesced(&event_loop, address, 50);
        run_until(&event_loop, || heard.len() == 50);
        send_coalesced(&event_loop, address, 50);
        run_until(&event_loop, || heard.len() == 100);
        udp.recv_stop().unwrap();
        send_coalesced(&event_loop, address, 50);
        let back = listen_into(&udp, 4);
        run_until(&event_loop, || datagrams(&back).len() == 50);
        let first = Back::Datagram(vec![0; 4], 10, heard_source(&back));
        assert_eq!(back.get()[0], first);
    }
}

fn heard_source(back: &Log<Back>) -> SocketAddr {
    match &back.get()[0] {
        Back::Datagram(_, _, source) => *source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_buffer_the_callback_hears_enobufs_and_the_datagram_waits() {
    for ip in loopbacks() {
        for empty in [None, Some(vec![])] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let (pool, back) = (Rc::new(RefCell::new(empty.clone())), Log::new());
            let (buffers, log) = (Rc::clone(&pool), back.clone());
            udp.recv_into_start(
                move |_, _| buffers.borrow().clone(),
                move |_, buffer, outcome| {
                    let len = outcome.map(|received| received.first().map(|meta| meta.len));
                    log.add((
                        buffer.map(|buffer: Vec<u8>| buffer.len()),
                        len.map_err(|e| e.errno()),
                    ));
                },
            )
            .unwrap();
            send_numbered(address, 1);
            run_until(&event_loop, || back.len() > 0);
            assert_eq!(back.get()[0], (empty.map(|_| 0), Err(Errno::ENOBUFS)));
            *pool.borrow_mut() = Some(vec![0; 100]);
            run_until(&event_loop, || {
                back.get().contains(&(Some(100), Ok(Some(10))))
            });
        }
    }
}

#[test]
fn stopping_half_way_leaves_the_rest_for_the_next_start_of_any_form() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let first = Log::new();
        let log = first.clone();
        udp.recv_into_start(
            |_, _| Some([0; 16]),
            move |udp, buffer, outcome| {
                assert_eq!(outcome.unwrap()[0].len, 10);
                log.add(buffer.unwrap()[0]);
                if log.len() == 2 {
                    udp.recv_stop().unwrap();
                }
            },
        )
        .unwrap();
        send_numbered(address, 6);
        run_until(&event_loop, || first.len() == 2);
        settle(&event_loop);
        assert_eq!(first.get(), [0, 1]);
        let second = Log::new();
        let log = second.clone();
        udp.recv_start(move |udp, received| {
            log.add(received.unwrap().data[0]);
            if log.len() == 2 {
                udp.recv_stop().unwrap();
            }
        })
        .unwrap();
        run_until(&event_loop, || second.len() == 2);
        assert_eq!(second.get(), [2, 3]);
        let third = listen_into(&udp, 16);
        run_until(&event_loop, || datagrams(&third).len() == 2);
        assert_eq!(datagrams(&third), expected(6)[4..]);
    }
}

#[test]
fn a_supply_that_stops_or_closes_gets_its_buffer_back_unused_and_hears_nothing_else() {
    let rooms = [Some(16), Some(0), None];
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
fn strangers_from_before_connecting_get_no_buffer() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (peer, from) = raw(ip);
        send_numbered(address, 5);
        peer.send_to(b"peer", address).unwrap();
        udp.connect(from).unwrap();
        let back = listen_into(&udp, 16);
        run_until(&event_loop, || back.len() == 2);
        let expected = Back::Datagram(b"peer".to_vec(), 4, from);
        assert_eq!(back.get(), [expected, Back::Nothing]);
    }
}

#[test]
fn a_network_error_comes_with_the_buffer_and_costs_no_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (sender, from) = raw(ip);
        let back = listen_into(&udp, 16);
        sender.send_to(b"x", address).unwrap();
        fault::script(Call::Recvmsg, [Fault::Errno(Errno::ENOMEM)]);
        run_until(&event_loop, || back.len() == 3);
        assert_eq!(
            back.get(),
            [
                Back::Error(Errno::ENOMEM, true),
                Back::Datagram(b"x".to_vec(), 1, from),
                Back::Nothing,
            ]
        );
        udp.connect(dead(ip)).unwrap();
        udp.try_send(b"x").unwrap();
        run_until(&event_loop, || {
            back.get().contains(&Back::Error(Errno::ECONNREFUSED, true))
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
fn a_flooded_handle_leaves_others_their_turn_in_this_form_too() {
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
                    // A full buffer ends it for the moment; the next datagram revives it.
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
fn runs_come_whole_to_those_who_ask_for_them() {
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
fn a_supply_without_a_buffer_that_changes_the_peer_is_asked_no_more_than_there_are_datagrams() {
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
