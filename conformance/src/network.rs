//! Network namespaces: one for the thread of a rule, and a second one behind a cable.
//!
//! The near side has `lo` and, after [`Near::cable`], a device `near` with 192.0.2.1/24 and
//! 2001:db8::1/64. The far side has .2 and ::2. No host has .99 and ::99: datagrams to them wait in
//! the neighbour table, charged to their socket, until [`Far::wake`] adds the address. So a send
//! buffer stays full as long as a rule needs.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::thread::gettid;
use uv_udp::Family;

use crate::raw::{DEADLINE, Raw};
use crate::verdict::{Broken, Verdict, ensure};

/// The hardware address of the far end of the cable.
const FAR_HARDWARE: &str = "02:00:00:00:00:02";

/// The reason why this machine has no sockets of the family, if it has none.
pub(crate) fn why_no_family(family: Family) -> Option<String> {
    let loopback: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let error = UdpSocket::bind((loopback, 0)).err()?;
    Some(format!("no loopback address {loopback} here: {error}"))
}

/// The reason why this machine makes no network namespaces, if it makes none.
pub(crate) fn why_no_namespace() -> Option<String> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let reason = REASON.get_or_init(|| {
        let attempt = thread::spawn(|| Near::enter().and_then(|near| near.cable().map(drop)));
        let broken = attempt.join().map_or_else(
            |_| Some("the attempt panicked".to_owned()),
            |result| result.err().map(|broken| broken.to_string()),
        );
        broken.map(|broken| format!("no network namespace here: {broken}"))
    });
    reason.clone()
}

fn ip(arguments: &str) -> Verdict {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.map_err(|error| Broken::new(format_args!("`ip`: {error}")))?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`ip {arguments}`: {}",
        message.trim()
    );
    Ok(())
}

/// Moves this thread into a new network namespace, which has loopback only.
fn new_namespace() -> Verdict {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| Broken::new(format_args!("unshare(CLONE_NEWNET): {error}")))?;
    ip("link set lo up")
}

/// The namespace of the rule's thread.
#[derive(Clone, Copy)]
pub(crate) struct Near(());

impl Near {
    pub(crate) fn enter() -> Result<Self, Broken> {
        new_namespace().map(|()| Self(()))
    }

    /// Runs `ip` on the near side.
    pub(crate) fn ip(&self, arguments: &str) -> Verdict {
        ip(arguments)
    }

    /// Adds an address to loopback.
    pub(crate) fn add_address(&self, address: IpAddr) -> Verdict {
        ip(&format!("addr add {address}/128 dev lo nodad"))?;
        let own = Raw::bind(SocketAddr::new(address, 0))?;
        reaches(&own, &own)
    }

    /// Connects a second namespace by a cable.
    pub(crate) fn cable(&self) -> Result<Far, Broken> {
        let far = Far::start()?;
        ip(&format!(
            "link add near type veth peer name far address {FAR_HARDWARE}"
        ))?;
        ip(&format!("link set far netns {}", far.thread))?;
        ip("link set near up")?;
        far.ip("link set far up")?;
        for family in [Family::V4, Family::V6] {
            // Without IPv6 in the kernel, its rules are skipped.
            if why_no_family(family).is_none() {
                let (near_side, far_side) = (
                    device_address(near(family)),
                    device_address(self::far(family)),
                );
                ip(&format!("addr add {near_side} dev near"))?;
                far.ip(&format!("addr add {far_side} dev far"))?;
            }
        }
        // The neighbour table keeps datagrams for a silent neighbour as long as a rule takes.
        for table in ["arp_cache", "ndisc_cache"] {
            ip(&format!(
                "ntable change name {table} dev near mcast_probes 1000"
            ))?;
        }
        wait_for_link("near", ip_output)?;
        wait_for_link("far", |arguments| far.run(move || ip_output(arguments))?)?;
        far.answers(Family::V4)?;
        if why_no_family(Family::V6).is_none() {
            far.answers(Family::V6)?;
        }
        Ok(far)
    }

    /// The number of failed sends without buffer space in this namespace, from the kernel's
    /// counters.
    pub(crate) fn sends_without_buffers(&self, family: Family) -> Result<usize, Broken> {
        let (file, name) = match family {
            Family::V4 => ("/proc/thread-self/net/snmp", "SndbufErrors"),
            Family::V6 => ("/proc/thread-self/net/snmp6", "Udp6SndbufErrors"),
        };
        let text = fs::read_to_string(file)?;
        let count = match family {
            Family::V4 => {
                let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
                let names = lines.next().unwrap_or_default().split_whitespace();
                let values = lines.next().unwrap_or_default().split_whitespace();
                names.zip(values).find(|&(each, _)| each == name)
            }
            Family::V6 => {
                let mut pairs = text
                    .lines()
                    .filter_map(|line| line.split_once(char::is_whitespace));
                pairs.find(|&(each, _)| each == name)
            }
        };
        count
            .and_then(|(_, value)| value.trim().parse().ok())
            .ok_or_else(|| Broken::new(format_args!("{file} does not say {name}")))
    }
}

/// The near end of the cable.
pub(crate) fn near(family: Family) -> IpAddr {
    host(family, 1)
}

/// The far end of the cable.
pub(crate) fn far(family: Family) -> IpAddr {
    host(family, 2)
}

/// An address on the cable's network that is silent until [`Far::wake`].
pub(crate) fn silent(family: Family) -> IpAddr {
    host(family, 99)
}

fn host(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(192, 0, 2, number).into(),
        Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into(),
    }
}

/// The address in the syntax of `ip addr add`.
fn device_address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/24"),
        // Without duplicate detection the address is usable at once.
        IpAddr::V6(address) => format!("{address}/64 nodad"),
    }
}

fn ip_output(arguments: String) -> Result<String, Broken> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A device drops datagrams until the kernel has noticed the carrier.
fn wait_for_link(device: &str, mut ip: impl FnMut(String) -> Result<String, Broken>) -> Verdict {
    let began = Instant::now();
    while !ip(format!("-o link show {device}"))?.contains("state UP") {
        ensure!(
            began.elapsed() < DEADLINE,
            "{device} is not up within {DEADLINE:?}"
        );
        thread::yield_now();
    }
    Ok(())
}

type Job = Box<dyn FnOnce() + Send>;

/// The other end of a cable: a namespace with a thread, until this is dropped.
pub(crate) struct Far {
    jobs: mpsc::Sender<Job>,
    thread: i32,
}

impl Far {
    fn start() -> Result<Self, Broken> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let entered = new_namespace().map(|()| gettid().as_raw_nonzero().get());
            let failed = entered.is_err();
            if tell.send(entered).is_err() || failed {
                return;
            }
            while let Ok(job) = todo.recv() {
                job();
            }
        });
        let thread = told
            .recv()
            .map_err(|_| Broken::new("the far side panicked"))??;
        Ok(Self { jobs, thread })
    }

    /// Runs a function on the far side.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Broken> {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || {
            // The near side waits for this result.
            let _ = tell.send(job());
        });
        let gone = |_| Broken::new("the far side is gone");
        self.jobs
            .send(job)
            .map_err(|_| Broken::new("the far side is gone"))?;
        told.recv().map_err(gone)
    }

    /// Runs `ip` on the far side.
    pub(crate) fn ip(&self, arguments: &str) -> Verdict {
        let arguments = arguments.to_owned();
        self.run(move || ip(&arguments))?
    }

    /// A raw socket on the far side. A socket stays in its namespace when another thread uses it.
    pub(crate) fn raw(&self, address: SocketAddr) -> Result<Raw, Broken> {
        Ok(self.run(move || Raw::bind(address))??)
    }

    /// A raw socket for the silent address, for which the near side has no neighbour entry yet.
    /// [`wake`](Self::wake) makes the address reachable.
    pub(crate) fn sleeper(&self, family: Family) -> Result<Raw, Broken> {
        // Bound to the wildcard address: the silent one does not exist yet.
        self.raw(SocketAddr::new(family.unspecified(), 0))
    }

    /// Adds the silent address, to which waiting datagrams then go.
    pub(crate) fn wake(&self, family: Family) -> Verdict {
        let address = silent(family);
        self.ip(&format!("addr add {} dev far", device_address(address)))?;
        let own = self.raw(SocketAddr::new(address, 0))?;
        reaches(&own, &own)?;
        ip(&format!(
            "neigh replace {address} lladdr {FAR_HARDWARE} dev near"
        ))
    }

    /// Waits until datagrams come over the cable in both directions.
    fn answers(&self, family: Family) -> Verdict {
        let here = Raw::bind(SocketAddr::new(near(family), 0))?;
        let there = self.raw(SocketAddr::new(far(family), 0))?;
        reaches(&here, &there)?;
        reaches(&there, &here)
    }
}

/// Sends until a datagram arrives. A new network loses a datagram or two: the kernel sets up a
/// cable and an IPv6 address some time after `ip` returns.
fn reaches(from: &Raw, to: &Raw) -> Verdict {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        from.send("hello", to.address())?;
        if to.recv_within(Duration::from_millis(20))?.is_some() {
            return Ok(());
        }
    }
    Err(Broken::new(format_args!(
        "{} is not reached within {DEADLINE:?}",
        to.address()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::ensure_eq;

    #[test]
    fn what_is_sent_to_the_silent_address_arrives_when_it_wakes() {
        if let Some(reason) = why_no_namespace() {
            crate::skipped(format_args!("{reason}"));
            return;
        }
        let attempt = thread::spawn(|| -> Verdict {
            let near = Near::enter()?;
            let far = near.cable()?;
            let (client, sleeper) = (
                Raw::bind("192.0.2.1:0".parse().unwrap())?,
                far.sleeper(Family::V4)?,
            );
            client.send(
                "early",
                SocketAddr::new(silent(Family::V4), sleeper.address().port()),
            )?;
            ensure_eq!(sleeper.rest()?, [""; 0], "the datagrams before the wake");
            far.wake(Family::V4)?;
            ensure_eq!(sleeper.recv_text()?, "early", "the datagrams after it");
            ensure_eq!(
                near.sends_without_buffers(Family::V4)?,
                0,
                "sends without buffers"
            );
            Ok(())
        });
        attempt.join().unwrap().unwrap();
    }
}
