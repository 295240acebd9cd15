//! Checks of `spdy/header_block.rs`.

use proptest::prelude::*;

use super::*;

#[test]
fn headers_come_back_block_after_block() {
    let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
    for port in ["80", "443", "80"] {
        let block = deflater.write(&[("streamtype", "data"), ("port", port)]);
        let headers = inflater.read(&block).unwrap();
        assert_eq!(headers.get("streamtype"), Some("data"));
        assert_eq!(headers.get("port"), Some(port));
        assert_eq!(headers.get("requestid"), None);
    }
    let empty = inflater.read(&deflater.write(&[])).unwrap();
    assert_eq!(empty, Headers::default());
}

#[test]
fn the_first_of_several_values_counts_and_names_are_lower_case() {
    let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
    let block = deflater.write(&[("StreamType", "error\0data")]);
    let headers = inflater.read(&block).unwrap();
    assert_eq!(headers.get("streamtype"), Some("error"));
}

#[test]
fn a_small_block_does_not_become_a_large_one() {
    let bomb = Deflater::new().deflate(&vec![0; 10 * INFLATED_MAX]);
    assert!(bomb.len() < INFLATED_MAX / 2, "{}", bomb.len());
    let error = Inflater::new().read(&bomb).unwrap_err();
    assert!(matches!(error, HeaderError::TooLong), "{error:?}");
}

#[test]
fn headers_that_are_cut_or_too_many_are_refused() {
    let is = |block: &[u8]| Headers::parse(block).unwrap_err();
    assert!(matches!(is(&[]), HeaderError::Truncated));
    assert!(matches!(is(&[0, 0, 0, 1]), HeaderError::Truncated));
    let long = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, b'a'];
    assert!(matches!(is(&long), HeaderError::Truncated));
    assert!(matches!(is(&[0xff; 4]), HeaderError::TooMany(u32::MAX)));
    let no_text = [0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0, 0, 0, 0];
    assert!(matches!(is(&no_text), HeaderError::NotText));
}

#[test]
fn what_is_not_compressed_is_refused() {
    assert!(Inflater::new().read(b"streamtype: error").is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(blocks: Vec<Vec<u8>>) {
        let mut inflater = Inflater::new();
        for block in &blocks {
            let _ = Headers::parse(block);
            if inflater.read(block).is_err() {
                break;
            }
        }
    }

    #[test]
    fn any_headers_come_back(values in prop::collection::vec("[ -~]{0,200}", 0..50)) {
        let headers: Vec<_> = values.iter().map(|value| ("name", value.as_str())).collect();
        let read = Inflater::new().read(&Deflater::new().write(&headers)).unwrap();
        prop_assert_eq!(read.get("name"), values.first().map(String::as_str));
    }
}
