//! From an encrypter to the decrypter of the same cipher.
//!
//! A cipher is a trait object too: one of its methods makes the encrypter, the next one the decrypter. The first mentions the encrypter's
//! table; the second returns the decrypter's as the second word of a box.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{
    Pair,
    method_table::{Encrypter, MethodTable, table},
};
use crate::machine_code::{Functions, Image, Instructions, Kind, Reference, Register, Walk, references};

/// Pairs of encrypters and decrypters that belong together; what has no certain partner is left out.
pub(super) fn pairs<'a>(image: &Image<'a>, functions: &Functions<'a>, encrypters: &[Encrypter]) -> Vec<Pair> {
    let pointers = functions.pointers();
    let mut targets: Vec<_> = encrypters.iter().map(|encrypter| encrypter.table.at).collect();
    targets.sort_unstable();
    targets.dedup();
    let finder = Finder { image, functions, encrypters: &targets, made: RefCell::default() };
    let mut constructors: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut by_start: BTreeMap<u64, Vec<Reference>> = BTreeMap::new();
    for reference in references(image, &targets).into_iter().take(MAX_REFERENCES) {
        if let Some(start) = functions.start_of(reference.at) {
            by_start.entry(start).or_default().push(reference);
        }
    }
    for (start, references) in by_start {
        let Some(walk) = functions.walk(start) else { continue };
        // An instruction that a decode from the function's start reaches: no look-alike bytes.
        for reference in references.iter().filter(|reference| walk.at(reference.at).is_some()) {
            constructors.entry(reference.target).or_default().insert(start);
        }
    }
    let all: BTreeSet<u64> = constructors.values().flatten().copied().collect();
    let forwarders = finder.forwarders(&all);
    let mut found = Vec::new();
    for encrypter in encrypters {
        let starts = constructors.get(&encrypter.table.at).into_iter().flatten();
        let methods: BTreeSet<u64> = starts.flat_map(|start| std::iter::once(*start).chain(forwarders.of(*start))).collect();
        let next = methods.iter().flat_map(|method| pointers.slots_of(*method)).filter_map(|slot| pointers.value_at(slot.checked_add(8)?));
        let makers: BTreeSet<u64> = next.filter(|maker| image.is_code(*maker)).take(MAX_MAKERS).collect();
        let made: BTreeSet<u64> = makers.iter().flat_map(|maker| finder.made_by(*maker, FOLLOWED)).collect();
        let tables = made.iter().filter_map(|at| table(image, pointers, *at));
        found.extend(tables.map(|decrypter| Pair { encrypter: *encrypter, decrypter }));
    }
    found
}

struct Finder<'f, 'a> {
    image: &'f Image<'a>,
    functions: &'f Functions<'a>,
    /// Tables of encrypters, ascending.
    encrypters: &'f [u64],
    /// What is known of functions that were decoded.
    made: RefCell<BTreeMap<u64, Rc<Made>>>,
}

/// What a function makes.
#[derive(Default)]
struct Made {
    /// Tables that it loads into the register of a result's second word.
    tables: BTreeSet<u64>,
    /// Whom it calls or hands over to.
    next: Vec<u64>,
}

/// Methods that only hand over to a constructor.
#[derive(Default)]
struct Forwarders(BTreeMap<u64, BTreeSet<u64>>);

impl Forwarders {
    fn of(&self, constructor: u64) -> impl Iterator<Item = u64> + '_ {
        self.0.get(&constructor).into_iter().flatten().copied()
    }
}

impl Finder<'_, '_> {
    /// Methods of tables that end in a jump to one of these. Only short ones: they pass their arguments on.
    fn forwarders(&self, constructors: &BTreeSet<u64>) -> Forwarders {
        let mut found = Forwarders::default();
        if constructors.is_empty() {
            return found;
        }
        let entries: Vec<_> = self.functions.pointers().iter().collect();
        let mut looked_at = BTreeSet::new();
        for pair in entries.windows(2) {
            let [(slot, method), (next, second)] = *pair else { continue };
            let are_methods = next.wrapping_sub(slot) == 8 && self.image.is_code(method) && self.image.is_code(second);
            if !are_methods || !looked_at.insert(method) {
                continue;
            }
            if let Some(target) = self.forwards_to(method).filter(|target| constructors.contains(target)) {
                found.0.entry(target).or_default().insert(method);
            }
        }
        found
    }

    fn forwards_to(&self, method: u64) -> Option<u64> {
        let code = self.image.bytes_up_to(method, FORWARDER_BYTES)?;
        for instruction in Instructions::new(self.image.machine(), method, &code).take(FORWARDER_INSTRUCTIONS) {
            if let Kind::Jump(target) = instruction.kind {
                return Some(target);
            }
            if instruction.ends_flow() {
                return None;
            }
        }
        None
    }

    /// Tables that this function, or those it hands over to, loads into the register of a result's second word.
    fn made_by(&self, maker: u64, levels: u32) -> BTreeSet<u64> {
        let made = self.made(maker);
        if !made.tables.is_empty() || levels == 0 {
            return made.tables.clone();
        }
        made.next.iter().flat_map(|target| self.made_by(*target, levels.saturating_sub(1))).collect()
    }

    fn made(&self, maker: u64) -> Rc<Made> {
        if let Some(known) = self.made.borrow().get(&maker) {
            return Rc::clone(known);
        }
        let made = self.functions.walk(maker).map(|walk| {
            let next: BTreeSet<u64> = walk.tail_jumps.iter().copied().chain(walk.calls().map(|(_, target)| target)).collect();
            Made { tables: self.loaded(&walk), next: next.into_iter().take(MAX_FOLLOWED).collect() }
        });
        let made = Rc::new(made.unwrap_or_default());
        self.made.borrow_mut().insert(maker, Rc::clone(&made));
        made
    }

    fn loaded(&self, walk: &Walk) -> BTreeSet<u64> {
        let result = Register::second_result(self.image.machine());
        let mut held: BTreeMap<Register, u64> = BTreeMap::new();
        let mut found = BTreeSet::new();
        for instruction in &walk.instructions {
            let loaded = if let Kind::Address { to, value } | Kind::Constant { to, value } = instruction.kind {
                Some((to, value))
            } else if let Kind::Add { to, from, value } = instruction.kind {
                held.get(&from).map(|base| (to, base.wrapping_add_signed(value)))
            } else {
                None
            };
            held.retain(|register, _| !instruction.writes(*register));
            let Some((to, value)) = loaded else { continue };
            held.insert(to, value);
            let is_other = self.encrypters.binary_search(&value).is_err();
            if to == result && is_other && self.is_decrypter(value) {
                found.insert(value);
            }
        }
        found
    }

    /// A table of an object with content, of the same kind as an encrypter's.
    fn is_decrypter(&self, at: u64) -> bool {
        at.is_multiple_of(8)
            && table(self.image, self.functions.pointers(), at).is_some_and(|MethodTable { size, align, .. }| size > 0 && align >= 8)
    }
}

/// A table is mentioned where its object is made: in a few functions.
const MAX_REFERENCES: usize = 4_096;
/// A cipher has one; functions that do the same are folded into one, which then stands in several tables.
const MAX_MAKERS: usize = 64;
/// Functions that the maker of a decrypter may hand over to, one after the other.
const FOLLOWED: u32 = 2;
/// Functions looked at on each of these steps.
const MAX_FOLLOWED: usize = 16;
const FORWARDER_BYTES: u64 = 64;
const FORWARDER_INSTRUCTIONS: usize = 12;
