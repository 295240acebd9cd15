//! Directory data: blocks of entries, sorted bytewise through all of them.

use super::{BLOCK, Fields, MAX_NAME, Malformed};

const DIRENT_SIZE: usize = 12;

/// A name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dirent<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) nid: u64,
    /// As in [`TypeBits::dirent_type`](super::inode::TypeBits::dirent_type).
    pub(crate) file_type: u8,
}

/// How many bytes a directory takes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DirectorySize {
    /// Blocks before the last one.
    pub(crate) whole_blocks: u32,
    /// Bytes used in the last block; at most a block, 0 only for a directory without entries.
    pub(crate) tail: usize,
}

impl DirectorySize {
    /// Of names in the order they will be written in.
    pub(crate) fn measure<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut size = Self::default();
        for name in names {
            let entry = DIRENT_SIZE + name.len();
            if size.tail + entry > BLOCK {
                size.whole_blocks += 1;
                size.tail = 0;
            }
            size.tail += entry;
        }
        size
    }

    /// The directory's `i_size`.
    pub(crate) fn bytes(self) -> u64 {
        u64::from(self.whole_blocks) * BLOCK as u64 + self.tail as u64
    }
}

/// The data of a directory: whole blocks, then the last one without padding.
pub(crate) fn encode(entries: &[Dirent<'_>]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        data.resize(data.len().next_multiple_of(BLOCK), 0);
        let (block, others) = rest.split_at(entries_in_block(rest));
        encode_block(block, &mut data);
        rest = others;
    }
    data
}

fn entries_in_block(entries: &[Dirent<'_>]) -> usize {
    let mut used = 0;
    let fits = |entry: &&Dirent<'_>| {
        used += DIRENT_SIZE + entry.name.len();
        used <= BLOCK
    };
    entries.iter().take_while(fits).count()
}

fn encode_block(entries: &[Dirent<'_>], data: &mut Vec<u8>) {
    let mut name_offset = entries.len() * DIRENT_SIZE;
    for entry in entries {
        data.extend(entry.nid.to_le_bytes());
        let offset = u16::try_from(name_offset).expect("an offset within a block");
        data.extend(offset.to_le_bytes());
        data.extend([entry.file_type, 0]);
        name_offset += entry.name.len();
    }
    for entry in entries {
        data.extend(entry.name);
    }
}

/// The entries of one block, or of the unpadded last one.
pub(crate) fn decode_block(block: &[u8]) -> Result<Vec<Dirent<'_>>, Malformed> {
    const BAD: Malformed = Malformed("has a directory block with bad name offsets");
    if block.len() < DIRENT_SIZE {
        return Err(BAD);
    }
    let names_start = usize::from(Fields(block).u16(8));
    if names_start == 0 || !names_start.is_multiple_of(DIRENT_SIZE) || names_start > block.len() {
        return Err(BAD);
    }
    let offset = |index: usize| usize::from(Fields(block).u16(index * DIRENT_SIZE + 8));
    let count = names_start / DIRENT_SIZE;
    (0..count)
        .map(|index| {
            let head = Fields(&block[index * DIRENT_SIZE..(index + 1) * DIRENT_SIZE]);
            let end = if index + 1 < count {
                offset(index + 1)
            } else {
                block.len()
            };
            let mut name = block.get(offset(index)..end).ok_or(BAD)?;
            if index + 1 == count {
                // The last name of a whole block ends at the padding.
                name = name.split(|byte| *byte == 0).next().unwrap_or(name);
            }
            check_name(name)?;
            Ok(Dirent {
                name,
                nid: head.u64(0),
                file_type: block[index * DIRENT_SIZE + 10],
            })
        })
        .collect()
}

fn check_name(name: &[u8]) -> Result<(), Malformed> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains(&0) || name.contains(&b'/') {
        return Err(Malformed("has a directory entry with an impossible name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize, length: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| format!("{n:0length$}").into_bytes())
            .collect()
    }

    #[track_caller]
    fn check(count: usize, length: usize) {
        let names = names(count, length);
        let entries: Vec<_> = (0u64..)
            .zip(&names)
            .map(|(nid, name)| Dirent {
                name,
                nid,
                file_type: 1,
            })
            .collect();
        let data = encode(&entries);
        let size = DirectorySize::measure(names.iter().map(Vec::as_slice));
        assert_eq!(size.bytes(), data.len() as u64);
        let read: Vec<_> = data
            .chunks(BLOCK)
            .flat_map(|b| decode_block(b).unwrap())
            .collect();
        assert_eq!(read, entries);
    }

    #[test]
    fn directories_of_all_sizes_read_back() {
        check(1, 1);
        check(100, 3);
        check(5000, 9);
        check(64, 255);
        // Exactly one full block: 16 × (12 + 244).
        check(16, 244);
    }

    #[test]
    fn bad_blocks_are_errors() {
        for block in [&[][..], &[0; 12], &[0xff; 4096], &[12; 64]] {
            assert!(decode_block(block).is_err());
        }
    }
}
