//! Runs a program with refused system calls, as under a container's filter or an old kernel: `cargo
//! xtask deny`.
//!
//! A refusal is `CALL=ERROR`, or `CALL:LEVEL:OPTION=ERROR` for one socket option. With the error
//! `0` the call succeeds without an effect, as gVisor does with unknown options.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

/// The known system calls.
const CALLS: [(&str, libc::c_long); 8] = [
    ("epoll_pwait2", libc::SYS_epoll_pwait2),
    ("getsockopt", libc::SYS_getsockopt),
    ("ppoll", libc::SYS_ppoll),
    ("recvmmsg", libc::SYS_recvmmsg),
    ("recvmsg", libc::SYS_recvmsg),
    ("sendmmsg", libc::SYS_sendmmsg),
    ("sendmsg", libc::SYS_sendmsg),
    ("setsockopt", libc::SYS_setsockopt),
];

const ERRORS: [(&str, libc::c_int); 6] = [
    ("0", 0),
    ("EACCES", libc::EACCES),
    ("EINVAL", libc::EINVAL),
    ("ENOPROTOOPT", libc::ENOPROTOOPT),
    ("ENOSYS", libc::ENOSYS),
    ("EPERM", libc::EPERM),
];

const LEVELS: [(&str, libc::c_int); 4] = [
    ("SOL_SOCKET", libc::SOL_SOCKET),
    ("SOL_IP", libc::SOL_IP),
    ("SOL_IPV6", libc::SOL_IPV6),
    ("SOL_UDP", libc::SOL_UDP),
];

const OPTIONS: [(&str, libc::c_int); 6] = [
    ("SO_REUSEPORT", libc::SO_REUSEPORT),
    ("SO_RXQ_OVFL", libc::SO_RXQ_OVFL),
    ("SO_TIMESTAMPNS", libc::SO_TIMESTAMPNS),
    ("SO_TXTIME", libc::SO_TXTIME),
    ("UDP_GRO", libc::UDP_GRO),
    ("UDP_SEGMENT", libc::UDP_SEGMENT),
];

/// One refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    call: libc::c_long,
    /// Level and name: the second and the third argument.
    option: Option<(libc::c_int, libc::c_int)>,
    error: libc::c_int,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}

fn named<T: Copy>(name: &str, of: &[(&str, T)]) -> io::Result<T> {
    let found = of.iter().find(|(known, _)| *known == name);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let known: Vec<_> = of.iter().map(|(known, _)| *known).collect();
        invalid(&format!("{name} is none of {}", known.join(", ")))
    })
}

impl Refusal {
    fn parse(text: &str) -> io::Result<Self> {
        let (what, error) = text
            .split_once('=')
            .ok_or_else(|| invalid("a refusal is CALL=ERROR or CALL:LEVEL:OPTION=ERROR"))?;
        let error = named(error, &ERRORS)?;
        let (call, option) = match *what.split(':').collect::<Vec<_>>() {
            [call] => (call, None),
            [call, level, option] => (
                call,
                Some((named(level, &LEVELS)?, named(option, &OPTIONS)?)),
            ),
            _ => return Err(invalid("an option is named by its level and its name")),
        };
        Ok(Self {
            call: named(call, &CALLS)?,
            option,
            error,
        })
    }

    /// The filter (seccomp(2)) that refuses this call and allows all others.
    fn filter(self) -> Result<BpfProgram, seccompiler::Error> {
        let mut conditions = Vec::new();
        if let Some((level, name)) = self.option {
            for (argument, value) in [(1, level), (2, name)] {
                conditions.push(SeccompCondition::new(
                    argument,
                    SeccompCmpArgLen::Dword,
                    SeccompCmpOp::Eq,
                    value.unsigned_abs().into(),
                )?);
            }
        }
        let rules = if conditions.is_empty() {
            Vec::new()
        } else {
            vec![SeccompRule::new(conditions)?]
        };
        let refused = SeccompAction::Errno(self.error.unsigned_abs());
        let filter = SeccompFilter::new(
            BTreeMap::from([(self.call, rules)]),
            SeccompAction::Allow,
            refused,
            TargetArch::try_from(ARCH)?,
        )?;
        Ok(filter.try_into()?)
    }
}

/// Replaces this process by `program` with these calls refused.
///
/// # Errors
///
/// An unknown refusal, a kernel without seccomp filters, or a program that does not start.
pub fn exec(refusals: &[String], program: &[OsString]) -> io::Result<()> {
    let refusals: Vec<_> = refusals
        .iter()
        .map(|text| Refusal::parse(text))
        .collect::<io::Result<_>>()?;
    let (name, arguments) = program.split_first().ok_or_else(|| invalid("no program"))?;
    for refusal in refusals {
        let filter = refusal.filter().map_err(io::Error::other)?;
        apply_filter(&filter).map_err(io::Error::other)?;
    }
    Err(Command::new(name).args(arguments).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_a_call_or_an_option_of_it_and_an_error() {
        let refusal = Refusal::parse("recvmmsg=ENOSYS").unwrap();
        let expected = (libc::SYS_recvmmsg, None, libc::ENOSYS);
        assert_eq!((refusal.call, refusal.option, refusal.error), expected);
        let refusal = Refusal::parse("setsockopt:SOL_UDP:UDP_GRO=0").unwrap();
        assert_eq!(refusal.option, Some((libc::SOL_UDP, libc::UDP_GRO)));
        assert_eq!(refusal.error, 0);
        for wrong in [
            "recvmmsg",
            "recvmmsg=EVERYTHING",
            "open=EPERM",
            "setsockopt:SOL_UDP=EPERM",
            "setsockopt:SOL_UDP:UDP_NOTHING=EPERM",
        ] {
            assert!(Refusal::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_refusal_has_a_filter() {
        for text in ["sendmmsg=EPERM", "getsockopt:SOL_UDP:UDP_SEGMENT=EPERM"] {
            assert!(Refusal::parse(text).unwrap().filter().is_ok(), "{text}");
        }
    }
}
