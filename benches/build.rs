//! Finds the C library libuv when the feature of that name is on.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "libuv")]
    if let Err(error) = pkg_config::Config::new()
        .atleast_version("1.40")
        .probe("libuv")
    {
        println!(
            "cargo::error=the feature `libuv` needs the C library: `apt install libuv1-dev` \
             (Debian, Ubuntu) or `dnf install libuv-devel` (Fedora)"
        );
        panic!("{error}");
    }
}
