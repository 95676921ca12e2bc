//! Datagrams of others from before the connect are never delivered as the peer's, however the reads
//! end that find them.

use std::net::{IpAddr, SocketAddr};

use uv_sys::fault::{self, Call, Fault};
use uv_udp::{Errno, Loop, Udp};

use super::harness::*;

#[derive(Clone, Copy, Debug)]
enum Form {
    Each,
    Batch,
    Into,
    BatchInto,
}

const FORMS: [Form; 4] = [Form::Each, Form::Batch, Form::Into, Form::BatchInto];

/// Starts receiving in a form: data and sources.
fn start(udp: &Udp, form: Form) -> Log<(Vec<u8>, SocketAddr)> {
    let log = Log::new();
    let add = log.clone();
    let started = match form {
        Form::Each => udp.recv_start(move |_, received| {
            if let Ok(datagram) = received {
                add.add((datagram.data.to_vec(), datagram.source));
            }
        }),
        Form::Batch => udp.recv_batch_start(move |_, batch| {
            for datagram in batch.into_iter().flatten() {
                add.add((datagram.data.to_vec(), datagram.source));
            }
        }),
        Form::Into => udp.recv_into_start(
            |_, _| Some(vec![0; 100]),
            move |_, buffer, outcome| {
                if let (Some(buffer), Ok([arrival])) = (buffer, outcome) {
                    add.add((buffer[..arrival.len].to_vec(), arrival.source));
                }
            },
        ),
        Form::BatchInto => udp.recv_into_start(
            |_, slot| Some(vec![0; 4 * slot]),
            move |_, buffer, outcome| {
                let (Some(buffer), Ok(arrivals)) = (buffer, outcome) else {
                    return;
                };
                for arrival in arrivals {
                    let data = &buffer[arrival.offset..][..arrival.len];
                    add.add((data.to_vec(), arrival.source));
                }
            },
        ),
    };
    started.unwrap();
    log
}

/// Connects a handle with four datagrams of another socket in its buffer. The reads end as
/// scripted.
fn check(ip: IpAddr, form: Form, script: &[Fault]) {
    let what = format!("{ip} {form:?} {script:?}");
    let event_loop = Loop::new().unwrap();
    let (udp, here) = bound(&event_loop, ip);
    let ((peer, to_peer), (stranger, _)) = (raw(ip), raw(ip));
    for _ in 0..4 {
        stranger.send_to(b"stranger", here).unwrap();
    }
    udp.connect(to_peer).unwrap();
    peer.send_to(b"peer", here).unwrap();
    for call in [Call::Recvmsg, Call::Recvmmsg] {
        fault::script(call, script.iter().copied());
    }
    let heard = start(&udp, form);
    run_until(&event_loop, || heard.len() > 0);
    settle(&event_loop);
    assert_eq!(heard.get(), [(b"peer".to_vec(), to_peer)], "{what}");
    assert_eq!(udp.counters().filtered, 4, "{what}");
    // The backlog is empty: the next datagrams are the peer's.
    peer.send_to(b"more", here).unwrap();
    run_until(&event_loop, || heard.len() == 2);
    assert_eq!(heard.get()[1], (b"more".to_vec(), to_peer), "{what}");
    fault::clear();
}

fn each_form(script: &[Fault]) {
    for ip in loopbacks() {
        FORMS.into_iter().for_each(|form| check(ip, form, script));
    }
}

#[test]
fn an_early_eagain_does_not_end_the_check_for_a_backlog() {
    let eagain = Fault::Errno(Errno::EAGAIN);
    each_form(&[eagain]);
    each_form(&[eagain, eagain, Fault::Pass, eagain]);
}

#[test]
fn a_short_read_does_not_end_the_check_for_a_backlog() {
    each_form(&[Fault::Partial(1)]);
    each_form(&[
        Fault::Partial(2),
        Fault::Errno(Errno::EAGAIN),
        Fault::Partial(1),
    ]);
    each_form(&[Fault::Partial(1), Fault::Errno(Errno::ECONNREFUSED)]);
}
