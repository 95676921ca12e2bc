//! Memory for state that most handles never need.

use std::cell::OnceCell;

/// A value that the first use allocates, so that many idle handles need little memory.
pub(crate) type LazyBox<T> = OnceCell<Box<T>>;
