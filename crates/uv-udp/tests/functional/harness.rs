//! What the tests share: addresses of both families, raw sockets, and running the loop until something is so.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use uv_udp::{Errno, Loop, Result, RunMode, Timer, Udp};

/// Both loopback addresses; only IPv4's where the machine has no IPv6.
pub(super) fn loopbacks() -> Vec<IpAddr> {
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let mut all = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    all.extend(UdpSocket::bind((v6, 0)).is_ok().then_some(v6));
    all
}

/// A raw socket of the other side, with a port of its own.
pub(super) fn raw(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// An address where nobody listens: it was somebody's a moment ago.
pub(super) fn dead(ip: IpAddr) -> SocketAddr {
    raw(ip).1
}

/// What a raw socket receives next.
pub(super) fn next(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = socket
        .recv(&mut buffer)
        .expect("a datagram within ten seconds");
    buffer.truncate(length);
    buffer
}

/// Everything that a raw socket has received by now.
pub(super) fn all(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 65_536];
    let found = std::iter::from_fn(|| {
        let length = socket.recv(&mut buffer).ok()?;
        Some(buffer[..length].to_vec())
    });
    let found = found.collect();
    socket.set_nonblocking(false).unwrap();
    found
}

/// Runs the loop until `done`, which must come about within ten seconds.
pub(super) fn run_until(lp: &Loop, mut done: impl FnMut() -> bool) {
    let deadline = Timer::new(lp);
    deadline
        .start(Duration::from_secs(10), Duration::ZERO, |_| {
            panic!("not within ten seconds")
        })
        .unwrap();
    while !done() {
        lp.run(RunMode::Once).unwrap();
    }
    deadline.close(|_| ()).unwrap();
}

/// Runs the loop for as long as there is something to do at once.
pub(super) fn settle(lp: &Loop) {
    for _ in 0..50 {
        lp.run(RunMode::NoWait).unwrap();
    }
}

/// A list that callbacks add to.
pub(super) struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T: Clone> Log<T> {
    pub(super) fn new() -> Self {
        Self(Rc::default())
    }

    pub(super) fn add(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub(super) fn get(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// What a receive callback got: data and source, or an error.
pub(super) type Heard = std::result::Result<(Vec<u8>, SocketAddr), Errno>;

/// Starts receiving into a log.
pub(super) fn listen(udp: &Udp) -> Log<Heard> {
    let log = Log::new();
    let entries = log.clone();
    udp.recv_start(move |_, received| {
        entries.add(
            received
                .map(|datagram| (datagram.data.to_vec(), datagram.source))
                .map_err(|error| error.errno()),
        );
    })
    .unwrap();
    log
}

/// A send callback that adds the result to a log.
pub(super) fn note(log: &Log<Result<()>>) -> impl FnOnce(&Udp, Result<()>) + 'static {
    let log = log.clone();
    move |_, result| log.add(result)
}

/// A handle bound to a port of the kernel's choice.
pub(super) fn bound(lp: &Loop, ip: IpAddr) -> (Udp, SocketAddr) {
    let udp = Udp::new(lp);
    udp.bind(SocketAddr::new(ip, 0)).unwrap();
    let address = udp.local_addr().unwrap();
    (udp, address)
}

/// A handle connected to `peer`.
pub(super) fn connected(lp: &Loop, peer: SocketAddr) -> Udp {
    let udp = Udp::new(lp);
    udp.connect(peer).unwrap();
    udp
}

/// Names a test that is skipped on the terminal. The test harness does not capture the handle, as it does `eprintln!`.
pub(crate) fn skipped(reason: impl std::fmt::Display) {
    use std::io::Write;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    // Without a standard error output there is nobody to read it.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}
