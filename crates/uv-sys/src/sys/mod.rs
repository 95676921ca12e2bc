//! Chooses the platform's module. All of them have the same names.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;

#[cfg(not(target_os = "linux"))]
compile_error!(
    "uv-sys has no implementation for this platform yet. The seam is crates/uv-sys/src/sys/mod.rs: add a module \
     beside src/sys/linux with the same names, and select it there."
);
