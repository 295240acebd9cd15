//! Extended attributes kept right behind their inode.

use std::collections::BTreeMap;

use super::{Fields, Malformed};

const HEADER_SIZE: usize = 12;
const ENTRY_SIZE: usize = 4;

/// The longest value an entry can hold.
pub(crate) const MAX_VALUE: usize = u16::MAX as usize;
/// What `i_xattr_icount` can express.
pub(crate) const MAX_AREA: usize = HEADER_SIZE + (u16::MAX as usize - 1) * 4;

/// The attributes of one inode. Sorted, so that equal files are equal bytes.
pub(crate) type Xattrs = BTreeMap<XattrName, Box<[u8]>>;

/// The prefixes EROFS has numbers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum XattrClass {
    User = 1,
    AclAccess = 2,
    AclDefault = 3,
    Trusted = 4,
    Security = 6,
}

const CLASSES: [(XattrClass, &[u8]); 5] = [
    (XattrClass::User, b"user."),
    (XattrClass::AclAccess, b"system.posix_acl_access"),
    (XattrClass::AclDefault, b"system.posix_acl_default"),
    (XattrClass::Trusted, b"trusted."),
    (XattrClass::Security, b"security."),
];

/// A name split into its prefix's number and the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct XattrName {
    class: XattrClass,
    suffix: Box<[u8]>,
}

impl XattrName {
    /// `None` where EROFS cannot hold such a name.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        let split = |(class, prefix): (XattrClass, &[u8])| {
            let suffix = name.strip_prefix(prefix)?;
            let whole = matches!(class, XattrClass::AclAccess | XattrClass::AclDefault);
            let valid = suffix.is_empty() == whole && suffix.len() <= 255 && !suffix.contains(&0);
            valid.then(|| Self {
                class,
                suffix: suffix.into(),
            })
        };
        CLASSES.into_iter().find_map(split)
    }

    /// The name as programs know it.
    pub(crate) fn full(&self) -> Vec<u8> {
        let prefix = CLASSES.into_iter().find(|(class, _)| *class == self.class);
        let (_, prefix) = prefix.expect("every class is listed");
        [prefix, &self.suffix].concat()
    }

    /// Bytes of the name without its prefix.
    pub(crate) fn suffix_len(&self) -> usize {
        self.suffix.len()
    }

    fn of(index: u8, suffix: &[u8]) -> Option<Self> {
        let (_, prefix) = CLASSES
            .into_iter()
            .find(|(class, _)| *class as u8 == index)?;
        Self::parse(&[prefix, suffix].concat())
    }
}

/// Bytes of the area that holds `xattrs`; 0 without any.
pub(crate) fn area_len(xattrs: &Xattrs) -> usize {
    if xattrs.is_empty() {
        return 0;
    }
    let entries = xattrs
        .iter()
        .map(|(name, value)| entry_len(name.suffix.len(), value.len()));
    HEADER_SIZE + entries.sum::<usize>()
}

fn entry_len(suffix: usize, value: usize) -> usize {
    (ENTRY_SIZE + suffix + value).next_multiple_of(4)
}

/// Appends the area of `xattrs`, [`area_len`] bytes.
pub(crate) fn encode(xattrs: &Xattrs, out: &mut Vec<u8>) {
    if xattrs.is_empty() {
        return;
    }
    out.extend([0; HEADER_SIZE]);
    for (name, value) in xattrs {
        let start = out.len();
        let value_len = u16::try_from(value.len()).expect("values are bounded when collected");
        let suffix_len = u8::try_from(name.suffix.len()).expect("checked by XattrName::parse");
        out.extend([suffix_len, name.class as u8]);
        out.extend(value_len.to_le_bytes());
        out.extend(&*name.suffix);
        out.extend(&**value);
        out.resize(start + entry_len(name.suffix.len(), value.len()), 0);
    }
}

/// Reads an area back.
pub(crate) fn decode(area: &[u8]) -> Result<Xattrs, Malformed> {
    const BAD: Malformed = Malformed("has a malformed extended attribute");
    let mut xattrs = Xattrs::new();
    if area.is_empty() {
        return Ok(xattrs);
    }
    // Byte 4 counts shared attributes, which we never write.
    if area.len() < HEADER_SIZE || area[4] != 0 {
        return Err(BAD);
    }
    let mut rest = &area[HEADER_SIZE..];
    while rest.len() >= ENTRY_SIZE {
        let suffix_end = ENTRY_SIZE + usize::from(rest[0]);
        let value_len = usize::from(Fields(rest).u16(2));
        let suffix = rest.get(ENTRY_SIZE..suffix_end).ok_or(BAD)?;
        let value = rest.get(suffix_end..suffix_end + value_len).ok_or(BAD)?;
        let name = XattrName::of(rest[1], suffix).ok_or(BAD)?;
        xattrs.insert(name, value.into());
        rest = rest.get(entry_len(suffix.len(), value_len)..).ok_or(BAD)?;
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xattrs(entries: &[(&str, &[u8])]) -> Xattrs {
        let name = |name: &str| XattrName::parse(name.as_bytes()).unwrap();
        entries
            .iter()
            .map(|(n, value)| (name(n), (*value).into()))
            .collect()
    }

    #[test]
    fn attributes_read_back() {
        let all = xattrs(&[
            ("user.a", b""),
            ("user.mime_type", b"text/plain"),
            ("system.posix_acl_access", &[2, 0, 0, 0]),
            ("trusted.x", &[0, 255]),
            ("security.capability", &[1; 20]),
        ]);
        let mut area = Vec::new();
        encode(&all, &mut area);
        assert_eq!(area.len(), area_len(&all));
        assert_eq!(decode(&area), Ok(all));
        assert_eq!(decode(&[]), Ok(Xattrs::new()));
    }

    #[test]
    fn names_without_a_number_are_refused() {
        for name in [
            "user.",
            "system.nfs4_acl",
            "system.posix_acl_accessx",
            "lustre.x",
            "",
        ] {
            assert_eq!(XattrName::parse(name.as_bytes()), None, "{name}");
        }
        let long = [b"user.".to_vec(), vec![b'x'; 256]].concat();
        assert_eq!(XattrName::parse(&long), None);
    }

    #[test]
    fn truncated_areas_are_errors() {
        let mut area = Vec::new();
        encode(&xattrs(&[("user.a", b"value")]), &mut area);
        for len in (1..area.len()).filter(|len| *len != HEADER_SIZE) {
            // Up to three bytes of padding may go unnoticed, content may not.
            assert!(len > HEADER_SIZE && len < HEADER_SIZE + 4 || decode(&area[..len]).is_err());
        }
    }
}
