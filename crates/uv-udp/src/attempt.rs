//! Sending past errors that are about something else.
//!
//! Linux keeps an ICMP error as the socket's pending error, and hands it to whatever call comes next. If that is a send, it
//! fails with the error of an *earlier* datagram and sends nothing (`sock_error` in the kernel's send path; udp(7): "all
//! fatal errors will be passed back"). Being handed over also clears it, so the same send made again tells whose error it
//! was.

use uv_sys::{Errno, Result};

/// How often one datagram is offered in the face of errors that cannot be its own. Each try takes away one pending error,
/// and only what was sent before can cause another, so that two are rare and this many never seen.
const MAX_TRIES: u32 = 16;

/// One send that is made again where its error may be an earlier datagram's.
#[derive(Clone, Copy, Default)]
pub(crate) struct Attempt {
    suspect: Option<Errno>,
    tries: u32,
}

impl Attempt {
    /// Whether the send may be made again, now that the network is known to have said something about an earlier datagram.
    pub(crate) fn excuses(&mut self, error: Errno) -> bool {
        let again = may_be_pending(error) && self.tries < MAX_TRIES;
        self.tries += u32::from(again);
        again
    }

    /// The result of the send, or `None` if it is to be made again. Errors that turn out to be an earlier datagram's go to
    /// `report`.
    pub(crate) fn judge<T>(
        &mut self,
        result: Result<T>,
        mut report: impl FnMut(Errno),
    ) -> Option<Result<T>> {
        let Err(error) = result else {
            if let Some(earlier) = self.suspect.take() {
                report(earlier);
            }
            self.tries = 0;
            return Some(result);
        };
        if matches!(error, Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) {
            // The message was not looked at: whose error the last one was is still to be seen, unless it can be nobody's
            // but an earlier datagram's.
            if let Some(earlier) = self
                .suspect
                .take_if(|earlier| *earlier == Errno::ECONNREFUSED)
            {
                report(earlier);
            }
            return Some(result);
        }
        // No send is refused on its own account: that takes an answer from the network.
        let again = self.suspect != Some(error) || error == Errno::ECONNREFUSED;
        if again && may_be_pending(error) && self.tries < MAX_TRIES {
            self.tries += 1;
            if let Some(earlier) = self.suspect.replace(error) {
                report(earlier);
            }
            return None;
        }
        if let Some(earlier) = self.suspect.take().filter(|&earlier| earlier != error) {
            report(earlier);
        }
        self.tries = 0;
        Some(result)
    }
}

impl Attempt {
    /// The message is given up, and with it the question whose error the last one was.
    pub(crate) fn give_up(self, mut report: impl FnMut(Errno)) {
        if let Some(earlier) = self.suspect {
            report(earlier);
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
            (Attempt::default(), Vec::new(), answers.iter());
        loop {
            let answer = answers.next().map_or(Ok(()), |&errno| Err(errno));
            if let Some(result) = attempt.judge(answer, |errno| reported.push(errno)) {
                return (result, reported);
            }
        }
    }

    #[test]
    fn an_error_that_goes_away_was_an_earlier_datagrams() {
        let refused = Errno::ECONNREFUSED;
        assert_eq!(send(&[refused]), (Ok(()), vec![refused]));
        assert_eq!(send(&[refused, refused]), (Ok(()), vec![refused, refused]));
        let two = [Errno::EHOSTUNREACH, refused];
        assert_eq!(send(&two), (Ok(()), two.to_vec()));
    }

    #[test]
    fn an_error_that_stays_is_the_datagrams_own() {
        assert_eq!(
            send(&[Errno::ENETUNREACH; 2]),
            (Err(Errno::ENETUNREACH), vec![])
        );
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
        let (mut attempt, mut reported) = (Attempt::default(), Vec::new());
        for answer in [Errno::EMSGSIZE, Errno::EAGAIN, Errno::EMSGSIZE] {
            let result = attempt.judge::<()>(Err(answer), |errno| reported.push(errno));
            let own = answer == Errno::EAGAIN || attempt.suspect.is_none();
            assert_eq!(result, own.then_some(Err(answer)));
        }
        assert_eq!(
            (attempt.suspect, reported),
            (None, vec![]),
            "it was the message's own"
        );
        assert_eq!(
            attempt.judge::<()>(Err(Errno::EHOSTUNREACH), |_| unreachable!()),
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
        assert_eq!(reported.len(), MAX_TRIES as usize - 1);
    }
}
