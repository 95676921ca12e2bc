//! Requests: accepted operations with a payload, each of which completes exactly once and in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use uv_sys::{Errno, Payload, Result};

/// Bytes in a chunk of a queue that is or lately was long: what one system call may carry.
const LARGE_CHUNK: usize = 64 * 1024;
/// Bytes in the first chunk of a queue that stays short, so that many handles with little to send need little memory.
const SMALL_CHUNK: usize = 4 * 1024;
/// Free chunks that a pool keeps of each size; more are given back to the allocator. 16 large ones are 1 MiB, or 2 where
/// payloads were larger than a chunk.
const KEPT_CHUNKS: usize = 16;

/// Memory for the payloads of all queues of a loop: chunks that come back are handed out again. A loop has one, as
/// [`lp.local(Pool::default)`](crate::Loop::local).
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
        if chunk.capacity() > 2 * LARGE_CHUNK {
            // Made for one huge payload.
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
/// is kept once for each run of requests that agree on it. `C` is what it takes to complete a request: its callback.
///
/// ```
/// use uv_core::{Errno, Loop, Pool, RequestQueue};
///
/// let lp = Loop::new()?;
/// let mut queue = RequestQueue::new(lp.local(Pool::default));
/// for (payload, peer, callback) in [("one", "a", 1), ("two", "a", 2), ("three", "b", 3)] {
///     queue.push(payload.into(), peer, callback)?;
/// }
///
/// let mut walk = queue.pending();
/// let (peer, lengths) = walk.group().unwrap();
/// assert_eq!((*peer, lengths.count()), ("a", 2));
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
    /// What the pending ones are to be carried out with, and how many in a row agree.
    tags: VecDeque<(T, usize)>,
    chunks: VecDeque<Vec<u8>>,
    /// How many chunks were used up before `chunks[0]`.
    spent: usize,
    /// Payload bytes accepted since the queue was last drained.
    used: usize,
    /// Whether `used` outgrew a small chunk the last time: then the first chunk is a large one at once.
    large: bool,
    bytes: usize,
    pool: Rc<Pool>,
}

struct Request<C> {
    /// Where its payload is, while it is pending.
    chunk: usize,
    start: u32,
    len: u32,
    /// Meaningless while it is pending.
    result: Result<()>,
    callback: C,
}

impl<T, C> RequestQueue<T, C> {
    /// An empty queue with its payloads in `pool`.
    pub fn new(pool: Rc<Pool>) -> Self {
        Self {
            requests: VecDeque::new(),
            completed: 0,
            tags: VecDeque::new(),
            chunks: VecDeque::new(),
            spent: 0,
            used: 0,
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
    #[inline]
    pub fn push<B>(&mut self, payload: Payload<'_>, tag: B, callback: C) -> Result<()>
    where
        T: PartialEq<B> + From<B>,
    {
        let length = payload.len();
        let len = u32::try_from(length).map_err(|_| Errno::EMSGSIZE)?;
        let fits = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= length;
        if !self.chunks.back().is_some_and(fits) {
            self.add_chunk(length);
        }
        let chunk = self.spent + self.chunks.len().saturating_sub(1);
        // The last chunk has room now, so `start` is less than the size of a large one, or 0.
        let bytes = self.chunks.back_mut().ok_or(Errno::ENOMEM)?;
        let start = u32::try_from(bytes.len()).map_err(|_| Errno::EMSGSIZE)?;
        match payload {
            Payload::Bytes(slice) => bytes.extend_from_slice(slice),
            Payload::Slices(slices) => slices
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice)),
        }
        match self.tags.back_mut() {
            Some((last, count)) if *last == tag => *count += 1,
            _ => self.tags.push_back((tag.into(), 1)),
        }
        self.requests.push_back(Request {
            chunk,
            start,
            len,
            result: Ok(()),
            callback,
        });
        self.used += length;
        self.bytes += length;
        Ok(())
    }

    fn add_chunk(&mut self, len: usize) {
        let mut chunk = self
            .pool
            .take(self.large || !self.chunks.is_empty() || len > SMALL_CHUNK);
        chunk.reserve_exact(len);
        self.chunks.push_back(chunk);
    }

    /// Accepts a request of `length` bytes that is done already: it only waits for its callback, after those that were
    /// completed before.
    pub fn push_completed(&mut self, length: usize, callback: C, result: Result<()>) {
        let len = u32::try_from(length).unwrap_or(u32::MAX);
        let request = Request {
            chunk: 0,
            start: 0,
            len,
            result,
            callback,
        };
        self.requests.insert(self.completed, request);
        self.completed += 1;
        self.bytes += len as usize;
    }

    /// The pending requests, from the oldest on.
    pub fn pending(&self) -> Pending<'_, T, C> {
        Pending {
            queue: self,
            index: self.completed,
            tag: 0,
            used: 0,
        }
    }

    /// Completes the oldest `count` pending requests (or all, if there are fewer) with `result`.
    pub fn complete(&mut self, count: usize, result: Result<()>) {
        let count = count.min(self.pending_count());
        if result.is_err() {
            let completed = self
                .requests
                .range_mut(self.completed..self.completed + count);
            completed.for_each(|request| request.result = result);
        }
        self.completed += count;
        let mut passed = count;
        while passed > 0
            && let Some((_, agreeing)) = self.tags.front_mut()
        {
            let those = passed.min(*agreeing);
            *agreeing -= those;
            passed -= those;
            if *agreeing == 0 {
                self.tags.pop_front();
            }
        }
        let needed = self.requests.get(self.completed).map(|next| next.chunk);
        if count > 0 && needed != Some(self.spent) {
            self.give_back(needed);
        }
    }

    /// Gives back the chunks before `needed`, or all of them.
    fn give_back(&mut self, needed: Option<usize>) {
        while needed.is_none_or(|needed| self.spent < needed)
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.pool.give_back(chunk);
            self.spent += 1;
        }
        if needed.is_none() {
            self.large = self.used > SMALL_CHUNK;
            self.used = 0;
        }
    }

    /// Completes every pending request with `error`.
    pub fn cancel(&mut self, error: Errno) {
        self.complete(self.pending_count(), Err(error));
    }

    /// Takes the oldest completed request, whose callback is to be called now.
    pub fn pop_completed(&mut self) -> Option<(C, Result<()>)> {
        self.completed = self.completed.checked_sub(1)?;
        let request = self.requests.pop_front()?;
        self.bytes -= request.len as usize;
        Some((request.callback, request.result))
    }

    /// How many requests are pending.
    pub fn pending_count(&self) -> usize {
        self.requests.len() - self.completed
    }

    /// How many requests are completed and wait for their callback.
    pub fn completed_count(&self) -> usize {
        self.completed
    }

    /// How many requests were accepted whose callback was not called yet.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Bytes in all requests whose callback was not called yet.
    pub fn bytes(&self) -> usize {
        self.bytes
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
    index: usize,
    /// Which run of agreeing tags the walk is in, and how many of that run it has passed.
    tag: usize,
    used: usize,
}

impl<'q, T, C> Pending<'q, T, C> {
    /// What the next requests are to be carried out with, and their lengths in bytes: of those that agree on it and have
    /// their payloads back to back. `None` at the end.
    pub fn group(&self) -> Option<(&'q T, impl Iterator<Item = usize> + use<'q, T, C>)> {
        let (tag, count) = self.queue.tags.get(self.tag)?;
        let chunk = self.queue.requests.get(self.index)?.chunk;
        let agreeing = self
            .queue
            .requests
            .range(self.index..)
            .take(count - self.used);
        let lengths = agreeing.take_while(move |request| request.chunk == chunk);
        Some((tag, lengths.map(|request| request.len as usize)))
    }

    /// Passes the next `count` requests, all of one [`group`](Self::group), and returns their payloads as one stretch of
    /// bytes. `None`, and nothing is passed, for a `count` of 0 or more than there are in the group.
    pub fn take(&mut self, count: usize) -> Option<&'q [u8]> {
        let (_, agreeing) = self.queue.tags.get(self.tag)?;
        if count == 0 || count > agreeing - self.used {
            return None;
        }
        let requests = &self.queue.requests;
        let first = requests.get(self.index)?;
        let last = requests.get(self.index + count - 1)?;
        if first.chunk != last.chunk {
            return None;
        }
        let chunk = self.queue.chunks.get(first.chunk - self.queue.spent)?;
        let bytes = chunk.get(first.start as usize..(last.start + last.len) as usize)?;
        self.index += count;
        self.used += count;
        if self.used == *agreeing {
            self.tag += 1;
            self.used = 0;
        }
        Some(bytes)
    }
}

impl<T, C> fmt::Debug for Pending<'_, T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.queue.requests.len() - self.index;
        f.debug_struct("Pending")
            .field("left", &left)
            .finish_non_exhaustive()
    }
}
