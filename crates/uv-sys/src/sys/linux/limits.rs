//! Limits of the kernel's calls.

/// The most elements of one message's vector, and the most messages of one batch (UIO_MAXIOV).
pub(crate) const IOV_MAX: usize = 1024;
