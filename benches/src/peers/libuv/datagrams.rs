//! The workloads that send datagrams. The state of the callbacks is a [`Context`] or [`Lane`] that
//! outlives the loop: both are declared before it, so they are dropped after it.

use std::{
    cell::{Cell, RefCell},
    ffi::{c_int, c_uint},
    io, ptr,
    rc::Rc,
    sync::Arc,
};

use super::{
    ffi::{self, Buf, Handle, HandleType, Loop, Request},
    handles::{
        Address, RECEIVE_MEMORY, Style, UvLoop, address, buf, connect, recv_start, send,
        std_address, try_send,
    },
};
use crate::{
    measure::{Counters, Meter, Outcome, Params},
    net::{Footprint, allow_descriptors},
    threads::{self, Shared},
    workload::{ActiveSets, BURST, LARGE, SLICES, SMALL, payload},
};

/// The state that the callbacks of one loop share.
pub(super) struct Context {
    event_loop: Cell<*mut Loop>,
    meter: RefCell<Meter>,
    shared: Option<Arc<Shared>>,
    own: Arc<Counters>,
    stopping: Cell<bool>,
    receive: RefCell<Vec<u8>>,
    lanes: RefCell<Vec<Rc<Lane>>>,
    outstanding: Cell<usize>,
    active: RefCell<ActiveSets>,
    failed: Cell<c_int>,
}

impl Context {
    fn new(params: &Params, shared: Option<Arc<Shared>>) -> Context {
        let meter = Meter::new(params);
        Context {
            event_loop: Cell::new(ptr::null_mut()),
            own: meter.counters(),
            meter: RefCell::new(meter),
            shared,
            stopping: Cell::new(false),
            receive: RefCell::new(vec![0; RECEIVE_MEMORY]),
            lanes: RefCell::default(),
            outstanding: Cell::new(0),
            active: RefCell::new(ActiveSets::new(params.handles)),
            failed: Cell::new(0),
        }
    }

    fn counters(&self) -> &Counters {
        self.shared
            .as_ref()
            .map_or(&self.own, |shared| &shared.counters)
    }

    fn stop(&self) {
        self.stopping.set(true);
        // SAFETY: callbacks run only while the loop is alive.
        unsafe { ffi::uv_stop(self.event_loop.get()) };
    }

    fn fail(&self, error: &io::Error) {
        self.failed.set(error.raw_os_error().unwrap_or(libc::EIO));
        self.stop();
    }

    /// Counts an iteration of the loop, and stops it at the end of the round.
    fn iteration(&self) {
        let go_on = match &self.shared {
            Some(shared) => !shared.stopped(),
            None => self.meter.borrow_mut().tick(),
        };
        if !go_on {
            self.stop();
        }
    }

    /// Runs the loop to its end and reports.
    fn run(&self, event_loop: &UvLoop, params: &Params) -> Outcome {
        self.run_shared(event_loop, params)?;
        self.meter.borrow_mut().finish()
    }

    fn run_shared(&self, event_loop: &UvLoop, params: &Params) -> io::Result<()> {
        *self.meter.borrow_mut() = Meter::over(Arc::clone(&self.own), params);
        self.event_loop.set(event_loop.raw());
        event_loop.run()?;
        match self.failed.get() {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn send_all_lanes(&self) {
        for lane in &*self.lanes.borrow() {
            lane.send();
        }
    }
}

/// One send outstanding: a request with its handle, payload and destination.
pub(super) struct Lane {
    context: *const Context,
    style: Style,
    handle: *mut Handle,
    request: *mut Request,
    bufs: Vec<Buf>,
    to: Cell<Option<Address>>,
    busy: Cell<bool>,
    again: bool,
}

impl Lane {
    fn context(&self) -> &Context {
        // SAFETY: the context owns this lane and outlives the loop.
        unsafe { &*self.context }
    }

    fn send(&self) {
        let context = self.context();
        let to = self.to.get();
        let result = match self.style {
            Style::Tried => try_send(self.handle, &self.bufs, to.as_ref()),
            Style::Queued if self.busy.get() => Err(io::ErrorKind::ResourceBusy.into()),
            Style::Queued => {
                self.busy.set(true);
                context.outstanding.set(context.outstanding.get() + 1);
                send(self.request, self.handle, &self.bufs, to.as_ref(), on_sent).map(|()| false)
            }
        };
        match result {
            Ok(went) => context.counters().sent.add(u64::from(went)),
            Err(error) => context.fail(&error),
        }
    }
}

/// Payload and behaviour of lanes.
struct Route<'a> {
    handle: *mut Handle,
    bufs: &'a [Buf],
    to: Option<Address>,
    /// Whether a completed send is followed by the next one.
    again: bool,
}

fn add_lanes(
    context: &Context,
    event_loop: &mut UvLoop,
    style: Style,
    count: usize,
    route: &Route<'_>,
) {
    let requests = event_loop.requests(count);
    let mut lanes = context.lanes.borrow_mut();
    for request in requests {
        let lane = Rc::new(Lane {
            context,
            style,
            handle: route.handle,
            request,
            bufs: route.bufs.to_vec(),
            to: Cell::new(route.to),
            busy: Cell::new(false),
            again: route.again,
        });
        // SAFETY: the request is memory of the loop, the lane outlives the loop; the pointer is
        // only stored.
        unsafe { ffi::uv_req_set_data(request, Rc::as_ptr(&lane).cast_mut().cast()) };
        lanes.push(lane);
    }
}

unsafe extern "C" fn on_sent(request: *mut Request, status: c_int) {
    // SAFETY: `add_lanes` has stored the request's lane, which outlives the loop.
    let lane = unsafe { &*ffi::uv_req_get_data(request).cast::<Lane>() };
    let context = lane.context();
    lane.busy.set(false);
    context.outstanding.set(context.outstanding.get() - 1);
    if status == 0 {
        context.counters().sent.add(1);
        if lane.again && !context.stopping.get() {
            lane.send();
        }
    }
}

/// The context of a handle.
///
/// # Safety
///
/// The data of `handle` is a [`Context`] that outlives the loop, as `recv_start` and
/// `each_iteration` have set it here.
unsafe fn context_of<'a>(handle: *mut Handle) -> &'a Context {
    // SAFETY: the caller's promise.
    unsafe { &*ffi::uv_handle_get_data(handle).cast::<Context>() }
}

unsafe extern "C" fn on_alloc(handle: *mut Handle, _: usize, buf: *mut Buf) {
    // SAFETY: the handle's data is its context; `buf` is libuv's to be filled.
    unsafe {
        let mut memory = context_of(handle).receive.borrow_mut();
        *buf = Buf {
            base: memory.as_mut_ptr().cast(),
            len: memory.len(),
        };
    }
}

/// Counts a datagram. Returns the context, or `None` at the end of a read.
unsafe fn received<'a>(
    handle: *mut Handle,
    len: isize,
    source: *const libc::sockaddr,
) -> Option<&'a Context> {
    // SAFETY: the handle's data is its context.
    let context = unsafe { context_of(handle) };
    (len >= 0 && !source.is_null()).then_some(context)
}

unsafe extern "C" fn on_datagram(
    handle: *mut Handle,
    len: isize,
    _: *const Buf,
    source: *const libc::sockaddr,
    _: c_uint,
) {
    // SAFETY: the handle's data is its context.
    if let Some(context) = unsafe { received(handle, len, source) } {
        context.counters().delivered.add(1);
        if context
            .shared
            .as_ref()
            .is_some_and(|shared| shared.silent())
        {
            context.stop();
        }
    }
}

unsafe extern "C" fn on_turn(handle: *mut Handle) {
    // SAFETY: the handle's data is its context.
    unsafe { context_of(handle) }.iteration();
}

unsafe extern "C" fn on_turn_send(handle: *mut Handle) {
    // SAFETY: the handle's data is its context.
    let context = unsafe { context_of(handle) };
    context.iteration();
    context.send_all_lanes();
}

/// Starts the lanes: once if each completion sends again, otherwise in every iteration.
fn start_lanes(context: &Context, event_loop: &mut UvLoop, style: Style) -> io::Result<()> {
    match style {
        Style::Queued => {
            event_loop.each_iteration(HandleType::Check, context, on_turn)?;
            context.event_loop.set(event_loop.raw());
            context.send_all_lanes();
            Ok(())
        }
        Style::Tried => event_loop.each_iteration(HandleType::Idle, context, on_turn_send),
    }
}

pub(super) fn pummel(params: &Params, style: Style, pairs: usize) -> Outcome {
    let context = Context::new(params, None);
    let mut event_loop = UvLoop::new()?;
    let bufs = SLICES.map(buf);
    for _ in 0..pairs {
        let (receiver, to) = event_loop.udp(style)?;
        recv_start(receiver, &context, on_alloc, on_datagram)?;
        let route = Route {
            handle: event_loop.udp(style)?.0,
            bufs: &bufs,
            to: Some(to),
            again: true,
        };
        add_lanes(&context, &mut event_loop, style, 1, &route);
    }
    start_lanes(&context, &mut event_loop, style)?;
    context.run(&event_loop, params)
}

pub(super) fn burst(params: &Params, style: Style, size: usize, outstanding: usize) -> Outcome {
    let context = Context::new(params, None);
    let data = payload(size);
    let mut event_loop = UvLoop::new()?;
    let (receiver, to) = event_loop.udp(style)?;
    recv_start(receiver, &context, on_alloc, on_datagram)?;
    add_connected_lanes(&context, &mut event_loop, style, outstanding, &data, &to)?;
    start_lanes(&context, &mut event_loop, style)?;
    context.run(&event_loop, params)
}

fn add_connected_lanes(
    context: &Context,
    event_loop: &mut UvLoop,
    style: Style,
    outstanding: usize,
    data: &[u8],
    to: &Address,
) -> io::Result<()> {
    let (sender, _) = event_loop.udp(style)?;
    connect(sender, to)?;
    let route = Route {
        handle: sender,
        bufs: &[buf(data)],
        to: None,
        again: true,
    };
    add_lanes(context, event_loop, style, outstanding, &route);
    Ok(())
}

pub(super) fn two_loops(params: &Params, style: Style) -> Outcome {
    threads::two_loops(
        params,
        |shared, publish| {
            let context = Context::new(params, Some(shared));
            let mut event_loop = UvLoop::new()?;
            let (receiver, bound) = event_loop.udp(style)?;
            recv_start(receiver, &context, on_alloc, on_datagram)?;
            let _ = publish.send(std_address(&bound));
            Ok(context.run_shared(&event_loop, params)?)
        },
        |shared, to| {
            let context = Context::new(params, Some(shared));
            let data = payload(LARGE);
            let mut event_loop = UvLoop::new()?;
            add_connected_lanes(&context, &mut event_loop, style, BURST, &data, &address(to))?;
            start_lanes(&context, &mut event_loop, style)?;
            Ok(context.run_shared(&event_loop, params)?)
        },
    )
}

/// One side of the ping-pong. It has several lanes, because a reply may arrive before the
/// completion of the send.
struct Side {
    context: *const Context,
    first_lane: usize,
    counts: bool,
}

const LANES_PER_SIDE: usize = 4;

impl Side {
    fn send(&self, context: &Context) {
        let lanes = context.lanes.borrow();
        let own = &lanes[self.first_lane..self.first_lane + LANES_PER_SIDE];
        match own.iter().find(|lane| !lane.busy.get()) {
            Some(lane) => lane.send(),
            None => context.fail(&io::ErrorKind::ResourceBusy.into()),
        }
    }
}

unsafe extern "C" fn on_side_alloc(handle: *mut Handle, _: usize, buf: *mut Buf) {
    // SAFETY: the handle's data is its side, whose context outlives the loop; `buf` is libuv's to
    // be filled.
    unsafe {
        let side = &*ffi::uv_handle_get_data(handle).cast::<Side>();
        let mut memory = (*side.context).receive.borrow_mut();
        *buf = Buf {
            base: memory.as_mut_ptr().cast(),
            len: memory.len(),
        };
    }
}

unsafe extern "C" fn on_ball(
    handle: *mut Handle,
    len: isize,
    _: *const Buf,
    source: *const libc::sockaddr,
    _: c_uint,
) {
    if len < 0 || source.is_null() {
        return;
    }
    // SAFETY: the handle's data is its side; side and context outlive the loop.
    let (side, context) = unsafe {
        let side = &*ffi::uv_handle_get_data(handle).cast::<Side>();
        (side, &*side.context)
    };
    if side.counts {
        context.counters().delivered.add(1);
        if !context.meter.borrow_mut().lap() {
            context.stop();
            return;
        }
    }
    side.send(context);
}

pub(super) fn pingpong(params: &Params, style: Style) -> Outcome {
    let context = Context::new(params, None);
    let sides = [true, false].map(|counts| Side {
        context: &context,
        first_lane: if counts { 0 } else { LANES_PER_SIDE },
        counts,
    });
    let data = payload(SMALL);
    let mut event_loop = UvLoop::new()?;
    let (left, left_address) = event_loop.udp(style)?;
    let (right, right_address) = event_loop.udp(style)?;
    connect(left, &right_address)?;
    connect(right, &left_address)?;
    for (side, handle) in sides.iter().zip([left, right]) {
        let route = Route {
            handle,
            bufs: &[buf(&data)],
            to: None,
            again: false,
        };
        add_lanes(&context, &mut event_loop, style, LANES_PER_SIDE, &route);
        recv_start(handle, side, on_side_alloc, on_ball)?;
    }
    context.event_loop.set(event_loop.raw());
    sides[0].send(&context);
    context.run(&event_loop, params)
}

/// Sends to each handle of the active set, unless sends to the last set are pending.
unsafe extern "C" fn on_turn_fan_out(handle: *mut Handle) {
    // SAFETY: the handle's data is its fan-out, which outlives the loop.
    let (context, addresses) = unsafe {
        let fan_out = &*ffi::uv_handle_get_data(handle).cast::<FanOut>();
        (&*fan_out.context, &fan_out.addresses)
    };
    context.iteration();
    if context.outstanding.get() == 0 {
        let set = context.active.borrow_mut().next_set();
        for (lane, to) in context.lanes.borrow().iter().zip(&addresses[set]) {
            lane.to.set(Some(*to));
            lane.send();
        }
    }
}

struct FanOut {
    context: *const Context,
    addresses: Vec<Address>,
}

pub(super) fn fanout(params: &Params, style: Style) -> Outcome {
    allow_descriptors(params.handles)?;
    let context = Context::new(params, None);
    let data = payload(SMALL);
    let mut fan_out = FanOut {
        context: &context,
        addresses: Vec::with_capacity(params.handles),
    };
    let mut event_loop = UvLoop::new()?;
    let (sender, source) = event_loop.udp(style)?;
    let before = Footprint::now();
    for handle in event_loop.handles(HandleType::Udp, params.handles) {
        fan_out.addresses.push(event_loop.init_udp(handle, style)?);
        connect(handle, &source)?;
        recv_start(handle, &context, on_alloc, on_datagram)?;
    }
    let bytes_per_handle = before.per_handle(params.handles);
    let route = Route {
        handle: sender,
        bufs: &[buf(&data)],
        to: None,
        again: false,
    };
    let active = context.active.borrow().size();
    add_lanes(&context, &mut event_loop, style, active, &route);
    let kind = match style {
        Style::Queued => HandleType::Prepare,
        Style::Tried => HandleType::Idle,
    };
    event_loop.each_iteration(kind, &fan_out, on_turn_fan_out)?;
    let mut measured = context.run(&event_loop, params)?;
    measured.bytes_per_handle = bytes_per_handle;
    Ok(measured)
}
