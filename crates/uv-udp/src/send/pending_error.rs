//! Repeating sends past pending errors of earlier datagrams (`ECONNREFUSED` and others).
//!
//! Linux keeps an ICMP error as the socket's pending error, and returns it from the next system
//! call. A send then fails with the error of an *earlier* datagram, and sends nothing (`sock_error`
//! in the kernel's send path; udp(7): "all fatal errors will be passed back"). Returning a pending
//! error clears it: an error that a repeated send does not return again was an earlier datagram's.

use std::mem;

use uv_sys::{Errno, Result};

/// Repetitions of one send. Each clears one pending error, and only earlier datagrams cause new
/// ones: more than two were never observed.
const MAX_TRIES: u32 = 16;
/// Equal errors in a row that count as the datagram's own. In a flood of ICMP messages that another
/// CPU handles, one in twenty sends meets the next pending error.
const OWN_AFTER: u32 = 8;

/// Decides whether an error belongs to the datagram being sent or to an earlier one.
#[derive(Clone, Copy, Default)]
pub(crate) struct PendingErrorFilter {
    /// The last error, and its number of occurrences in a row.
    suspect: Option<(Errno, u32)>,
    tries: u32,
}

impl PendingErrorFilter {
    /// Whether to retry: the error queue attributed this error to an earlier datagram.
    pub(crate) fn retry(&mut self, error: Errno) -> bool {
        let again = may_be_pending(error) && self.tries < MAX_TRIES;
        self.tries += u32::from(again);
        again
    }

    /// Returns the result of the send, or `None` to repeat it. `report` gets errors that turn out
    /// to be an earlier datagram's.
    pub(crate) fn classify<T>(
        &mut self,
        result: Result<T>,
        mut report: impl FnMut(Errno),
    ) -> Option<Result<T>> {
        let Err(error) = result else {
            mem::take(self).give_up(report);
            return Some(result);
        };
        if matches!(error, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) {
            // The kernel did not try to route the message: the last error stays in doubt, unless
            // only an earlier datagram can have caused it.
            if matches!(self.suspect, Some((Errno::ECONNREFUSED, _))) {
                self.take_suspect().give_up(&mut report);
            }
            return Some(result);
        }
        let count = match self.suspect {
            Some((earlier, count)) if earlier == error => count + 1,
            _ => {
                self.take_suspect().give_up(&mut report);
                1
            }
        };
        self.suspect = Some((error, count));
        // Only an ICMP message causes ECONNREFUSED, so it is never the datagram's own error.
        let may_be_earlier =
            may_be_pending(error) && (count < OWN_AFTER || error == Errno::ECONNREFUSED);
        if may_be_earlier && self.tries < MAX_TRIES {
            self.tries += 1;
            return None;
        }
        let Self { suspect, .. } = mem::take(self);
        if error == Errno::ECONNREFUSED {
            // The last one is the result of the send.
            let suspect = suspect.map(|(error, count)| (error, count - 1));
            Self { suspect, tries: 0 }.give_up(report);
        }
        Some(result)
    }

    /// Takes the suspect, and keeps the tries.
    fn take_suspect(&mut self) -> Self {
        Self {
            suspect: self.suspect.take(),
            tries: 0,
        }
    }

    /// Reports the suspect as an earlier datagram's error: the message was sent or given up.
    pub(crate) fn give_up(self, mut report: impl FnMut(Errno)) {
        if let Some((earlier, count)) = self.suspect {
            (0..count).for_each(|_| report(earlier));
        }
    }
}

/// Whether an ICMP message can cause this error (`icmp_err_convert`, `icmpv6_err_convert`).
fn may_be_pending(error: Errno) -> bool {
    matches!(
        error,
        Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::EPROTO
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EMSGSIZE
            | Errno::EACCES
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends to a kernel that returns `answers`, and then success.
    fn send(answers: &[Errno]) -> (Result<()>, Vec<Errno>) {
        let (mut filter, mut reported, mut answers) =
            (PendingErrorFilter::default(), Vec::new(), answers.iter());
        loop {
            let answer = answers.next().map_or(Ok(()), |&errno| Err(errno));
            if let Some(result) = filter.classify(answer, |errno| reported.push(errno)) {
                return (result, reported);
            }
        }
    }

    #[test]
    fn an_error_that_a_repeated_send_clears_was_an_earlier_datagrams() {
        let refused = Errno::ECONNREFUSED;
        assert_eq!(send(&[refused]), (Ok(()), vec![refused]));
        assert_eq!(send(&[refused, refused]), (Ok(()), vec![refused, refused]));
        let three = [Errno::EHOSTUNREACH, refused, Errno::EHOSTUNREACH];
        assert_eq!(send(&three), (Ok(()), three.to_vec()));
        // The second one arrived between two tries.
        let two = [Errno::EMSGSIZE; 2];
        assert_eq!(send(&two), (Ok(()), two.to_vec()));
    }

    #[test]
    fn an_error_that_repeats_is_the_datagrams_own() {
        let unreachable = Errno::ENETUNREACH;
        assert_eq!(send(&[unreachable; 100]), (Err(unreachable), vec![]));
        let mut answers = vec![Errno::EMSGSIZE];
        answers.extend([unreachable; 100]);
        assert_eq!(send(&answers), (Err(unreachable), vec![Errno::EMSGSIZE]));
        assert_eq!(send(&[Errno::EPERM]), (Err(Errno::EPERM), vec![]));
        assert_eq!(send(&[Errno::EAGAIN]), (Err(Errno::EAGAIN), vec![]));
        let refused = Errno::ECONNREFUSED;
        assert_eq!(
            send(&[refused, Errno::EAGAIN]),
            (Err(Errno::EAGAIN), vec![refused])
        );
    }

    #[test]
    fn an_error_in_doubt_survives_eagain() {
        let (mut filter, mut reported) = (PendingErrorFilter::default(), Vec::new());
        for round in 1..=OWN_AFTER {
            let full = filter.classify::<()>(Err(Errno::EAGAIN), |errno| reported.push(errno));
            assert_eq!(full, Some(Err(Errno::EAGAIN)));
            let result = filter.classify::<()>(Err(Errno::EMSGSIZE), |errno| reported.push(errno));
            let own = round == OWN_AFTER;
            assert_eq!(result, own.then_some(Err(Errno::EMSGSIZE)));
        }
        assert_eq!(
            (filter.suspect, reported),
            (None, vec![]),
            "the error is the datagram's own"
        );
        assert_eq!(
            filter.classify::<()>(Err(Errno::EHOSTUNREACH), |_| unreachable!()),
            None
        );
        let mut reported = Vec::new();
        filter.give_up(|errno| reported.push(errno));
        assert_eq!(reported, [Errno::EHOSTUNREACH]);
    }

    #[test]
    fn a_send_is_repeated_a_limited_number_of_times() {
        let (result, reported) = send(&[Errno::ECONNREFUSED; 100]);
        assert_eq!(result, Err(Errno::ECONNREFUSED));
        assert_eq!(
            reported.len(),
            MAX_TRIES as usize,
            "the result is the last one"
        );
    }
}
