//! Tars written by hand, so that every field can be what no tool would write.

/// An archive under construction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tar(Vec<u8>);

/// One entry: a header, what comes before it, and content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    pub(crate) flag: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: i64,
    pub(crate) device: (u32, u32),
    pub(crate) pax: Vec<(String, Vec<u8>)>,
    pub(crate) content: Vec<u8>,
    /// What the header says instead of the content's length.
    pub(crate) size: Option<u64>,
}

impl Tar {
    /// Ends the archive.
    pub(crate) fn finish(self) -> Vec<u8> {
        [self.0, vec![0; 1024]].concat()
    }

    /// The archive without an end mark.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn add(mut self, entry: Entry) -> Self {
        entry.write(&mut self.0);
        self
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}

impl FromIterator<Entry> for Tar {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        entries.into_iter().fold(Self::default(), Self::add)
    }
}

impl Entry {
    pub(crate) fn new(flag: u8, path: impl AsRef<[u8]>) -> Self {
        Self {
            path: path.as_ref().to_vec(),
            flag,
            link: Vec::new(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            device: (0, 0),
            pax: Vec::new(),
            content: Vec::new(),
            size: None,
        }
    }

    pub(crate) fn file(path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        Self {
            content: content.as_ref().to_vec(),
            ..Self::new(b'0', path)
        }
    }

    pub(crate) fn directory(path: impl AsRef<[u8]>) -> Self {
        Self {
            mode: 0o750,
            ..Self::new(b'5', path)
        }
    }

    pub(crate) fn symlink(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(b'2', path)
        }
    }

    pub(crate) fn hard_link(path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        Self {
            link: target.as_ref().to_vec(),
            ..Self::new(b'1', path)
        }
    }

    pub(crate) fn char_device(path: impl AsRef<[u8]>, major: u32, minor: u32) -> Self {
        Self {
            device: (major, minor),
            ..Self::new(b'3', path)
        }
    }

    pub(crate) fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax.push((key.into(), value.as_ref().to_vec()));
        self
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.path.len() > 100 {
            write_block(out, self.extension(b'L', &self.path));
        }
        if self.link.len() > 100 {
            write_block(out, self.extension(b'K', &self.link));
        }
        let records: Vec<u8> = self
            .pax
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        if !records.is_empty() {
            write_block(
                out,
                (
                    header(&Self::new(b'x', "pax"), records.len() as u64),
                    records,
                ),
            );
        }
        let size = self.size.unwrap_or(self.content.len() as u64);
        write_block(out, (header(self, size), self.content.clone()));
    }

    fn extension(&self, flag: u8, text: &[u8]) -> ([u8; 512], Vec<u8>) {
        let text = [text, b"\0"].concat();
        (
            header(&Self::new(flag, "././@LongLink"), text.len() as u64),
            text,
        )
    }
}

fn write_block(out: &mut Vec<u8>, (header, content): ([u8; 512], Vec<u8>)) {
    out.extend(header);
    out.extend(content);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len() + 1;
    while length.to_string().len() + body.len() != length {
        length += 1;
    }
    [length.to_string().into_bytes(), body].concat()
}

fn header(entry: &Entry, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let name = &entry.path[..entry.path.len().min(100)];
    header[..name.len()].copy_from_slice(name);
    let link = &entry.link[..entry.link.len().min(100)];
    header[157..157 + link.len()].copy_from_slice(link);
    number(&mut header[100..108], u64::from(entry.mode));
    number(&mut header[108..116], entry.uid);
    number(&mut header[116..124], entry.gid);
    number(&mut header[124..136], size);
    number(&mut header[136..148], entry.mtime.cast_unsigned());
    header[156] = entry.flag;
    header[257..265].copy_from_slice(b"ustar  \0");
    number(&mut header[329..337], u64::from(entry.device.0));
    number(&mut header[337..345], u64::from(entry.device.1));
    seal(&mut header);
    header
}

/// Octal where it fits, base 256 where it does not.
fn number(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    if digits.len() < field.len() {
        field[..digits.len()].copy_from_slice(digits.as_bytes());
        return;
    }
    // Negative times are sign-extended.
    field.fill(if value >> 63 == 1 { 0xff } else { 0 });
    let start = field.len().saturating_sub(8);
    field[start..].copy_from_slice(&value.to_be_bytes());
    field[0] |= 0x80;
}

/// Sets the checksum of a header.
pub(crate) fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u64 = header[..512].iter().map(|byte| u64::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}
