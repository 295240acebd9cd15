//! The process that serves the files, as reached over vhost-user.
//!
//! It is told where guest memory and the queues are, and works there by itself until it is told to
//! stop. Its answers are awaited for as long as the socket's time limits allow.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{GuestAddress, GuestAddressSpace, GuestMemoryBackend, GuestMemoryMmap};

use super::Doorbells;
use super::under_way::{UnderWay, UsedIndex};
use crate::virtio::queue::QueueLayout;
use crate::virtio::transport::TRANSPORT_FEATURES;
use crate::virtio::{Memory, Queue};

/// The process can't serve this device.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Descriptors can't be had.
    #[error("make the device's descriptors")]
    Descriptors(#[source] io::Error),
    /// It does not answer, or with an error.
    #[error("{doing} of the process that serves the files")]
    Refused {
        /// What was asked.
        doing: &'static str,
        /// What came of it.
        source: vhost::Error,
    },
    /// It can't do what every driver may use.
    #[error("the process that serves the files lacks features {0:#x}")]
    Features(u64),
}

/// The connection.
pub(super) struct Backend {
    frontend: Frontend,
    socket: UnixStream,
    /// Queues that the process works on.
    started: Vec<(usize, UsedIndex)>,
    /// What it took of queues that it has no more.
    under_way: UnderWay,
}

impl Backend {
    /// Agrees on a protocol for a device with `queues`.
    pub(super) fn connect(socket: UnixStream, queues: usize) -> Result<Self, ConnectError> {
        let asked = |doing| move |source| ConnectError::Refused { doing, source };
        let ours = socket.try_clone().map_err(ConnectError::Descriptors)?;
        let mut frontend = Frontend::from_stream(ours, queues as u64);
        frontend.set_owner().map_err(asked("take charge"))?;
        let offered = frontend.get_features();
        let offered = offered.map_err(asked("learn the features"))?;
        let needed = TRANSPORT_FEATURES | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        if offered & needed != needed {
            return Err(ConnectError::Features(needed & !offered));
        }
        let protocol = frontend.get_protocol_features();
        let protocol = protocol.map_err(asked("learn the protocol"))?;
        // With acknowledgements, a queue that can't be used is known before the driver waits on it.
        let wanted = VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK;
        frontend
            .set_protocol_features(protocol & wanted)
            .map_err(asked("choose the protocol"))?;
        if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        Ok(Self {
            frontend,
            socket,
            started: Vec::new(),
            under_way: UnderWay::default(),
        })
    }

    /// Hands over the guest's memory and those of `queues` that the driver uses.
    pub(super) fn start<'a>(
        &mut self,
        memory: &Memory,
        features: u64,
        queues: impl Iterator<Item = (&'a Queue, &'a Doorbells)>,
    ) -> io::Result<()> {
        let features = features | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        self.frontend.set_features(features).map_err(error)?;
        let mapped = memory.memory();
        let regions = mapped
            .iter()
            .map(VhostUserMemoryRegionInfo::from_guest_region);
        let regions: Vec<_> = regions.collect::<Result<_, _>>().map_err(error)?;
        self.frontend.set_mem_table(&regions).map_err(error)?;
        for (index, (queue, bells)) in queues.enumerate() {
            if let Some(layout) = queue.layout() {
                let config = placed(&layout, &mapped)?;
                // Whatever becomes of starting it, the process may have it from here on.
                self.started.push((index, UsedIndex::of(&layout, memory)));
                self.start_queue(index, &config, bells).map_err(error)?;
            }
        }
        Ok(())
    }

    fn start_queue(
        &mut self,
        index: usize,
        config: &VringConfigData,
        bells: &Doorbells,
    ) -> Result<(), vhost::Error> {
        let frontend = &mut self.frontend;
        frontend.set_vring_num(index, config.queue_size)?;
        frontend.set_vring_base(index, 0)?;
        frontend.set_vring_addr(index, config)?;
        frontend.set_vring_call(index, &bells.call)?;
        frontend.set_vring_kick(index, &bells.kick)?;
        frontend.set_vring_enable(index, true)
    }

    /// Takes all queues back. When it returns without an error, the process takes no more requests, and
    /// [`Backend::is_quiet`] tells when it is done with those that it has.
    pub(super) fn stop(&mut self) -> io::Result<()> {
        for (index, used) in std::mem::take(&mut self.started) {
            self.frontend
                .set_vring_enable(index, false)
                .map_err(error)?;
            // The question is what stops a queue. It began at 0, so the answer is how many were taken.
            let taken = self.frontend.get_vring_base(index).map_err(error)?;
            let taken = u16::try_from(taken & 0xffff).expect("16 bits are left");
            self.under_way.add(used, taken);
        }
        Ok(())
    }

    /// Whether the process touches no guest memory any more, once it was stopped.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.under_way.is_over()
    }

    /// A descriptor that is readable when [`Backend::check`] should be called.
    pub(super) fn watch(&self) -> io::Result<OwnedFd> {
        self.socket.try_clone().map(OwnedFd::from)
    }

    /// Whether the process is still there. It never speaks first, so what can be read is its end.
    pub(super) fn check(&self) -> io::Result<()> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(&self.socket, &mut [0; 1], flags) {
            // An answer was on its way to another thread.
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// A queue's place in our address space, by which vhost-user knows it. Each part must lie in one region of
/// memory, which is one piece here and there.
fn placed(layout: &QueueLayout, memory: &GuestMemoryMmap) -> io::Result<VringConfigData> {
    let [descriptors, available, used] = layout.parts().map(|(address, len)| {
        let slice = memory.get_slice(GuestAddress(address), len);
        slice.map(|slice| slice.ptr_guard().as_ptr() as u64)
    });
    Ok(VringConfigData {
        queue_max_size: layout.size,
        queue_size: layout.size,
        flags: 0,
        desc_table_addr: descriptors.map_err(io::Error::other)?,
        avail_ring_addr: available.map_err(io::Error::other)?,
        used_ring_addr: used.map_err(io::Error::other)?,
        log_addr: None,
    })
}

fn error(error: vhost::Error) -> io::Error {
    io::Error::other(error)
}
