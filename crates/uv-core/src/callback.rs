//! A callback that may replace, stop or close the handle it is called by.

use std::cell::{Cell, RefCell};
use std::fmt;

/// Room for what is called when a handle of type `H` is closed.
pub(crate) type CloseCallback<H> = RefCell<Option<Box<dyn FnOnce(&H)>>>;

/// Room for one callback, which survives being called: it is out of its room while it runs, so it may [`set`](Self::set)
/// another one or [`clear`](Self::clear) itself, and it goes back when it returns or panics, unless it did.
///
/// ```
/// use std::rc::Rc;
/// use uv_core::Callback;
///
/// let room = Rc::new(Callback::<dyn FnMut(u32) -> u32>::new());
/// let own = Rc::clone(&room);
/// room.set(Box::new(move |number| {
///     if number == 2 {
///         own.clear();
///     }
///     number
/// }));
/// let mut heard = Vec::new();
/// for number in 0..5 {
///     room.call(|callback| heard.push(callback(number)));
/// }
/// assert_eq!(heard, [0, 1, 2]);
/// ```
pub struct Callback<F: ?Sized> {
    room: RefCell<Option<Box<F>>>,
    /// Counts `set` and `clear`, so that a callback that returns knows whether its room is still its own.
    changes: Cell<u32>,
}

impl<F: ?Sized> Callback<F> {
    /// An empty room.
    pub const fn new() -> Self {
        Self {
            room: RefCell::new(None),
            changes: Cell::new(0),
        }
    }

    /// Puts a callback in, in the place of the one before.
    pub fn set(&self, callback: Box<F>) {
        self.replace(Some(callback));
    }

    /// Drops the callback. One that is running is dropped when it returns.
    pub fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, callback: Option<Box<F>>) {
        self.changes.set(self.changes.get().wrapping_add(1));
        // What the old callback captured may use this very handle when it is dropped: no borrow may be held then.
        let old = self.room.replace(callback);
        drop(old);
    }

    /// Calls `with` on the callback, if there is one: not while it is running, and not when it is cleared.
    pub fn call(&self, with: impl FnOnce(&mut F)) {
        let Some(callback) = self.room.take() else {
            return;
        };
        let mut lent = Lent {
            callback: Some(callback),
            home: self,
            changes: self.changes.get(),
        };
        if let Some(callback) = lent.callback.as_deref_mut() {
            with(callback);
        }
    }
}

struct Lent<'a, F: ?Sized> {
    callback: Option<Box<F>>,
    home: &'a Callback<F>,
    changes: u32,
}

impl<F: ?Sized> Drop for Lent<'_, F> {
    fn drop(&mut self) {
        if self.home.changes.get() == self.changes {
            *self.home.room.borrow_mut() = self.callback.take();
        }
    }
}

impl<F: ?Sized> Default for Callback<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: ?Sized> fmt::Debug for Callback<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("set", &self.room.borrow().is_some())
            .finish()
    }
}
