//! Guests: 32-bit code in an ELF file with a PVH entry.

const LOAD_ADDRESS: u64 = 0x10_0000;
/// Where in the file the code is: behind the header and two program headers.
const CODE: usize = 64 + 2 * 56;

const SERIAL: u16 = 0x3f8;
const SLEEP: u16 = 0x600;
const RESET: u16 = 0x602;

/// Instructions, one after the other.
pub(crate) struct Code(Vec<u8>);

impl Code {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Writes `text` to the serial port.
    pub(crate) fn say(self, text: &str) -> Self {
        text.bytes().fold(self, |code, byte| code.out(SERIAL, byte))
    }

    /// Does that again and again.
    pub(crate) fn say_for_ever(self, text: &str) -> Self {
        let start = self.0.len();
        let said = self.say(text);
        let back = i32::try_from(start).unwrap() - i32::try_from(said.0.len() + 5).unwrap();
        // jmp rel32
        said.then(&[0xe9]).then(&back.to_le_bytes())
    }

    pub(crate) fn power_off(self) -> Self {
        self.out(SLEEP, 0x34).spin()
    }

    pub(crate) fn reset(self) -> Self {
        self.out(RESET, 1).spin()
    }

    /// Loads an empty interrupt table and raises an interrupt.
    pub(crate) fn triple_fault(self) -> Self {
        // lidt [0x50000], where memory is zero; int3
        self.then(&[0x0f, 0x01, 0x1d, 0, 0, 5, 0, 0xcc])
    }

    pub(crate) fn jump_to(self, address: u32) -> Self {
        // mov eax, address; jmp eax
        self.then(&[0xb8])
            .then(&address.to_le_bytes())
            .then(&[0xff, 0xe0])
    }

    /// jmp to itself
    pub(crate) fn spin(self) -> Self {
        self.then(&[0xeb, 0xfe])
    }

    /// Reads and writes the configuration space and the BARs of the first four slots at random, for ever.
    pub(crate) fn scribble(self) -> Self {
        // rdtsc; xor ebx, eax
        let code = self.then(&[0x0f, 0x31, 0x31, 0xc3]);
        let start = code.0.len();
        let code = code
            .next_random()
            .poke(0xe000_0000)
            .next_random()
            .poke(0xc000_0000)
            .next_random()
            .poke(0xc000_0000);
        let back = i32::try_from(start).unwrap() - i32::try_from(code.0.len() + 5).unwrap();
        code.then(&[0xe9]).then(&back.to_le_bytes())
    }

    /// One step of xorshift in ebx.
    fn next_random(self) -> Self {
        [[0xe0, 13], [0xe8, 17], [0xe0, 5]]
            .into_iter()
            .fold(self, |code, [shift, by]| {
                // mov eax, ebx; shl/shr eax, by; xor ebx, eax
                code.then(&[0x89, 0xd8, 0xc1, shift, by, 0x31, 0xc3])
            })
    }

    /// Writes ebx to somewhere in the 128 KiB at `base`, and reads it back.
    fn poke(self, base: u32) -> Self {
        // mov ecx, ebx; and ecx, 0x1fffc; or ecx, base; mov [ecx], ebx; mov edx, [ecx]
        self.then(&[0x89, 0xd9, 0x81, 0xe1, 0xfc, 0xff, 1, 0, 0x81, 0xc9])
            .then(&base.to_le_bytes())
            .then(&[0x89, 0x19, 0x8b, 0x11])
    }

    /// mov dx, port; mov al, value; out dx, al
    fn out(self, port: u16, value: u8) -> Self {
        let [low, high] = port.to_le_bytes();
        self.then(&[0x66, 0xba, low, high, 0xb0, value, 0xee])
    }

    fn then(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The kernel file.
    pub(crate) fn elf(&self) -> Vec<u8> {
        let entry = u32::try_from(LOAD_ADDRESS).unwrap();
        let mut note = b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0".to_vec();
        note.extend_from_slice(&entry.to_le_bytes());

        let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        for word in [LOAD_ADDRESS, 64, 0] {
            elf.extend_from_slice(&word.to_le_bytes());
        }
        elf.extend_from_slice(b"\0\0\0\0\x40\0\x38\0\x02\0\x40\0\0\0\0\0");
        elf.extend(program_header(1, CODE, self.0.len()));
        elf.extend(program_header(4, CODE + self.0.len(), note.len()));
        elf.extend_from_slice(&self.0);
        elf.extend_from_slice(&note);
        elf
    }
}

fn program_header(kind: u32, offset: usize, len: usize) -> Vec<u8> {
    let mut header = [kind.to_le_bytes(), 7u32.to_le_bytes()].concat();
    let (offset, len) = (offset as u64, len as u64);
    for word in [offset, LOAD_ADDRESS, LOAD_ADDRESS, len, len, 4] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    header
}
