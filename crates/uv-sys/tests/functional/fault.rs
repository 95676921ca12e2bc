use std::num::NonZeroU16;

use uv_sys::fault::{Call, Fault, Feature, calls, clear, lack, script};
use uv_sys::message::{recvmsg, sendmsg};
use uv_sys::socket::{bind, connect, disconnect, socket};
use uv_sys::{
    Errno, Family, RecvBatch, RecvOptions, Result, SendBatch, Transmit, TxTimeClock, capabilities,
};

use crate::util::{FAMILIES, bound, ephemeral, next, nobody, pair, wait_readable};

#[test]
fn a_script_is_consumed_call_by_call() {
    let (sender, _receiver) = pair(Family::V4);
    script(Call::Sendmsg, [Fault::Errno(Errno::ENOBUFS), Fault::Pass]);
    script(Call::Sendmsg, [Fault::Errno(Errno::EAGAIN)]);
    let message = Transmit::new("x");
    let results: Vec<_> = (0..4).map(|_| sendmsg(&sender, &message)).collect();
    assert_eq!(
        results,
        [Err(Errno::ENOBUFS), Ok(1), Err(Errno::EAGAIN), Ok(1)]
    );
    assert_eq!(calls(Call::Sendmsg), 4);
    assert_eq!(calls(Call::Sendmmsg), 0);
}

#[test]
fn a_batch_of_one_is_a_sendmsg() {
    let (sender, receiver) = pair(Family::V4);
    let message = Transmit::new("x");
    let mut batch = SendBatch::new();
    assert_eq!(batch.send(&sender, []), Ok(0));
    assert_eq!((calls(Call::Sendmsg), calls(Call::Sendmmsg)), (0, 0));
    assert_eq!(batch.send(&sender, [message]), Ok(1));
    assert_eq!((calls(Call::Sendmsg), calls(Call::Sendmmsg)), (1, 0));
    script(
        Call::Sendmmsg,
        [
            Fault::Partial(2),
            Fault::Errno(Errno::ENOBUFS),
            Fault::Partial(0),
        ],
    );
    assert_eq!(batch.send(&sender, [message; 5]), Ok(2));
    assert_eq!(batch.send(&sender, [message; 5]), Err(Errno::ENOBUFS));
    assert_eq!(batch.send(&sender, [message; 5]), Ok(1));
    assert_eq!(batch.send(&sender, [message; 5]), Ok(5));
    assert_eq!((calls(Call::Sendmsg), calls(Call::Sendmmsg)), (1, 4));

    wait_readable(&receiver);
    let mut batch = RecvBatch::new(16, 8);
    script(
        Call::Recvmmsg,
        [Fault::Errno(Errno::ENOMEM), Fault::Partial(3)],
    );
    assert_eq!(
        batch.recv(&receiver, 16, RecvOptions::default()),
        Err(Errno::ENOMEM)
    );
    assert_eq!(batch.recv(&receiver, 16, RecvOptions::default()), Ok(3));
    assert_eq!(batch.recv(&receiver, 1, RecvOptions::default()), Ok(1));
    assert_eq!(batch.recv(&receiver, 16, RecvOptions::default()), Ok(5));
    assert_eq!((calls(Call::Recvmsg), calls(Call::Recvmmsg)), (1, 3));
}

#[test]
fn the_other_calls_can_fail_too() {
    let fd = socket(Family::V6).unwrap();
    script(Call::Bind, [Fault::Errno(Errno::EADDRINUSE)]);
    assert_eq!(bind(&fd, &ephemeral(Family::V6)), Err(Errno::EADDRINUSE));
    assert_eq!(bind(&fd, &ephemeral(Family::V6)), Ok(()));
    script(
        Call::Connect,
        [
            Fault::Errno(Errno::EINVAL),
            Fault::Pass,
            Fault::Errno(Errno::EIO),
        ],
    );
    assert_eq!(connect(&fd, &nobody(Family::V6)), Err(Errno::EINVAL));
    assert_eq!(connect(&fd, &nobody(Family::V6)), Ok(()));
    assert_eq!(disconnect(&fd), Err(Errno::EIO));
    script(Call::Recvmsg, [Fault::Errno(Errno::ENOMEM)]);
    assert_eq!(
        recvmsg(&fd, &mut [], RecvOptions::default()),
        Err(Errno::ENOMEM)
    );
}

#[test]
fn scripts_affect_one_thread_and_can_be_cleared() {
    script(Call::Recvmsg, [Fault::Errno(Errno::ENOMEM)]);
    let elsewhere =
        std::thread::spawn(|| recvmsg(bound(Family::V4), &mut [], RecvOptions::default()));
    assert_eq!(elsewhere.join().unwrap(), Err(Errno::EAGAIN));
    assert_eq!(calls(Call::Recvmsg), 0);
    clear();
    assert_eq!(
        recvmsg(bound(Family::V4), &mut [], RecvOptions::default()),
        Err(Errno::EAGAIN)
    );
    assert_eq!(calls(Call::Recvmsg), 1);
}

#[test]
fn a_hidden_feature_returns_enoprotoopt_and_is_no_capability() {
    let all = capabilities();
    let size = NonZeroU16::new(9);
    for family in FAMILIES {
        let fd = socket(family).unwrap();
        let answers = || -> [(Feature, bool, [Result<()>; 2]); 5] {
            let found = capabilities();
            [
                (
                    Feature::Segmentation,
                    found.segmentation && found.max_segments > 1,
                    [
                        uv_sys::option::set_segment_size(&fd, size),
                        uv_sys::option::segment_size(&fd).map(drop),
                    ],
                ),
                (
                    Feature::Gro,
                    found.gro,
                    [
                        uv_sys::option::set_gro(&fd, true),
                        uv_sys::option::gro(&fd).map(drop),
                    ],
                ),
                (
                    Feature::TxTime,
                    found.txtime,
                    [
                        uv_sys::option::set_txtime(&fd, TxTimeClock::Monotonic),
                        uv_sys::option::txtime(&fd).map(drop),
                    ],
                ),
                (
                    Feature::Timestamps,
                    found.timestamps,
                    [
                        uv_sys::option::set_recv_timestamps(&fd, true),
                        uv_sys::option::recv_timestamps(&fd).map(drop),
                    ],
                ),
                (
                    Feature::RecvDrops,
                    found.recv_drops,
                    [
                        uv_sys::option::set_recv_drops(&fd, true),
                        uv_sys::option::recv_drops(&fd).map(drop),
                    ],
                ),
            ]
        };
        let there = answers();
        for (lacking, ..) in there {
            lack([lacking]);
            for ((feature, has, results), (_, had, found)) in answers().into_iter().zip(there) {
                let absent = (false, [Err(Errno::ENOPROTOOPT); 2]);
                let expected = if feature == lacking {
                    absent
                } else {
                    (had, found)
                };
                assert_eq!((has, results), expected, "{feature:?} without {lacking:?}");
            }
        }
        clear();
        assert_eq!(capabilities(), all);
    }
}

#[test]
fn a_message_that_needs_a_hidden_feature_is_refused() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let plain = Transmit::new("aabb");
        let cut = plain.with_segment_size(NonZeroU16::new(2).unwrap());
        let mut batch = SendBatch::new();
        for (feature, transmit) in [
            (Feature::Segmentation, cut),
            (Feature::TxTime, plain.with_transmit_time(u64::MAX)),
        ] {
            lack([feature]);
            assert_eq!(sendmsg(&sender, &transmit), Err(Errno::ENOPROTOOPT));
            assert_eq!(batch.send(&sender, [transmit]), Err(Errno::ENOPROTOOPT));
            // As with any invalid message, those before it are sent.
            assert_eq!(batch.send(&sender, [plain, transmit]), Ok(1));
            assert_eq!(next(&receiver).0, b"aabb");
            assert_eq!(sendmsg(&sender, &plain), Ok(4));
            assert_eq!(next(&receiver).0, b"aabb");
        }
        clear();
        if capabilities().segmentation {
            assert_eq!(sendmsg(&sender, &cut), Ok(4));
            assert_eq!(
                (next(&receiver).0, next(&receiver).0),
                (b"aa".to_vec(), b"bb".to_vec())
            );
        }
    }
}

#[test]
fn refused_batches_fall_back_to_single_messages() {
    for family in FAMILIES {
        let (sender, receiver) = pair(family);
        let mut batch = SendBatch::new();
        let before = (calls(Call::Sendmmsg), calls(Call::Sendmsg));
        script(
            Call::Sendmmsg,
            [Fault::Errno(Errno::ENOSYS), Fault::Errno(Errno::ENOSYS)],
        );
        let messages = ["one", "two", "three"].map(Transmit::new);
        assert_eq!(batch.send(&sender, messages), Ok(3));
        let made = (calls(Call::Sendmmsg), calls(Call::Sendmsg));
        assert_eq!((made.0 - before.0, made.1 - before.1), (1, 3));
        // As with sendmmsg(2), the next call returns an error after the first message.
        script(Call::Sendmsg, [Fault::Pass, Fault::Errno(Errno::ENOBUFS)]);
        assert_eq!(batch.send(&sender, messages), Ok(1));

        wait_readable(&receiver);
        let mut batch = RecvBatch::new(16, 8);
        script(
            Call::Recvmmsg,
            [Fault::Errno(Errno::ENOSYS), Fault::Errno(Errno::ENOSYS)],
        );
        let refused = Fault::Errno(Errno::ECONNREFUSED);
        script(Call::Recvmsg, [Fault::Pass, Fault::Pass, refused]);
        assert_eq!(batch.recv(&receiver, 16, RecvOptions::default()), Ok(2));
        assert_eq!(batch.take_interruption(), Some(Errno::ECONNREFUSED));
        assert_eq!(batch.take_interruption(), None);
        let mut memory = [0; 16 * 8];
        let options = RecvOptions::default();
        assert_eq!(batch.recv_into(&receiver, &mut memory, 16, options), Ok(2));
        assert_eq!(batch.take_interruption(), None, "nothing but the end");
        assert_eq!((&memory[..5], &memory[8..11]), (&b"three"[..], &b"one"[..]));
        script(Call::Recvmmsg, [Fault::Errno(Errno::ENOSYS)]);
        let nothing = batch.recv(&receiver, 16, options);
        assert_eq!(nothing, Err(Errno::EAGAIN));
        clear();
        let taken = (calls(Call::Sendmmsg), calls(Call::Sendmsg));
        assert_eq!(batch_of(&sender, messages), Ok(3), "it is not remembered");
        assert_eq!(calls(Call::Sendmmsg), taken.0 + 1);
        assert_eq!(calls(Call::Sendmsg), taken.1);
    }
}

fn batch_of(sender: impl std::os::fd::AsFd, messages: [Transmit<'_>; 3]) -> Result<usize> {
    SendBatch::new().send(sender, messages)
}

#[cfg(feature = "poller")]
#[test]
fn a_poller_can_be_refused_and_interrupted() {
    use uv_sys::{Interest, PollEvents, Poller};

    let poller = Poller::new().unwrap();
    script(
        Call::EpollCtl,
        [
            Fault::Errno(Errno::ENOSPC),
            Fault::Pass,
            Fault::Errno(Errno::ENOMEM),
        ],
    );
    let refused = poller.register(bound(Family::V4).into(), 1, Interest::WRITABLE);
    let (errno, fd) = refused.unwrap_err();
    assert_eq!(errno, Errno::ENOSPC);
    let registration = poller.register(fd, 1, Interest::WRITABLE).unwrap();
    let both = Interest::READABLE | Interest::WRITABLE;
    assert_eq!(registration.set_interest(both), Err(Errno::ENOMEM));
    assert_eq!(registration.interest(), Interest::WRITABLE);
    // An empty interest is never refused.
    script(Call::EpollCtl, [Fault::Errno(Errno::ENOMEM)]);
    assert_eq!(registration.set_interest(Interest::NONE), Ok(()));
    clear();
    registration.set_interest(Interest::WRITABLE).unwrap();
    script(Call::EpollWait, [Fault::Errno(Errno::EINTR)]);
    let mut events = PollEvents::default();
    for expected in [0, 1] {
        poller.wait(&mut events, None).unwrap();
        assert_eq!(events.iter().count(), expected);
    }
}
