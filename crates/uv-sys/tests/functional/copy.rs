use std::num::NonZeroU16;

use uv_sys::multicast::*;
use uv_sys::option::*;
use uv_sys::*;

use crate::util::{FAMILIES, bound};

#[test]
fn copied_options_equal_the_originals() {
    for family in FAMILIES {
        let (from, to) = (bound(family), bound(family));
        set_ttl(&from, 9).unwrap();
        set_tos(&from, 0xb8).unwrap();
        set_priority(&from, 3).unwrap();
        set_broadcast(&from, true).unwrap();
        set_recv_tos(&from, true).unwrap();
        set_recv_ttl(&from, true).unwrap();
        set_recv_packet_info(&from, true).unwrap();
        set_recv_timestamps(&from, true).unwrap();
        set_recv_drops(&from, true).unwrap();
        set_recv_errors(&from, true).unwrap();
        set_segment_size(&from, NonZeroU16::new(1200)).unwrap();
        set_path_mtu_discovery(&from, PathMtuDiscovery::Probe).unwrap();
        set_txtime(&from, TxTimeClock::Monotonic).unwrap();
        set_multicast_ttl(&from, 5).unwrap();
        set_multicast_loop(&from, false).unwrap();
        set_send_buffer_size(&from, 20_000).unwrap();
        set_recv_buffer_size(&from, 30_000).unwrap();
        copy_options(&from, &to).unwrap();
        assert_eq!(
            (ttl(&to), tos(&to), priority(&to)),
            (Ok(9), Ok(0xb8), Ok(3))
        );
        assert_eq!(broadcast(&to), Ok(true));
        assert_eq!((recv_tos(&to), recv_ttl(&to)), (Ok(true), Ok(true)));
        assert_eq!(recv_packet_info(&to), Ok(true));
        assert_eq!(
            (recv_timestamps(&to), recv_drops(&to)),
            (Ok(true), Ok(true))
        );
        assert_eq!(recv_errors(&to), Ok(true));
        assert_eq!(segment_size(&to), Ok(NonZeroU16::new(1200)));
        assert_eq!(path_mtu_discovery(&to), Ok(PathMtuDiscovery::Probe));
        assert_eq!(txtime(&to), Ok(Some(TxTimeClock::Monotonic)));
        assert_eq!(
            (multicast_ttl(&to), multicast_loop(&to)),
            (Ok(5), Ok(false))
        );
        assert_eq!(send_buffer_size(&to), Ok(40_000));
        assert_eq!(recv_buffer_size(&to), Ok(60_000));
    }
}

#[test]
fn equal_options_are_not_set() {
    for family in FAMILIES {
        let (from, to) = (bound(family), bound(family));
        let before = recv_buffer_size(&to);
        copy_options(&from, &to).unwrap();
        assert_eq!(recv_buffer_size(&to), before);
        assert_eq!(txtime(&to), Ok(None));
    }
}

#[test]
fn check_finds_invalid_messages_without_a_socket() {
    let to = "127.0.0.1:9".parse().unwrap();
    let transmit = Transmit::new("x").with_destination(to);
    assert_eq!(transmit.check(), Ok(()));
    assert_eq!(transmit.with_ttl(0).check(), Err(Errno::EINVAL));
    let v6: std::net::IpAddr = "::1".parse().unwrap();
    assert_eq!(transmit.with_source(v6).check(), Err(Errno::EAFNOSUPPORT));
    let mapped: std::net::IpAddr = "::ffff:127.0.0.1".parse().unwrap();
    assert_eq!(transmit.with_source(mapped).check(), Ok(()));
}
