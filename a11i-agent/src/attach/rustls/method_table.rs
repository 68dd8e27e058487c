//! Method tables of Rust trait objects, and those of record encrypters among them.

use std::collections::HashMap;

use crate::machine_code::{Image, Instructions, Kind, Pointers, Register};

/// `[destructor or 0][size][alignment][method]…`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MethodTable {
    pub(super) at: u64,
    pub(super) drop: Option<u64>,
    pub(super) size: u64,
    pub(super) align: u64,
    /// The first method.
    pub(super) method: u64,
}

/// A table whose second method returns its argument and a constant: what a record grows by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Encrypter {
    pub(super) table: MethodTable,
    pub(super) growth: u64,
}

/// TLS 1.3: the content type and the tag.
const TLS13: u64 = 17;
/// TLS 1.2 with GCM: explicit nonce and tag.
const TLS12_GCM: u64 = 24;
/// TLS 1.2 with ChaCha20-Poly1305: the tag.
const TLS12_CHACHA20: u64 = 16;

/// Encrypters of the file. None where the set is not rustls's: it always has the placeholder of a connection without keys (an object without
/// size, whose records do not grow) and TLS 1.3.
pub(super) fn encrypters(image: &Image<'_>, pointers: &Pointers) -> Vec<Encrypter> {
    let mut growths = HashMap::new();
    let mut found = Vec::new();
    let mut has_placeholder = false;
    let mut words = Words::default();
    let entries: Vec<_> = pointers.iter().collect();
    for pair in entries.windows(2) {
        let [(slot, method), (next, second)] = *pair else { continue };
        if next.wrapping_sub(slot) != 8 || !image.is_code(method) || !image.is_code(second) {
            continue;
        }
        let Some(table) = slot.checked_sub(METHODS).and_then(|at| words.table(image, pointers, at)) else { continue };
        let growth = *growths.entry(second).or_insert_with(|| growth(image, second));
        match growth {
            Some(0) => has_placeholder |= table.size == 0 && table.align == 1 && table.drop.is_none(),
            Some(growth @ (TLS13 | TLS12_GCM | TLS12_CHACHA20)) if table.size > 0 && found.len() < MAX_ENCRYPTERS => {
                found.push(Encrypter { table, growth });
            }
            _ => {}
        }
    }
    if !has_placeholder || !found.iter().any(|encrypter| encrypter.growth == TLS13) {
        found.clear();
    }
    found
}

/// The table at `at`, if what is there has its shape.
pub(super) fn table(image: &Image<'_>, pointers: &Pointers, at: u64) -> Option<MethodTable> {
    Words::default().table(image, pointers, at)
}

/// Reads words in ascending order, from windows.
#[derive(Default)]
struct Words {
    start: u64,
    window: Vec<u8>,
}

impl Words {
    fn word(&mut self, image: &Image<'_>, at: u64) -> Option<u64> {
        let held = at.checked_sub(self.start).filter(|into| into.saturating_add(8) <= self.window.len() as u64);
        if held.is_none() {
            (self.start, self.window) = (at, image.bytes_up_to(at, WINDOW)?);
        }
        let into = usize::try_from(at.checked_sub(self.start)?).ok()?;
        self.window.get(into..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn table(&mut self, image: &Image<'_>, pointers: &Pointers, at: u64) -> Option<MethodTable> {
        let drop = pointers.value_at(at);
        let is_destructor = drop.map_or_else(|| self.word(image, at) == Some(0), |drop| image.is_code(drop));
        let sizes = (at.checked_add(8)?, at.checked_add(16)?);
        if !is_destructor || (image.is_position_independent() && (pointers.value_at(sizes.0).or(pointers.value_at(sizes.1))).is_some()) {
            return None;
        }
        let (size, align) = (self.word(image, sizes.0)?, self.word(image, sizes.1)?);
        let method = pointers.value_at(at.checked_add(METHODS)?).filter(|method| image.is_code(*method))?;
        let is_layout = size < MAX_SIZE && align.is_power_of_two() && align <= MAX_ALIGN && size % align == 0;
        is_layout.then_some(MethodTable { at, drop, size, align, method })
    }
}

/// K, if the function is a straight line that returns its second argument plus K.
fn growth(image: &Image<'_>, start: u64) -> Option<u64> {
    let machine = image.machine();
    let code = image.bytes_up_to(start, LEAF_BYTES)?;
    // What is known: a register holds the argument plus so much.
    let mut known: Vec<(Register, i64)> = vec![(Register::argument(machine, 1)?, 0)];
    let value = |known: &[(Register, i64)], of: Register| known.iter().find(|(register, _)| *register == of).map(|(_, plus)| *plus);
    for instruction in Instructions::new(machine, start, &code).take(LEAF_INSTRUCTIONS) {
        let (to, held) = match instruction.kind {
            Kind::Return => return value(&known, Register::result(machine)).and_then(|plus| u64::try_from(plus).ok()),
            Kind::Nop | Kind::Push(_) => continue,
            Kind::Add { to, from, value: more } => (to, value(&known, from).and_then(|plus| plus.checked_add(more))),
            Kind::Move { to, from } => (to, value(&known, from)),
            Kind::Pop(to) => (to, None),
            Kind::Call(_)
            | Kind::CallRegister(_)
            | Kind::CallMemory { .. }
            | Kind::CallSlot(_)
            | Kind::Jump(_)
            | Kind::JumpIndirect(_)
            | Kind::Branch(_)
            | Kind::Trap
            | Kind::Address { .. }
            | Kind::Constant { .. }
            | Kind::Load { .. }
            | Kind::LoadAbsolute { .. }
            | Kind::Store { .. }
            | Kind::Compare { .. }
            | Kind::PushConstant(_)
            | Kind::Other { .. } => return None,
        };
        known.retain(|(register, _)| *register != to);
        known.extend(held.map(|plus| (to, plus)));
    }
    None
}

/// Offset of the first method.
pub(super) const METHODS: u64 = 24;
/// Objects behind a box are smaller.
const MAX_SIZE: u64 = 1 << 24;
const MAX_ALIGN: u64 = 256;
/// A program with several copies of rustls and both providers has a dozen.
const MAX_ENCRYPTERS: usize = 64;
/// A leaf of this kind has 5 instructions with a frame pointer and a landing pad.
const LEAF_BYTES: u64 = 48;
const LEAF_INSTRUCTIONS: usize = 8;
const WINDOW: u64 = 64 * 1024;
