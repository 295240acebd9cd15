//! PAX records, read strictly: what tar-core leaves to its caller, or forgives.

use std::str;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::EntryFault;
use crate::format::xattr::{MAX_AREA, MAX_VALUE, XattrName, Xattrs, area_len};
use crate::limits::LimitExceeded;
use crate::{Limits, marks};

/// Numbers that the parser resolves, and passes over in silence where they are none.
const NUMBERS: [&str; 5] = [
    "uid",
    "gid",
    "GNU.sparse.minor",
    "GNU.sparse.offset",
    "GNU.sparse.numbytes",
];

/// What the records of one entry say beyond what the parser has resolved.
#[derive(Debug, Default)]
pub(super) struct PaxRecords {
    /// Seconds and nanoseconds.
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) size: Option<u64>,
    /// The entry was sparse when it was packed.
    pub(super) sparse: bool,
    /// Version 1.0 of the sparse format, whose map precedes the data.
    pub(super) sparse_major: Option<u64>,
    pub(super) xattrs: Xattrs,
    /// Attributes left out on purpose.
    pub(super) dropped_xattrs: u64,
}

impl PaxRecords {
    /// Reads all records. The parser stops in silence at a record without a length; we do not, since
    /// what comes after would be lost.
    pub(super) fn parse(data: &[u8], limits: &Limits) -> Result<Self, EntryFault> {
        let mut records = Self::default();
        let mut rest = data;
        // libarchive writes each attribute twice; the binary form wins, as it does for Go.
        let mut encoded = Xattrs::new();
        while !rest.is_empty() {
            let (key, value, after) =
                split_record(rest).ok_or(EntryFault::BadPaxRecord("length"))?;
            records.apply(key, value, &mut encoded)?;
            rest = after;
        }
        for (name, value) in encoded {
            records.xattrs.entry(name).or_insert(value);
        }
        let area = area_len(&records.xattrs);
        let max = limits.max_xattr_bytes.min(MAX_AREA);
        LimitExceeded::check("bytes of extended attributes", area as u64, max as u64)?;
        Ok(records)
    }

    fn apply(&mut self, key: &[u8], value: &[u8], encoded: &mut Xattrs) -> Result<(), EntryFault> {
        match key {
            // POSIX: an empty value takes the record back; the header's own value stands.
            b"mtime" | b"size" | b"uid" | b"gid" if value.is_empty() => {}
            b"mtime" => self.mtime = Some(time(value).ok_or(EntryFault::BadPaxRecord("mtime"))?),
            b"size" => self.size = Some(number("size", value)?),
            b"path" | b"linkpath" | b"GNU.sparse.name" if value.contains(&0) => {
                return Err(EntryFault::NulInPath);
            }
            b"GNU.sparse.major" => self.sparse_major = Some(number("GNU.sparse.major", value)?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                number("GNU.sparse.size", value)?;
                self.sparse = true;
            }
            _ => {
                if let Some(key) = NUMBERS.into_iter().find(|known| known.as_bytes() == key) {
                    number(key, value)?;
                } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.keep(name, value)?;
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = percent_decode(name).ok_or(EntryFault::BadXattr)?;
                    let value = BASE64.decode(value).map_err(|_| EntryFault::BadXattr)?;
                    self.keep_in(encoded, &name, &value)?;
                }
            }
        }
        Ok(())
    }

    fn keep(&mut self, name: &[u8], value: &[u8]) -> Result<(), EntryFault> {
        let mut xattrs = std::mem::take(&mut self.xattrs);
        let kept = self.keep_in(&mut xattrs, name, value);
        self.xattrs = xattrs;
        kept
    }

    fn keep_in(
        &mut self,
        xattrs: &mut Xattrs,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), EntryFault> {
        // A label of the machine the image was built on means nothing here.
        let known = XattrName::parse(name).filter(|_| name != b"security.selinux");
        let Some(known) = known.filter(|_| !marks::is_reserved(name)) else {
            self.dropped_xattrs += 1;
            return Ok(());
        };
        LimitExceeded::check(
            "bytes in an extended attribute",
            value.len() as u64,
            MAX_VALUE as u64,
        )?;
        xattrs.insert(known, value.into());
        Ok(())
    }
}

/// libarchive leaves out the padding, others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// `<length> <key>=<value>\n`, and what comes after it.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &data[length..]))
}

fn number(key: &'static str, value: &[u8]) -> Result<u64, EntryFault> {
    let text = str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or(EntryFault::BadPaxRecord(key))
}

/// `[-]seconds[.fraction]`, floored to nanoseconds.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    const SECOND: u32 = 1_000_000_000;
    let text = str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{:0<9}", &fraction[..fraction.len().min(9)]);
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, SECOND - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

fn percent_decode(name: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = if byte == b'%' {
            let digits = str::from_utf8(after.get(..2)?).ok()?;
            (u8::from_str_radix(digits, 16).ok()?, &after[2..])
        } else {
            (byte, after)
        };
        decoded.push(byte);
        rest = after;
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(records: &[(&str, &[u8])]) -> Result<PaxRecords, EntryFault> {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let mut length = body.len() + 1;
            while length.to_string().len() + body.len() != length {
                length += 1;
            }
            data.extend(length.to_string().into_bytes());
            data.extend(body);
        }
        PaxRecords::parse(&data, &Limits::default())
    }

    #[track_caller]
    fn check_time(text: &str, expected: Option<(i64, u32)>) {
        assert_eq!(time(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn times_have_fractions_and_signs() {
        check_time("12", Some((12, 0)));
        check_time("12.5", Some((12, 500_000_000)));
        check_time("12.1234567899", Some((12, 123_456_789)));
        check_time("-1.25", Some((-2, 750_000_000)));
        check_time("-0.5", Some((-1, 500_000_000)));
        check_time("-3", Some((-3, 0)));
        check_time("1.5.2", None);
        check_time("", None);
        check_time("x", None);
        check_time("1.-5", None);
    }

    #[test]
    fn attributes_come_in_two_encodings_and_binary_wins() {
        let records = parse(&[
            ("LIBARCHIVE.xattr.user.b%3Dc", b"AAE"),
            ("LIBARCHIVE.xattr.user.a", b"AAEC"),
            ("SCHILY.xattr.user.a", b"\0\n=raw"),
        ]);
        let xattrs = records.unwrap().xattrs;
        let value = |name: &str| &*xattrs[&XattrName::parse(name.as_bytes()).unwrap()];
        assert_eq!(value("user.a"), b"\0\n=raw");
        assert_eq!(value("user.b=c"), b"\0\x01");
        assert_eq!(xattrs.len(), 2);
    }

    #[test]
    fn attributes_of_overlayfs_and_ours_are_dropped() {
        let records = parse(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.bulkhead.link", b"etc/shadow"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.system.nfs4_acl", b"acl"),
            ("SCHILY.xattr.security.capability", b"cap"),
        ])
        .unwrap();
        assert_eq!(records.dropped_xattrs, 5);
        assert_eq!(records.xattrs.len(), 1);
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in [
            "x a=b\n", "5 a=b", "99 a=b\n", "4 a\n", "0 a=b\n", " a=b\n", "2 a=b\n",
        ] {
            assert!(
                PaxRecords::parse(data.as_bytes(), &Limits::default()).is_err(),
                "{data}"
            );
        }
        assert_eq!(
            parse(&[("uid", b"-1")]).unwrap_err(),
            EntryFault::BadPaxRecord("uid")
        );
        assert_eq!(
            parse(&[("path", b"a\0b")]).unwrap_err(),
            EntryFault::NulInPath
        );
        assert!(parse(&[("LIBARCHIVE.xattr.user.a", b"***")]).is_err());
    }

    #[test]
    fn too_large_attributes_are_refused() {
        let big = vec![0; MAX_VALUE + 1];
        assert!(matches!(
            parse(&[("SCHILY.xattr.user.a", &big)]),
            Err(EntryFault::Limit(_))
        ));
        let half = vec![0; MAX_VALUE / 2];
        let two = parse(&[
            ("SCHILY.xattr.user.a", &half),
            ("SCHILY.xattr.user.b", &half),
        ]);
        assert!(matches!(two, Err(EntryFault::Limit(_))));
    }
}
