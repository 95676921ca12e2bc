//! The port of a handle during a disconnect or reconnect, and the options that share it.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;

use nix::unistd::{Uid, setfsuid};
use uv_udp::{BindOptions, Errno, Family, Loop, Udp};

use super::harness::*;

/// The user "nobody".
const OTHER_USER: u32 = 65_534;

/// Runs a closure on a thread whose sockets belong to another user; `None` without the privilege.
fn as_other_user<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let thread = thread::spawn(|| {
        let other = Uid::from_raw(OTHER_USER);
        setfsuid(other);
        // The call returns the previous user.
        (setfsuid(other) == other).then(job)
    });
    let result = thread.join().unwrap();
    if result.is_none() {
        println!("skipped: another user needs CAP_SETUID");
    }
    result
}

/// Whether the handle's socket shares its address, and its port.
fn sharing(udp: &Udp) -> (bool, bool) {
    udp.with_fd(|fd| {
        let address = uv_sys::option::reuse_address(fd).unwrap();
        (address, uv_sys::option::reuse_port(fd).unwrap())
    })
    .unwrap()
}

fn connects_anew(udp: &Udp, ip: IpAddr, address: SocketAddr) {
    for _ in 0..2 {
        let (_first, to_first) = raw(ip);
        let (_second, to_second) = raw(ip);
        udp.connect(to_first).unwrap();
        udp.connect(to_second).unwrap();
        assert_eq!(udp.local_addr(), Ok(address));
        assert_eq!(udp.disconnect(), Ok(()));
        assert_eq!(udp.local_addr(), Ok(address));
    }
}

#[test]
fn a_reconnect_restores_the_sharing_options() {
    for ip in loopbacks() {
        for (address_too, port_too) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let event_loop = Loop::new().unwrap();
            let options = BindOptions::default()
                .reuse_address(address_too)
                .reuse_port(port_too);
            let udp = Udp::new(&event_loop);
            udp.bind_with((ip, 0).into(), options).unwrap();
            let address = udp.local_addr().unwrap();
            connects_anew(&udp, ip, address);
            assert_eq!(sharing(&udp), (address_too, port_too));
            // The same for options that were set after the bind.
            let socket = UdpSocket::bind((ip, 0)).unwrap();
            uv_sys::option::set_reuse_address(&socket, address_too).unwrap();
            uv_sys::option::set_reuse_port(&socket, port_too).unwrap();
            let address = socket.local_addr().unwrap();
            let udp = Udp::from_fd(&event_loop, socket.into()).unwrap();
            connects_anew(&udp, ip, address);
            assert_eq!(sharing(&udp), (address_too, port_too));
        }
    }
}

#[test]
fn a_port_that_cannot_be_held_is_unchanged() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let (_peer, to_peer) = raw(ip);
        udp.connect(to_peer).unwrap();
        let refused = uv_sys::fault::Fault::Errno(Errno::EACCES);
        uv_sys::fault::script(uv_sys::fault::Call::Bind, [refused]);
        let disconnected = udp.disconnect();
        uv_sys::fault::clear();
        let expected = match ip {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(_) => Err(Errno::EACCES),
        };
        assert_eq!(disconnected, expected);
        assert_eq!(udp.local_addr(), Ok(address));
        assert_eq!(sharing(&udp), (false, false));
    }
}

#[test]
fn a_handle_that_held_its_port_belongs_to_no_reuse_port_group() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        connects_anew(&udp, ip, address);
        assert_eq!(
            udp.options().attach_reuseport_cpu_selector(1),
            Err(Errno::EINVAL)
        );
    }
}

/// A socket of another user, as passed from another process.
fn of_other_user(ip: IpAddr) -> Option<OwnedFd> {
    as_other_user(move || OwnedFd::from(UdpSocket::bind((ip, 0)).unwrap()))
}

#[test]
fn a_socket_of_another_user_keeps_its_port_and_its_owner() {
    for ip in loopbacks() {
        let Some(socket) = of_other_user(ip) else {
            return;
        };
        assert_eq!(uv_sys::socket::owner(&socket), Ok(OTHER_USER));
        let event_loop = Loop::new().unwrap();
        let udp = Udp::from_fd(&event_loop, socket).unwrap();
        let address = udp.local_addr().unwrap();
        connects_anew(&udp, ip, address);
        let owner = udp.with_fd(|fd| uv_sys::socket::owner(fd)).unwrap();
        assert_eq!(owner, Ok(OTHER_USER));
        assert_eq!(sharing(&udp), (false, false));
    }
}

/// A process that changed its user after it created its sockets.
#[test]
fn a_handle_of_a_former_user_reconnects() {
    for ip in loopbacks() {
        // The port is free for a moment in each disconnect: another program must not get it.
        let socket = bind_by_number(|port| Ok(UdpSocket::bind((ip, port))?));
        let socket = OwnedFd::from(socket);
        let done = as_other_user(move || {
            let event_loop = Loop::new().unwrap();
            let udp = Udp::from_fd(&event_loop, socket).unwrap();
            let address = udp.local_addr().unwrap();
            connects_anew(&udp, ip, address);
            assert_eq!(sharing(&udp), (false, false));
            let heard = listen(&udp);
            UdpSocket::bind((Family::of(&address).unspecified(), 0))
                .unwrap()
                .send_to(b"anybody", address)
                .unwrap();
            run_until(&event_loop, || heard.len() == 1);
        });
        if done.is_none() {
            return;
        }
    }
}

/// A forked process has copies of all sockets until it calls execve(2).
#[test]
fn a_copy_of_the_former_socket_does_not_block_the_next_reconnect() {
    for ip in loopbacks() {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let mut copies = Vec::new();
        for _ in 0..3 {
            udp.connect(raw(ip).1).unwrap();
            copies.push(udp.with_fd(|fd| fd.try_clone_to_owned()).unwrap().unwrap());
            assert_eq!(udp.disconnect(), Ok(()));
            assert_eq!(udp.local_addr(), Ok(address));
            assert_eq!(sharing(&udp), (false, false));
        }
    }
}
