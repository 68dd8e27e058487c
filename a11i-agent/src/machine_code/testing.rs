//! ELF files made in memory, for either machine.

use crate::discovery::elf::Machine;

/// A segment to be: address and bytes.
pub(crate) struct Part<'b> {
    pub(crate) vaddr: u64,
    pub(crate) flags: u32,
    pub(crate) bytes: &'b [u8],
}

pub(crate) const CODE: u32 = 5;
pub(crate) const DATA: u32 = 6;
pub(crate) const READ_ONLY: u32 = 4;

/// A stripped program of these segments. Offsets in the file agree with addresses within a page, as the kernel wants it; they are not equal.
pub(crate) fn elf(machine: Machine, is_position_independent: bool, parts: &[Part<'_>]) -> Vec<u8> {
    let mut file = vec![0_u8; 0x1000];
    let mut headers = Vec::new();
    let mut header = |kind: u32, flags: u32, offset: u64, vaddr: u64, size: u64| {
        for word in [kind, flags] {
            headers.extend(word.to_le_bytes());
        }
        for word in [offset, vaddr, vaddr, size, size, 0x1000] {
            headers.extend(word.to_le_bytes());
        }
    };
    for part in parts {
        let offset = (file.len() as u64).next_multiple_of(0x1000) + part.vaddr % 0x1000;
        file.resize(usize::try_from(offset).unwrap(), 0);
        file.extend(part.bytes);
        header(1, part.flags, offset, part.vaddr, part.bytes.len() as u64);
    }
    let count = u16::try_from(parts.len()).unwrap();
    let e_machine: u16 = if machine == Machine::X86_64 { 62 } else { 183 };
    let mut ident = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    ident.extend(if is_position_independent { 3_u16 } else { 2 }.to_le_bytes());
    ident.extend(e_machine.to_le_bytes());
    ident.extend(1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        ident.extend(word.to_le_bytes());
    }
    ident.extend(0_u32.to_le_bytes());
    for half in [64, 56, count, 64, 0, 0] {
        ident.extend(half.to_le_bytes());
    }
    file[..64].copy_from_slice(&ident);
    file[64..64 + headers.len()].copy_from_slice(&headers);
    file
}

/// Instruction words as bytes.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
