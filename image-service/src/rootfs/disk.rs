//! An image as the pieces of a guest's disk, and as files to be read without mounting it.

use std::fs::File;
use std::path::PathBuf;

use erofs_image::{DiskSource, ImageLayout, ImageReader, ReadAt, ReadError};

use crate::image::{Disk, Extent};
use crate::store::{FileError, Paths, SavedImage, StoreError};

/// The pieces that make up the image's disk. Blocking.
pub(crate) fn disk(image: &SavedImage, paths: &Paths) -> Result<Disk, StoreError> {
    let read = |source| StoreError::Read {
        image: image.id,
        source,
    };
    let (merged, layers) = open(image, paths)?;
    let layout = ImageLayout::read(&merged.1).map_err(read)?;
    check_lengths(&layout, &layers).map_err(read)?;
    let extent = |piece: erofs_image::DiskExtent| {
        let path = match piece.source {
            DiskSource::Merged => &merged.0,
            DiskSource::Layer(index) => &layers[index].0,
        };
        Extent {
            path: path.clone(),
            offset: piece.offset,
            len: piece.len,
        }
    };
    let key = image.merged_key();
    Ok(Disk {
        key: format!("{}-{}", key.digest.hex(), key.converter),
        extents: layout.guest_disk().into_iter().map(extent).collect(),
    })
}

/// The file at `path` in the image. Blocking.
pub(crate) fn read_file(
    image: &SavedImage,
    paths: &Paths,
    path: &str,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, StoreError> {
    let read = |source| StoreError::Read {
        image: image.id,
        source,
    };
    let (merged, layers) = open(image, paths)?;
    let layers = layers.into_iter().map(|(_, file)| file).collect();
    let reader = ImageReader::open(merged.1, layers).map_err(read)?;
    reader.read_file(path.as_bytes(), max_bytes).map_err(read)
}

type Blob = (PathBuf, File);

fn open(image: &SavedImage, paths: &Paths) -> Result<(Blob, Vec<Blob>), StoreError> {
    let blob = |key| {
        let path = paths.blob(&key);
        let file = File::open(&path).map_err(FileError::of("open", &path))?;
        Ok::<_, StoreError>((path, file))
    };
    let layers = image.layer_keys().map(blob).collect::<Result<_, _>>()?;
    Ok((blob(image.merged_key())?, layers))
}

/// A layer of another length would shift all that follows it on the disk.
fn check_lengths(layout: &ImageLayout, layers: &[Blob]) -> Result<(), ReadError> {
    let (expected, actual) = (layout.layers.len(), layers.len());
    if expected != actual {
        return Err(ReadError::LayerCount { expected, actual });
    }
    for (placed, (_, file)) in layout.layers.iter().zip(layers) {
        let expected = u64::from(placed.blocks) * erofs_image::BLOCK_SIZE;
        let actual = ReadAt::size(file)?;
        if expected != actual {
            return Err(ReadError::Length { expected, actual });
        }
    }
    Ok(())
}
