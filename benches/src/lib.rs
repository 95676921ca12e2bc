//! The side-by-side workloads: the same work done by this project, by bare system calls, and by what people use
//! today, in interleaved rounds, as one report.
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
//! A [`Workload`] says what is measured, a [`peers::Peer`] how somebody does it, [`run`] does the rounds and returns
//! a [`Report`], which serializes to JSON and is drawn by [`table`] and [`plot`].

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
