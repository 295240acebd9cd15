//! A guest against its disks: one it may write, one in pieces that it may not.
#![no_main]

use std::fs::File;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vmm_devices::virtio::Blk;
use vmm_devices::virtio::blk::{Disk, Extent};
use vmm_devices_fuzz::{Attack, Machine};

const LEN: u64 = 64 << 10;

fuzz_target!(|input: (bool, Attack<'_>)| {
    let (writable, attack) = input;
    let disk = if writable {
        Disk::read_write(extent(0, LEN))
    } else {
        Disk::read_only(vec![extent(512, 4096), extent(8192, 512), extent(0, LEN)])
    };
    let disk = disk.expect("the file holds the disk");
    let serial_number = "disk".parse().expect("a word is a serial number");
    Machine::new(Blk::new(disk, serial_number)).suffer(&attack);
    assert_eq!(file().metadata().expect("the file is open").len(), LEN);
});

fn extent(offset: u64, len: u64) -> Extent {
    Extent {
        file: Arc::clone(file()),
        offset,
        len,
    }
}

fn file() -> &'static Arc<File> {
    static FILE: OnceLock<Arc<File>> = OnceLock::new();
    FILE.get_or_init(|| {
        let file = memfd_create("disk", MemfdFlags::CLOEXEC).expect("make a file");
        ftruncate(&file, LEN).expect("make it long");
        Arc::new(File::from(file))
    })
}
