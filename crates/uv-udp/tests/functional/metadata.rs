//! Metadata of received datagrams, and options of sent ones, against raw sockets.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uv_sys::RecvOptions;
use uv_sys::message::{recvmsg, sendmsg};
use uv_udp::{Ecn, Errno, Family, Loop, Metadata, PacketInfo, Result, Transmit, TxTimeClock, Udp};

use super::harness::*;

/// Logs the metadata of each received datagram.
fn listen_beside(udp: &Udp) -> Log<Metadata> {
    let log = Log::new();
    let entries = log.clone();
    udp.recv_start(move |_, received| entries.add(*received.unwrap().metadata))
        .unwrap();
    log
}

/// Switches on all metadata on a raw socket.
fn observer(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let (socket, address) = raw(ip);
    uv_sys::option::set_recv_tos(&socket, true).unwrap();
    uv_sys::option::set_recv_ttl(&socket, true).unwrap();
    uv_sys::option::set_recv_packet_info(&socket, true).unwrap();
    (socket, address)
}

/// The payload, the source and the metadata of the next datagram.
fn observe(socket: &UdpSocket) -> (Vec<u8>, SocketAddr, Metadata) {
    socket
        .peek(&mut [0; 9])
        .expect("a datagram within a minute");
    let mut buffer = vec![0; 65_536];
    let options = RecvOptions::new().with_control(true);
    let room = &mut [std::io::IoSliceMut::new(&mut buffer)];
    let received = recvmsg(socket.as_fd(), room, options).unwrap();
    buffer.truncate(received.len);
    (buffer, received.source.unwrap(), received.metadata)
}

type Switch = fn(&Udp, bool) -> Result<()>;
type Look = fn(&Metadata) -> bool;

#[test]
fn each_kind_of_metadata_is_delivered_only_while_it_is_on() {
    let switches: [(Switch, Look); 5] = [
        (
            |udp: &Udp, on| udp.options().set_recv_tos(on),
            |metadata| metadata.tos == Some(0xba),
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_ttl(on),
            |metadata| metadata.ttl == Some(33),
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_packet_info(on),
            |metadata| {
                let info = metadata.destination.unwrap();
                info.address.is_some_and(|address| address.is_loopback()) && info.interface > 0
            },
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_timestamps(on),
            |metadata| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                let then = Duration::from_nanos(metadata.timestamp.unwrap());
                now - then < Duration::from_secs(60)
            },
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_drops(on),
            |metadata| metadata.kernel_drops.is_none(),
        ),
    ];
    for ip in loopbacks() {
        for (set, look) in switches {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            let seen = listen_beside(&udp);
            let (sender, _) = raw(ip);
            let transmit = Transmit::new(b"x")
                .with_destination(address)
                .with_tos(0xba)
                .with_ttl(33);
            let mut count = 0;
            let mut send = || {
                sendmsg(&sender, &transmit).unwrap();
                count += 1;
                run_until(&event_loop, || seen.len() == count);
            };
            send();
            set(&udp, true).unwrap();
            send();
            udp.connect(sender.local_addr().unwrap()).unwrap();
            udp.disconnect().unwrap();
            send();
            set(&udp, false).unwrap();
            send();
            let seen = seen.get();
            assert_eq!(seen[0], Metadata::default());
            assert!(look(&seen[1]), "{:?}", seen[1]);
            assert!(look(&seen[2]), "after a disconnect: {:?}", seen[2]);
            assert_eq!(seen[3], Metadata::default());
        }
    }
}

#[test]
fn coalesced_datagrams_have_metadata_in_every_form() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        udp.options().set_recv_tos(true).unwrap();
        let sender = connected(&event_loop, address);
        sender.options().set_tos(0x2e << 2).unwrap();
        let size = NonZeroU16::new(10).unwrap();
        let seen = listen_beside(&udp);
        for burst in 1..4 {
            sender
                .try_transmit(&Transmit::new(&[7; 100]).with_segment_size(size))
                .unwrap();
            run_until(&event_loop, || seen.len() == burst * 10);
        }
        assert!(seen.get().iter().all(|metadata| metadata.tos == Some(0xb8)));
        udp.recv_stop().unwrap();
        let batches = Log::new();
        let log = batches.clone();
        udp.recv_batch_start(move |_, batch| {
            batch
                .unwrap()
                .for_each(|datagram| log.add(datagram.metadata.tos));
        })
        .unwrap();
        sender
            .try_transmit(&Transmit::new(&[7; 100]).with_segment_size(size))
            .unwrap();
        run_until(&event_loop, || batches.len() == 10);
        assert_eq!(batches.get(), [Some(0xb8); 10]);
        let (direct, to_direct) = bound(&event_loop, ip);
        direct.options().set_recv_tos(true).unwrap();
        let log = Log::new();
        let entries = log.clone();
        direct
            .recv_into_start(
                |_, _| Some([0; 16]),
                move |_, _, outcome| {
                    entries.add(outcome.unwrap().first().and_then(|meta| meta.metadata.tos));
                },
            )
            .unwrap();
        sender.connect(to_direct).unwrap();
        sender.try_send(b"x").unwrap();
        run_until(&event_loop, || log.len() > 0);
        assert_eq!(log.get()[0], Some(0xb8));
    }
}

/// A second socket holds a port of the kernel's choice while Linux drops it.
#[test]
fn datagrams_that_arrive_during_a_disconnect_have_metadata() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, to_peer) = raw(ip);
        for _ in 0..60 {
            let (udp, address) = bound(&event_loop, ip);
            udp.options().set_recv_tos(true).unwrap();
            udp.options().set_recv_packet_info(true).unwrap();
            let seen = listen_beside(&udp);
            udp.connect(to_peer).unwrap();
            let sender = peer.try_clone().unwrap();
            let (stop, stopped) = std::sync::mpsc::channel::<()>();
            let (tell, told) = std::sync::mpsc::channel();
            let flood = std::thread::spawn(move || {
                let transmit = Transmit::new(b"x").with_destination(address).with_tos(0xb8);
                let gone = Err(std::sync::mpsc::TryRecvError::Disconnected);
                while stopped.try_recv() != gone {
                    sendmsg(&sender, &transmit).unwrap();
                    // Once; the port is closed afterwards.
                    let _ = tell.send(());
                }
            });
            told.recv().unwrap();
            drop(told);
            udp.disconnect().unwrap();
            drop(stop);
            flood.join().unwrap();
            settle(&event_loop);
            assert!(seen.len() > 0);
            for metadata in seen.get() {
                assert_eq!(metadata.tos, Some(0xb8));
                let local = metadata.destination.and_then(|info| info.address);
                assert_eq!(local, Some(ip));
            }
            udp.close(|_| ()).unwrap();
        }
    }
}

#[test]
fn requested_metadata_can_be_read_back_also_from_an_adopted_socket() {
    type Read = fn(&Udp) -> bool;
    let both: [(Switch, Read); 5] = [
        (
            |udp: &Udp, on| udp.options().set_recv_tos(on),
            |udp: &Udp| udp.options().recv_tos(),
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_ttl(on),
            |udp: &Udp| udp.options().recv_ttl(),
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_packet_info(on),
            |udp: &Udp| udp.options().recv_packet_info(),
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_timestamps(on),
            |udp: &Udp| udp.options().recv_timestamps(),
        ),
        (
            |udp: &Udp, on| udp.options().set_recv_drops(on),
            |udp: &Udp| udp.options().recv_drops(),
        ),
    ];
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        for (index, (set, _)) in both.into_iter().enumerate() {
            let (udp, _) = bound(&event_loop, ip);
            let on = |udp: &Udp| both.map(|(_, read)| read(udp));
            assert_eq!(on(&udp), [false; 5]);
            assert_eq!(set(&udp, true), Ok(()));
            let mut expected = [false; 5];
            expected[index] = true;
            assert_eq!(on(&udp), expected);
            let adopted = Udp::from_fd(&event_loop, udp.into_fd().unwrap()).unwrap();
            assert_eq!(on(&adopted), expected);
            assert_eq!(set(&adopted, false), Ok(()));
            assert_eq!(on(&adopted), [false; 5]);
        }
        let without = Udp::new(&event_loop);
        assert!(!without.options().recv_tos());
        assert_eq!(without.options().set_recv_tos(true), Err(Errno::EBADF));
        assert!(!without.options().gro());
    }
}

#[test]
fn with_fd_lends_the_descriptor_of_an_open_socket() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = Udp::new(&event_loop);
        assert_eq!(udp.with_fd(|_| ()), Err(Errno::EBADF));
        udp.connect(dead(ip)).unwrap();
        let ttl = udp.with_fd(|fd| uv_sys::option::set_ttl(fd, 9)).unwrap();
        assert_eq!((ttl, udp.options().ttl()), (Ok(()), Ok(9)));
        // The lent descriptor stays valid if the last reference is dropped meanwhile.
        let name = udp.with_fd(|fd| {
            udp.disconnect().unwrap();
            uv_sys::option::ttl(fd)
        });
        assert_eq!((name, udp.options().ttl()), (Ok(Ok(9)), Ok(9)));
        udp.close(|_| ()).unwrap();
        assert_eq!(udp.with_fd(|_| ()), Err(Errno::EBADF));
    }
}

#[test]
fn kernel_drops_are_reported_after_the_first_drop() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        udp.options().set_recv_drops(true).unwrap();
        udp.options().set_recv_buffer_size(1).unwrap();
        let (sender, _) = raw(ip);
        for _ in 0..100 {
            sender.send_to(&[7; 1000], address).unwrap();
        }
        let seen = listen_beside(&udp);
        settle(&event_loop);
        let arrived = seen.len();
        assert!((1..100).contains(&arrived));
        sender.send_to(b"x", address).unwrap();
        run_until(&event_loop, || seen.len() == arrived + 1);
        let dropped = u32::try_from(100 - arrived).unwrap();
        assert_eq!(seen.get()[arrived].kernel_drops, Some(dropped));
        assert_eq!(udp.counters().kernel_drops, dropped.into());
    }
}

#[test]
fn kernel_drops_continue_when_the_socket_is_replaced() {
    for ip in loopbacks() {
        for into in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            udp.options().set_recv_drops(true).unwrap();
            udp.options().set_recv_buffer_size(1).unwrap();
            let (sender, to_sender) = raw(ip);
            let start = |log: Log<usize>| {
                if into {
                    udp.recv_into_start(
                        |_, _| Some([0; 2000]),
                        move |_, _, outcome| {
                            let arrival = outcome.unwrap();
                            arrival.iter().for_each(|arrival| log.add(arrival.len));
                        },
                    )
                } else {
                    udp.recv_start(move |_, received| log.add(received.unwrap().data.len()))
                }
            };
            let mut expected = 0;
            for _ in 0..3 {
                for _ in 0..50 {
                    sender.send_to(&[7; 1000], address).unwrap();
                }
                let seen = Log::new();
                start(seen.clone()).unwrap();
                settle(&event_loop);
                let arrived = seen.len();
                expected += 50 - arrived as u64;
                // The next received datagram has the count.
                sender.send_to(b"x", address).unwrap();
                run_until(&event_loop, || seen.len() == arrived + 1);
                assert_eq!(udp.counters().kernel_drops, expected, "into: {into}");
                udp.recv_stop().unwrap();
                // The datagrams left in the old socket have its count.
                sender.send_to(b"y", address).unwrap();
                udp.connect(to_sender).unwrap();
                udp.disconnect().unwrap();
                let seen = Log::new();
                start(seen.clone()).unwrap();
                run_until(&event_loop, || seen.len() == 1);
                assert_eq!(udp.counters().kernel_drops, expected, "into: {into}");
                udp.recv_stop().unwrap();
            }
        }
    }
}

#[test]
fn every_send_applies_the_options_of_a_datagram() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        for connects in [false, true] {
            let (observer, address) = observer(ip);
            let udp = Udp::new(&event_loop);
            if connects {
                udp.connect(address).unwrap();
            } else {
                udp.bind((ip, 0).into()).unwrap();
            }
            let new = |data: &'static str| {
                let transmit = Transmit::new(data);
                if connects {
                    transmit
                } else {
                    transmit.with_destination(address)
                }
            };
            // As long as the other one: they differ only in the options.
            let plain = new("simple");
            let marked = new("marked").with_tos(0x40).with_ecn(Ecn::Ce).with_ttl(17);
            udp.try_transmit(&marked).unwrap();
            assert_eq!(
                udp.try_transmit_batch(&[plain, marked, marked, plain]),
                Ok(4)
            );
            let results = Log::new();
            for transmit in [marked, plain, marked, marked, plain, plain] {
                udp.transmit(transmit, note_any(&results)).unwrap();
            }
            run_until(&event_loop, || results.len() == 6);
            assert_eq!(results.get(), [Ok(()); 6]);
            let order = "mpmmpmpmmpp";
            for (index, expected) in order.chars().enumerate() {
                let (data, _, metadata) = observe(&observer);
                let (text, tos, ttl) = if expected == 'm' {
                    ("marked", 0x43, 17)
                } else {
                    ("simple", 0, 64)
                };
                assert_eq!(String::from_utf8_lossy(&data), text, "{index}");
                let seen = (metadata.tos, metadata.ttl);
                assert_eq!(seen, (Some(tos), Some(ttl)), "{index}");
            }
        }
    }
}

#[test]
fn a_datagram_has_its_own_source_or_the_handles_default() {
    let event_loop = Loop::new().unwrap();
    let loopback_2: IpAddr = "127.0.0.2".parse().unwrap();
    let loopback_3: IpAddr = "127.0.0.3".parse().unwrap();
    let (observer, address) = raw("127.0.0.1".parse().unwrap());
    let (udp, _) = bound(&event_loop, "0.0.0.0".parse().unwrap());
    let plain = Transmit::new(b"x").with_destination(address);
    let from = |results: usize| {
        (0..results)
            .map(|_| observe(&observer).1.ip())
            .collect::<Vec<_>>()
    };
    udp.try_transmit(&plain.with_source(loopback_2)).unwrap();
    assert_eq!(from(1), [loopback_2]);
    udp.set_send_source(Some(loopback_3.into())).unwrap();
    assert_eq!(udp.send_source(), Some(PacketInfo::from(loopback_3)));
    udp.try_transmit(&plain.with_source(loopback_2)).unwrap();
    udp.try_send_to(b"x", address).unwrap();
    udp.try_transmit_batch(&[plain, plain.with_source(loopback_2)])
        .unwrap();
    let size = NonZeroU16::new(1).unwrap();
    udp.try_transmit(
        &Transmit::new(b"xx")
            .with_segment_size(size)
            .with_destination(address),
    )
    .unwrap();
    udp.send_to(b"x", address, |_, result| result.unwrap())
        .unwrap();
    udp.send_to(b"x", address, |_, result| result.unwrap())
        .unwrap();
    settle(&event_loop);
    let mut expected = vec![loopback_3; 8];
    (expected[0], expected[3]) = (loopback_2, loopback_2);
    assert_eq!(from(8), expected);
    // It applies to later sends, also between datagrams that are equal otherwise.
    let sources = [None, None, None, Some(loopback_3), Some(loopback_3), None];
    for source in sources {
        udp.set_send_source(source.map(PacketInfo::from)).unwrap();
        udp.send_to(b"x", address, |_, result| result.unwrap())
            .unwrap();
    }
    settle(&event_loop);
    let loopback_1 = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(from(6), sources.map(|source| source.unwrap_or(loopback_1)));
    udp.try_send_to(b"x", address).unwrap();
    assert_eq!(from(1), [loopback_1]);
    let not_ours: IpAddr = "192.0.2.200".parse().unwrap();
    let result = udp.try_transmit(&plain.with_source(not_ours));
    assert!(result.is_err(), "{result:?}");
}

#[test]
fn an_answer_is_sent_from_the_destination_of_the_question() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = Udp::new(&event_loop);
        let wildcard = Family::of(&(ip, 0).into()).unspecified();
        udp.bind((wildcard, 0).into()).unwrap();
        udp.options().set_recv_packet_info(true).unwrap();
        udp.recv_start(|udp, received| {
            let datagram = received.unwrap();
            let answer = Transmit::new(b"answer")
                .with_destination(datagram.source)
                .with_source(datagram.metadata.destination.unwrap());
            udp.transmit(answer, |_, _, result| result.unwrap())
                .unwrap();
        })
        .unwrap();
        let to: IpAddr = if ip.is_ipv4() { "127.0.0.5" } else { "::1" }
            .parse()
            .unwrap();
        let (client, _) = raw(ip);
        let port = udp.local_addr().unwrap().port();
        client.connect((to, port)).unwrap();
        client.send(b"question").unwrap();
        settle(&event_loop);
        assert_eq!(next(&client), b"answer", "the client hears {to} alone");
    }
}

#[test]
fn a_payload_is_segmented_by_its_own_size_or_the_handles() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let size = NonZeroU16::new(4);
        let cut = Transmit::new(b"aaaabbbbcc").with_segment_size(size.unwrap());
        let results = Log::new();
        for _ in 0..3 {
            udp.transmit(cut, note_any(&results)).unwrap();
        }
        udp.send(b"dddd", note(&results)).unwrap();
        run_until(&event_loop, || results.len() == 4);
        assert_eq!(results.get(), [Ok(()); 4]);
        let pieces = ["aaaa", "bbbb", "cc"].map(|text| text.as_bytes().to_vec());
        let mut expected = [&pieces[..], &pieces, &pieces].concat();
        expected.push(b"dddd".to_vec());
        assert_eq!(all(&peer), expected);
        udp.options().set_segment_size(size).unwrap();
        for _ in 0..2 {
            udp.send(b"aaaabbbbcc", note(&results)).unwrap();
            udp.send(b"aaaabbbbcc", note(&results)).unwrap();
            udp.try_send(b"xx").unwrap_err();
            settle(&event_loop);
            udp.try_send(b"aaaabbbbcc").unwrap();
            assert_eq!(
                udp.try_transmit_batch(&[Transmit::new(b"aaaabbbbcc"); 3]),
                Ok(3)
            );
            assert_eq!(all(&peer), [&pieces[..]; 6].concat());
            // An IPv6 disconnect replaces the socket.
            udp.disconnect().unwrap();
            udp.connect(address).unwrap();
        }
        udp.options().set_segment_size(None).unwrap();
        udp.try_send(b"aaaabbbbcc").unwrap();
        assert_eq!(all(&peer), [b"aaaabbbbcc".to_vec()]);
    }
}

#[test]
fn a_transmit_time_needs_a_clock_and_a_message_of_its_own() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let timed = Transmit::new(b"x").with_transmit_time(1);
        assert_eq!(udp.try_transmit(&timed), Err(Errno::EINVAL));
        udp.options().set_txtime(TxTimeClock::Monotonic).unwrap();
        assert_eq!(udp.options().txtime(), Ok(Some(TxTimeClock::Monotonic)));
        let results = Log::new();
        for _ in 0..5 {
            udp.transmit(timed, note_any(&results)).unwrap();
        }
        run_until(&event_loop, || results.len() == 5);
        // Loopback has no queueing discipline that waits.
        assert_eq!((results.get(), all(&peer).len()), (vec![Ok(()); 5], 5));
        assert_eq!(udp.counters().segmented_messages, 0);
    }
}

#[test]
fn invalid_options_of_a_datagram_are_errors_before_anything_is_accepted() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let udp = connected(&event_loop, dead(ip));
        let foreign: IpAddr = if ip.is_ipv4() { "::1" } else { "127.0.0.1" }
            .parse()
            .unwrap();
        for (transmit, errno) in [
            (Transmit::new(b"x").with_ttl(0), Errno::EINVAL),
            (
                Transmit::new(b"x").with_source(foreign),
                Errno::EAFNOSUPPORT,
            ),
        ] {
            let sent = udp.transmit(transmit, |_, _, _| unreachable!());
            assert_eq!(sent, Err(errno));
            assert_eq!(udp.try_transmit(&transmit), Err(errno));
            assert_eq!(
                udp.try_transmit_batch(&[Transmit::new(b"y"), transmit]),
                Err(errno)
            );
        }
        assert_eq!((udp.send_queue_count(), udp.counters().send_calls), (0, 0));
    }
}
