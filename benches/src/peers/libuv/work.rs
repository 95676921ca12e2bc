//! The workloads of the loop itself: timers, and work from another thread through a `uv_async_t`
//! and a queue behind a lock.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_int, c_uint},
    io, ptr,
    rc::Rc,
    sync::{Arc, mpsc},
    time::Instant,
};

use super::{
    ffi::{self, Buf, Handle, HandleType, Loop, Request},
    handles::{
        RECEIVE_MEMORY, Style, UvLoop, buf, check, connect, recv_start, send, set_data, try_send,
    },
};
use crate::{
    measure::{Failure, Measurement, Outcome, Params},
    threads::{self, Handover, LockedQueue, Shared},
    workload::{POSTED_SENDS_WINDOW, POSTS_WINDOW, SMALL, payload, timer_delays},
};

unsafe extern "C" fn on_fired(handle: *mut Handle) {
    // SAFETY: the timer's data is the count of `timers`, which outlives the loop.
    let fired = unsafe { &*ffi::uv_handle_get_data(handle).cast::<Cell<u64>>() };
    fired.set(fired.get() + 1);
}

pub(super) fn timers(params: &Params) -> Outcome {
    let fired = Cell::new(0);
    let mut event_loop = UvLoop::new()?;
    let began = Instant::now();
    let handles = event_loop.handles(HandleType::Timer, params.timers);
    for (handle, delay) in handles.zip(timer_delays(params.timers)) {
        // SAFETY: `handle` is memory for a timer; `on_fired` finds the data set here.
        unsafe {
            check(ffi::uv_timer_init(event_loop.raw(), handle))?;
            set_data(handle, &fired);
            check(ffi::uv_timer_start(handle, on_fired, delay, 0))?;
        }
    }
    event_loop.run()?;
    Ok(Measurement::of(fired.get(), began.elapsed()))
}

/// The end of a loop for other threads; `None` in the queue ends the loop.
struct Remote<T> {
    queue: Arc<LockedQueue<Option<T>>>,
    waker: *mut Handle,
}

// SAFETY: `uv_async_send` may be called from any thread as long as the handle lives, which it does
// until the loop has taken the `None` that `end` puts in.
unsafe impl<T: Send> Send for Remote<T> {}

impl<T> Remote<T> {
    fn post(&self, item: T) {
        self.queue.push(Some(item));
        // SAFETY: the loop, and with it the handle, lives until `end`. libuv itself does nothing if
        // a call is pending.
        unsafe { ffi::uv_async_send(self.waker) };
    }

    fn end(self) {
        self.queue.push_then(None, || {
            // SAFETY: the loop cannot take the `None` out before this returns, so the handle is
            // still alive.
            unsafe { ffi::uv_async_send(self.waker) };
        });
    }
}

/// The state of the callbacks of a loop that takes items.
struct Inbox<T> {
    event_loop: *mut Loop,
    queue: Arc<LockedQueue<Option<T>>>,
    batch: RefCell<Vec<Option<T>>>,
    work: Box<dyn Fn(T)>,
}

unsafe extern "C" fn on_woken<T>(handle: *mut Handle) {
    // SAFETY: the handle's data is its inbox, which outlives the loop.
    let inbox = unsafe { &*ffi::uv_handle_get_data(handle).cast::<Inbox<T>>() };
    let mut batch = inbox.batch.borrow_mut();
    inbox.queue.swap(&mut batch);
    for item in batch.drain(..) {
        match item {
            Some(item) => (inbox.work)(item),
            // SAFETY: callbacks run only while the loop is alive.
            None => unsafe { ffi::uv_stop(inbox.event_loop) },
        }
    }
}

fn inbox<T>(event_loop: &UvLoop, work: Box<dyn Fn(T)>) -> Inbox<T> {
    Inbox {
        event_loop: event_loop.raw(),
        queue: Arc::default(),
        batch: RefCell::default(),
        work,
    }
}

/// Runs `event_loop` until it is ended through the proxy that this publishes.
fn serve<T>(
    mut event_loop: UvLoop,
    inbox: &Inbox<T>,
    publish: &mpsc::Sender<Remote<T>>,
) -> Result<(), Failure> {
    let remote = Remote {
        queue: Arc::clone(&inbox.queue),
        waker: event_loop.waker(inbox, on_woken::<T>)?,
    };
    let _ = publish.send(remote);
    Ok(event_loop.run()?)
}

type Job = Box<dyn FnOnce() + Send>;

pub(super) fn posts(params: &Params) -> Outcome {
    threads::handover(
        params,
        Handover::Closures {
            window: POSTS_WINDOW,
        },
        |_, publish| {
            let event_loop = UvLoop::new()?;
            let inbox = inbox(&event_loop, Box::new(|job: Job| job()));
            serve(event_loop, &inbox, &publish)
        },
        |shared: &'static Shared, remote| {
            remote.post(Box::new(move || shared.counters.delivered.add(1)));
        },
        Remote::end,
    )
}

/// The state that the callbacks of `posts_send` share.
struct Sends {
    shared: &'static Shared,
    receive: RefCell<Vec<u8>>,
    free: RefCell<Vec<*mut Pending>>,
}

/// A send request, and the bytes that it sends.
struct Pending {
    sends: *const Sends,
    request: *mut Request,
    data: Vec<u8>,
}

impl Sends {
    fn send(&self, sender: *mut Handle, data: Vec<u8>) -> io::Result<()> {
        let pending = self.free.borrow_mut().pop();
        // There are as many requests as sends waiting, so that one is always free.
        let pending = pending.ok_or(io::ErrorKind::ResourceBusy)?;
        // SAFETY: a free request belongs to nobody else until it is pushed back.
        let pending = unsafe { &mut *pending };
        pending.data = data;
        send(
            pending.request,
            sender,
            &[buf(&pending.data)],
            None,
            on_posted_sent,
        )
    }
}

unsafe extern "C" fn on_posted_sent(request: *mut Request, status: c_int) {
    // SAFETY: `posts_send` has stored the request's `Pending`, which outlives the loop like its
    // `Sends`.
    unsafe {
        let pending = ffi::uv_req_get_data(request).cast::<Pending>();
        let sends = &*(*pending).sends;
        (*pending).data = Vec::new();
        sends.free.borrow_mut().push(pending);
        if status == 0 {
            sends.shared.counters.sent.add(1);
        }
    }
}

unsafe extern "C" fn on_alloc(handle: *mut Handle, _: usize, buf: *mut Buf) {
    // SAFETY: the handle's data is its `Sends`, which outlives the loop; `buf` is libuv's to be
    // filled.
    unsafe {
        let sends = &*ffi::uv_handle_get_data(handle).cast::<Sends>();
        let mut memory = sends.receive.borrow_mut();
        *buf = Buf {
            base: memory.as_mut_ptr().cast(),
            len: memory.len(),
        };
    }
}

unsafe extern "C" fn on_datagram(
    handle: *mut Handle,
    len: isize,
    _: *const Buf,
    source: *const libc::sockaddr,
    _: c_uint,
) {
    if len >= 0 && !source.is_null() {
        // SAFETY: the handle's data is its `Sends`, which outlives the loop.
        let sends = unsafe { &*ffi::uv_handle_get_data(handle).cast::<Sends>() };
        sends.shared.counters.delivered.add(1);
    }
}

pub(super) fn posts_send(params: &Params, style: Style) -> Outcome {
    let data = payload(SMALL);
    threads::handover(
        params,
        Handover::Sends {
            window: POSTED_SENDS_WINDOW,
        },
        |shared, publish| carry_out_sends(shared, style, &publish),
        |_, remote| remote.post(data.clone()),
        Remote::end,
    )
}

fn carry_out_sends(
    shared: &'static Shared,
    style: Style,
    publish: &mpsc::Sender<Remote<Vec<u8>>>,
) -> Result<(), Failure> {
    let sends = Rc::new(Sends {
        shared,
        receive: RefCell::new(vec![0; RECEIVE_MEMORY]),
        free: RefCell::default(),
    });
    let mut pool = Vec::new();
    let mut event_loop = UvLoop::new()?;
    pool.extend(
        event_loop
            .requests(POSTED_SENDS_WINDOW as usize)
            .map(|request| Pending {
                sends: &*sends,
                request,
                data: Vec::new(),
            }),
    );
    for pending in &mut pool {
        let pointer = ptr::from_mut(pending);
        // SAFETY: the request is memory of the loop, and the pool outlives the loop; the pointer is
        // only stored.
        unsafe { ffi::uv_req_set_data(pending.request, pointer.cast()) };
        sends.free.borrow_mut().push(pointer);
    }
    let (receiver, to) = event_loop.udp(style)?;
    let (sender, _) = event_loop.udp(style)?;
    connect(sender, &to)?;
    recv_start(receiver, &*sends, on_alloc, on_datagram)?;
    let work = {
        let sends = Rc::clone(&sends);
        move |data: Vec<u8>| match style {
            Style::Queued => drop(sends.send(sender, data)),
            Style::Tried => {
                if try_send(sender, &[buf(&data)], None).is_ok_and(|went| went) {
                    sends.shared.counters.sent.add(1);
                }
            }
        }
    };
    let inbox = inbox(&event_loop, Box::new(work));
    serve(event_loop, &inbox, publish)
}
