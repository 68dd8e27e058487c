//! Go's `crypto/tls` (1.17 and newer), stripped or not: by the function table that the runtime itself needs.
//!
//! Takes a Go program; gives probes at the entries of `(*Conn).Write` and `.Read`, at each of their return instructions, and at what begins
//! and ends connections. No return probes: the runtime moves stacks. Refuses what was not decoded whole, or has another calling convention.

mod body;
mod pclntab;
mod version;

use std::sync::Arc;

use self::{
    body::Body,
    pclntab::{FunctionTable, Layout, TableFunction},
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
        match plan(binary) {
            Ok(None) => Found::default(),
            Ok(Some(planned)) => Found { plans: vec![planned], ..Found::default() },
            Err(refusal) => Found { evidence: vec![Evidence::GoCryptoTls(refusal)], ..Found::default() },
        }
    }
}

/// None: no Go program, or one without `crypto/tls`.
fn plan(binary: &Binary<'_>) -> Result<Option<Planned>, GoRefusal> {
    let elf = binary.elf;
    let table = match FunctionTable::of(binary.code()) {
        None => return Ok(None),
        // Whatever has a section of that name: without a sign that it talks TLS there is nothing to refuse.
        Some(Err(_)) if !mentions_tls(elf) => return Ok(None),
        Some(table) => table?,
    };
    let functions = match table.names(NAMES) {
        Ok(places) if !places.is_empty() => table.functions(&places)?,
        _ => return Ok(None),
    };
    let has = |name: &str| functions.iter().any(|function| function.name == name);
    if !has(WRITE) || !has(READ) {
        return Ok(None); // the linker leaves out what nobody calls
    }
    let version = version::version(elf);
    has_register_abi(elf.machine(), table.layout(), version.as_deref())?;
    let has_symbols = check_symbols(binary, &functions)?;
    let image = Image::of(elf);
    let mut probes = Vec::new();
    for function in &functions {
        add_probes(&image, function, &mut probes)?;
    }
    probes.sort_by_key(|probe| (probe.offset, probe.kind));
    if probes.windows(2).any(|pair| matches!(pair, [one, other] if one.offset == other.offset)) {
        return Err(GoRefusal::Table);
    }
    let method = if has_symbols { CaptureMethod::Symbol } else { CaptureMethod::Gopclntab };
    let plan = ProbePlan::of(binary, CaptureLibrary::Go, method, probes);
    let version = version.map(|version| version.trim_start_matches("go").to_owned());
    Ok(Some(Planned { plan: Arc::new(plan), version, refused: Vec::new() }))
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
fn check_symbols(binary: &Binary<'_>, functions: &[TableFunction]) -> Result<bool, GoRefusal> {
    let mut has_all = true;
    for function in functions {
        let mut symbols = binary.functions.found.iter().filter(|symbol| symbol.name == function.name).peekable();
        has_all &= symbols.peek().is_some();
        if symbols.any(|symbol| symbol.vaddr != function.start) {
            return Err(GoRefusal::Table);
        }
    }
    Ok(has_all)
}

fn add_probes(image: &Image<'_>, function: &TableFunction, probes: &mut Vec<Probe>) -> Result<(), GoRefusal> {
    let body = match Body::of(image, function.start, function.end) {
        Ok(body) => body,
        // What only begins and ends connections is no condition.
        Err(_) if function.name != WRITE && function.name != READ => return Ok(()),
        Err(refusal) => return Err(refusal),
    };
    let (program, exit) = programs(function.name, &body);
    let mut add = |program, kind, address| {
        let offset = image.file_offset(address).map_err(|_| GoRefusal::Table)?;
        probes.push(Probe { program, kind, symbol: function.name.to_owned(), offset });
        Ok(())
    };
    add(program, ProbeKind::Entry, body.entry)?;
    if let Some(exit) = exit {
        body.returns.iter().try_for_each(|address| add(exit, ProbeKind::Exit, *address))?;
    }
    Ok(())
}

/// At the entry, and at the returns.
fn programs(name: &str, body: &Body) -> (ProgramName, Option<ProgramName>) {
    match name {
        WRITE => (ProgramName::GoWrite, Some(ProgramName::GoWriteReturn)),
        READ if body.keeps_arguments => (ProgramName::GoRead, Some(ProgramName::GoReadReturnKept)),
        READ => (ProgramName::GoRead, Some(ProgramName::GoReadReturn)),
        CLOSE => (ProgramName::GoClose, None),
        CLOSE_WRITE => (ProgramName::GoCloseWrite, None),
        _ => (ProgramName::GoHandshake, None),
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
const CLOSE: &str = "crypto/tls.(*Conn).Close";
const CLOSE_WRITE: &str = "crypto/tls.(*Conn).CloseWrite";
const NAMES: &[&str] = &[WRITE, READ, CLOSE, CLOSE_WRITE, "crypto/tls.(*Conn).clientHandshake", "crypto/tls.(*Conn).serverHandshake"];

#[cfg(test)]
mod tests;
