//! Where in a Go function the probes go: behind its stack check, and at its return instructions.
//!
//! Functions of Go's compiler are contiguous, without data in between: all bytes between start and end are instructions, and a linear decode
//! that does not come out at the end, or a jump into the middle of an instruction, means that this is something else.

use crate::{
    discovery::{elf::Machine, evidence::GoRefusal},
    machine_code::{Image, Indirect, Instruction, Kind, Register, StackChange, decode},
};

/// What was found in a function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Body {
    /// The first instruction that a call passes once, with the arguments still in their registers and the stack pointer where it was: behind
    /// the check of the stack's size, from which the runtime begins the function anew.
    pub(super) entry: u64,
    pub(super) returns: Vec<u64>,
    /// The first three arguments are kept in the slots above the return address, and nothing else is written there: they can be read at the
    /// return.
    pub(super) keeps_arguments: bool,
    /// Addresses that it calls.
    pub(super) calls: Vec<u64>,
}

impl Body {
    pub(super) fn of(image: &Image<'_>, start: u64, end: u64) -> Result<Self, GoRefusal> {
        let length = end.checked_sub(start).filter(|length| (1..=MAX_BYTES).contains(length)).ok_or(GoRefusal::Table)?;
        if !image.is_code(start) || !image.is_code(end.saturating_sub(1)) {
            return Err(GoRefusal::Table);
        }
        let bytes = image.bytes(start, length).ok_or(GoRefusal::Table)?;
        Self::of_bytes(image.machine(), start, &bytes)
    }

    /// `bytes`: those from the function's start to its end.
    pub(super) fn of_bytes(machine: Machine, start: u64, bytes: &[u8]) -> Result<Self, GoRefusal> {
        let code = linear(machine, start, bytes)?;
        let end = start.saturating_add(bytes.len() as u64);
        let is_inside = |target: u64| (start..end).contains(&target);
        for instruction in &code {
            let (Kind::Branch(target) | Kind::Jump(target)) = instruction.kind else {
                // A jump table leads to places inside; any other indirect jump could leave the function.
                if matches!(instruction.kind, Kind::JumpIndirect(Indirect::Slot(_) | Indirect::Memory { .. })) {
                    return Err(GoRefusal::Leaves);
                }
                continue;
            };
            if !is_inside(target) {
                return Err(GoRefusal::Leaves);
            }
            if at(&code, target).is_none() {
                return Err(GoRefusal::Decode);
            }
        }
        let returns: Vec<u64> =
            code.iter().filter(|instruction| instruction.kind == Kind::Return).map(|instruction| instruction.address).collect();
        if returns.is_empty() {
            return Err(GoRefusal::Leaves);
        }
        let entry = entry(machine, &code, bytes, start)?;
        let calls =
            code.iter().filter_map(|instruction| if let Kind::Call(target) = instruction.kind { Some(target) } else { None }).collect();
        Ok(Self { entry, returns, keeps_arguments: keeps_arguments(machine, &code, entry), calls })
    }
}

/// Every instruction, or none.
fn linear(machine: Machine, start: u64, bytes: &[u8]) -> Result<Vec<Instruction>, GoRefusal> {
    let mut code = Vec::new();
    let (mut address, mut rest) = (start, bytes);
    while !rest.is_empty() {
        if machine == Machine::Aarch64 && rest.iter().all(|byte| *byte == 0) {
            break; // what the linker fills up with
        }
        let instruction = decode(machine, address, rest).ok_or(GoRefusal::Decode)?;
        rest = rest.get(usize::from(instruction.length)..).filter(|_| instruction.length > 0).ok_or(GoRefusal::Decode)?;
        address = instruction.next();
        code.push(instruction);
    }
    Ok(code)
}

/// The instruction that begins there.
fn at(code: &[Instruction], address: u64) -> Option<usize> {
    code.binary_search_by_key(&address, |instruction| instruction.address).ok()
}

fn entry(machine: Machine, code: &[Instruction], bytes: &[u8], start: u64) -> Result<u64, GoRefusal> {
    let begins_anew =
        code.iter().any(|instruction| matches!(instruction.kind, Kind::Jump(target) | Kind::Branch(target) if target == start));
    if !begins_anew {
        return Ok(start); // it needs so little stack that it does not ask
    }
    // Large frames are checked in two steps, which lead to the same place.
    let mut check: Option<(usize, u64)> = None;
    for (index, instruction) in code.iter().enumerate().take(CHECK_INSTRUCTIONS) {
        if let Kind::Branch(target) = instruction.kind
            && target > instruction.address
            && check.is_none_or(|(_, more)| more == target)
        {
            check = Some((index, target));
        } else if matches!(instruction.kind, Kind::Branch(_) | Kind::Call(_) | Kind::Store { .. } | Kind::Push(_) | Kind::Jump(_)) {
            break;
        }
    }
    let (last, more) = check.ok_or(GoRefusal::Prologue)?;
    let before = code.get(..=last).unwrap_or_default();
    let reads_goroutine = before.iter().any(|instruction| is_stack_limit(machine, instruction, bytes, start));
    let grows = at(code, more).and_then(|index| code.get(index..)).is_some_and(|rest| grows_and_begins_anew(rest, start));
    let entry = code.get(last.saturating_add(1)).map(|instruction| instruction.address).ok_or(GoRefusal::Prologue)?;
    let is_jumped_to =
        code.iter().any(|instruction| matches!(instruction.kind, Kind::Jump(target) | Kind::Branch(target) if target == entry));
    if reads_goroutine && grows && !is_jumped_to { Ok(entry) } else { Err(GoRefusal::Prologue) }
}

/// Reads `g.stackguard0` through the register that holds `g` in the register ABI: so that is the ABI.
fn is_stack_limit(machine: Machine, instruction: &Instruction, bytes: &[u8], start: u64) -> bool {
    let from = usize::try_from(instruction.address.wrapping_sub(start)).ok();
    let raw = from.and_then(|from| bytes.get(from..from.checked_add(instruction.length.into())?)).unwrap_or_default();
    match machine {
        // cmp rsp, [r14+16] · cmp r12, [r14+16] · cmp r13, [r14+16]
        Machine::X86_64 => matches!(raw, [0x49, 0x3b, 0x66, 0x10] | [0x4d, 0x3b, 0x66 | 0x6e, 0x10]),
        // ldr x16, [x28, #16]
        Machine::Aarch64 => raw == [0x90, 0x0b, 0x40, 0xf9],
    }
}

/// Puts the arguments away, has the stack grown, takes them back and jumps to the start.
fn grows_and_begins_anew(rest: &[Instruction], start: u64) -> bool {
    let mut calls = 0_usize;
    for instruction in rest.iter().take(GROWTH_INSTRUCTIONS) {
        if let Kind::Jump(target) = instruction.kind {
            return calls == 1 && target == start;
        }
        if matches!(instruction.kind, Kind::Branch(_) | Kind::Return | Kind::JumpIndirect(_) | Kind::Trap) {
            return false;
        }
        calls = calls.saturating_add(usize::from(matches!(instruction.kind, Kind::Call(_))));
    }
    false
}

/// Go leaves room for register arguments above the return address, each has its place there, and the compiler puts them there when they are
/// needed after a call. From the entry on, before anything else happens, all three must be stored; and nobody else may write there.
fn keeps_arguments(machine: Machine, code: &[Instruction], entry: u64) -> bool {
    let stack = Register::stack(machine);
    let arguments = match machine {
        Machine::X86_64 => [0, 3, 1].map(Register::numbered), // rax, rbx, rcx
        Machine::Aarch64 => [0, 1, 2].map(Register::numbered),
    };
    let Some(from) = at(code, entry) else { return false };
    let mut below = 0_i64;
    let mut kept = [None; 3];
    for instruction in code.get(from..).unwrap_or_default() {
        if kept.iter().all(Option::is_some) {
            break;
        }
        if let Kind::Store { from: Some(register), base, displacement, size: 8 } = instruction.kind
            && base == stack
            && let Some(slot) =
                arguments.iter().zip(SLOTS).position(|(argument, slot)| *argument == register && displacement == below.saturating_add(slot))
            && let Some(kept) = kept.get_mut(slot)
        {
            *kept = Some(instruction.address);
        }
        // What is put there after the register was used for something else is no argument.
        let is_lost = |(argument, kept): (&Register, &Option<u64>)| kept.is_none() && instruction.writes(*argument);
        let calls = matches!(instruction.kind, Kind::Branch(_) | Kind::Call(_) | Kind::CallRegister(_) | Kind::CallMemory { .. });
        if calls || instruction.ends_flow() || arguments.iter().zip(&kept).any(is_lost) {
            return false;
        }
        match instruction.stack {
            StackChange::None => {}
            StackChange::By(bytes) => below = below.saturating_sub(bytes),
            StackChange::From(..) | StackChange::Unknown => return false,
        }
    }
    let slots = below.saturating_add(8)..below.saturating_add(32);
    let mut others = code.iter().filter(|instruction| instruction.address >= entry && !kept.contains(&Some(instruction.address)));
    kept.iter().all(Option::is_some)
        && below > 32
        && !others.any(|instruction| {
            if let Kind::Store { base, displacement, .. } = instruction.kind {
                base == stack && displacement < slots.end && displacement.saturating_add(WIDEST_STORE) > slots.start
            } else {
                matches!(instruction.kind, Kind::Add { from, value, .. } if from == stack && slots.contains(&value))
            }
        })
}

/// Of the three arguments, from the stack pointer at the entry.
const SLOTS: [i64; 3] = [8, 16, 24];
/// A vector register, as the compiler uses them to clear memory.
const WIDEST_STORE: i64 = 16;
const MAX_BYTES: u64 = 256 * 1024;
/// Load, compare, branch; of the largest frames twice.
const CHECK_INSTRUCTIONS: usize = 12;
/// Two for each argument, of which there are ten at most, and a call.
const GROWTH_INSTRUCTIONS: usize = 48;
