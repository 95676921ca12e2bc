//! The options of the random calls, and the checks.

use std::fmt;

use clap::ValueEnum;

/// The default seed of the first world.
const SEED: u64 = 1;

/// The options of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The seed of the first world; each next world has the next seed.
    #[arg(long, default_value_t = SEED)]
    pub seed: u64,
    /// Steps in all worlds together.
    #[arg(long, default_value_t = 5_000)]
    pub steps: usize,
    /// Skip a check.
    #[arg(long, value_enum, value_name = "CHECK")]
    pub without: Vec<Check>,
    /// An error that calls may return at any time, as an injected ENOBUFS.
    #[arg(long, value_name = "ERRNO")]
    pub tolerate: Vec<String>,
    /// Run under strace, once with each system call fault that a kernel may cause at any time.
    #[arg(long)]
    pub inject: bool,
    /// Only faults whose name contains this text.
    #[arg(long, default_value = "", requires = "inject")]
    pub filter: String,
    /// Run under strace with this fault.
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

/// The checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Check {
    /// No callback inside a call.
    Reentrance,
    /// Requests complete exactly once, in the order of acceptance, before the close callback.
    Completion,
    /// Every received datagram was sent, arrives once and whole, and was not reported as unsent.
    Delivery,
    /// Datagrams of one sender arrive in the order in which they were accepted.
    Order,
    /// Datagrams reach the peer that they were accepted for, and name their true source.
    Peer,
    /// A connected handle delivers only its peer's datagrams.
    Stranger,
    /// No datagram is delivered after recv_stop.
    Stopped,
    /// Every iteration ends, and timers fire in it.
    Starvation,
    /// No timer fires before its time.
    EarlyTimer,
    /// A receiving handle gets the datagrams of its peer.
    Deaf,
    /// No descriptor leaks.
    Descriptors,
    /// Memory is bounded, and freed at the end.
    Memory,
    /// The local address survives a change of the peer.
    Address,
    /// Options survive a change of the peer.
    Options,
    /// The queue counters match the outstanding sends.
    Queue,
    /// Calls return documented errors only.
    Errno,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}
