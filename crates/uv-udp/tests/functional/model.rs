//! Any interleaving of calls, arrivals and refusals by the kernel, against a model: what a handle promises of callbacks,
//! order, peers and strangers holds in all of them.

use proptest::prelude::*;
use uv_sys::fault::{Call, Fault};
use uv_udp::Errno;

use super::harness::loopbacks;

mod incoming;
mod outgoing;
mod world;

/// Receivers that exist. Behind them, as one more destination, is a port where nobody listens.
const PEERS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// As many equal datagrams in a row, to the peer or else there. In the last one's callback something more is done.
    Send {
        to: usize,
        length: usize,
        count: usize,
        then: Option<Box<Step>>,
    },
    TrySend {
        to: usize,
        length: usize,
    },
    TryBatch(Vec<(usize, usize)>),
    TrySegments {
        to: usize,
        size: usize,
        length: usize,
    },
    /// With a destination on a connected handle, without one on another.
    WrongSend,
    Connect(usize),
    Disconnect,
    RecvStart(Form),
    RecvStop,
    /// As many datagrams that come in. In the callback that gets one in their middle something more is done.
    Hear {
        from: usize,
        length: usize,
        count: usize,
        then: Option<Box<Step>>,
    },
    /// As many iterations of the loop.
    Run(usize),
    /// What the next system calls of a kind answer.
    Fail(Call, Vec<Fault>),
    Close,
}

/// The ways to receive.
#[derive(Clone, Copy, Debug)]
enum Form {
    Each,
    Batch,
    Into,
}

fn to() -> impl Strategy<Value = usize> {
    0..=PEERS
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => Just(0_usize),
        6 => 1..40_usize,
        3 => 1_000..1_500_usize,
        2 => 4_000..9_000_usize,
        1 => 60_000..=65_507_usize,
    ]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(1_usize), 2 => 2..5_usize, 1 => 5..80_usize]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Each), Just(Form::Batch), Just(Form::Into)]
}

/// What the kernel may answer to a call. It says that there is nothing to receive, or little, only when that is so: the handle
/// relies on it.
fn fail() -> impl Strategy<Value = Step> {
    let errno = |errno| Just(Fault::Errno(errno));
    let send = prop_oneof![
        3 => Just(Fault::Pass),
        2 => errno(Errno::EAGAIN),
        1 => errno(Errno::ENOBUFS),
        2 => errno(Errno::ECONNREFUSED),
        2 => errno(Errno::EMSGSIZE),
        1 => errno(Errno::EIO),
        1 => errno(Errno::EPERM),
        2 => (1..5_usize).prop_map(Fault::Partial),
    ];
    let connect = prop_oneof![Just(Fault::Pass), errno(Errno::ENETUNREACH)];
    let receive = prop_oneof![Just(Fault::Pass), errno(Errno::ECONNREFUSED)];
    let calls = |calls: &'static [Call]| prop::sample::select(calls);
    let faults = |fault: BoxedStrategy<Fault>| prop::collection::vec(fault, 1..5);
    prop_oneof![
        6 => (calls(&[Call::Sendmsg, Call::Sendmmsg]), faults(send.boxed())),
        1 => (calls(&[Call::Connect]), faults(connect.boxed())),
        1 => (calls(&[Call::Recvmsg, Call::Recvmmsg]), faults(receive.boxed())),
    ]
    .prop_map(|(call, faults)| Step::Fail(call, faults))
}

/// What is done in a callback: something in so many cases to three.
fn reaction(often: u32) -> impl Strategy<Value = Option<Box<Step>>> {
    let step = prop_oneof![
        6 => (to(), length(), 1..4_usize)
            .prop_map(|(to, length, count)| Step::Send { to, length, count, then: None }),
        3 => (to(), length()).prop_map(|(to, length)| Step::TrySend { to, length }),
        3 => to().prop_map(Step::Connect),
        2 => Just(Step::Disconnect),
        2 => form().prop_map(Step::RecvStart),
        2 => Just(Step::RecvStop),
        2 => fail(),
        1 => Just(Step::Close),
    ];
    prop_oneof![3 => Just(None), often => step.prop_map(|step| Some(Box::new(step)))]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (to(), length(), count(), reaction(1))
            .prop_map(|(to, length, count, then)| Step::Send { to, length, count, then }),
        3 => (to(), length()).prop_map(|(to, length)| Step::TrySend { to, length }),
        2 => prop::collection::vec((to(), length()), 1..8).prop_map(Step::TryBatch),
        2 => (to(), 1..1_500_usize, 1..20_000_usize)
            .prop_map(|(to, size, length)| Step::TrySegments { to, size, length }),
        1 => Just(Step::WrongSend),
        4 => to().prop_map(Step::Connect),
        3 => Just(Step::Disconnect),
        5 => form().prop_map(Step::RecvStart),
        2 => Just(Step::RecvStop),
        6 => (0..PEERS, 4..500_usize, 1..30_usize, reaction(5))
            .prop_map(|(from, length, count, then)| Step::Hear { from, length, count, then }),
        8 => (1..4_usize).prop_map(Step::Run),
        6 => fail(),
    ]
}

proptest! {
    // A case in which something never comes takes a while, and there are many on the way to the smallest one.
    #![proptest_config(ProptestConfig {
        cases: 200,
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_in_whatever_order_the_promises_hold(
        v6 in any::<bool>(),
        coalesces in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
        closes in any::<bool>(),
    ) {
        let loopbacks = loopbacks();
        let ip = loopbacks[usize::from(v6) % loopbacks.len()];
        // Half of the handles are closed with whatever is under way, the others when all has come to rest.
        prop_assert_eq!(world::World::play(ip, coalesces, &steps, closes), Ok(()));
    }
}
