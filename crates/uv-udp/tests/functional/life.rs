//! The life of a handle: references, closing, and panics in callbacks.

use std::cell::Cell;
use std::net::UdpSocket;
use std::rc::Rc;

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, Result, RunMode, Udp};

use super::harness::*;

/// Counts how many of its clones were dropped.
#[derive(Clone)]
struct Drops(Rc<Cell<usize>>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_closed_handles_port_is_free_at_once() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        udp.recv_start(|_, _| ()).unwrap();
        udp.close(|_| ()).unwrap();
        UdpSocket::bind(address).unwrap();
    }
}

#[test]
fn a_pending_send_keeps_its_handle_alive() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let results = Log::<Result<()>>::new();
        let udp = connected(&event_loop, address);
        udp.send(b"1", note(&results)).unwrap();
        udp.send(b"2", note(&results)).unwrap();
        drop(udp);
        assert!(!event_loop.run(RunMode::Default).unwrap());
        assert_eq!(results.get(), [Ok(()); 2]);
        assert_eq!(all(&peer), [b"1", b"2"]);
    }
}

#[test]
fn an_unreferenced_handle_does_not_keep_the_loop_running() {
    let event_loop = Loop::new().unwrap();
    let udp = Udp::new(&event_loop);
    udp.recv_start(|_, _| ()).unwrap();
    assert!(udp.has_ref() && event_loop.alive());
    udp.unreference();
    assert!(!udp.has_ref() && !event_loop.run(RunMode::Default).unwrap());
    udp.reference();
    assert!(event_loop.alive());
}

#[test]
fn dropping_the_loop_closes_handles_and_drops_callbacks_uncalled() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let drops = Drops(Rc::default());
        let (count, held) = (Rc::clone(&drops.0), udp.clone());
        let in_recv = drops.clone();
        udp.recv_start(move |_, _| {
            // Holds its own handle, which must not keep either alive.
            let _ = (&held, &in_recv);
            unreachable!();
        })
        .unwrap();
        for to in [dead(ip), dead(ip)] {
            let in_send = drops.clone();
            udp.send_to(b"x", to, move |_, _| {
                let _ = &in_send;
                unreachable!();
            })
            .unwrap();
        }
        drop(event_loop);
        assert_eq!(count.get(), 3);
        assert_eq!(udp.try_send_to(b"x", address), Err(Errno::EBADF));
        assert_eq!(udp.close(|_| unreachable!()), Err(Errno::EBADF));
        UdpSocket::bind(address).expect("the socket is closed");
    }
}

#[test]
fn a_handle_accepts_nothing_while_its_loop_is_dropped() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_peer, address) = raw(ip);
        let udps = [
            connected(&event_loop, address),
            connected(&event_loop, address),
        ];
        let answers = Log::new();
        for (udp, other) in [(&udps[0], &udps[1]), (&udps[1], &udps[0])] {
            // Whichever completes first, the other one still has an equal datagram queued.
            udp.send(b"at once", uv_udp::ignore).unwrap();
            let last_will = LastWill(other.clone(), answers.clone());
            udp.send(b"queued", move |_, _| drop(last_will)).unwrap();
        }
        drop(event_loop);
        assert_eq!(answers.get(), [Err(Errno::EBADF); 2]);
    }
}

/// Sends once more when it is dropped.
struct LastWill(Udp, Log<Result<()>>);

impl Drop for LastWill {
    fn drop(&mut self) {
        self.1.add(self.0.send(b"queued", |_, _| unreachable!()));
    }
}

#[test]
fn requests_complete_before_the_close_callback_however_the_handle_is_closed() {
    const SENDS: usize = 50;
    let ways: [fn(&Udp); 3] = [
        |udp| udp.close(|_| ()).unwrap(),
        |udp| {
            let event_loop = udp.event_loop().unwrap();
            event_loop
                .handles()
                .iter()
                .for_each(|any| any.close().unwrap());
        },
        |udp| {
            let event_loop = udp.event_loop().unwrap();
            let any = event_loop.handle(udp.id().unwrap()).unwrap();
            any.close().unwrap();
            assert_eq!(any.close(), Err(Errno::EBADF));
            assert_eq!(udp.close(|_| unreachable!()), Err(Errno::EBADF));
        },
    ];
    for (ip, close) in loopbacks()
        .into_iter()
        .flat_map(|ip| ways.map(|way| (ip, way)))
    {
        for blocked in [false, true] {
            let event_loop = Loop::new().unwrap();
            let (peer, address) = raw(ip);
            let udp = connected(&event_loop, address);
            udp.recv_start(|_, _| unreachable!()).unwrap();
            let results = Log::new();
            for number in 0..SENDS {
                let log = results.clone();
                udp.send(b"x", move |_, result| log.add((number, result)))
                    .unwrap();
                if blocked && number == 0 {
                    fault::script(Call::Sendmmsg, [Fault::Errno(Errno::EAGAIN); 3]);
                    fault::script(Call::Sendmsg, [Fault::Errno(Errno::EAGAIN); 3]);
                }
            }
            if blocked {
                event_loop.run(RunMode::NoWait).unwrap();
            }
            close(&udp);
            assert!(!event_loop.run(RunMode::Default).unwrap());
            fault::clear();
            let sent = if blocked { 1 } else { SENDS };
            let expected = (0..SENDS).map(|number| {
                let result = if number < sent {
                    Ok(())
                } else {
                    Err(Errno::ECANCELED)
                };
                (number, result)
            });
            assert_eq!(results.get(), expected.collect::<Vec<_>>());
            assert_eq!((udp.send_queue_count(), udp.send_queue_size()), (0, 0));
            assert_eq!(all(&peer).len(), sent);
        }
    }
}

#[test]
fn a_socket_that_the_poller_refuses_for_a_while_receives_again() {
    let Some(ip) = loopbacks().into_iter().find(|ip| ip.is_ipv6()) else {
        return;
    };
    for (refusals, reports) in [(3, 0), (9, 1)] {
        let event_loop = Loop::new().unwrap();
        let (_, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let (texts, errors) = (Log::new(), Log::new());
        let (heard, told) = (texts.clone(), errors.clone());
        udp.recv_start(move |_, received| match received {
            Ok(datagram) => heard.add(datagram.data.to_vec()),
            Err(error) => told.add(error.errno()),
        })
        .unwrap();
        settle(&event_loop);
        // A new socket replaces this one, and must be registered with the poller.
        fault::script(Call::EpollCtl, vec![Fault::Errno(Errno::ENOSPC); refusals]);
        udp.disconnect().unwrap();
        raw(ip)
            .0
            .send_to(b"late", udp.local_addr().unwrap())
            .unwrap();
        run_until(&event_loop, || texts.len() == 1);
        assert_eq!(texts.get(), [b"late"]);
        assert_eq!(errors.get(), vec![Errno::ENOSPC; reports]);
    }
}
