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
/// Read-only, and the unwind table (`.eh_frame_hdr`).
pub(crate) const UNWIND_TABLE: u32 = READ_ONLY | 1 << 31;

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
        header(1, part.flags & 7, offset, part.vaddr, part.bytes.len() as u64);
        if part.flags == UNWIND_TABLE {
            header(0x6474_e550, part.flags & 7, offset, part.vaddr, part.bytes.len() as u64);
        }
    }
    let count = u16::try_from(headers.len() / 56).unwrap();
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

/// An unwind table at `vaddr` with the descriptions after it: of each function or fragment the start, the size, and the instructions of its
/// description.
pub(crate) fn unwind_table(machine: Machine, vaddr: u64, described: &[(u64, u64, &[u8])]) -> Vec<u8> {
    let header = 12 + 8 * described.len() as u64;
    // Length, no distance to a common entry, version, "zR", code and data alignment, return column, encoding (pcrel, 4 bytes signed).
    let (column, begin): (u8, [u8; 7]) = match machine {
        Machine::X86_64 => (16, [0x0c, 7, 8, 0x90, 1, 0, 0]),
        Machine::Aarch64 => (30, [0x0c, 31, 0, 0, 0, 0, 0]),
    };
    let mut entries = [&[20_u8, 0, 0, 0, 0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, column, 1, 0x1b], &begin[..]].concat();
    let mut index = Vec::new();
    for (start, size, instructions) in described {
        let at = header + entries.len() as u64;
        index.extend(i32::try_from(start.wrapping_sub(vaddr).cast_signed()).unwrap().to_le_bytes());
        index.extend(u32::try_from(at).unwrap().to_le_bytes());
        entries.extend(u32::try_from(13 + instructions.len()).unwrap().to_le_bytes());
        entries.extend(u32::try_from(at + 4 - header).unwrap().to_le_bytes());
        entries.extend(i32::try_from(start.wrapping_sub(vaddr + at + 8).cast_signed()).unwrap().to_le_bytes());
        entries.extend(u32::try_from(*size).unwrap().to_le_bytes());
        entries.push(0); // no data of the augmentation
        entries.extend(*instructions);
    }
    let count = u32::try_from(described.len()).unwrap().to_le_bytes();
    [&[1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0][..], &count, &index, &entries].concat()
}
