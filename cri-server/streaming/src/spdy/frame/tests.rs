//! Checks of `spdy/frame.rs`.

use proptest::prelude::*;

use super::*;

fn decode(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::default();
    decoder.buffer.extend_from_slice(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next()? {
        frames.push(frame);
    }
    Ok(frames)
}

fn control(kind: u16, flags: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    put_control(&mut bytes, kind, flags, body);
    bytes.to_vec()
}

fn data(stream: u32, fin: bool, payload: &[u8]) -> Vec<u8> {
    let mut bytes = data_head(stream, fin, payload.len()).to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn a_stream_is_opened_with_headers() {
    let bytes = control(1, FIN, &[&[0, 0, 0, 5], &[0; 6], b"block"]);
    assert_eq!(bytes[..8], [0x80, 3, 0, 1, 1, 0, 0, 15]);
    let block = Bytes::from_static(b"block");
    let frame = Frame::SynStream {
        stream: 5,
        fin: true,
        block,
    };
    assert_eq!(decode(&bytes), Ok(vec![frame]));
}

#[test]
fn frames_of_ours_are_what_a_client_expects() {
    let mut bytes = BytesMut::new();
    put_ping(&mut bytes, 7);
    assert_eq!(bytes[..], [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 7]);
    assert_eq!(decode(&bytes), Ok(vec![Frame::Ping { id: 7 }]));
    bytes.clear();
    put_rst_stream(&mut bytes, 9, CANCEL);
    assert_eq!(decode(&bytes), Ok(vec![Frame::RstStream { stream: 9 }]));
    bytes.clear();
    put_go_away(&mut bytes, 3);
    assert_eq!(bytes.len(), 16);
    assert_eq!(decode(&bytes), Ok(vec![Frame::GoAway]));
    bytes.clear();
    put_syn_reply(&mut bytes, 3, b"");
    let (stream, fin, block) = (3, false, Bytes::new());
    assert_eq!(
        decode(&bytes),
        Ok(vec![Frame::Headers { stream, fin, block }])
    );
}

#[test]
fn data_is_handed_out_in_the_pieces_in_which_it_comes() {
    let mut decoder = Decoder::default();
    // 16 MiB are announced, and cost nothing.
    decoder
        .buffer
        .extend_from_slice(&[0, 0, 0, 1, FIN, 0xff, 0xff, 0xff]);
    assert_eq!(decoder.next(), Ok(None));
    decoder.buffer.extend_from_slice(b"abc");
    let payload = Bytes::from_static(b"abc");
    let (stream, fin) = (1, false);
    assert_eq!(
        decoder.next(),
        Ok(Some(Frame::Data {
            stream,
            fin,
            payload
        }))
    );
    assert_eq!(decoder.next(), Ok(None));
}

#[test]
fn an_empty_frame_may_end_a_stream() {
    let (stream, fin, payload) = (1, true, Bytes::new());
    let frame = Frame::Data {
        stream,
        fin,
        payload,
    };
    assert_eq!(decode(&data(1, true, b"")), Ok(vec![frame]));
}

#[test]
fn what_is_not_spdy_is_found_at_once() {
    assert_eq!(
        decode(&[0x80, 2, 0, 1, 0, 0, 0, 0]),
        Err(FrameError::Version(2))
    );
    assert_eq!(decode(&[0; 8]), Err(FrameError::NoStream));
    let (kind, len) = (1, CONTROL_MAX + 1);
    let long = [0x80, 3, 0, 1, 0, 1, 0, 1];
    assert_eq!(decode(&long), Err(FrameError::TooLong { kind, len }));
    assert_eq!(
        decode(&control(1, 0, &[&[0; 9]])),
        Err(FrameError::TooShort(1))
    );
    assert_eq!(
        decode(&control(6, 0, &[&[0; 3]])),
        Err(FrameError::TooShort(6))
    );
    for ignored in [4, 5, 9, 10, 4711] {
        assert_eq!(
            decode(&control(ignored, 0, &[b"xx"])),
            Ok(vec![Frame::Ignored])
        );
    }
}

proptest! {
    #[test]
    fn how_bytes_are_cut_does_not_matter(
        payloads in prop::collection::vec(any::<Vec<u8>>(), 1..5),
        cut in 1usize..40,
    ) {
        let mut bytes = Vec::new();
        for payload in &payloads {
            bytes.extend(data(1, false, payload));
            bytes.extend(control(6, 0, &[&[0, 0, 0, 1]]));
        }
        let mut decoder = Decoder::default();
        let (mut received, mut pings) = (Vec::new(), 0);
        for piece in bytes.chunks(cut) {
            decoder.buffer.extend_from_slice(piece);
            while let Some(frame) = decoder.next().unwrap() {
                match frame {
                    Frame::Data { payload, .. } => received.extend_from_slice(&payload),
                    Frame::Ping { .. } => pings += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        prop_assert_eq!(received, payloads.concat());
        prop_assert_eq!(pings, payloads.len());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic_or_stand_still(bytes: Vec<u8>) {
        let _ = decode(&bytes);
    }
}
