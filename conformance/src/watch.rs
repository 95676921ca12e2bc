//! Records of callbacks, in the order of the calls, and datagrams that carry numbers.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use uv_udp::{Errno, Result, Udp};

/// Entries that callbacks make and a rule reads. A clone is the same log.
#[derive(Debug)]
pub(crate) struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn push(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }
}

/// The results of sends, each with its number.
pub(crate) type Results = Log<(usize, Result<()>)>;

impl Results {
    /// A send callback that logs its result with `number`.
    pub(crate) fn of(&self, number: usize) -> impl FnOnce(&Udp, Result<()>) + 'static {
        let log = self.clone();
        move |_, result| log.push((number, result))
    }

    /// A callback of `transmit` that logs its result with the token.
    pub(crate) fn by_token(&self) -> impl FnOnce(&Udp, usize, Result<()>) + 'static {
        let log = self.clone();
        move |_, token, result| log.push((token, result))
    }

    /// The numbers of the sends with this result.
    pub(crate) fn with(&self, result: Result<()>) -> Vec<usize> {
        let all = self.all();
        let matching = all.iter().filter(|(_, each)| *each == result);
        matching.map(|&(number, _)| number).collect()
    }
}

/// The datagrams and errors of a receive callback.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    data: Log<(Vec<u8>, SocketAddr)>,
    errors: Log<Errno>,
}

impl Inbox {
    /// Starts receiving on `udp` into a new inbox.
    pub(crate) fn of(udp: &Udp) -> Result<Self> {
        let inbox = Self::default();
        inbox.listen(udp)?;
        Ok(inbox)
    }

    /// Starts receiving on `udp` into this inbox.
    pub(crate) fn listen(&self, udp: &Udp) -> Result<()> {
        let inbox = self.clone();
        udp.recv_start(move |_, received| match received {
            Ok(datagram) => inbox.data.push((datagram.data.to_vec(), datagram.source)),
            Err(error) => inbox.errors.push(error.errno()),
        })
    }

    /// The number of datagrams.
    pub(crate) fn len(&self) -> usize {
        self.data.len()
    }

    /// The datagrams and their sources.
    pub(crate) fn datagrams(&self) -> Vec<(Vec<u8>, SocketAddr)> {
        self.data.all()
    }

    /// The datagrams as text.
    pub(crate) fn texts(&self) -> Vec<String> {
        let all = self.data.all();
        all.iter().map(|(data, _)| text(data)).collect()
    }

    /// The errors that the network reported.
    pub(crate) fn errors(&self) -> Vec<Errno> {
        self.errors.all()
    }
}

/// Bytes as text, which failures show.
pub(crate) fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// A count that callbacks raise. A clone is the same counter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Rc<Cell<usize>>);

impl Counter {
    pub(crate) fn up(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.get()
    }
}

/// A datagram of `len` bytes that begins with its number.
pub(crate) fn numbered(number: usize, len: usize) -> Vec<u8> {
    let mut data = format!("{number:04}").into_bytes();
    data.resize(len.max(4), b'.');
    data
}

/// The number that a datagram begins with.
pub(crate) fn number(data: &str) -> Option<usize> {
    data.get(..4)?.parse().ok()
}

/// The numbers that datagrams begin with.
pub(crate) fn numbers(texts: &[String]) -> Vec<usize> {
    texts.iter().filter_map(|text| number(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_out_of_datagrams() {
        assert_eq!(numbered(7, 6), b"0007..");
        assert_eq!(number("0123....."), Some(123));
        assert_eq!(number("xyz"), None);
    }
}
