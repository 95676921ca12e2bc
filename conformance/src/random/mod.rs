//! Random calls on uv-udp and uv-core, with the checks that hold for any calls in any order.
//!
//! A plan depends on its seed alone: the handles, the calls on them, and the calls in their
//! callbacks. The timing of the kernel and the order of callbacks of different handles do not, so a
//! failing seed may need several runs.
//!
//! The property test of uv-udp (`tests/functional/model`) knows the exact datagrams that must
//! arrive from one handle with scripted faults. These checks know less, about several handles,
//! threads, changing peers and faults of the real kernel.

mod helper;
mod inject;
mod ledger;
mod options;
mod peers;
mod plan;
mod process;
mod receiving;
mod sending;
mod steps;
mod world;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use clap::ValueEnum;

pub use options::{Check, Options};
pub use process::ALLOCATOR;

use plan::{MAX_STEPS_OF_WORLD, Scene};
use process::OneCpu;
use world::World;

/// Bytes that may stay allocated after a world: the standard library may keep some per thread.
const MAX_LEFT_BYTES: usize = 4 << 10;
/// Attempts to create the loop and the peers of a world.
const MAX_BEGINNINGS: usize = 10;

/// The results of all worlds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Worlds that were played.
    pub worlds: usize,
    /// Worlds without a beginning, because an injected fault came too early.
    pub unplayed: usize,
    /// Sent datagrams, received datagrams, iterations of the loops.
    pub done: (usize, usize, u64),
    /// The number of failures of each check, with the first one.
    pub failures: BTreeMap<Check, (usize, String)>,
}

impl Report {
    /// Whether every check held, in at least one world.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failures.is_empty() && self.unplayed < self.worlds.max(1)
    }

    /// A line per check in the format of libtest, and a summary.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |check: &Check| match self.failures.get(check) {
            None => format!("test {check} ... ok"),
            Some(_) => format!("test {check} ... FAILED"),
        };
        let mut lines: Vec<_> = Check::value_variants().iter().map(line).collect();
        for (check, (count, first)) in &self.failures {
            lines.push(format!("{check} in {count} worlds, first: {first}"));
        }
        let unplayed = match self.unplayed {
            0 => String::new(),
            count => format!(", of which {count} could not begin"),
        };
        let (made, arrived, iterations) = self.done;
        lines.push(format!(
            "{} worlds{unplayed}: {made} datagrams made, {arrived} arrived, {iterations} iterations",
            self.worlds
        ));
        lines
    }
}

/// Plays worlds until all steps are done. Prints failures on standard error, with the command that
/// repeats them.
#[must_use]
pub fn run(options: &Options) -> Report {
    let mut report = Report::default();
    let (mut seed, mut left) = (options.seed, options.steps);
    // A first world allocates the statics of the process.
    let _ = play(seed, 1, options, &mut (0, 0, 0));
    while left > 0 {
        let steps = left.min(MAX_STEPS_OF_WORLD);
        report.worlds += 1;
        match play(seed, steps, options, &mut report.done) {
            Ok(None) => {}
            Ok(Some((check, what))) => {
                let words = options
                    .tolerate
                    .iter()
                    .map(|name| format!(" --tolerate {name}"));
                let again = format!(
                    "cargo xtask random --seed {seed} --steps {steps}{}",
                    words.collect::<String>()
                );
                eprintln!("✗ {check}: {what}\n  {again}");
                let first = (0, format!("{what} ({again})"));
                report.failures.entry(check).or_insert(first).0 += 1;
            }
            Err(_) => report.unplayed += 1,
        }
        left -= steps;
        seed = seed.wrapping_add(1);
    }
    report
}

/// Runs the command, prints its results, and returns whether every check held.
#[must_use]
pub fn main(options: &Options) -> bool {
    if options.list_faults {
        inject::faults().for_each(|fault| println!("{}", fault.inject));
        return true;
    }
    if options.inject {
        return inject::run(options);
    }
    if let Some(name) = &options.fault {
        return inject::exec(name, options);
    }
    let report = run(options);
    report.lines().iter().for_each(|line| println!("{line}"));
    report.holds()
}

/// Plays one world. Returns the failed check; an error means that the world had no beginning.
fn play(
    seed: u64,
    steps: usize,
    options: &Options,
    done: &mut (usize, usize, u64),
) -> uv_udp::Result<Option<(Check, String)>> {
    let _ = process::limit_descriptors(None);
    let descriptors = process::descriptors().map(|list| list.len());
    let live = process::live_bytes();
    let broken = play_alone(seed, steps, options, done)?;
    let left = process::live_bytes().saturating_sub(live);
    let descriptors_left = process::descriptors().map(|list| list.len());
    let ignores = |check| options.without.contains(&check);
    if broken.is_some() {
        return Ok(broken);
    }
    if let (Ok(before), Ok(after)) = (descriptors, descriptors_left)
        && before != after
        && !ignores(Check::Descriptors)
    {
        let what = format!("{after} descriptors instead of {before}");
        return Ok(Some((Check::Descriptors, what)));
    }
    if left > MAX_LEFT_BYTES && !ignores(Check::Memory) {
        return Ok(Some((Check::Memory, format!("{left} bytes are left"))));
    }
    Ok(None)
}

fn play_alone(
    seed: u64,
    steps: usize,
    options: &Options,
    done: &mut (usize, usize, u64),
) -> uv_udp::Result<Option<(Check, String)>> {
    let scene = Scene::new(seed, steps);
    let any = usize::try_from(seed % 1024).unwrap_or(0);
    // Threads that exist before are not bound to the CPU.
    let pinned = scene.one_cpu.then(|| OneCpu::new(any));
    let new = || World::new(scene.clone(), any + 1, &options.without, &options.tolerate);
    let mut world = new();
    for _ in 1..MAX_BEGINNINGS {
        if world.is_err() {
            world = new();
        }
    }
    let world = world?;
    let _pinned = pinned.unwrap_or_else(|| OneCpu::new(any));
    let began = Instant::now();
    world.watch()?;
    for step in &world.scene.steps {
        if world.ledger.is_broken() {
            break;
        }
        world.apply(step);
    }
    world.end();
    let broken = world.ledger.take_broken();
    let (made, arrived) = world.ledger.totals();
    *done = (
        done.0 + made,
        done.1 + arrived,
        done.2 + world.iterations.get(),
    );
    debug_assert_eq!(Rc::strong_count(&world), 1, "after {:?}", began.elapsed());
    Ok(broken)
}
