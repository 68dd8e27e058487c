//! Where functions begin and end.
//!
//! Best proof first: the unwind table, where code and table agree that it is a function and no fragment of one; else an address that seems called or pointed to, that follows what ends a function, and from which
//! a decode reaches what was asked about and leaves the stack as it was. What only looks like a call (a byte scan finds many) does not begin
//! a function: before a probe goes in, [`Functions::proven`] decodes the callers too.

use std::{
    cell::{Cell, OnceCell},
    collections::BTreeSet,
};

use super::{
    Function, Image, Kind, Pointers, Walk,
    instruction::Instructions,
    references::{calls_to, each_call},
    unwind::UnwindTable,
    walk::Incomplete,
};
use crate::discovery::elf::{Machine, Segment};

/// The functions of one file. Tables are made when first needed and kept.
pub struct Functions<'a> {
    image: Image<'a>,
    unwind: OnceCell<UnwindTable>,
    pointers: OnceCell<Pointers>,
    marks: OnceCell<Vec<Marks>>,
    /// What may still be done: instructions decoded, and as much for what costs as much.
    work: Cell<u64>,
    /// Something was not done for lack of work.
    has_run_out: Cell<bool>,
}

/// What is known of an address that may be a function's start.
enum Standing {
    Proven,
    /// … if there is a caller too.
    IfCalled,
    Refused,
}

/// Addresses of one segment that look called or pointed to: a bit each.
struct Marks {
    segment: Segment,
    bits: Vec<u64>,
}

impl<'a> Functions<'a> {
    pub fn of(image: &Image<'a>) -> Self {
        Self::within(image, MAX_WORK)
    }

    /// As [`Self::of`]: after so much work (an instruction decoded is 1) nothing more is found. A file is made of whatever its owner likes.
    pub fn within(image: &Image<'a>, work: u64) -> Self {
        Self {
            image: image.clone(),
            unwind: OnceCell::new(),
            pointers: OnceCell::new(),
            marks: OnceCell::new(),
            work: Cell::new(work),
            has_run_out: Cell::new(false),
        }
    }

    /// How much work is left.
    pub const fn work_left(&self) -> u64 {
        self.work.get()
    }

    /// Something was not looked at because the work was used up, or nobody waits any more: what was not found may be there.
    pub const fn has_run_out(&self) -> bool {
        self.has_run_out.get()
    }

    /// The file that they are of.
    pub const fn image(&self) -> &Image<'a> {
        &self.image
    }

    /// Functions in the unwind table.
    pub fn unwindable(&self) -> usize {
        self.unwind().len()
    }

    fn unwind(&self) -> &UnwindTable {
        self.unwind.get_or_init(|| UnwindTable::of(&self.image))
    }

    /// The file's pointers, shared.
    pub fn pointers(&self) -> &Pointers {
        self.pointers.get_or_init(|| Pointers::of(&self.image))
    }

    /// Start of the function with `address` in it; none where none is found. [`Self::proven`] says which starts may be probed.
    pub fn start_of(&self, address: u64) -> Option<u64> {
        self.bounds(address).map(|(start, _)| start)
    }

    /// An address that the function at `start` does not reach.
    pub fn end_of(&self, start: u64) -> Option<u64> {
        self.bounds(start).filter(|(found, _)| *found == start).map(|(_, end)| end)
    }

    /// The function at `start`, decoded; none where none is found to begin there.
    pub fn walk(&self, start: u64) -> Option<Walk> {
        self.decode(start, self.end_of(start)?)
    }

    /// The function with `address` in it, decoded; none where the decode does not reach `address`.
    pub fn walk_around(&self, address: u64) -> Option<Walk> {
        let (start, end) = self.bounds(address)?;
        self.decode(start, end).filter(|walk| walk.at(address).is_some())
    }

    /// The functions with `addresses` in them, decoded: each once, however many of the addresses it has. Ends after
    /// [`MAX_INSTRUCTIONS_AROUND`].
    pub fn around(&self, addresses: impl IntoIterator<Item = u64>) -> impl Iterator<Item = Walk> {
        let mut seen: BTreeSet<u64> = BTreeSet::new();
        let walks = addresses.into_iter().map(move |address| {
            if seen.contains(&address) {
                return Some(None);
            }
            let walk = self.walk_around(address);
            seen.extend(walk.iter().flat_map(|walk| &walk.instructions).map(|instruction| instruction.address));
            (seen.len() <= MAX_INSTRUCTIONS_AROUND).then_some(walk)
        });
        walks.map_while(|walk| walk).flatten()
    }

    fn decode(&self, start: u64, end: u64) -> Option<Walk> {
        self.spend(0)?;
        let walk = Function::walk(&self.image, start, end);
        self.spend(walk.instructions.len() as u64);
        Some(walk)
    }

    /// None: the file has had its share, or nobody waits for it.
    fn spend(&self, work: u64) -> Option<()> {
        let left = self.work.get();
        if left == 0 || self.image.elf().source().is_given_up() {
            self.has_run_out.set(true);
            return None;
        }
        self.work.set(left.saturating_sub(work));
        Some(())
    }

    /// Start and end of the function with `address` in it.
    pub fn bounds(&self, address: u64) -> Option<(u64, u64)> {
        if !self.image.is_code(address) {
            return None;
        }
        self.unwind().bounds(&self.image, address).or_else(|| self.without_table(address))
    }

    /// The nearest candidate from which a decode reaches `address`.
    fn without_table(&self, address: u64) -> Option<(u64, u64)> {
        let marks = self.marks().iter().find(|marks| marks.segment.holds(address))?;
        self.spend(CANDIDATE)?;
        let near = marks.down_from(address).take_while(|start| address.wrapping_sub(*start) < MAX_FUNCTION);
        near.take(MAX_CANDIDATES)
            .map_while(|start| self.spend(CANDIDATE).map(|()| start))
            .filter(|start| self.may_begin(*start))
            .take(MAX_TRIES)
            .find_map(|start| {
                let (walk, end) = self.whole(marks, start, address)?;
                (walk.is_balanced && walk.at(address).is_some()).then_some((start, end))
            })
    }

    /// Decodes from `start` to the nearest candidate after `address` that is not in the middle of what begins at `start`.
    fn whole(&self, marks: &Marks, start: u64, address: u64) -> Option<(Walk, u64)> {
        let last = address.saturating_add(MAX_FUNCTION).min(marks.segment.vaddr.saturating_add(marks.segment.file_size));
        let above = marks.up_from(address.saturating_add(1)).take(MAX_CANDIDATES).take_while(|end| *end < last);
        let above = above.map_while(|end| self.spend(CANDIDATE).map(|()| end));
        let ends = above.filter(|end| self.may_begin(*end)).take(MAX_TRIES).chain([last]);
        let mut found = None;
        for end in ends {
            let walk = self.decode(start, end)?;
            let goes_on = walk.parts.iter().any(|part| (end..end.saturating_add(MAX_FUNCTION)).contains(part))
                || walk.incomplete == Some(Incomplete::RunsOut(end));
            found = Some((walk, end));
            if !goes_on {
                break;
            }
        }
        found
    }

    /// Those of `starts` that may be probed: functions by the unwind table whose code agrees; or code that keeps a stack frame and gives it
    /// back, and a direct call of it stands at an instruction boundary, or data points to it. In ascending order. Costs one pass over the
    /// code.
    pub fn proven(&self, starts: &[u64]) -> Vec<u64> {
        let mut wanted = starts.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let (mut proven, mut open) = (Vec::new(), Vec::new());
        for start in wanted {
            match self.standing(start) {
                Standing::Proven => proven.push(start),
                Standing::IfCalled => open.push(start),
                Standing::Refused => {}
            }
        }
        let calls = if open.is_empty() { Vec::new() } else { calls_to(&self.image, &open) };
        proven.extend(open.into_iter().filter(|start| {
            self.pointers().slots_of(*start).next().is_some()
                || calls.iter().filter(|(_, target)| target == start).take(MAX_CALLERS).any(|(at, _)| self.is_boundary(*at))
        }));
        proven.sort_unstable();
        proven
    }

    /// What table and code say of `start`, callers apart.
    fn standing(&self, start: u64) -> Standing {
        let begins = self.unwind().begins_function(&self.image, start);
        // A fragment is entered by a jump, with the stack frame and the registers of its function.
        if begins == Some(false) || begins.is_none() && !self.may_begin(start) {
            return Standing::Refused;
        }
        let Some(walk) = self.walk(start).filter(|walk| walk.is_balanced) else { return Standing::Refused };
        match begins {
            // A fragment of a function without a frame looks like a function. It goes back into the middle of its own; functions go into the
            // middle of their fragments too, but nobody calls a fragment.
            Some(_) if walk.tail_jumps.iter().any(|target| self.is_inside(*target)) => Standing::IfCalled,
            Some(_) => Standing::Proven,
            // Labels of a switch are pointed to as well, in the middle of their function: there the frame is given back without being made.
            None if walk.keeps_frame() => Standing::IfCalled,
            None => Standing::Refused,
        }
    }

    /// In a function or fragment by the unwind table, and not at its start.
    fn is_inside(&self, address: u64) -> bool {
        self.unwind().bounds(&self.image, address).is_some_and(|(start, _)| start != address)
    }

    /// Whether decoding the instructions before `at` one after the other arrives there.
    pub fn is_boundary(&self, at: u64) -> bool {
        let in_table = self.unwind().bounds(&self.image, at).map(|(start, _)| start);
        let Some(begin) = in_table.or_else(|| {
            let marks = self.marks().iter().find(|marks| marks.segment.holds(at))?;
            let mut near = marks.down_from(at).take_while(|start| at.wrapping_sub(*start) < MAX_FUNCTION).take(MAX_CANDIDATES);
            near.find(|start| self.may_begin(*start))
        }) else {
            return false;
        };
        let length = at.wrapping_sub(begin);
        if length >= MAX_FUNCTION || self.spend(length / BYTES_OF_INSTRUCTION).is_none() {
            return false;
        }
        let Some(code) = self.image.bytes(begin, length.saturating_add(1)) else { return false };
        // The last instruction is cut: all that is asked is whether one ends before it.
        Instructions::new(self.image.machine(), begin, &code).last().map_or(begin == at, |last| last.next() == at || last.address == at)
    }

    /// What stands before `start` ends a function: padding, a jump, a return, a trap, or a call of what does not return.
    pub fn may_begin(&self, start: u64) -> bool {
        let before = start.saturating_sub(LOOK_BACK);
        let Some(segment) = self.image.code().find(|segment| segment.holds(start)) else { return false };
        let before = before.max(segment.vaddr);
        if before == start {
            return true; // the first in its segment
        }
        let Some(bytes) = self.image.bytes(before, start.wrapping_sub(before)) else { return false };
        match self.image.machine() {
            Machine::X86_64 => ends_function_x86_64(before, &bytes, start.is_multiple_of(16)),
            Machine::Aarch64 => start.is_multiple_of(4) && ends_function(Instructions::new(Machine::Aarch64, before, &bytes).last()),
        }
    }

    fn marks(&self) -> &[Marks] {
        self.marks.get_or_init(|| {
            let mut room = MAX_CODE;
            let mut all: Vec<Marks> = self.image.code().filter_map(|segment| Marks::of(segment, &mut room)).collect();
            if all.len() < self.image.code().count() {
                self.has_run_out.set(true);
            }
            if all.is_empty() {
                return all;
            }
            for segment in self.image.code() {
                each_call(&self.image, segment, |_, target| mark(&mut all, target));
            }
            for (_, value) in self.pointers().iter() {
                mark(&mut all, value);
            }
            all
        })
    }
}

fn mark(all: &mut [Marks], address: u64) {
    if let Some(marks) = all.iter_mut().find(|marks| marks.segment.holds(address)) {
        marks.set(address);
    }
}

impl Marks {
    /// None where there is no room left for all of the segment.
    fn of(segment: &Segment, room: &mut u64) -> Option<Self> {
        *room = room.checked_sub(segment.file_size)?;
        let words = usize::try_from(segment.file_size.div_ceil(64)).ok()?;
        Some(Self { segment: *segment, bits: vec![0; words] })
    }

    fn set(&mut self, address: u64) {
        let into = address.wrapping_sub(self.segment.vaddr);
        if let Some(word) = usize::try_from(into / 64).ok().and_then(|index| self.bits.get_mut(index)) {
            *word |= 1 << (into % 64);
        }
    }

    /// Marked addresses from `address` downwards, as far as a function goes.
    fn down_from(&self, address: u64) -> impl Iterator<Item = u64> + '_ {
        let into = address.wrapping_sub(self.segment.vaddr);
        let last = usize::try_from(into / 64).unwrap_or(0);
        let first = last.saturating_sub(FUNCTION_WORDS);
        let words = self.bits.get(first..=last).unwrap_or_default();
        words.iter().enumerate().rev().filter(|(_, word)| **word != 0).flat_map(move |(index, word)| {
            let index = first.saturating_add(index);
            let word = if index == last { word & (u64::MAX >> (63 - into % 64)) } else { *word };
            let base = self.segment.vaddr.wrapping_add(index as u64 * 64);
            (0..64_u64).rev().filter(move |bit| word >> bit & 1 == 1).map(move |bit| base.wrapping_add(bit))
        })
    }

    /// Marked addresses from `address` upwards, as far as a function goes.
    fn up_from(&self, address: u64) -> impl Iterator<Item = u64> + '_ {
        let into = address.wrapping_sub(self.segment.vaddr);
        let first = usize::try_from(into / 64).unwrap_or(usize::MAX);
        let words = self.bits.get(first..).unwrap_or_default();
        words.iter().take(FUNCTION_WORDS).enumerate().filter(|(_, word)| **word != 0).flat_map(move |(index, word)| {
            let word = if index == 0 { word & (u64::MAX << (into % 64)) } else { *word };
            let base = self.segment.vaddr.wrapping_add((first.saturating_add(index)) as u64 * 64);
            (0..64_u64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| base.wrapping_add(bit))
        })
    }
}

/// The instructions before cannot be decoded backwards; any reading that ends with one of these counts, and aligned starts get the benefit
/// of the doubt as to which call does not return.
fn ends_function_x86_64(before: u64, bytes: &[u8], is_aligned: bool) -> bool {
    let ends_with = |pattern: &[u8]| bytes.ends_with(pattern);
    // int3; nop; ret; ud2; short and near jumps are told by decoding below.
    if ends_with(&[0xcc]) || ends_with(&[0xc3]) || ends_with(&[0x0f, 0x0b]) || ends_with(&[0x90]) || ends_with(&[0xf4]) {
        return true;
    }
    (0..bytes.len()).any(|skip| {
        let rest = bytes.get(skip..).unwrap_or_default();
        let Some(last) = super::decode(Machine::X86_64, before.wrapping_add(skip as u64), rest) else { return false };
        let ends_here = usize::from(last.length) == rest.len();
        ends_here && (ends_function(Some(last)) || (last.kind.is_call() && is_aligned))
    })
}

fn ends_function(last: Option<super::Instruction>) -> bool {
    last.is_some_and(|last| last.ends_flow() || last.kind == Kind::Nop || matches!(last.kind, Kind::Call(_)))
}

/// More than the longest padding in use (15 bytes), less than what would cost.
const LOOK_BACK: u64 = 16;
/// The largest functions we look for have some 20 KB.
const MAX_FUNCTION: u64 = 128 * 1024;
/// Words of marks that a function may span.
const FUNCTION_WORDS: usize = 128 * 1024 / 64 + 1;
/// False candidates among the true ones are one in some thousand.
const MAX_CANDIDATES: usize = 4_096;
/// Callers that are decoded until one is found to be real.
const MAX_CALLERS: usize = 64;
/// Candidates that pass for a start and are decoded.
const MAX_TRIES: usize = 64;
/// Of all segments together, a bit per byte: 64 MB.
const MAX_CODE: u64 = 512 * 1024 * 1024;
/// Of functions that mention something: those of a library that report errors have some 20,000 together. Bounds memory as well as time.
const MAX_INSTRUCTIONS_AROUND: usize = 200_000;
/// A candidate is read from the file and looked at in up to 16 ways.
const CANDIDATE: u64 = 8;
const BYTES_OF_INSTRUCTION: u64 = 4;
/// Of 450 programs and libraries the costliest (a debug build of 100 MB) took 506,000. A few seconds.
const MAX_WORK: u64 = 16 * 1024 * 1024;
