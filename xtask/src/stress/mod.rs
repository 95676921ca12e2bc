//! `cargo xtask stress`: runs every subject repeatedly under conditions that expose races, and
//! counts the failures of each test.
//!
//! A `Subject` is a program whose output names tests; `subject::SOURCES` lists where subjects come from.
//! A `Condition` changes the machine around it. The driver visits every pair of both in an order that
//! the seed chooses, until the time is up.

mod background;
mod condition;
mod driver;
mod random_order;
mod subject;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use driver::run;

/// The options of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Minutes after which no further run starts.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    pub minutes: f64,
    /// Only subjects whose name contains this text, and of other subjects only such tests.
    #[arg(long)]
    pub filter: Option<String>,
    /// Repeats the order of an earlier run, and the random calls of its subjects. By default chosen
    /// and printed.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only conditions whose name contains this text.
    #[arg(long)]
    pub condition: Option<String>,
    /// List the subjects and conditions instead of running them.
    #[arg(long)]
    pub list: bool,
}

impl Default for Arguments {
    /// Everything for one minute.
    fn default() -> Self {
        Self {
            minutes: 1.0,
            filter: None,
            seed: None,
            condition: None,
            list: false,
        }
    }
}

impl Arguments {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes < 1e6 => Ok(minutes),
        _ => Err("expected minutes greater than 0, and less than a million".into()),
    }
}

/// The directory with the output of failed runs.
fn output_directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    workspace.unwrap_or(Path::new(".")).join("target/stress")
}
