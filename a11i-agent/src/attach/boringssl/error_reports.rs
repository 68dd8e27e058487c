//! Calls of `ERR_put_error` that name a source file, and the functions they stand in.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine_code::{Functions, Image, Literal, Reference, Register, Walk, constants::Constants, literals, references};

/// A function that reports errors.
#[derive(Clone, Debug)]
pub(super) struct Reporting {
    pub(super) walk: Walk,
    /// All that it reports from this file.
    pub(super) reasons: BTreeSet<u64>,
}

/// Where the name of one source file stands.
pub(super) struct SourceFile {
    /// Addresses that may be loaded to name it, ascending: merged literals are mentioned from their middle.
    addresses: Vec<u64>,
    /// It is C++.
    pub(super) is_boringssl: bool,
}

/// One for each place where the name stands, as far as [`MAX_FILES`].
pub(super) fn files(image: &Image<'_>, name: &[u8]) -> Vec<SourceFile> {
    let is_cpp = |at: u64| at.checked_add(name.len() as u64).and_then(|end| image.bytes(end, 1)).is_some_and(|next| next == *b"c");
    let file = |literal: Literal| SourceFile { addresses: (literal.start..=literal.at).collect(), is_boringssl: is_cpp(literal.at) };
    literals(image, name).into_iter().take(MAX_FILES).map(file).collect()
}

/// The functions that report errors from `file`, by their start.
pub(super) fn functions(functions: &Functions<'_>, image: &Image<'_>, file: &SourceFile) -> BTreeMap<u64, Reporting> {
    let references = references(image, &file.addresses);
    let walks = functions.around(references.iter().map(|reference| reference.at));
    let reporting = walks.filter_map(|walk| {
        let reasons = reasons(image, &walk, file, &references);
        (!reasons.is_empty()).then_some((walk.start, Reporting { walk, reasons }))
    });
    reporting.take(MAX_FUNCTIONS).collect()
}

/// What `walk` reports: `(lib, unused, reason, file, line)`, or, where link-time optimisation dropped the unused argument,
/// `(lib, reason, file, line)`. Which it is shows in the register that holds the file, call by call.
fn reasons(image: &Image<'_>, walk: &Walk, file: &SourceFile, references: &[Reference]) -> BTreeSet<u64> {
    let argument = |n| Register::argument(image.machine(), n);
    let (Some(first), Some(second), Some(third), Some(fourth)) = (argument(0), argument(1), argument(2), argument(3)) else {
        return BTreeSet::new();
    };
    let constants = Constants::of(image.machine(), walk);
    let mut reasons = BTreeSet::new();
    for reference in references.iter().filter(|reference| walk.at(reference.at).is_some()) {
        let Some((_, state)) = constants.next_call(reference.at) else { continue };
        if state.of(first).constants() != [ERR_LIB_SSL] {
            continue;
        }
        let is_file = |register| {
            let value = state.of(register);
            !value.constants().is_empty() && value.constants().iter().all(|address| file.addresses.binary_search(address).is_ok())
        };
        if is_file(fourth) {
            reasons.extend(state.of(third).constants());
        } else if is_file(third) {
            reasons.extend(state.of(second).constants());
        }
    }
    reasons
}

/// BoringSSL's; OpenSSL's is 20.
const ERR_LIB_SSL: u64 = 16;
/// Each costs a pass over the code. Linkers merge the name within a library; a program has one copy of it, seldom two.
const MAX_FILES: usize = 8;
/// The file has some 60 functions that report.
const MAX_FUNCTIONS: usize = 512;
