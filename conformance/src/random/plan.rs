//! The plan: a list of steps that depends on the seed alone.

/// Steps of one world.
pub(super) const MAX_STEPS_OF_WORLD: usize = 250;

/// Handles that exist at once.
pub(super) const HANDLES: usize = 4;
/// Raw sockets. A destination below this number is a raw socket, one above it a handle.
pub(super) const PEERS: usize = 3;
/// Timers that exist at once.
pub(super) const TIMERS: usize = 3;

/// SplitMix64: a small generator whose numbers stay the same in every version of every library.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % end
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// The properties of a world.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) v6: bool,
    /// The smallest buffers that the kernel allows.
    pub(super) tiny_buffers: bool,
    /// All threads on one CPU.
    pub(super) one_cpu: bool,
    /// A timer that is due in every iteration.
    pub(super) ticks: bool,
    /// The loop is dropped with open handles; otherwise every handle is closed.
    pub(super) drops_loop: bool,
    pub(super) steps: Vec<Step>,
}

/// The creation of a handle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin {
    /// Its first call makes the socket.
    Bare,
    ForFamily,
    Bound,
    ReusePort,
    Wildcard,
    AdoptUnbound,
    AdoptBound,
    /// Adopts a socket that is connected to this peer.
    AdoptConnected(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum SendForm {
    Plain,
    /// Of two slices.
    Pieces,
    /// With a type of service, or a time to live.
    Tos,
    Ttl,
    Token,
    /// One message that the kernel cuts.
    Segments,
    /// An empty datagram.
    Empty,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum TryForm {
    One,
    Batch,
    Segments,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum PostForm {
    Send,
    SendTo,
    /// A closure that sends with a callback.
    Closure,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum RecvForm {
    Each,
    Batch,
    /// The callback takes this many datagrams of each batch.
    PartOfBatch(usize),
    Into,
    IntoSmall,
    IntoMany,
    /// Every other request for memory gets none.
    IntoScarce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    NoWait,
    /// With a timer that ends a long wait, as the next one.
    Once,
    Default,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Setting {
    Ttl(u32),
    Tos(u8),
    Broadcast(bool),
    SendBuffer(usize),
    RecvBuffer(usize),
    Mtu(usize),
    RecvTos(bool),
    RecvTtl(bool),
    RecvDestination(bool),
    RecvTimestamp(bool),
    RecvDrops(bool),
    FullReports(bool),
    Source(bool),
    Limit(Option<usize>),
    Drained,
    Referenced(bool),
    Runs(bool),
    /// The number of retransmitted datagrams after an error.
    Retransmit(usize),
    /// Each received datagram causes a disconnect and a connect.
    Restless(bool),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Make(usize, Origin),
    Send {
        handle: usize,
        to: usize,
        length: usize,
        count: usize,
        form: SendForm,
        /// The step in the last send callback.
        then: Option<Box<Step>>,
    },
    Try {
        handle: usize,
        to: usize,
        length: usize,
        count: usize,
        form: TryForm,
    },
    /// By another thread.
    Post {
        handle: usize,
        to: usize,
        length: usize,
        count: usize,
        form: PostForm,
    },
    Connect(usize, usize),
    Disconnect(usize),
    Start(usize, RecvForm),
    Stop(usize),
    Set(usize, Setting),
    /// into_fd, and perhaps a new handle that adopts the socket.
    GiveBack(usize, bool),
    /// A new handle that refuses a descriptor without a UDP socket.
    AdoptWrong(usize),
    Join(usize),
    Leave(usize),
    /// A peer sends to a group.
    HearGroup(usize, usize),
    /// A peer sends to a handle.
    Hear {
        from: usize,
        handle: usize,
        length: usize,
        count: usize,
        /// The step in the receive callback of the middle datagram.
        then: Option<Box<Step>>,
    },
    /// Another thread sends from a peer's socket to a handle.
    HearThread {
        from: usize,
        handle: usize,
        length: usize,
        count: usize,
    },
    PeerDies(usize),
    PeerReturns(usize),
    Timer {
        timer: usize,
        /// Microseconds of work before the start.
        after: u64,
        microseconds: u64,
        repeats: bool,
        then: Option<Box<Step>>,
    },
    /// Work that delays the loop.
    Work(u64),
    /// The number of free descriptors from here on.
    Descriptors(Option<usize>),
    Run(Mode, usize),
    Probe(usize),
    Close(usize),
    Drop(usize),
}

impl Scene {
    pub(super) fn new(seed: u64, steps: usize) -> Self {
        let mut rng = Rng::new(seed);
        let mut scene = Self {
            v6: rng.one_in(2),
            tiny_buffers: rng.one_in(3),
            one_cpu: rng.one_in(2),
            ticks: rng.one_in(2),
            drops_loop: rng.one_in(4),
            steps: Vec::new(),
        };
        let origins = (0..HANDLES).map(|handle| Step::Make(handle, origin(&mut rng)));
        scene.steps.extend(origins.collect::<Vec<_>>());
        if rng.one_in(3) {
            scene.steps.extend(restless(&mut rng));
        }
        let count = steps.min(MAX_STEPS_OF_WORLD);
        scene.steps.extend((0..count).map(|_| step(&mut rng)));
        scene
    }
}

/// A handle that reconnects with each waiting datagram.
fn restless(rng: &mut Rng) -> Vec<Step> {
    let (handle, from) = (0, rng.below(PEERS));
    let mut steps = vec![
        Step::Set(handle, Setting::Restless(true)),
        Step::Connect(handle, from),
        Step::Start(handle, recv_form(rng)),
    ];
    for _ in 0..1 + rng.below(4) {
        let hear = |length, count| Step::Hear {
            from,
            handle,
            length,
            count,
            then: None,
        };
        steps.extend((0..3).map(|_| hear(length(rng).min(1_500), count(rng))));
        steps.push(Step::Run(Mode::NoWait, 3));
    }
    steps
}

fn origin(rng: &mut Rng) -> Origin {
    match rng.below(10) {
        0 => Origin::Bare,
        1 => Origin::ForFamily,
        2 => Origin::ReusePort,
        3 => Origin::Wildcard,
        4 => Origin::AdoptUnbound,
        5 => Origin::AdoptBound,
        6 => Origin::AdoptConnected(rng.below(PEERS)),
        _ => Origin::Bound,
    }
}

fn length(rng: &mut Rng) -> usize {
    let (from, to) = rng.pick(&[
        (16, 17),
        (16, 60),
        (16, 60),
        (1_000, 1_500),
        (1_200, 1_201),
        (4_000, 9_000),
        (60_000, 65_508),
    ]);
    from + rng.below(to - from)
}

fn count(rng: &mut Rng) -> usize {
    match rng.below(6) {
        0 | 1 => 1,
        2 | 3 => 1 + rng.below(4),
        4 => 5 + rng.below(20),
        _ => 20 + rng.below(60),
    }
}

fn destination(rng: &mut Rng) -> usize {
    if rng.one_in(4) {
        PEERS + rng.below(HANDLES)
    } else {
        rng.below(PEERS)
    }
}

fn send_form(rng: &mut Rng) -> SendForm {
    match rng.below(12) {
        0 => SendForm::Pieces,
        1 => SendForm::Tos,
        2 => SendForm::Ttl,
        3 => SendForm::Token,
        4 | 5 => SendForm::Segments,
        6 => SendForm::Empty,
        _ => SendForm::Plain,
    }
}

fn recv_form(rng: &mut Rng) -> RecvForm {
    match rng.below(8) {
        0 | 1 => RecvForm::Each,
        2 => RecvForm::Batch,
        3 => RecvForm::PartOfBatch(rng.below(4)),
        4 => RecvForm::Into,
        5 => RecvForm::IntoSmall,
        6 => RecvForm::IntoMany,
        _ => RecvForm::IntoScarce,
    }
}

fn setting(rng: &mut Rng) -> Setting {
    let on = rng.one_in(2);
    match rng.below(21) {
        0 => Setting::Ttl(1 + u32::try_from(rng.below(255)).unwrap_or(0)),
        1 => Setting::Tos(u8::try_from(rng.below(64) << 2).unwrap_or(0)),
        2 => Setting::Broadcast(on),
        3 => Setting::SendBuffer(rng.pick(&[1, 4_000, 100_000])),
        4 => Setting::RecvBuffer(rng.pick(&[1, 4_000, 100_000])),
        5 => Setting::Mtu(rng.below(3)),
        6 => Setting::RecvTos(on),
        7 => Setting::RecvTtl(on),
        8 => Setting::RecvDestination(on),
        9 => Setting::RecvTimestamp(on),
        10 => Setting::RecvDrops(on),
        11 | 12 => Setting::FullReports(on),
        13 => Setting::Source(on),
        14 => Setting::Limit(on.then(|| rng.below(100_000))),
        15 => Setting::Drained,
        16 => Setting::Referenced(on),
        17 => Setting::Runs(on),
        18 | 19 => Setting::Restless(on),
        _ => Setting::Retransmit(rng.below(3)),
    }
}

/// The step in a callback, in one of three cases, mostly on the same handle.
fn reaction(rng: &mut Rng, own: usize) -> Option<Box<Step>> {
    if !rng.one_in(3) {
        return None;
    }
    let handle = if rng.one_in(4) {
        rng.below(HANDLES)
    } else {
        own
    };
    Some(Box::new(match rng.below(12) {
        0..=2 => send(rng, handle, None),
        3 => attempt(rng, handle),
        4 | 5 => Step::Connect(handle, destination(rng)),
        6 => Step::Disconnect(handle),
        7 => Step::Start(handle, recv_form(rng)),
        8 => Step::Stop(handle),
        9 => Step::Set(handle, setting(rng)),
        10 => timer(rng, None),
        _ => rng.pick(&[
            Step::Close as fn(usize) -> Step,
            Step::Drop,
            Step::Disconnect,
            |handle| Step::GiveBack(handle, true),
        ])(handle),
    }))
}

fn timer(rng: &mut Rng, then: Option<Box<Step>>) -> Step {
    Step::Timer {
        timer: rng.below(TIMERS),
        after: rng.below(300) as u64,
        microseconds: rng.below(3_000) as u64,
        repeats: rng.one_in(3),
        then,
    }
}

fn send(rng: &mut Rng, handle: usize, then: Option<Box<Step>>) -> Step {
    Step::Send {
        handle,
        to: destination(rng),
        length: length(rng),
        count: count(rng),
        form: send_form(rng),
        then,
    }
}

fn attempt(rng: &mut Rng, handle: usize) -> Step {
    Step::Try {
        handle,
        to: destination(rng),
        length: length(rng),
        count: count(rng),
        form: rng.pick(&[TryForm::One, TryForm::Batch, TryForm::Segments]),
    }
}

fn step(rng: &mut Rng) -> Step {
    let handle = rng.below(HANDLES);
    match rng.below(100) {
        0..18 => {
            let then = reaction(rng, handle);
            send(rng, handle, then)
        }
        18..24 => attempt(rng, handle),
        24..30 => Step::Post {
            handle,
            to: destination(rng),
            length: length(rng),
            count: count(rng),
            form: rng.pick(&[PostForm::Send, PostForm::SendTo, PostForm::Closure]),
        },
        30..38 => Step::Connect(handle, destination(rng)),
        38..43 => Step::Disconnect(handle),
        43..50 => Step::Start(handle, recv_form(rng)),
        50..53 => Step::Stop(handle),
        53..58 => Step::Set(handle, setting(rng)),
        58..60 => Step::GiveBack(handle, !rng.one_in(3)),
        60 => Step::AdoptWrong(rng.below(3)),
        61 => Step::Join(handle),
        62 => Step::Leave(handle),
        63 => Step::HearGroup(rng.below(PEERS), handle),
        64..66 => Step::HearThread {
            from: rng.below(PEERS),
            handle,
            length: length(rng).min(2_000),
            count: 10 * count(rng),
        },
        66..76 => Step::Hear {
            from: rng.below(PEERS),
            handle,
            length: length(rng),
            count: count(rng),
            then: reaction(rng, handle),
        },
        76 => Step::PeerDies(rng.below(PEERS)),
        77..79 => Step::PeerReturns(rng.below(PEERS)),
        79..82 => {
            let then = reaction(rng, handle);
            timer(rng, then)
        }
        82 => Step::Work(rng.below(2_000) as u64),
        83 => Step::Descriptors(if rng.one_in(2) {
            Some(rng.below(3))
        } else {
            None
        }),
        84..86 => Step::Probe(handle),
        86 => Step::Close(handle),
        87 => Step::Drop(handle),
        88..91 => Step::Make(handle, origin(rng)),
        _ => {
            let mode = rng.pick(&[Mode::NoWait, Mode::NoWait, Mode::Once, Mode::Default]);
            Step::Run(mode, 1 + rng.below(4))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_depends_on_its_seed_alone() {
        let shown = |seed| format!("{:?}", Scene::new(seed, 100));
        assert_eq!(shown(7), shown(7));
        assert_ne!(shown(7), shown(8));
    }
}
