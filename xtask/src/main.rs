//! `cargo xtask`: the chores of this workspace. See `cargo xtask help`.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand, ValueEnum};
use xtask::conform::{self, Report, Selection};
use xtask::demo::Options;
use xtask::{Format, bench, c_face, ci, deny, fuzz, stress};

/// The random calls check that memory is bounded.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = stress::random::ALLOCATOR;

/// The chores of this workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what this is: echo as fast as it goes, and the proposal as a story.
    Demo {
        /// Seconds of echoing.
        #[arg(long, default_value_t = 3)]
        seconds: u32,
        /// Bytes in each datagram.
        #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u16).range(..=65_507))]
        size: u16,
    },
    /// Check every promise against real sockets.
    Conform {
        /// Only rules whose name has this text in it, as in `peer/` or `traps v6`.
        #[arg(long, default_value = "")]
        filter: String,
        /// Name the rules, and check none.
        #[arg(long)]
        list: bool,
        /// For people or for programs.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Through one face only: the Rust one, or compiled C in both its forms.
        #[arg(long, value_enum)]
        face: Option<Face>,
    },
    /// Build the C libraries, and put them, the headers and the pkg-config files in place.
    Install {
        /// The directory that gets `include` and `lib`.
        #[arg(long, value_name = "DIR")]
        prefix: PathBuf,
    },
    /// Measure this project and its peers side by side, in a release build.
    Bench(bench::Arguments),
    /// Run a program with some system calls refused, as in a container or on an old kernel.
    Deny {
        /// What is refused, as CALL=ERROR or CALL:LEVEL:OPTION=ERROR: `recvmmsg=ENOSYS`, `setsockopt:SOL_UDP:UDP_GRO=EPERM`.
        #[arg(required = true)]
        refusals: Vec<String>,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// Make random calls, and check what holds whatever is called in whatever order.
    Random(stress::random::Options),
    /// Give the parsers and the C face all kinds of bytes.
    Fuzz(fuzz::Options),
    /// Run the tests of the workspace.
    Test,
    /// Run every test again and again under conditions that expose races, and count the failures.
    Stress(stress::Arguments),
    /// Run everything that must hold before a change is taken in.
    Ci {
        /// Leave a step out.
        #[arg(long, value_name = "STEP", value_parser = PossibleValuesParser::new(ci::STEPS.iter().map(|step| step.name)))]
        skip: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Face {
    Rust,
    C,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Demo { seconds, size } => demo(Options {
            seconds,
            size: size.into(),
        }),
        Command::Bench(_) => status(bench::run(env::args_os().skip(2))),
        Command::Deny { refusals, program } => match deny::exec(&refusals, &program) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Command::Random(options) => status(stress::random::main(&options)),
        Command::Fuzz(options) => status(fuzz::main(&options)),
        Command::Test => status(ci::run_tests()),
        Command::Stress(arguments) => stress(&arguments),
        Command::Ci { skip } => status(ci::run(&skip)),
        Command::Conform {
            filter,
            list,
            format,
            face,
        } => {
            let selection = Selection {
                rust: face != Some(Face::C),
                c: face != Some(Face::Rust),
                filter,
            };
            conform(&selection, list, format)
        }
        Command::Install { prefix } => install(&prefix),
    }
}

fn status(holds: bool) -> ExitCode {
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn demo(options: Options) -> ExitCode {
    match xtask::demo::run(options) {
        Ok(holds) => status(holds),
        Err(error) => {
            eprintln!("the demo ends here: {error}");
            ExitCode::FAILURE
        }
    }
}

fn conform(selection: &Selection, list: bool, format: Format) -> ExitCode {
    let done = if list {
        conform::list(selection).map(|lines| {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        })
    } else {
        conform::run(selection).map(|report| print(&report, format))
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn stress(arguments: &stress::Arguments) -> ExitCode {
    match stress::run(arguments) {
        Ok(holds) => status(holds),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn install(prefix: &Path) -> ExitCode {
    match c_face::install(prefix) {
        Ok(installed) => {
            let files = installed.files.iter();
            files.for_each(|file| println!("{}", file.display()));
            let lib = installed.lib.display();
            eprintln!(
                "Programs find the shared library after `sudo ldconfig` if the system looks into {lib}, \
                 and otherwise if they are linked with -Wl,-rpath,{lib}."
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print(report: &Report, format: Format) -> ExitCode {
    println!(
        "{}",
        if format == Format::Json {
            report.to_json()
        } else {
            report.to_table()
        }
    );
    status(report.failed == 0)
}
