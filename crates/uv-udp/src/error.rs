//! Network errors, and full reports of them (`IP_RECVERR`): the datagram, the reporting host, and
//! the reason.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use uv_sys::{Errno, ErrorOrigin, QueuedError};

/// A network error about an earlier datagram, or an error of receiving itself.
///
/// Typically `ECONNREFUSED`: the destination port is closed (ICMP port unreachable, reported to
/// connected sockets, udp(7)). The handle goes on receiving and sending.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkError {
    errno: Errno,
    report: Option<Box<ErrorReport>>,
}

impl NetworkError {
    pub(crate) fn new(errno: Errno) -> Self {
        Self {
            errno,
            report: None,
        }
    }

    pub(crate) fn with_report(errno: Errno, report: ErrorReport) -> Self {
        Self {
            errno,
            report: Some(Box::new(report)),
        }
    }

    /// The error number of the kernel.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The full report, if the handle asked for reports with
    /// [`set_recv_errors`](crate::Options::set_recv_errors) and the error queue had room for it.
    #[must_use]
    pub fn report(&self) -> Option<&ErrorReport> {
        self.report.as_deref()
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.errno, f)?;
        match self.report() {
            None => Ok(()),
            Some(report) => write!(f, ": {report}"),
        }
    }
}

impl Error for NetworkError {}

impl From<NetworkError> for Errno {
    fn from(error: NetworkError) -> Self {
        error.errno
    }
}

/// An ICMP message about a datagram that was sent earlier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ErrorReport {
    /// The reason.
    pub kind: ErrorKind,
    /// The type of the ICMP message ([RFC 792](https://www.rfc-editor.org/rfc/rfc792)) or, on an
    /// IPv6 path, of the ICMPv6 message ([RFC 4443](https://www.rfc-editor.org/rfc/rfc4443)).
    pub icmp_type: u8,
    /// The code of the ICMP message.
    pub icmp_code: u8,
    /// The MTU of the path in bytes, for [`ErrorKind::TooBig`]. A datagram may have 28 (IPv4) or
    /// 48 (IPv6) bytes less.
    pub mtu: Option<u32>,
    /// The destination of the datagram.
    pub destination: Option<SocketAddr>,
    /// The host that sent the ICMP message: the destination, or a router on the path.
    #[doc(alias = "SO_EE_OFFENDER")]
    pub offender: Option<IpAddr>,
    /// The quoted start of the datagram's payload. Some routers quote 8 bytes, most a few hundred
    /// (a Linux host 520, over IPv6 1,184); none if the router quoted only the header.
    pub payload: Vec<u8>,
}

impl ErrorReport {
    /// Converts an entry of the error queue; `None` unless it is an ICMP message. A local error is
    /// the result of its send already.
    pub(crate) fn from_queue(error: &QueuedError, quote: &[u8]) -> Option<Self> {
        let v6 = match error.origin {
            ErrorOrigin::Icmp => false,
            ErrorOrigin::Icmp6 => true,
            _ => return None,
        };
        let kind = ErrorKind::of(v6, error.kind, error.code);
        Some(Self {
            kind,
            icmp_type: error.kind,
            icmp_code: error.code,
            mtu: (kind == ErrorKind::TooBig).then_some(error.info),
            destination: error.destination,
            offender: error.offender,
            payload: quote.get(..error.payload_len).unwrap_or(quote).to_vec(),
        })
    }

    /// Whether the destination itself sent the ICMP message, not a router.
    #[must_use]
    pub fn is_from_destination(&self) -> bool {
        match (self.offender, self.destination) {
            (Some(offender), Some(to)) => offender.to_canonical() == to.ip().to_canonical(),
            _ => false,
        }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(mtu) = self.mtu {
            write!(f, " (path MTU {mtu})")?;
        }
        if let Some(destination) = self.destination {
            write!(f, ", sent to {destination}")?;
        }
        if let Some(offender) = self.offender {
            write!(f, ", reported by {offender}")?;
        }
        Ok(())
    }
}

/// The reason of a network error, for IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The port of the destination is closed.
    PortUnreachable,
    /// The destination's network has no such host.
    HostUnreachable,
    /// There is no route to the destination's network.
    NetworkUnreachable,
    /// A firewall or a policy rejects the datagram.
    Prohibited,
    /// The datagram exceeds the path MTU, and must not be fragmented.
    TooBig,
    /// The datagram's time to live reached 0.
    TtlExceeded,
    /// Another reason: see [`ErrorReport::icmp_type`] and [`ErrorReport::icmp_code`].
    Other,
}

impl ErrorKind {
    fn of(v6: bool, icmp_type: u8, icmp_code: u8) -> Self {
        if v6 {
            match (icmp_type, icmp_code) {
                (1, 0) => Self::NetworkUnreachable,
                (1, 1 | 5 | 6) => Self::Prohibited,
                (1, 3) => Self::HostUnreachable,
                (1, 4) => Self::PortUnreachable,
                (2, _) => Self::TooBig,
                (3, 0) => Self::TtlExceeded,
                _ => Self::Other,
            }
        } else {
            match (icmp_type, icmp_code) {
                (3, 0 | 6 | 11) => Self::NetworkUnreachable,
                (3, 1 | 7 | 8 | 12) => Self::HostUnreachable,
                (3, 3) => Self::PortUnreachable,
                (3, 4) => Self::TooBig,
                (3, 9 | 10 | 13) => Self::Prohibited,
                (11, 0) => Self::TtlExceeded,
                _ => Self::Other,
            }
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PortUnreachable => "port unreachable",
            Self::HostUnreachable => "host unreachable",
            Self::NetworkUnreachable => "network unreachable",
            Self::Prohibited => "prohibited",
            Self::TooBig => "too big",
            Self::TtlExceeded => "time to live exceeded",
            Self::Other => "not delivered",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icmp_and_icmpv6_types_map_to_the_same_kinds() {
        for (kind, v4, v6) in [
            (ErrorKind::PortUnreachable, (3, 3), (1, 4)),
            (ErrorKind::HostUnreachable, (3, 1), (1, 3)),
            (ErrorKind::NetworkUnreachable, (3, 0), (1, 0)),
            (ErrorKind::Prohibited, (3, 13), (1, 1)),
            (ErrorKind::TooBig, (3, 4), (2, 0)),
            (ErrorKind::TtlExceeded, (11, 0), (3, 0)),
            (ErrorKind::Other, (12, 0), (4, 1)),
        ] {
            assert_eq!(ErrorKind::of(false, v4.0, v4.1), kind);
            assert_eq!(ErrorKind::of(true, v6.0, v6.1), kind);
        }
    }

    #[test]
    fn an_error_displays_its_report() {
        let error = NetworkError {
            errno: Errno::EMSGSIZE,
            report: Some(Box::new(ErrorReport {
                kind: ErrorKind::TooBig,
                icmp_type: 3,
                icmp_code: 4,
                mtu: Some(1280),
                destination: Some("192.0.2.1:53".parse().unwrap()),
                offender: Some("198.51.100.7".parse().unwrap()),
                payload: Vec::new(),
            })),
        };
        let text = error.to_string();
        let end = "too big (path MTU 1280), sent to 192.0.2.1:53, reported by 198.51.100.7";
        assert!(text.ends_with(end), "{text}");
    }
}
