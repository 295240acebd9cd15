//! Messages between the agent and stage-1: one packet each on a socket pair, descriptors beside them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use prost::Message;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

use super::spec::{Handover, Report, Role, Spec};

/// Most bytes of one packet. A report holds at most a list of groups or a text.
const MAX_PACKET: usize = 64 * 1024;

/// Most descriptors beside one packet: one of each role.
const MAX_FDS: usize = 16;

/// Descriptors by what they are for.
#[derive(Debug, Default)]
pub(crate) struct Fds(BTreeMap<Role, OwnedFd>);

impl Fds {
    /// Takes the descriptor of that role, if there is one.
    pub(crate) fn take(&mut self, role: Role) -> Option<OwnedFd> {
        self.0.remove(&role)
    }

    /// The descriptor of that role, if there is one.
    pub(crate) fn get(&self, role: Role) -> Option<BorrowedFd<'_>> {
        self.0.get(&role).map(AsFd::as_fd)
    }
}

/// The two ends of a new channel.
pub(crate) fn pair() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// Sends `spec` and the descriptors it needs to stage-1.
pub(crate) fn send_spec(
    socket: impl AsFd,
    spec: &Spec,
    fds: &[(Role, BorrowedFd<'_>)],
) -> std::io::Result<()> {
    let mut file = File::from(memfd_create("spec", MemfdFlags::CLOEXEC)?);
    file.write_all(&spec.encode_to_vec())?;
    file.rewind()?;
    let all: Vec<_> = [(Role::Spec, file.as_fd())]
        .into_iter()
        .chain(fds.iter().copied())
        .collect();
    let handover = Handover {
        roles: all.iter().map(|(role, _)| i32::from(*role)).collect(),
    };
    let fds: Vec<_> = all.iter().map(|(_, fd)| *fd).collect();
    Ok(send(socket, &handover.encode_to_vec(), &fds)?)
}

/// Waits for what [`send_spec`] sent.
pub(crate) fn receive_spec(socket: impl AsFd) -> std::io::Result<(Spec, Fds)> {
    let (bytes, fds) = receive(socket)?;
    let mut fds = named(&Handover::decode(&bytes[..])?.roles, fds)?;
    let mut file = File::from(fds.take(Role::Spec).ok_or(Errno::BADMSG)?);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok((Spec::decode(&bytes[..])?, fds))
}

/// Sends `report` with `fds` beside it to the agent.
pub(crate) fn send_report(
    socket: impl AsFd,
    mut report: Report,
    fds: &[(Role, BorrowedFd<'_>)],
) -> rustix::io::Result<()> {
    report.roles = fds.iter().map(|(role, _)| i32::from(*role)).collect();
    let fds: Vec<_> = fds.iter().map(|(_, fd)| *fd).collect();
    send(socket, &report.encode_to_vec(), &fds)
}

/// Receives what [`send_report`] sent. `Ok(None)` means that the other side is gone, or became another
/// program.
pub(crate) fn receive_report(socket: impl AsFd) -> rustix::io::Result<Option<(Report, Fds)>> {
    let (bytes, fds) = receive(socket)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let report = Report::decode(&bytes[..]).map_err(|_| Errno::BADMSG)?;
    let fds = named(&report.roles, fds)?;
    Ok(Some((report, fds)))
}

/// One packet that says "go on".
pub(crate) fn send_start(socket: impl AsFd) -> rustix::io::Result<()> {
    send(socket, b"start", &[])
}

/// Waits for [`send_start`]. An agent that is gone is an error.
pub(crate) fn wait_for_start(socket: impl AsFd) -> rustix::io::Result<()> {
    match receive(socket)? {
        (bytes, _) if bytes.is_empty() => Err(Errno::PIPE),
        _ => Ok(()),
    }
}

fn named(roles: &[i32], fds: Vec<OwnedFd>) -> rustix::io::Result<Fds> {
    if roles.len() != fds.len() {
        return Err(Errno::BADMSG);
    }
    let roles = roles
        .iter()
        .map(|&role| Role::try_from(role).map_err(|_| Errno::BADMSG));
    roles
        .zip(fds)
        .map(|(role, fd)| Ok((role?, fd)))
        .collect::<Result<_, _>>()
        .map(Fds)
}

fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MSGSIZE);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })
    .map(drop)
}

fn receive(socket: impl AsFd) -> rustix::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(Errno::MSGSIZE);
    }
    bytes.truncate(received.bytes);
    Ok((bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::super::spec::{Failed, Job, PodJob, Told};
    use super::*;

    #[test]
    fn a_spec_arrives_with_its_descriptors_however_large_it_is() {
        let (ours, theirs) = pair().unwrap();
        let job = PodJob {
            hostname: "x".repeat(4 << 20),
            ..PodJob::default()
        };
        let spec = Spec {
            job: Some(Job::Pod(job)),
        };
        let (mut reader, writer) = std::io::pipe().unwrap();
        send_spec(&ours, &spec, &[(Role::Stdout, writer.as_fd())]).unwrap();
        drop(writer);

        let (received, mut fds) = receive_spec(&theirs).unwrap();
        assert_eq!(received, spec);
        assert!(fds.take(Role::Stdin).is_none());
        let mut file = File::from(fds.take(Role::Stdout).unwrap());
        file.write_all(b"through").unwrap();
        drop(file);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_report_arrives_and_then_the_end() {
        let (ours, theirs) = pair().unwrap();
        let failed = Failed {
            code: 3,
            message: "no".into(),
        };
        let report = Report {
            told: Some(Told::Failed(failed)),
            roles: vec![],
        };
        send_report(&ours, report.clone(), &[]).unwrap();
        drop(ours);
        let (received, _) = receive_report(&theirs).unwrap().unwrap();
        assert_eq!(received, report);
        assert!(receive_report(&theirs).unwrap().is_none());
    }

    #[test]
    fn a_start_is_waited_for_and_an_agent_that_dies_is_an_error() {
        let (ours, theirs) = pair().unwrap();
        send_start(&ours).unwrap();
        wait_for_start(&theirs).unwrap();
        drop(ours);
        assert!(wait_for_start(&theirs).is_err());
    }
}
