//! The C face of uv-udp: libuv's functions for the loop, its handles and UDP, over the crates of this workspace.
//!
//! `include/uv_udp.h` is what its users read; this is how it is made. There is one file for each family of functions. The
//! library's symbols are not libuv's (`uvudp_run` for `uv_run`), so that a process may have both: the header maps the names.
//!
//! What every function here relies on is said once, in the next paragraphs. The types of the parameters say which part of it
//! is relied on: `pointers.rs` has them and `address.rs` one more, and only they look at what a program passes, so that the
//! functions are safe code.
//!
//! **What the caller promises**, as to libuv: a pointer to a structure is null or points to one that was set up by its
//! `init` function, stays where it is until its close callback (a handle), its callback (a request) or `uv_loop_close` (a
//! loop), and is used by one thread at a time; strings end in a NUL; callbacks do not unwind. Null is answered with an
//! error or does nothing.
//!
//! **Where things live.** A C structure has libuv's public members, which this library keeps true, and a pointer to a box
//! of ours. The box of a handle goes away in its closing turn, right before the close callback, and the box of a loop in
//! `uv_loop_close`. Both happen in no other place, so a reference to a box holds during any call but `uv_run`, and there
//! until a callback is called: whoever calls one uses no reference into a box, or to a structure, after it.
//!
//! **Panics.** A panic never crosses into C: every function is `extern "C"`, which Rust leaves by aborting the process
//! when a panic reaches its edge. That is meant: a panic here is a defect, after which an error code would claim that the
//! call changed nothing.
#![allow(non_camel_case_types, reason = "C names its types so")]
#![allow(unreachable_pub, reason = "C reaches what Rust does not")]
mod address;
mod asynchronous;
mod closing;
mod error_table;
mod errors;
mod event_loop;
mod handle;
mod hooks;
mod hub;
mod interfaces;
#[cfg(test)]
mod layout;
mod loop_box;
mod names;
mod object;
mod pointers;
mod process;
mod requests;
mod timer;
mod types;
mod udp;

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    const ASKED: &str = "UV_CAPI_TEST_PANIC";

    #[test]
    fn a_panic_that_reaches_the_edge_aborts_the_process() {
        extern "C" fn edge() {
            panic!("a defect");
        }
        if std::env::var_os(ASKED).is_some() {
            edge();
        }
        let test = "tests::a_panic_that_reaches_the_edge_aborts_the_process";
        let mut again = Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", test]).env(ASKED, "1").output();
        assert_eq!(output.unwrap().status.signal(), Some(libc::SIGABRT));
    }
}
