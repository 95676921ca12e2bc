//! Requests: accepted operations with a payload, each of which completes exactly once and in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::rc::Rc;

use uv_sys::{Errno, Payload, Result};

/// Bytes in a chunk of a queue that is or lately was long: what one system call may carry.
const LARGE_CHUNK: usize = 64 * 1024;
/// Bytes in the first chunk of a queue that stays short, so that many handles with little to send need little memory.
const SMALL_CHUNK: usize = 4 * 1024;
/// Free chunks that a pool keeps of each size; more are given back to the allocator. 16 large ones are 1 MiB, or 2 where
/// payloads were larger than a chunk.
const KEPT_CHUNKS: usize = 16;
/// Requests, and runs of them, that an empty queue has room for; what it needed for more is given back.
const KEPT_REQUESTS: usize = 4096;

/// Memory for the payloads of all queues of a loop: chunks that come back are handed out again. A loop has one, as
/// [`event_loop.local(Pool::default)`](crate::Loop::local).
#[derive(Default)]
pub struct Pool {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
}

impl Pool {
    fn size(&self, large: bool) -> (&RefCell<Vec<Vec<u8>>>, usize) {
        if large {
            (&self.large, LARGE_CHUNK)
        } else {
            (&self.small, SMALL_CHUNK)
        }
    }

    fn take(&self, large: bool) -> Vec<u8> {
        let (free, size) = self.size(large);
        let chunk = free.borrow_mut().pop();
        chunk.unwrap_or_else(|| Vec::with_capacity(size))
    }

    fn give_back(&self, mut chunk: Vec<u8>) {
        if chunk.capacity() == 0 || chunk.capacity() > 2 * LARGE_CHUNK {
            // None at all, or made for one huge payload.
            return;
        }
        let (free, _) = self.size(chunk.capacity() >= LARGE_CHUNK);
        let mut free = free.borrow_mut();
        if free.len() < KEPT_CHUNKS {
            chunk.clear();
            free.push(chunk);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (small, large) = (self.small.borrow().len(), self.large.borrow().len());
        f.debug_struct("Pool")
            .field("small", &small)
            .field("large", &large)
            .finish()
    }
}

/// Requests in the order of acceptance: *pending* until the operation was done or given up, then *completed* until their
/// callback is called.
///
/// Payloads are copied once, back to back, so that several pending ones can be handed to the kernel as one stretch of
/// bytes ([`pending`](Self::pending)). `T` is what it takes to carry out a request beside its payload, as a destination; it
/// is kept once for each [`PendingRun`] of requests that agree on it. `C` is what it takes to complete a request: its callback.
///
/// ```
/// use uv_core::{Errno, Loop, Pool, RequestQueue, PendingRun};
///
/// let event_loop = Loop::new()?;
/// let mut queue = RequestQueue::new(event_loop.local(Pool::default));
/// for (payload, peer, callback) in [("one", "a", 1), ("two", "a", 2), ("three", "b", 3)] {
///     queue.push(payload.into(), peer, callback)?;
/// }
///
/// let mut walk = queue.pending();
/// assert_eq!(walk.peek(), Some(PendingRun { tag: &"a", count: 2, size: 3 }));
/// assert_eq!(walk.take(2), Some(&b"onetwo"[..]));
///
/// // Two were sent; what is left is given up.
/// queue.complete(2, Ok(()));
/// queue.cancel(Errno::ECANCELED);
/// let results: Vec<_> = std::iter::from_fn(|| queue.pop_completed()).collect();
/// assert_eq!(results, [(1, Ok(())), (2, Ok(())), (3, Err(Errno::ECANCELED))]);
/// # Ok::<(), Errno>(())
/// ```
pub struct RequestQueue<T, C> {
    /// All requests, of which the first `completed` ones are completed.
    requests: VecDeque<Request<C>>,
    completed: usize,
    /// The pending requests once more, run by run.
    runs: VecDeque<RunLocation<T>>,
    /// The youngest chunk, with the youngest run; without capacity while there is none.
    last: Vec<u8>,
    /// Those before it that are still needed, and how many were before those.
    full: VecDeque<Vec<u8>>,
    spent: usize,
    /// Whether one chunk was not enough since the queue was last drained.
    spilled: bool,
    /// Whether a small chunk was not enough the last time: then the first chunk is a large one at once.
    large: bool,
    /// The only number that both ends of the queue count in: two side by side would be added to as one vector, for which
    /// the CPU waits until what the other end stored in one of them is in memory.
    bytes: usize,
    pool: Rc<Pool>,
}

struct Request<C> {
    len: u32,
    /// Meaningless while it is pending.
    result: Result<()>,
    callback: C,
}

/// Pending requests in a row that are carried out alike: they agree on their tag, and their payloads lie back to back and are
/// as long as the first, but for the last, which may be shorter (and is not empty then). That is what one system call can
/// send in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRun<'q, T> {
    /// What they are to be carried out with.
    pub tag: &'q T,
    /// How many there are: 1 at least.
    pub count: usize,
    /// Bytes in the payload of the first.
    pub size: usize,
}

/// Where a run is.
struct RunLocation<T> {
    tag: T,
    count: usize,
    size: usize,
    /// Whether none was shorter yet, so that another one may follow.
    whole: bool,
    /// The chunk, counted from the first of all, and where in it the payloads are.
    chunk: usize,
    start: usize,
    end: usize,
}

impl<T> RunLocation<T> {
    /// Whether a payload of so many bytes may be the next one.
    fn takes(&self, length: usize) -> bool {
        self.whole && (length == self.size || (length < self.size && length > 0))
    }

    /// Where the payload of request `index` begins.
    fn offset(&self, index: usize) -> usize {
        (self.start + index * self.size).min(self.end)
    }
}

impl<T, C> RequestQueue<T, C> {
    /// An empty queue with its payloads in `pool`.
    pub fn new(pool: Rc<Pool>) -> Self {
        Self {
            requests: VecDeque::new(),
            completed: 0,
            runs: VecDeque::new(),
            last: Vec::new(),
            full: VecDeque::new(),
            spent: 0,
            spilled: false,
            large: false,
            bytes: 0,
            pool,
        }
    }

    /// Accepts a request, and copies its payload.
    ///
    /// # Errors
    ///
    /// `EMSGSIZE` for a payload of 4 GiB or more; nothing is accepted then.
    pub fn push<B>(&mut self, payload: Payload<'_>, tag: B, callback: C) -> Result<()>
    where
        T: PartialEq<B> + From<B>,
    {
        let length = payload.len();
        let len = u32::try_from(length).map_err(|_| Errno::EMSGSIZE)?;
        let fits = self.last.capacity() - self.last.len() >= length;
        match self.runs.back_mut() {
            Some(run) if fits && run.takes(length) && run.tag == tag => {
                append(&mut self.last, payload);
                run.count += 1;
                run.whole = length == run.size;
                run.end += length;
            }
            _ => self.begin_run(payload, length, tag.into()),
        }
        self.accept(len, callback);
        Ok(())
    }

    /// Accepts a request that goes on with the youngest [`PendingRun`]: its payload is as long as those in there, and it agrees on
    /// the tag. What a [`push`](Self::push) does beside copying, with half the work.
    ///
    /// # Errors
    ///
    /// The callback, when there is no such run or no room beside it: nothing is accepted then.
    #[inline]
    pub fn push_alike<B>(
        &mut self,
        payload: &[u8],
        tag: &B,
        callback: C,
    ) -> std::result::Result<(), C>
    where
        T: PartialEq<B>,
    {
        let Some(run) = self.runs.back_mut() else {
            return Err(callback);
        };
        let length = payload.len();
        let fits = self.last.capacity() - self.last.len() >= length;
        if length != run.size || !run.whole || !fits || run.tag != *tag {
            return Err(callback);
        }
        self.last.extend_from_slice(payload);
        run.count += 1;
        run.end += length;
        // As long as the payload of a request that was accepted, so not 4 GiB.
        self.accept(length as u32, callback);
        Ok(())
    }

    #[inline]
    fn accept(&mut self, len: u32, callback: C) {
        self.requests.push_back(Request {
            len,
            result: Ok(()),
            callback,
        });
        self.bytes += len as usize;
    }

    fn begin_run(&mut self, payload: Payload<'_>, length: usize, tag: T) {
        if self.last.capacity() - self.last.len() < length {
            let first = self.last.capacity() == 0;
            let mut chunk = self.pool.take(self.large || !first || length > SMALL_CHUNK);
            chunk.reserve_exact(length);
            let full = mem::replace(&mut self.last, chunk);
            self.full.extend(Some(full).filter(|_| !first));
            self.spilled |= !first;
        }
        let start = self.last.len();
        append(&mut self.last, payload);
        self.runs.push_back(RunLocation {
            tag,
            count: 1,
            size: length,
            whole: true,
            chunk: self.spent + self.full.len(),
            start,
            end: start + length,
        });
    }

    /// Accepts a request of `length` bytes that is done already: it only waits for its callback, after those that were
    /// completed before.
    pub fn push_completed(&mut self, length: usize, callback: C, result: Result<()>) {
        let len = u32::try_from(length).unwrap_or(u32::MAX);
        let request = Request {
            len,
            result,
            callback,
        };
        if self.completed == self.requests.len() {
            self.requests.push_back(request);
        } else {
            self.requests.insert(self.completed, request);
        }
        self.completed += 1;
        self.bytes += len as usize;
    }

    /// The pending requests, from the oldest on.
    pub fn pending(&self) -> Pending<'_, T, C> {
        Pending {
            queue: self,
            run: 0,
            passed: 0,
        }
    }

    /// Completes the oldest `count` pending requests (or all, if there are fewer) with `result`.
    pub fn complete(&mut self, count: usize, result: Result<()>) {
        let count = count.min(self.pending_count());
        if count == 0 {
            return;
        }
        if result.is_err() {
            let completed = self
                .requests
                .range_mut(self.completed..self.completed + count);
            completed.for_each(|request| request.result = result);
        }
        self.completed += count;
        let mut passed = count;
        while passed > 0
            && let Some(run) = self.runs.front_mut()
        {
            if passed < run.count {
                run.start = run.offset(passed);
                run.count -= passed;
                break;
            }
            passed -= run.count;
            self.runs.pop_front();
        }
        let needed = self.runs.front().map(|run| run.chunk);
        if needed != Some(self.spent) {
            self.give_back(needed);
        }
    }

    /// Gives back the chunks before `needed`, or all of them.
    fn give_back(&mut self, needed: Option<usize>) {
        while needed.is_none_or(|needed| self.spent < needed)
            && let Some(chunk) = self.full.pop_front()
        {
            self.pool.give_back(chunk);
            self.spent += 1;
        }
        if needed.is_none() {
            let last = mem::take(&mut self.last);
            self.large = mem::take(&mut self.spilled) || last.len() > SMALL_CHUNK;
            self.pool.give_back(last);
            shrink(&mut self.requests);
            shrink(&mut self.runs);
        }
    }

    /// Completes every pending request with `error`.
    pub fn cancel(&mut self, error: Errno) {
        self.complete(self.pending_count(), Err(error));
    }

    /// Takes the oldest completed request, whose callback is to be called now.
    #[inline]
    pub fn pop_completed(&mut self) -> Option<(C, Result<()>)> {
        self.completed = self.completed.checked_sub(1)?;
        let request = self.requests.pop_front()?;
        self.bytes -= request.len as usize;
        Some((request.callback, request.result))
    }

    /// Gives back what room an empty queue has for more requests than it mostly needs. Completing all that are pending does that,
    /// too, but for those that wait for their callback: so after a turn of callbacks, this is for a queue that was cancelled.
    #[inline]
    pub fn trim(&mut self) {
        if self.requests.is_empty() {
            shrink(&mut self.requests);
        }
    }

    /// How many requests are pending.
    #[inline]
    pub fn pending_count(&self) -> usize {
        self.requests.len() - self.completed
    }

    /// How many requests are completed and wait for their callback.
    #[inline]
    pub fn completed_count(&self) -> usize {
        self.completed
    }

    /// How many requests were accepted whose callback was not called yet.
    #[inline]
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Bytes in all requests whose callback was not called yet.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

fn shrink<T>(queue: &mut VecDeque<T>) {
    if queue.capacity() > KEPT_REQUESTS {
        queue.shrink_to(KEPT_REQUESTS);
    }
}

fn append(chunk: &mut Vec<u8>, payload: Payload<'_>) {
    match payload {
        Payload::Bytes(slice) => chunk.extend_from_slice(slice),
        Payload::Slices(slices) => slices
            .iter()
            .for_each(|slice| chunk.extend_from_slice(slice)),
    }
}

impl<T, C> fmt::Debug for RequestQueue<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestQueue")
            .field("requests", &self.requests.len())
            .field("completed", &self.completed)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A walk along the pending requests of a queue, several at a time; see [`RequestQueue`] for an example.
pub struct Pending<'q, T, C> {
    queue: &'q RequestQueue<T, C>,
    /// Which run the walk is in, and how many requests of it it has passed.
    run: usize,
    passed: usize,
}

impl<'q, T, C> Pending<'q, T, C> {
    /// The next requests that are carried out alike. `None` at the end.
    pub fn peek(&self) -> Option<PendingRun<'q, T>> {
        let run = self.queue.runs.get(self.run)?;
        Some(PendingRun {
            tag: &run.tag,
            count: run.count - self.passed,
            size: run.size.min(run.end - run.offset(self.passed)),
        })
    }

    /// Passes the next `count` requests, all of one run, and returns their payloads as one stretch of bytes.
    /// `None`, and nothing is passed, for a `count` of 0 or more than there are in the run.
    pub fn take(&mut self, count: usize) -> Option<&'q [u8]> {
        let run = self.queue.runs.get(self.run)?;
        if count == 0 || count > run.count - self.passed {
            return None;
        }
        let RequestQueue {
            last, full, spent, ..
        } = self.queue;
        let chunk = full.get(run.chunk - spent).unwrap_or(last);
        let bytes = chunk.get(run.offset(self.passed)..run.offset(self.passed + count))?;
        self.passed += count;
        if self.passed == run.count {
            self.run += 1;
            self.passed = 0;
        }
        Some(bytes)
    }
}

impl<T, C> fmt::Debug for Pending<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.queue.runs.iter().skip(self.run);
        let left: usize = left.map(|run| run.count).sum();
        f.debug_struct("Pending")
            .field("left", &(left - self.passed))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_was_very_long_gives_its_room_back() {
        for result in [Ok(()), Err(Errno::ECANCELED)] {
            let mut queue = RequestQueue::<u8, ()>::new(Rc::default());
            for number in 0..10 * KEPT_REQUESTS {
                queue.push("x".into(), number as u8, ()).unwrap();
            }
            queue.complete(queue.count(), result);
            while queue.pop_completed().is_some() {}
            queue.trim();
            assert!(queue.requests.capacity() <= KEPT_REQUESTS);
            assert!(queue.runs.capacity() <= KEPT_REQUESTS);
        }
    }
}
