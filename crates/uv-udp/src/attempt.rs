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
#[derive(Default)]
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
    fn a_kernel_that_refuses_for_ever_is_not_asked_for_ever() {
        let (result, reported) = send(&[Errno::ECONNREFUSED; 100]);
        assert_eq!(result, Err(Errno::ECONNREFUSED));
        assert_eq!(reported.len(), MAX_TRIES as usize - 1);
    }
}
