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
mod peers;
mod plan;
mod process;
mod receiving;
mod sending;
mod steps;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use clap::ValueEnum;

pub use inject::{FAULTS, Fault, Program, programs};
pub use process::ALLOCATOR;

use plan::Scene;
use process::OneCpu;
use world::World;

/// Steps that are played on one loop.
const MAX_STEPS_OF_WORLD: usize = 250;
/// Bytes that are allocated at once, at most: what is under way and what the loop keeps, several times over.
const MAX_LIVE_BYTES: usize = 256 << 20;
/// Bytes that may be left when a world has ended. Mostly there are none; the standard library may keep something of a thread.
const MAX_LEFT_BYTES: usize = 4 << 10;
/// How often a world is begun whose loop or peers cannot be made.
const MAX_BEGINNINGS: usize = 10;
/// The seed of the first world, unless another is asked for.
const SEED: u64 = 1;

/// What is to be played.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The seed of the first world; each of the next has the next one.
    #[arg(long, default_value_t = SEED)]
    pub seed: u64,
    /// Steps in all worlds together.
    #[arg(long, default_value_t = 5_000)]
    pub steps: usize,
    /// Leave a check out.
    #[arg(long, value_enum, value_name = "CHECK")]
    pub without: Vec<Check>,
    /// An error that the kernel may answer with at any time, as ENOBUFS, because somebody injects it.
    #[arg(long, value_name = "ERRNO")]
    pub tolerate: Vec<String>,
    /// Under strace, with each of the system call faults that a kernel may give at any time.
    #[arg(long)]
    pub inject: bool,
    /// Of them, those whose name has this text in it.
    #[arg(long, default_value = "", requires = "inject")]
    pub filter: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: SEED,
            steps: 5_000,
            without: Vec::new(),
            tolerate: Vec::new(),
            inject: false,
            filter: String::new(),
        }
    }
}

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Check {
    /// No callback inside a call.
    Reentrance,
    /// Requests complete exactly once, in the order of acceptance, before the close callback.
    Completion,
    /// What arrives was sent, once, whole, and not reported as not sent.
    Delivery,
    /// Datagrams of one sender arrive in the order in which they were accepted.
    Order,
    /// Datagrams go where they were accepted for, and come from where they say.
    Peer,
    /// A connected handle delivers only its peer's datagrams.
    Stranger,
    /// Nothing is delivered after receiving was stopped.
    Stopped,
    /// Every iteration ends, and timers have their turn in it.
    Starvation,
    /// No timer fires before its time.
    EarlyTimer,
    /// A handle that receives hears its peer.
    Deaf,
    /// Descriptors are as many at the end as at the beginning.
    Descriptors,
    /// Memory is bounded, and is free at the end.
    Memory,
    /// The local address survives a change of the peer.
    Address,
    /// Options survive a change of the peer.
    Options,
    /// The queue counts what is under way.
    Queue,
    /// Only errors that the documentation names.
    Errno,
}

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

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
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

/// Plays what is asked for, prints what came of it, and says whether every check held.
#[must_use]
pub fn main(options: &Options) -> bool {
    if options.inject {
        return inject::run(options);
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
