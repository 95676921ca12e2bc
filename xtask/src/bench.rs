//! The side-by-side workloads, from the command line. What they are and how they are measured is the business of
//! `uv-benches`; here is only the way there: a release build, a progress bar, and the report as it was asked for.

use std::env;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use uv_benches::{Report, Selection, list, plot, table};

use crate::ci::{cargo, works};

/// What to measure, and how to report it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names of workloads; none is all.
    pub workloads: Vec<String>,
    /// Names of peers; none is all. Ours is always measured.
    pub peers: Vec<String>,
    /// Less than a minute instead of several.
    pub quick: bool,
    /// JSON instead of a table.
    pub json: bool,
    /// Where to draw charts.
    pub plot: Option<PathBuf>,
    /// Name the workloads, and measure none.
    pub list: bool,
}

/// Measures and reports, and says whether that worked.
pub fn run(options: &Options) -> bool {
    if options.list {
        for workload in list() {
            println!("{:16} {}", workload.name(), workload.about());
        }
        return true;
    }
    let selection = match Selection::new(&options.workloads, &options.peers) {
        Ok(selection) => selection,
        Err(unknown) => {
            eprintln!("{unknown}");
            return false;
        }
    };
    if cfg!(debug_assertions) {
        return again_in_release();
    }
    let report = measure(&selection, options.quick);
    if options.json {
        println!("{}", report.to_json());
    } else {
        println!("{}", table(&report));
    }
    options
        .plot
        .as_deref()
        .is_none_or(|directory| draw(&report, directory))
}

/// Figures of a debug build say nothing: the same command in a release build, with libuv if it is here.
fn again_in_release() -> bool {
    let mut command = cargo("run --quiet --release --package xtask");
    if cfg!(feature = "libuv") || works("pkg-config", &["--atleast-version=1.40", "libuv"]) {
        command.args(["--features", "libuv"]);
    }
    command.arg("--").args(env::args_os().skip(1));
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cargo: {error}");
            false
        }
    }
}

fn measure(selection: &Selection, quick: bool) -> Report {
    let options = if quick {
        uv_benches::Options::quick()
    } else {
        uv_benches::Options::full()
    };
    // On standard error, and nowhere if that is no terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let report = uv_benches::run(selection, &options, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(format!("{} {}", progress.workload, progress.peer));
    });
    bar.finish_and_clear();
    report
}

fn draw(report: &Report, directory: &Path) -> bool {
    match plot::write(report, directory) {
        Ok(files) => {
            eprintln!("{} charts in {}", files.len(), directory.display());
            true
        }
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_or_a_peer_of_no_known_name_is_refused_before_anything_is_measured() {
        let nobody = || vec!["nobody".to_owned()];
        assert!(!run(&Options {
            workloads: nobody(),
            ..Options::default()
        }));
        assert!(!run(&Options {
            peers: nobody(),
            ..Options::default()
        }));
    }
}
