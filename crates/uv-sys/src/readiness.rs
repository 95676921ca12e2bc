//! Readiness of descriptors: interests, and reports of a wait.

bitflags::bitflags! {
    /// What a descriptor is watched for.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Interest: u8 {
        /// There is something to read, or an error to fetch.
        const READABLE = 1;
        /// There is room to write, or an error to fetch.
        const WRITABLE = 2;
    }
}

impl Interest {
    /// Nothing: not even errors.
    pub const NONE: Interest = Interest::empty();
}

/// One descriptor that is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollEvent {
    /// The key that it was registered with.
    pub key: usize,
    /// It can be read, or has an error to fetch. An error sets both, whatever was asked for.
    pub readable: bool,
    /// It can be written, or has an error to fetch.
    pub writable: bool,
}
