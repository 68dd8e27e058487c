//! Where the caller's frame is when a function begins (DWARF 5 section 6.4.2, "Call Frame Instructions").
//!
//! Compilers put what is seldom run into fragments of their own, each with an entry in the unwind table. A fragment is entered by a jump, with
//! the frame of its function standing and registers saved in it, and its description begins by saying so. A function begins as a call leaves it.

use crate::discovery::elf::Machine;

/// What descriptions share (a CIE), as far as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Common {
    /// How addresses are written.
    pub(super) encoding: u8,
    pub(super) data_alignment: i64,
    pub(super) return_column: u64,
    /// Run before those of each description.
    pub(super) instructions: Vec<u8>,
}

/// Whether `instructions` of a description say that nothing has happened since the call when the function begins: the caller's frame is
/// where the call left it, and no register has been saved. False also for what is not understood.
pub(super) fn begins_by_call(machine: Machine, common: &Common, instructions: &[u8]) -> bool {
    let mut frame = Frame { register: None, offset: None, return_at: None };
    let run = |frame: &mut Frame, code: &[u8]| frame.run(common, code).is_some();
    if !run(&mut frame, &common.instructions) || !run(&mut frame, instructions) {
        return false;
    }
    match machine {
        // The call has pushed the return address.
        Machine::X86_64 => frame == Frame { register: Some(7), offset: Some(8), return_at: Some(-8) },
        // … or put it into x30.
        Machine::Aarch64 => frame == Frame { register: Some(31), offset: Some(0), return_at: None },
    }
}

/// The caller's frame, as `register + offset`.
#[derive(PartialEq, Eq)]
struct Frame {
    register: Option<u64>,
    offset: Option<u64>,
    /// Where the return address is saved, from the caller's frame.
    return_at: Option<i64>,
}

impl Frame {
    /// Up to where the first instruction of the function has run. None: a register other than the return address is saved, or something is
    /// said that no compiler says of a function's beginning.
    fn run(&mut self, common: &Common, code: &[u8]) -> Option<()> {
        let mut rest = Numbers(code);
        while let Some(operation) = rest.byte() {
            match (operation >> 6, operation & 0x3f) {
                (0, NOP) => {}
                (1, _) | (0, SET_LOC..=ADVANCE_LOC4) => return Some(()),
                (2, register) if u64::from(register) == common.return_column => {
                    let factored = i64::try_from(rest.unsigned()?).ok()?;
                    self.return_at = Some(factored.checked_mul(common.data_alignment)?);
                }
                (0, DEF_CFA) => {
                    self.register = Some(rest.unsigned()?);
                    self.offset = Some(rest.unsigned()?);
                }
                (0, DEF_CFA_REGISTER) => self.register = Some(rest.unsigned()?),
                (0, DEF_CFA_OFFSET) => self.offset = Some(rest.unsigned()?),
                (0, GNU_ARGS_SIZE) => drop(rest.unsigned()?),
                (0, AARCH64_NEGATE_RA_STATE) => {} // the return address is signed: it is where it was
                _ => return None,
            }
        }
        Some(())
    }
}

/// Reads numbers of 7 bits a byte (LEB128); cannot read past the end.
pub(super) struct Numbers<'b>(pub(super) &'b [u8]);

impl Numbers<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn unsigned(&mut self) -> Option<u64> {
        self.number().map(|(value, _)| value)
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let (value, bits) = self.number()?;
        let unused = 64_u32.saturating_sub(bits);
        Some((value << unused).cast_signed() >> unused)
    }

    /// The value and how many bits of it are there. None where it is cut, or does not fit.
    fn number(&mut self) -> Option<(u64, u32)> {
        let (mut value, mut bits) = (0_u64, 0_u32);
        loop {
            let byte = self.byte()?;
            // Nine bytes have 63 bits: no number of these tables is larger.
            if bits > 56 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << bits;
            bits = bits.saturating_add(7);
            if byte & 0x80 == 0 {
                return Some((value, bits));
            }
        }
    }
}

const NOP: u8 = 0x00;
const SET_LOC: u8 = 0x01;
const ADVANCE_LOC4: u8 = 0x04;
const DEF_CFA: u8 = 0x0c;
const DEF_CFA_REGISTER: u8 = 0x0d;
const DEF_CFA_OFFSET: u8 = 0x0e;
const AARCH64_NEGATE_RA_STATE: u8 = 0x2d;
const GNU_ARGS_SIZE: u8 = 0x2e;

#[cfg(test)]
mod tests {
    use super::*;

    const X86: &[u8] = &[0x0c, 7, 8, 0x90, 1];

    fn x86(instructions: &[u8]) -> bool {
        let common = Common { encoding: 0x1b, data_alignment: -8, return_column: 16, instructions: X86.to_vec() };
        begins_by_call(Machine::X86_64, &common, instructions)
    }

    fn arm(instructions: &[u8]) -> bool {
        let common = Common { encoding: 0x1b, data_alignment: -8, return_column: 30, instructions: vec![0x0c, 31, 0] };
        begins_by_call(Machine::Aarch64, &common, instructions)
    }

    #[test]
    fn a_function_begins_with_the_frame_that_the_call_left() {
        assert!(x86(&[]) && x86(&[0, 0, 0]));
        assert!(x86(&[0x41, 0x0e, 16, 0x83, 2]), "what comes after the first instruction does not count");
        assert!(x86(&[0x02, 9, 0x0e, 16]), "… however far it advances");
        assert!(arm(&[]) && arm(&[0x2d, 0x44, 0x0e, 32, 0x9e, 4]));
    }

    #[test]
    fn a_fragment_begins_in_the_frame_of_its_function() {
        for fragment in [&[0x0e, 16][..], &[0x0d, 6], &[0x0c, 6, 16], &[0x83, 2], &[0x0e, 16, 0x83, 2, 0x41], &[0x90, 2]] {
            assert!(!x86(fragment), "{fragment:x?}");
        }
        for fragment in [&[0x0e, 48][..], &[0x9e, 4], &[0x93, 2]] {
            assert!(!arm(fragment), "{fragment:x?}");
        }
    }

    #[test]
    fn what_is_cut_or_not_understood_is_no_beginning() {
        for other in [
            &[0x0e][..],
            &[0x0e, 0x80],
            &[0x0f, 1, 0x70],
            &[0x3f],
            &[0x0a],
            &[0x0e, 0x88, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
        ] {
            assert!(!x86(other), "{other:x?}");
        }
    }

    #[test]
    fn numbers_are_read_with_their_signs() {
        assert_eq!(Numbers(&[0x78]).signed(), Some(-8));
        assert_eq!(Numbers(&[0x7c]).signed(), Some(-4));
        assert_eq!(Numbers(&[0x80, 0x7f]).signed(), Some(-128));
        assert_eq!(Numbers(&[0xe5, 0x8e, 0x26]).unsigned(), Some(624_485));
    }
}
