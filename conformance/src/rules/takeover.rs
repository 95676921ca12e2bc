//! No other user takes the port of a handle while it reconnects.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nix::unistd::{Uid, setfsuid};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use uv_udp::{Errno, Family, RunMode, Udp};

use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Log;

pub(super) const RULES: &[Rule] = &[Rule::beside_other_user(
    "local/no-other-user-takes-the-port-meanwhile",
    "During 10,000 reconnects no other user can bind the port, and no datagram of the peer is lost.",
    nobody_takes_the_port,
)];

/// Reconnects per handle. An IPv4 handle needs a second socket on its port for the first one only:
/// then the kernel keeps the port.
const HANDLES: usize = 1_000;
const RECONNECTS_EACH: usize = 10;
/// Datagrams on their way at once, far fewer than a receive buffer holds.
const UNANSWERED: usize = 32;
/// The user "nobody".
const OTHER_USER: u32 = 65_534;

/// Gives this thread's sockets another user. `false` without the privilege.
pub(crate) fn become_other_user() -> bool {
    let other = Uid::from_raw(OTHER_USER);
    setfsuid(other);
    // The call returns the previous user.
    setfsuid(other) == other
}

/// The state that the threads share.
#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// The address of the open handle, and the number of earlier ones.
    target: Mutex<(usize, Option<SocketAddr>)>,
    /// Attempts to bind the port.
    attempts: AtomicUsize,
    /// Datagrams that the peer sent, and delivered ones.
    sent: AtomicUsize,
    delivered: AtomicUsize,
}

impl Shared {
    fn target(&self) -> MutexGuard<'_, (usize, Option<SocketAddr>)> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// A socket with SO_REUSEADDR.
fn sharing(family: Family, port_too: bool) -> Result<OwnedFd, Errno> {
    let socket = uv_sys::socket::socket(family)?;
    uv_sys::option::set_reuse_address(&socket, true)?;
    uv_sys::option::set_reuse_port(&socket, port_too)?;
    Ok(socket)
}

/// Tries to bind the ports as another user until the end. Returns the address that it took from an
/// open handle.
fn attack(family: Family, shared: &Shared) -> Result<Option<String>, Errno> {
    const ATTEMPTS: usize = 16;
    if !become_other_user() {
        return Err(Errno::EPERM);
    }
    let mut sockets = [sharing(family, false)?, sharing(family, true)?];
    while !shared.is_over() {
        let before = *shared.target();
        let (_, Some(address)) = before else {
            thread::yield_now();
            continue;
        };
        let wildcard = SocketAddr::new(family.unspecified(), address.port());
        for attempt in 0..ATTEMPTS {
            let which = attempt % 2;
            for address in [address, wildcard] {
                if uv_sys::socket::bind(&sockets[which], &address).is_err() {
                    shared.attempts.fetch_add(1, Ordering::Release);
                } else if *shared.target() == before {
                    let options = ["SO_REUSEADDR", "both options"][which];
                    return Ok(Some(format!("{address} with {options}")));
                } else {
                    // A closed handle's port is free.
                    sockets[which] = sharing(family, which == 1)?;
                }
            }
        }
    }
    Ok(None)
}

/// Sends numbers to the open handle until the end.
fn count_up(peer: &Raw, shared: &Shared) -> std::io::Result<()> {
    while !shared.is_over() {
        let target = shared.target();
        let sent = shared.sent.load(Ordering::Acquire);
        let waiting = sent - shared.delivered.load(Ordering::Acquire);
        match target.1 {
            Some(address) if waiting < UNANSWERED => {
                peer.send(sent.to_string(), address)?;
                shared.sent.store(sent + 1, Ordering::Release);
            }
            _ => {
                drop(target);
                thread::yield_now();
            }
        }
    }
    Ok(())
}

fn listen(udp: &Udp, numbers: &Log<usize>, shared: &Arc<Shared>) -> Verdict {
    let (numbers, shared) = (numbers.clone(), Arc::clone(shared));
    udp.recv_start(move |_, received| {
        let text = received.map(|datagram| String::from_utf8_lossy(datagram.data).into_owned());
        if let Some(number) = text.ok().and_then(|text| text.parse().ok()) {
            numbers.push(number);
            shared.delivered.fetch_add(1, Ordering::Release);
        }
    })?;
    Ok(())
}

/// One handle with its reconnects, which lose nothing.
fn reconnect(
    stage: &Stage,
    peer: SocketAddr,
    numbers: &Log<usize>,
    shared: &Arc<Shared>,
) -> Verdict {
    let udp = stage.bound()?;
    udp.connect(peer)?;
    listen(&udp, numbers, shared)?;
    let address = udp.local_addr()?;
    shared.target().1 = Some(address);
    for round in 0..RECONNECTS_EACH {
        if round % 2 == 0 {
            udp.disconnect()?;
        }
        udp.connect(peer)?;
        stage.event_loop.run(RunMode::NoWait)?;
    }
    ensure_eq!(udp.local_addr()?, address, "the local address");
    let sent = {
        let mut target = shared.target();
        *target = (target.0 + 1, None);
        shared.sent.load(Ordering::Acquire)
    };
    stage.until("all datagrams are delivered", || numbers.len() >= sent)?;
    udp.close(|_| ())?;
    stage.to_the_end()
}

/// Keeps this thread, and threads that it starts, on one CPU. Otherwise a datagram in another CPU's
/// backlog is lost when its socket closes.
fn share_one_cpu() -> Verdict {
    let all = sched_getaffinity(None).map_err(std::io::Error::from)?;
    let mut one = CpuSet::new();
    if let Some(first) = (0..CpuSet::MAX_CPU).find(|&cpu| all.is_set(cpu)) {
        one.set(first);
    }
    Ok(sched_setaffinity(None, &one).map_err(std::io::Error::from)?)
}

fn nobody_takes_the_port(stage: &Stage) -> Verdict {
    let shared = Arc::<Shared>::default();
    let (peer, family, numbers) = (stage.raw()?, stage.family, Log::default());
    let to_peer = peer.address();
    let attacker = thread::spawn({
        let shared = Arc::clone(&shared);
        move || attack(family, &shared)
    });
    share_one_cpu()?;
    let sender = thread::spawn({
        let shared = Arc::clone(&shared);
        move || count_up(&peer, &shared)
    });
    let reconnected = (0..HANDLES)
        .take_while(|_| !attacker.is_finished())
        .try_for_each(|_| reconnect(stage, to_peer, &numbers, &shared));
    shared.over.store(true, Ordering::Release);
    let panicked = |_| Broken::new("the other thread panicked");
    let taken = attacker.join().map_err(panicked)??;
    sender.join().map_err(panicked)??;
    ensure_eq!(taken, None, "the address that another user took");
    reconnected?;
    let mut numbers = numbers.all();
    numbers.sort_unstable();
    let sent = shared.sent.load(Ordering::Acquire);
    ensure!(
        numbers.iter().copied().eq(0..sent),
        "of {sent} datagrams some came twice"
    );
    let attempts = shared.attempts.load(Ordering::Acquire);
    stage.note(format_args!(
        "{attempts} attempts to bind, {sent} datagrams"
    ));
    Ok(())
}
