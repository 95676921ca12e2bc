//! Sets the SONAME of the shared library: the dynamic linker loads the version that a program was linked with.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libuv_udp.so.0");
    }
}
