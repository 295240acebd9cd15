//! MSI-X: the vector table, masks and pending bits of one function (PCI 3.0 §6.8.2).

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use vmm_sys_util::eventfd::EventFd;

use super::ConfigSpace;
use crate::{MsiMessage, MsiVectors, host_warn};

/// Bytes of a table entry.
const ENTRY_SIZE: u64 = 16;
/// Most vectors a function may have here.
pub const MAX_VECTORS: u16 = 256;

const CAPABILITY_ID: u8 = 0x11;
const CONTROL_FUNCTION_MASK: u16 = 1 << 14;
const CONTROL_ENABLE: u16 = 1 << 15;

#[derive(Clone, Copy, Debug)]
struct Entry {
    words: [u32; 4],
    pending: bool,
    route: Option<MsiMessage>,
}

impl Entry {
    /// Vectors start masked, so that nothing is registered for those a guest never uses.
    const RESET: Self = Self {
        words: [0, 0, 0, 1],
        pending: false,
        route: None,
    };

    fn masked(&self) -> bool {
        self.words[3] & 1 != 0
    }

    fn message(&self) -> MsiMessage {
        MsiMessage {
            address: u64::from(self.words[1]) << 32 | u64::from(self.words[0]),
            data: self.words[2],
        }
    }
}

#[derive(Debug)]
struct State {
    entries: Vec<Entry>,
    enabled: bool,
    function_masked: bool,
}

/// The table, shared by the function's registers and the device that raises vectors.
pub struct Msix {
    state: Mutex<State>,
    vectors: Arc<dyn MsiVectors>,
}

impl Msix {
    /// A disabled table with `count` masked entries.
    pub fn new(count: u16, vectors: Arc<dyn MsiVectors>) -> Self {
        assert!(
            count > 0 && count <= MAX_VECTORS,
            "a table has 1 to {MAX_VECTORS} entries"
        );
        Self {
            state: Mutex::new(State {
                entries: vec![Entry::RESET; count.into()],
                enabled: false,
                function_masked: false,
            }),
            vectors,
        }
    }

    /// Adds the capability that describes this table to `config`, and gives the offset of its
    /// control word.
    pub fn add_capability(&self, config: &mut ConfigSpace, table: u32, pending: u32) -> u16 {
        let last = u16::try_from(self.state.lock().entries.len() - 1).expect("at most 256 entries");
        let mut body = Vec::from(last.to_le_bytes());
        body.extend(table.to_le_bytes());
        body.extend(pending.to_le_bytes());
        let writable = (CONTROL_ENABLE | CONTROL_FUNCTION_MASK).to_le_bytes();
        config.add_capability(CAPABILITY_ID, &body, &writable) + 2
    }

    /// Takes the control word as the guest has written it.
    pub fn set_control(&self, control: u16) {
        let mut state = self.state.lock();
        state.enabled = control & CONTROL_ENABLE != 0;
        state.function_masked = control & CONTROL_FUNCTION_MASK != 0;
        for vector in 0..state.entries.len() {
            self.settle(&mut state, vector);
        }
    }

    /// Whether there is such a vector.
    pub fn has(&self, vector: u16) -> bool {
        usize::from(vector) < self.state.lock().entries.len()
    }

    /// Raises `vector` now, or when the guest unmasks it. Does nothing for one that is not there.
    pub fn trigger(&self, vector: u16) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.enabled {
            return Ok(());
        }
        match state.entries.get_mut(usize::from(vector)) {
            Some(entry) if entry.route.is_some() => self.vectors.trigger(vector),
            Some(entry) => {
                entry.pending = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Raises `vector` whenever `event` is signalled, until the guest masks or moves it. Does nothing for one
    /// that is masked now.
    pub fn bind(&self, vector: u16, event: &Arc<EventFd>) -> io::Result<()> {
        let state = self.state.lock();
        match state.entries.get(usize::from(vector)) {
            Some(entry) if entry.route.is_some() => self.vectors.bind(vector, event),
            _ => Ok(()),
        }
    }

    /// Undoes every [`Msix::bind`] of `vector`.
    pub fn unbind(&self, vector: u16) -> io::Result<()> {
        let state = self.state.lock();
        match state.entries.get(usize::from(vector)) {
            Some(entry) if entry.route.is_some() => self.vectors.route(vector, entry.route),
            _ => Ok(()),
        }
    }

    /// Fills `data` from the table. Accesses are of whole, aligned words, one or two.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        let state = self.state.lock();
        for (position, bytes) in words(offset, data) {
            let word = locate(position, &state.entries).map(|(v, w)| state.entries[v].words[w]);
            bytes.copy_from_slice(&word.unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    /// Takes a write to the table.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        let mut state = self.state.lock();
        let mut data = data.to_vec();
        for (position, bytes) in words(offset, &mut data) {
            let Some((vector, word)) = locate(position, &state.entries) else {
                continue;
            };
            let value = bytes
                .iter()
                .rev()
                .fold(0, |word, b| word << 8 | u32::from(*b));
            let meaningful = if word == 3 { 1 } else { u32::MAX };
            state.entries[vector].words[word] = value & meaningful;
            self.settle(&mut state, vector);
        }
    }

    /// Fills `data` from the pending bits.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        let state = self.state.lock();
        for (byte, at) in data.iter_mut().zip(offset..) {
            let first = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(8);
            let bits = state.entries.iter().skip(first).take(8);
            *byte = bits
                .rev()
                .fold(0, |byte, e| byte << 1 | u8::from(e.pending));
        }
    }

    /// Registers or drops a vector's route so that it has one exactly while it may be raised, and
    /// delivers what was pending.
    fn settle(&self, state: &mut State, vector: usize) {
        let open = state.enabled && !state.function_masked;
        let entry = &mut state.entries[vector];
        let wanted = (open && !entry.masked()).then(|| entry.message());
        let number = u16::try_from(vector).expect("at most 256 entries");
        if wanted != entry.route {
            entry.route = wanted;
            if let Err(error) = self.vectors.route(number, wanted) {
                host_warn!(vector, %error, "an interrupt vector can't be routed");
            }
        }
        if entry.route.is_some()
            && std::mem::take(&mut entry.pending)
            && let Err(error) = self.vectors.trigger(number)
        {
            host_warn!(vector, %error, "a pending interrupt can't be raised");
        }
    }
}

/// The aligned words of an access, with the position of each; none for an access of another shape.
fn words(offset: u64, data: &mut [u8]) -> impl Iterator<Item = (u64, &mut [u8])> {
    let valid = offset.is_multiple_of(4) && matches!(data.len(), 4 | 8);
    let len = if valid { data.len() } else { 0 };
    let positions = (offset..).step_by(4);
    positions.zip(data[..len].chunks_exact_mut(4))
}

/// Vector and word of its entry at `position` of the table.
fn locate(position: u64, entries: &[Entry]) -> Option<(usize, usize)> {
    let vector = usize::try_from(position / ENTRY_SIZE).ok()?;
    let word = usize::try_from(position % ENTRY_SIZE / 4).ok()?;
    (vector < entries.len()).then_some((vector, word))
}

#[cfg(test)]
mod tests;
