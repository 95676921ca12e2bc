//! The C face, from C: every test compiles a program with the system's compiler and runs it. Without a compiler a test is
//! skipped, and names it on the standard error output. Tests that need more (libuv, valgrind, sanitizers) are steps of
//! `cargo xtask ci`, which runs them with `--ignored`: there a missing tool is a failure.

mod c_face {
    mod beside_libuv;
    mod conform;
    mod header;
    mod memory;
    mod programs;
    mod symbols;
    pub(crate) mod toolchain;
}
