//! One control connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use vmm_api::{
    Channel, ChannelError, ErrorCode, Event, Failure, PROTOCOL, Reply, Request, version,
};
use vmm_devices::host_warn;

use super::vmm::Vmm;
use crate::files::Files;

/// What a peer has said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing.
    Silent,
    /// Which protocols it speaks.
    Greeted,
    /// That it wants events, and nothing else.
    Subscribed,
}

/// What a request leads to beside its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stay,
    HangUp,
    Subscribed,
    Booted,
    Killed,
}

/// A peer and what it has said. Its socket does not block.
pub(super) struct Peer {
    channel: Channel,
    stage: Stage,
}

impl Peer {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            channel: socket.into(),
            stage: Stage::Silent,
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.stage == Stage::Subscribed
    }

    /// Answers the request that has arrived.
    pub(super) fn serve(&mut self, vmm: &mut Vmm) -> Outcome {
        match self.channel.receive::<Request>() {
            Ok((request, fds)) => self.answer(vmm, &request, &fds.into()),
            Err(ChannelError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Outcome::Stay
            }
            Err(ChannelError::Io(_)) => Outcome::HangUp,
            Err(error) => {
                host_warn!(%error, "a request is not understood");
                let refused = self.reply(&refuse(ErrorCode::Invalid, crate::chain(&error)));
                refused.map_or(Outcome::HangUp, |()| Outcome::Stay)
            }
        }
    }

    /// Sends an event; an error means that the peer is gone, or does not read.
    pub(super) fn publish(&self, event: &Event) -> Result<(), ChannelError> {
        self.channel.send(event, &[])
    }

    fn answer(&mut self, vmm: &mut Vmm, request: &Request, files: &Files) -> Outcome {
        let (reply, outcome) = match (self.stage, request) {
            (_, Request::Hello { min, max }) => (self.greet(*min, *max), Outcome::Stay),
            (Stage::Silent, _) => (
                refuse(ErrorCode::WrongState, "say hello first"),
                Outcome::Stay,
            ),
            (Stage::Subscribed, _) => (
                refuse(ErrorCode::WrongState, "this connection carries events"),
                Outcome::HangUp,
            ),
            (Stage::Greeted, Request::Subscribe) => return self.subscribe(vmm),
            (Stage::Greeted, request) => vmm.answer(request, files),
        };
        match self.reply(&reply) {
            Ok(()) => outcome,
            // What was done is done, whether or not its peer hears of it.
            Err(_) if matches!(outcome, Outcome::Booted | Outcome::Killed) => outcome,
            Err(_) => Outcome::HangUp,
        }
    }

    fn greet(&mut self, min: u32, max: u32) -> Reply {
        let protocol = PROTOCOL.min(max);
        if protocol < version::OLDEST.max(min) {
            let ours = format!("protocols {} to {PROTOCOL}", version::OLDEST);
            return refuse(
                ErrorCode::Unsupported,
                format!("this VMM speaks {ours}, not {min} to {max}"),
            );
        }
        if self.stage == Stage::Silent {
            self.stage = Stage::Greeted;
        }
        Reply::Hello {
            protocol,
            build: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn subscribe(&mut self, vmm: &Vmm) -> Outcome {
        self.stage = Stage::Subscribed;
        // Taken before the answer: what happens after it comes by itself, and not twice.
        let so_far = vmm.so_far();
        let told = self
            .reply(&Reply::Done)
            .and_then(|()| so_far.iter().try_for_each(|event| self.publish(event)));
        told.map_or(Outcome::HangUp, |()| Outcome::Subscribed)
    }

    fn reply(&self, reply: &Reply) -> Result<(), ChannelError> {
        self.channel.send(reply, &[])
    }
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> Reply {
    Reply::Failed(Failure {
        code,
        message: message.into(),
    })
}
