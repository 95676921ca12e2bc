//! A process whose limit of descriptors is below those it has open. A binary of its own, because
//! the limit is the process's.

use std::net::{Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use uv_udp::{Loop, RunMode, Udp};

#[test]
fn an_ipv6_handle_disconnects_also_where_the_limit_was_lowered_below_its_descriptor() {
    let Ok(peer) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return;
    };
    let event_loop = Loop::new().unwrap();
    // More descriptors than the limit will allow; the last is the handle's.
    let mut others: Vec<_> = (0..64).map(|_| peer.try_clone().unwrap()).collect();
    let udp = Udp::new(&event_loop);
    udp.bind((Ipv6Addr::LOCALHOST, 0).into()).unwrap();
    udp.connect(peer.local_addr().unwrap()).unwrap();
    let (address, number) = (
        udp.local_addr().unwrap(),
        udp.with_fd(|fd| fd.as_raw_fd()).unwrap(),
    );
    let limit = others[32].as_raw_fd();
    assert!(limit < number);
    // Room below it for the new socket.
    others.truncate(16);

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, limit.try_into().unwrap(), hard).unwrap();
    let disconnected = udp.disconnect();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();

    assert_eq!(disconnected, Ok(()));
    assert_eq!(udp.local_addr(), Ok(address));
    let shared = udp.with_fd(|fd| uv_sys::option::reuse_address(fd)).unwrap();
    assert_eq!(shared, Ok(false), "the port is its own");
    udp.recv_start(|udp, received| {
        assert_eq!(received.unwrap().data, b"anyone");
        udp.close(|_| ()).unwrap();
    })
    .unwrap();
    let stranger = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    stranger.send_to(b"anyone", address).unwrap();
    assert_eq!(event_loop.run(RunMode::Default), Ok(false));
}
