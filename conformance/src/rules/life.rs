//! The life of a handle: its references, closing, and calls of callbacks on it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use uv_udp::{Errno, Loop, RunMode, Udp};

use crate::rule::Rule;
use crate::sockets::Sockets;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::{Counter, Inbox, Log, Results, numbered, text};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "life/close-calls-back-once",
        "The close callback runs once, from the loop, after the socket is closed.",
        close_calls_back,
    ),
    Rule::each(
        "life/closing-twice-is-ebadf",
        "A second close is EBADF and drops its callback; the first callback runs.",
        close_twice,
    ),
    Rule::each(
        "life/a-receive-callback-may-close-its-handle",
        "After a receive callback closed its handle, it does not run again.",
        close_in_receive_callback,
    ),
    Rule::each(
        "life/a-send-callback-may-close-its-handle",
        "After a send callback closed its handle, the other sends complete before the close callback.",
        close_in_send_callback,
    ),
    Rule::each(
        "life/a-callback-may-close-another-handle",
        "After a callback closed another handle, the callbacks of that handle do not run, although data has arrived.",
        close_another,
    ),
    Rule::each(
        "life/a-callback-may-drop-the-last-reference",
        "A callback may drop the last reference to its own or to another handle.",
        drop_in_callback,
    ),
    Rule::each(
        "life/a-callback-may-stop-and-start-receiving",
        "A receive callback may stop receiving, and may start it with another callback.",
        stop_and_start,
    ),
    Rule::each(
        "life/what-arrives-while-stopped-waits",
        "Datagrams that arrive between recv_stop and recv_start are delivered afterwards, in order.",
        waits_while_stopped,
    ),
    Rule::each(
        "life/an-active-handle-outlives-its-references",
        "A handle that receives or sends stays open without references until it is done.",
        active_outlives_holders,
    ),
    Rule::each(
        "life/an-inactive-handle-closes-when-dropped",
        "Dropping the last reference to an inactive handle closes its socket.",
        inactive_closes,
    ),
    Rule::each(
        "life/a-handle-without-work-keeps-no-loop-alive",
        "run returns when no handle receives or sends, and when only unreferenced handles do.",
        loop_ends,
    ),
    Rule::each(
        "life/a-panic-in-a-receive-callback-reaches-run",
        "A panic in a receive callback reaches the caller of run, and the handle delivers the other datagrams.",
        panic_in_receive_callback,
    ),
    Rule::each(
        "life/a-panic-in-a-send-callback-reaches-run",
        "A panic in a send callback reaches the caller of run, and the other sends complete.",
        panic_in_send_callback,
    ),
    Rule::each(
        "life/a-panic-in-a-close-callback-reaches-run",
        "A panic in a close callback reaches the caller of run, and other handles work.",
        panic_in_close_callback,
    ),
    Rule::each(
        "life/without-its-loop-every-call-is-ebadf",
        "After its loop is dropped, a handle is closed, its calls are EBADF, and no callback runs.",
        without_loop,
    ),
];

fn close_calls_back(stage: &Stage) -> Verdict {
    let udp = stage.bound()?;
    let seen = Log::default();
    let log = seen.clone();
    let sockets = Sockets::of(&udp)?;
    udp.close(move |udp| log.push((udp.is_closing(), sockets.open().unwrap_or(1) == 0)))?;
    let closing = udp.is_closing() && !udp.is_active();
    ensure!(closing, "the state after close");
    ensure_eq!(seen.len(), 0, "calls before the loop runs");
    stage.until("the close callback is called", || seen.len() > 0)?;
    stage.a_little_longer()?;
    ensure_eq!(
        seen.all(),
        [(true, true)],
        "whether it is closing and its address is free, in the callback"
    );
    Ok(())
}

fn close_twice(stage: &Stage) -> Verdict {
    let udp = stage.bound()?;
    let (first, second, token) = (Counter::default(), Counter::default(), Rc::new(()));
    let (count, again, dropped) = (first.clone(), second.clone(), Rc::clone(&token));
    udp.close(move |_| count.up())?;
    let result = udp.close(move |_| {
        again.up();
        drop(dropped);
    });
    ensure_eq!(result, Err(Errno::EBADF), "the second close");
    ensure_eq!(
        Rc::strong_count(&token),
        1,
        "owners of the value in the second callback"
    );
    stage.to_the_end()?;
    ensure_eq!(udp.close(|_| ()), Err(Errno::EBADF), "a third close");
    ensure_eq!(
        (first.get(), second.get()),
        (1, 0),
        "calls of the first and the second callback"
    );
    Ok(())
}

fn close_in_receive_callback(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (received, closed) = (Counter::default(), Log::default());
    let udp = stage.bound()?;
    let (count, log) = (received.clone(), closed.clone());
    for _ in 0..10 {
        peer.send("hello", udp.local_addr()?)?;
    }
    udp.recv_start(move |udp, _| {
        count.up();
        let (log, count) = (log.clone(), count.clone());
        // A second call would be EBADF, and is a failure.
        let _ = udp.close(move |_| log.push(count.get()));
    })?;
    stage.to_the_end()?;
    ensure_eq!(
        closed.all(),
        [1],
        "receive callbacks before the close callback"
    );
    ensure_eq!(received.get(), 1, "receive callbacks in all");
    Ok(())
}

fn close_in_send_callback(stage: &Stage) -> Verdict {
    let (peer, results, closed) = (stage.raw()?, Results::default(), Log::default());
    let udp = stage.connected(peer.address())?;
    let (log, done) = (closed.clone(), results.clone());
    let first = results.of(0);
    udp.send(&numbered(0, 10), move |udp, result| {
        first(udp, result);
        let again = log.clone();
        if let Err(error) = udp.close(move |_| again.push(Ok(done.len()))) {
            log.push(Err(error));
        }
    })?;
    for number in 1..20 {
        udp.send(&numbered(number, 10), results.of(number))?;
    }
    stage.to_the_end()?;
    ensure_eq!(
        closed.all(),
        [Ok(20)],
        "completions before the close callback"
    );
    let order: Vec<_> = results.all().iter().map(|&(number, _)| number).collect();
    ensure_eq!(
        order,
        (0..20).collect::<Vec<_>>(),
        "the order of completions"
    );
    ensure_eq!(
        peer.rest()?.len(),
        results.with(Ok(())).len(),
        "datagrams that arrived, of those sent"
    );
    Ok(())
}

fn close_another(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let handles: Rc<RefCell<Vec<Udp>>> = Rc::default();
    let (received, closed) = (Counter::default(), Counter::default());
    for _ in 0..5 {
        let udp = stage.bound()?;
        let (all, count, done) = (Rc::clone(&handles), received.clone(), closed.clone());
        udp.recv_start(move |_, _| {
            count.up();
            for each in all.take() {
                let done = done.clone();
                // Only the first callback finds open handles.
                let _ = each.close(move |_| done.up());
            }
        })?;
        handles.borrow_mut().push(udp);
    }
    // All handles are ready in the same poll.
    let addresses: Result<Vec<_>, _> = handles.borrow().iter().map(Udp::local_addr).collect();
    for address in addresses? {
        peer.send("hello", address)?;
    }
    stage.to_the_end()?;
    ensure_eq!(received.get(), 1, "receive callbacks");
    ensure_eq!(closed.get(), 5, "close callbacks");
    Ok(())
}

fn drop_in_callback(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    // The handle itself, in a receive callback: recv_stop makes it inactive.
    let udp = stage.bound()?;
    let (here, own) = (udp.local_addr()?, Rc::new(RefCell::new(Some(udp.clone()))));
    peer.send("hello", here)?;
    peer.send("hello", here)?;
    let holder = Rc::clone(&own);
    udp.recv_start(move |udp, _| {
        let _ = udp.recv_stop();
        drop(holder.take());
    })?;
    let sockets = Sockets::of(&udp)?;
    drop(udp);
    stage.to_the_end()?;
    ensure!(own.borrow().is_none(), "the callback was not called");
    sockets.are_closed()?;
    // The handle itself, in a send callback, and another inactive one.
    let (sender, other) = (stage.connected(peer.address())?, stage.bound()?);
    let sockets = [Sockets::of(&sender)?, Sockets::of(&other)?];
    let held = Rc::new(RefCell::new(vec![sender.clone(), other]));
    let holder = Rc::clone(&held);
    sender.send(b"bye", move |_, _| drop(holder.take()))?;
    drop(sender);
    stage.to_the_end()?;
    ensure!(held.borrow().is_empty(), "the callback was not called");
    for each in sockets {
        each.are_closed()?;
    }
    ensure_eq!(peer.recv_text()?, "bye", "the received datagrams");
    Ok(())
}

fn stop_and_start(stage: &Stage) -> Verdict {
    let (peer, seen) = (stage.raw()?, Log::default());
    let udp = stage.bound()?;
    for number in 0..4 {
        peer.send(number.to_string(), udp.local_addr()?)?;
    }
    let log = seen.clone();
    udp.recv_start(move |udp, received| {
        log.push(("first", received.map(|datagram| text(datagram.data)).ok()));
        let second = log.clone();
        let replaced = udp.recv_stop().and_then(|()| {
            udp.recv_start(move |_, received| {
                second.push(("second", received.map(|datagram| text(datagram.data)).ok()));
            })
        });
        if let Err(error) = replaced {
            log.push(("refused", Some(error.to_string())));
        }
    })?;
    stage.until("all arrive", || seen.len() == 4)?;
    let by = ["first", "second", "second", "second"];
    let expected: Vec<_> = by
        .iter()
        .zip(0..)
        .map(|(by, number): (_, usize)| (*by, Some(number.to_string())))
        .collect();
    ensure_eq!(seen.all(), expected, "who got what");
    Ok(())
}

fn waits_while_stopped(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let udp = stage.bound()?;
    let here = udp.local_addr()?;
    let inbox = Inbox::of(&udp)?;
    peer.send("0", here)?;
    stage.until("the first arrives", || inbox.len() == 1)?;
    udp.recv_stop()?;
    for number in 1..50 {
        peer.send(number.to_string(), here)?;
        stage.a_little_longer()?;
    }
    ensure_eq!(inbox.len(), 1, "datagrams delivered while stopped");
    inbox.listen(&udp)?;
    stage.until("the rest arrives", || inbox.len() == 50)?;
    let expected: Vec<_> = (0..50).map(|number: usize| number.to_string()).collect();
    ensure_eq!(inbox.texts(), expected, "the inbox");
    Ok(())
}

fn active_outlives_holders(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let receiver = stage.bound()?;
    let (here, inbox) = (receiver.local_addr()?, Inbox::of(&receiver)?);
    drop(receiver);
    peer.send("hello", here)?;
    stage.until("a datagram arrives", || inbox.len() == 1)?;
    let sender = stage.connected(peer.address())?;
    let sockets = Sockets::of(&sender)?;
    sender.send(b"1", results.of(1))?;
    sender.send(b"2", results.of(2))?;
    drop(sender);
    stage.until("both complete", || results.len() == 2)?;
    ensure_eq!(results.with(Ok(())), [1, 2], "sends that went well");
    stage.a_little_longer()?;
    // Without work the handle has no owner.
    sockets.are_closed()
}

fn inactive_closes(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    for udp in [stage.bound()?, stage.connected(peer.address())?] {
        let (sockets, second) = (Sockets::of(&udp)?, udp.clone());
        drop(udp);
        ensure_eq!(sockets.open()?, 1, "sockets with a reference left");
        drop(second);
        sockets.are_closed()?;
    }
    Ok(())
}

fn loop_ends(stage: &Stage) -> Verdict {
    let peer = stage.raw()?;
    let (bound, sender) = (stage.bound()?, stage.connected(peer.address())?);
    ensure!(!stage.event_loop.alive(), "the loop is alive without work");
    sender.send(b"x", uv_udp::ignore)?;
    ensure!(
        stage.event_loop.alive(),
        "the loop is not alive with a send under way"
    );
    stage.to_the_end()?;
    Inbox::of(&bound)?;
    ensure!(
        stage.event_loop.alive(),
        "the loop is not alive with a handle that receives"
    );
    bound.unreference();
    ensure!(
        bound.is_active() && !bound.has_ref() && !stage.event_loop.alive(),
        "unreferenced, it keeps the loop alive"
    );
    stage.to_the_end()?;
    bound.reference();
    ensure!(
        stage.event_loop.alive(),
        "the loop is not alive with a handle that is referenced again"
    );
    bound.recv_stop()?;
    stage.to_the_end()
}

/// Runs the loop until a callback panics, without the message of the panic.
fn run_into_panic(event_loop: &Loop) -> Result<String, Broken> {
    for _ in 0..1000 {
        match catch_unwind(AssertUnwindSafe(|| event_loop.run(RunMode::NoWait))) {
            Ok(alive) => alive.map(drop)?,
            Err(payload) => {
                return Ok(payload
                    .downcast_ref::<&str>()
                    .copied()
                    .unwrap_or_default()
                    .to_owned());
            }
        }
    }
    Err(Broken::new("no panic reached the caller of run"))
}

fn panic_on_purpose() {
    resume_unwind(Box::new("on purpose"));
}

fn panic_in_receive_callback(stage: &Stage) -> Verdict {
    let (peer, seen) = (stage.raw()?, Log::default());
    let udp = stage.bound()?;
    for number in 0..5 {
        peer.send(number.to_string(), udp.local_addr()?)?;
    }
    let log = seen.clone();
    udp.recv_start(move |_, received| {
        log.push(
            received
                .map(|datagram| text(datagram.data))
                .unwrap_or_default(),
        );
        if log.len() == 2 {
            panic_on_purpose();
        }
    })?;
    ensure_eq!(
        run_into_panic(&stage.event_loop)?,
        "on purpose",
        "what reached the caller of run"
    );
    stage.until("the others arrive", || seen.len() == 5)?;
    ensure_eq!(
        seen.all(),
        ["0", "1", "2", "3", "4"],
        "the received datagrams"
    );
    peer.send("5", udp.local_addr()?)?;
    stage.until("one more arrives", || seen.len() == 6)
}

fn panic_in_send_callback(stage: &Stage) -> Verdict {
    let (peer, results) = (stage.raw()?, Results::default());
    let udp = stage.connected(peer.address())?;
    for number in 0..10 {
        let done = results.of(number);
        udp.send(&numbered(number, 10), move |udp, result| {
            done(udp, result);
            if number == 3 {
                panic_on_purpose();
            }
        })?;
    }
    ensure_eq!(
        run_into_panic(&stage.event_loop)?,
        "on purpose",
        "what reached the caller of run"
    );
    stage.until("the others complete", || results.len() == 10)?;
    ensure_eq!(
        results.with(Ok(())),
        (0..10).collect::<Vec<_>>(),
        "sends that went well"
    );
    ensure_eq!(peer.recv_texts(10)?.len(), 10, "datagrams that arrived");
    stage.to_the_end()?;
    ensure!(!udp.is_active(), "the handle is still active");
    Ok(())
}

fn panic_in_close_callback(stage: &Stage) -> Verdict {
    let (peer, closed) = (stage.raw()?, Counter::default());
    let (first, second, third) = (stage.bound()?, stage.bound()?, stage.bound()?);
    let inbox = Inbox::of(&third)?;
    first.close(|_| panic_on_purpose())?;
    let count = closed.clone();
    second.close(move |_| count.up())?;
    ensure_eq!(
        run_into_panic(&stage.event_loop)?,
        "on purpose",
        "what reached the caller of run"
    );
    stage.until("the other close callback is called", || closed.get() == 1)?;
    peer.send("hello", third.local_addr()?)?;
    stage.until("a third handle receives", || inbox.len() == 1)?;
    stage.a_little_longer()?;
    ensure_eq!(
        first.close(|_| ()),
        Err(Errno::EBADF),
        "closing the first again"
    );
    Ok(())
}

fn without_loop(stage: &Stage) -> Verdict {
    let (peer, called) = (stage.raw()?, Counter::default());
    let event_loop = Loop::new()?;
    let (udp, closing) = (Udp::new(&event_loop), Udp::new(&event_loop));
    let (received, sent, closed, cycle) =
        (called.clone(), called.clone(), called.clone(), udp.clone());
    udp.connect(peer.address())?;
    let here = udp.local_addr()?;
    // A callback that holds its own handle.
    udp.recv_start(move |_, _| {
        received.up();
        drop(cycle.clone());
    })?;
    peer.send("never delivered", here)?;
    udp.send(b"x", move |_, _| sent.up())?;
    closing.bind(stage.loopback())?;
    closing.close(move |_| closed.up())?;
    let sockets = Sockets::of(&udp)?;
    drop(event_loop);
    ensure_eq!(udp.try_send(b"x"), Err(Errno::EBADF), "try_send");
    ensure_eq!(udp.local_addr(), Err(Errno::EBADF), "local_addr");
    ensure_eq!(udp.close(|_| ()), Err(Errno::EBADF), "close");
    ensure!(udp.event_loop().is_none(), "there still is a loop");
    ensure_eq!(called.get(), 0, "callbacks called");
    sockets.are_closed()
}
