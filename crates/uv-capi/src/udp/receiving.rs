//! Starting and stopping to receive. `receiver.rs` delivers.

use std::ffi::c_int;
use std::rc::Rc;

use uv_udp::Errno;

use super::access::{any_udp_box, udp_box};
use super::receiver::Callbacks;
use super::state::UdpBox;
use crate::pointers::CPtr;
use crate::results::{code, number};
use crate::types::{uv_alloc_cb, uv_udp_recv_cb, uv_udp_t};

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_recv_start(
    handle: CPtr<uv_udp_t>,
    alloc_cb: uv_alloc_cb,
    recv_cb: uv_udp_recv_cb,
) -> c_int {
    let (Some(alloc), Some(recv)) = (alloc_cb, recv_cb) else {
        return -libc::EINVAL;
    };
    code(udp_box(&handle).and_then(|udp| start(udp, Callbacks { alloc, recv })))
}

fn start(udp: &UdpBox, callbacks: Callbacks) -> Result<(), c_int> {
    let receiver = Rc::clone(&udp.receiver);
    let started = if receiver.fills_large_buffers() {
        let lender = Rc::clone(&receiver);
        udp.udp.recv_into_start(
            move |_, _| lender.lend(),
            move |_, lent, outcome| receiver.take_back(lent, outcome.map_err(Errno::from)),
        )
    } else {
        udp.udp.recv_batch_start(move |_, received| match received {
            Ok(batch) => receiver.on_batch(batch),
            Err(error) => receiver.on_error(error.errno()),
        })
    };
    started.map_err(number)?;
    udp.receiver.start(callbacks);
    Ok(())
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_recv_stop(handle: CPtr<uv_udp_t>) -> c_int {
    if handle.is_null() {
        return -libc::EINVAL;
    }
    let stopped = any_udp_box(&handle).and_then(|udp| {
        udp.receiver.stop();
        // A closing handle has stopped.
        match udp.udp.is_closing() {
            true => Ok(()),
            false => udp.udp.recv_stop().map_err(number),
        }
    });
    match stopped {
        // A closed handle has stopped, too.
        Err(error) if error == -libc::EBADF => 0,
        result => code(result),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn uvudp_udp_using_recvmmsg(handle: CPtr<uv_udp_t>) -> c_int {
    let large = udp_box(&handle).map(|udp| udp.receiver.fills_large_buffers());
    large.map_or(0, c_int::from)
}
