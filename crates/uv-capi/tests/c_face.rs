//! The C face, from C: every test compiles a program with the system's compiler and runs it. Without
//! a compiler the test is skipped, and prints that to the standard error output.
//!
//! `cargo xtask ci` runs the tests that need libuv, valgrind or sanitizers with `--ignored`. There a
//! missing tool is a failure.

mod c_face {
    mod beside_libuv;
    mod conform;
    mod header;
    mod memory;
    mod programs;
    mod symbols;
    pub(crate) mod toolchain;
}
