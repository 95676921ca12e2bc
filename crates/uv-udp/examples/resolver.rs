//! A stub resolver for DNS: it asks one server after another over a connected handle, until one of them answers.
//!
//! ```text
//! cargo run -p uv-udp --example resolver
//! cargo run -p uv-udp --example resolver -- example.org 9.9.9.9:53 1.1.1.1:53
//! ```
//!
//! Without servers to ask it has two of its own: one that is dead, and one that answers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use uv_udp::{Errno, Loop, Result, RunMode, Timer, Udp};

/// How long a server has for its answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// One question. Whoever asked holds it. The callbacks of its handles have weak references: with others it would keep itself
/// alive.
struct Lookup {
    udp: Udp,
    timer: Timer,
    servers: RefCell<VecDeque<SocketAddr>>,
    /// The message that goes out, but for the two bytes of its id.
    question: Vec<u8>,
    /// That of the message that went out last.
    id: Cell<[u8; 2]>,
    done: RefCell<Option<Done>>,
}

type Done = Box<dyn FnOnce(Result<Ipv4Addr>)>;

impl Lookup {
    /// Calls `done` once, from the loop, unless the lookup is dropped before that.
    fn start(
        event_loop: &Loop,
        name: &str,
        servers: VecDeque<SocketAddr>,
        done: Done,
    ) -> Result<Rc<Self>> {
        let lookup = Rc::new(Self {
            udp: Udp::new(event_loop),
            timer: Timer::new(event_loop),
            servers: RefCell::new(servers),
            question: question(name)?,
            id: Cell::default(),
            done: RefCell::new(Some(done)),
        });
        // The first time at once, but not inside this call, which may end in `done`.
        let this = Rc::downgrade(&lookup);
        lookup.timer.start(Duration::ZERO, TIMEOUT, move |_| {
            if let Some(lookup) = this.upgrade() {
                lookup.ask_next(Errno::ETIMEDOUT);
            }
        })?;
        Ok(lookup)
    }

    /// Asks the next server; without one the lookup ends with the `last` error.
    fn ask_next(self: &Rc<Self>, last: Errno) {
        let next = self.servers.borrow_mut().pop_front();
        let Some(server) = next else {
            return self.finish(Err(last));
        };
        println!("asking {server}");
        if let Err(error) = self.ask(server) {
            self.fail(self.id.get(), error);
        }
    }

    fn ask(self: &Rc<Self>, server: SocketAddr) -> Result<()> {
        let [id @ .., _, _, _, _, _, _] = RandomState::new().build_hasher().finish().to_be_bytes();
        self.id.set(id);
        self.udp.recv_stop()?;
        // From here on this server alone is heard.
        self.udp.connect(server)?;
        let this = Rc::downgrade(self);
        self.udp.recv_start(move |_, received| {
            let Some(lookup) = this.upgrade() else { return };
            match received {
                Ok(datagram) => lookup.hear(datagram.data),
                // Mostly `ECONNREFUSED`: nobody listens there, and that is known long before the timeout.
                Err(error) => lookup.fail(id, error.errno()),
            }
        })?;
        let this = Rc::downgrade(self);
        let message = [&id[..], &self.question].concat();
        self.udp.send(&message, move |_, result| {
            if let (Err(error), Some(lookup)) = (result, this.upgrade()) {
                lookup.fail(id, error);
            }
        })?;
        self.timer.again()
    }

    /// The message with this `id` will have no answer. Where another one went out since, that is not news.
    fn fail(self: &Rc<Self>, id: [u8; 2], error: Errno) {
        if self.id.get() == id && !self.udp.is_closing() {
            println!("no answer: {error}");
            self.ask_next(error);
        }
    }

    fn hear(&self, message: &[u8]) {
        // Whoever pretends to be the server has to guess the id. What has another one is passed over.
        if let Some(answer) = message.strip_prefix(&self.id.get()) {
            self.finish(address_in(answer, &self.question).ok_or(Errno::ENOENT));
        }
    }

    fn finish(&self, result: Result<Ipv4Addr>) {
        self.close();
        // Nothing is borrowed while a callback runs: it may use the lookup.
        let done = self.done.take();
        if let Some(done) = done {
            done(result);
        }
    }

    /// Handles that wait for something keep the loop running until they are closed. A second close is `EBADF`.
    fn close(&self) {
        let _ = self.udp.close(|_| ());
        let _ = self.timer.close(|_| ());
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.close();
    }
}

/// A message that asks for the address of `name`, without its id. `EINVAL` if that is not a name.
fn question(name: &str) -> Result<Vec<u8>> {
    // "Recursion desired"; one question.
    let mut message = vec![1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        let len = label.len().try_into().ok();
        message.push(
            len.filter(|len| (1..64).contains(len))
                .ok_or(Errno::EINVAL)?,
        );
        message.extend(label.bytes());
    }
    Ok([&message[..], &[0], &ADDRESS].concat())
}

/// The first address in an answer to `question`, both without their ids.
fn address_in(answer: &[u8], question: &[u8]) -> Option<Ipv4Addr> {
    let count = u16::from_be_bytes([*answer.get(4)?, *answer.get(5)?]);
    let mut records = answer.get(10..)?.strip_prefix(&question[10..])?;
    for _ in 0..count {
        // A name ends with an empty label, or with a pointer of two bytes.
        while let (&len @ 1..192, rest) = records.split_first()? {
            records = rest.get(len.into()..)?;
        }
        records = records.get(if records[0] == 0 { 1 } else { 2 }..)?;
        let (header, rest) = records.split_first_chunk::<10>()?;
        let len = u16::from_be_bytes([header[8], header[9]]);
        let (data, rest) = rest.split_at_checked(len.into())?;
        if let (true, &[a, b, c, d]) = (header.starts_with(&ADDRESS), data) {
            return Some(Ipv4Addr::new(a, b, c, d));
        }
        records = rest;
    }
    None
}

/// A server that gives every name the same address. It is no reason for the loop to go on.
fn serve(event_loop: &Loop) -> Result<SocketAddr> {
    let server = Udp::new(event_loop);
    server.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    server.unreference();
    server.recv_start(|server, received| {
        let Ok(datagram) = received else { return };
        let Some((id, rest)) = datagram.data.split_first_chunk::<2>() else {
            return;
        };
        let header = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        let record = [192, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7];
        let answer = [
            &id[..],
            &header,
            rest.get(10..).unwrap_or_default(),
            &record,
        ]
        .concat();
        // Whoever gets no answer asks again.
        let _ = server.send_to(&answer, datagram.source, uv_udp::ignore);
    })?;
    server.local_addr()
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let event_loop = Loop::new()?;
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or("example.org".into());
    let servers: std::result::Result<_, _> = arguments.map(|server| server.parse()).collect();
    let mut servers: VecDeque<SocketAddr> = servers?;
    if servers.is_empty() {
        let dead = Udp::new(&event_loop);
        dead.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        // The handle goes at the end of this block, and its port is nobody's then.
        servers.extend([dead.local_addr()?, serve(&event_loop)?]);
    }
    let done = |result: Result<_>| match result {
        Ok(address) => println!("the address is {address}"),
        Err(error) => println!("no address: {error}"),
    };
    let _lookup = Lookup::start(&event_loop, &name, servers, Box::new(done))?;
    event_loop.run(RunMode::Default)?;
    Ok(())
}
