//! arm64 (A64): instructions of 4 bytes, decoded as the Arm Architecture Reference Manual (DDI 0487, C4.1) groups them.
//!
//! Complete as to flow; of the rest only what moves addresses, constants and words about is told from [`Kind::Other`].

use super::instruction::{Indirect, Instruction, Kind, Register, Registers, StackChange};

/// Number 31 is the zero register in some places and the stack pointer in others: as the stack pointer it is 31 here …
pub(super) const STACK: u8 = 31;
/// … and as the zero register it has no number.
const ZERO: u8 = 32;

pub(super) fn decode(address: u64, bytes: &[u8]) -> Option<Instruction> {
    let word = u32::from_le_bytes(*bytes.first_chunk()?);
    if !address.is_multiple_of(4) {
        return None;
    }
    let kind = kind(address, word)?;
    let mut decoded = Instruction { address, length: 4, kind, stack: stack(word, kind), written: Registers::default() };
    decoded.written = decoded.destination().into_iter().chain(besides(word).iter()).collect();
    Some(decoded)
}

/// The words of `bytes` with their addresses, from the first that is aligned.
pub(super) fn words(base: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, u32)> + '_ {
    let skip = usize::try_from(base.wrapping_neg() % 4).unwrap_or(0);
    let words = bytes.get(skip..).unwrap_or_default().chunks_exact(4);
    let words = words.map(|word| word.first_chunk().map_or(0, |word| u32::from_le_bytes(*word)));
    (base.wrapping_add(skip as u64)..).step_by(4).zip(words)
}

/// Target of `bl`.
pub(super) fn call_target(address: u64, word: u32) -> Option<u64> {
    (word >> 26 == 0b10_0101).then(|| address.wrapping_add_signed(signed(u64::from(field(word, 0, 26)) << 2, 28)))
}

/// Of `adr` and `adrp`: whether it is a page, the address, the register.
pub(super) fn address(address: u64, word: u32) -> Option<(bool, u64, Register)> {
    if word & 0x1f00_0000 != 0x1000_0000 {
        return None;
    }
    match immediate(address, word) {
        Kind::Address { to, value } => Some((word >> 31 == 1, value, to)),
        _ => None,
    }
}

fn kind(address: u64, word: u32) -> Option<Kind> {
    // op0, bits 28..25, names the group.
    match field(word, 25, 4) {
        0b0000 => (word >> 16 == 0).then_some(Kind::Trap), // UDF; the rest of the group is unallocated (or SME)
        0b1000 | 0b1001 => Some(immediate(address, word)),
        0b1010 | 0b1011 => branch(address, word),
        0b0100 | 0b0110 | 0b1100 | 0b1110 => Some(memory(address, word)),
        0b0101 | 0b1101 => Some(register_operation(word)),
        // Vectors and SVE: some (`fmov x0, d0`) write an integer register, and then it is the lowest field. Counted so for all.
        0b0111 | 0b1111 | 0b0010 => Some(Kind::Other { destination: zero_or(word, 0) }),
        _ => None,
    }
}

/// PC-relative, add and subtract, logical, wide moves, bitfields.
fn immediate(address: u64, word: u32) -> Kind {
    let to = || zero_or(word, 0);
    match field(word, 23, 3) {
        0b000 | 0b001 => {
            let low = u64::from(field(word, 29, 2));
            let offset = signed((u64::from(field(word, 5, 19)) << 2) | low, 21);
            let Some(to) = to() else { return Kind::Nop };
            let is_page = word >> 31 == 1;
            let value = if is_page {
                (address & !0xfff).wrapping_add_signed(offset.wrapping_mul(0x1000))
            } else {
                address.wrapping_add_signed(offset)
            };
            Kind::Address { to, value }
        }
        0b010 => {
            let value = i64::from(field(word, 10, 12)) << if field(word, 22, 1) == 1 { 12 } else { 0 };
            let is_subtraction = field(word, 30, 1) == 1;
            let sets_flags = field(word, 29, 1) == 1;
            let from = stack_or(word, 5);
            if sets_flags {
                return match (zero_or(word, 0), is_subtraction) {
                    (None, true) => Kind::Compare { register: from, value },
                    (destination, _) => Kind::Other { destination },
                };
            }
            let to = stack_or(word, 0);
            match (value, is_subtraction) {
                (0, false) => Kind::Move { to, from },
                (value, false) => Kind::Add { to, from, value },
                (value, true) => Kind::Add { to, from, value: value.wrapping_neg() },
            }
        }
        0b100 => {
            // `orr x0, xzr, #mask` is how masks are loaded: its value is of no use here. AND, ORR, EOR may write the stack pointer.
            let is_ands = field(word, 29, 2) == 0b11;
            Kind::Other { destination: if is_ands { to() } else { Some(stack_or(word, 0)) } }
        }
        0b101 => {
            let Some(to) = to() else { return Kind::Nop };
            let shift = field(word, 21, 2) * 16;
            let value = u64::from(field(word, 5, 16)) << shift;
            let mask = if word >> 31 == 1 { u64::MAX } else { u64::from(u32::MAX) };
            match field(word, 29, 2) {
                0b00 => Kind::Constant { to, value: !value & mask }, // MOVN
                0b10 => Kind::Constant { to, value: value & mask },  // MOVZ
                _ => Kind::Other { destination: Some(to) },          // MOVK changes a part
            }
        }
        _ => Kind::Other { destination: to() },
    }
}

fn branch(address: u64, word: u32) -> Option<Kind> {
    let near = |offset: u32, width: u32| address.wrapping_add_signed(signed(u64::from(offset) << 2, width + 2));
    Some(match word >> 29 {
        0b000 => Kind::Jump(near(field(word, 0, 26), 26)),
        0b100 => Kind::Call(near(field(word, 0, 26), 26)),
        0b001 | 0b101 if field(word, 25, 1) == 0 => Kind::Branch(near(field(word, 5, 19), 19)), // CBZ, CBNZ
        0b001 | 0b101 => Kind::Branch(near(field(word, 5, 14), 14)),                            // TBZ, TBNZ
        0b010 if field(word, 24, 5) == 0b10100 => {
            // `b.al` and `b.nv` are taken always.
            let target = near(field(word, 5, 19), 19);
            if field(word, 1, 3) == 0b111 { Kind::Jump(target) } else { Kind::Branch(target) }
        }
        0b110 if field(word, 24, 2) == 0b00 => match (field(word, 21, 3), field(word, 0, 2)) {
            (0b000, 0b01..=0b11) => Kind::Other { destination: Some(Register(0)) }, // SVC, HVC, SMC
            (0b001 | 0b010, 0b00) => Kind::Trap,                                    // BRK, HLT
            _ => return None,
        },
        0b110 if field(word, 24, 2) == 0b01 => system(word),
        0b110 => register_branch(word)?,
        _ => return None,
    })
}

fn system(word: u32) -> Kind {
    // Hints are NOP, BTI, PACIASP and their like.
    if word & 0xffff_f01f == 0xd503_201f {
        return Kind::Nop;
    }
    let reads_register = field(word, 21, 1) == 1 && field(word, 19, 2) >= 2;
    Kind::Other { destination: if reads_register { zero_or(word, 0) } else { None } }
}

fn register_branch(word: u32) -> Option<Kind> {
    let register = || zero_or(word, 5);
    // opc, bits 24..21; those with bit 24 set, and op3 of 2 and 3, authenticate the pointer first.
    Some(match field(word, 21, 4) & 0b0111 {
        0b000 => Kind::JumpIndirect(register().map_or(Indirect::Indexed, Indirect::Register)),
        0b001 => register().map_or(Kind::CallMemory { base: None, displacement: 0 }, Kind::CallRegister),
        0b010 | 0b100 => Kind::Return, // RET, RETAA, RETAB; ERET
        _ => return None,
    })
}

/// Loads and stores.
fn memory(address: u64, word: u32) -> Kind {
    let is_vector = field(word, 26, 1) == 1;
    let size = field(word, 30, 2);
    let bytes = 1_u8 << size;
    let target = || if is_vector { None } else { zero_or(word, 0) };
    match field(word, 27, 3) {
        // Load literal.
        0b011 if field(word, 24, 2) == 0b00 => {
            let address = address.wrapping_add_signed(signed(u64::from(field(word, 5, 19)) << 2, 21));
            match (target(), size) {
                (Some(to), 0..=2) => Kind::LoadAbsolute { to, address, size: if size == 1 { 8 } else { 4 } },
                _ => Kind::Other { destination: None },
            }
        }
        // Pairs.
        0b101 => {
            let scale = if is_vector { 2 + size } else { 2 + (size >> 1) };
            let displacement = signed(u64::from(field(word, 15, 7)), 7) << scale;
            let base = stack_or(word, 5);
            let is_post_indexed = field(word, 23, 2) == 0b01;
            let displacement = if is_post_indexed { 0 } else { displacement };
            if field(word, 22, 1) == 0 {
                Kind::Store { from: None, base, displacement, size: 0 }
            } else {
                target().map_or(Kind::Other { destination: None }, |to| Kind::Load { to, base, displacement, size: 0 })
            }
        }
        // Unsigned offset, scaled.
        0b111 if field(word, 24, 1) == 1 => {
            let scale = if is_vector && field(word, 23, 1) == 1 { 4 } else { size };
            single(word, i64::from(field(word, 10, 12)) << scale, if is_vector { 0 } else { bytes })
        }
        // Unscaled, before and after the access.
        0b111 if field(word, 21, 1) == 0 => {
            let offset = signed(u64::from(field(word, 12, 9)), 9);
            let is_post_indexed = field(word, 10, 2) == 0b01;
            single(word, if is_post_indexed { 0 } else { offset }, if is_vector { 0 } else { bytes })
        }
        // Register offset; atomics, exclusives.
        _ => Kind::Other { destination: target() },
    }
}

/// Registers that an instruction changes besides its destination. Of groups whose forms are not told apart here, all that one of them changes.
fn besides(word: u32) -> Registers {
    let mut found = Registers::default();
    let base = || [stack_or(word, 5)];
    let field_of = |at| zero_or(word, at);
    // The register with the next number, of a pair that is named by its first.
    let pair_of = |at| zero_or(word, at).and_then(|Register(number)| (number + 1 < STACK).then_some(Register(number + 1)));
    if written_back(word).is_some() {
        found.extend(base());
    }
    let is_vector = field(word, 26, 1) == 1;
    let is_memory = matches!(field(word, 25, 4), 0b0100 | 0b0110 | 0b1100 | 0b1110);
    match field(word, 27, 3) {
        _ if !is_memory => {
            // Hints that sign and authenticate pointers do so in x17 and x30.
            if word & 0xffff_f01f == 0xd503_201f && matches!(field(word, 8, 4), 1..=3) || word == 0xd503_20ff {
                found.extend([Register(17), Register(30)]);
            }
            // MRRS
            if word >> 20 == 0xd57 {
                found.extend(pair_of(0));
            }
        }
        // Load of a pair.
        0b101 if field(word, 22, 1) == 1 && !is_vector => found.extend(field_of(10)),
        // Structures of vectors, after the access.
        0b001 if is_vector && field(word, 23, 1) == 1 => found.extend(base()),
        // Exclusives, which tell whether they succeeded, and compare-and-swap, of pairs too.
        0b001 if !is_vector => {
            found.extend(field_of(10).into_iter().chain(field_of(16)));
            if word >> 31 == 0 && field(word, 23, 1) == 0 && field(word, 21, 1) == 1 {
                found.extend(pair_of(0).into_iter().chain(pair_of(16)));
            }
        }
        // Copies and fills of memory, tags.
        0b011 if field(word, 24, 1) == 1 && field(word, 10, 2) != 0 => {
            found.extend(field_of(0).into_iter().chain(field_of(16)).chain(base()));
        }
        // Loads through authenticated pointers, before the access.
        0b111 if word & 0xff20_0c00 == 0xf820_0c00 => found.extend(base()),
        // 64 bytes at once.
        0b111 if word & 0xffff_fc00 == 0xf83f_d000 => {
            let first = field(word, 0, 5);
            found.extend((first..first + 8).filter_map(|number| u8::try_from(number).ok()).filter(|number| *number < STACK).map(Register));
        }
        0b111 if word & 0xffe0_ec00 == 0xf820_a000 => found.extend(field_of(16)),
        _ => {}
    }
    found
}

fn single(word: u32, displacement: i64, size: u8) -> Kind {
    let is_vector = field(word, 26, 1) == 1;
    let base = stack_or(word, 5);
    let opc = field(word, 22, 2);
    let is_store = opc == 0b00 || (is_vector && opc == 0b10);
    let is_prefetch = !is_vector && opc == 0b10 && field(word, 30, 2) == 0b11;
    let register = if is_vector { None } else { zero_or(word, 0) };
    match (is_store, register) {
        _ if is_prefetch => Kind::Other { destination: None },
        (true, from) => Kind::Store { from, base, displacement, size },
        (false, Some(to)) => Kind::Load { to, base, displacement, size },
        (false, None) => Kind::Other { destination: None },
    }
}

fn register_operation(word: u32) -> Kind {
    let destination = zero_or(word, 0);
    // ORR, shifted by nothing, from the zero register: `mov`.
    if word & 0x7fe0_ffe0 == 0x2a00_03e0 {
        return match (destination, zero_or(word, 16)) {
            (Some(to), Some(from)) => Kind::Move { to, from },
            (Some(to), None) => Kind::Constant { to, value: 0 },
            (None, _) => Kind::Nop,
        };
    }
    // Conditional compares write flags only.
    if word & 0x3fe0_0010 == 0x3a40_0000 {
        return Kind::Other { destination: None };
    }
    Kind::Other { destination }
}

fn stack(word: u32, kind: Kind) -> StackChange {
    let stack = Register(STACK);
    match kind {
        Kind::Add { to, from, value } if to == stack && from == stack => StackChange::By(value),
        Kind::Add { to, from, value } if to == stack => StackChange::From(from, value),
        Kind::Move { to, from } if to == stack => StackChange::From(from, 0),
        Kind::Other { destination } if destination == Some(stack) => StackChange::Unknown,
        _ => written_back(word).filter(|_| stack_or(word, 5) == stack).map_or(StackChange::None, StackChange::By),
    }
}

/// What a load or store with write-back adds to its base.
fn written_back(word: u32) -> Option<i64> {
    let is_memory = matches!(field(word, 25, 4), 0b0100 | 0b0110 | 0b1100 | 0b1110);
    match field(word, 27, 3) {
        0b101 if is_memory && field(word, 23, 1) == 1 => {
            let size = field(word, 30, 2);
            let scale = if field(word, 26, 1) == 1 { 2 + size } else { 2 + (size >> 1) };
            Some(signed(u64::from(field(word, 15, 7)), 7) << scale)
        }
        0b111 if is_memory && field(word, 24, 1) == 0 && field(word, 21, 1) == 0 && field(word, 10, 1) == 1 => {
            Some(signed(u64::from(field(word, 12, 9)), 9))
        }
        _ => None,
    }
}

/// `width` bits from bit `at`.
const fn field(word: u32, at: u32, width: u32) -> u32 {
    (word >> at) & ((1 << width) - 1)
}

/// The register in the five bits at `at`, where 31 is the zero register: writing it is writing nothing.
fn zero_or(word: u32, at: u32) -> Option<Register> {
    let number = u8::try_from(field(word, at, 5)).unwrap_or(ZERO);
    (number < STACK).then_some(Register(number))
}

/// The register in the five bits at `at`, where 31 is the stack pointer.
fn stack_or(word: u32, at: u32) -> Register {
    Register(u8::try_from(field(word, at, 5)).unwrap_or(STACK))
}

/// A number of `width` bits in two's complement.
const fn signed(value: u64, width: u32) -> i64 {
    let shift = 64 - width;
    (value << shift).cast_signed() >> shift
}
