use uv_sys::fault::{Call, Fault, calls, clear, script};
use uv_sys::{
    Errno, Family, RecvBatch, RecvOptions, SendBatch, Transmit, bind, connect, disconnect, recvmsg,
    sendmsg, socket,
};

use crate::util::{bound, ephemeral, nobody, pair, wait_readable};

#[test]
fn a_script_is_taken_step_by_step() {
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
fn scripts_are_of_one_thread_and_can_be_dropped() {
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
