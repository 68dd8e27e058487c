//! Which constants registers may hold in a function.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{Instruction, Kind, Register, Walk, instruction::StackChange};
use crate::discovery::elf::Machine;

/// What is known of one register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Value {
    /// One of these (the first `count`): paths that join may have set different ones.
    Constants { values: [u64; MAX_VALUES], count: usize },
    #[default]
    Unknown,
}

impl Value {
    const fn one(value: u64) -> Self {
        let mut values = [0; MAX_VALUES];
        values[0] = value;
        Self::Constants { values, count: 1 }
    }

    pub fn constants(&self) -> &[u64] {
        match self {
            Self::Constants { values, count } => values.get(..*count).unwrap_or_default(),
            Self::Unknown => &[],
        }
    }

    fn map(self, with: impl Fn(u64) -> u64) -> Self {
        match self {
            Self::Constants { values, count } => Self::Constants { values: values.map(with), count },
            Self::Unknown => Self::Unknown,
        }
    }

    fn join(self, other: Self) -> Self {
        let (Self::Constants { mut values, mut count }, Self::Constants { .. }) = (self, other) else { return Self::Unknown };
        for value in other.constants() {
            if values.get(..count).unwrap_or_default().contains(value) {
                continue;
            }
            let Some(free) = values.get_mut(count) else { return Self::Unknown };
            *free = *value;
            count += 1;
        }
        Self::Constants { values, count }
    }
}

/// Registers at one point.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    registers: [Value; REGISTERS],
    /// On the top of the stack: size-optimised code pushes a constant and pops it into a register.
    pushed: Value,
    /// Words of the stack frame, by register and displacement: compilers keep arguments there.
    slots: BTreeMap<(Register, i64), Value>,
}

impl State {
    pub fn of(&self, register: Register) -> Value {
        self.registers.get(usize::from(register.0)).copied().unwrap_or_default()
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(entry) = self.registers.get_mut(usize::from(register.0)) {
            *entry = value;
        }
    }

    fn join(&mut self, other: &Self) -> bool {
        let before = self.clone();
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            *mine = mine.join(*theirs);
        }
        self.pushed = self.pushed.join(other.pushed);
        self.slots.retain(|slot, value| other.slots.get(slot) == Some(value));
        *self != before
    }

    fn step(&mut self, machine: Machine, instruction: &Instruction) {
        let pushed = std::mem::take(&mut self.pushed);
        let (stack, frame) = (Register::stack(machine), Register::frame(machine));
        if instruction.stack != StackChange::None {
            self.slots.retain(|(base, _), _| *base != stack);
        }
        if instruction.writes(frame) {
            self.slots.retain(|(base, _), _| *base != frame);
        }
        match instruction.kind {
            Kind::Constant { to, value } | Kind::Address { to, value } => self.set(to, Value::one(value)),
            Kind::Move { to, from } => self.set(to, self.of(from)),
            Kind::Add { to, from, value } => self.set(to, self.of(from).map(|held| held.wrapping_add_signed(value))),
            Kind::PushConstant(value) => self.pushed = Value::one(value),
            Kind::Pop(to) => self.set(to, pushed),
            kind if kind.is_call() => self.forget_scratch(machine),
            Kind::Load { to, base, displacement, size: 8 } if base == stack || base == frame => {
                self.set(to, self.slots.get(&(base, displacement)).copied().unwrap_or_default());
            }
            _ => {
                if let Kind::Store { from, base, displacement, size } = instruction.kind
                    && (base == stack || base == frame)
                {
                    self.slots.retain(|(other, at), _| *other != base || at.abs_diff(displacement) >= 8);
                    if let Some(value) = from.filter(|_| size == 8).map(|from| self.of(from)).filter(|value| *value != Value::Unknown)
                        && self.slots.len() < MAX_SLOTS
                    {
                        self.slots.insert((base, displacement), value);
                    }
                }
                if let Some(register) = instruction.destination() {
                    self.set(register, Value::Unknown);
                }
                if instruction.stack == StackChange::None {
                    self.pushed = pushed;
                }
            }
        }
        for register in instruction.clobbers() {
            self.set(register, Value::Unknown);
        }
    }

    /// What a callee may change.
    fn forget_scratch(&mut self, machine: Machine) {
        let kept: &[u8] = match machine {
            Machine::X86_64 => &[3, 5, 12, 13, 14, 15],
            Machine::Aarch64 => &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28],
        };
        for (number, value) in self.registers.iter_mut().enumerate() {
            if !kept.iter().any(|kept| usize::from(*kept) == number) {
                *value = Value::Unknown;
            }
        }
    }
}

/// The registers before each instruction of a function.
pub struct Constants<'w> {
    machine: Machine,
    walk: &'w Walk,
    /// Where paths join, and at the start: a state has some kilobytes. In between they follow from the instructions.
    joins: BTreeMap<u64, State>,
}

impl<'w> Constants<'w> {
    /// Nothing is known of a function of more than [`MAX_INSTRUCTIONS`].
    pub fn of(machine: Machine, walk: &'w Walk) -> Self {
        Self::with(machine, walk, &[])
    }

    /// As [`Self::of`], where registers hold these values at the start: numbers that stand for arguments are so followed through copies.
    pub fn with(machine: Machine, walk: &'w Walk, start: &[(Register, u64)]) -> Self {
        Self { machine, walk, joins: joins(machine, walk, start).unwrap_or_default() }
    }

    /// Before the instruction at `address`, on whatever path; none where it is not reached.
    pub fn before(&self, address: u64) -> Option<State> {
        let (join, state) = self.joins.range(..=address).next_back()?;
        let mut state = state.clone();
        let mut at = *join;
        while at != address {
            let instruction = self.walk.at(at).filter(|instruction| !instruction.ends_flow() && instruction.next() <= address)?;
            state.step(self.machine, instruction);
            at = instruction.next();
        }
        Some(state)
    }

    /// The first call after `address` and the registers there when the way leads through `address`: calls that paths share (compilers merge
    /// the ends of error reports) are told apart so. Conditional jumps on the way are not taken.
    pub fn next_call(&self, address: u64) -> Option<(u64, State)> {
        let mut state = self.before(address)?;
        let mut at = address;
        for _ in 0..MAX_BEFORE_CALL {
            let instruction = self.walk.at(at)?;
            match instruction.kind {
                Kind::Jump(target) if self.walk.at(target).is_some() => at = target,
                // A jump away is a last call.
                Kind::Jump(_) | Kind::JumpIndirect(_) => return Some((at, state)),
                kind if kind.is_call() => return Some((at, state)),
                Kind::Return | Kind::Trap => return None,
                _ => {
                    state.step(self.machine, instruction);
                    at = instruction.next();
                }
            }
        }
        None
    }
}

/// Registers at the start and wherever jumps lead, as far as they are reached. None: it would cost too much.
fn joins(machine: Machine, walk: &Walk, start: &[(Register, u64)]) -> Option<BTreeMap<u64, State>> {
    if walk.instructions.len() > MAX_INSTRUCTIONS {
        return None;
    }
    let jump = |instruction: &Instruction| if let Kind::Jump(to) | Kind::Branch(to) = instruction.kind { Some(to) } else { None };
    let mut heads: Vec<u64> = walk.instructions.iter().filter_map(jump).filter(|target| walk.at(*target).is_some()).collect();
    heads.push(walk.start);
    heads.sort_unstable();
    let mut first = State { registers: [Value::Unknown; REGISTERS], pushed: Value::Unknown, slots: BTreeMap::new() };
    for (register, value) in start {
        first.set(*register, Value::one(*value));
    }
    let mut joins = BTreeMap::from([(walk.start, first)]);
    let mut open = BTreeSet::from([walk.start]);
    let mut steps = 0_usize;
    while let Some(head) = open.pop_first() {
        let Some(mut state) = joins.get(&head).cloned() else { continue };
        let mut at = head;
        while let Some(instruction) = walk.at(at) {
            steps = steps.checked_add(1).filter(|steps| *steps <= MAX_STEPS)?;
            let mut reach = |target: u64, state: &State| {
                if walk.at(target).is_none() {
                    return; // it leaves the function
                }
                let is_news = match joins.entry(target) {
                    Entry::Occupied(mut known) => known.get_mut().join(state),
                    Entry::Vacant(entry) => {
                        entry.insert(state.clone());
                        true
                    }
                };
                if is_news {
                    open.insert(target);
                }
            };
            if let Some(target) = jump(instruction) {
                reach(target, &state);
            }
            if instruction.ends_flow() {
                break;
            }
            state.step(machine, instruction);
            at = instruction.next();
            if heads.binary_search(&at).is_ok() {
                reach(at, &state);
                break;
            }
        }
    }
    Some(joins)
}

/// From the first argument to the call.
const MAX_BEFORE_CALL: usize = 40;
/// Reasons that one merged error report has; more are no constants of interest.
const MAX_VALUES: usize = 8;
const REGISTERS: usize = 32;
/// Arguments kept in memory are few.
const MAX_SLOTS: usize = 32;
/// Of a function. The largest that report errors have some thousand; a quarter of them begin a block, with a state of some kilobytes.
const MAX_INSTRUCTIONS: usize = 16_384;
/// Each block is visited again when more is known to arrive there: at most a few times. Time, not memory, is what this bounds.
const MAX_STEPS: usize = 400_000;
