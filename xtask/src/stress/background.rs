//! Other work on the machine while a subject runs, on threads of this process.

use std::collections::VecDeque;
use std::hint;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::process::nice;

/// Sockets that one thread holds at a time, well below the usual limit of 1,024 descriptors.
const HELD_SOCKETS: usize = 200;

/// Threads that work until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Background {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Two endless loops per CPU.
    pub(super) fn busy() -> Self {
        Self::loops(2, 0)
    }

    /// One endless loop per CPU at nice 10. It leaves about a ninth of the CPU to a process at nice
    /// 19: `sched_prio_to_weight` in `kernel/sched/core.c` has 110 and 15. At nice 0 it would leave
    /// a hundredth, with which no subject ends.
    pub(super) fn busy_at_low_priority() -> Self {
        Self::loops(1, 10)
    }

    fn loops(per_cpu: usize, niceness: i32) -> Self {
        let mut background = Self::default();
        for _ in 0..per_cpu * thread::available_parallelism().map_or(1, usize::from) {
            background.spawn(move |over| {
                // On Linux the nice value belongs to the thread. Lowering the priority is always allowed.
                let _ = nice(niceness);
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        background
    }

    /// Threads that bind ephemeral ports of both families, and release each some time later.
    pub(super) fn binding_ports() -> Self {
        let mut background = Self::default();
        let addresses: [SocketAddr; 4] = [
            (Ipv4Addr::LOCALHOST, 0).into(),
            (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Ipv6Addr::LOCALHOST, 0).into(),
            (Ipv6Addr::UNSPECIFIED, 0).into(),
        ];
        for address in addresses {
            background.spawn(move |over| {
                let mut held = VecDeque::new();
                while !over.load(Ordering::Relaxed) {
                    // Without IPv6, or at the limit on descriptors, the other threads continue.
                    held.extend(UdpSocket::bind(address));
                    if held.len() > HELD_SOCKETS {
                        held.pop_front();
                    }
                    thread::yield_now();
                }
            });
        }
        background
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let over = Arc::clone(&self.over);
        self.threads.push(thread::spawn(move || work(&over)));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // The loops above do not panic.
            let _ = thread.join();
        }
    }
}
