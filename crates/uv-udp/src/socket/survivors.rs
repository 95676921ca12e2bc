//! Options that the kernel does not report: a handle sets them again when Linux loses them, and on
//! a socket that replaces the old one. All others are copied from socket to socket.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::os::fd::AsFd;

use uv_sys::{Interface, Result};

/// One membership in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) group: IpAddr,
    /// The only source whose datagrams are received, if the membership has one.
    pub(crate) source: Option<IpAddr>,
    pub(crate) interface: Interface,
}

impl Membership {
    pub(crate) fn join(&self, fd: impl AsFd) -> Result<()> {
        match self.source {
            None => uv_sys::multicast::join_multicast(fd, self.group, self.interface),
            Some(source) => uv_sys::multicast::join_source(fd, self.group, source, self.interface),
        }
    }

    pub(crate) fn leave(&self, fd: impl AsFd) -> Result<()> {
        match self.source {
            None => uv_sys::multicast::leave_multicast(fd, self.group, self.interface),
            Some(source) => uv_sys::multicast::leave_source(fd, self.group, source, self.interface),
        }
    }
}

/// The options of one handle that must be set again.
#[derive(Debug, Default)]
pub(crate) struct Survivors {
    /// The interface of `SO_BINDTODEVICE`. The kernel also reports the interface of a link-local
    /// peer.
    device: RefCell<Option<String>>,
    /// The preferred CPU. The kernel reports the CPU of the last datagram instead.
    incoming_cpu: Cell<Option<u32>>,
    memberships: RefCell<Vec<Membership>>,
}

impl Survivors {
    pub(crate) fn set_device(&self, name: Option<&str>) {
        *self.device.borrow_mut() = name.map(str::to_owned);
    }

    pub(crate) fn set_incoming_cpu(&self, cpu: u32) {
        self.incoming_cpu.set(Some(cpu));
    }

    pub(crate) fn joined(&self, membership: Membership) {
        self.memberships.borrow_mut().push(membership);
    }

    /// Removes a membership that the kernel found, perhaps under another name of its interface: the
    /// latest one. Leaving a group as a whole also leaves it for single sources.
    pub(crate) fn left(&self, left: Membership) {
        let mut all = self.memberships.borrow_mut();
        let same = |one: &Membership| {
            one.group == left.group && (left.source.is_none() || one.source == left.source)
        };
        let unnamed = |one: &Membership| [one.interface, left.interface].contains(&Interface::Any);
        let exact = all
            .iter()
            .rposition(|one| same(one) && one.interface == left.interface);
        let found = exact.or_else(|| all.iter().rposition(|one| same(one) && unnamed(one)));
        if let Some(interface) = found
            .and_then(|index| all.get(index))
            .map(|one| one.interface)
        {
            all.retain(|one| !same(one) || one.interface != interface);
        }
    }

    /// Binds a socket to the handle's interface again.
    pub(crate) fn rebind_device(&self, fd: impl AsFd) -> Result<()> {
        match self.device.borrow().as_deref() {
            None => Ok(()),
            Some(name) => uv_sys::option::bind_to_device(fd, Some(name)),
        }
    }

    /// Copies all options to a socket that replaces another one.
    pub(crate) fn move_to(&self, from: impl AsFd, to: impl AsFd) -> Result<()> {
        uv_sys::copy_options(from, &to)?;
        match self.incoming_cpu.get() {
            None => Ok(()),
            Some(cpu) => uv_sys::option::set_incoming_cpu(to, cpu),
        }
    }

    /// Joins the handle's groups on another socket.
    pub(crate) fn join_all(&self, fd: impl AsFd) -> Result<()> {
        let fd = fd.as_fd();
        self.memberships
            .borrow()
            .iter()
            .try_for_each(|membership| membership.join(fd))
    }
}
