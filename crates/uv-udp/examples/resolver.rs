//! A stub resolver for DNS: it asks one server after another over a connected handle, until one
//! answers.
//!
//! ```text
//! cargo run -p uv-udp --example resolver
//! cargo run -p uv-udp --example resolver -- example.org 9.9.9.9:53 1.1.1.1:53
//! ```
//!
//! Without arguments it asks two local servers: a closed port, and one that answers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use uv_udp::{Errno, Loop, Result, RunMode, Timer, Udp};

/// The time that a server has for its answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Type A, class IN.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// One question. The callbacks of its handles have weak references to it: strong ones would keep it
/// alive.
struct Lookup {
    udp: Udp,
    timer: Timer,
    servers: RefCell<VecDeque<SocketAddr>>,
    /// The message, without the two bytes of its id.
    question: Vec<u8>,
    /// The id of the last message.
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
        // The timer asks the first server, because this call must not call `done`.
        let this = Rc::downgrade(&lookup);
        lookup.timer.start(Duration::ZERO, TIMEOUT, move |_| {
            if let Some(lookup) = this.upgrade() {
                lookup.ask_next(Errno::ETIMEDOUT);
            }
        })?;
        Ok(lookup)
    }

    /// Asks the next server. After the last one, the lookup ends with the `last` error.
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
        // From here on only this server's datagrams are delivered.
        self.udp.connect(server)?;
        let this = Rc::downgrade(self);
        self.udp.recv_start(move |_, received| {
            let Some(lookup) = this.upgrade() else { return };
            match received {
                Ok(datagram) => lookup.on_answer(datagram.data),
                // Typically `ECONNREFUSED`: the port is closed, known long before the timeout.
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

    /// Asks the next server, because the message with this `id` gets no answer. An error about an
    /// older message is ignored.
    fn fail(self: &Rc<Self>, id: [u8; 2], error: Errno) {
        if self.id.get() == id && !self.udp.is_closing() {
            println!("no answer: {error}");
            self.ask_next(error);
        }
    }

    fn on_answer(&self, message: &[u8]) {
        // The id is random: a forged answer would have to guess it.
        if let Some(answer) = message.strip_prefix(&self.id.get()) {
            self.finish(address_in(answer, &self.question).ok_or(Errno::ENOENT));
        }
    }

    fn finish(&self, result: Result<Ipv4Addr>) {
        self.close();
        // Borrowed no longer while the callback runs: it may use the lookup.
        let done = self.done.take();
        if let Some(done) = done {
            done(result);
        }
    }

    /// Closes the handles, which would keep the loop running. A second close is `EBADF`.
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

/// A question for the address of `name`, without its id. `EINVAL` for an invalid name.
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

/// Starts a server with the same address for every name. It does not keep the loop running.
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
        // After an error, the client's timeout ends the wait.
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
        // Dropped at the end of this block, which closes the port.
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
