//! What a plain rule works with: a loop, handles on it, raw sockets as the other side, and waits that fail instead of
//! hanging.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::Location;
use std::rc::Rc;
use std::time::{Duration, Instant};

use uv_udp::{Errno, Family, Loop, NetworkError, RunMode, Timer, Transmit, Udp};

use super::Verdict;
use super::watch::text;

/// What is to happen happens within this time, or the rule fails. Generous: under `strace` or `valgrind`, on a machine
/// with other work, everything takes a hundred times as long as it should.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What does not hold, and where that was noticed.
#[derive(Clone, Debug)]
pub(crate) struct Broken(String);

impl Broken {
    #[track_caller]
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        let place = Location::caller();
        let file = place.file().rsplit('/').next().unwrap_or_default();
        Self(format!("{what} ({file}:{})", place.line()))
    }

    pub(crate) fn panicked(what: &str) -> Self {
        Self(format!("it panicked: {what}"))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Errno> for Broken {
    #[track_caller]
    fn from(error: Errno) -> Self {
        Self::new(format_args!("an unexpected error: {error}"))
    }
}

/// A descriptor that was refused.
impl From<(Errno, OwnedFd)> for Broken {
    #[track_caller]
    fn from((error, _): (Errno, OwnedFd)) -> Self {
        error.into()
    }
}

impl From<io::Error> for Broken {
    #[track_caller]
    fn from(error: io::Error) -> Self {
        Self::new(format_args!(
            "an unexpected error of the other side: {error}"
        ))
    }
}

impl From<NetworkError> for Broken {
    #[track_caller]
    fn from(error: NetworkError) -> Self {
        Self::new(format_args!("an unexpected network error: {error}"))
    }
}

/// Fails the rule unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::conform::stage::Broken::new(format_args!($($what)+)));
        }
    };
}
pub(crate) use ensure;

/// Fails the rule unless both are equal.
macro_rules! ensure_eq {
    ($actual:expr, $expected:expr, $($what:tt)+) => {
        match (&$actual, &$expected) {
            (actual, expected) => {
                if *actual != *expected {
                    let what = format!($($what)+);
                    return Err($crate::conform::stage::Broken::new(format_args!(
                        "{what}: {expected:?} expected, {actual:?} seen"
                    )));
                }
            }
        }
    };
}
pub(crate) use ensure_eq;

/// One rule's loop, and what is around it.
pub(super) struct Stage {
    pub(crate) event_loop: Loop,
    pub(crate) family: Family,
    notes: RefCell<Vec<String>>,
}

impl Stage {
    pub(crate) fn new(family: Family) -> Result<Self, Broken> {
        Ok(Self {
            event_loop: Loop::new()?,
            family,
            notes: RefCell::default(),
        })
    }

    /// Adds to what the report says beside the rule.
    pub(crate) fn note(&self, what: impl fmt::Display) {
        self.notes.borrow_mut().push(what.to_string());
    }

    pub(crate) fn notes(&self) -> String {
        self.notes.borrow().join(", ")
    }

    /// The loopback address with a port of the kernel's choice.
    pub(crate) fn loopback(&self) -> SocketAddr {
        loopback(self.family)
    }

    /// The loopback address of the other family.
    pub(crate) fn other_loopback(&self, port: u16) -> SocketAddr {
        let other = match self.family {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        SocketAddr::new(loopback(other).ip(), port)
    }

    /// The wildcard address with a port of the kernel's choice.
    pub(crate) fn wildcard(&self) -> SocketAddr {
        SocketAddr::new(self.family.unspecified(), 0)
    }

    /// A raw socket on loopback.
    pub(crate) fn raw(&self) -> io::Result<Raw> {
        Raw::bind(self.loopback())
    }

    /// A handle without a socket.
    pub(crate) fn udp(&self) -> Udp {
        Udp::new(&self.event_loop)
    }

    /// A handle on loopback.
    pub(crate) fn bound(&self) -> Result<Udp, Broken> {
        let udp = self.udp();
        udp.bind(self.loopback())?;
        with_default_buffers(udp)
    }

    /// A handle at the wildcard address.
    pub(crate) fn bound_to_wildcard(&self) -> Result<Udp, Broken> {
        let udp = self.udp();
        udp.bind(self.wildcard())?;
        with_default_buffers(udp)
    }

    /// A handle that is connected to `peer`.
    pub(crate) fn connected(&self, peer: SocketAddr) -> Result<Udp, Broken> {
        let udp = self.udp();
        udp.connect(peer)?;
        with_default_buffers(udp)
    }

    /// Runs the loop until something holds. `what` names it, as in "the send completes".
    #[track_caller]
    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) -> Verdict {
        let late = self.deadline()?;
        while !holds() {
            ensure!(
                !late.expired.get(),
                "within {DEADLINE:?} it was not so that {what}"
            );
            self.event_loop.run(RunMode::Once)?;
        }
        Ok(())
    }

    /// Runs the loop in one go until nothing keeps it alive, or something stops it.
    #[track_caller]
    pub(crate) fn to_the_end(&self) -> Verdict {
        let late = self.deadline()?;
        late.timer.unreference();
        self.event_loop.run(RunMode::Default)?;
        ensure!(
            !late.expired.get(),
            "the loop did not come to an end within {DEADLINE:?}"
        );
        Ok(())
    }

    /// Sends a whole batch now, as one does who batches by himself: what did not go is offered again after a turn of the
    /// loop.
    pub(crate) fn send_batch(&self, udp: &Udp, batch: &[Transmit<'_>]) -> Verdict {
        let (mut sent, began) = (0, Instant::now());
        while sent < batch.len() {
            ensure!(began.elapsed() < DEADLINE, "{sent} of {} went", batch.len());
            match udp.try_transmit_batch(&batch[sent..]) {
                Ok(0) => return Err(Broken::new("none went, and no error says why")),
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => self.a_little_longer()?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Some more iterations, in which nothing of note should happen.
    pub(crate) fn a_little_longer(&self) -> Verdict {
        for _ in 0..50 {
            self.event_loop.run(RunMode::NoWait)?;
        }
        Ok(())
    }

    /// Runs the loop for this long, by its own clock.
    pub(crate) fn for_a_while(&self, duration: Duration) -> Verdict {
        let over = Rc::new(Cell::new(false));
        let (timer, set) = (Timer::new(&self.event_loop), Rc::clone(&over));
        timer.start(duration, Duration::ZERO, move |_| set.set(true))?;
        self.until("a timer fires", || over.get())
    }

    fn deadline(&self) -> Result<Deadline, Errno> {
        let (timer, expired) = (Timer::new(&self.event_loop), Rc::new(Cell::new(false)));
        let (set, event_loop) = (Rc::clone(&expired), self.event_loop.clone());
        timer.start(DEADLINE, Duration::ZERO, move |_| {
            set.set(true);
            event_loop.stop();
        })?;
        Ok(Deadline { timer, expired })
    }
}

/// A timer that ends a wait. Its callback holds the loop: it must not outlive the wait.
struct Deadline {
    timer: Timer,
    expired: Rc<Cell<bool>>,
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The loop is there: the callback holds it.
        let _ = self.timer.stop();
    }
}

fn loopback(family: Family) -> SocketAddr {
    match family {
        Family::V4 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        Family::V6 => SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    }
}

/// A plain socket of the standard library, as the other side. It waits, up to the deadline.
#[derive(Debug)]
pub(crate) struct Raw {
    socket: UdpSocket,
    address: SocketAddr,
}

/// Half the bytes of a default buffer: the kernel doubles what is set (socket(7)).
const DEFAULT_BUFFER: usize = 106_496;

/// Gives a handle the buffers that sockets have by default, whatever net.core.rmem_default and net.core.wmem_default are.
fn with_default_buffers(udp: Udp) -> Result<Udp, Broken> {
    udp.options().set_recv_buffer_size(DEFAULT_BUFFER)?;
    udp.options().set_send_buffer_size(DEFAULT_BUFFER)?;
    Ok(udp)
}

impl Raw {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::from_socket(UdpSocket::bind(address)?)
    }

    pub(crate) fn from_socket(socket: UdpSocket) -> io::Result<Self> {
        // Whatever net.core.rmem_default is.
        uv_sys::option::set_recv_buffer_size(&socket, 2 * DEFAULT_BUFFER)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn send(&self, data: impl AsRef<[u8]>, to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(data.as_ref(), to).map(drop)
    }

    pub(crate) fn recv(&self) -> io::Result<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; 65_536];
        loop {
            match self.socket.recv_from(&mut buffer) {
                // A read with a timeout is not restarted by the kernel, whatever the signal.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                received => {
                    let (len, source) = received?;
                    buffer.truncate(len);
                    return Ok((buffer, source));
                }
            }
        }
    }

    /// The next datagram, if it comes within this time.
    pub(crate) fn recv_within(&self, time: Duration) -> io::Result<Option<(Vec<u8>, SocketAddr)>> {
        self.socket.set_read_timeout(Some(time))?;
        let received = self.recv();
        self.socket.set_read_timeout(Some(DEADLINE))?;
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            received => received.map(Some),
        }
    }

    /// Whether there is a datagram within this time.
    pub(crate) fn peek_within(&self, time: Duration) -> io::Result<bool> {
        self.socket.set_read_timeout(Some(time))?;
        let there = loop {
            match self.socket.peek_from(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                peeked => break peeked,
            }
        };
        self.socket.set_read_timeout(Some(DEADLINE))?;
        match there {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            there => there.map(|_| true),
        }
    }

    /// The next datagram as text.
    pub(crate) fn recv_text(&self) -> io::Result<String> {
        Ok(text(&self.recv()?.0))
    }

    /// The next `count` datagrams as texts.
    pub(crate) fn recv_texts(&self, count: usize) -> io::Result<Vec<String>> {
        (0..count).map(|_| self.recv_text()).collect()
    }

    /// Everything that is there now. Datagrams are delivered on loopback before the send returns, so what a test sent
    /// is there.
    pub(crate) fn rest(&self) -> io::Result<Vec<String>> {
        self.socket.set_nonblocking(true)?;
        let mut texts = Vec::new();
        let end = loop {
            match self.recv_text() {
                Ok(text) => texts.push(text),
                Err(error) => break error,
            }
        };
        self.socket.set_nonblocking(false)?;
        match end.kind() {
            io::ErrorKind::WouldBlock => Ok(texts),
            _ => Err(end),
        }
    }
}

impl AsFd for Raw {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// An address on loopback where nobody listens, and nobody else can come to listen by chance: a socket holds the port,
/// but is connected to itself, so that what others send there is answered with "port unreachable".
#[derive(Debug)]
pub(crate) struct DeadPeer {
    /// Holds the port.
    _holder: OwnedFd,
    address: SocketAddr,
}

impl DeadPeer {
    pub(crate) fn new(family: Family) -> Result<Self, Errno> {
        let holder = uv_sys::socket::socket(family)?;
        uv_sys::socket::bind(&holder, &loopback(family))?;
        // Not before: the kernel might choose the port of another one that may be reused.
        uv_sys::option::set_reuse_address(&holder, true)?;
        let address = uv_sys::socket::local_addr(&holder)?;
        uv_sys::socket::connect(&holder, &address)?;
        Ok(Self {
            _holder: holder,
            address,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on somebody listens.
    pub(crate) fn revive(&self) -> Result<Raw, Broken> {
        let socket = uv_sys::socket::socket(Family::of(&self.address))?;
        uv_sys::option::set_reuse_address(&socket, true)?;
        uv_sys::socket::bind(&socket, &self.address)?;
        Ok(Raw::from_socket(socket.into())?)
    }
}

/// The sockets at a port, to see later whether this process has let go of them. Binding to the port would not tell that: a
/// process that another rule is just forking has copies of all sockets until it executes `ip`, and keeps the port taken.
#[derive(Clone, Debug)]
pub(crate) struct Sockets(Vec<String>);

impl Sockets {
    /// The handle's own, and others at its port in this thread's network namespace.
    pub(crate) fn of(udp: &Udp) -> Result<Self, Broken> {
        let own = udp.with_fd(|fd| inode(fd))??;
        Self::with_others(own, udp.local_addr()?)
    }

    /// The kernel's table leaves sockets out while other processes bind and close theirs: what must be found is found by its
    /// descriptor.
    fn with_others(own: String, address: SocketAddr) -> Result<Self, Broken> {
        let file = match address {
            SocketAddr::V4(_) => "/proc/thread-self/net/udp",
            SocketAddr::V6(_) => "/proc/thread-self/net/udp6",
        };
        let (table, port) = (
            fs::read_to_string(file)?,
            format!(":{:04X}", address.port()),
        );
        let inodes = table.lines().filter_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            let inode = fields.nth(7)?;
            local.ends_with(&port).then(|| format!("socket:[{inode}]"))
        });
        let mut found = vec![own];
        found.extend(inodes);
        found.sort_unstable();
        found.dedup();
        Ok(Self(found))
    }

    /// How many of them this process has a descriptor of.
    pub(crate) fn open(&self) -> Result<usize, Broken> {
        let descriptors = fs::read_dir("/proc/self/fd")?;
        // Some are other rules', and may be gone by now.
        let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let links: Vec<_> = links.collect();
        let ours = |inode: &&String| links.iter().any(|link| link.as_os_str() == inode.as_str());
        Ok(self.0.iter().filter(ours).count())
    }

    /// Fails the rule if one of them is open.
    #[track_caller]
    pub(crate) fn are_closed(&self) -> Verdict {
        let open = self.open()?;
        ensure!(open == 0, "the port is not free: {open} sockets are open");
        Ok(())
    }
}

/// What `/proc/self/fd` calls the socket.
fn inode(fd: impl AsFd) -> io::Result<String> {
    Ok(format!("socket:[{}]", rustix::fs::fstat(fd)?.st_ino))
}

/// A datagram of `len` bytes that begins with its number.
pub(crate) fn numbered(number: usize, len: usize) -> Vec<u8> {
    let mut data = format!("{number:04}").into_bytes();
    data.resize(len.max(4), b'.');
    data
}

/// The number that a datagram begins with.
pub(crate) fn number(data: &str) -> Option<usize> {
    data.get(..4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_peer_refuses_until_it_is_revived() {
        let (dead, client) = (
            DeadPeer::new(Family::V4).unwrap(),
            Raw::bind(loopback(Family::V4)).unwrap(),
        );
        client.socket.connect(dead.address()).unwrap();
        client.socket.send(b"one").unwrap();
        assert_eq!(
            client.recv().unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        let live = dead.revive().unwrap();
        client.socket.send(b"two").unwrap();
        assert_eq!(live.recv_text().unwrap(), "two");
    }

    #[test]
    fn a_socket_is_open_until_its_last_descriptor_is_closed() {
        for family in [Family::V4, Family::V6] {
            let Ok(raw) = Raw::bind(loopback(family)) else {
                crate::skipped(format_args!("no loopback address of {family:?} here"));
                continue;
            };
            let own = inode(&raw).unwrap();
            let sockets = Sockets::with_others(own, raw.address()).unwrap();
            let copy = raw.socket.try_clone().unwrap();
            drop(raw);
            assert_eq!(sockets.open().unwrap(), 1);
            drop(copy);
            assert_eq!(sockets.open().unwrap(), 0);
        }
    }

    #[test]
    fn a_condition_that_never_holds_fails_the_wait_with_its_place() {
        let broken = (|| -> Verdict {
            ensure_eq!(1 + 1, 3, "the sum");
            Ok(())
        })();
        let text = broken.unwrap_err().to_string();
        assert!(
            text.starts_with("the sum: 3 expected, 2 seen (stage.rs:"),
            "{text}"
        );
    }

    #[test]
    fn numbers_come_back_out_of_datagrams() {
        assert_eq!(numbered(7, 6), b"0007..");
        assert_eq!(number("0123....."), Some(123));
        assert_eq!(number("xyz"), None);
    }
}
