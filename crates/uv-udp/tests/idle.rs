//! An idle loop makes one read and sleeps, as strace(1) shows. A step of
//! `cargo xtask ci` runs the test, where a missing tool is a failure.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use uv_udp::{Loop, RunMode, Timer, Udp};

/// With this variable, the test binary is the program that idles.
const IDLE: &str = "UV_UDP_TEST_IDLE";
/// The line that the program prints when it becomes idle.
const AT_REST: &str = "at rest";
/// The duration of the idle time.
const REST: Duration = Duration::from_millis(500);
/// System calls that the idle time may take, whatever its duration. It takes two: a read that finds
/// nothing, and a wait. Before Linux 5.11 one wait is several.
const MOST: usize = 7;

/// Receives with a timer in the far future: one datagram starts the idle time, another ends it.
#[test]
fn the_program_that_idles() {
    if env::var_os(IDLE).is_none() {
        return;
    }
    let event_loop = Loop::new().unwrap();
    let timer = Timer::new(&event_loop);
    timer
        .start(Duration::from_secs(3600), Duration::ZERO, |_| ())
        .unwrap();
    let udp = Udp::new(&event_loop);
    udp.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    udp.recv_start(move |udp, received| match received.unwrap().data {
        b"rest" => println!("{AT_REST}"),
        b"end" => {
            udp.close(|_| ()).unwrap();
            timer.close(|_| ()).unwrap();
        }
        _ => {}
    })
    .unwrap();
    println!("address {}", udp.local_addr().unwrap());
    event_loop.run(RunMode::Default).unwrap();
}

/// What follows this word in the next line of the program that has it.
fn line_with(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    word: &str,
) -> Option<String> {
    lines.find_map(|line| Some(line.ok()?.split_once(word)?.1.to_owned()))
}

#[test]
#[ignore = "a step of `cargo xtask ci`: strace"]
fn an_idle_loop_makes_no_system_calls() {
    let log = env::temp_dir().join(format!("uv-udp-idle-{}.log", std::process::id()));
    let child = Command::new("strace")
        .args(["-f", "-o"])
        .arg(&log)
        .arg(env::current_exe().unwrap())
        .args(["--exact", "the_program_that_idles", "--nocapture"])
        .env(IDLE, "1")
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("strace");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = line_with(&mut lines, "address ").expect("a traced program");
    let address: SocketAddr = address.parse().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        socket.send_to(b"work", address).unwrap();
    }
    socket.send_to(b"rest", address).unwrap();
    line_with(&mut lines, AT_REST).expect("the program comes to rest");
    thread::sleep(REST);
    socket.send_to(b"end", address).unwrap();
    // The program may be writing still.
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());

    let trace = fs::read_to_string(&log).unwrap();
    let _ = fs::remove_file(&log);
    let calls = trace
        .lines()
        .skip_while(|line| !line.contains(AT_REST))
        .skip(1);
    let calls = calls.take_while(|line| !line.contains("\"end\""));
    // strace splits a call in two lines if another thread interrupts it.
    let calls: Vec<_> = calls.filter(|line| !line.contains("resumed>")).collect();
    assert!(calls.len() <= MOST, "{}", calls.join("\n"));
    assert!(
        calls.iter().any(|call| call.contains("epoll")),
        "{}",
        calls.join("\n")
    );
}
