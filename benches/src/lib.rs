//! Side-by-side workloads: this project, bare system calls and other event loops do the same work
//! in interleaved rounds. The result is one report.
//!
//! ```no_run
//! use uv_benches::{Options, Selection, run, table};
//!
//! let selection = Selection::new(&["burst-1200"], &[])?;
//! let report = run(&selection, &Options::quick(), &mut |progress| eprintln!("{progress}"));
//! println!("{}", table(&report));
//! # Ok::<(), uv_benches::UnknownName>(())
//! ```
//!
//! A [`Workload`] names a measurement, a [`peers::Peer`] implements it, and [`run`] runs the
//! rounds. The [`Report`] serializes to JSON; [`table`] and [`plot`] draw it.

pub mod measure;
pub mod net;
pub mod peers;
pub mod plot;
pub mod report;
pub mod runner;
pub mod stats;
mod table;
pub mod threads;
pub mod workload;

pub use report::Report;
pub use runner::{Options, Progress, Selection, UnknownName, list, run};
pub use table::table;
pub use workload::Workload;
