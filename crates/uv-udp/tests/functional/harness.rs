//! Shared by the tests: addresses of both families, raw sockets, and running the loop until a
//! condition holds.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use uv_udp::{Errno, Loop, Result, RunMode, Timer, Udp};

/// Both loopback addresses, or only IPv4's on a machine without IPv6.
pub(super) fn loopbacks() -> Vec<IpAddr> {
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let mut all = vec![IpAddr::from(Ipv4Addr::LOCALHOST)];
    all.extend(UdpSocket::bind((v6, 0)).is_ok().then_some(v6));
    all
}

/// A raw socket of the other side, with a port of its own.
pub(super) fn raw(ip: IpAddr) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    // Independent of net.core.rmem_default.
    uv_sys::option::set_recv_buffer_size(&socket, 212_992).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A closed port, which stays closed until the thread ends: its socket is connected to itself, so
/// that the kernel refuses datagrams to it.
pub(super) fn dead(ip: IpAddr) -> SocketAddr {
    let (holder, address) = raw(ip);
    holder.connect(address).unwrap();
    HOLDERS.with_borrow_mut(|holders| holders.push(holder));
    address
}

thread_local! {
    static HOLDERS: RefCell<Vec<UdpSocket>> = const { RefCell::new(Vec::new()) };
}

/// Binds a port by number: the first free one outside the kernel's ephemeral ports.
pub(super) fn bind_by_number<T>(mut bind: impl FnMut(u16) -> Result<T>) -> T {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Below net.ipv4.ip_local_port_range, at another start in each process.
    let (first, count) = (10_000, 20_000);
    let start = std::process::id().wrapping_mul(7_919);
    (0..count)
        .find_map(|_| {
            let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            match bind(u16::try_from(first + number % count).unwrap()) {
                Err(Errno::EADDRINUSE) => None,
                bound => Some(bound.unwrap()),
            }
        })
        .expect("a free port")
}

/// The next datagram of a raw socket.
pub(super) fn next(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let length = socket
        .recv(&mut buffer)
        .expect("a datagram within a minute");
    buffer.truncate(length);
    buffer
}

/// All datagrams that a raw socket has received by now.
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

/// Runs the loop until `done`, for at most a minute.
pub(super) fn run_until(event_loop: &Loop, mut done: impl FnMut() -> bool) {
    let deadline = Timer::new(event_loop);
    deadline
        .start(Duration::from_secs(60), Duration::ZERO, |_| {
            panic!("not within a minute")
        })
        .unwrap();
    while !done() {
        event_loop.run(RunMode::Once).unwrap();
    }
    deadline.close(|_| ()).unwrap();
}

/// Runs the loop while it has work to do without waiting.
pub(super) fn settle(event_loop: &Loop) {
    for _ in 0..50 {
        event_loop.run(RunMode::NoWait).unwrap();
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

/// The same for `transmit`, without the token.
pub(super) fn note_any(log: &Log<Result<()>>) -> impl FnOnce(&Udp, usize, Result<()>) + 'static {
    let log = log.clone();
    move |_, _, result| log.add(result)
}

/// A handle bound to a port of the kernel's choice.
pub(super) fn bound(event_loop: &Loop, ip: IpAddr) -> (Udp, SocketAddr) {
    let udp = Udp::new(event_loop);
    udp.bind(SocketAddr::new(ip, 0)).unwrap();
    // Independent of net.core.rmem_default.
    udp.options().set_recv_buffer_size(212_992).unwrap();
    let address = udp.local_addr().unwrap();
    (udp, address)
}

/// A handle connected to `peer`.
pub(super) fn connected(event_loop: &Loop, peer: SocketAddr) -> Udp {
    let udp = Udp::new(event_loop);
    udp.connect(peer).unwrap();
    udp
}

/// Names a test that is skipped on the terminal. The test harness does not capture the handle, as
/// it does `eprintln!`.
pub(crate) fn skipped(reason: impl std::fmt::Display) {
    use std::io::Write;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    // Without a standard error output, nothing is printed.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}
