//! Reading a frame into guest memory and sending one from it, without a copy in between.
#![expect(
    unsafe_code,
    reason = "guest memory is shared with the guest, so it can't be a slice for std or rustix"
)]
// UNSAFETY: readv and writev take raw addresses; the safe wrappers take `&mut [u8]` and `&[u8]`,
// which the guest's concurrent writes would make undefined behaviour.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::{GuestMemory, GuestMemoryBackend, GuestMemoryMmap, Permissions, VolatileSlice};

use crate::virtio::chain::Chain;

/// The kernel's limit for one call (`UIO_MAXIOV`). A frame in more pieces is cut there.
const MAX_VECTORS: usize = 1024;

/// Entries at the front that are over before the list is moved up.
const OVER: usize = 1024;

/// Where the frames that come next go: pieces of guest memory, as the kernel wants them.
///
/// Room for the longest frame is offered at each try, in some forty pieces. They are found once, when the
/// driver gives them, and not for every frame that then needs one of them.
#[derive(Default)]
pub(super) struct Vectors {
    entries: Vec<libc::iovec>,
    /// How many of them are over.
    over: usize,
    /// Keeps mapped what the entries point to: memory as it was when they were made.
    pins: Vec<GuestMemoryMmap>,
}

// SAFETY: the entries are addresses of guest memory, which is mapped for all threads alike and kept by
// `pins`; the rest is `Send` by itself.
unsafe impl Send for Vectors {}

impl Vectors {
    /// Adds what is writable of `chain`, and tells in how many pieces it lies.
    pub(super) fn push(&mut self, memory: &GuestMemoryMmap, chain: &Chain) -> usize {
        // Memory grows and does nothing else.
        if self.pins.last().map(GuestMemoryBackend::num_regions) != Some(memory.num_regions()) {
            self.pins.push(memory.clone());
        }
        if self.over >= OVER {
            self.entries.drain(..self.over);
            self.over = 0;
        }
        let before = self.entries.len();
        for buffer in chain.writable() {
            let (start, len) = (buffer.address, buffer.len as usize);
            let parts = GuestMemory::get_slices(memory, start, len, Permissions::Write);
            // Memory that was there when the chain was taken is never taken away under it.
            let parts = parts.into_iter().flatten().flatten();
            self.entries.extend(parts.map(|part| libc::iovec {
                iov_base: part.ptr_guard_mut().as_ptr().cast(),
                iov_len: part.len(),
            }));
        }
        self.entries.len() - before
    }

    /// Lets the first `pieces` go.
    pub(super) fn drop_first(&mut self, pieces: usize) {
        self.over += pieces;
    }

    /// Reads one frame into the first `pieces`, in order. Gives its length, cut to theirs.
    pub(super) fn read_frame(&self, fd: BorrowedFd<'_>, pieces: usize) -> io::Result<u64> {
        let vectors = &self.entries[self.over..][..pieces.min(MAX_VECTORS)];
        let count = libc::c_int::try_from(vectors.len()).expect("there are few");
        // SAFETY: the vectors are `count` entries that point to guest memory of the given lengths, which
        // `pins` keeps mapped; nothing in our process holds a reference into it.
        retried(|| unsafe { libc::readv(fd.as_raw_fd(), vectors.as_ptr(), count) })
    }
}

/// Sends `slices`, in order, as one frame.
pub(super) fn write_frame(fd: BorrowedFd<'_>, slices: &[VolatileSlice<'_>]) -> io::Result<u64> {
    let guards: Vec<_> = slices.iter().map(VolatileSlice::ptr_guard).collect();
    let vectors = guards.iter().map(|guard| libc::iovec {
        iov_base: guard.as_ptr().cast_mut().cast(),
        iov_len: guard.len(),
    });
    let vectors: Vec<_> = vectors.take(MAX_VECTORS).collect();
    let count = libc::c_int::try_from(vectors.len()).expect("there are few");
    // SAFETY: the vectors are `count` entries that point to mapped guest memory of the given lengths, which
    // the guards keep; the kernel only reads through these addresses.
    retried(|| unsafe { libc::writev(fd.as_raw_fd(), vectors.as_ptr(), count) })
}

fn retried(call: impl Fn() -> libc::ssize_t) -> io::Result<u64> {
    loop {
        match u64::try_from(call()) {
            Ok(done) => return Ok(done),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
