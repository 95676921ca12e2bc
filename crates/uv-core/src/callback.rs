//! A callback that may replace, stop or close the handle that calls it.

use std::cell::{Cell, RefCell};
use std::fmt;

/// The close callback of a handle of type `H`.
pub(crate) type CloseCallback<H> = RefCell<Option<Box<dyn FnOnce(&H)>>>;

/// Holds one callback that may [`set`](Self::set) another one or [`clear`](Self::clear) itself
/// while it runs.
///
/// A running callback is outside of this cell. It returns into it when it returns or panics, unless
/// the callback was replaced or cleared meanwhile.
///
/// ```
/// use std::rc::Rc;
/// use uv_core::Callback;
///
/// let cell = Rc::new(Callback::<dyn FnMut(u32) -> u32>::new());
/// let own = Rc::clone(&cell);
/// cell.set(Box::new(move |number| {
///     if number == 2 {
///         own.clear();
///     }
///     number
/// }));
/// let mut results = Vec::new();
/// for number in 0..5 {
///     cell.call(|callback| results.push(callback(number)));
/// }
/// assert_eq!(results, [0, 1, 2]);
/// ```
pub struct Callback<F: ?Sized> {
    callback: RefCell<Option<Box<F>>>,
    /// Counts `set` and `clear`, so that a callback that returns does not overwrite its
    /// replacement.
    changes: Cell<u32>,
}

impl<F: ?Sized> Callback<F> {
    /// Makes an empty cell.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            callback: RefCell::new(None),
            changes: Cell::new(0),
        }
    }

    /// Stores a callback, and drops the one before.
    pub fn set(&self, callback: Box<F>) {
        self.replace(Some(callback));
    }

    /// Drops the callback. A running one is dropped when it returns.
    pub fn clear(&self) {
        self.replace(None);
    }

    fn replace(&self, callback: Option<Box<F>>) {
        self.changes.set(self.changes.get().wrapping_add(1));
        // Dropped without a borrow: the captures of the old callback may use this cell.
        let old = self.callback.replace(callback);
        drop(old);
    }

    /// Passes the callback to `with`. Has no effect on an empty cell, or while the callback runs.
    pub fn call(&self, with: impl FnOnce(&mut F)) {
        let Some(callback) = self.callback.take() else {
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
            *self.home.callback.borrow_mut() = self.callback.take();
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
            .field("set", &self.callback.borrow().is_some())
            .finish()
    }
}
