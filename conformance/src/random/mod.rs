//! Random calls on the public API of uv-udp and uv-core, with the checks that hold whatever is called in whatever order.
//!
//! A plan depends on its seed alone: which handles there are, what is called on them, and what their callbacks do. When the
//! kernel answers, and in which order the callbacks of different handles come, does not: a seed that fails may have to be played
//! several times.
//!
//! The property test of uv-udp's model (`tests/functional/model`) knows what must arrive, of one handle whose system calls fail by
//! script; this knows less of more: several handles, threads, peers that come and go, and faults of the real kernel.

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

/// Bytes that may be left when a world has ended. Mostly there are none; the standard library may keep something of a thread.
const MAX_LEFT_BYTES: usize = 4 << 10;
/// How often a world is begun whose loop or peers cannot be made.
const MAX_BEGINNINGS: usize = 10;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Worlds that were played.
    pub worlds: usize,
    /// Of them, those that could not begin, because an injected fault came too early.
    pub unplayed: usize,
    /// Datagrams that were made, that arrived, and iterations of the loops.
    pub done: (usize, usize, u64),
    /// How often each check failed, and what the first time looked like.
    pub failures: BTreeMap<Check, (usize, String)>,
}

impl Report {
    /// Whether no check failed, of worlds that were played.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failures.is_empty() && self.unplayed < self.worlds.max(1)
    }

    /// A line for each check, as the tests of Rust have, and one for all of them.
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

/// Plays worlds until all steps are done. Says on standard error what fails, with the command that plays it again.
#[must_use]
pub fn run(options: &Options) -> Report {
    let mut report = Report::default();
    let (mut seed, mut left) = (options.seed, options.steps);
    // The first world makes what the process makes once.
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

/// Plays one world, and says what is wrong. An error means that it could not begin.
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
    // A thread that is started before is not kept on the CPU.
    let pinned = scene.one_cpu.then(|| OneCpu::new(any));
    let new = || World::new(scene.clone(), any + 1, &options.without, &options.tolerate);
    // An injected fault may come too early.
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
