//! Sockets on the loopback interface, and the resources of the process: descriptors and resident
//! memory.
//!
//! No peer changes the size of a socket buffer: all have the system's default.

use std::{fs, io, net::UdpSocket};

use crate::measure::Failure;

/// Descriptors of the process that do not belong to a workload.
const SPARE_DESCRIPTORS: u64 = 512;

/// The loopback address with a port of the system's choice, as text.
pub const ANY_PORT: &str = "127.0.0.1:0";

/// A non-blocking socket bound to a free port of the loopback interface.
pub fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(ANY_PORT)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A sender, connected to a receiver that is not connected.
pub fn sender_and_receiver() -> io::Result<(UdpSocket, UdpSocket)> {
    let (sender, receiver) = (socket()?, socket()?);
    sender.connect(receiver.local_addr()?)?;
    Ok((sender, receiver))
}

/// Two sockets connected to each other.
pub fn connected_pair() -> io::Result<(UdpSocket, UdpSocket)> {
    let (left, right) = sender_and_receiver()?;
    right.connect(left.local_addr()?)?;
    Ok((left, right))
}

/// Whether a call on a non-blocking socket would block; any other error is returned.
pub fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Raises the limit of open descriptors to fit `handles` sockets, or returns the reason why it
/// cannot.
pub fn allow_descriptors(handles: usize) -> Result<(), Failure> {
    let needed = handles as u64 + SPARE_DESCRIPTORS;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid `rlimit` for the kernel to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    if limit.rlim_cur >= needed {
        return Ok(());
    }
    if limit.rlim_max < needed {
        return Err(Failure::Unsupported(format!(
            "needs {needed} open descriptors; the hard limit is {}",
            limit.rlim_max
        )));
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid `rlimit` that the kernel only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(())
}

/// The resident memory of the process at one moment.
#[derive(Debug)]
pub struct Footprint {
    bytes: u64,
}

impl Footprint {
    /// The memory resident now. The allocator returns its unused pages first, because handles would
    /// otherwise reuse memory of an earlier round without being counted.
    pub fn now() -> Footprint {
        #[cfg(target_env = "gnu")]
        // SAFETY: trimming only returns unused pages of the allocator to the system.
        unsafe {
            libc::malloc_trim(0);
        }
        Footprint {
            bytes: private_bytes(),
        }
    }

    /// Bytes per handle that became resident since, for this many handles. `None` where the system
    /// does not report them.
    pub fn per_handle(&self, handles: usize) -> Option<f64> {
        let now = private_bytes();
        (self.bytes > 0 && handles > 0)
            .then(|| now.saturating_sub(self.bytes) as f64 / handles as f64)
    }
}

/// Resident memory of this process that is not backed by files, in bytes; 0 where the system does
/// not report it. See proc_pid_statm(5).
fn private_bytes() -> u64 {
    let pages = || -> Option<u64> {
        let text = fs::read_to_string("/proc/self/statm").ok()?;
        let mut fields = text.split_whitespace().skip(1).map(str::parse::<u64>);
        let resident = fields.next()?.ok()?;
        let shared = fields.next()?.ok()?;
        resident.checked_sub(shared)
    };
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages().unwrap_or(0) * u64::try_from(page).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footprint_sees_memory_that_was_touched() {
        let before = Footprint::now();
        let block = vec![1_u8; 16 << 20];
        let per_handle = before.per_handle(16).unwrap();
        assert!(per_handle > 900_000.0, "{per_handle}");
        drop(block);
    }

    #[test]
    fn too_many_descriptors_are_refused_with_the_limit_named() {
        let refused = allow_descriptors(usize::MAX / 2).unwrap_err().to_string();
        assert!(refused.contains("hard limit"), "{refused}");
        allow_descriptors(100).unwrap();
    }

    #[test]
    fn a_connected_pair_talks_both_ways() {
        let (left, right) = connected_pair().unwrap();
        left.send(b"ping").unwrap();
        let mut buffer = [0; 8];
        assert_eq!(right.recv(&mut buffer).unwrap(), 4);
        right.send(b"pong!").unwrap();
        assert_eq!(left.recv(&mut buffer).unwrap(), 5);
        assert!(would_block(left.recv(&mut buffer)).unwrap().is_none());
    }
}
