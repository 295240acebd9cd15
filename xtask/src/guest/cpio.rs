//! The `newc` cpio format, as much of it as an initramfs needs.

/// Alignment of headers with names, and of contents.
const ALIGNMENT: usize = 4;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// An archive in memory. Everything in it belongs to root and is from 1970, so that it only depends
/// on what was put in.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory, whose parents must be there already.
    pub(crate) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    /// Adds a file, whose parents must be there already.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, REGULAR | mode, content);
    }

    /// The archive with its trailer.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let size = u32::try_from(content.len()).expect("a file in an initramfs is small");
        let name_size = u32::try_from(path.len() + 1).expect("a path is short");
        // Inode, mode, uid, gid, links, mtime, size, device (2), its number (2), name size, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend(b"070701");
        self.bytes.extend(
            fields
                .iter()
                .flat_map(|field| format!("{field:08x}").into_bytes()),
        );
        self.bytes.extend(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_start_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.file("init", 0o755, b"#!/x\n");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        // 110 bytes of header and "dev\0" end at 114: padded to 116, where the next header starts.
        assert_eq!(&bytes[116..122], b"070701");
        // 110 and "init\0" end at 231: padded to 232, where the content starts.
        assert_eq!(&bytes[232..237], b"#!/x\n");
        assert_eq!(&bytes[240..246], b"070701");
    }

    #[test]
    fn the_header_holds_mode_size_and_name_size() {
        let mut archive = Archive::default();
        archive.file("a", 0o644, b"xyz");
        let header = String::from_utf8(archive.finish()[..110].to_vec()).unwrap();
        assert_eq!(&header[14..22], "000081a4");
        assert_eq!(&header[54..62], "00000003");
        assert_eq!(&header[94..102], "00000002");
    }
}
