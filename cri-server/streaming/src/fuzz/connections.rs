//! Whole connections: all that a client sends, with somebody behind who takes it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{DuplexStream, copy, duplex, join, sink};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::activity::Activity;
use crate::conversation::Talk;
use crate::limits::Limits;
use crate::spdy::{self, Offer};
use crate::websocket::{self, Encoding};

/// Few and short, so that a fuzzer gets to them.
fn limits() -> Limits {
    Limits {
        streams: 8,
        inbox_bytes: 64,
        message_bytes: 4096,
        stream_creation: Duration::MAX,
        idle: Duration::MAX,
        linger: Duration::MAX,
        drain: Duration::MAX,
        request: Duration::MAX,
    }
}

fn run(connection: impl Future) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing");
    runtime.block_on(connection);
}

/// `data` as all that comes on a SPDY connection, whose streams are taken and read, one in four refused.
pub fn spdy_connection(data: &[u8]) {
    run(async {
        let io = join(data, sink());
        let (mut connection, offers) = spdy::connect(io, &limits(), Arc::new(Activity::new(None)));
        tokio::select! {
            _ = connection.reader.run() => {}
            _ = connection.writer.talk() => {}
            () = take(offers) => {}
        }
    });
}

async fn take(mut offers: mpsc::Receiver<Offer>) {
    let mut readers = JoinSet::new();
    while let Some(offer) = offers.recv().await {
        if offer.id() % 8 == 7 {
            offer.refuse();
        } else if let Ok(mut stream) = offer.accept() {
            readers.spawn(async move {
                let _ = copy(&mut stream.inbox, &mut sink()).await;
                let _ = stream.outlet.finish().await;
            });
        }
    }
}

/// `data` as all that comes on a WebSocket, whose first two channels are read; the first byte says in
/// which encoding.
pub fn websocket_connection(data: &[u8]) {
    let Some((encoding, data)) = data.split_first() else {
        return;
    };
    let encoding = match encoding % 3 {
        0 => Encoding::Binary,
        1 => Encoding::BinaryWithClose,
        _ => Encoding::Base64,
    };
    run(async {
        let limits = limits();
        let mut readers = JoinSet::new();
        let mut inboxes = HashMap::new();
        for channel in 0..2 {
            let (theirs, mut ours): (DuplexStream, _) = duplex(limits.inbox_bytes);
            inboxes.insert(channel, theirs);
            readers.spawn(async move { copy(&mut ours, &mut sink()).await });
        }
        let socket = websocket::accept(join(data, sink()), &limits).await;
        let activity = Arc::new(Activity::new(None));
        let connection = websocket::connect(socket, encoding, inboxes, activity);
        // As long as there is an outlet, the talker does not say goodbye.
        let _outlet = connection.outlet(0);
        let (mut listener, mut talker) = connection.split();
        tokio::select! {
            _ = listener.run() => {}
            _ = talker.talk() => {}
        }
    });
}
