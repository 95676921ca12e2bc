//! The sockets at a port of this process.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use uv_udp::Udp;

use crate::verdict::{Broken, Verdict, ensure};

/// The sockets at a port, to check later that this process closed them. A bind would not show it:
/// between fork and exec, a child process of another rule keeps copies of all descriptors.
#[derive(Clone, Debug)]
pub(crate) struct Sockets(Vec<String>);

impl Sockets {
    /// The handle's own socket, and others at its port in this thread's network namespace.
    pub(crate) fn of(udp: &Udp) -> Result<Self, Broken> {
        let own = udp.with_fd(|fd| inode(fd))??;
        Self::with_others(own, udp.local_addr()?)
    }

    /// The kernel's table omits sockets while other processes bind and close theirs, so the
    /// handle's own socket is found by its descriptor.
    fn with_others(own: String, address: SocketAddr) -> Result<Self, Broken> {
        let file = match address {
            SocketAddr::V4(_) => "/proc/thread-self/net/udp",
            SocketAddr::V6(_) => "/proc/thread-self/net/udp6",
        };
        let (table, port) = (
            fs::read_to_string(file)?,
            format!(":{:04X}", address.port()),
        );
        let inodes = table.lines().filter_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            let inode = fields.nth(7)?;
            local.ends_with(&port).then(|| format!("socket:[{inode}]"))
        });
        let mut found = vec![own];
        found.extend(inodes);
        found.sort_unstable();
        found.dedup();
        Ok(Self(found))
    }

    /// The number of these sockets that this process has open.
    pub(crate) fn open(&self) -> Result<usize, Broken> {
        let descriptors = fs::read_dir("/proc/self/fd")?;
        // Other rules may close theirs meanwhile.
        let links = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let links: Vec<_> = links.collect();
        let ours = |inode: &&String| links.iter().any(|link| link.as_os_str() == inode.as_str());
        Ok(self.0.iter().filter(ours).count())
    }

    /// Fails the rule if one of them is open.
    #[track_caller]
    pub(crate) fn are_closed(&self) -> Verdict {
        let open = self.open()?;
        ensure!(open == 0, "the port is not free: {open} sockets are open");
        Ok(())
    }
}

/// The name of the socket in `/proc/self/fd`.
fn inode(fd: impl AsFd) -> io::Result<String> {
    Ok(format!("socket:[{}]", rustix::fs::fstat(fd)?.st_ino))
}

#[cfg(test)]
mod tests {
    use uv_udp::Family;

    use super::*;
    use crate::raw::{Raw, loopback};

    #[test]
    fn a_socket_is_open_until_its_last_descriptor_is_closed() {
        for family in [Family::V4, Family::V6] {
            let Ok(raw) = Raw::bind(loopback(family)) else {
                crate::skipped(format_args!("no loopback address of {family:?} here"));
                continue;
            };
            let own = inode(&raw).unwrap();
            let sockets = Sockets::with_others(own, raw.address()).unwrap();
            let copy = raw.as_fd().try_clone_to_owned().unwrap();
            drop(raw);
            assert_eq!(sockets.open().unwrap(), 1);
            drop(copy);
            assert_eq!(sockets.open().unwrap(), 0);
        }
    }
}
