//! The side-by-side workloads with a progress bar: `cargo xtask bench`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use uv_benches::{Options, Report, Selection, list, plot, run, table};

/// Measure this project and its peers side by side, in a release build.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Arguments {
    /// Only this workload; may be given several times.
    #[arg(long, value_name = "WORKLOAD")]
    workload: Vec<String>,
    /// Only this peer beside this project; may be given several times.
    #[arg(long, value_name = "PEER")]
    peer: Vec<String>,
    /// Shorter and fewer rounds: less than a minute.
    #[arg(long)]
    quick: bool,
    /// The format of the report.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Draw a chart of each workload into this directory.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "target/bench")]
    plot: Option<PathBuf>,
    /// List the workloads instead of measuring them.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// A table for people.
    #[default]
    Table,
    /// JSON for programs.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for workload in list() {
            println!("{:16} {}", workload.name(), workload.about());
        }
        return ExitCode::SUCCESS;
    }
    let selection = match Selection::new(&arguments.workload, &arguments.peer) {
        Ok(selection) => selection,
        Err(unknown) => {
            eprintln!("{unknown}");
            return ExitCode::FAILURE;
        }
    };
    let options = if arguments.quick {
        Options::quick()
    } else {
        Options::full()
    };
    let report = measure(&selection, &options);
    match arguments.format {
        Format::Json => println!("{}", report.to_json()),
        Format::Table => println!("{}", table(&report)),
    }
    match arguments.plot {
        Some(directory) => draw(&report, &directory),
        None => ExitCode::SUCCESS,
    }
}

fn measure(selection: &Selection, options: &Options) -> Report {
    // indicatif draws on standard error, and only on a terminal.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let report = run(selection, options, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
        bar.set_message(format!("{} {}", progress.workload, progress.peer));
    });
    bar.finish_and_clear();
    report
}

fn draw(report: &Report, directory: &Path) -> ExitCode {
    match plot::write(report, directory) {
        Ok(files) => {
            eprintln!("{} charts in {}", files.len(), directory.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
