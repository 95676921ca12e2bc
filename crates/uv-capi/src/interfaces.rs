//! The addresses of this host's interfaces.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use libc::{AF_INET, AF_INET6, AF_PACKET, ifaddrs, sockaddr_in, sockaddr_in6, sockaddr_ll};

use crate::pointers::{CPtr, OutPtr};

#[repr(C)]
#[derive(Clone, Copy)]
pub union Address {
    pub address4: sockaddr_in,
    pub address6: sockaddr_in6,
}

#[repr(C)]
pub struct uv_interface_address_t {
    pub name: *mut c_char,
    pub phys_addr: [c_char; 6],
    pub is_internal: c_int,
    pub address: Address,
    pub netmask: Address,
}

/// The list of getifaddrs(3), freed on drop.
struct List(*mut ifaddrs);

impl List {
    fn new() -> Result<Self, c_int> {
        let mut first = ptr::null_mut();
        // SAFETY: `first` is memory for a pointer.
        if unsafe { libc::getifaddrs(&raw mut first) } < 0 {
            return Err(-uv_sys::Errno::last().raw());
        }
        Ok(Self(first))
    }

    /// The entries that have an address and belong to an interface that is up and running.
    fn entries(&self) -> impl Iterator<Item = &ifaddrs> {
        // SAFETY: a list is a chain of entries that ends in null, all of which live as long as the list.
        let first = unsafe { self.0.as_ref() };
        // SAFETY: each entry's `ifa_next` is null or the next entry of the same list.
        std::iter::successors(first, |entry| unsafe { entry.ifa_next.as_ref() }).filter(|entry| {
            let wanted = c_int::cast_unsigned(libc::IFF_UP | libc::IFF_RUNNING);
            entry.ifa_flags & wanted == wanted && !entry.ifa_addr.is_null()
        })
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: the list came from getifaddrs(3), and is freed once.
        unsafe { libc::freeifaddrs(self.0) };
    }
}

fn family(entry: &ifaddrs) -> c_int {
    // SAFETY: `entries` leaves out those without an address, and every address begins with its family.
    unsafe { (*entry.ifa_addr).sa_family }.into()
}

fn name(entry: &ifaddrs) -> &CStr {
    // SAFETY: every entry has a name, which lives as long as the entry.
    unsafe { CStr::from_ptr(entry.ifa_name) }
}

/// The address or the netmask at `from`.
///
/// # Safety
///
/// `from` is null or an address of that family.
unsafe fn copy(family: c_int, from: *const libc::sockaddr) -> Address {
    // SAFETY: zeros are an address of no family.
    let mut to: Address = unsafe { std::mem::zeroed() };
    if !from.is_null() {
        // SAFETY: `from` points to an address of this family.
        unsafe {
            match family {
                AF_INET => to.address4 = from.cast::<sockaddr_in>().read_unaligned(),
                _ => to.address6 = from.cast::<sockaddr_in6>().read_unaligned(),
            }
        }
    }
    to
}

/// The link-layer address of the interface with this name.
fn physical(list: &List, of: &CStr) -> [c_char; 6] {
    let packet = list
        .entries()
        .find(|entry| family(entry) == AF_PACKET && name(entry) == of);
    packet.map_or([0; 6], |entry| {
        // SAFETY: an address of `AF_PACKET` is a `sockaddr_ll`.
        let link = unsafe { entry.ifa_addr.cast::<sockaddr_ll>().read_unaligned() };
        let [a, b, c, d, e, f, ..] = link.sll_addr;
        [a, b, c, d, e, f].map(|byte| c_char::from_ne_bytes([byte]))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_interface_addresses(
    addresses: OutPtr<*mut uv_interface_address_t>,
    count: OutPtr<c_int>,
) -> c_int {
    if addresses.is_null() || count.is_null() {
        return -libc::EINVAL;
    }
    let list = match List::new() {
        Ok(list) => list,
        Err(error) => return error,
    };
    let found: Box<[_]> = list
        .entries()
        .filter(|entry| matches!(family(entry), AF_INET | AF_INET6))
        .map(|entry| uv_interface_address_t {
            name: CString::from(name(entry)).into_raw(),
            phys_addr: physical(&list, name(entry)),
            is_internal: (entry.ifa_flags & c_int::cast_unsigned(libc::IFF_LOOPBACK) != 0).into(),
            // SAFETY: the entry's address is of the family that it begins with.
            address: unsafe { copy(family(entry), entry.ifa_addr) },
            // SAFETY: the entry's netmask is of its address's family.
            netmask: unsafe { copy(family(entry), entry.ifa_netmask) },
        })
        .collect();
    let number = found.len().try_into().unwrap_or(c_int::MAX);
    count.store(number);
    addresses.store(if number == 0 {
        ptr::null_mut()
    } else {
        Box::into_raw(found).cast()
    });
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_free_interface_addresses(
    addresses: CPtr<uv_interface_address_t>,
    count: c_int,
) {
    let count = usize::try_from(count).unwrap_or(0);
    if addresses.is_null() || count == 0 {
        return;
    }
    // SAFETY: the program returns the slice of `uv_interface_addresses`, with its length, and once.
    let all = unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(addresses.as_ptr(), count)) };
    for address in &all {
        // SAFETY: each name came from a `CString`, and is taken once.
        drop(unsafe { CString::from_raw(address.name) });
    }
}
