//! The streams of a process: our ends of its pipes or of its terminal, and who else reads along.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::sys::readiness::watch;

pub(crate) mod fan_out;

/// As much as one read takes: what goes into one message.
const CHUNK: usize = agent_api::flow::PIECE;

/// Most bytes that are still taken from a pipe which a stranger holds open after its owner ended.
const LAST: usize = 1024 * 1024;

/// Which of a process's outputs. A terminal is all stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Our end of a pipe or terminal. Reads and writes don't block the thread.
#[derive(Debug)]
pub(crate) struct End(AsyncFd<OwnedFd>);

impl End {
    /// Takes our end; the other end keeps blocking.
    pub(crate) fn new(fd: OwnedFd) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(watch(fd, Interest::READABLE | Interest::WRITABLE)?))
    }

    /// The end of a pipe that is only read, or only written.
    fn one_way(fd: OwnedFd, interest: Interest) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(watch(fd, interest)?))
    }

    /// Some bytes; empty at the end. A terminal without processes is at its end.
    async fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0
            .async_io(Interest::READABLE, |fd| {
                at_end(rustix::io::read(fd, &mut *buffer))
            })
            .await
    }

    /// Bytes that are there now; `None` if there are none.
    fn read_now(&self, buffer: &mut [u8]) -> Option<usize> {
        at_end(rustix::io::read(&self.0, &mut *buffer)).ok()
    }

    /// Writes all of `bytes`. A reader that is gone is an error.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let written = self
                .0
                .async_io(Interest::WRITABLE, |fd| Ok(rustix::io::write(fd, bytes)?))
                .await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn at_end(read: rustix::io::Result<usize>) -> std::io::Result<usize> {
    match read {
        Err(Errno::IO) => Ok(0),
        other => Ok(other?),
    }
}

/// A new pipe that a process writes and we read.
pub(crate) fn output_pipe() -> std::io::Result<(End, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((End::one_way(ours, Interest::READABLE)?, theirs))
}

/// A new pipe that we write and a process reads.
pub(crate) fn input_pipe() -> std::io::Result<(OwnedFd, End)> {
    let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((theirs, End::one_way(ours, Interest::WRITABLE)?))
}

/// Where output goes.
pub(crate) trait Sink: Send {
    /// Takes some output; an error means that nobody wants any more.
    fn take(&mut self, bytes: &[u8]) -> impl Future<Output = Result<(), Gone>> + Send;
}

/// Nobody reads any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// A task that moves all output from an [`End`] to a [`Sink`].
#[derive(Debug)]
pub(crate) struct Pump {
    task: JoinHandle<()>,
    stop: Arc<Notify>,
}

impl Pump {
    /// Starts to move output.
    pub(crate) fn start(end: Arc<End>, sink: impl Sink + 'static) -> Self {
        let stop = Arc::new(Notify::new());
        let task = tokio::spawn(pump(end, Arc::clone(&stop), sink));
        Self { task, stop }
    }

    /// Waits for the end of the output. After `grace` only what is already there is still taken: whoever
    /// holds the pipe open then is not the process that we serve.
    pub(crate) async fn finish(mut self, grace: Duration) {
        if tokio::time::timeout(grace, &mut self.task).await.is_err() {
            self.stop.notify_one();
            // A pump neither panics nor is it cancelled.
            let _ = (&mut self.task).await;
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(end: Arc<End>, stop: Arc<Notify>, mut sink: impl Sink) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            () = stop.notified() => break,
            read = end.read(&mut buffer) => read,
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(length) => {
                if sink.take(&buffer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
    let mut left = LAST;
    while let Some(length @ 1..) = end.read_now(&mut buffer) {
        if left < length || sink.take(&buffer[..length]).await.is_err() {
            return;
        }
        left -= length;
    }
}

/// A piece of output on its way to a client.
pub(crate) type Piece = (Stream, Bytes);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use parking_lot::Mutex;

    use super::*;

    struct Collect(Arc<Mutex<Vec<u8>>>);

    impl Sink for Collect {
        async fn take(&mut self, bytes: &[u8]) -> Result<(), Gone> {
            self.0.lock().extend_from_slice(bytes);
            Ok(())
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn everything_up_to_the_end_arrives() {
        let (ours, theirs) = output_pipe().unwrap();
        let collected = Arc::new(Mutex::new(Vec::new()));
        let sink = Collect(Arc::clone(&collected));
        let pump = Pump::start(Arc::new(ours), sink);
        let writer = std::thread::spawn(move || {
            let mut file = std::fs::File::from(theirs);
            file.write_all(&vec![b'x'; 3 * LAST]).unwrap();
        });
        pump.finish(Duration::from_secs(60)).await;
        writer.join().unwrap();
        assert_eq!(collected.lock().len(), 3 * LAST);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_pipe_that_is_held_open_ends_with_what_is_in_it() {
        let (ours, theirs) = output_pipe().unwrap();
        let collected = Arc::new(Mutex::new(Vec::new()));
        let mut file = std::fs::File::from(theirs);
        file.write_all(b"last words").unwrap();
        let pump = Pump::start(Arc::new(ours), Collect(Arc::clone(&collected)));
        pump.finish(Duration::from_millis(1)).await;
        assert_eq!(*collected.lock(), b"last words");
        drop(file);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_is_gone_is_an_error_and_no_signal() {
        let (theirs, ours) = input_pipe().unwrap();
        drop(theirs);
        assert!(ours.write_all(b"x").await.is_err());
    }
}
