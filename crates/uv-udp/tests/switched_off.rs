//! Metadata that is switched off costs nothing: the handle makes the system calls that it makes
//! without it, with the same control messages or none. Shown by strace(1), in a step of `cargo
//! xtask ci`, where a missing tool is a failure.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::process::Command;
use std::rc::Rc;

use uv_udp::{Loop, Result, RunMode, Udp};

/// With this variable, the test binary is the traced program, with this workload.
const WORKLOAD: &str = "UV_UDP_TEST_SWITCHED_OFF";
/// Round trips, or bursts, in each phase.
const ROUNDS: usize = 20;
const BURST: usize = 64;

type Switch = fn(&Udp, bool) -> Result<()>;

/// All kinds of metadata that need no router.
const METADATA: [(&str, Switch); 5] = [
    ("tos", |udp: &Udp, on| udp.options().set_recv_tos(on)),
    ("ttl", |udp: &Udp, on| udp.options().set_recv_ttl(on)),
    ("destination", |udp: &Udp, on| {
        udp.options().set_recv_packet_info(on)
    }),
    ("timestamp", |udp: &Udp, on| {
        udp.options().set_recv_timestamps(on)
    }),
    ("drops", |udp: &Udp, on| udp.options().set_recv_drops(on)),
];

/// Runs the loop until this number of datagrams was received since the last call.
fn run_until(event_loop: &Loop, received: &Cell<usize>, count: usize) {
    while received.get() < count {
        event_loop.run(RunMode::NoWait).unwrap();
    }
    received.set(0);
}

fn pair(event_loop: &Loop) -> [Udp; 2] {
    let pair = [Udp::new(event_loop), Udp::new(event_loop)];
    for udp in &pair {
        udp.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    }
    let [one, other] = &pair;
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    pair
}

/// Single datagrams there and back.
fn pingpong(event_loop: &Loop) -> ([Udp; 2], impl Fn()) {
    let [one, other] = pair(event_loop);
    let received = Rc::new(Cell::new(0));
    other
        .recv_start(|udp, received| {
            udp.try_send(received.unwrap().data).unwrap();
        })
        .unwrap();
    let count = Rc::clone(&received);
    one.recv_start(move |_, _| count.set(count.get() + 1))
        .unwrap();
    let (event_loop, sender) = (event_loop.clone(), one.clone());
    let rounds = move || {
        for _ in 0..ROUNDS {
            sender.try_send(b"ping").unwrap();
            run_until(&event_loop, &received, 1);
        }
    };
    // The predictors adapt to single datagrams.
    rounds();
    ([one, other], rounds)
}

/// Bursts of datagrams of one size, one way.
fn burst(event_loop: &Loop) -> ([Udp; 2], impl Fn()) {
    let [one, other] = pair(event_loop);
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    other
        .recv_start(move |_, _| count.set(count.get() + 1))
        .unwrap();
    let (event_loop, sender) = (event_loop.clone(), one.clone());
    let bursts = move || {
        for _ in 0..ROUNDS {
            for _ in 0..BURST {
                sender.send(&[7; 100], |_, result| result.unwrap()).unwrap();
            }
            run_until(&event_loop, &received, BURST);
        }
    };
    // The predictors adapt to bursts.
    bursts();
    ([one, other], bursts)
}

fn phases(handles: &[Udp], work: &dyn Fn()) {
    println!("phase before");
    work();
    for (name, set) in METADATA {
        println!("phase switch");
        handles.iter().for_each(|udp| set(udp, true).unwrap());
        println!("phase with {name}");
        work();
        println!("phase switch");
        handles.iter().for_each(|udp| set(udp, false).unwrap());
        println!("phase after {name}");
        work();
    }
    println!("phase end");
}

#[test]
fn the_program_that_is_traced() {
    let Some(workload) = env::var_os(WORKLOAD) else {
        return;
    };
    let event_loop = Loop::new().unwrap();
    if workload == "pingpong" {
        let (handles, work) = pingpong(&event_loop);
        phases(&handles, &work);
    } else {
        let (handles, work) = burst(&event_loop);
        phases(&handles, &work);
    }
}

/// The lines of the trace in each phase.
fn trace(workload: &str) -> Vec<(String, Vec<String>)> {
    let log = env::temp_dir().join(format!("uv-udp-{workload}-{}.log", std::process::id()));
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=%network,write", "-o"])
        .arg(&log)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "the_program_that_is_traced", "--nocapture"])
        .env(WORKLOAD, workload)
        .output();
    let output = output.expect("strace");
    let reason = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "strace cannot trace: {reason}");
    let traced = fs::read_to_string(&log);
    let _ = fs::remove_file(&log);
    let mut phases: Vec<(String, Vec<String>)> = Vec::new();
    for line in traced.unwrap().lines() {
        if let Some((_, phase)) = line.split_once("\"phase ") {
            let name = phase.split(['\\', '"']).next().unwrap_or_default();
            phases.push((name.to_owned(), Vec::new()));
        } else if let Some((_, lines)) = phases.last_mut() {
            lines.push(line.to_owned());
        }
    }
    phases.retain(|(name, _)| name != "switch" && name != "end");
    assert_eq!(phases.len(), 1 + 2 * METADATA.len(), "phases");
    phases
}

/// The system call and its kinds of control messages, which identify a way of sending or receiving.
fn shape(line: &str) -> String {
    let call = line.split('(').next().unwrap_or_default();
    let call = call.split_whitespace().last().unwrap_or_default();
    let kinds = line.split("cmsg_level=").skip(1);
    let kinds: BTreeSet<_> = kinds
        .map(|message| message.split(", cmsg_data").next().unwrap_or_default())
        .map(|message| message.split('}').next().unwrap_or_default())
        .collect();
    kinds
        .iter()
        .fold(call.to_owned(), |shape, kind| format!("{shape} {kind}"))
}

fn shapes(lines: &[String]) -> BTreeSet<String> {
    let answered = lines.iter().filter(|line| !line.contains("EAGAIN"));
    answered.map(|line| shape(line)).collect()
}

#[test]
#[ignore = "a step of `cargo xtask ci`: strace"]
fn ping_pong_takes_the_plain_calls_before_and_after() {
    let phases = trace("pingpong");
    // Calls without a header have no control messages. The probes of the predictor have one.
    let plain = BTreeSet::from(["recvfrom", "recvmmsg", "sendto"].map(str::to_owned));
    for (name, lines) in &phases {
        let made = |call: &str| {
            let calls = lines.iter().filter(|line| line.contains(call));
            calls.filter(|line| !line.contains("EAGAIN")).count()
        };
        assert_eq!(made(" sendto("), 2 * ROUNDS, "sends {name}: {lines:#?}");
        if name.starts_with("with") {
            assert!(made(" recvmsg(") > ROUNDS, "{name}: {lines:#?}");
            continue;
        }
        assert!(shapes(lines).is_subset(&plain), "{name}: {lines:#?}");
        let (single, more) = (made(" recvfrom("), made(" recvmmsg("));
        assert_eq!(single + more, 2 * ROUNDS, "reads {name}: {lines:#?}");
        assert!(single >= 8 * more, "reads {name}: {lines:#?}");
    }
}

#[test]
#[ignore = "a step of `cargo xtask ci`: strace"]
fn bursts_take_the_same_calls_with_the_same_control_messages_before_and_after() {
    let phases = trace("burst");
    let before = shapes(&phases[0].1);
    let calls = |lines: &[String]| lines.iter().filter(|line| !line.contains("EAGAIN")).count();
    for (name, lines) in &phases {
        if name.starts_with("with") {
            // The kernel reports no drops while the count is 0.
            let differs = shapes(lines) != before;
            assert!(differs || name == "with drops", "{name}: {before:?}");
        } else {
            assert_eq!(shapes(lines), before, "{name}");
            let (now, first) = (calls(lines), calls(&phases[0].1));
            assert_eq!(now, first, "system calls {name}: {lines:#?}");
        }
    }
    let foreign = before
        .iter()
        .filter(|shape| shape.contains("SOL_") && !shape.contains("SOL_UDP"));
    assert_eq!(
        foreign.count(),
        0,
        "control messages that nobody asked for: {before:?}"
    );
}
