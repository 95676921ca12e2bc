//! Requests: accepted operations with a payload, each of which completes exactly once and in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::rc::Rc;

use uv_sys::{Errno, Payload, Result};

/// Bytes of a chunk in a queue that is or was recently long: the payload of one large system call.
const LARGE_CHUNK: usize = 64 * 1024;
/// Bytes of the first chunk in a short queue: many handles that rarely send need little memory.
const SMALL_CHUNK: usize = 4 * 1024;
/// Free chunks of each size that a pool keeps; it frees further ones. 16 large chunks take 1 MiB,
/// or 2 MiB where payloads were larger than a chunk.
const KEPT_CHUNKS: usize = 16;
/// Requests and runs for which an empty queue keeps memory; it frees the rest.
const KEPT_REQUESTS: usize = 4096;

/// Memory for the payloads of all queues of a loop, which reuses its chunks. A loop has one, as
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
            // Without memory, or made for one huge payload.
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

/// Requests in the order of acceptance: *pending* until the operation is done or cancelled, then
/// *completed* until their callback is called.
///
/// The queue copies payloads once, back to back, so several pending ones can be taken to the kernel
/// as one slice ([`pending`](Self::pending)). `T` holds the parameters of a request beside its
/// payload, such as a destination; the queue stores it once per [`PendingRun`]. `C` is the callback
/// of a request.
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
/// // Two were sent; the last one is cancelled.
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
    /// The pending requests again, as runs.
    runs: VecDeque<RunLocation<T>>,
    /// The newest chunk, which holds the newest run; without capacity if there is none.
    last: Vec<u8>,
    /// Older chunks that pending runs use.
    full: VecDeque<Vec<u8>>,
    /// Chunks before those in `full` that were returned to the pool.
    spent: usize,
    /// Whether the queue needed a second chunk since it was last drained.
    spilled: bool,
    /// Whether the first chunk is a large one: a small one did not suffice before the queue was
    /// last drained.
    large: bool,
    /// The only counter that both ends of the queue change. With two adjacent ones the compiler
    /// adds to both as one vector, and that load stalls on the store of the other end.
    bytes: usize,
    pool: Rc<Pool>,
}

struct Request<C> {
    len: u32,
    /// Not valid while the request is pending.
    result: Result<()>,
    callback: C,
}

/// Consecutive pending requests with equal tags, whose payloads are adjacent and equally long. The
/// last one may be shorter, but not empty. One system call can send them in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRun<'q, T> {
    /// The parameters that they share.
    pub tag: &'q T,
    /// The number of requests, at least 1.
    pub count: usize,
    /// Bytes of the first payload.
    pub size: usize,
}

/// The location of a run in the chunks.
struct RunLocation<T> {
    tag: T,
    count: usize,
    size: usize,
    /// Whether all payloads are equally long, so that another one may follow.
    whole: bool,
    /// The chunk, counted from the first one that the queue ever had, and the payloads' range in
    /// it.
    chunk: usize,
    start: usize,
    end: usize,
}

impl<T> RunLocation<T> {
    /// Whether a payload of `length` bytes may follow.
    fn takes(&self, length: usize) -> bool {
        self.whole && (length == self.size || (length < self.size && length > 0))
    }

    /// The offset of the payload of request `index`.
    fn offset(&self, index: usize) -> usize {
        (self.start + index * self.size).min(self.end)
    }
}

impl<T, C> RequestQueue<T, C> {
    /// Makes an empty queue with its payloads in `pool`.
    #[must_use]
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

    /// Accepts a request into the newest [`PendingRun`], if that has the same tag and payload
    /// length. Does half the work of a [`push`](Self::push), apart from the copy.
    ///
    /// # Errors
    ///
    /// Returns the callback when there is no such run or its chunk is full; nothing is accepted
    /// then.
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
        // As long as an accepted payload, so shorter than 4 GiB.
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

    /// Accepts a request of `length` bytes that is completed already. Its callback follows those of
    /// requests that were completed before.
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

    /// Walks over the pending requests, oldest first.
    pub fn pending(&self) -> Pending<'_, T, C> {
        Pending {
            queue: self,
            run: 0,
            taken: 0,
        }
    }

    /// Completes the oldest `count` pending requests with `result`, or all if there are fewer.
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
        let mut taken = count;
        while taken > 0
            && let Some(run) = self.runs.front_mut()
        {
            if taken < run.count {
                run.start = run.offset(taken);
                run.count -= taken;
                break;
            }
            taken -= run.count;
            self.runs.pop_front();
        }
        let needed = self.runs.front().map(|run| run.chunk);
        if needed != Some(self.spent) {
            self.give_back(needed);
        }
    }

    /// Returns the chunks before `needed` to the pool; all of them for `None`.
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

    /// Takes the oldest completed request. The caller calls its callback.
    #[inline]
    pub fn pop_completed(&mut self) -> Option<(C, Result<()>)> {
        self.completed = self.completed.checked_sub(1)?;
        let request = self.requests.pop_front()?;
        self.bytes -= request.len as usize;
        Some((request.callback, request.result))
    }

    /// Frees memory that an empty queue needed for many requests. Completing all pending requests
    /// frees it too, except for those that wait for their callback; so call this after the
    /// callbacks of a cancelled queue.
    #[inline]
    pub fn trim(&mut self) {
        if self.requests.is_empty() {
            shrink(&mut self.requests);
        }
    }

    /// The number of pending requests.
    #[must_use]
    #[inline]
    pub fn pending_count(&self) -> usize {
        self.requests.len() - self.completed
    }

    /// The number of completed requests that wait for their callback.
    #[must_use]
    #[inline]
    pub fn completed_count(&self) -> usize {
        self.completed
    }

    /// The number of accepted requests whose callback was not called yet.
    #[must_use]
    #[inline]
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of all requests whose callback was not called yet.
    #[must_use]
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

/// A walk over the pending requests of a queue, several at a time; see [`RequestQueue`] for an
/// example.
pub struct Pending<'q, T, C> {
    queue: &'q RequestQueue<T, C>,
    /// The current run, and the number of its requests that were taken.
    run: usize,
    taken: usize,
}

impl<'q, T, C> Pending<'q, T, C> {
    /// Returns the rest of the current run; `None` at the end.
    #[must_use]
    pub fn peek(&self) -> Option<PendingRun<'q, T>> {
        let run = self.queue.runs.get(self.run)?;
        Some(PendingRun {
            tag: &run.tag,
            count: run.count - self.taken,
            size: run.size.min(run.end - run.offset(self.taken)),
        })
    }

    /// Takes the next `count` requests of the current run, and returns their payloads as one slice.
    /// Returns `None` and takes nothing if `count` is 0 or more than the run has left.
    pub fn take(&mut self, count: usize) -> Option<&'q [u8]> {
        let run = self.queue.runs.get(self.run)?;
        if count == 0 || count > run.count - self.taken {
            return None;
        }
        let RequestQueue {
            last, full, spent, ..
        } = self.queue;
        let chunk = full.get(run.chunk - spent).unwrap_or(last);
        let bytes = chunk.get(run.offset(self.taken)..run.offset(self.taken + count))?;
        self.taken += count;
        if self.taken == run.count {
            self.run += 1;
            self.taken = 0;
        }
        Some(bytes)
    }
}

impl<T, C> fmt::Debug for Pending<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.queue.runs.iter().skip(self.run);
        let left: usize = left.map(|run| run.count).sum();
        f.debug_struct("Pending")
            .field("left", &(left - self.taken))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_queue_frees_the_memory_of_a_burst() {
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
