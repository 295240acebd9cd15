//! Entries for fuzzers: each takes any bytes and must return, in bounded memory.

mod connections;

use bytes::Bytes;
use tokio_tungstenite::tungstenite::Message;

use crate::resize::Sizes;
use crate::spdy::frame::Decoder;
use crate::spdy::header_block::{Headers, Inflater};
use crate::websocket::Encoding;

pub use connections::{spdy_connection, websocket_connection};

/// `data` as the bytes of a SPDY connection, in pieces whose length the first byte says.
pub fn spdy_frames(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let mut decoder = Decoder::default();
    for piece in data.chunks(usize::from(*piece) + 1) {
        decoder.buffer.extend_from_slice(piece);
        loop {
            match decoder.next() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// `data` as compressed header blocks, one after the other, each with its length in two bytes before it.
pub fn spdy_header_blocks(mut data: &[u8]) {
    let mut inflater = Inflater::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(rest.len());
        let (block, rest) = rest.split_at(len);
        if inflater.read(block).is_err() {
            return;
        }
        data = rest;
    }
}

/// `data` as headers that were inflated.
pub fn spdy_headers(data: &[u8]) {
    let _ = Headers::parse(data);
}

/// `data` as a message in each encoding of channels.
pub fn websocket_channels(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    for encoding in [
        Encoding::Binary,
        Encoding::BinaryWithClose,
        Encoding::Base64,
    ] {
        let _ = encoding.decode(Message::Binary(bytes.clone()));
    }
}

/// `data` as terminal sizes, in pieces whose length the first byte says.
pub fn terminal_sizes(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let mut sizes = Sizes::default();
    for piece in data.chunks(usize::from(*piece) + 1) {
        if sizes.push(piece).is_err() {
            return;
        }
    }
}
