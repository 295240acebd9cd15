//! The streams of exec and attach: `streamType` says which is which, and all must be there to start.

use tokio::sync::mpsc;
use tracing::debug;

use crate::conversation::Outcome;
use crate::executor::Executor;
use crate::limits::Limits;
use crate::output::Output;
use crate::remote_command::{self, CommandStreams};
use crate::request::{Request, Wanted};
use crate::spdy::{Offer, Stream};
use crate::status::StatusForm;

/// `vN.channel.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    /// The first, with errors in plain text.
    V1,
    /// As the first; ended stdin without closing the rest.
    V2,
    /// Adds terminal sizes.
    V3,
    /// Adds exit codes.
    V4,
}

impl Version {
    fn status(self) -> StatusForm {
        if self >= Self::V4 {
            StatusForm::Json
        } else {
            StatusForm::Text
        }
    }
}

/// Waits for the streams, runs the command, and tells how it ended.
pub(super) async fn serve(
    mut offers: mpsc::Receiver<Offer>,
    request: &Request,
    version: Version,
    executor: &dyn Executor,
    limits: &Limits,
) -> Outcome {
    let mut collected = Collected::new(request.wanted(), version);
    let all = collected.collect(&mut offers);
    if tokio::time::timeout(limits.stream_creation, all)
        .await
        .is_err()
    {
        return Outcome::NoStreams;
    }
    let Some(streams) = collected.complete(version) else {
        return Outcome::NoStreams;
    };
    let refusing = async {
        while let Some(offer) = offers.recv().await {
            offer.refuse();
        }
        std::future::pending().await
    };
    tokio::select! {
        () = remote_command::run(request, executor, streams, limits.drain) => {}
        () = refusing => {}
    }
    Outcome::Finished
}

/// The kinds of streams, by their `streamType`.
const TYPES: [&str; 5] = ["error", "stdin", "stdout", "stderr", "resize"];

/// Streams of which we have, or wait for, at most one each.
#[derive(Debug)]
struct Collected {
    wanted: [bool; TYPES.len()],
    streams: [Option<Stream>; TYPES.len()],
}

impl Collected {
    fn new(wanted: Wanted, version: Version) -> Self {
        let resize = wanted.terminal && version >= Version::V3;
        Self {
            wanted: [true, wanted.stdin, wanted.stdout, wanted.stderr, resize],
            streams: Default::default(),
        }
    }

    fn is_complete(&self) -> bool {
        let mut pairs = self.wanted.iter().zip(&self.streams);
        pairs.all(|(wanted, stream)| !wanted || stream.is_some())
    }

    async fn collect(&mut self, offers: &mut mpsc::Receiver<Offer>) {
        while !self.is_complete()
            && let Some(offer) = offers.recv().await
        {
            self.take(offer);
        }
    }

    fn take(&mut self, offer: Offer) {
        let kind = offer.headers.get("streamtype").unwrap_or_default();
        let Some(index) = TYPES.iter().position(|known| *known == kind) else {
            debug!(kind, "refused a stream of a type that we do not know");
            return offer.refuse();
        };
        if !self.wanted[index] || self.streams[index].is_some() {
            debug!(kind, "refused a stream that nobody asked for");
            return offer.refuse();
        }
        self.streams[index] = offer.accept().ok();
    }

    fn complete(self, version: Version) -> Option<CommandStreams> {
        let [error, stdin, stdout, stderr, resize] = self.streams;
        let inbox = |stream: Stream| stream.inbox;
        let output = |stream: Stream| Output::Spdy(stream.outlet);
        Some(CommandStreams {
            stdin: stdin.map(inbox),
            stdout: stdout.map(output),
            stderr: stderr.map(output),
            resize: resize.map(inbox),
            error: output(error?),
            status: version.status(),
        })
    }
}
