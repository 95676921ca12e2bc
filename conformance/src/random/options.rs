//! The options of the random calls, and the checks.

use std::fmt;

use clap::ValueEnum;

/// The default seed of the first world.
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
    /// Only faults whose name contains this text.
    #[arg(long, default_value = "", requires = "inject")]
    pub filter: String,
    /// Under strace, with this one of the faults.
    #[arg(long, value_name = "FAULT", conflicts_with = "inject")]
    pub fault: Option<String>,
    /// List the faults that this machine can inject.
    #[arg(long)]
    pub list_faults: bool,
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
            fault: None,
            list_faults: false,
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

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
