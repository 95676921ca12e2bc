//! The side-by-side workloads of `uv-benches` with a progress bar, as `cargo xtask bench` runs them. What they are and how
//! they are measured is the business of that crate.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use uv_benches::{Options, Report, Selection, list, plot, run, table};
use xtask::Format;

/// Measures this project and its peers side by side.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Command {
    #[command(flatten)]
    arguments: xtask::bench::Arguments,
}

fn main() -> ExitCode {
    let Command { arguments } = Command::parse();
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
    // On standard error, and nowhere if that is no terminal.
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
