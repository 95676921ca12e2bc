//! Sockets to test with.

use std::cell::RefCell;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use uv_sys::message::recvmsg;
use uv_sys::{Errno, Family, Received, RecvOptions};

pub(crate) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

pub(crate) const EVERYTHING: RecvOptions = RecvOptions::new().with_control(true);

pub(crate) fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// The loopback address, with a port of the kernel's choice.
pub(crate) fn ephemeral(family: Family) -> SocketAddr {
    SocketAddr::new(loopback(family), 0)
}

pub(crate) fn bound(family: Family) -> UdpSocket {
    let fd = uv_sys::socket::socket(family).unwrap();
    uv_sys::socket::bind(&fd, &ephemeral(family)).unwrap();
    // Does not depend on net.core.rmem_default.
    uv_sys::option::set_recv_buffer_size(&fd, 212_992).unwrap();
    UdpSocket::from(fd)
}

/// A sender that is connected to a receiver.
pub(crate) fn pair(family: Family) -> (UdpSocket, UdpSocket) {
    let (sender, receiver) = (bound(family), bound(family));
    uv_sys::socket::connect(&sender, &receiver.local_addr().unwrap()).unwrap();
    (sender, receiver)
}

/// An address without a listener until the thread ends: its socket is connected to itself, so
/// datagrams of other sockets are refused.
pub(crate) fn nobody(family: Family) -> SocketAddr {
    thread_local! {
        static HOLDERS: RefCell<Vec<UdpSocket>> = const { RefCell::new(Vec::new()) };
    }
    let holder = bound(family);
    let address = holder.local_addr().unwrap();
    holder.connect(address).unwrap();
    HOLDERS.with_borrow_mut(|holders| holders.push(holder));
    address
}

/// Binds the first free port outside of the kernel's ephemeral range.
pub(crate) fn bind_by_number<T>(mut bind: impl FnMut(u16) -> uv_sys::Result<T>) -> T {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Below net.ipv4.ip_local_port_range, and different in each process.
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

/// Blocks until there is a datagram.
pub(crate) fn wait_readable(socket: &UdpSocket) {
    socket.set_nonblocking(false).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    socket.peek_from(&mut [0]).unwrap();
    socket.set_nonblocking(true).unwrap();
}

/// The next datagram, with its description.
pub(crate) fn next(socket: &UdpSocket) -> (Vec<u8>, Received) {
    wait_readable(socket);
    let mut bytes = vec![0; 65_536];
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], EVERYTHING).unwrap();
    bytes.truncate(received.len);
    (bytes, received)
}

/// Names a test that is skipped on the terminal. The test harness does not capture the handle, as
/// it does `eprintln!`.
pub(crate) fn skipped(reason: impl std::fmt::Display) {
    use std::io::Write;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    // A failed write to the standard error output is ignored.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}
