//! The `cargo xtask` commands: the chores of this workspace.
//!
//! Most commands run programs of other packages (`conformance`, `uv-benches`) and do not compile
//! them before they are needed.

#![forbid(unsafe_code)]

pub mod ci;
pub mod demo;
pub mod fuzz;
pub mod install;
mod packages;
pub mod step;
pub mod stress;
pub mod tools;
