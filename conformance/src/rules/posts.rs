//! Posts and sends of other threads.

use std::sync::mpsc;
use std::thread;

use uv_core::{Errno, Loop};

use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure, ensure_eq};

pub(super) const RULES: &[Rule] = &[
    Rule::once(
        "posts/run-in-order-on-the-loop",
        "Closures that another thread posts run on the loop's thread in order, and wake a sleeping loop.",
        posts,
    ),
    Rule::once(
        "posts/to-a-dropped-loop-are-ecanceled",
        "A post to a dropped loop is ECANCELED; its closure is dropped, as are pending ones.",
        post_to_nobody,
    ),
    Rule::each(
        "posts/a-handle-sends-for-other-threads",
        "A UdpSender sends from another thread in order, and wakes a sleeping loop.",
        remote_sends,
    ),
];

fn posts(stage: &Stage) -> Verdict {
    let (remote, alive) = (
        stage.event_loop.proxy(),
        stage.event_loop.proxy().keep_alive(),
    );
    let (tell, told) = mpsc::channel();
    let (awake, woken) = mpsc::channel();
    let poster = thread::spawn(move || {
        for number in 0..1000 {
            let tell = tell.clone();
            remote.post(move |_| {
                // The rule keeps the receiver until the end.
                let _ = tell.send((number, thread::current().id()));
            })?;
            if number % 100 == 0 {
                // Gives the loop time to fall asleep.
                let awake = awake.clone();
                remote.post(move |_| {
                    // The other side waits for this.
                    let _ = awake.send(());
                })?;
                woken.recv().map_err(|_| Errno::ECANCELED)?;
            }
        }
        remote.post(Loop::stop)
    });
    stage.to_the_end()?;
    drop(alive);
    ensure_eq!(
        poster.join().unwrap_or(Err(Errno::ECANCELED)),
        Ok(()),
        "the posts"
    );
    let here = thread::current().id();
    let ran: Vec<_> = told.try_iter().collect();
    ensure!(
        ran == (0..1000).map(|number| (number, here)).collect::<Vec<_>>(),
        "{} posts ran, or out of order",
        ran.len()
    );
    Ok(())
}

fn post_to_nobody(_: &Stage) -> Verdict {
    let event_loop = Loop::new()?;
    let remote = event_loop.proxy();
    let (tell, told) = mpsc::channel::<()>();
    let early = tell.clone();
    remote.post(move |_| drop(early))?;
    drop(event_loop);
    ensure_eq!(
        remote.post(move |_| drop(tell)),
        Err(Errno::ECANCELED),
        "post"
    );
    // The closures were dropped with their senders.
    ensure_eq!(
        told.recv(),
        Err(mpsc::RecvError),
        "the datagrams of the closures"
    );
    Ok(())
}

fn remote_sends(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (connected, unconnected) = (stage.connected(peer.address())?, stage.bound()?);
    let (first, second, to) = (connected.sender()?, unconnected.sender()?, peer.address());
    let (remote, alive) = (
        stage.event_loop.proxy(),
        stage.event_loop.proxy().keep_alive(),
    );
    let sender = thread::spawn(move || {
        for number in 0..50 {
            first.send(format!("connected {number}").into_bytes())?;
        }
        for number in 0..50 {
            second.send_to(format!("unconnected {number}").into_bytes(), to)?;
        }
        remote.post(move |_| drop(alive))
    });
    stage.to_the_end()?;
    ensure_eq!(
        sender.join().unwrap_or(Err(Errno::ECANCELED)),
        Ok(()),
        "the posts"
    );
    let texts = peer.recv_texts(100)?;
    for (prefix, source) in [("connected", &connected), ("unconnected", &unconnected)] {
        let expected: Vec<_> = (0..50).map(|number| format!("{prefix} {number}")).collect();
        let of_it: Vec<_> = texts
            .iter()
            .filter(|text| text.starts_with(prefix))
            .cloned()
            .collect();
        ensure_eq!(of_it, expected, "what {:?} sent", source.local_addr());
    }
    let remote = connected.sender()?;
    connected.close(|_| ())?;
    stage.to_the_end()?;
    remote.send(b"too late".to_vec())?;
    stage.to_the_end()?;
    ensure_eq!(peer.rest()?, [""; 0], "the datagrams after the close");
    Ok(())
}
