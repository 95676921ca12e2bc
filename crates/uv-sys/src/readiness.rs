//! Readiness of descriptors: interests, and reports of a wait.

bitflags::bitflags! {
    /// The readiness for which a descriptor is watched.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct Interest: u8 {
        /// Data to read, or a pending error.
        const READABLE = 1;
        /// Room to write, or a pending error.
        const WRITABLE = 2;
    }
}

impl Interest {
    /// No readiness, and no errors.
    pub const NONE: Interest = Interest::empty();
}

/// One descriptor that is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollEvent {
    /// The key that it was registered with.
    pub key: usize,
    /// It can be read, or has a pending error. An error sets both fields, with any interest.
    pub readable: bool,
    /// It can be written, or has a pending error.
    pub writable: bool,
}
