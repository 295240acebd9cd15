//! Converts layer tars and merges them: `merge_layers <directory> <layer.tar>…`, bottom layer first.
//!
//! Leaves `<directory>/<n>.erofs`, `<directory>/merged.erofs` (for the host) and, where the third
//! argument is `--guest`, `<directory>/guest.erofs`: the disk a guest would see, in one file.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use erofs_image::{
    DiskSource, ImageLayout, ImageUuid, LayerOptions, Limits, MergeOptions, convert_layer, merge,
};

fn main() -> Result<(), Box<dyn Error>> {
    let (flags, arguments): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|argument| argument.starts_with("--"));
    let [directory, tars @ ..] = arguments.as_slice() else {
        return Err("usage: merge_layers [--guest] <directory> <layer.tar>…".into());
    };
    let directory = Path::new(directory);
    let mut layers = Vec::new();
    for (index, tar) in tars.iter().enumerate() {
        layers.push(convert(
            tar,
            directory.join(format!("{index}.erofs")),
            index,
        )?);
    }
    let mut merged = create(directory.join("merged.erofs"))?;
    let started = Instant::now();
    let options = MergeOptions {
        uuid: uuid(0xff),
        limits: Limits::default(),
    };
    let summary = merge(&layers, &mut merged, &options)?;
    writeln!(std::io::stdout(), "{summary:?} in {:?}", started.elapsed())?;
    if flags.iter().any(|flag| flag == "--guest") {
        write_guest_disk(
            &summary.layout,
            &merged,
            &layers,
            directory.join("guest.erofs"),
        )?;
    }
    Ok(())
}

fn convert(tar: &str, blob: PathBuf, index: usize) -> Result<File, Box<dyn Error>> {
    let mut blob = create(blob)?;
    let options = LayerOptions {
        uuid: uuid(u8::try_from(index)?),
        limits: Limits::default(),
    };
    let started = Instant::now();
    let summary = convert_layer(File::open(tar)?, &mut blob, &options)?;
    writeln!(
        std::io::stdout(),
        "{tar}: {summary:?} in {:?}",
        started.elapsed()
    )?;
    Ok(blob)
}

fn write_guest_disk(
    layout: &ImageLayout,
    merged: &File,
    layers: &[File],
    path: PathBuf,
) -> Result<(), Box<dyn Error>> {
    let mut disk = create(path)?;
    for extent in layout.guest_disk() {
        let source = match extent.source {
            DiskSource::Merged => merged,
            DiskSource::Layer(index) => &layers[index],
        };
        let mut bytes = vec![0; usize::try_from(extent.len)?];
        source.read_exact_at(&mut bytes, extent.offset)?;
        disk.write_all(&bytes)?;
    }
    Ok(())
}

fn create(path: PathBuf) -> std::io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

fn uuid(seed: u8) -> ImageUuid {
    ImageUuid::from_sha256(&[seed; 32])
}
