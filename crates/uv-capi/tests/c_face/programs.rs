//! Programs written for libuv do the same with it and with us.

use std::fs;

use super::toolchain::{Against, compile, has, run, source, workshop};

/// Compiles a program of `tests/c` against one library, and compares what it says with what is expected.
fn says_what_is_expected(name: &str, against: Against) {
    let dir = workshop(&format!("{name}-{against:?}"));
    let program = dir.join(name);
    let source_file = source(&format!("{name}.c"));
    compile("cc", &["-std=c11"], against, &[source_file], &program);
    let expected = fs::read_to_string(source(&format!("expected/{name}.txt"))).unwrap();
    assert_eq!(run(&program), expected, "{name} against {against:?}");
}

fn does_what_is_expected(name: &str) {
    if has("cc") {
        says_what_is_expected(name, Against::OursAsLibuv);
    }
}

#[test]
fn an_echo_server_does_what_is_expected() {
    does_what_is_expected("echo_server");
}

#[test]
fn a_connected_client_with_retransmission_does_what_is_expected() {
    does_what_is_expected("retransmit");
}

#[test]
fn a_recvmmsg_receiver_does_what_is_expected() {
    does_what_is_expected("recvmmsg");
}

#[test]
fn a_multicast_listener_does_what_is_expected() {
    does_what_is_expected("multicast");
}

#[test]
fn walking_and_closing_all_handles_does_what_is_expected() {
    does_what_is_expected("walk_and_close");
}

#[test]
fn names_addresses_and_errors_are_as_expected() {
    does_what_is_expected("helpers");
}

#[test]
fn timers_hooks_and_async_handles_do_what_is_expected() {
    does_what_is_expected("events");
}

#[test]
#[ignore = "a step of `cargo xtask ci`: libuv"]
fn every_program_does_the_same_with_libuv() {
    for name in [
        "echo_server",
        "retransmit",
        "recvmmsg",
        "multicast",
        "walk_and_close",
        "helpers",
        "events",
    ] {
        says_what_is_expected(name, Against::Libuv);
    }
}

#[test]
fn the_static_library_serves_as_the_shared_one_does() {
    if has("cc") {
        says_what_is_expected("echo_server", Against::OursStatic);
    }
}
