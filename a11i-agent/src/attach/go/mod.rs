//! Go's `crypto/tls` (1.17 and newer) and its copies under other names (uTLS), stripped or not: by the
//! function table that the runtime itself needs.
//!
//! Takes a Go program; gives probes at the entries of `(*Conn).Write` and `.Read`, at each of their return instructions, and at what begins
//! and ends connections. No return probes: the runtime moves stacks. Refuses what was not decoded whole, or has another calling convention.

mod body;
mod packages;
mod pclntab;
mod version;

use std::sync::Arc;

use self::{
    body::Body,
    packages::{Method, Name, Package},
    pclntab::{FunctionTable, Layout},
};
use super::{Binary, Found, Planned, Probe, ProbeKind, ProbePlan, ProgramName, TlsLibrary};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::{
        elf::{Elf, Machine},
        evidence::{Evidence, GoRefusal},
    },
    machine_code::Image,
};

/// See the module.
pub struct GoCryptoTls;

impl TlsLibrary for GoCryptoTls {
    fn symbols(&self) -> &'static [&'static str] {
        NAMES
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        plan(binary).unwrap_or_else(|refusal| Found { evidence: vec![Evidence::GoCryptoTls(refusal)], ..Found::default() })
    }
}

/// Nothing: no Go program, or one without TLS of Go.
fn plan(binary: &Binary<'_>) -> Result<Found, GoRefusal> {
    let elf = binary.elf;
    let table = match FunctionTable::of(binary.code()) {
        None => return Ok(Found::default()),
        // Whatever has a section of that name: without a sign that it talks TLS there is nothing to refuse.
        Some(Err(_)) if !mentions_tls(elf) => return Ok(Found::default()),
        Some(table) => table?,
    };
    let names = match table.names(packages::ANCHOR, Name::of) {
        Err(refusal) if mentions_tls(elf) => return Err(refusal),
        Ok(names) if !names.is_empty() => names,
        _ => return Ok(Found::default()),
    };
    let mut places: Vec<u64> = names.iter().map(|name| name.at).collect();
    places.sort_unstable();
    let functions = table.functions(&places)?;
    let packages = packages::of(&names, &functions)?;
    if packages.is_empty() {
        return Ok(Found::default());
    }
    let version = version::version(elf);
    has_register_abi(elf.machine(), table.layout(), version.as_deref())?;
    let image = Image::of(elf);
    let (mut found, mut probes, mut has_symbols) = (Found::default(), Vec::new(), true);
    for package in &packages {
        has_symbols &= package.is_standard() && check_symbols(binary, package)?;
        match probes_of(&image, package) {
            Ok(of_package) => probes.extend(of_package),
            Err(refusal) if package.is_standard() => return Err(refusal),
            // The rest is none the worse for it.
            Err(refusal) => found.evidence.push(Evidence::GoCryptoTls(refusal)),
        }
    }
    probes.sort_by_key(|probe| (probe.offset, probe.kind));
    if probes.windows(2).any(|pair| matches!(pair, [one, other] if one.offset == other.offset)) {
        return Err(GoRefusal::Table);
    }
    if probes.is_empty() {
        return Ok(found);
    }
    let method = if has_symbols { CaptureMethod::Symbol } else { CaptureMethod::Gopclntab };
    let plan = ProbePlan::of(binary, CaptureLibrary::Go, method, probes);
    let version = version.map(|version| version.trim_start_matches("go").to_owned());
    found.plans.push(Planned { plan: Arc::new(plan), version, refused: Vec::new() });
    Ok(found)
}

/// Before Go 1.17 (on arm64, 1.18) arguments are on the stack.
fn has_register_abi(machine: Machine, layout: Layout, version: Option<&str>) -> Result<(), GoRefusal> {
    if version.is_some_and(|version| version.contains("noregabi")) {
        return Err(GoRefusal::StackAbi);
    }
    match (layout, machine, version.and_then(version::major_minor)) {
        (Layout::V118, _, _) => Ok(()),
        (Layout::V116, Machine::X86_64, Some(version)) if version >= (1, 17) => Ok(()),
        (Layout::V116, Machine::X86_64, None) => Err(GoRefusal::VersionUnknown),
        (Layout::V116, _, _) => Err(GoRefusal::StackAbi),
    }
}

/// Whether the functions have symbols; those must say the same as the table.
fn check_symbols(binary: &Binary<'_>, package: &Package<'_>) -> Result<bool, GoRefusal> {
    let mut has_all = true;
    for (name, function) in &package.functions {
        let mut symbols = binary.functions.found.iter().filter(|symbol| symbol.name == name.full).peekable();
        has_all &= symbols.peek().is_some();
        if symbols.any(|symbol| symbol.vaddr != function.start) {
            return Err(GoRefusal::Table);
        }
    }
    Ok(has_all)
}

fn probes_of(image: &Image<'_>, package: &Package<'_>) -> Result<Vec<Probe>, GoRefusal> {
    let mut probes = Vec::new();
    for (name, function) in &package.functions {
        let inner = package.inner(name.method);
        let body = match Body::of(image, function.start, function.end) {
            // The same bytes would be seen twice.
            Ok(body) if inner.is_some_and(|inner| body.calls.contains(&inner)) => continue,
            Ok(body) => body,
            // A method that ends in a jump to the connection's own.
            Err(GoRefusal::Leaves) if inner.is_some() => continue,
            // What only begins and ends connections is no condition.
            Err(_) if !name.method.moves_bytes() => continue,
            Err(refusal) => return Err(refusal),
        };
        let (program, exit) = programs(name.method, &body);
        let mut add = |program, kind, address| {
            let offset = image.file_offset(address).map_err(|_| GoRefusal::Table)?;
            probes.push(Probe { program, kind, symbol: name.full.clone(), offset });
            Ok(())
        };
        add(program, ProbeKind::Entry, body.entry)?;
        if let Some(exit) = exit {
            body.returns.iter().try_for_each(|address| add(exit, ProbeKind::Exit, *address))?;
        }
    }
    Ok(probes)
}

/// At the entry, and at the returns.
const fn programs(method: Method, body: &Body) -> (ProgramName, Option<ProgramName>) {
    match method {
        Method::Write => (ProgramName::GoWrite, Some(ProgramName::GoWriteReturn)),
        Method::OuterWrite => (ProgramName::GoOuterWrite, Some(ProgramName::GoWriteReturn)),
        Method::Read if body.keeps_arguments => (ProgramName::GoRead, Some(ProgramName::GoReadReturnKept)),
        Method::Read => (ProgramName::GoRead, Some(ProgramName::GoReadReturn)),
        // Its arguments are not the connection's: a call that began before there were probes is not understood.
        Method::OuterRead => (ProgramName::GoOuterRead, Some(ProgramName::GoReadReturn)),
        Method::OuterClose => (ProgramName::GoOuterClose, None),
        Method::Close => (ProgramName::GoClose, None),
        Method::CloseWrite => (ProgramName::GoCloseWrite, None),
        Method::Handshake => (ProgramName::GoHandshake, None),
        Method::OuterHandshake => (ProgramName::GoOuterHandshake, None),
    }
}

/// The name stands in the file: then it is worth saying why there is no plan.
fn mentions_tls(elf: &Elf<'_>) -> bool {
    [".gopclntab", ".data.rel.ro.gopclntab"].iter().filter_map(|name| elf.section(name)).any(|table| {
        crate::discovery::evidence::contains(elf.source(), table.offset, table.size, &[WRITE.as_bytes()]).first() == Some(&true)
    })
}

const WRITE: &str = "crypto/tls.(*Conn).Write";
const READ: &str = "crypto/tls.(*Conn).Read";
const NAMES: &[&str] = &[
    WRITE,
    READ,
    "crypto/tls.(*Conn).Close",
    "crypto/tls.(*Conn).CloseWrite",
    "crypto/tls.(*Conn).clientHandshake",
    "crypto/tls.(*Conn).serverHandshake",
];

#[cfg(test)]
mod tests;
