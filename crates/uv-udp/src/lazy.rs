//! Memory for what most handles never need.

use std::cell::OnceCell;

/// A value that is allocated with its first use, so that many idle handles need little memory.
pub(crate) type LazyBox<T> = OnceCell<Box<T>>;
