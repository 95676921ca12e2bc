//! A handle type on uv-core's public API: one end of a pair of Unix datagram sockets, with a send
//! queue, a receive callback and a close callback.
//!
//! ```text
//! cargo run -p uv-core --example unix_datagram
//! ```

use std::cell::{Cell, RefCell};
use std::io::IoSliceMut;
use std::os::unix::net::UnixDatagram;
use std::rc::{Rc, Weak};

use uv_core::{
    Callback, Errno, Handle, Interest, Loop, Phase, PollSource, Pool, RequestQueue, Result,
    RunMode, Source,
};
use uv_sys::message::{recvmsg, sendmsg};
use uv_sys::{RecvOptions, Transmit};

/// Datagrams that one end receives per report, so that other handles are not delayed.
const MAX_RECEIVED: usize = 64;

/// One end of a pair. A clone is another reference to the same end.
#[derive(Clone)]
struct UnixEnd(Rc<Inner>);

type OnSent = Box<dyn FnOnce(&UnixEnd, Result<()>)>;
type OnDatagram = dyn FnMut(&UnixEnd, &[u8]);
type OnClose = Box<dyn FnOnce(&UnixEnd)>;

struct Inner {
    handle: Handle,
    /// The socket in the loop's poller; `None` once the end is closed.
    socket: RefCell<Option<PollSource>>,
    queue: RefCell<RequestQueue<(), OnSent>>,
    /// Whether the socket buffer had no room for the oldest datagram of the queue.
    blocked: Cell<bool>,
    receiving: Cell<bool>,
    on_datagram: Callback<OnDatagram>,
    on_close: RefCell<Option<OnClose>>,
}

impl UnixEnd {
    fn pair(event_loop: &Loop) -> Result<(Self, Self)> {
        let (one, other) = UnixDatagram::pair()?;
        Ok((Self::new(event_loop, one)?, Self::new(event_loop, other)?))
    }

    fn new(event_loop: &Loop, socket: UnixDatagram) -> Result<Self> {
        let inner = Rc::new_cyclic(|this: &Weak<Inner>| Inner {
            handle: Handle::new(event_loop, this.clone()),
            socket: RefCell::new(None),
            queue: RefCell::new(RequestQueue::new(event_loop.local(Pool::default))),
            blocked: Cell::new(false),
            receiving: Cell::new(false),
            on_datagram: Callback::new(),
            on_close: RefCell::new(None),
        });
        // The descriptor's mode does not matter: the system calls of uv-sys never wait.
        let socket = inner
            .handle
            .register(socket.into())
            .map_err(|(errno, _)| errno)?;
        *inner.socket.borrow_mut() = Some(socket);
        Ok(Self(inner))
    }

    /// Accepts a datagram. Datagrams accepted in one iteration leave together, before the loop
    /// polls.
    fn send(&self, datagram: &[u8], sent: impl FnOnce(&Self, Result<()>) + 'static) -> Result<()> {
        self.0.handle.check_open()?;
        let mut queue = self.0.queue.borrow_mut();
        queue.push(datagram.into(), (), Box::new(sent))?;
        drop(queue);
        self.0.handle.schedule(Phase::Flush);
        self.0.update()
    }

    fn receive(&self, callback: impl FnMut(&Self, &[u8]) + 'static) -> Result<()> {
        self.0.handle.check_open()?;
        self.0.on_datagram.set(Box::new(callback));
        self.0.receiving.set(true);
        self.0.update()
    }

    /// Queued datagrams complete with `ECANCELED` before `callback` is called.
    fn close(&self, callback: impl FnOnce(&Self) + 'static) -> Result<()> {
        self.0.handle.close()?;
        *self.0.on_close.borrow_mut() = Some(Box::new(callback));
        self.0.shut();
        Ok(())
    }
}

impl Inner {
    /// Updates whether the end is active, and the poller's interest.
    fn update(&self) -> Result<()> {
        let (receiving, queued) = (self.receiving.get(), self.queue.borrow().count() > 0);
        self.handle.set_active(receiving || queued);
        let mut interest = Interest::NONE;
        interest.set(Interest::READABLE, receiving);
        interest.set(Interest::WRITABLE, self.blocked.get());
        match &*self.socket.borrow() {
            Some(socket) => socket.set_interest(interest),
            None => Ok(()),
        }
    }

    fn flush(&self) -> Result<()> {
        let (socket, mut queue) = (self.socket.borrow(), self.queue.borrow_mut());
        self.blocked.set(false);
        while let (Some(socket), Some(datagram)) = (&*socket, queue.pending().take(1)) {
            match sendmsg(socket, &Transmit::new(datagram)) {
                Err(Errno::EAGAIN) => {
                    self.blocked.set(true);
                    break;
                }
                result => queue.complete(1, result.map(drop)),
            }
        }
        drop((socket, queue));
        // Callbacks run in a phase of their own: not inside a call of the user, and without a
        // borrow.
        self.handle.schedule(Phase::Completions);
        self.update()
    }

    /// Calls the callbacks of completed requests.
    fn complete(&self, end: &UnixEnd) -> Result<()> {
        loop {
            let completed = self.queue.borrow_mut().pop_completed();
            let Some((sent, result)) = completed else {
                return self.update();
            };
            // If `sent` panics, the scheduled phase continues with the next one.
            self.handle.schedule(Phase::Completions);
            sent(end, result);
        }
    }

    fn receive(&self, end: &UnixEnd) {
        let mut memory = [0; 2048];
        let options = RecvOptions::new().with_source(false);
        for _ in 0..MAX_RECEIVED {
            let received = match &*self.socket.borrow() {
                Some(socket) if self.receiving.get() => {
                    recvmsg(socket, &mut [IoSliceMut::new(&mut memory)], options)
                }
                _ => return,
            };
            // The poller reports the rest again.
            let Ok(received) = received else { return };
            self.on_datagram
                .call(|callback| callback(end, &memory[..received.len]));
        }
    }

    fn shut(&self) {
        self.receiving.set(false);
        self.on_datagram.clear();
        drop(self.socket.take());
        self.queue.borrow_mut().cancel(Errno::ECANCELED);
    }
}

impl Source for Inner {
    fn handle(&self) -> &Handle {
        &self.handle
    }

    fn on_ready(self: Rc<Self>, readiness: Interest) {
        if readiness.contains(Interest::WRITABLE) && self.blocked.get() {
            self.handle.schedule(Phase::Flush);
        }
        if readiness.contains(Interest::READABLE) {
            self.receive(&UnixEnd(Rc::clone(&self)));
        }
    }

    fn on_phase(self: Rc<Self>, phase: Phase) {
        let end = UnixEnd(Rc::clone(&self));
        let done = match phase {
            Phase::Flush => self.flush(),
            Phase::Completions => self.complete(&end),
            Phase::Closing => {
                let done = self.complete(&end);
                if let Some(callback) = self.on_close.take() {
                    callback(&end);
                }
                done
            }
            Phase::LoopDropped => {
                self.shut();
                drop(self.on_close.take());
                // Dropped without a borrow: the captures of the callbacks may use this end.
                let queue = self.queue.replace(RequestQueue::new(Rc::default()));
                drop(queue);
                Ok(())
            }
            _ => Ok(()),
        };
        // The poller accepts any socket, and refuses one only if it has no memory.
        done.expect("the loop can poll a socket");
    }
}

fn main() -> Result<()> {
    const DATAGRAMS: usize = 1_000;
    let event_loop = Loop::new()?;
    let (one, other) = UnixEnd::pair(&event_loop)?;
    let [sent, received, canceled, closed] = [(); 4].map(|()| Rc::new(Cell::new(0)));
    let up = |counter: &Rc<Cell<usize>>| counter.set(counter.get() + 1);

    // More than the socket buffer holds, so that the queue has to wait for the receiver.
    for index in 0..DATAGRAMS {
        let sent = Rc::clone(&sent);
        one.send(&index.to_be_bytes(), move |_, result| {
            assert_eq!(result, Ok(()));
            up(&sent);
        })?;
    }
    let counters = [&received, &canceled, &closed].map(Rc::clone);
    other.receive(move |other, datagram| {
        let [received, canceled, closed] = &counters;
        assert_eq!(datagram, received.get().to_be_bytes());
        up(received);
        if received.get() == DATAGRAMS {
            let (canceled, closed) = (Rc::clone(canceled), Rc::clone(closed));
            let late = move |_: &UnixEnd, result| {
                assert_eq!(result, Err(Errno::ECANCELED));
                up(&canceled);
            };
            other.send(b"too late", late).unwrap();
            other.close(move |_| up(&closed)).unwrap();
            assert_eq!(other.send(b"", |_, _| ()), Err(Errno::EBADF));
        }
    })?;

    assert!(!event_loop.run(RunMode::Default)?);
    let counts = [&sent, &received, &canceled, &closed].map(|counter| counter.get());
    assert_eq!(counts, [DATAGRAMS, DATAGRAMS, 1, 1]);
    println!("{DATAGRAMS} datagrams sent and received in order");
    Ok(())
}
