//! x86-64, through iced-x86.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, InstructionInfoOptions, Mnemonic, OpAccess, OpKind,
    Register as Name,
};

use super::instruction::{Indirect, Instruction, Kind, Register, Registers, StackChange};

pub(super) fn decode(address: u64, bytes: &[u8]) -> Option<Instruction> {
    let bytes = bytes.get(..LONGEST.min(bytes.len()))?;
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    if !decoder.can_decode() {
        return None;
    }
    let raw = decoder.decode();
    if raw.is_invalid() {
        return None;
    }
    let effects = Effects::of(&raw);
    let kind = kind(&raw, &effects);
    Some(Instruction { address, length: u8::try_from(raw.len()).ok()?, kind, stack: stack(&raw, kind), written: effects.written })
}

/// What an instruction changes.
struct Effects {
    written: Registers,
    /// The first operand, in a register or in memory.
    writes_first: bool,
}

impl Effects {
    fn of(raw: &iced_x86::Instruction) -> Self {
        let first = || first_register(raw).into_iter().collect();
        // Most of all instructions, without asking a table.
        match raw.mnemonic() {
            Mnemonic::Mov | Mnemonic::Lea => return Self { written: first(), writes_first: true },
            Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Nop | Mnemonic::Endbr64 => {
                return Self { written: Registers::default(), writes_first: false };
            }
            _ => {}
        }
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info_options(raw, InstructionInfoOptions::NO_MEMORY_USAGE);
        let used = info.used_registers().iter().filter(|used| is_write(used.access()));
        let mut written: Registers = used.filter_map(|used| register(used.register())).collect();
        if matches!(raw.mnemonic(), Mnemonic::Syscall | Mnemonic::Int) {
            written.extend([Register(0)]); // the kernel's answer
        }
        Self { written, writes_first: is_write(info.op0_access()) }
    }
}

const fn is_write(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

fn kind(raw: &iced_x86::Instruction, effects: &Effects) -> Kind {
    match raw.flow_control() {
        FlowControl::Call if is_near(raw) => Kind::Call(raw.near_branch_target()),
        FlowControl::IndirectCall => indirect_call(raw),
        FlowControl::UnconditionalBranch if is_near(raw) => Kind::Jump(raw.near_branch_target()),
        FlowControl::Return if matches!(raw.code(), Code::Retnq | Code::Retnq_imm16) => Kind::Return,
        // To another segment, or out of an interrupt.
        FlowControl::UnconditionalBranch | FlowControl::Return => Kind::JumpIndirect(Indirect::Indexed),
        FlowControl::IndirectBranch => Kind::JumpIndirect(indirect_jump(raw)),
        FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend if is_near(raw) => Kind::Branch(raw.near_branch_target()),
        FlowControl::Exception => Kind::Trap,
        FlowControl::Interrupt if matches!(raw.code(), Code::Int3 | Code::Int1) => Kind::Trap,
        // A call that is not near is one of the kernel.
        FlowControl::Next | FlowControl::Call | FlowControl::Interrupt | FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
            straight(raw, effects)
        }
    }
}

fn is_near(raw: &iced_x86::Instruction) -> bool {
    matches!(raw.op0_kind(), OpKind::NearBranch64 | OpKind::NearBranch32 | OpKind::NearBranch16)
}

fn indirect_call(raw: &iced_x86::Instruction) -> Kind {
    if raw.op0_kind() == OpKind::Register {
        return register(raw.op0_register()).map_or(Kind::CallMemory { base: None, displacement: 0 }, Kind::CallRegister);
    }
    if raw.is_ip_rel_memory_operand() {
        return Kind::CallSlot(raw.ip_rel_memory_address());
    }
    match plain_memory(raw) {
        Some((base, displacement)) => Kind::CallMemory { base: Some(base), displacement },
        None => Kind::CallMemory { base: None, displacement: 0 },
    }
}

fn indirect_jump(raw: &iced_x86::Instruction) -> Indirect {
    if raw.op0_kind() == OpKind::Register {
        return whole(raw.op0_register()).map_or(Indirect::Indexed, Indirect::Register);
    }
    if raw.is_ip_rel_memory_operand() {
        return Indirect::Slot(raw.ip_rel_memory_address());
    }
    plain_memory(raw).map_or(Indirect::Indexed, |(base, displacement)| Indirect::Memory { base, displacement })
}

/// What neither jumps nor calls.
fn straight(raw: &iced_x86::Instruction, effects: &Effects) -> Kind {
    let to = (raw.op_count() > 0 && raw.op0_kind() == OpKind::Register).then(|| whole(raw.op0_register())).flatten();
    let store = |raw| store(raw).filter(|_| effects.writes_first);
    let other = Kind::Other { destination: first_register(raw).filter(|register| effects.writes_first && effects.written.has(*register)) };
    match raw.mnemonic() {
        Mnemonic::Nop | Mnemonic::Endbr64 | Mnemonic::Endbr32 | Mnemonic::Pause => Kind::Nop,
        Mnemonic::Lea => lea(raw, to).unwrap_or(other),
        Mnemonic::Mov => mov(raw, to).unwrap_or(other),
        Mnemonic::Movzx | Mnemonic::Movsx | Mnemonic::Movsxd => to.and_then(|to| load(raw, to)).unwrap_or(other),
        Mnemonic::Xor | Mnemonic::Sub if raw.op1_kind() == OpKind::Register && raw.op0_kind() == OpKind::Register => {
            match to.filter(|_| raw.op0_register() == raw.op1_register()) {
                Some(to) => Kind::Constant { to, value: 0 },
                None => other,
            }
        }
        Mnemonic::Add | Mnemonic::Sub => add(raw, to).or_else(|| store(raw)).unwrap_or(other),
        Mnemonic::Inc | Mnemonic::Dec => {
            let value = if raw.mnemonic() == Mnemonic::Inc { 1 } else { -1 };
            to.map(|to| Kind::Add { to, from: to, value }).or_else(|| store(raw)).unwrap_or(other)
        }
        Mnemonic::Cmp => compare(raw).unwrap_or(Kind::Other { destination: None }),
        Mnemonic::Test | Mnemonic::Bt => Kind::Other { destination: None },
        Mnemonic::Push => match (immediate(raw, 0), to) {
            (Some(value), _) => Kind::PushConstant(value.cast_unsigned()),
            (None, register) => Kind::Push(register),
        },
        Mnemonic::Pop => to.map_or(other, Kind::Pop),
        _ => store(raw).unwrap_or(other),
    }
}

fn lea(raw: &iced_x86::Instruction, to: Option<Register>) -> Option<Kind> {
    let to = to?;
    if raw.is_ip_rel_memory_operand() {
        return Some(Kind::Address { to, value: raw.ip_rel_memory_address() });
    }
    let (from, value) = plain_memory(raw)?;
    Some(Kind::Add { to, from, value })
}

fn mov(raw: &iced_x86::Instruction, to: Option<Register>) -> Option<Kind> {
    let Some(to) = to else { return store(raw) };
    if raw.op1_kind() == OpKind::Register {
        return Some(Kind::Move { to, from: whole(raw.op1_register())? });
    }
    if let Some(value) = immediate(raw, 1) {
        return Some(Kind::Constant { to, value: value.cast_unsigned() });
    }
    load(raw, to)
}

fn load(raw: &iced_x86::Instruction, to: Register) -> Option<Kind> {
    if raw.op1_kind() != OpKind::Memory {
        return None;
    }
    let size = u8::try_from(raw.memory_size().size()).unwrap_or(0);
    if raw.is_ip_rel_memory_operand() {
        return Some(Kind::LoadAbsolute { to, address: raw.ip_rel_memory_address(), size });
    }
    // A segment register (thread-local data) makes the displacement relative to something else.
    let (base, displacement) = plain_memory(raw)?;
    Some(Kind::Load { to, base, displacement, size })
}

fn add(raw: &iced_x86::Instruction, to: Option<Register>) -> Option<Kind> {
    let (to, value) = (to?, immediate(raw, 1)?);
    let value = if raw.mnemonic() == Mnemonic::Sub { value.wrapping_neg() } else { value };
    Some(Kind::Add { to, from: to, value })
}

fn compare(raw: &iced_x86::Instruction) -> Option<Kind> {
    (raw.op0_kind() == OpKind::Register).then_some(())?;
    Some(Kind::Compare { register: register(raw.op0_register())?, value: immediate(raw, 1)? })
}

/// Of what writes its first operand, where that is in memory.
fn store(raw: &iced_x86::Instruction) -> Option<Kind> {
    if raw.op_count() == 0 || raw.op0_kind() != OpKind::Memory {
        return None;
    }
    let (base, displacement) = plain_memory(raw)?;
    let from = (raw.op_count() > 1 && raw.op1_kind() == OpKind::Register).then(|| register(raw.op1_register())).flatten();
    Some(Kind::Store { from, base, displacement, size: u8::try_from(raw.memory_size().size()).unwrap_or(0) })
}

/// `[base + displacement]`, without index and segment.
fn plain_memory(raw: &iced_x86::Instruction) -> Option<(Register, i64)> {
    if raw.memory_index() != Name::None || raw.segment_prefix() != Name::None {
        return None;
    }
    Some((whole(raw.memory_base())?, raw.memory_displacement64().cast_signed()))
}

fn immediate(raw: &iced_x86::Instruction, operand: u32) -> Option<i64> {
    if operand >= raw.op_count() {
        return None;
    }
    raw.try_immediate(operand).ok().map(u64::cast_signed)
}

/// The first operand, where it is a register; whether it is written is not said.
fn first_register(raw: &iced_x86::Instruction) -> Option<Register> {
    (raw.op_count() > 0 && raw.op0_kind() == OpKind::Register).then(|| register(raw.op0_register())).flatten()
}

fn stack(raw: &iced_x86::Instruction, kind: Kind) -> StackChange {
    const STACK: Register = Register(4);
    const FRAME: Register = Register(5);
    match (raw.mnemonic(), kind) {
        (Mnemonic::Leave, _) => StackChange::From(FRAME, 8),
        (Mnemonic::Enter, _) | (_, Kind::Pop(STACK)) => StackChange::Unknown,
        (_, Kind::Add { to: STACK, from: STACK, value }) => StackChange::By(value),
        (_, Kind::Add { to: STACK, from, value }) => StackChange::From(from, value),
        (_, Kind::Move { to: STACK, from }) => StackChange::From(from, 0),
        (Mnemonic::Push | Mnemonic::Pop | Mnemonic::Pushfq | Mnemonic::Popfq, _) => StackChange::By(raw.stack_pointer_increment().into()),
        _ if kind.is_call() || kind == Kind::Return => StackChange::None,
        (Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Bt, _) => StackChange::None,
        _ if first_register(raw) == Some(STACK) => StackChange::Unknown,
        _ => StackChange::None,
    }
}

/// A register that is written or read whole: 64 bits, or 32 with the upper half cleared.
fn whole(name: Name) -> Option<Register> {
    let number = match name {
        Name::EAX
        | Name::ECX
        | Name::EDX
        | Name::EBX
        | Name::ESP
        | Name::EBP
        | Name::ESI
        | Name::EDI
        | Name::R8D
        | Name::R9D
        | Name::R10D
        | Name::R11D
        | Name::R12D
        | Name::R13D
        | Name::R14D
        | Name::R15D
        | Name::RAX
        | Name::RCX
        | Name::RDX
        | Name::RBX
        | Name::RSP
        | Name::RBP
        | Name::RSI
        | Name::RDI
        | Name::R8
        | Name::R9
        | Name::R10
        | Name::R11
        | Name::R12
        | Name::R13
        | Name::R14
        | Name::R15 => name.number(),
        _ => return None,
    };
    u8::try_from(number).ok().map(Register)
}

/// The register of which `name` is a part.
fn register(name: Name) -> Option<Register> {
    whole(name.full_register())
}

/// The architecture's limit.
const LONGEST: usize = 15;
