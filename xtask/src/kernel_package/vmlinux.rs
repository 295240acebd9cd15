//! The ELF kernel inside a bzImage.

use crate::{debian, process};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Offsets in the setup header of the x86 boot protocol.
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

const SECTOR: usize = 512;

/// The kernel's build appends the size after decompression to the compressed stream.
const SIZE_SUFFIX: usize = 4;

const ELF: &[u8] = b"\x7fELF";

/// Writes the ELF kernel of `bzimage` to `destination`.
pub(crate) fn extract(bzimage: &Path, destination: &Path) -> Result<()> {
    let image = fs::read(bzimage).with_context(|| format!("read {}", bzimage.display()))?;
    let payload =
        payload(&image).with_context(|| format!("no kernel found in {}", bzimage.display()))?;
    let compressed = destination.with_extension("compressed");
    fs::write(&compressed, payload).with_context(|| format!("write {}", compressed.display()))?;
    decompress(payload, &compressed, destination)?;
    fs::remove_file(&compressed)?;
    let kernel = fs::read(destination).context("read the kernel back")?;
    ensure!(
        kernel.starts_with(ELF),
        "what is in {} is not an ELF file",
        bzimage.display()
    );
    Ok(())
}

/// The compressed kernel, where the header says it is.
fn payload(image: &[u8]) -> Result<&[u8]> {
    let number = |offset: usize| -> Result<usize> {
        let bytes = image
            .get(offset..offset + 4)
            .context("the file ends in its header")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    ensure!(
        image.get(MAGIC..MAGIC + 4) == Some(b"HdrS"),
        "no boot header"
    );
    let sectors = usize::from(
        *image
            .get(SETUP_SECTORS)
            .context("the file ends in its header")?,
    );
    let start = (sectors + 1) * SECTOR + number(PAYLOAD_OFFSET)?;
    let length = number(PAYLOAD_LENGTH)?
        .checked_sub(SIZE_SUFFIX)
        .context("an empty payload")?;
    image
        .get(start..start + length)
        .context("the payload is longer than the file")
}

/// By the magic number: Debian's 6.12 is zstd, its 6.1 is LZ4 in the legacy format.
fn decompress(payload: &[u8], compressed: &Path, destination: &Path) -> Result<()> {
    let program = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        _ => bail!("compressed in a way that is not known here"),
    };
    debian::install(&[program])?;
    let mut command = Command::new(program);
    command.args(["-q", "-d", "-f"]).arg(compressed);
    // zstd takes the name of its output as an option, lz4 as an argument.
    if program == "zstd" {
        command.arg("-o");
    }
    process::run_quietly(command.arg(destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR];
        image[SETUP_SECTORS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET] = 16;
        image[PAYLOAD_LENGTH] = u8::try_from(payload.len() + SIZE_SUFFIX).unwrap();
        image.extend([0; 16]);
        image.extend(payload);
        image.extend([0; SIZE_SUFFIX]);
        image.resize(image.len().max(0x300), 0);
        image
    }

    #[test]
    fn the_payload_is_where_the_header_says() {
        assert_eq!(payload(&image(b"compressed")).unwrap(), b"compressed");
    }

    #[test]
    fn a_file_that_lies_about_its_payload_is_refused() {
        let mut lying = image(b"compressed");
        lying[PAYLOAD_LENGTH + 2] = 1;
        assert!(payload(&lying).is_err());
        assert!(payload(b"not a kernel").is_err());
    }
}
