//! Requests: accepted operations with a payload, each of which completes exactly once and in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use uv_sys::{Errno, Payload, Result};

/// Bytes in a chunk of a queue that is or lately was long: what one system call may carry.
const LARGE_CHUNK: usize = 64 * 1024;
/// Bytes in the first chunk of a queue that stays short, so that many handles with little to send need little memory.
const SMALL_CHUNK: usize = 4 * 1024;
/// Free chunks that a pool keeps of each size; more are given back to the allocator. 16 large ones are 1 MiB.
const KEPT_CHUNKS: usize = 16;

/// Memory for the payloads of all queues of a loop: chunks that come back are handed out again.
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
/// bytes ([`span`](Self::span)). `T` is what it takes to carry out a request, as a destination; `C` is what it takes to
/// complete it: its callback.
pub struct RequestQueue<T, C> {
    pending: VecDeque<Pending<T, C>>,
    completed: VecDeque<Completed<C>>,
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

struct Pending<T, C> {
    chunk: usize,
    start: usize,
    len: usize,
    tag: T,
    callback: C,
}

struct Completed<C> {
    len: usize,
    callback: C,
    result: Result<()>,
}

impl<T, C> RequestQueue<T, C> {
    /// An empty queue with its payloads in `pool`.
    pub fn new(pool: Rc<Pool>) -> Self {
        Self {
            pending: VecDeque::new(),
            completed: VecDeque::new(),
            chunks: VecDeque::new(),
            spent: 0,
            used: 0,
            large: false,
            bytes: 0,
            pool,
        }
    }

    /// Accepts a request, and copies its payload.
    pub fn push(&mut self, payload: Payload<'_>, tag: T, callback: C) {
        let len = payload.len();
        if !self
            .chunks
            .back()
            .is_some_and(|chunk| chunk.capacity() - chunk.len() >= len)
        {
            self.add_chunk(len);
        }
        // `add_chunk` left one with room enough at the back.
        let (chunk, Some(bytes)) = (self.spent + self.chunks.len() - 1, self.chunks.back_mut())
        else {
            return;
        };
        let start = bytes.len();
        for slice in payload.slices() {
            bytes.extend_from_slice(slice);
        }
        self.pending.push_back(Pending {
            chunk,
            start,
            len,
            tag,
            callback,
        });
        self.used += len;
        self.bytes += len;
    }

    fn add_chunk(&mut self, len: usize) {
        let mut chunk = self
            .pool
            .take(self.large || !self.chunks.is_empty() || len > SMALL_CHUNK);
        chunk.reserve_exact(len);
        self.chunks.push_back(chunk);
    }

    /// Accepts a request that is done already: it only waits for its callback.
    pub fn push_completed(&mut self, len: usize, callback: C, result: Result<()>) {
        self.completed.push_back(Completed {
            len,
            callback,
            result,
        });
        self.bytes += len;
    }

    /// The payload and the tag of the pending request at `index`, counted from the oldest.
    pub fn pending(&self, index: usize) -> Option<(&[u8], &T)> {
        let request = self.pending.get(index)?;
        let bytes = self.bytes_of(request, request.len)?;
        Some((bytes, &request.tag))
    }

    /// The payloads of several pending requests as one stretch of bytes, or `None` when they do not lie back to back.
    pub fn span(&self, requests: Range<usize>) -> Option<&[u8]> {
        let (first, last) = (
            self.pending.get(requests.start)?,
            self.pending.get(requests.end.checked_sub(1)?)?,
        );
        if first.chunk != last.chunk {
            return None;
        }
        self.bytes_of(first, (last.start + last.len).checked_sub(first.start)?)
    }

    fn bytes_of(&self, request: &Pending<T, C>, len: usize) -> Option<&[u8]> {
        self.chunks
            .get(request.chunk - self.spent)?
            .get(request.start..request.start + len)
    }

    /// Completes the oldest pending request with `result`.
    pub fn complete(&mut self, result: Result<()>) {
        let Some(request) = self.pending.pop_front() else {
            return;
        };
        self.completed.push_back(Completed {
            len: request.len,
            callback: request.callback,
            result,
        });
        let needed = self.pending.front().map(|next| next.chunk);
        while !self.chunks.is_empty() && needed.is_none_or(|needed| self.spent < needed) {
            if let Some(chunk) = self.chunks.pop_front() {
                self.pool.give_back(chunk);
            }
            self.spent += 1;
        }
        if needed.is_none() {
            self.large = self.used > SMALL_CHUNK;
            self.used = 0;
        }
    }

    /// Completes every pending request with `error`.
    pub fn cancel(&mut self, error: Errno) {
        while !self.pending.is_empty() {
            self.complete(Err(error));
        }
    }

    /// Takes the oldest completed request, whose callback is to be called now.
    pub fn pop_completed(&mut self) -> Option<(C, Result<()>)> {
        let request = self.completed.pop_front()?;
        self.bytes -= request.len;
        Some((request.callback, request.result))
    }

    /// How many requests are pending.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// How many requests are completed and wait for their callback.
    pub fn completed_count(&self) -> usize {
        self.completed.len()
    }

    /// How many requests were accepted whose callback was not called yet.
    pub fn count(&self) -> usize {
        self.pending.len() + self.completed.len()
    }

    /// Bytes in all requests whose callback was not called yet.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<T, C> fmt::Debug for RequestQueue<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestQueue")
            .field("pending", &self.pending.len())
            .field("completed", &self.completed.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
