//! `cargo xtask demo`: an echo server with a connected client at full speed on loopback, then the
//! proposal step by step, each step with its expected and its actual result.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IsTerminal, stdout};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use uv_udp::{Errno, Loop, Result, RunMode, Timer, Udp};

/// Longest wait for an answer on loopback.
const PATIENCE: Duration = Duration::from_secs(5);

/// The length of the demo, and the size of its datagrams.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Options {
    /// Seconds of echoing.
    #[arg(long, default_value_t = 3)]
    pub seconds: u32,
    /// Bytes in each datagram.
    #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u16).range(..=65_507))]
    pub size: u16,
}

/// Runs the demo. Returns whether every step had the expected result.
///
/// # Errors
///
/// The errors of calls that work everywhere, like the creation of a socket.
pub fn run(options: Options) -> Result<bool> {
    let mut report = Report::default();
    echo(options, &mut report)?;
    proposal(&mut report)?;
    println!();
    println!(
        "{}",
        match report.broken {
            0 => "Every step had the expected result.".to_owned(),
            broken => format!("{broken} of {} steps had another result.", report.steps),
        }
    );
    Ok(report.broken == 0)
}

/// Prints the expected and the actual result of each step.
#[derive(Default)]
struct Report {
    steps: usize,
    broken: usize,
}

impl Report {
    fn heading(&self, title: impl fmt::Display) {
        println!("\n{title}\n");
    }

    fn step(&mut self, what: &str, expected: impl fmt::Display, actual: impl fmt::Display) {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        let holds = expected == actual;
        self.steps += 1;
        self.broken += usize::from(!holds);
        let sign = if holds { '✓' } else { '✗' };
        println!("  {sign} {what:34} expected {expected:34} got {actual}");
    }
}

/// A result in one word: `ok`, or the name of the error.
fn word<T>(result: Result<T>) -> &'static str {
    result.map_or_else(Errno::name, |_| "ok")
}

/// A socket that refuses datagrams: it is connected to itself.
fn dead_peer() -> Result<UdpSocket> {
    let socket = UdpSocket::bind(here()).map_err(errno)?;
    let address = socket.local_addr().map_err(errno)?;
    socket.connect(address).map_err(errno)?;
    Ok(socket)
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
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
            // The client reports a missing answer.
            let _ = server.send_to(datagram.data, datagram.source, uv_udp::ignore);
        }
    })?;
    Ok(server)
}

/// A client that sends the next datagram for each that comes back.
#[derive(Default)]
struct EchoClient {
    sent: Cell<u64>,
    returned: Cell<u64>,
    stopping: Cell<bool>,
}

impl EchoClient {
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

fn echo(options: Options, report: &mut Report) -> Result<()> {
    let event_loop = Loop::new()?;
    let (served, client) = (Rc::default(), Rc::new(EchoClient::default()));
    let server = echo_server(&event_loop, &served)?;
    let udp = Udp::new(&event_loop);
    udp.connect(server.local_addr()?)?;
    let on_answer = Rc::clone(&client);
    udp.recv_start(move |udp, received| {
        if let Ok(datagram) = received {
            on_answer.received(udp, datagram.data);
        }
    })?;
    // They fit into a default buffer, in which a small datagram takes much more than its bytes.
    let bytes = usize::from(options.size);
    let under_way = (100_000 / (2 * bytes + 1024)).clamp(1, 32);
    let size = HumanCount(options.size.into());
    report.heading(format_args!(
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
            // The second call ends the wait for lost datagrams.
            if stop.stopping.replace(true)
                && let Some(event_loop) = last.event_loop()
            {
                event_loop.stop();
            }
        },
    )?;
    let data = vec![b'x'; bytes];
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
    report.step(
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

/// The datagrams and errors of the client, as text.
type Received = Rc<RefCell<Vec<String>>>;

/// Runs the loop until the client receives something, and returns it.
fn next(event_loop: &Loop, received: &Received) -> Result<String> {
    let (timer, late) = (Timer::new(event_loop), Rc::new(Cell::new(false)));
    let set = Rc::clone(&late);
    timer.start(PATIENCE, Duration::ZERO, move |_| set.set(true))?;
    while received.borrow().is_empty() && !late.get() {
        event_loop.run(RunMode::Once)?;
    }
    timer.stop()?;
    let mut received = received.borrow_mut();
    let first = if received.is_empty() {
        "nothing".to_owned()
    } else {
        received.remove(0)
    };
    Ok(first)
}

/// A client whose received datagrams and errors are kept as text.
struct Client {
    event_loop: Loop,
    udp: Udp,
    received: Received,
}

impl Client {
    fn new(event_loop: Loop) -> Result<Self> {
        let (udp, received) = (Udp::new(&event_loop), Received::default());
        Ok(Self {
            event_loop,
            udp,
            received,
        })
    }

    fn recv_start(&self) -> Result<()> {
        let texts = Rc::clone(&self.received);
        self.udp.recv_start(move |_, received| {
            texts.borrow_mut().push(match received {
                Ok(datagram) => {
                    let text = String::from_utf8_lossy(datagram.data);
                    format!("{text} from {}", datagram.source)
                }
                Err(error) => error.errno().name().to_owned(),
            });
        })
    }

    fn send(&self, text: &str, report: &mut Report) {
        report.step("send", "ok", word(self.udp.send(text, uv_udp::ignore)));
    }

    fn send_to(&self, text: &str, to: SocketAddr) -> &'static str {
        word(self.udp.send_to(text, to, uv_udp::ignore))
    }

    fn answer(&self, expected: impl fmt::Display, report: &mut Report) -> Result<()> {
        let answer = next(&self.event_loop, &self.received)?;
        report.step("the answer", expected, answer);
        Ok(())
    }

    fn peer(&self) -> String {
        let peer = self.udp.peer_addr().map(|peer| peer.to_string());
        peer.unwrap_or_else(|error| error.name().to_owned())
    }
}

fn proposal(report: &mut Report) -> Result<()> {
    let event_loop = Loop::new()?;
    let first = echo_server(&event_loop, &Rc::default())?;
    let second = echo_server(&event_loop, &Rc::default())?;
    let (one, other) = (first.local_addr()?, second.local_addr()?);
    let client = Client::new(event_loop)?;
    report.heading("The proposal, step by step");
    connected(&client, one, report)?;
    reconnected(&client, other, report)?;
    unconnected(&client, one, report)
}

fn connected(client: &Client, server: SocketAddr, report: &mut Report) -> Result<()> {
    let connected = word(client.udp.connect(server));
    report.step("connect to a server", "ok", connected);
    report.step("its peer", server, client.peer());
    client.recv_start()?;
    client.send("hello", report);
    client.answer(format_args!("hello from {server}"), report)?;
    let refused = client.send_to("hello", server);
    report.step("send_to, while connected", "EISCONN", refused);
    Ok(())
}

fn reconnected(client: &Client, other: SocketAddr, report: &mut Report) -> Result<()> {
    let local = client.udp.local_addr()?;
    let connected = word(client.udp.connect(other));
    report.step("connect to a second server", "ok", connected);
    report.step("its local address", local, client.udp.local_addr()?);
    client.send("hello again", report);
    client.answer(format_args!("hello again from {other}"), report)?;
    let dead = dead_peer()?;
    let connected = word(client.udp.connect(dead.local_addr().map_err(errno)?));
    report.step("connect where nobody listens", "ok", connected);
    client.send("anybody?", report);
    let error = next(&client.event_loop, &client.received)?;
    report.step("the network's answer", "ECONNREFUSED", error);
    Ok(())
}

fn unconnected(client: &Client, server: SocketAddr, report: &mut Report) -> Result<()> {
    let port = client.udp.local_addr()?.port();
    report.step("disconnect", "ok", word(client.udp.disconnect()));
    let now = client.udp.local_addr()?.port();
    report.step("its local port", port, now);
    report.step("its peer", "ENOTCONN", client.peer());
    let refused = word(client.udp.send("hello", uv_udp::ignore));
    report.step("send, while unconnected", "EDESTADDRREQ", refused);
    report.step("send_to", "ok", client.send_to("goodbye", server));
    client.answer(format_args!("goodbye from {server}"), report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_with_another_result_is_counted() {
        let mut report = Report::default();
        report.step("one and one", 2, 1 + 1);
        report.step("one and one", 3, 1 + 1);
        assert_eq!((report.steps, report.broken), (2, 1));
    }

    #[test]
    fn every_step_has_its_expected_result_for_all_sizes_of_datagrams() {
        for size in [0, 45, 1200, 65_507] {
            assert_eq!(run(Options { seconds: 0, size }), Ok(true), "{size} bytes");
        }
    }
}
