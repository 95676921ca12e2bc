//! The result of a check: nothing, or what does not hold and where.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::Location;

use uv_udp::{Errno, NetworkError};

/// The result of a check.
pub(crate) type Verdict = Result<(), Broken>;

/// What does not hold, with the source line of the check.
#[derive(Clone, Debug)]
pub(crate) struct Broken(String);

impl Broken {
    #[track_caller]
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        let place = Location::caller();
        let file = place.file().rsplit('/').next().unwrap_or_default();
        Self(format!("{what} ({file}:{})", place.line()))
    }

    pub(crate) fn panicked(what: &str) -> Self {
        Self(format!("it panicked: {what}"))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Errno> for Broken {
    #[track_caller]
    fn from(error: Errno) -> Self {
        Self::new(format_args!("an unexpected error: {error}"))
    }
}

/// A descriptor that was refused.
impl From<(Errno, OwnedFd)> for Broken {
    #[track_caller]
    fn from((error, _): (Errno, OwnedFd)) -> Self {
        error.into()
    }
}

impl From<io::Error> for Broken {
    #[track_caller]
    fn from(error: io::Error) -> Self {
        Self::new(format_args!(
            "an unexpected error of the other side: {error}"
        ))
    }
}

impl From<NetworkError> for Broken {
    #[track_caller]
    fn from(error: NetworkError) -> Self {
        Self::new(format_args!("an unexpected network error: {error}"))
    }
}

/// Fails the rule unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::verdict::Broken::new(format_args!($($what)+)));
        }
    };
}
pub(crate) use ensure;

/// Fails the rule unless both are equal.
macro_rules! ensure_eq {
    ($actual:expr, $expected:expr, $($what:tt)+) => {
        match (&$actual, &$expected) {
            (actual, expected) => {
                if *actual != *expected {
                    let what = format!($($what)+);
                    return Err($crate::verdict::Broken::new(format_args!(
                        "{what}: {expected:?} expected, {actual:?} seen"
                    )));
                }
            }
        }
    };
}
pub(crate) use ensure_eq;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_names_both_values_and_its_place() {
        let broken = (|| -> Verdict {
            ensure_eq!(1 + 1, 3, "the sum");
            Ok(())
        })();
        let text = broken.unwrap_err().to_string();
        assert!(
            text.starts_with("the sum: 3 expected, 2 seen (verdict.rs:"),
            "{text}"
        );
    }
}
