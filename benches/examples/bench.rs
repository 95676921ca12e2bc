//! Runs the suite without any command line tool around it: `bench [--quick] [--json] [--plot DIR] [NAME…]`, where a
//! name is a workload's or a peer's.

use std::{io::IsTerminal, path::Path, process::ExitCode};

use uv_benches::{Options, Selection, Workload, list, plot, run, table};

fn main() -> ExitCode {
    let mut options = Options::full();
    let (mut json, mut plots) = (false, None);
    let (mut workloads, mut peers) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--quick" => options = Options::quick(),
            "--json" => json = true,
            "--plot" => plots = arguments.next(),
            "--list" => {
                for workload in list() {
                    println!("{workload:16} {}", workload.about());
                }
                return ExitCode::SUCCESS;
            }
            name if Workload::named(name).is_some() => workloads.push(argument),
            _ => peers.push(argument),
        }
    }
    let selection = match Selection::new(&workloads, &peers) {
        Ok(selection) => selection,
        Err(unknown) => {
            eprintln!("{unknown}");
            return ExitCode::FAILURE;
        }
    };
    let terminal = std::io::stderr().is_terminal();
    let report = run(&selection, &options, &mut |progress| {
        if terminal {
            eprint!("\r\x1b[K{progress}");
        }
    });
    if terminal {
        eprint!("\r\x1b[K");
    }
    if json {
        println!("{}", report.to_json());
    } else {
        println!("{}", table(&report));
    }
    if let Some(directory) = plots
        && let Err(error) = plot::write(&report, Path::new(&directory))
    {
        eprintln!("{directory}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
