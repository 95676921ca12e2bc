//! The request queue.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use proptest::prelude::*;
use uv_core::{Errno, Payload, Pending, Pool, RequestQueue, Result};

const CHUNK: usize = 64 * 1024;

fn queue<T: PartialEq, C>() -> RequestQueue<T, C> {
    RequestQueue::new(Rc::default())
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|index| (index + seed) as u8).collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// This many requests, with a tag, and in slices of these lengths.
    Push(u8, Vec<usize>, usize),
    PushCompleted(usize),
    Complete(usize, bool),
    Cancel,
    Pop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![
        6 => 0..200_usize,
        2 => 1_000..5_000_usize,
        1 => 30_000..70_000_usize,
    ];
    let count = prop_oneof![3 => Just(1_usize), 1 => 2..12_usize];
    prop_oneof![
        10 => (0..2_u8, prop::collection::vec(len, 0..4), count)
            .prop_map(|(tag, len, count)| Step::Push(tag, len, count)),
        1 => (0..5_000_usize).prop_map(Step::PushCompleted),
        4 => (0..20_usize, any::<bool>()).prop_map(|(count, well)| Step::Complete(count, well)),
        1 => Just(Step::Cancel),
        4 => (1..20_usize).prop_map(Step::Pop),
    ]
}

struct Request {
    name: usize,
    tag: u8,
    bytes: Vec<u8>,
}

/// The model: a simple queue.
#[derive(Default)]
struct Model {
    pending: VecDeque<Request>,
    completed: VecDeque<(usize, usize, Result<()>)>,
    accepted: usize,
}

impl Model {
    fn bytes(&self) -> usize {
        let pending: usize = self.pending.iter().map(|request| request.bytes.len()).sum();
        let completed: usize = self.completed.iter().map(|(_, len, _)| len).sum();
        pending + completed
    }

    fn complete(&mut self, count: usize, result: Result<()>) {
        for request in self.pending.drain(..count.min(self.pending.len())) {
            self.completed
                .push_back((request.name, request.bytes.len(), result));
        }
    }
}

proptest! {
    #[test]
    fn a_queue_behaves_as_a_simple_model(steps in prop::collection::vec(step(), 1..50)) {
        let mut queue = queue();
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Push(tag, lengths, count) => for _ in 0..count {
                    let name = model.accepted;
                    model.accepted += 1;
                    let bytes = bytes(lengths.iter().sum(), name);
                    let mut rest = bytes.as_slice();
                    let slices: Vec<_> = lengths
                        .iter()
                        .map(|len| {
                            let (slice, after) = rest.split_at(*len);
                            rest = after;
                            IoSlice::new(slice)
                        })
                        .collect();
                    // `push_alike` succeeds mostly from the second equal request on.
                    let alike = match slices.as_slice() {
                        [slice] if name % 8 > 0 => queue.push_alike(slice, &tag, name),
                        _ => Err(name),
                    };
                    let accepted = alike.or_else(|name| {
                        queue.push(Payload::Slices(&slices), tag, name)
                    });
                    prop_assert_eq!(accepted, Ok(()));
                    model.pending.push_back(Request { name, tag, bytes });
                }
                Step::PushCompleted(len) => {
                    let name = model.accepted;
                    model.accepted += 1;
                    queue.push_completed(len, name, Ok(()));
                    model.completed.push_back((name, len, Ok(())));
                }
                Step::Complete(count, well) => {
                    let result = if well { Ok(()) } else { Err(Errno::ENOBUFS) };
                    queue.complete(count, result);
                    model.complete(count, result);
                }
                Step::Cancel => {
                    queue.cancel(Errno::ECANCELED);
                    model.complete(usize::MAX, Err(Errno::ECANCELED));
                }
                Step::Pop(count) => for _ in 0..count {
                    let popped = model.completed.pop_front().map(|(name, _, result)| (name, result));
                    prop_assert_eq!(queue.pop_completed(), popped);
                }
            }
            prop_assert_eq!(queue.pending_count(), model.pending.len());
            prop_assert_eq!(queue.completed_count(), model.completed.len());
            prop_assert_eq!(queue.count(), model.pending.len() + model.completed.len());
            prop_assert_eq!(queue.bytes(), model.bytes());
            for width in [1, 3, usize::MAX] {
                check_walk(&queue, &model, width)?;
            }
        }
        model.complete(usize::MAX, Err(Errno::ECANCELED));
        queue.cancel(Errno::ECANCELED);
        for (name, _, result) in model.completed {
            prop_assert_eq!(queue.pop_completed(), Some((name, result)));
        }
        prop_assert_eq!((queue.count(), queue.bytes(), queue.pop_completed()), (0, 0, None));
    }
}

/// A walk returns every pending request once and in order, at most `width` of one run at a time.
fn check_walk(
    queue: &RequestQueue<u8, usize>,
    model: &Model,
    width: usize,
) -> std::result::Result<(), TestCaseError> {
    let mut walk = queue.pending();
    let mut left = model.pending.iter();
    while let Some(run) = walk.peek() {
        prop_assert!(run.count > 0);
        prop_assert!(walk.take(0).is_none());
        prop_assert!(walk.take(run.count + 1).is_none());
        prop_assert!(walk.take(usize::MAX).is_none());
        let count = width.min(run.count);
        let mut expected = Vec::new();
        for (index, request) in left.by_ref().take(count).enumerate() {
            let len = request.bytes.len();
            let last = index + 1 == run.count && index > 0 && len > 0;
            prop_assert_eq!(request.tag, *run.tag);
            prop_assert!(
                len == run.size || (last && len < run.size),
                "{} in {:?}",
                len,
                run
            );
            expected.extend_from_slice(&request.bytes);
        }
        prop_assert_eq!(walk.take(count), Some(expected.as_slice()));
    }
    prop_assert!(left.next().is_none());
    prop_assert!(walk.take(1).is_none());
    Ok(())
}

#[test]
fn requests_with_equal_tags_form_one_run_with_adjacent_payloads() {
    let mut queue = queue::<&str, ()>();
    for round in 0..3 {
        for index in 0..40 {
            queue
                .push(Payload::from(&[index; 1_200]), "tag", ())
                .unwrap();
        }
        // From the second round on, the queue starts with a large chunk.
        if round > 0 {
            let mut walk = queue.pending();
            assert_eq!(run(&walk), Some(("tag", 40, 1_200)));
            assert_eq!(walk.take(40).unwrap().len(), 48_000);
            assert!(walk.peek().is_none());
        }
        queue.complete(40, Ok(()));
    }
}

/// Tag, count and size of each run.
fn run<T: Copy, C>(walk: &Pending<'_, T, C>) -> Option<(T, usize, usize)> {
    walk.peek().map(|run| (*run.tag, run.count, run.size))
}

/// The runs of a queue of requests with these tags and payload lengths.
fn runs<T: Copy + PartialEq>(requests: &[(T, usize)]) -> Vec<(T, usize, usize)> {
    let mut queue = queue();
    for (tag, len) in requests {
        queue
            .push(Payload::from(&bytes(*len, 0)), *tag, ())
            .unwrap();
    }
    let mut walk = queue.pending();
    std::iter::from_fn(|| {
        let run = run(&walk)?;
        walk.take(run.1).map(|_| run)
    })
    .collect()
}

#[test]
fn a_run_ends_before_another_tag() {
    assert_eq!(
        runs(&[("a", 2), ("a", 2), ("b", 2), ("a", 2)]),
        [("a", 2, 2), ("b", 1, 2), ("a", 1, 2)]
    );
}

#[test]
fn a_run_ends_with_the_first_shorter_payload_and_before_a_longer_or_empty_one() {
    let lengths = |lengths: &[usize]| {
        let requests: Vec<_> = lengths.iter().map(|len| ((), *len)).collect();
        let runs = runs(&requests);
        runs.iter()
            .map(|((), count, size)| (*count, *size))
            .collect::<Vec<_>>()
    };
    assert_eq!(lengths(&[5, 5, 5]), [(3, 5)]);
    assert_eq!(lengths(&[5, 5, 3, 3]), [(3, 5), (1, 3)]);
    assert_eq!(lengths(&[5, 5, 3, 5]), [(3, 5), (1, 5)]);
    assert_eq!(lengths(&[5, 6]), [(1, 5), (1, 6)]);
    assert_eq!(lengths(&[5, 0, 0, 5]), [(1, 5), (2, 0), (1, 5)]);
}

#[test]
fn push_alike_requires_the_same_length_and_tag() {
    let mut queue = queue();
    assert_eq!(
        queue.push_alike(b"one", &"a", 1),
        Err(1),
        "nothing is pending"
    );
    queue.push(Payload::from("one"), "a", 1).unwrap();
    assert_eq!(queue.push_alike(b"two", &"a", 2), Ok(()));
    assert_eq!(queue.push_alike(b"three", &"a", 3), Err(3));
    assert_eq!(queue.push_alike(b"six", &"b", 6), Err(6));
    assert_eq!(run(&queue.pending()), Some(("a", 2, 3)));
    queue.push(Payload::from("x"), "a", 4).unwrap();
    assert_eq!(queue.push_alike(b"y", &"a", 5), Err(5), "the run has ended");
    queue.cancel(Errno::ECANCELED);
    assert_eq!(
        queue.push_alike(b"y", &"a", 5),
        Err(5),
        "nothing is pending any more"
    );
    assert_eq!((queue.count(), queue.bytes()), (3, 7));
}

#[test]
fn the_rest_of_a_run_is_a_run() {
    let mut queue = queue::<(), ()>();
    for payload in ["aaa", "bbb", "ccc", "d"] {
        queue.push(Payload::from(payload), (), ()).unwrap();
    }
    queue.complete(1, Ok(()));
    let mut walk = queue.pending();
    assert_eq!(run(&walk), Some(((), 3, 3)));
    assert_eq!(walk.take(1), Some(&b"bbb"[..]));
    assert_eq!(run(&walk), Some(((), 2, 3)));
    assert_eq!(walk.take(2), Some(&b"cccd"[..]));
    queue.complete(2, Ok(()));
    // No payload joins a run after a shorter one.
    queue.push(Payload::from("e"), (), ()).unwrap();
    let mut walk = queue.pending();
    for payload in ["d", "e"] {
        assert_eq!(run(&walk).map(|run| run.2), Some(1));
        assert_eq!(walk.take(1), Some(payload.as_bytes()));
    }
}

#[test]
fn completing_an_empty_queue_does_nothing() {
    let mut queue = queue::<(), ()>();
    queue.complete(1, Ok(()));
    queue.cancel(Errno::ECANCELED);
    assert_eq!((queue.count(), queue.bytes()), (0, 0));
    assert!(queue.pop_completed().is_none());
    assert!(queue.pending().peek().is_none());
}

#[test]
fn an_empty_payload_is_a_request_like_any_other() {
    let mut queue = queue::<(), &str>();
    queue.push(Payload::from(b""), (), "empty").unwrap();
    queue.push(Payload::from(b"x"), (), "not").unwrap();
    let mut walk = queue.pending();
    assert_eq!(walk.take(1), Some(&b""[..]));
    assert_eq!(walk.take(1), Some(&b"x"[..]));
    assert_eq!((queue.count(), queue.bytes()), (2, 1));
    queue.complete(1, Ok(()));
    assert_eq!(queue.pop_completed(), Some(("empty", Ok(()))));
}

/// Bytes that `f` leaves allocated.
fn kept(f: impl FnMut()) -> i64 {
    allocation_counter::measure(f).bytes_current
}

fn drain(queue: &mut RequestQueue<(), ()>) {
    queue.cancel(Errno::ECANCELED);
    while queue.pop_completed().is_some() {}
}

#[test]
fn memory_is_reused_by_all_queues_of_a_pool() {
    let pool = Rc::new(Pool::default());
    let mut queues: [_; 3] = std::array::from_fn(|_| RequestQueue::new(Rc::clone(&pool)));
    let mut fill_and_drain = || {
        for queue in &mut queues {
            for _ in 0..200 {
                queue.push(Payload::from(&[7; 1_200]), (), ()).unwrap();
            }
            drain(queue);
        }
    };
    for _ in 0..2 {
        fill_and_drain();
    }
    let allocated = allocation_counter::measure(fill_and_drain);
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}

#[test]
fn a_queue_that_never_empties_reuses_its_memory() {
    let mut queue = queue::<(), ()>();
    let mut pass = || {
        for _ in 0..1_000 {
            queue.push(Payload::from(&[7; 900]), (), ()).unwrap();
            if queue.count() > 10 {
                queue.complete(1, Ok(()));
                assert_eq!(queue.pop_completed(), Some(((), Ok(()))));
            }
        }
    };
    pass();
    let allocated = allocation_counter::measure(pass);
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}

#[test]
fn a_drained_queue_returns_its_chunks_to_the_pool() {
    let pool = Rc::new(Pool::default());
    let mut first = RequestQueue::<(), ()>::new(Rc::clone(&pool));
    first.push(Payload::from(&[1; 100]), (), ()).unwrap();
    first.complete(1, Ok(()));
    let mut second = RequestQueue::<(), ()>::new(pool);
    let allocated = allocation_counter::measure(|| {
        second.push(Payload::from(&[2; 100]), (), ()).unwrap();
    });
    assert!(allocated.bytes_total < 4 * 1024, "{allocated:?}");
    assert_eq!(first.pop_completed(), Some(((), Ok(()))));
}

#[test]
fn a_pool_keeps_a_bounded_amount_of_memory() {
    let mut queue = queue();
    let payload = bytes(CHUNK, 0);
    let kept = kept(|| {
        for _ in 0..100 {
            queue.push(Payload::from(&payload), (), ()).unwrap();
        }
        drain(&mut queue);
    });
    assert!(kept < 2 * 16 * CHUNK as i64, "{kept}");
}

#[test]
fn a_drained_queue_frees_the_memory_of_many_requests() {
    const MANY: usize = 200_000;
    let mut queue = queue::<usize, [usize; 4]>();
    let kept = kept(|| {
        for tag in 0..MANY {
            queue.push(Payload::from(b"x"), tag, [tag; 4]).unwrap();
        }
        for _ in 0..MANY / 50 {
            queue.complete(50, Ok(()));
            while queue.pop_completed().is_some() {}
        }
        assert_eq!(queue.count(), 0);
    });
    assert!(kept < 2 << 20, "{kept}");
}

#[test]
fn a_pool_frees_the_chunk_of_a_huge_payload() {
    let mut queue = queue();
    let payload = bytes(100 * CHUNK, 0);
    let kept = kept(|| {
        queue.push(Payload::from(&payload), (), ()).unwrap();
        assert_eq!(queue.pending().take(1), Some(payload.as_slice()));
        drain(&mut queue);
    });
    assert!(kept < 2 * CHUNK as i64, "{kept}");
}
