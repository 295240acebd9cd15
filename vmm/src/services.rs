//! What a guest can reach of this process, by port.

use std::io;
use std::sync::Arc;

use crate::log::{self, LogEnd, Logs};
use crate::milestone::Milestone;
use crate::vsock::{Connect, HostEnd, READY_PORT};

/// The two services: being told that the agent is ready, and taking containers' output.
pub(crate) fn for_guest(logs: &Arc<Logs>, ready: &Arc<Milestone<()>>) -> Connect {
    let (logs, ready) = (Arc::clone(logs), Arc::clone(ready));
    Box::new(move |port| match port {
        READY_PORT => {
            ready.reach(());
            Some(Box::new(Silence))
        }
        log::PORT => Some(Box::new(LogEnd::new(Arc::clone(&logs)))),
        _ => None,
    })
}

/// An end that takes everything and says nothing: that the guest has connected is all it has to say.
struct Silence;

impl HostEnd for Silence {
    fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_connects_to_the_ready_port_is_ready() {
        let ready = Arc::new(Milestone::new().unwrap());
        let mut connect = for_guest(&Arc::default(), &ready);
        assert!(connect(log::PORT).is_some());
        assert!(!ready.is_reached());
        assert!(connect(READY_PORT).is_some());
        assert!(ready.is_reached());
        assert!(connect(22).is_none());
    }
}
