//! Copying between the client's streams and a process or connection.

use std::io;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use crate::output::{Gone, HEADROOM, Output};

/// Most bytes in a piece.
const PIECE: usize = 64 * 1024 - HEADROOM;
/// What a command's offspring may still say after the command has ended.
const AFTERWARDS: usize = 8 * 1024 * 1024;

/// Copies to the client until the source ends.
pub(crate) async fn copy_out<R: AsyncRead + Unpin>(
    source: &mut R,
    output: &Output,
) -> Result<(), Gone> {
    let mut buffer = BytesMut::with_capacity(2 * (HEADROOM + PIECE));
    while let Ok(1..) = read_piece(source, &mut buffer).await {
        output.send(buffer.split()).await?;
    }
    Ok(())
}

/// The same, for output of a command that somebody may hold open after the command has ended: then
/// until nothing comes for `drain`, or too much does.
pub(crate) async fn copy_out_until<R: AsyncRead + Unpin>(
    source: &mut R,
    output: &Output,
    mut ended: watch::Receiver<bool>,
    drain: Duration,
) -> Result<(), Gone> {
    let mut buffer = BytesMut::with_capacity(2 * (HEADROOM + PIECE));
    let mut afterwards = 0;
    while afterwards < AFTERWARDS {
        let read = tokio::select! {
            biased;
            read = read_piece(source, &mut buffer) => read.unwrap_or(0),
            () = quiet(&mut ended, drain) => 0,
        };
        if read == 0 {
            return Ok(());
        }
        output.send(buffer.split()).await?;
        if *ended.borrow() {
            afterwards += read;
        }
    }
    Ok(())
}

async fn quiet(ended: &mut watch::Receiver<bool>, drain: Duration) {
    // A sender that is gone can't say that the command goes on.
    let _ = ended.wait_for(|ended| *ended).await;
    tokio::time::sleep(drain).await;
}

/// Reads behind [`HEADROOM`] bytes, so that a frame is made without copying. Reads that are given up
/// leave only headroom behind.
async fn read_piece<R: AsyncRead + Unpin>(
    source: &mut R,
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    buffer.clear();
    buffer.reserve(HEADROOM + PIECE);
    buffer.put_bytes(0, HEADROOM);
    source.read_buf(&mut buffer.limit(PIECE)).await
}

/// Copies from the client until it sends no more, and then ends `sink`. Bytes that nobody takes end it too.
pub(crate) async fn copy_in<W: AsyncWrite + Unpin>(
    mut inbox: DuplexStream,
    sink: &mut W,
) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(PIECE);
    loop {
        buffer.reserve(PIECE);
        if inbox.read_buf(&mut buffer).await? == 0 {
            return sink.shutdown().await;
        }
        sink.write_all_buf(&mut buffer).await?;
        // A sink with a buffer of its own must not keep a prompt's answer.
        sink.flush().await?;
    }
}
