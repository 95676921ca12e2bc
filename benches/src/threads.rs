//! Workloads on two threads. The calling thread sleeps through the warm-up and the duration, and
//! reads the counters before and after. So the clock costs the measured threads nothing.

use std::{
    net::{SocketAddr, UdpSocket},
    panic,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use crate::{
    measure::{Counter, Counters, Failure, LONGEST_WAIT, Mark, Outcome, Params},
    net::ANY_PORT,
};

/// The state that the threads of one round share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The counters. Each is written by one thread.
    pub counters: Counters,
    stop: AtomicBool,
    silent: AtomicBool,
}

impl Shared {
    /// Whether the round is over.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether the round is over and the sender has ended. Receivers wait for it, because a sender
    /// to a closed socket would fail.
    pub fn silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    fn sample(&self, params: &Params) -> Outcome {
        thread::sleep(params.warmup);
        let first = Mark::of(&self.counters, Instant::now());
        let begun = Instant::now();
        thread::sleep(params.duration);
        let latest = begun + params.duration + LONGEST_WAIT;
        let last = loop {
            let mark = Mark::of(&self.counters, Instant::now());
            if first.delivered_until(mark) >= params.at_least || Instant::now() >= latest {
                break mark;
            }
            // Yields the CPU to the measured threads.
            thread::sleep(Duration::from_millis(1));
        };
        self.stop.store(true, Ordering::Relaxed);
        if first.delivered_until(last) < params.at_least {
            return Err(first.too_little(last, params.at_least));
        }
        Ok(first.until(last))
    }
}

/// Runs `receiver` and `sender` on a thread each.
///
/// The receiver sends the address that it is bound to through the channel, then receives until
/// [`silent`](Shared::silent) is true after a datagram: datagrams keep coming until it has
/// returned. The sender sends to that address until [`stopped`](Shared::stopped) is true.
pub fn two_loops<R, S>(params: &Params, receiver: R, sender: S) -> Outcome
where
    R: FnOnce(Arc<Shared>, mpsc::Sender<SocketAddr>) -> Result<(), Failure> + Send,
    S: FnOnce(Arc<Shared>, SocketAddr) -> Result<(), Failure> + Send,
{
    let shared = Arc::new(Shared::default());
    thread::scope(|scope| {
        let (publish, published) = mpsc::channel();
        let receiving = scope.spawn({
            let shared = Arc::clone(&shared);
            move || receiver(shared, publish)
        });
        let Ok(address) = published.recv() else {
            return join(receiving).and(Err(never_started()));
        };
        let sending = scope.spawn({
            let shared = Arc::clone(&shared);
            move || sender(shared, address)
        });
        let measurement = shared.sample(params);
        let sent = join(sending);
        shared.silent.store(true, Ordering::Relaxed);
        wake_until_finished(address, &receiving)?;
        join(receiving).and(sent).and(measurement)
    })
}

/// Sends a datagram every millisecond until the receiver returns, because it may wait for one.
fn wake_until_finished<T>(
    address: SocketAddr,
    receiving: &ScopedJoinHandle<'_, T>,
) -> Result<(), Failure> {
    let socket = UdpSocket::bind(ANY_PORT)?;
    while !receiving.is_finished() {
        // The receiver may have closed its socket: errors are expected.
        let _ = socket.send_to(&[0], address);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Limit and counting of work that another thread posts to a loop.
#[derive(Clone, Copy, Debug)]
pub enum Handover {
    /// Closures: those run are counted as delivered.
    Closures {
        /// Closures posted and not yet run, at most.
        window: u64,
    },
    /// Sends: counted as sent when executed, as delivered when received.
    Sends {
        /// Sends posted and not yet executed, at most.
        window: u64,
    },
}

impl Handover {
    fn window(self) -> u64 {
        match self {
            Handover::Closures { window } | Handover::Sends { window } => window,
        }
    }

    fn done(self, counters: &Counters) -> &Counter {
        match self {
            Handover::Closures { .. } => &counters.delivered,
            Handover::Sends { .. } => &counters.sent,
        }
    }
}

/// Runs a loop on one thread and posts work to it from another.
///
/// `looper` sends the proxy of its loop through the channel and runs until `end` is called. `post`
/// posts one piece of work, which counts itself as [`Handover`] describes. `end` makes the loop
/// return.
///
/// The shared state of a round is leaked (a few hundred bytes). A reference count per posted
/// closure would be most of its cost.
pub fn handover<T, L, P, E>(params: &Params, kind: Handover, looper: L, post: P, end: E) -> Outcome
where
    T: Send,
    L: FnOnce(&'static Shared, mpsc::Sender<T>) -> Result<(), Failure> + Send,
    P: Fn(&'static Shared, &T) + Send,
    E: FnOnce(T) + Send,
{
    let shared: &'static Shared = Box::leak(Box::default());
    thread::scope(|scope| {
        let (publish, published) = mpsc::channel();
        let looping = scope.spawn(move || looper(shared, publish));
        let Ok(remote) = published.recv() else {
            return join(looping).and(Err(never_started()));
        };
        scope.spawn(move || {
            let done = kind.done(&shared.counters);
            let (mut posted, mut limit) = (0, kind.window());
            while !shared.stopped() {
                if posted < limit {
                    post(shared, &remote);
                    posted += 1;
                    continue;
                }
                // Read only when the window is full, because the loop's thread writes it
                // constantly.
                limit = done.get() + kind.window();
                if posted >= limit {
                    thread::yield_now();
                }
            }
            end(remote);
        });
        let measurement = shared.sample(params);
        join(looping).and(measurement)
    })
}

fn join<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle
        .join()
        .unwrap_or_else(|payload| panic::resume_unwind(payload))
}

fn never_started() -> Failure {
    Failure::Unsupported("the loop of the other thread ended before it began".into())
}

/// A queue behind a lock, for a loop that other threads can only wake.
#[derive(Debug)]
pub struct LockedQueue<T>(Mutex<Vec<T>>);

impl<T> Default for LockedQueue<T> {
    fn default() -> LockedQueue<T> {
        LockedQueue(Mutex::default())
    }
}

impl<T> LockedQueue<T> {
    /// Appends `item`. Returns whether the queue was empty: the loop must be woken then.
    pub fn push(&self, item: T) -> bool {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(item);
        queue.len() == 1
    }

    /// Appends the last `item` and calls `wake` under the lock. The loop and its waker may be gone
    /// once the item is taken.
    pub fn push_then(&self, item: T, wake: impl FnOnce()) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(item);
        wake();
    }

    /// Swaps the queue with `batch`, which must be empty. The lock is held once per batch, and both
    /// vectors keep their memory.
    pub fn swap(&self, batch: &mut Vec<T>) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *queue, batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Sender;

    #[test]
    fn both_loops_run_until_the_time_is_up_and_then_return() {
        let measured = two_loops(
            &Params::tiny(),
            |shared, publish| {
                let socket = UdpSocket::bind(ANY_PORT)?;
                let _ = publish.send(socket.local_addr()?);
                let mut buffer = [0; 64];
                while !shared.silent() {
                    socket.recv(&mut buffer)?;
                    shared.counters.delivered.add(1);
                }
                Ok(())
            },
            |shared, address| {
                let socket = UdpSocket::bind(ANY_PORT)?;
                while !shared.stopped() {
                    socket.send_to(b"datagram", address)?;
                    shared.counters.sent.add(1);
                }
                Ok(())
            },
        )
        .unwrap();
        assert!(measured.rate > 0.0);
        assert!(measured.share.unwrap() > 0.0);
    }

    #[test]
    fn a_receiver_that_fails_is_reported() {
        let fail = |_, _| Err(Failure::Unsupported("no such thing".into()));
        let failure = two_loops(&Params::tiny(), fail, |_, _| Ok(())).unwrap_err();
        assert_eq!(failure.to_string(), "no such thing");
    }

    #[test]
    fn work_is_held_back_by_the_window() {
        let queue: Arc<LockedQueue<Option<u64>>> = Arc::default();
        let measured = handover(
            &Params::tiny(),
            Handover::Closures { window: 10 },
            {
                let queue = Arc::clone(&queue);
                move |shared: &'static Shared, publish: Sender<()>| {
                    let _ = publish.send(());
                    let mut batch = Vec::new();
                    loop {
                        queue.swap(&mut batch);
                        assert!(batch.len() <= 11);
                        for item in batch.drain(..) {
                            match item {
                                Some(n) => shared.counters.delivered.add(n),
                                None => return Ok(()),
                            }
                        }
                        thread::yield_now();
                    }
                }
            },
            |_, ()| {
                queue.push(Some(1));
            },
            |()| {
                queue.push(None);
            },
        )
        .unwrap();
        assert!(measured.rate > 0.0);
    }

    #[test]
    fn a_queue_says_when_it_was_empty() {
        let queue = LockedQueue::default();
        assert!(queue.push(1));
        assert!(!queue.push(2));
        let mut batch = Vec::new();
        queue.swap(&mut batch);
        assert_eq!(batch, [1, 2]);
        assert!(queue.push(3));
    }
}
