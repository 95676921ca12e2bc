//! Sending past errors that are about something else.
//!
//! Linux keeps an ICMP error as the socket's pending error, and hands it to whatever call comes next. If that is a send, it
//! fails with the error of an *earlier* datagram and sends nothing (`sock_error` in the kernel's send path; udp(7): "all
//! fatal errors will be passed back"). Being handed over also clears it, so the same send made again tells whose error it
//! was.

use std::mem;

use uv_sys::{Errno, Result};

/// How often one datagram is offered in the face of errors that cannot be its own. Each try takes away one pending error,
/// and only what was sent before can cause another, so that two are rare and this many never seen.
const MAX_TRIES: u32 = 16;
/// How often in a row it is refused with one and the same error before that is taken for its own. Where another CPU handles
/// the ICMP messages, the next one may come between two tries: about every twentieth time, in a flood of them.
const OWN_AFTER: u32 = 8;

/// One send that is made again where its error may be an earlier datagram's.
#[derive(Clone, Copy, Default)]
pub(crate) struct PendingErrorFilter {
    /// The last error, and how often in a row it came.
    suspect: Option<(Errno, u32)>,
    tries: u32,
}

impl PendingErrorFilter {
    /// Whether the send may be made again, now that the network is known to have said something about an earlier datagram.
    pub(crate) fn retry(&mut self, error: Errno) -> bool {
        let again = may_be_pending(error) && self.tries < MAX_TRIES;
        self.tries += u32::from(again);
        again
    }

    /// The result of the send, or `None` if it is to be made again. Errors that turn out to be an earlier datagram's go to
    /// `report`.
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
            // The message was not looked at: whose error the last one was is still to be seen, unless it can be nobody's
            // but an earlier datagram's.
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
        // No send is refused on its own account: that takes an answer from the network.
        let may_be_earlier =
            may_be_pending(error) && (count < OWN_AFTER || error == Errno::ECONNREFUSED);
        if may_be_earlier && self.tries < MAX_TRIES {
            self.tries += 1;
            return None;
        }
        let Self { suspect, .. } = mem::take(self);
        if error == Errno::ECONNREFUSED {
            // The result tells the last one.
            let suspect = suspect.map(|(error, count)| (error, count - 1));
            Self { suspect, tries: 0 }.give_up(report);
        }
        Some(result)
    }

    /// The suspect, without the tries.
    fn take_suspect(&mut self) -> Self {
        Self {
            suspect: self.suspect.take(),
            tries: 0,
        }
    }

    /// The message was sent or is given up, and what it was refused with was an earlier one's.
    pub(crate) fn give_up(self, mut report: impl FnMut(Errno)) {
        if let Some((earlier, count)) = self.suspect {
            (0..count).for_each(|_| report(earlier));
        }
    }
}

/// What the kernel makes of ICMP messages (`icmp_err_convert`, `icmpv6_err_convert`).
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

    /// Sends against a kernel that answers with `answers`, and then takes everything.
    fn send(answers: &[Errno]) -> (Result<()>, Vec<Errno>) {
        let (mut attempt, mut reported, mut answers) =
            (PendingErrorFilter::default(), Vec::new(), answers.iter());
        loop {
            let answer = answers.next().map_or(Ok(()), |&errno| Err(errno));
            if let Some(result) = attempt.classify(answer, |errno| reported.push(errno)) {
                return (result, reported);
            }
        }
    }

    #[test]
    fn errors_that_go_away_were_an_earlier_datagrams() {
        let refused = Errno::ECONNREFUSED;
        assert_eq!(send(&[refused]), (Ok(()), vec![refused]));
        assert_eq!(send(&[refused, refused]), (Ok(()), vec![refused, refused]));
        let three = [Errno::EHOSTUNREACH, refused, Errno::EHOSTUNREACH];
        assert_eq!(send(&three), (Ok(()), three.to_vec()));
        // One came just after the other was told.
        let two = [Errno::EMSGSIZE; 2];
        assert_eq!(send(&two), (Ok(()), two.to_vec()));
    }

    #[test]
    fn an_error_that_stays_is_the_datagrams_own() {
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
    fn a_question_outlives_a_kernel_without_room() {
        let (mut attempt, mut reported) = (PendingErrorFilter::default(), Vec::new());
        for round in 1..=OWN_AFTER {
            let full = attempt.classify::<()>(Err(Errno::EAGAIN), |errno| reported.push(errno));
            assert_eq!(full, Some(Err(Errno::EAGAIN)));
            let result = attempt.classify::<()>(Err(Errno::EMSGSIZE), |errno| reported.push(errno));
            let own = round == OWN_AFTER;
            assert_eq!(result, own.then_some(Err(Errno::EMSGSIZE)));
        }
        assert_eq!(
            (attempt.suspect, reported),
            (None, vec![]),
            "it was the message's own"
        );
        assert_eq!(
            attempt.classify::<()>(Err(Errno::EHOSTUNREACH), |_| unreachable!()),
            None
        );
        let mut reported = Vec::new();
        attempt.give_up(|errno| reported.push(errno));
        assert_eq!(reported, [Errno::EHOSTUNREACH]);
    }

    #[test]
    fn a_kernel_that_refuses_for_ever_is_not_asked_for_ever() {
        let (result, reported) = send(&[Errno::ECONNREFUSED; 100]);
        assert_eq!(result, Err(Errno::ECONNREFUSED));
        assert_eq!(reported.len(), MAX_TRIES as usize, "the result is one more");
    }
}
