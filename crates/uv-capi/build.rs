//! Names the shared library for the dynamic linker, so that programs linked with it ask for the version they know.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libuv_udp.so.0");
    }
}
