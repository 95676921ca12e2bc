//! The life of a handle: who keeps it alive, how it ends, and callbacks that do not behave.

use std::cell::Cell;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
fn closing_completes_what_is_queued_before_the_close_callback() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let order = Log::new();
        for name in ["first", "second"] {
            let order = order.clone();
            udp.send(b"x", move |_, result| order.add((name, result)))
                .unwrap();
        }
        let log = order.clone();
        udp.close(move |_| log.add(("closed", Ok(())))).unwrap();
        assert_eq!(order.len(), 0, "no callback runs inside close");
        assert!(!event_loop.run(RunMode::Default).unwrap());
        assert_eq!(
            order.get(),
            [("first", Ok(())), ("second", Ok(())), ("closed", Ok(()))]
        );
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
fn callbacks_may_close_their_own_handle_and_others() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let ((a, to_a), (b, _)) = (bound(&event_loop, ip), bound(&event_loop, ip));
        let closed = Log::new();
        let (log, other) = (closed.clone(), b.clone());
        a.recv_start(move |a, received| {
            received.unwrap();
            for udp in [a, &other] {
                let log = log.clone();
                udp.close(move |_| log.add(())).unwrap();
            }
        })
        .unwrap();
        b.recv_start(|_, _| panic!("closed handles hear nothing"))
            .unwrap();
        let (sender, _) = raw(ip);
        sender.send_to(b"1", to_a).unwrap();
        sender.send_to(b"2", to_a).unwrap();
        sender.send_to(b"3", b.local_addr().unwrap()).unwrap();
        // Whichever of the two is dispatched first, only `a` may be.
        b.recv_stop().unwrap();
        assert!(!event_loop.run(RunMode::Default).unwrap());
        assert_eq!(closed.len(), 2);
    }
}

#[test]
fn an_active_handle_is_kept_alive_by_its_loop_and_an_inactive_one_by_its_holders() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        drop(udp);
        raw(ip).0.send_to(b"x", address).unwrap();
        run_until(&event_loop, || heard.len() == 1);
        let (udp, address) = bound(&event_loop, ip);
        drop(udp);
        UdpSocket::bind(address).expect("dropping an inactive handle closes it");
    }
}

#[test]
fn a_send_under_way_keeps_its_handle_alive() {
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
fn the_last_reference_may_go_inside_a_callback() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let holder = Rc::new(Cell::new(Some(udp.clone())));
        let (inside, done) = (Rc::clone(&holder), Log::new());
        let log = done.clone();
        udp.send(b"x", move |udp, _| {
            drop(inside.take());
            udp.recv_stop().unwrap();
            log.add(());
        })
        .unwrap();
        drop(udp);
        assert!(!event_loop.run(RunMode::Default).unwrap());
        assert_eq!((done.len(), next(&peer)), (1, b"x".to_vec()));
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
fn when_the_loop_goes_handles_are_closed_and_callbacks_dropped_uncalled() {
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
fn a_panic_reaches_the_caller_of_run_and_costs_only_that_call() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = Log::new();
        let log = heard.clone();
        udp.recv_start(move |_, received| {
            let data = received.unwrap().data.to_vec();
            log.add(data.clone());
            assert_ne!(data, b"2", "as told");
        })
        .unwrap();
        let results = Log::new();
        let sender = connected(&event_loop, address);
        for data in [b"1", b"2", b"3", b"4"] {
            let results = results.clone();
            sender
                .send(data, move |_, result| {
                    results.add(result);
                    assert_ne!(data, b"3", "as told");
                })
                .unwrap();
        }
        let closed = Log::new();
        let log = closed.clone();
        let mut panics = 0;
        while results.len() < 4 || heard.len() < 4 {
            panics += usize::from(
                catch_unwind(AssertUnwindSafe(|| event_loop.run(RunMode::Once))).is_err(),
            );
        }
        sender.close(move |_| log.add(())).unwrap();
        udp.close(|_| panic!("as told")).unwrap();
        panics += usize::from(
            catch_unwind(AssertUnwindSafe(|| event_loop.run(RunMode::Default))).is_err(),
        );
        assert!(!event_loop.run(RunMode::Default).unwrap());
        assert_eq!(panics, 3);
        assert_eq!(results.get(), [Ok(()); 4]);
        assert_eq!(heard.get(), [b"1", b"2", b"3", b"4"]);
        assert_eq!(closed.len(), 1);
    }
}

#[test]
fn running_the_loop_inside_a_callback_is_an_error() {
    let event_loop = Loop::new().unwrap();
    let (_peer, address) = raw("127.0.0.1".parse().unwrap());
    let udp = connected(&event_loop, address);
    let answers = Log::new();
    let log = answers.clone();
    udp.send(b"x", move |udp, _| {
        log.add(udp.event_loop().unwrap().run(RunMode::NoWait))
    })
    .unwrap();
    event_loop.run(RunMode::Default).unwrap();
    assert_eq!(answers.get(), [Err(Errno::EDEADLK)]);
}

#[test]
fn a_handle_takes_nothing_while_its_loop_goes() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (_peer, address) = raw(ip);
        let udps = [
            connected(&event_loop, address),
            connected(&event_loop, address),
        ];
        let answers = Log::new();
        for (udp, other) in [(&udps[0], &udps[1]), (&udps[1], &udps[0])] {
            // Whichever of them goes first, the other one still has something queued like what it is then given.
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
fn whoever_closes_a_handle_its_requests_complete_before_it_is_closed() {
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
fn a_socket_that_the_poller_refuses_for_a_while_is_heard_again() {
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
        // Another socket takes the place of this one, which the poller must be told of.
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
