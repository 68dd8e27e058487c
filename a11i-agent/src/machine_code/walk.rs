//! All instructions of one function, by following it from its start.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    image::Image,
    instruction::{Indirect, Instruction, Kind, Register, StackChange, decode},
};
use crate::discovery::elf::Machine;

/// A function; what is known of it is its [`Walk`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function;

/// What [`Function::walk`] reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walk {
    pub start: u64,
    /// In ascending order of address; never two that overlap.
    pub instructions: Vec<Instruction>,
    /// Addresses of return instructions, ascending.
    pub returns: Vec<u64>,
    /// Targets of jumps that leave [start, limit): tail calls, or parts that the compiler put elsewhere. Ascending.
    pub tail_jumps: Vec<u64>,
    /// Those of `tail_jumps` that are taken while the stack frame stands: they lead to more of the same function.
    pub parts: Vec<u64>,
    /// Jumps to an address that was loaded, with the stack as it was at the start: tail calls of methods and linkage stubs. Ascending.
    pub indirect_tail_calls: Vec<u64>,
    /// Why this may not be all of the function; none: every path was followed to its end.
    pub incomplete: Option<Incomplete>,
    /// Every return is reached with the stack pointer where it was at the start, on every path. False also where that is not known.
    pub is_balanced: bool,
}

/// Why a walk is not complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Incomplete {
    #[error("the bytes at {0:#x} are no instruction")]
    Undecodable(u64),
    #[error("the instruction at {0:#x} begins inside another")]
    Overlap(u64),
    #[error("the jump at {0:#x} goes where its table says")]
    IndirectJump(u64),
    #[error("the code at {0:#x} runs past the end of the function")]
    RunsOut(u64),
    #[error("more than {MAX_INSTRUCTIONS} instructions")]
    TooLong,
}

impl Walk {
    pub const fn is_complete(&self) -> bool {
        self.incomplete.is_none()
    }

    /// The instruction that begins at `address`.
    pub fn at(&self, address: u64) -> Option<&Instruction> {
        let index = self.instructions.binary_search_by_key(&address, |instruction| instruction.address).ok()?;
        self.instructions.get(index)
    }

    /// It takes room on the stack.
    pub fn keeps_frame(&self) -> bool {
        self.instructions.iter().any(|instruction| matches!(instruction.stack, StackChange::By(..0)))
    }

    /// Direct calls: where, and whom.
    pub fn calls(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.instructions.iter().filter_map(|instruction| match instruction.kind {
            Kind::Call(target) => Some((instruction.address, target)),
            _ => None,
        })
    }
}

impl Function {
    /// Decodes the function at `start`, which is proven to be one; `limit` is an address that it does not reach (the next function).
    pub fn walk(image: &Image<'_>, start: u64, limit: u64) -> Walk {
        let code =
            image.bytes_up_to(start, limit.saturating_sub(start).min(MAX_BYTES)).filter(|_| image.is_code(start)).unwrap_or_default();
        let limit = limit.min(start.saturating_add(code.len() as u64));
        Walker {
            machine: image.machine(),
            start,
            limit,
            code: &code,
            seen: BTreeMap::new(),
            leaves: BTreeSet::new(),
            parts: BTreeSet::new(),
            indirect_tail_calls: BTreeSet::new(),
            incomplete: None,
        }
        .run()
    }
}

struct Walker<'c> {
    machine: Machine,
    start: u64,
    limit: u64,
    code: &'c [u8],
    /// By address: the instruction and the stack before it.
    seen: BTreeMap<u64, (Instruction, Depth)>,
    leaves: BTreeSet<u64>,
    parts: BTreeSet<u64>,
    indirect_tail_calls: BTreeSet<u64>,
    incomplete: Option<Incomplete>,
}

/// Where stack and frame pointer are, in bytes from the stack pointer at the start.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Depth {
    stack: Option<i64>,
    frame: Option<i64>,
}

impl Walker<'_> {
    fn run(mut self) -> Walk {
        let mut open = vec![(self.start, Depth { stack: Some(0), frame: None })];
        let mut is_balanced = true;
        while let Some((address, depth)) = open.pop() {
            self.follow(address, depth, &mut open, &mut is_balanced);
        }
        self.find_overlap();
        let instructions: Vec<_> = self.seen.values().map(|(instruction, _)| *instruction).collect();
        let returns = instructions.iter().filter(|i| i.kind == Kind::Return).map(|i| i.address).collect();
        let (tail_jumps, parts) = (self.leaves.into_iter().collect(), self.parts.into_iter().collect());
        let indirect_tail_calls = self.indirect_tail_calls.into_iter().collect();
        Walk { start: self.start, instructions, returns, tail_jumps, parts, indirect_tail_calls, incomplete: self.incomplete, is_balanced }
    }

    /// Decodes from `address` until the flow ends or joins what was seen.
    fn follow(&mut self, mut address: u64, mut depth: Depth, open: &mut Vec<(u64, Depth)>, is_balanced: &mut bool) {
        let mut after_call = false;
        loop {
            if let Some((_, before)) = self.seen.get(&address) {
                // The depths at a join are the same in what compilers make; a difference means that one of them is not known.
                *is_balanced &= before.stack.is_none() || depth.stack.is_none() || before.stack == depth.stack;
                return;
            }
            if address == self.limit && after_call {
                return; // a call that does not return ends the function
            }
            if self.seen.len() >= MAX_INSTRUCTIONS {
                return self.fail(Incomplete::TooLong);
            }
            let Some(instruction) = self.decode(address) else { return };
            self.seen.insert(address, (instruction, depth));
            after_call = false;
            match instruction.kind {
                Kind::Jump(target) => {
                    return self.branch(target, depth, open);
                }
                Kind::Branch(target) => self.branch(target, depth, open),
                Kind::JumpIndirect(by) => {
                    if depth.stack == Some(0) && self.is_tail_call(address, by) {
                        self.indirect_tail_calls.insert(address);
                    } else {
                        self.fail(Incomplete::IndirectJump(address));
                    }
                    return;
                }
                Kind::Return => {
                    *is_balanced &= depth.stack == Some(0);
                    return;
                }
                Kind::Trap => return,
                kind if kind.is_call() => after_call = true,
                _ => {}
            }
            depth = self.after(instruction, depth);
            address = instruction.next();
        }
    }

    fn decode(&mut self, address: u64) -> Option<Instruction> {
        let at = usize::try_from(address.wrapping_sub(self.start)).ok();
        let Some(bytes) = at.and_then(|at| self.code.get(at..)).filter(|bytes| !bytes.is_empty()) else {
            self.fail(Incomplete::RunsOut(address));
            return None;
        };
        let decoded = decode(self.machine, address, bytes);
        if decoded.is_none() {
            self.fail(Incomplete::Undecodable(address));
        }
        decoded
    }

    fn branch(&mut self, target: u64, depth: Depth, open: &mut Vec<(u64, Depth)>) {
        if !self.is_inside(target) {
            self.leaves.insert(target);
            if depth.stack != Some(0) {
                self.parts.insert(target);
            }
        } else if open.len() < MAX_INSTRUCTIONS {
            open.push((target, depth));
        } else {
            self.fail(Incomplete::TooLong);
        }
    }

    fn is_inside(&self, address: u64) -> bool {
        (self.start..self.limit).contains(&address)
    }

    /// The target was loaded like a method's address, not computed from a table of distances.
    fn is_tail_call(&self, address: u64, by: Indirect) -> bool {
        match by {
            Indirect::Memory { .. } | Indirect::Slot(_) => true,
            Indirect::Indexed => false,
            Indirect::Register(register) => {
                let before = self.seen.range(..address).rev().map(|(_, (instruction, _))| instruction);
                holds_loaded(before, register)
            }
        }
    }

    fn after(&self, instruction: Instruction, before: Depth) -> Depth {
        let (stack, frame) = (Register::stack(self.machine), Register::frame(self.machine));
        let mut after = before;
        after.stack = match instruction.stack {
            StackChange::None => before.stack,
            StackChange::By(bytes) => before.stack.and_then(|depth| depth.checked_add(bytes)),
            StackChange::From(register, bytes) if register == frame => before.frame.and_then(|depth| depth.checked_add(bytes)),
            StackChange::From(..) | StackChange::Unknown => None,
        };
        if instruction.writes(frame) {
            after.frame = match instruction.kind {
                _ if instruction.destination() != Some(frame) => None,
                Kind::Move { from, .. } if from == stack => before.stack,
                Kind::Add { from, value, .. } if from == stack => before.stack.and_then(|depth| depth.checked_add(value)),
                Kind::Add { from, value, .. } if from == frame => before.frame.and_then(|depth| depth.checked_add(value)),
                _ => None,
            };
        }
        after
    }

    /// Two readings of the same bytes: one of them is wrong.
    fn find_overlap(&mut self) {
        let mut end = self.start;
        let overlap = self.seen.values().find_map(|(instruction, _)| {
            let is_inside = instruction.address < end;
            end = instruction.next();
            is_inside.then_some(instruction.address)
        });
        if let Some(address) = overlap {
            self.seen.remove(&address);
            self.fail(Incomplete::Overlap(address));
        }
    }

    /// The first reason is kept.
    fn fail(&mut self, why: Incomplete) {
        self.incomplete.get_or_insert(why);
    }
}

/// The last of the instructions `before` (the nearest first) that writes `register` loads it.
pub fn holds_loaded<'i>(before: impl IntoIterator<Item = &'i Instruction>, register: Register) -> bool {
    let written = before.into_iter().take(LOAD_DISTANCE).find(|instruction| instruction.writes(register));
    written.is_some_and(|i| matches!(i.kind, Kind::Load { .. } | Kind::LoadAbsolute { .. } | Kind::Address { .. }))
}

/// Between the load of a method's address and the jump there, the callee-saved registers are restored.
const LOAD_DISTANCE: usize = 24;
/// The largest functions of the libraries we look for have some thousand instructions.
const MAX_INSTRUCTIONS: usize = 65_536;
const MAX_BYTES: u64 = 1024 * 1024;
