//! Datagrams larger than the path MTU: two network namespaces, connected by a cable with an MTU of
//! 1,280 bytes. Without the privilege for namespaces, the test is skipped with a message.

use std::cell::RefCell;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use uv_sys::fault::{self, Call};
use uv_udp::{Errno, Loop, PathMtuDiscovery, Result, RunMode, Timer, Udp};

/// Datagrams in a burst.
const BURST: usize = 64;
/// The receivers' addresses.
const FAR: [&str; 2] = ["192.0.2.2:0", "[2001:db8::2]:0"];

type Attempt<T> = std::result::Result<T, String>;

/// Runs `ip` in the namespace of this thread.
fn ip(arguments: &str) -> Attempt<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("`ip`: {error}"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("`ip {arguments}`: {}", message.trim()))
    }
}

/// Gives this thread a namespace of its own.
fn namespace() -> Attempt<()> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("unshare: {error}"))
}

/// Sets up one end of the cable.
fn end(name: &str, host: u8) -> Attempt<()> {
    ip(&format!("link set {name} up"))?;
    ip(&format!("addr add 192.0.2.{host}/24 dev {name}"))?;
    ip(&format!("addr add 2001:db8::{host}/64 dev {name} nodad"))
}

/// Moves this thread to the near end of the cable, and returns sockets at the far end, which keep
/// their namespace alive.
fn network() -> Attempt<Vec<UdpSocket>> {
    namespace()?;
    let (tell, told) = mpsc::channel();
    let (connect, connected) = mpsc::channel();
    let far = thread::spawn(move || {
        tell.send(namespace().map(|()| gettid().as_raw())).unwrap();
        // Nothing comes if the near end could not be made.
        connected.recv().map_err(|error| error.to_string())?;
        end("far", 2)?;
        let sockets = FAR.iter().map(|address| {
            let socket = UdpSocket::bind(address).map_err(|error| format!("{address}: {error}"))?;
            socket
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            uv_sys::option::set_recv_buffer_size(&socket, 1 << 20).unwrap();
            Ok::<_, String>(socket)
        });
        sockets.collect::<Attempt<Vec<_>>>()
    });
    let thread = told.recv().unwrap()?;
    ip("link add near mtu 1280 type veth peer name far mtu 1280")?;
    ip(&format!("link set far netns {thread}"))?;
    connect.send(()).unwrap();
    let sockets = far.join().unwrap()?;
    end("near", 1)?;
    Ok(sockets)
}

/// Waits until datagrams get through: a network that was just made loses one or two.
fn warm_up(receiver: &UdpSocket, to: SocketAddr) {
    let sender = UdpSocket::bind(if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    for _ in 0..250 {
        let _ = sender.send_to(b"hello", to);
        if receiver.recv(&mut [0; 8]).is_ok() {
            // Those that were only late.
            while receiver.recv(&mut [0; 8]).is_ok() {}
            receiver
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            return;
        }
    }
    panic!("nothing gets through to {to}");
}

/// Sends a burst, and checks that all of it arrives as it was sent. Returns the number of system
/// calls with one message, and with several.
fn burst(event_loop: &Loop, udp: &Udp, receiver: &UdpSocket, length: usize) -> (usize, usize) {
    let deadline = Timer::new(event_loop);
    let late = |_: &Timer| panic!("not within a minute");
    deadline
        .start(Duration::from_secs(60), Duration::ZERO, late)
        .unwrap();
    let results: Rc<RefCell<Vec<Result<()>>>> = Rc::default();
    let before = (fault::calls(Call::Sendmsg), fault::calls(Call::Sendmmsg));
    for number in 0..BURST {
        let results = Rc::clone(&results);
        let callback = move |_: &Udp, result| results.borrow_mut().push(result);
        udp.send(&vec![number as u8; length], callback).unwrap();
    }
    while udp.send_queue_count() > 0 {
        event_loop.run(RunMode::Once).unwrap();
    }
    assert_eq!(*results.borrow(), [Ok(()); BURST]);
    let mut buffer = [0; 2_000];
    for number in 0..BURST {
        let received = receiver.recv(&mut buffer).expect("the next of the burst");
        assert_eq!(buffer[..received], vec![number as u8; length]);
    }
    deadline.close(|_| ()).unwrap();
    let (one, several) = before;
    (
        fault::calls(Call::Sendmsg) - one,
        fault::calls(Call::Sendmmsg) - several,
    )
}

fn check(receiver: &UdpSocket) {
    let to = receiver.local_addr().unwrap();
    warm_up(receiver, to);
    let event_loop = Loop::new().unwrap();
    let udp = Udp::new(&event_loop);
    udp.connect(to).unwrap();
    let told: Rc<RefCell<Vec<Errno>>> = Rc::default();
    let errors = Rc::clone(&told);
    udp.recv_start(move |_, received| errors.borrow_mut().extend(received.err().map(Errno::from)))
        .unwrap();

    let (one, several) = burst(&event_loop, &udp, receiver, 1_400);
    assert!(one > 1, "segments were tried first");
    assert!(
        several > 0,
        "the datagrams of a refused message go by themselves"
    );
    // The learned segment size stays: after the first datagram, two flushes send the others without
    // segments.
    assert_eq!(burst(&event_loop, &udp, receiver, 1_400), (1, 2));
    // Smaller datagrams are still segmented: the first one is a message, the others one or two.
    for _ in 0..3 {
        let (one, several) = burst(&event_loop, &udp, receiver, 1_200);
        assert!(
            one + several <= 3,
            "{one} and {several} calls for 1,200 bytes"
        );
        assert!(udp.counters().segments > 0);
    }
    assert_eq!(burst(&event_loop, &udp, receiver, 1_400), (1, 2));

    too_large_ones_among_others(&event_loop, &udp, receiver);
    event_loop.run(RunMode::NoWait).unwrap();
    assert_eq!(*told.borrow(), [], "the network has nothing to say of it");
    assert!(udp.counters().fallbacks >= 1);
}

/// Datagrams that must not be fragmented, some of them larger than the path allows: each has its
/// own result.
fn too_large_ones_among_others(event_loop: &Loop, udp: &Udp, receiver: &UdpSocket) {
    udp.options()
        .set_path_mtu_discovery(PathMtuDiscovery::Do)
        .unwrap();
    let lengths = [
        1_000, 1_000, 1_000, 1_400, 1_000, 1_000, 1_400, 1_400, 1_400, 900, 1_000, 1_400, 0,
    ];
    let results: Rc<RefCell<Vec<Result<()>>>> = Rc::default();
    for length in lengths {
        let results = Rc::clone(&results);
        let callback = move |_: &Udp, result| results.borrow_mut().push(result);
        udp.send(&vec![7; length], callback).unwrap();
    }
    while udp.send_queue_count() > 0 {
        event_loop.run(RunMode::Once).unwrap();
    }
    let result = |length| {
        if length == 1_400 {
            Err(Errno::EMSGSIZE)
        } else {
            Ok(())
        }
    };
    assert_eq!(*results.borrow(), lengths.map(result));
    for length in lengths.into_iter().filter(|&length| length != 1_400) {
        assert_eq!(receiver.recv(&mut [0; 2_000]).unwrap(), length);
    }
}

#[test]
fn datagrams_larger_than_the_path_allows_are_fragmented_and_smaller_ones_still_segmented() {
    let near = thread::spawn(|| network().map(|receivers| receivers.iter().for_each(check)));
    match near.join() {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => skipped(format_args!("no network of two namespaces here: {reason}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Names a test that is skipped on the terminal. The test harness does not capture the handle, as
/// it does `eprintln!`.
fn skipped(reason: impl std::fmt::Display) {
    use std::io::Write;
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    // Without a standard error output, nothing is printed.
    let _ = writeln!(std::io::stderr(), "skipped {name}: {reason}");
}
