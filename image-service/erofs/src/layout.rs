//! Where a merged image and its layers stand in their common block address space.

use crate::BLOCK_SIZE;
use crate::format::superblock::{BlobKind, Device, Superblock};
use crate::read::{ReadError, read_superblock};
use crate::read_at::ReadAt;

/// The address space `[merged][layer 0][layer 1]…` of one image, in blocks of 4 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayout {
    /// Blocks of the merged file, which is exactly this long.
    pub merged_blocks: u32,
    /// The layers, bottom first.
    pub layers: Vec<PlacedLayer>,
}

/// One layer's place in an [`ImageLayout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedLayer {
    /// Its first block in the address space.
    pub base: u32,
    /// Its length, to be checked against the file before use.
    pub blocks: u32,
}

/// A run of bytes of the guest's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskExtent {
    /// The file that holds them.
    pub source: DiskSource,
    /// Where they begin in that file.
    pub offset: u64,
    /// How many they are; never 0.
    pub len: u64,
}

/// The file behind a [`DiskExtent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskSource {
    /// The merged image.
    Merged,
    /// The layer with this index, 0 at the bottom.
    Layer(usize),
}

impl ImageLayout {
    /// Reads the layout back from a merged image.
    pub fn read(merged: &impl ReadAt) -> Result<Self, ReadError> {
        Self::of(&read_superblock(merged, BlobKind::Image)?)
    }

    /// Places layers of these lengths behind a merged file; `None` beyond 2^32 blocks.
    pub(crate) fn new(merged_blocks: u32, layers: &[u32]) -> Option<Self> {
        let mut end = merged_blocks;
        let place = |&blocks: &u32| {
            let base = end;
            end = base.checked_add(blocks)?;
            Some(PlacedLayer { base, blocks })
        };
        let layers = layers.iter().map(place).collect::<Option<_>>()?;
        Some(Self {
            merged_blocks,
            layers,
        })
    }

    /// The layout that a merged image's header tells.
    pub(crate) fn of(superblock: &Superblock) -> Result<Self, ReadError> {
        let blocks: Vec<_> = superblock
            .devices
            .iter()
            .map(|device| device.blocks)
            .collect();
        let layout = Self::new(superblock.blocks, &blocks);
        let told = |layout: &Self| layout.devices() == superblock.devices;
        layout
            .filter(told)
            .ok_or(ReadError::Corrupt("has layers that overlap or leave gaps"))
    }

    /// The slots of the host's device table.
    pub(crate) fn devices(&self) -> Vec<Device> {
        let device = |layer: &PlacedLayer| Device {
            base: layer.base,
            blocks: layer.blocks,
        };
        self.layers.iter().map(device).collect()
    }

    /// Blocks of the whole address space: the size of the guest's disk.
    pub fn total_blocks(&self) -> u32 {
        self.layers
            .last()
            .map_or(self.merged_blocks, |layer| layer.base + layer.blocks)
    }

    /// The guest's read-only disk, in order: the plain block 0 (kept at the end of the merged file),
    /// the rest of the merged file, then each layer in full.
    pub fn guest_disk(&self) -> Vec<DiskExtent> {
        let merged = u64::from(self.merged_blocks) * BLOCK_SIZE;
        // Superblock, root and guest header: a merged file never has fewer than three blocks.
        let mut extents = vec![
            DiskExtent {
                source: DiskSource::Merged,
                offset: merged - BLOCK_SIZE,
                len: BLOCK_SIZE,
            },
            DiskExtent {
                source: DiskSource::Merged,
                offset: BLOCK_SIZE,
                len: merged - BLOCK_SIZE,
            },
        ];
        extents.extend(
            self.layers
                .iter()
                .enumerate()
                .map(|(index, layer)| DiskExtent {
                    source: DiskSource::Layer(index),
                    offset: 0,
                    len: u64::from(layer.blocks) * BLOCK_SIZE,
                }),
        );
        extents
    }
}
