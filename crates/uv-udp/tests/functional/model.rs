//! Random interleavings of calls, arriving datagrams and errors of the kernel, checked against a
//! model of the promises: callbacks, order, peers, filtering.

use proptest::prelude::*;
use uv_sys::fault::{Call, Fault};
use uv_udp::Errno;

use super::harness::loopbacks;

mod incoming;
mod outgoing;
mod world;

/// Existing receivers. The last destination, after them, is a closed port.
const PEERS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// Equal datagrams in a row, to the peer or to `to`, perhaps with an odd one among them. The
    /// last one's callback does the next step.
    Send {
        to: usize,
        length: usize,
        count: usize,
        odd: Option<(usize, Odd)>,
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
    /// Arriving datagrams. The callback of one in their middle does the next step.
    Hear {
        from: usize,
        length: usize,
        count: usize,
        then: Option<Box<Step>>,
    },
    /// Iterations of the loop.
    Run(usize),
    /// The results of the next system calls of a kind.
    Fail(Call, Vec<Fault>),
    /// The limit of the queue in bytes, from here on.
    Limit(Option<usize>),
    /// Whether there is a default source, from here on.
    Source(bool),
    Close,
}

/// The difference of an odd datagram.
#[derive(Clone, Copy, Debug)]
enum Odd {
    Length(usize),
    /// Another destination, without a peer.
    To(usize),
    /// It has an option of its own.
    Tos,
    /// Its payload is a list of slices.
    Pieces,
}

/// The ways to receive.
#[derive(Clone, Copy, Debug)]
enum Form {
    Each,
    Batch,
    Into,
    IntoMany,
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

fn odd(count: usize) -> impl Strategy<Value = Option<(usize, Odd)>> {
    let odd = prop_oneof![
        3 => length().prop_map(Odd::Length),
        2 => to().prop_map(Odd::To),
        1 => Just(Odd::Tos),
        1 => Just(Odd::Pieces),
    ];
    prop::option::of((1..=count, odd))
}

/// Datagrams in a row. An odd one is mostly among equal ones.
fn burst(then: BoxedStrategy<Option<Box<Step>>>) -> impl Strategy<Value = Step> {
    let counted = count().prop_flat_map(|count| (Just(count), odd(count)));
    (to(), length(), counted, then).prop_map(|(to, length, (count, odd), then)| Step::Send {
        to,
        length,
        count,
        odd,
        then,
    })
}

fn setting() -> impl Strategy<Value = Step> {
    let limit = prop_oneof![0..2_000_usize, 2_000..100_000_usize];
    prop_oneof![
        prop::option::of(limit).prop_map(Step::Limit),
        any::<bool>().prop_map(Step::Source),
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        Just(Form::Each),
        Just(Form::Batch),
        Just(Form::Into),
        Just(Form::IntoMany)
    ]
}

/// The results that the kernel may return. It never returns too few datagrams, because the handle
/// relies on that.
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

/// The step in a callback, in `often` of `often + 3` cases.
fn reaction(often: u32) -> impl Strategy<Value = Option<Box<Step>>> {
    let step = prop_oneof![
        6 => burst(Just(None).boxed()),
        3 => (to(), length()).prop_map(|(to, length)| Step::TrySend { to, length }),
        3 => to().prop_map(Step::Connect),
        2 => Just(Step::Disconnect),
        2 => form().prop_map(Step::RecvStart),
        2 => Just(Step::RecvStop),
        2 => fail(),
        1 => setting(),
        1 => Just(Step::Close),
    ];
    prop_oneof![3 => Just(None), often => step.prop_map(|step| Some(Box::new(step)))]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => burst(reaction(1).boxed()),
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
        // Rarely: with metadata, a handle inspects each datagram.
        1 => setting(),
    ]
}

proptest! {
    // A case that times out takes a while, and shrinking has many of them.
    #![proptest_config(ProptestConfig {
        max_shrink_time: 60_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_calls_keep_the_promises(
        v6 in any::<bool>(),
        coalesces in any::<bool>(),
        steps in prop::collection::vec(step(), 1..40),
        closes in any::<bool>(),
    ) {
        let loopbacks = loopbacks();
        let ip = loopbacks[usize::from(v6) % loopbacks.len()];
        // Half of the handles are closed with pending sends, the others after all completions.
        prop_assert_eq!(world::World::play(ip, coalesces, &steps, closes), Ok(()));
    }
}
