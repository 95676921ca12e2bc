//! The main thing in a minute, on loopback, with nothing to configure: an echo server and a connected client as fast as
//! they go, and then the proposal as a story, each step with what was expected and what came.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{IsTerminal, stdout};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use uv_udp::{Errno, Family, Loop, Result, RunMode, Timer, Udp};

use crate::conform::DeadPeer;

/// An answer on loopback that takes longer than this does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long, and how large.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Seconds of echoing.
    pub seconds: u32,
    /// Bytes in each datagram, up to 65,507.
    pub size: usize,
}

/// Shows everything, and says whether all of it held.
///
/// # Errors
///
/// Whatever the system says to what must work everywhere, like making a socket.
pub fn run(options: Options) -> Result<bool> {
    let mut tale = Tale::default();
    echo(options, &mut tale)?;
    story(&mut tale)?;
    println!();
    println!(
        "{}",
        match tale.broken {
            0 => "All of it held.".to_owned(),
            broken => format!("{broken} of {} did not hold.", tale.told),
        }
    );
    Ok(tale.broken == 0)
}

/// Tells what was expected and what came, step by step.
#[derive(Default)]
struct Tale {
    told: usize,
    broken: usize,
}

impl Tale {
    fn chapter(&self, title: impl fmt::Display) {
        println!("\n{title}\n");
    }

    fn step(&mut self, what: &str, expected: impl fmt::Display, came: impl fmt::Display) {
        let (expected, came) = (expected.to_string(), came.to_string());
        let holds = expected == came;
        self.told += 1;
        self.broken += usize::from(!holds);
        let sign = if holds { '✓' } else { '✗' };
        println!("  {sign} {what:34} expected {expected:34} got {came}");
    }
}

/// A result in one word: `ok`, or the name of the error.
fn word<T>(result: Result<T>) -> &'static str {
    result.map_or_else(Errno::name, |_| "ok")
}

fn here() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A server that sends everything back.
fn echo_server(event_loop: &Loop, served: &Rc<Cell<u64>>) -> Result<Udp> {
    let (server, served) = (Udp::new(event_loop), Rc::clone(served));
    server.bind(here())?;
    server.recv_start(move |server, received| {
        if let Ok(datagram) = received {
            served.set(served.get() + 1);
            // If it does not go, the client waits for it in vain, and says so.
            let _ = server.send_to(datagram.data, datagram.source, uv_udp::ignore);
        }
    })?;
    Ok(server)
}

/// A client that has some datagrams under way, and sends another one for each that comes back.
#[derive(Default)]
struct Client {
    sent: Cell<u64>,
    returned: Cell<u64>,
    stopping: Cell<bool>,
}

impl Client {
    fn send(&self, udp: &Udp, data: &[u8]) {
        if udp.send(data, uv_udp::ignore).is_ok() {
            self.sent.set(self.sent.get() + 1);
        }
    }

    fn received(&self, udp: &Udp, data: &[u8]) {
        self.returned.set(self.returned.get() + 1);
        if !self.stopping.get() {
            self.send(udp, data);
        } else if self.returned == self.sent
            && let Some(event_loop) = udp.event_loop()
        {
            event_loop.stop();
        }
    }
}

fn echo(options: Options, tale: &mut Tale) -> Result<()> {
    let event_loop = Loop::new()?;
    let (served, client) = (Rc::default(), Rc::new(Client::default()));
    let server = echo_server(&event_loop, &served)?;
    let udp = Udp::new(&event_loop);
    udp.connect(server.local_addr()?)?;
    let on_answer = Rc::clone(&client);
    udp.recv_start(move |udp, received| {
        if let Ok(datagram) = received {
            on_answer.received(udp, datagram.data);
        }
    })?;
    // No more than fits into a default buffer, in which a small datagram takes much more than its bytes.
    let under_way = (100_000 / (2 * options.size + 1024)).clamp(1, 32);
    let size = HumanCount(options.size as u64);
    tale.chapter(format_args!(
        "An echo server and a connected client: {size} bytes a datagram, {under_way} under way"
    ));
    let delivered = {
        let (served, client) = (Rc::clone(&served), Rc::clone(&client));
        move || served.get() + client.returned.get()
    };
    let live = live_line(&event_loop, options.seconds, delivered.clone())?;
    let (last, stop) = (Timer::new(&event_loop), Rc::clone(&client));
    last.start(
        Duration::from_secs(options.seconds.into()),
        PATIENCE,
        move |last| {
            // The second time, what is still missing does not come any more.
            if stop.stopping.replace(true)
                && let Some(event_loop) = last.event_loop()
            {
                event_loop.stop();
            }
        },
    )?;
    let data = vec![b'x'; options.size];
    for _ in 0..under_way {
        client.send(&udp, &data);
    }
    let began = event_loop.now();
    event_loop.run(RunMode::Default)?;
    drop(live);
    let seconds = Duration::from_nanos(event_loop.now() - began).as_secs_f64();
    let rate = HumanCount((delivered() as f64 / seconds) as u64);
    let build = if cfg!(debug_assertions) {
        " (a debug build: `cargo run --release -p xtask demo` is faster)"
    } else {
        ""
    };
    println!("  {rate} datagrams/s delivered, for {seconds:.1} s{build}");
    let (sent, returned) = (client.sent.get(), client.returned.get());
    tale.step(
        "every datagram came back",
        HumanCount(sent),
        HumanCount(returned),
    );
    Ok(())
}

/// A line that shows the rate ten times a second on a terminal, or prints it once a second elsewhere.
struct Live {
    timer: Timer,
    bar: ProgressBar,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        // The loop exists as long as this: the timer is open.
        let _ = self.timer.stop();
    }
}

fn live_line(
    event_loop: &Loop,
    seconds: u32,
    delivered: impl Fn() -> u64 + 'static,
) -> Result<Live> {
    let terminal = stdout().is_terminal();
    let bar = ProgressBar::with_draw_target(
        Some(u64::from(seconds) * 10),
        if terminal {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        },
    );
    if let Ok(style) = ProgressStyle::with_template("  {bar:20} {msg}") {
        bar.set_style(style);
    }
    let timer = Timer::new(event_loop);
    let every = Duration::from_millis(if terminal { 100 } else { 1000 });
    let (line, before) = (bar.clone(), Cell::new((event_loop.now(), 0)));
    timer.start(every, every, move |timer| {
        let Some(event_loop) = timer.event_loop() else {
            return;
        };
        let (now, count) = (event_loop.now(), delivered());
        let (then, counted) = before.replace((now, count));
        let seconds = Duration::from_nanos(now - then).as_secs_f64();
        let rate = HumanCount(((count - counted) as f64 / seconds) as u64);
        if terminal {
            line.inc(1);
            line.set_message(format!("{rate} datagrams/s"));
        } else {
            println!("  {rate} datagrams/s");
        }
    })?;
    timer.unreference();
    Ok(Live { timer, bar })
}

/// What the client of the story hears, as one word each.
type Heard = Rc<RefCell<Vec<String>>>;

/// Runs the loop until the client heard something new, and says what.
fn listen(event_loop: &Loop, heard: &Heard) -> Result<String> {
    let (timer, late) = (Timer::new(event_loop), Rc::new(Cell::new(false)));
    let set = Rc::clone(&late);
    timer.start(PATIENCE, Duration::ZERO, move |_| set.set(true))?;
    while heard.borrow().is_empty() && !late.get() {
        event_loop.run(RunMode::Once)?;
    }
    timer.stop()?;
    let mut heard = heard.borrow_mut();
    let first = if heard.is_empty() {
        "nothing".to_owned()
    } else {
        heard.remove(0)
    };
    Ok(first)
}

fn story(tale: &mut Tale) -> Result<()> {
    let event_loop = Loop::new()?;
    let (first, second) = (
        echo_server(&event_loop, &Rc::default())?,
        echo_server(&event_loop, &Rc::default())?,
    );
    let (one, other) = (first.local_addr()?, second.local_addr()?);
    let dead = DeadPeer::new(Family::V4)?;
    let client = Udp::new(&event_loop);
    let heard = Heard::default();

    tale.chapter("The proposal, step by step");
    tale.step("connect to a server", "ok", word(client.connect(one)));
    let mine = client.local_addr()?;
    tale.step(
        "its peer",
        one,
        client
            .peer_addr()
            .map_or_else(|error| error.to_string(), |peer| peer.to_string()),
    );
    let ears = Rc::clone(&heard);
    client.recv_start(move |_, received| {
        ears.borrow_mut().push(match received {
            Ok(datagram) => format!(
                "{} from {}",
                String::from_utf8_lossy(datagram.data),
                datagram.source
            ),
            Err(error) => error.errno().name().to_owned(),
        });
    })?;
    tale.step("send", "ok", word(client.send(b"hello", uv_udp::ignore)));
    tale.step(
        "the answer",
        format_args!("hello from {one}"),
        listen(&event_loop, &heard)?,
    );
    tale.step(
        "send_to, while connected",
        "EISCONN",
        word(client.send_to(b"hello", one, uv_udp::ignore)),
    );

    tale.step(
        "connect to a second server",
        "ok",
        word(client.connect(other)),
    );
    tale.step("its local address", mine, client.local_addr()?);
    tale.step(
        "send",
        "ok",
        word(client.send(b"hello again", uv_udp::ignore)),
    );
    tale.step(
        "the answer",
        format_args!("hello again from {other}"),
        listen(&event_loop, &heard)?,
    );

    tale.step(
        "connect where nobody listens",
        "ok",
        word(client.connect(dead.address())),
    );
    tale.step("send", "ok", word(client.send(b"anybody?", uv_udp::ignore)));
    tale.step(
        "the network's answer",
        "ECONNREFUSED",
        listen(&event_loop, &heard)?,
    );

    tale.step("disconnect", "ok", word(client.disconnect()));
    tale.step("its local port", mine.port(), client.local_addr()?.port());
    tale.step("its peer", "ENOTCONN", word(client.peer_addr()));
    tale.step(
        "send, while unconnected",
        "EDESTADDRREQ",
        word(client.send(b"hello", uv_udp::ignore)),
    );
    tale.step(
        "send_to",
        "ok",
        word(client.send_to(b"goodbye", one, uv_udp::ignore)),
    );
    tale.step(
        "the answer",
        format_args!("goodbye from {one}"),
        listen(&event_loop, &heard)?,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_hold_is_counted() {
        let mut tale = Tale::default();
        tale.step("one and one", 2, 1 + 1);
        tale.step("one and one", 3, 1 + 1);
        assert_eq!((tale.told, tale.broken), (2, 1));
    }

    #[test]
    fn all_of_it_holds_for_datagrams_of_all_sizes() {
        for size in [0, 45, 1200, 65_507] {
            assert_eq!(run(Options { seconds: 0, size }), Ok(true), "{size} bytes");
        }
    }
}
