//! Programs written for libuv do the same with it and with us.

use std::fs;

use super::toolchain::{Against, Compile, has, has_libuv, run, source, workshop};

/// Compiles a program of `tests/c` against one library, and compares what it says with what is expected.
fn says_what_is_expected(name: &str, against: Against) {
    let dir = workshop(&format!("{name}-{against:?}"));
    let program = dir.join(name);
    let compile = Compile {
        compiler: "cc",
        flags: &["-std=c11"],
        against,
    };
    compile.program(&[source(&format!("{name}.c"))], &program);
    let expected = fs::read_to_string(source(&format!("expected/{name}.txt"))).unwrap();
    assert_eq!(run(&program), expected, "{name} against {against:?}");
}

fn does_the_same_with_libuv(name: &str) {
    if !has("cc") {
        return;
    }
    says_what_is_expected(name, Against::OursAsLibuv);
    if has_libuv() {
        says_what_is_expected(name, Against::Libuv);
    }
}

#[test]
fn an_echo_server_does_the_same_with_libuv() {
    does_the_same_with_libuv("echo_server");
}

#[test]
fn a_connected_client_with_retransmission_does_the_same_with_libuv() {
    does_the_same_with_libuv("retransmit");
}

#[test]
fn a_recvmmsg_receiver_does_the_same_with_libuv() {
    does_the_same_with_libuv("recvmmsg");
}

#[test]
fn a_multicast_listener_does_the_same_with_libuv() {
    does_the_same_with_libuv("multicast");
}

#[test]
fn walking_and_closing_all_handles_does_the_same_with_libuv() {
    does_the_same_with_libuv("walk_and_close");
}

#[test]
fn names_addresses_and_errors_are_the_same_with_libuv() {
    does_the_same_with_libuv("helpers");
}

#[test]
fn timers_hooks_and_async_handles_do_the_same_with_libuv() {
    does_the_same_with_libuv("events");
}

#[test]
fn the_static_library_serves_as_the_shared_one_does() {
    if has("cc") {
        says_what_is_expected("echo_server", Against::OursStatic);
    }
}
