//! Error numbers with the names of the manual pages.

use std::fmt;
use std::io;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// A system error number that knows its POSIX name.
///
/// `Display` prints the text and the name, `Debug` the name. Every error that the platform names is
/// a constant of this type. See [errno(3)](https://man7.org/linux/man-pages/man3/errno.3.html).
///
/// ```
/// use uv_sys::Errno;
///
/// assert_eq!(Errno::ECONNREFUSED.to_string(), "connection refused (ECONNREFUSED)");
/// assert_eq!(format!("{:?}", Errno::ECONNREFUSED), "ECONNREFUSED");
/// let error: std::io::Error = Errno::ECONNREFUSED.into();
/// assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(i32);

macro_rules! constants {
    ($($name:ident $text:literal,)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $text, ".")]
                pub const $name: Errno = Errno(libc::$name);
            )*

            const fn entry(self) -> Option<(&'static str, &'static str)> {
                match self.0 {
                    $(libc::$name => Some((stringify!($name), $text)),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        const ALL: &[Errno] = &[$(Errno::$name),*];
    };
}

crate::sys::errno::errnos!(constants);

impl Errno {
    /// `EWOULDBLOCK`: another name of [`Errno::EAGAIN`] on all supported platforms.
    pub const EWOULDBLOCK: Errno = Errno::EAGAIN;

    /// The error with this number. Accepts any number; one without a name prints as `EUNKNOWN`.
    #[must_use]
    pub const fn from_raw(raw: i32) -> Errno {
        Errno(raw)
    }

    /// The number.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self.0
    }

    /// The error of this thread's last failed system call.
    #[doc(alias = "errno")]
    #[must_use]
    pub fn last() -> Errno {
        Errno(crate::sys::errno::last_errno())
    }

    /// The name: `"ECONNREFUSED"`; `"EUNKNOWN"` for a number without one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.entry() {
            Some((name, _)) => name,
            None => "EUNKNOWN",
        }
    }

    /// A short English text without a full stop, in any locale: `"connection refused"`.
    #[doc(alias = "strerror")]
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self.entry() {
            Some((_, message)) => message,
            None => "unknown error",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some((name, message)) => write!(f, "{message} ({name})"),
            None => write!(f, "unknown error {} (EUNKNOWN)", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry() {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "EUNKNOWN({})", self.0),
        }
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.0)
    }
}

/// An error without a number gets that of its kind, or `EIO`.
impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Errno {
        if let Some(raw) = error.raw_os_error() {
            return Errno(raw);
        }
        match error.kind() {
            io::ErrorKind::NotFound => Errno::ENOENT,
            io::ErrorKind::PermissionDenied => Errno::EACCES,
            io::ErrorKind::ConnectionRefused => Errno::ECONNREFUSED,
            io::ErrorKind::ConnectionReset => Errno::ECONNRESET,
            io::ErrorKind::ConnectionAborted => Errno::ECONNABORTED,
            io::ErrorKind::HostUnreachable => Errno::EHOSTUNREACH,
            io::ErrorKind::NetworkUnreachable => Errno::ENETUNREACH,
            io::ErrorKind::NetworkDown => Errno::ENETDOWN,
            io::ErrorKind::NotConnected => Errno::ENOTCONN,
            io::ErrorKind::AddrInUse => Errno::EADDRINUSE,
            io::ErrorKind::AddrNotAvailable => Errno::EADDRNOTAVAIL,
            io::ErrorKind::BrokenPipe => Errno::EPIPE,
            io::ErrorKind::AlreadyExists => Errno::EEXIST,
            io::ErrorKind::WouldBlock => Errno::EAGAIN,
            io::ErrorKind::InvalidInput => Errno::EINVAL,
            io::ErrorKind::InvalidData => Errno::EBADMSG,
            io::ErrorKind::TimedOut => Errno::ETIMEDOUT,
            io::ErrorKind::Interrupted => Errno::EINTR,
            io::ErrorKind::Unsupported => Errno::EOPNOTSUPP,
            io::ErrorKind::OutOfMemory => Errno::ENOMEM,
            io::ErrorKind::ResourceBusy => Errno::EBUSY,
            _ => Errno::EIO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_a_name_a_text_and_its_number() {
        assert!(ALL.len() >= 130);
        for errno in ALL {
            assert!(errno.name().starts_with('E'));
            assert_ne!(errno.name(), "EUNKNOWN");
            assert_eq!(
                errno.to_string(),
                format!("{} ({})", errno.message(), errno.name())
            );
            assert_eq!(format!("{errno:?}"), errno.name());
            assert_eq!(Errno::from_raw(errno.raw()), *errno);
        }
        assert_eq!(Errno::ECONNREFUSED.raw(), libc::ECONNREFUSED);
        assert_eq!(Errno::EWOULDBLOCK.raw(), libc::EWOULDBLOCK);
    }

    #[test]
    fn a_number_without_a_name_still_prints() {
        let errno = Errno::from_raw(4_000);
        assert_eq!(
            (errno.name(), errno.message()),
            ("EUNKNOWN", "unknown error")
        );
        assert_eq!(errno.to_string(), "unknown error 4000 (EUNKNOWN)");
        assert_eq!(format!("{errno:?}"), "EUNKNOWN(4000)");
    }

    #[test]
    fn io_errors_convert_both_ways() {
        for errno in ALL {
            assert_eq!(Errno::from(io::Error::from(*errno)), *errno);
        }
        assert_eq!(
            Errno::from(io::Error::from(io::ErrorKind::InvalidInput)),
            Errno::EINVAL
        );
        assert_eq!(
            Errno::from(io::Error::from(io::ErrorKind::WouldBlock)),
            Errno::EAGAIN
        );
        assert_eq!(
            Errno::from(io::Error::other("without a number")),
            Errno::EIO
        );
    }

    #[test]
    fn the_last_error_is_that_of_this_thread() {
        let closed = std::fs::File::open("/nonexistent/of/course");
        assert!(closed.is_err());
        assert_eq!(Errno::last(), Errno::ENOENT);
    }
}
