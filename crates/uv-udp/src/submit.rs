//! The way of a send from a public call to the sending half: defaults, the policy, the limit of the
//! queue, and the steps that must precede it.

use std::net::SocketAddr;
use std::num::NonZeroU16;

use uv_sys::{Payload, Result, Transmit};

use crate::handle::{Completion, Inner, SendCallback};
use crate::policy::Plan;

impl Inner {
    /// Accepts a datagram, or returns the reason. Inlined into the caller, where the compiler
    /// removes the branches for unused fields of the datagram.
    #[inline(always)]
    pub(crate) fn send(&self, transmit: Transmit<'_>, callback: SendCallback) -> Result<()> {
        let completion = Completion {
            callback,
            token: transmit.token,
        };
        match transmit.payload {
            Payload::Bytes(payload) if transmit.is_plain() => {
                let destination = transmit.destination.as_ref();
                match self.try_coalesce(payload, destination, completion) {
                    Ok(()) => Ok(()),
                    Err(completion) => self.send_plain(payload, destination, completion),
                }
            }
            _ => self.send_checked(transmit, completion),
        }
    }

    fn try_coalesce(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        completion: Completion,
    ) -> std::result::Result<(), Completion> {
        if self.handle.is_closing() {
            return Err(completion);
        }
        self.send.try_coalesce(payload, destination, completion)
    }

    pub(crate) fn add_defaults(&self, transmit: &mut Transmit<'_>) {
        let socket_tos = || self.with_socket(|socket| uv_sys::option::tos(socket)).ok();
        self.send.defaults().apply(transmit, socket_tos);
    }

    #[inline(never)]
    fn send_plain(
        &self,
        payload: &[u8],
        destination: Option<&SocketAddr>,
        completion: Completion,
    ) -> Result<()> {
        let mut transmit = Transmit::new(payload);
        transmit.destination = destination.copied();
        self.send_checked(transmit, completion)
    }

    fn send_checked(&self, mut transmit: Transmit<'_>, completion: Completion) -> Result<()> {
        self.add_defaults(&mut transmit);
        let plan = self.check_send(&transmit)?;
        self.send.check_limit(transmit.payload.len())?;
        plan.map_or(Ok(()), |plan| self.execute(plan))?;
        self.with_send(|send, cx| {
            send.accept(cx, &transmit, completion);
            Ok(())
        })
    }

    pub(crate) fn try_send(&self, mut transmit: Transmit<'_>) -> Result<usize> {
        self.add_defaults(&mut transmit);
        self.prepare_to_send(&transmit)?;
        self.with_send(|send, cx| send.try_send(cx, &transmit))
    }

    pub(crate) fn try_send_buffer(
        &self,
        transmit: &Transmit<'_>,
        data: &[u8],
        size: NonZeroU16,
    ) -> Result<usize> {
        let first = data.get(..usize::from(size.get())).unwrap_or(data);
        let mut header = transmit.with_payload(first);
        header.segment_size = None;
        self.add_defaults(&mut header);
        self.prepare_to_send(&header)?;
        self.with_send(|send, cx| send.try_send_buffer(cx, &header, data, size))
    }

    /// Checks a send. Returns the steps that must precede it, if any.
    #[inline]
    fn check_send(&self, transmit: &Transmit<'_>) -> Result<Option<Plan>> {
        self.handle.check_open()?;
        self.state
            .get()
            .transmit(transmit, self.shared.max_segments)
    }

    /// Checks a send, and executes the steps that must precede it.
    #[inline]
    fn prepare_to_send(&self, transmit: &Transmit<'_>) -> Result<()> {
        match self.check_send(transmit)? {
            Some(plan) => self.execute(plan),
            None => Ok(()),
        }
    }

    /// Checks several sends, and executes the steps that must precede them if all pass.
    pub(crate) fn prepare_to_send_all(&self, batch: &[Transmit<'_>]) -> Result<()> {
        self.handle.check_open()?;
        let (mut state, mut first) = (self.state.get(), None);
        for transmit in batch {
            if let Some(plan) = state.transmit(transmit, self.shared.max_segments)? {
                state = state.after_sending(&plan);
                first = Some(plan);
            }
        }
        first.map_or(Ok(()), |plan| self.execute(plan))
    }
}
