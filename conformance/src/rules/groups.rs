//! Groups of handles that share an address and a port, and their flows.

use std::net::SocketAddr;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use uv_udp::{BindOptions, Family, Udp};

use crate::raw::Raw;
use crate::rule::Rule;
use crate::stage::Stage;
use crate::verdict::{Broken, Verdict, ensure, ensure_eq};
use crate::watch::Inbox;

pub(super) const RULES: &[Rule] = &[
    Rule::each(
        "bind/a-reuse-port-group-shares-the-flows",
        "Each datagram reaches one member of a reuse_port group, and both members get some; a CPU selector chooses.",
        group,
    ),
    Rule::each(
        "bind/a-selector-chooses-by-cpu",
        "In a reuse_port group with a selector each member gets the datagrams that its CPU processes.",
        by_selector,
    ),
    Rule::each(
        "bind/an-incoming-cpu-is-preferred",
        "A member of a reuse_port group with an incoming CPU gets that CPU's datagrams, as raw sockets do.",
        by_incoming_cpu,
    ),
    Rule::each(
        "bind/a-connected-member-splits-its-group",
        "A reuse_port member bound after another one connected gets all unmatched datagrams (IPv4) or none (IPv6).",
        |stage| split(stage, false),
    ),
    Rule::each(
        "bind/a-selector-misses-half-of-a-split-group",
        "A selector attached after a reuse_port member connected does not affect the half with the traffic.",
        |stage| split(stage, true),
    ),
];

fn group(stage: &Stage) -> Verdict {
    let options = BindOptions::default().reuse_port(true);
    let (one, other) = (stage.udp(), stage.udp());
    one.bind_with(stage.loopback(), options)?;
    let address = one.local_addr()?;
    other.bind_with(address, options)?;
    let (at_one, at_other) = (Inbox::of(&one)?, Inbox::of(&other)?);
    let all = |count| at_one.len() + at_other.len() == count;
    for _ in 0..64 {
        stage.raw()?.send("hello", address)?;
    }
    stage.until("all of it is delivered", || all(64))?;
    ensure!(
        at_one.len() > 0 && at_other.len() > 0,
        "one of them got everything"
    );
    one.options().attach_reuseport_cpu_selector(1)?;
    let before = at_other.len();
    for _ in 0..64 {
        stage.raw()?.send("hello", address)?;
    }
    stage.until("all of it is delivered", || all(128))?;
    ensure_eq!(
        at_other.len(),
        before,
        "the flows of the second member with a selector"
    );
    Ok(())
}

/// Two handles that share an address.
fn pair(stage: &Stage) -> Result<[Udp; 2], Broken> {
    let options = BindOptions::default().reuse_port(true);
    let (one, other) = (stage.udp(), stage.udp());
    one.bind_with(stage.loopback(), options)?;
    other.bind_with(one.local_addr()?, options)?;
    Ok([one, other])
}

/// Sends on each CPU in turn, which also processes loopback's datagrams. Returns the numbers on
/// even and on odd CPUs.
fn send_from_each_cpu(stage: &Stage, to: SocketAddr) -> Result<[usize; 2], Broken> {
    const EACH: usize = 16;
    let whole = sched_getaffinity(None).map_err(std::io::Error::from)?;
    let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| whole.is_set(cpu));
    let mut sent = [0, 0];
    for cpu in cpus {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only).map_err(std::io::Error::from)?;
        // Each from its own port.
        for _ in 0..EACH {
            stage.raw()?.send("hello", to)?;
        }
        sent[cpu % 2] += EACH;
    }
    sched_setaffinity(None, &whole).map_err(std::io::Error::from)?;
    Ok(sent)
}

/// Checks that each member gets the datagrams of its CPUs.
fn each_gets_its_own(stage: &Stage, [one, other]: [Udp; 2]) -> Verdict {
    let inboxes = [Inbox::of(&one)?, Inbox::of(&other)?];
    let sent = send_from_each_cpu(stage, one.local_addr()?)?;
    let all: usize = sent.iter().sum();
    stage.until("all of it is delivered", || {
        inboxes.iter().map(Inbox::len).sum::<usize>() == all
    })?;
    let seen = inboxes.map(|inbox| inbox.len());
    ensure_eq!(seen, sent, "the datagrams at each member");
    Ok(())
}

fn by_selector(stage: &Stage) -> Verdict {
    let handles = pair(stage)?;
    handles[1].options().attach_reuseport_cpu_selector(2)?;
    each_gets_its_own(stage, handles)
}

/// The datagrams of two raw sockets that prefer an even and an odd CPU.
fn raw_by_incoming_cpu(stage: &Stage) -> Result<([usize; 2], [usize; 2]), Broken> {
    let (one, other) = (
        uv_sys::socket::socket(stage.family)?,
        uv_sys::socket::socket(stage.family)?,
    );
    let mut to = stage.loopback();
    for (cpu, socket) in [&one, &other].into_iter().enumerate() {
        uv_sys::option::set_reuse_port(socket, true)?;
        uv_sys::option::set_incoming_cpu(socket, u32::from(cpu == 1))?;
        uv_sys::socket::bind(socket, &to)?;
        to = uv_sys::socket::local_addr(socket)?;
    }
    let sent = send_from_each_cpu(stage, to)?;
    let raws = [
        Raw::from_socket(one.into())?,
        Raw::from_socket(other.into())?,
    ];
    let [one, other] = &raws;
    Ok((sent, [one.rest()?.len(), other.rest()?.len()]))
}

fn by_incoming_cpu(stage: &Stage) -> Verdict {
    let (sent, raw) = raw_by_incoming_cpu(stage)?;
    if sent != raw {
        stage.note("not checked: more CPUs than two, or a kernel that does not look at it");
        return Ok(());
    }
    let [one, other] = pair(stage)?;
    one.options().set_incoming_cpu(0)?;
    other.options().set_incoming_cpu(1)?;
    each_gets_its_own(stage, [one, other])
}

/// Three members of a group: an unconnected one, a connected one, and one bound after that. The
/// second was the last bound one with IPv4 and the first with IPv6, which splits the group.
struct Split<T> {
    early: T,
    connected: T,
    later: T,
}

impl<T> Split<T> {
    fn new(
        family: Family,
        mut bind: impl FnMut() -> Result<T, Broken>,
        connect: impl FnOnce(&T) -> Verdict,
    ) -> Result<Self, Broken> {
        let (first, second) = (bind()?, bind()?);
        let (early, connected) = match family {
            Family::V4 => (first, second),
            Family::V6 => (second, first),
        };
        connect(&connected)?;
        let later = bind()?;
        Ok(Self {
            early,
            connected,
            later,
        })
    }
}

const FLOWS: usize = 64;

/// The datagrams of many flows at each member except the connected one.
fn expected(family: Family) -> [usize; 2] {
    match family {
        Family::V4 => [0, FLOWS],
        Family::V6 => [FLOWS, 0],
    }
}

fn send_flows(stage: &Stage, to: SocketAddr) -> Verdict {
    for _ in 0..FLOWS {
        stage.raw()?.send("hello", to)?;
    }
    Ok(())
}

/// The datagrams at two raw sockets of a split group.
fn raw_split(stage: &Stage) -> Result<[usize; 2], Broken> {
    let (peer, mut to) = (stage.raw()?, stage.loopback());
    let bind = || {
        let socket = uv_sys::socket::socket(stage.family)?;
        uv_sys::option::set_reuse_port(&socket, true)?;
        uv_sys::socket::bind(&socket, &to)?;
        to = uv_sys::socket::local_addr(&socket)?;
        Ok(Raw::from_socket(socket.into())?)
    };
    let connect = |socket: &Raw| Ok(uv_sys::socket::connect(socket, &peer.address())?);
    let group = Split::new(stage.family, bind, connect)?;
    send_flows(stage, group.later.address())?;
    Ok([group.early.rest()?.len(), group.later.rest()?.len()])
}

fn split(stage: &Stage, with_selector: bool) -> Verdict {
    let raw = raw_split(stage)?;
    if raw != expected(stage.family) {
        stage.note(format_args!("not checked: raw sockets got {raw:?} here"));
        return Ok(());
    }
    let (peer, mut to) = (stage.raw()?, stage.loopback());
    let bind = || {
        let udp = stage.udp();
        udp.bind_with(to, BindOptions::default().reuse_port(true))?;
        to = udp.local_addr()?;
        Ok(udp)
    };
    let group = Split::new(stage.family, bind, |udp| Ok(udp.connect(peer.address())?))?;
    if with_selector {
        // A member of the half without traffic.
        let idle = match stage.family {
            Family::V4 => &group.early,
            Family::V6 => &group.later,
        };
        idle.options().attach_reuseport_cpu_selector(1)?;
    }
    let to = group.connected.local_addr()?;
    let inboxes = [Inbox::of(&group.early)?, Inbox::of(&group.later)?];
    send_flows(stage, to)?;
    stage.until("all of it is delivered", || {
        inboxes.iter().map(Inbox::len).sum::<usize>() == FLOWS
    })?;
    let seen = inboxes.map(|inbox| inbox.len());
    ensure_eq!(seen, expected(stage.family), "what two members got");
    Ok(())
}
