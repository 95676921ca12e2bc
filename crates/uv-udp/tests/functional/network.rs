//! A network with a router, in network namespaces: datagrams beyond the router cause a known error.
//!
//! The test's thread has a device `near` with 192.0.2.1/24 and 2001:db8::1/64; the router has .2
//! and ::2 there, and is the default route. Without the privilege to make namespaces a
//! test is skipped, and says so.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use super::harness::skipped;

/// The fate of datagrams at the router, by destination.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// Delivered: the router itself.
    Arrives,
    /// A missing host in a network of the router.
    NoHost,
    /// No route.
    NoNetwork,
    /// The router rejects.
    Prohibited,
    /// A packet may have 1,280 bytes at most.
    Thin,
}

pub(super) fn address(v6: bool, fate: Fate) -> IpAddr {
    let text = match (fate, v6) {
        (Fate::Arrives, false) => "192.0.2.2",
        (Fate::Arrives, true) => "2001:db8::2",
        (Fate::NoHost, false) => "198.51.100.9",
        (Fate::NoHost, true) => "2001:db8:1::9",
        (Fate::NoNetwork, false) => "10.9.9.9",
        (Fate::NoNetwork, true) => "2001:db9::9",
        (Fate::Prohibited, false) => "10.1.1.1",
        (Fate::Prohibited, true) => "2001:dba::1",
        (Fate::Thin, false) => "203.0.113.9",
        (Fate::Thin, true) => "2001:db8:2::9",
    };
    text.parse().unwrap()
}

pub(super) fn beyond(v6: bool, fate: Fate) -> SocketAddr {
    SocketAddr::new(address(v6, fate), 9)
}

const ROUTER: &[&str] = &[
    "addr add 192.0.2.2/24 dev far",
    "addr add 2001:db8::2/64 dev far nodad",
    // Both ends of a cable, without a host at the other one.
    "link add empty type veth peer name end",
    "link set empty up",
    "link set end up",
    "addr add 198.51.100.1/24 dev empty",
    "addr add 2001:db8:1::1/64 dev empty nodad",
    "ntable change name arp_cache dev empty mcast_probes 1 retrans 20",
    "ntable change name ndisc_cache dev empty mcast_probes 1 retrans 20",
    "route add prohibit 10.1.1.0/24",
    "-6 route add prohibit 2001:dba::/32",
    "link add thin mtu 1280 type veth peer name thinner mtu 1280",
    "link set thin up",
    "link set thinner up",
    "addr add 203.0.113.1/24 dev thin",
    "addr add 2001:db8:2::1/64 dev thin nodad",
];

const NEAR: &[&str] = &[
    "addr add 192.0.2.1/24 dev near",
    "addr add 2001:db8::1/64 dev near nodad",
    "route add default via 192.0.2.2",
    "-6 route add default via 2001:db8::2",
];

/// Removes the router's limits of ICMP messages.
const SYSTEM: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/icmp_ratelimit", "0"),
    ("ipv6/icmp/ratelimit", "0"),
];

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("`ip`: {error}"))?;
    let message = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("`ip {arguments}`: {}", message.trim()))
    }
}

fn namespace() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("unshare: {error}"))?;
    ip("link set lo up")
}

type Step = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// The router's thread, whose namespace lives as long as it does.
struct Router {
    steps: mpsc::Sender<Step>,
    results: mpsc::Receiver<Result<(), String>>,
    thread: i32,
}

impl Router {
    fn start() -> Result<Self, String> {
        let (steps, todo) = mpsc::channel::<Step>();
        let (done, results) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            tell.send(namespace().map(|()| gettid().as_raw())).unwrap();
            while let Ok(step) = todo.recv() {
                let _ = done.send(step());
            }
        });
        let thread = told.recv().unwrap()?;
        Ok(Self {
            steps,
            results,
            thread,
        })
    }

    fn run(
        &self,
        step: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        self.steps.send(Box::new(step)).unwrap();
        self.results.recv().unwrap()
    }
}

fn network() -> Result<Router, String> {
    namespace()?;
    let router = Router::start()?;
    ip("link add near type veth peer name far")?;
    ip(&format!("link set far netns {}", router.thread))?;
    ip("link set near up")?;
    router.run(|| {
        ip("link set far up")?;
        ROUTER.iter().try_for_each(|arguments| ip(arguments))?;
        SYSTEM.iter().try_for_each(|(name, value)| {
            fs::write(format!("/proc/sys/net/{name}"), value)
                .map_err(|error| format!("{name}: {error}"))
        })
    })?;
    NEAR.iter().try_for_each(|arguments| ip(arguments))?;
    Ok(router)
}

/// Waits until the router answers: a network that was just made loses a datagram or two.
fn warm_up(v6: bool) {
    for _ in 0..3_000 {
        let socket = std::net::UdpSocket::bind((if v6 { "::" } else { "0.0.0.0" }, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        socket.connect(beyond(v6, Fate::Arrives)).unwrap();
        let _ = socket.send(b"hello");
        // The port is closed, and the router reports it.
        if matches!(socket.recv(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused)
        {
            return;
        }
    }
    panic!("the router does not answer");
}

/// Runs a test in a thread of its own, whose network it may change.
fn apart(test: impl FnOnce() -> Result<(), String> + Send + 'static) {
    match thread::spawn(test).join() {
        Ok(Ok(())) => {}
        Ok(Err(reason)) => skipped(format_args!("no network of one's own here: {reason}")),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs a test for each family in a network of its own.
pub(super) fn with_router(test: fn(v6: bool)) {
    for v6 in [false, true] {
        apart(move || {
            let _router = network()?;
            warm_up(v6);
            test(v6);
            Ok(())
        });
    }
}

/// Runs a test in a network of its own, which has a device `gone` beside loopback until the test
/// calls `remove`.
pub(super) fn with_device(test: fn(remove: &dyn Fn())) {
    apart(move || {
        namespace()?;
        ip("link add gone type veth peer name end")?;
        test(&|| ip("link del gone").unwrap());
        Ok(())
    });
}
