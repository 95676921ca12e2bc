//! Compiles the C parts of the targets against the header that C programs include.

fn main() {
    let include = "../crates/uv-capi/include";
    println!("cargo::rerun-if-changed=c");
    println!("cargo::rerun-if-changed={include}");
    let files = ["c/input.c", "c/addresses.c", "c/options.c"];
    cc::Build::new()
        .files(files)
        .include(include)
        .flag("-Wall")
        .flag("-Wextra")
        .flag("-UNDEBUG")
        .warnings_into_errors(true)
        .compile("uv_fuzz_c");
}
