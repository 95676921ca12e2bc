//! The C face, from C: every test compiles a program with the system's compiler and runs it. What the system lacks (a
//! compiler, libuv, valgrind) is named on the standard error output, and the test passes.

mod c_face {
    mod beside_libuv;
    mod conform;
    mod header;
    mod memory;
    mod programs;
    mod symbols;
    pub(crate) mod toolchain;
}
