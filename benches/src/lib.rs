//! The side-by-side workloads: what is measured, and how a round is measured.

pub mod measure;
pub mod net;
pub mod peers;
pub mod stats;
pub mod threads;
pub mod workload;

pub use workload::Workload;
