//! Code that mentions an address: one pass over all code, without decoding it.
//!
//! Bytes that look like a mention may be the middle of something else. Whoever uses an answer decodes from a proven function start and
//! sees whether an instruction begins there.

use memchr::{memchr_iter, memchr2_iter};

use super::{
    Image, Register, arm64,
    instruction::{Instructions, Kind},
};
use crate::discovery::elf::{Machine, Segment};

/// An instruction that may load the address of a target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Reference {
    /// Of the instruction after which the register holds the address.
    pub at: u64,
    pub target: u64,
    pub to: Register,
}

/// Where code loads the address of one of `targets` (ascending): `lea` and `mov r32, imm32` on x86-64, `adr` and `adrp` with one `add` or
/// several on arm64. Ascending; at most [`MAX_REFERENCES`].
pub fn references(image: &Image<'_>, targets: &[u64]) -> Vec<Reference> {
    let mut found = Vec::new();
    if targets.is_empty() {
        return found;
    }
    for segment in image.code() {
        match image.machine() {
            Machine::X86_64 => x86_64(image, segment, targets, &mut found),
            Machine::Aarch64 => aarch64(image, segment, targets, &mut found),
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Direct calls of one of `targets` (ascending): (address of the call, target), ascending; at most [`MAX_REFERENCES`].
pub fn calls_to(image: &Image<'_>, targets: &[u64]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    for segment in image.code() {
        each_call(image, segment, |at, target| {
            if targets.binary_search(&target).is_ok() && found.len() < MAX_REFERENCES {
                found.push((at, target));
            }
        });
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Everything in `segment` that looks like a direct call: (where, whom). Some may be told twice.
pub(super) fn each_call(image: &Image<'_>, segment: &Segment, mut visit: impl FnMut(u64, u64)) {
    match image.machine() {
        Machine::X86_64 => image.windows(segment, 4, |base, bytes| {
            for hit in memchr_iter(CALL, bytes) {
                let Some(distance) = bytes.get(hit.wrapping_add(1)..).and_then(|rest| rest.first_chunk()) else { break };
                let at = base.wrapping_add(hit as u64);
                visit(at, at.wrapping_add(5).wrapping_add_signed(i32::from_le_bytes(*distance).into()));
            }
            true
        }),
        Machine::Aarch64 => image.windows(segment, 0, |base, bytes| {
            for (at, word) in arm64::words(base, bytes) {
                if let Some(target) = arm64::call_target(at, word) {
                    visit(at, target);
                }
            }
            true
        }),
    }
}

fn x86_64(image: &Image<'_>, segment: &Segment, targets: &[u64], found: &mut Vec<Reference>) {
    let (Some(lowest), Some(highest)) = (targets.first().copied(), targets.last().copied()) else { return };
    let is_target = |value: u64| (lowest..=highest).contains(&value) && targets.binary_search(&value).is_ok();
    let absolute = if image.is_position_independent() { Vec::new() } else { third_bytes(targets) };
    image.windows(segment, OVERLAP, |base, bytes| {
        let address = |at: usize| base.wrapping_add(at as u64);
        let mut add = |at: usize, target: u64, register: u8| {
            if found.len() < MAX_REFERENCES {
                found.push(Reference { at: address(at), target, to: Register(register) });
            }
        };
        // REX.W 8D /r with a displacement from the next instruction.
        for hit in memchr_iter(LEA, bytes) {
            let Some([rex, _, form, d0, d1, d2, d3]) =
                hit.checked_sub(1).and_then(|start| bytes.get(start..)).and_then(|rest| rest.first_chunk())
            else {
                continue;
            };
            if rex & 0xf8 != 0x48 || form & 0xc7 != 0x05 {
                continue;
            }
            let target = address(hit).wrapping_add(6).wrapping_add_signed(i32::from_le_bytes([*d0, *d1, *d2, *d3]).into());
            if is_target(target) {
                add(hit.saturating_sub(1), target, (form >> 3 & 7) | (rex & 4) << 1);
            }
        }
        let mut constant = |at: usize| {
            // `at`: the third byte of the constant.
            let Some(window) = at.checked_sub(5).and_then(|start| bytes.get(start..)).and_then(|rest| rest.first_chunk::<7>()) else {
                return;
            };
            let [rex, prefix, opcode, c0, c1, c2, c3] = *window;
            let target = u32::from_le_bytes([c0, c1, c2, c3]);
            if !is_target(target.into()) {
                return;
            }
            if opcode & 0xf8 == 0xb8 {
                // B8+r, extended by REX.B (41).
                let extended = prefix == 0x41;
                let start = if extended { at.saturating_sub(4) } else { at.saturating_sub(3) };
                add(start, target.into(), (opcode & 7) | if extended { 8 } else { 0 });
            } else if prefix == 0xc7 && opcode & 0xf8 == 0xc0 && rex & 0xfe == 0x48 && target < 1 << 31 {
                // REX.W C7 /0, sign-extended: what linkers make of a load from the global offset table.
                add(at.saturating_sub(5), target.into(), (opcode & 7) | (rex & 1) << 3);
            }
        };
        match *absolute.as_slice() {
            [] => {}
            [one] => memchr_iter(one, bytes).for_each(&mut constant),
            [one, two] => memchr2_iter(one, two, bytes).for_each(&mut constant),
            _ => {
                let mut is_third = [false; 256];
                for byte in &absolute {
                    if let Some(entry) = is_third.get_mut(usize::from(*byte)) {
                        *entry = true;
                    }
                }
                let hits = bytes.iter().enumerate().filter(|(_, byte)| is_third.get(usize::from(**byte)).copied().unwrap_or(false));
                hits.for_each(|(at, _)| constant(at));
            }
        }
        true
    });
}

/// The third byte of each target that a 32-bit constant can name: of the four the one that says most and varies least.
fn third_bytes(targets: &[u64]) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        targets.iter().filter_map(|target| u32::try_from(*target).ok()).map(|target| target.to_le_bytes()[2]).collect();
    bytes.sort_unstable();
    bytes.dedup();
    bytes
}

fn aarch64(image: &Image<'_>, segment: &Segment, targets: &[u64], found: &mut Vec<Reference>) {
    // Whether it may be the beginning of a target's address: of its page, or of the page of what it is told from.
    let is_near = |page: u64| {
        let (from, to) = (page.saturating_sub(PAGE), page.saturating_add(2 * PAGE));
        targets.get(targets.partition_point(|target| *target < from)).is_some_and(|target| *target < to)
    };
    image.windows(segment, REACH, |base, bytes| {
        for (at, word) in arm64::words(base, bytes) {
            let Some((is_page, value, to)) = arm64::address(at, word) else { continue };
            if found.len() >= MAX_REFERENCES {
                return false;
            }
            if !is_page {
                if targets.binary_search(&value).is_ok() {
                    found.push(Reference { at, target: value, to });
                }
                continue;
            }
            if !is_near(value) {
                continue;
            }
            let into = usize::try_from(at.wrapping_sub(base)).unwrap_or(usize::MAX);
            let after = bytes.get(into.saturating_add(4)..).unwrap_or_default();
            let after = after.get(..after.len().min(usize::try_from(REACH).unwrap_or(0))).unwrap_or_default();
            // What is told from the page: addresses, and those that a compiler tells from the address of something beside (an anchor).
            let mut held = vec![(to, value)];
            for next in Instructions::new(Machine::Aarch64, at.wrapping_add(4), after) {
                let sum = if let Kind::Add { to, from, value: more } = next.kind {
                    let from = held.iter().find(|(register, _)| *register == from);
                    from.and_then(|(_, value)| Some((to, value.checked_add_signed(more)?)))
                } else {
                    None
                };
                held.retain(|(register, _)| !next.writes(*register));
                if let Some((to, target)) = sum {
                    if targets.binary_search(&target).is_ok() {
                        found.push(Reference { at: next.address, target, to });
                    }
                    held.push((to, target));
                }
                if held.is_empty() || next.ends_flow() {
                    break;
                }
            }
        }
        true
    });
}

const CALL: u8 = 0xe8;
const LEA: u8 = 0x8d;
/// The longest of the patterns.
const OVERLAP: u64 = 8;
/// What `adrp` tells the address of.
const PAGE: u64 = 4096;
/// Bytes after `adrp` in which its `add` is looked for: compilers share a page among the accesses of a block.
const REACH: u64 = 256;
/// Targets that are mentioned more often are no anchors.
const MAX_REFERENCES: usize = 65_536;
