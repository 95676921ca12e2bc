//! The kernel object behind a poller, and the events of its waits.

use std::fmt;
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use polling::{Event, PollMode};

use crate::errno::{Errno, Result};
use crate::readiness::PollEvent;
use crate::sys::{epoll as sys, fork};

/// The key that `polling` uses for its notifier.
pub(crate) const RESERVED_KEY: usize = usize::MAX;

/// One kernel object, made by one process.
pub(crate) struct Instance {
    pub(crate) polling: Arc<polling::Poller>,
    /// Whether waits use the kernel object without `polling`. See `proves_direct`.
    pub(crate) direct: bool,
    /// The process that made it.
    pub(crate) generation: u32,
    /// Its replacement after a fork. Both exist until the poller is dropped, because descriptors
    /// may be borrowed.
    pub(crate) successor: OnceLock<Box<Instance>>,
}

impl Instance {
    pub(crate) fn new() -> Result<Instance> {
        fork::install()?;
        let generation = fork::generation();
        let polling = polling::Poller::new()?;
        // Without descriptors for the proof, waits go through `polling`.
        let direct = proves_direct(&polling).unwrap_or(false);
        Ok(Instance {
            polling: Arc::new(polling),
            direct,
            generation,
            successor: OnceLock::new(),
        })
    }

    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // In a child, `polling` would remove the notifier, which the parent needs.
        if !self.is_own() && sys::replace_by_empty(self.polling.as_fd()).is_err() {
            // Without a free descriptor, three leak until the child exits or executes another
            // program.
            mem::forget(Arc::clone(&self.polling));
        }
    }
}

impl Instance {
    /// Fills `events`, which the caller cleared.
    #[inline]
    pub(crate) fn wait(&self, events: &mut PollEvents, timeout: Option<Duration>) -> Result<()> {
        if !self.direct {
            self.polling
                .wait(&mut events.polled, timeout)
                .map_err(Errno::from)?;
            return Ok(());
        }
        match sys::wait(self.polling.as_fd(), &mut events.direct, timeout) {
            Err(Errno::EINTR) => return Ok(()),
            result => result?,
        }
        if events.direct.remove(RESERVED_KEY) {
            self.clear_notification(events)?;
        }
        Ok(())
    }

    /// Lets `polling` read its notifier and rearm it. Other events are dropped: the next wait
    /// reports level-triggered ones again.
    #[cold]
    fn clear_notification(&self, events: &mut PollEvents) -> Result<()> {
        self.polling
            .wait(&mut events.polled, Some(Duration::ZERO))?;
        events.polled.clear();
        Ok(())
    }
}

/// Whether the kernel object of `polling` reports keys as user data.
///
/// `polling`'s own wait costs three system calls, or five with a timeout, because it reads and
/// rearms its notifier each time. A direct wait costs one, but relies on a private encoding of
/// `polling`. So this test checks it: a notification and a ready descriptor must both be reported,
/// and no longer once cleared.
fn proves_direct(poller: &polling::Poller) -> Result<bool> {
    const KEY: usize = 0x0123_4567;
    let (probe, _other) = std::os::unix::net::UnixDatagram::pair()?;
    let mut direct = sys::Events::with_capacity(8);
    let mut polled = polling::Events::new();

    // SAFETY: `probe` is deleted below, before it is dropped, on every path.
    unsafe { poller.add_with_mode(&probe, Event::writable(KEY), PollMode::Level) }?;
    let seen = sees(poller, &mut direct, &[KEY]);
    poller.delete(&probe)?;
    poller.notify()?;
    let notified = sees(poller, &mut direct, &[RESERVED_KEY]);
    poller.wait(&mut polled, Some(Duration::ZERO))?;
    let cleared = sees(poller, &mut direct, &[]);
    Ok(seen && notified && cleared)
}

fn sees(poller: &polling::Poller, events: &mut sys::Events, keys: &[usize]) -> bool {
    events.clear();
    loop {
        match sys::wait(poller.as_fd(), events, Some(Duration::ZERO)) {
            Err(Errno::EINTR) => {}
            Err(_) => return false,
            Ok(()) => {
                return events
                    .iter()
                    .map(|event| event.key)
                    .eq(keys.iter().copied());
            }
        }
    }
}

/// The events of a wait. Reuse one: it allocates only when it is made.
pub struct PollEvents {
    direct: sys::Events,
    /// Events of `polling`'s own wait, if direct waits are not possible.
    polled: polling::Events,
}

impl PollEvents {
    /// Makes a list for `capacity` events per wait, 1 to 65,536. Later waits report further ones.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> PollEvents {
        PollEvents {
            direct: sys::Events::with_capacity(capacity.clamp(1, 65_536)),
            polled: polling::Events::new(),
        }
    }

    /// The events of the last wait.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = PollEvent> + '_ {
        self.direct
            .iter()
            .chain(self.polled.iter().map(|event| PollEvent {
                key: event.key,
                readable: event.readable,
                writable: event.writable,
            }))
    }

    pub(crate) fn clear(&mut self) {
        self.direct.clear();
        self.polled.clear();
    }
}

impl Default for PollEvents {
    fn default() -> PollEvents {
        PollEvents::with_capacity(1024)
    }
}

impl fmt::Debug for PollEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
