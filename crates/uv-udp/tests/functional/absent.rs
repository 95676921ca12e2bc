//! Handles on a kernel that lacks a feature: one that refuses the option, as an old kernel does.

use std::num::NonZeroU16;

use uv_sys::fault::{self, Feature};
use uv_udp::{Errno, Loop, Result, Transmit, TxTimeClock, Udp, capabilities};

use super::harness::*;

/// Runs `test` for both families on a kernel without `feature`.
fn without(feature: Feature, test: impl Fn(std::net::IpAddr)) {
    for ip in loopbacks() {
        fault::lack([feature]);
        test(ip);
        fault::clear();
    }
}

const ABSENT: Result<()> = Err(Errno::ENOPROTOOPT);

#[test]
fn without_segmentation_a_segment_size_is_refused_and_bursts_are_sent_one_by_one() {
    without(Feature::Segmentation, |ip| {
        assert!(!capabilities().segmentation);
        assert_eq!(capabilities().max_segments, 1);
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        let size = NonZeroU16::new(2).unwrap();
        assert_eq!(udp.options().set_segment_size(Some(size)), ABSENT);
        assert_eq!(udp.options().segment_size(), Err(Errno::ENOPROTOOPT));
        let cut = Transmit::new(b"aabb").with_segment_size(size);
        let refused = udp.transmit(cut, |_, _, _| unreachable!());
        assert_eq!(refused, Err(Errno::EOPNOTSUPP));
        let batch = [Transmit::new(b"x"), cut];
        assert_eq!(udp.try_transmit_batch(&batch), Err(Errno::EOPNOTSUPP));
        assert!(all(&peer).is_empty());
        // The datagrams leave one by one.
        assert_eq!(
            udp.try_transmit(&Transmit::new(b"aabbc").with_segment_size(size)),
            Ok(5)
        );
        assert_eq!(all(&peer), [&b"aa"[..], b"bb", b"c"]);
        let results = Log::new();
        for _ in 0..5 {
            udp.send(b"dd", note(&results)).unwrap();
        }
        run_until(&event_loop, || results.len() == 5);
        assert_eq!(
            (results.get(), all(&peer)),
            (vec![Ok(()); 5], vec![b"dd".to_vec(); 5])
        );
        assert_eq!(udp.try_transmit_batch(&[Transmit::new(b"ee"); 3]), Ok(3));
        assert_eq!(all(&peer), [b"ee"; 3]);
        let counters = udp.counters();
        assert_eq!((counters.segmented_messages, counters.fallbacks), (0, 0));
    });
}

#[test]
fn without_coalescing_set_gro_is_refused_and_bursts_are_received_one_by_one() {
    without(Feature::Gro, |ip| {
        assert!(!capabilities().gro);
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        assert_eq!(udp.options().set_gro(true), ABSENT);
        assert_eq!(udp.options().set_gro(false), Ok(()));
        let heard = listen(&udp);
        let sender = connected(&event_loop, address);
        for burst in 1..5 {
            let size = NonZeroU16::new(2).unwrap();
            sender
                .try_transmit(&Transmit::new(b"aabbccdd").with_segment_size(size))
                .unwrap();
            run_until(&event_loop, || heard.len() == burst * 4);
        }
        let texts = heard.get().into_iter().map(|heard| heard.unwrap().0);
        assert_eq!(
            texts.collect::<Vec<_>>(),
            [b"aa", b"bb", b"cc", b"dd"].repeat(4)
        );
    });
}

#[test]
fn without_transmit_times_a_clock_and_a_time_are_refused() {
    without(Feature::TxTime, |ip| {
        assert!(!capabilities().txtime);
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = connected(&event_loop, address);
        assert_eq!(udp.options().set_txtime(TxTimeClock::Monotonic), ABSENT);
        assert_eq!(udp.options().txtime(), Err(Errno::ENOPROTOOPT));
        let timed = Transmit::new(b"x").with_transmit_time(1);
        assert_eq!(udp.try_transmit(&timed), Err(Errno::ENOPROTOOPT));
        assert_eq!(udp.try_transmit_batch(&[timed]), Err(Errno::ENOPROTOOPT));
        let results = Log::new();
        for transmit in [timed, Transmit::new(b"y"), timed] {
            udp.transmit(transmit, note_any(&results)).unwrap();
        }
        run_until(&event_loop, || results.len() == 3);
        assert_eq!(results.get(), [ABSENT, Ok(()), ABSENT]);
        assert_eq!(all(&peer), [b"y"]);
        let heard = listen(&udp);
        settle(&event_loop);
        assert_eq!(heard.len(), 0, "the refusals are not the network's");
    });
}

#[test]
fn without_a_kind_of_metadata_its_option_alone_is_refused() {
    type Switch = fn(&Udp, bool) -> Result<()>;
    let cases: [(Feature, Switch, Switch); 2] = [
        (
            Feature::Timestamps,
            |udp: &Udp, on| udp.options().set_recv_timestamps(on),
            |udp: &Udp, on| udp.options().set_recv_drops(on),
        ),
        (
            Feature::RecvDrops,
            |udp: &Udp, on| udp.options().set_recv_drops(on),
            |udp: &Udp, on| udp.options().set_recv_timestamps(on),
        ),
    ];
    for (feature, set, other) in cases {
        without(feature, |ip| {
            let found = capabilities();
            let has = match feature {
                Feature::Timestamps => found.timestamps,
                _ => found.recv_drops,
            };
            assert!(!has, "{feature:?}");
            let event_loop = Loop::new().unwrap();
            let (udp, address) = bound(&event_loop, ip);
            for on in [true, false] {
                assert_eq!(set(&udp, on), ABSENT, "{feature:?}");
                assert_eq!(other(&udp, on), Ok(()), "{feature:?}");
            }
            let heard = listen(&udp);
            raw(ip).0.send_to(b"x", address).unwrap();
            run_until(&event_loop, || heard.len() == 1);
        });
    }
}

/// An IPv6 disconnect copies the options of the old socket to a new one.
#[test]
fn without_all_of_these_a_handle_disconnects_and_is_adopted() {
    for ip in loopbacks() {
        fault::lack([
            Feature::Segmentation,
            Feature::Gro,
            Feature::TxTime,
            Feature::Timestamps,
            Feature::RecvDrops,
        ]);
        let event_loop = Loop::new().unwrap();
        let (peer, address) = raw(ip);
        let udp = Udp::from_fd(&event_loop, raw(ip).0.into()).unwrap();
        let port = udp.local_addr().unwrap().port();
        udp.options().set_recv_tos(true).unwrap();
        udp.connect(address).unwrap();
        udp.connect(address).unwrap();
        udp.disconnect().unwrap();
        assert_eq!(udp.local_addr().unwrap().port(), port);
        udp.try_send_to(b"x", address).unwrap();
        assert_eq!(next(&peer), b"x");
        fault::clear();
    }
}

#[test]
fn without_reuse_port_a_handle_disconnects_and_keeps_its_port() {
    without(Feature::ReusePort, |ip| {
        let event_loop = Loop::new().unwrap();
        let (udp, address) = bound(&event_loop, ip);
        let heard = listen(&udp);
        for _ in 0..2 {
            let (_peer, to_peer) = raw(ip);
            udp.connect(to_peer).unwrap();
            udp.connect(raw(ip).1).unwrap();
            assert_eq!(udp.disconnect(), Ok(()));
            assert_eq!(udp.local_addr(), Ok(address));
        }
        let shared = udp.with_fd(|fd| uv_sys::option::reuse_address(fd)).unwrap();
        assert_eq!(shared, Ok(false), "the port is its own");
        raw(ip).0.send_to(b"anybody", address).unwrap();
        run_until(&event_loop, || heard.len() == 1);
    });
}
