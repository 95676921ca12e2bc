//! The errors of the header, with libuv's numbers and texts.

use std::ffi::CStr;

use libc::*;

/// An error that the header names.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The number that functions return.
    pub(crate) code: c_int,
    /// The name without `UV_`.
    pub(crate) name: &'static CStr,
    /// The text of `uv_strerror`.
    pub(crate) text: &'static CStr,
}

const fn entry(code: c_int, name: &'static CStr, text: &'static CStr) -> Entry {
    Entry { code, name, text }
}

/// Every error of `UV_ERRNO_MAP` in the header, in the same order.
pub(crate) const ALL: &[Entry] = &[
    entry(-E2BIG, c"E2BIG", c"argument list too long"),
    entry(-EACCES, c"EACCES", c"permission denied"),
    entry(-EADDRINUSE, c"EADDRINUSE", c"address already in use"),
    entry(-EADDRNOTAVAIL, c"EADDRNOTAVAIL", c"address not available"),
    entry(
        -EAFNOSUPPORT,
        c"EAFNOSUPPORT",
        c"address family not supported",
    ),
    entry(-EAGAIN, c"EAGAIN", c"resource temporarily unavailable"),
    entry(-3000, c"EAI_ADDRFAMILY", c"address family not supported"),
    entry(-3001, c"EAI_AGAIN", c"temporary failure"),
    entry(-3002, c"EAI_BADFLAGS", c"bad ai_flags value"),
    entry(-3013, c"EAI_BADHINTS", c"invalid value for hints"),
    entry(-3003, c"EAI_CANCELED", c"request canceled"),
    entry(-3004, c"EAI_FAIL", c"permanent failure"),
    entry(-3005, c"EAI_FAMILY", c"ai_family not supported"),
    entry(-3006, c"EAI_MEMORY", c"out of memory"),
    entry(-3007, c"EAI_NODATA", c"no address"),
    entry(-3008, c"EAI_NONAME", c"unknown node or service"),
    entry(-3009, c"EAI_OVERFLOW", c"argument buffer overflow"),
    entry(-3014, c"EAI_PROTOCOL", c"resolved protocol is unknown"),
    entry(
        -3010,
        c"EAI_SERVICE",
        c"service not available for socket type",
    ),
    entry(-3011, c"EAI_SOCKTYPE", c"socket type not supported"),
    entry(-EALREADY, c"EALREADY", c"connection already in progress"),
    entry(-EBADF, c"EBADF", c"bad file descriptor"),
    entry(-EBUSY, c"EBUSY", c"resource busy or locked"),
    entry(-ECANCELED, c"ECANCELED", c"operation canceled"),
    entry(-4080, c"ECHARSET", c"invalid Unicode character"),
    entry(
        -ECONNABORTED,
        c"ECONNABORTED",
        c"software caused connection abort",
    ),
    entry(-ECONNREFUSED, c"ECONNREFUSED", c"connection refused"),
    entry(-ECONNRESET, c"ECONNRESET", c"connection reset by peer"),
    entry(
        -EDESTADDRREQ,
        c"EDESTADDRREQ",
        c"destination address required",
    ),
    entry(-EEXIST, c"EEXIST", c"file already exists"),
    entry(-EFAULT, c"EFAULT", c"bad address in system call argument"),
    entry(-EFBIG, c"EFBIG", c"file too large"),
    entry(-EHOSTUNREACH, c"EHOSTUNREACH", c"host is unreachable"),
    entry(-EINTR, c"EINTR", c"interrupted system call"),
    entry(-EINVAL, c"EINVAL", c"invalid argument"),
    entry(-EIO, c"EIO", c"i/o error"),
    entry(-EISCONN, c"EISCONN", c"socket is already connected"),
    entry(-EISDIR, c"EISDIR", c"illegal operation on a directory"),
    entry(-ELOOP, c"ELOOP", c"too many symbolic links encountered"),
    entry(-EMFILE, c"EMFILE", c"too many open files"),
    entry(-EMSGSIZE, c"EMSGSIZE", c"message too long"),
    entry(-ENAMETOOLONG, c"ENAMETOOLONG", c"name too long"),
    entry(-ENETDOWN, c"ENETDOWN", c"network is down"),
    entry(-ENETUNREACH, c"ENETUNREACH", c"network is unreachable"),
    entry(-ENFILE, c"ENFILE", c"file table overflow"),
    entry(-ENOBUFS, c"ENOBUFS", c"no buffer space available"),
    entry(-ENODEV, c"ENODEV", c"no such device"),
    entry(-ENOENT, c"ENOENT", c"no such file or directory"),
    entry(-ENOMEM, c"ENOMEM", c"not enough memory"),
    entry(-ENONET, c"ENONET", c"machine is not on the network"),
    entry(-ENOPROTOOPT, c"ENOPROTOOPT", c"protocol not available"),
    entry(-ENOSPC, c"ENOSPC", c"no space left on device"),
    entry(-ENOSYS, c"ENOSYS", c"function not implemented"),
    entry(-ENOTCONN, c"ENOTCONN", c"socket is not connected"),
    entry(-ENOTDIR, c"ENOTDIR", c"not a directory"),
    entry(-ENOTEMPTY, c"ENOTEMPTY", c"directory not empty"),
    entry(-ENOTSOCK, c"ENOTSOCK", c"socket operation on non-socket"),
    entry(
        -EOPNOTSUPP,
        c"ENOTSUP",
        c"operation not supported on socket",
    ),
    entry(
        -EOVERFLOW,
        c"EOVERFLOW",
        c"value too large for defined data type",
    ),
    entry(-EPERM, c"EPERM", c"operation not permitted"),
    entry(-EPIPE, c"EPIPE", c"broken pipe"),
    entry(-EPROTO, c"EPROTO", c"protocol error"),
    entry(
        -EPROTONOSUPPORT,
        c"EPROTONOSUPPORT",
        c"protocol not supported",
    ),
    entry(
        -EPROTOTYPE,
        c"EPROTOTYPE",
        c"protocol wrong type for socket",
    ),
    entry(-ERANGE, c"ERANGE", c"result too large"),
    entry(-EROFS, c"EROFS", c"read-only file system"),
    entry(
        -ESHUTDOWN,
        c"ESHUTDOWN",
        c"cannot send after transport endpoint shutdown",
    ),
    entry(-ESPIPE, c"ESPIPE", c"invalid seek"),
    entry(-ESRCH, c"ESRCH", c"no such process"),
    entry(-ETIMEDOUT, c"ETIMEDOUT", c"connection timed out"),
    entry(-ETXTBSY, c"ETXTBSY", c"text file is busy"),
    entry(-EXDEV, c"EXDEV", c"cross-device link not permitted"),
    entry(-4094, c"UNKNOWN", c"unknown error"),
    entry(-4095, c"EOF", c"end of file"),
    entry(-ENXIO, c"ENXIO", c"no such device or address"),
    entry(-EMLINK, c"EMLINK", c"too many links"),
    entry(-EHOSTDOWN, c"EHOSTDOWN", c"host is down"),
    entry(-EREMOTEIO, c"EREMOTEIO", c"remote I/O error"),
    entry(-ENOTTY, c"ENOTTY", c"inappropriate ioctl for device"),
    entry(-4028, c"EFTYPE", c"inappropriate file type or format"),
    entry(-EILSEQ, c"EILSEQ", c"illegal byte sequence"),
    entry(
        -ESOCKTNOSUPPORT,
        c"ESOCKTNOSUPPORT",
        c"socket type not supported",
    ),
    entry(-ENODATA, c"ENODATA", c"no data available"),
    entry(-EUNATCH, c"EUNATCH", c"protocol driver not attached"),
];
