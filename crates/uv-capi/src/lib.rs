//! The C face of uv-udp: libuv's functions for the loop, its handles and UDP, over the crates of
//! this workspace.
//!
//! Users read `include/uv_udp.h`. Each file here implements one family of functions. The symbols
//! differ from libuv's (`uvudp_run` for `uv_run`), so that one process may load both libraries; the
//! header maps the names.
//!
//! The parameter types in `pointers.rs` and `address.rs` state the promises that the functions rely
//! on. Only these types dereference pointers from C, so that the functions are safe code.
//!
//! **Promises of the caller**, as in libuv. A pointer to a structure is null or points to one that
//! its `init` function has initialized. The structure stays in place until its close callback (a
//! handle), its callback (a request) or `uv_loop_close` (a loop). One thread uses it at a time.
//! Strings end in a NUL. Callbacks do not unwind. A null pointer leads to an error or has no
//! effect.
//!
//! **Ownership.** A C structure has libuv's public members, which this library maintains, and a
//! pointer to a Rust box. The box of a handle is dropped in the closing phase, right before the
//! close callback. The box of a loop is dropped in `uv_loop_close`. Nothing else drops a box.
//! A reference into a box is therefore valid during every call except `uv_run`, and there until the
//! next callback. No code uses a reference into a box or a structure after a callback.
//!
//! **Panics** never unwind into C: a panic at the edge of an `extern "C"` function aborts the
//! process. A panic is a defect, and an error code would claim that the call changed nothing.
#![allow(non_camel_case_types, reason = "the names of the C types")]
#![allow(unreachable_pub, reason = "C calls the functions")]
mod address;
mod address_text;
mod asynchronous;
mod error_table;
mod errors;
mod event_loop;
mod handle;
mod handle_box;
mod hooks;
mod interfaces;
#[cfg(test)]
mod layout;
mod lifecycle;
mod loop_box;
mod pointers;
mod process;
mod requests;
mod results;
mod timer;
mod types;
mod udp;
mod wakeup;

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
