//! One instruction, reduced to what finders ask about.

use super::{arm64, x86_64};
use crate::discovery::elf::Machine;

/// A decoded instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instruction {
    pub address: u64,
    /// Bytes.
    pub length: u8,
    pub kind: Kind,
    /// What it does to the stack pointer.
    pub stack: StackChange,
    /// All integer registers that it may change; of a call, not what the callee may.
    pub written: Registers,
}

impl Instruction {
    /// Address after it.
    pub const fn next(&self) -> u64 {
        self.address.wrapping_add(self.length as u64)
    }

    /// The register may hold something else after it.
    pub const fn writes(&self, register: Register) -> bool {
        self.written.has(register)
    }

    /// Registers that it changes besides its [`Self::destination`]: the second of a pair, implicit results of multiplication, exchanged
    /// operands, a base that is moved on.
    pub fn clobbers(&self) -> impl Iterator<Item = Register> + use<> {
        let destination = self.destination();
        self.written.iter().filter(move |register| Some(*register) != destination)
    }

    /// The register it writes, as far as [`Kind`] knows: of what is [`Kind::Other`], the first operand. [`Self::clobbers`] has the others.
    pub const fn destination(&self) -> Option<Register> {
        match self.kind {
            Kind::Address { to, .. }
            | Kind::Constant { to, .. }
            | Kind::Add { to, .. }
            | Kind::Move { to, .. }
            | Kind::Load { to, .. }
            | Kind::LoadAbsolute { to, .. }
            | Kind::Pop(to) => Some(to),
            Kind::Other { destination } => destination,
            Kind::Call(_)
            | Kind::CallRegister(_)
            | Kind::CallMemory { .. }
            | Kind::CallSlot(_)
            | Kind::Jump(_)
            | Kind::JumpIndirect(_)
            | Kind::Branch(_)
            | Kind::Return
            | Kind::Trap
            | Kind::Nop
            | Kind::Store { .. }
            | Kind::Compare { .. }
            | Kind::Push(_)
            | Kind::PushConstant(_) => None,
        }
    }

    /// Execution never goes on after it.
    pub const fn ends_flow(&self) -> bool {
        matches!(self.kind, Kind::Jump(_) | Kind::JumpIndirect(_) | Kind::Return | Kind::Trap)
    }
}

/// What an instruction does. 32-bit operations that clear the upper half count as 64-bit ones; narrower ones do not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Call(u64),
    CallRegister(Register),
    /// Through a word at `base + displacement`: a method table.
    CallMemory {
        base: Option<Register>,
        displacement: i64,
    },
    /// Through the word at this address: a slot of the global offset table.
    CallSlot(u64),
    Jump(u64),
    JumpIndirect(Indirect),
    /// Conditional.
    Branch(u64),
    Return,
    /// Raises an exception: what follows is not reached from here.
    Trap,
    /// Does nothing; landing pads (`endbr64`, `bti`) count.
    Nop,
    /// `to` = an address near the instruction; arm64 `adrp`: a page, to which an [`Kind::Add`] or a load adds.
    Address {
        to: Register,
        value: u64,
    },
    Constant {
        to: Register,
        value: u64,
    },
    /// `to` = `from` + `value` (wrapping).
    Add {
        to: Register,
        from: Register,
        value: i64,
    },
    Move {
        to: Register,
        from: Register,
    },
    /// From `base + displacement`; `size` in bytes, 0 where it is not a plain load of an integer.
    Load {
        to: Register,
        base: Register,
        displacement: i64,
        size: u8,
    },
    LoadAbsolute {
        to: Register,
        address: u64,
        size: u8,
    },
    /// To `base + displacement`, also by instructions that change memory in place. `from` is none for constants, vectors and pairs.
    Store {
        from: Option<Register>,
        base: Register,
        displacement: i64,
        size: u8,
    },
    /// With a constant.
    Compare {
        register: Register,
        value: i64,
    },
    Push(Option<Register>),
    PushConstant(u64),
    Pop(Register),
    Other {
        destination: Option<Register>,
    },
}

impl Kind {
    pub const fn is_call(self) -> bool {
        matches!(self, Self::Call(_) | Self::CallRegister(_) | Self::CallMemory { .. } | Self::CallSlot(_))
    }
}

/// Where an indirect jump reads its target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indirect {
    Register(Register),
    /// The word at `base + displacement`: a method's last call.
    Memory {
        base: Register,
        displacement: i64,
    },
    /// The word at this address: a linkage stub.
    Slot(u64),
    /// By an index: a jump table; or something else that is not followed.
    Indexed,
}

/// What an instruction does to the stack pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StackChange {
    #[default]
    None,
    /// Bytes added.
    By(i64),
    /// Set to this register's value plus bytes.
    From(Register, i64),
    /// Set to something not known here (alignment, a switch of stacks).
    Unknown,
}

/// An integer register, whatever its width; numbers are the machine's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Register(pub(super) u8);

impl Register {
    /// The n-th (from 0) integer argument of the C calling convention; none when it is passed on the stack.
    pub fn argument(machine: Machine, n: usize) -> Option<Self> {
        const X86_64: [u8; 6] = [7, 6, 2, 1, 8, 9]; // rdi, rsi, rdx, rcx, r8, r9
        match machine {
            Machine::X86_64 => X86_64.get(n).copied().map(Self),
            Machine::Aarch64 => u8::try_from(n).ok().filter(|n| *n < 8).map(Self),
        }
    }

    /// Where a function returns its integer.
    pub const fn result(_machine: Machine) -> Self {
        Self(0) // rax, x0
    }

    /// The second word of a returned pair.
    pub const fn second_result(machine: Machine) -> Self {
        match machine {
            Machine::X86_64 => Self(2),
            Machine::Aarch64 => Self(1),
        }
    }

    /// The stack pointer.
    pub const fn stack(machine: Machine) -> Self {
        match machine {
            Machine::X86_64 => Self(4),
            Machine::Aarch64 => Self(arm64::STACK),
        }
    }

    /// The frame pointer, where a function keeps one.
    pub const fn frame(machine: Machine) -> Self {
        match machine {
            Machine::X86_64 => Self(5),
            Machine::Aarch64 => Self(29),
        }
    }

    /// A register by the machine's number.
    pub const fn numbered(number: u8) -> Self {
        Self(number)
    }
}

/// A set of registers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Registers(u64);

impl Registers {
    pub(super) const fn has(self, register: Register) -> bool {
        matches!(self.0.checked_shr(register.0 as u32), Some(bits) if bits & 1 == 1)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Register> {
        (0..64).map(Register).filter(move |register| self.has(*register))
    }
}

impl Extend<Register> for Registers {
    fn extend<T: IntoIterator<Item = Register>>(&mut self, registers: T) {
        for register in registers {
            self.0 |= 1_u64.checked_shl(register.0.into()).unwrap_or(0); // machines have some thirty
        }
    }
}

impl FromIterator<Register> for Registers {
    fn from_iter<T: IntoIterator<Item = Register>>(registers: T) -> Self {
        let mut set = Self::default();
        set.extend(registers);
        set
    }
}

/// Decodes the instruction at `address`, whose bytes `bytes` begins with. None: no instruction, or `bytes` is too short.
pub fn decode(machine: Machine, address: u64, bytes: &[u8]) -> Option<Instruction> {
    match machine {
        Machine::X86_64 => x86_64::decode(address, bytes),
        Machine::Aarch64 => arm64::decode(address, bytes),
    }
}

/// Instructions one after the other, as they stand in memory; ends at what does not decode.
pub struct Instructions<'b> {
    machine: Machine,
    address: u64,
    rest: &'b [u8],
}

impl<'b> Instructions<'b> {
    /// `bytes` are those at `address`.
    pub const fn new(machine: Machine, address: u64, bytes: &'b [u8]) -> Self {
        Self { machine, address, rest: bytes }
    }
}

impl Iterator for Instructions<'_> {
    type Item = Instruction;

    fn next(&mut self) -> Option<Instruction> {
        let instruction = decode(self.machine, self.address, self.rest)?;
        self.rest = self.rest.get(usize::from(instruction.length)..)?;
        self.address = instruction.next();
        Some(instruction)
    }
}
