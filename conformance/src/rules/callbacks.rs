//! A callback never runs inside a call that the user makes.

use std::cell::Cell;
use std::rc::Rc;

use uv_udp::{Result, Udp};

use crate::raw::DeadPeer;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Verdict, ensure_eq};
use crate::watch::{Counter, Log};

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "callbacks/none-inside-send",
        "send and send_to run no callback, whether the datagram leaves at once or is queued.",
        none_inside_send,
    ),
    Rule::each(
        "callbacks/none-inside-try-send",
        "try_send runs no callback, also when it gets the error of an earlier datagram.",
        none_inside_try_send,
    ),
    Rule::each(
        "callbacks/none-inside-connect-and-disconnect",
        "connect and disconnect run no callback of queued sends.",
        none_inside_connect,
    ),
    Rule::each(
        "callbacks/none-inside-close",
        "close runs neither callbacks of queued sends nor the close callback.",
        none_inside_close,
    ),
    Rule::each(
        "callbacks/none-inside-recv-start",
        "recv_start runs no callback, whether datagrams wait in the socket or in the handle.",
        none_inside_recv_start,
    ),
    Rule::each(
        "callbacks/none-inside-another",
        "No callback runs inside another one, whatever calls that one makes.",
        none_inside_another,
    ),
];

/// Counts callbacks, and those that ran inside a call.
#[derive(Clone, Default)]
struct Calls {
    under_way: Rc<Cell<bool>>,
    callbacks: Log<bool>,
}

impl Calls {
    fn make<T>(&self, call: impl FnOnce() -> T) -> T {
        self.under_way.set(true);
        let result = call();
        self.under_way.set(false);
        result
    }

    fn called_back(&self) {
        self.callbacks.push(self.under_way.get());
    }

    /// A send callback.
    fn sent(&self) -> impl FnOnce(&Udp, Result<()>) + 'static {
        let calls = self.clone();
        move |_, _| calls.called_back()
    }

    /// Starts receiving.
    fn receive(&self, udp: &Udp) -> Result<()> {
        let calls = self.clone();
        udp.recv_start(move |_, _| calls.called_back())
    }

    /// Waits for this many callbacks, none of them inside a call.
    fn come_from_the_loop(&self, stage: &Stage, count: usize) -> Verdict {
        stage.until("every callback was called", || {
            self.callbacks.len() >= count
        })?;
        stage.a_little_longer()?;
        ensure_eq!(
            self.callbacks.all(),
            vec![false; count],
            "callbacks inside a call"
        );
        Ok(())
    }
}

fn none_inside_send(stage: &Stage) -> Verdict {
    let (peer, calls) = (stage.raw()?, Calls::default());
    let udp = stage.bound()?;
    for _ in 0..3 {
        calls.make(|| udp.send_to(b"x", peer.address(), calls.sent()))?;
    }
    calls.come_from_the_loop(stage, 3)?;
    udp.connect(peer.address())?;
    for _ in 0..100 {
        calls.make(|| udp.send(b"x", calls.sent()))?;
    }
    calls.come_from_the_loop(stage, 103)
}

fn none_inside_try_send(stage: &Stage) -> Verdict {
    let (dead, calls) = (DeadPeer::new(stage.family)?, Calls::default());
    let udp = stage.connected(dead.address())?;
    calls.receive(&udp)?;
    calls.make(|| udp.try_send(b"refused"))?;
    calls.make(|| udp.try_send(b"refused, after the news of the first"))?;
    // The second error may still be in the socket.
    stage.until("the errors are reported", || calls.callbacks.len() == 2)?;
    calls.come_from_the_loop(stage, 2)
}

fn none_inside_connect(stage: &Stage) -> Verdict {
    let (first, second, calls) = (stage.raw()?, stage.raw()?, Calls::default());
    let udp = stage.connected(first.address())?;
    for _ in 0..3 {
        udp.send(b"x", calls.sent())?;
    }
    calls.make(|| udp.connect(second.address()))?;
    for _ in 0..3 {
        udp.send(b"x", calls.sent())?;
    }
    calls.make(|| udp.disconnect())?;
    for _ in 0..3 {
        udp.send_to(b"x", first.address(), calls.sent())?;
    }
    calls.make(|| udp.connect(first.address()))?;
    calls.come_from_the_loop(stage, 9)
}

fn none_inside_close(stage: &Stage) -> Verdict {
    let (peer, calls) = (stage.raw()?, Calls::default());
    let udp = stage.connected(peer.address())?;
    calls.receive(&udp)?;
    peer.send("never delivered", udp.local_addr()?)?;
    for _ in 0..3 {
        udp.send(b"x", calls.sent())?;
    }
    let closed = calls.clone();
    calls.make(|| udp.close(move |_| closed.called_back()))?;
    calls.come_from_the_loop(stage, 4)
}

fn none_inside_recv_start(stage: &Stage) -> Verdict {
    let (peer, calls) = (stage.raw()?, Calls::default());
    let udp = stage.bound()?;
    let send = |count: usize| (0..count).try_for_each(|_| peer.send("x", udp.local_addr()?));
    send(3)?;
    // Datagrams in the socket.
    calls.make(|| calls.receive(&udp))?;
    calls.come_from_the_loop(stage, 3)?;
    // Datagrams in the handle, from the read call whose callback stopped receiving.
    udp.recv_stop()?;
    let stopped = Counter::default();
    let count = stopped.clone();
    send(3)?;
    udp.recv_start(move |udp, _| {
        count.up();
        let _ = udp.recv_stop();
    })?;
    stage.until("one is delivered", || stopped.get() == 1)?;
    calls.make(|| calls.receive(&udp))?;
    calls.come_from_the_loop(stage, 5)
}

/// Counts callbacks on the stack.
#[derive(Clone, Default)]
struct Depth {
    now: Rc<Cell<usize>>,
    seen: Log<(usize, Result<()>)>,
}

impl Depth {
    fn inside(&self, work: impl FnOnce() -> Result<()>) {
        self.now.set(self.now.get() + 1);
        let result = work();
        self.seen.push((self.now.get(), result));
        self.now.set(self.now.get() - 1);
    }
}

fn none_inside_another(stage: &Stage) -> Verdict {
    let (peer, depth) = (stage.raw()?, Depth::default());
    let (server, other) = (stage.bound()?, stage.connected(peer.address())?);
    for _ in 0..2 {
        let sent = depth.clone();
        other.send(b"x", move |_, result| sent.inside(|| result))?;
    }
    let receiving = depth.clone();
    server.recv_start(move |server, received| {
        receiving.inside(|| {
            let datagram = received?;
            for _ in 0..2 {
                let sent = receiving.clone();
                let callback = move |_: &Udp, result| sent.inside(|| result);
                server.send_to(datagram.data, datagram.source, callback)?;
            }
            let closed = receiving.clone();
            other.close(move |_| closed.inside(|| Ok(())))?;
            server.recv_stop()
        });
    })?;
    peer.send("hello", server.local_addr()?)?;
    // One receive callback, four send callbacks, one close callback.
    stage.until("every callback was called", || depth.seen.len() >= 6)?;
    let expected = vec![(1, Ok(())); 6];
    ensure_eq!(depth.seen.all(), expected, "callbacks on the stack");
    Ok(())
}
