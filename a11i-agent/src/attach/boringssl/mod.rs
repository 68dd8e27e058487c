//! BoringSSL without symbols, linked into a program or library.
//!
//! Its error reports pass the name of their source file and a reason, whose numbers are public API and have not changed since 2015. The
//! set of reasons in a function of `ssl_lib.cc` tells which function it is, whatever compiler and version made it. Line numbers, byte
//! patterns and the order of functions in the file say nothing: they move with every release.
#![expect(clippy::wildcard_enum_match_arm, reason = "of all instructions and programs a few are asked for")]

mod destructor;
mod error_reports;
mod roles;

use std::sync::Arc;

use super::{
    Binary, Found, OpenSslFamily, Planned, ProbePlan, ProgramName, TlsLibrary,
    plan::{self, reads_and_writes},
};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::{elf::FunctionSymbol, evidence::Evidence},
    machine_code::{Functions, Image},
};

/// See the module.
pub struct StrippedBoringSsl;

impl TlsLibrary for StrippedBoringSsl {
    fn searches(&self) -> bool {
        true
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        let functions = binary.code();
        let image = functions.image();
        let files = error_reports::files(image, SOURCE_FILE);
        if files.is_empty() || !OpenSslFamily.find(binary).plans.is_empty() {
            return Found::default();
        }
        let mut found = Found::default();
        for file in files {
            let reporting = error_reports::functions(functions, image, &file);
            let roles = roles::tell(functions, image, &reporting);
            match plan(binary, functions, image, &roles) {
                Some(planned) => found.plans.push(planned),
                // OpenSSL's file is called the same until the last letter; its number is another.
                None if file.is_boringssl || !reporting.is_empty() => found.evidence.push(Evidence::BoringSslWithoutSymbols),
                None => {}
            }
        }
        if !found.plans.is_empty() {
            found.evidence.clear();
        }
        found.evidence.dedup();
        found
    }
}

/// Probes at what is proven; none unless both directions are.
fn plan(binary: &Binary<'_>, functions: &Functions<'_>, image: &Image<'_>, roles: &[(ProgramName, u64)]) -> Option<Planned> {
    let starts: Vec<u64> = roles.iter().map(|(_, start)| *start).collect();
    let proven = functions.proven(&starts);
    let at: Vec<(FunctionSymbol, ProgramName)> = roles
        .iter()
        .filter(|(_, start)| proven.binary_search(start).is_ok())
        .filter_map(|(program, start)| {
            let symbol = FunctionSymbol { name: name(*program), vaddr: *start, offset: image.file_offset(*start).ok()?, size: 0 };
            Some((symbol, *program))
        })
        .collect();
    let (probes, refused) = plan::probes(at.iter().map(|(function, program)| (function, *program)));
    if !reads_and_writes(&probes) {
        return None;
    }
    let plan = ProbePlan::of(binary, CaptureLibrary::BoringSsl, CaptureMethod::Anchor, probes);
    Some(Planned { plan: Arc::new(plan), version: None, refused })
}

/// What the library calls it.
fn name(program: ProgramName) -> &'static str {
    match program {
        ProgramName::TlsRead => "SSL_read",
        ProgramName::TlsWrite => "SSL_write",
        ProgramName::SessionShutdown => "SSL_shutdown",
        ProgramName::SetHostName => "SSL_set_tlsext_host_name",
        ProgramName::SessionFree => "ssl_st::~ssl_st",
        other => other.as_str(),
    }
}

/// Later `.cc`, before 2017 `.c`; what stands before is the build's.
const SOURCE_FILE: &[u8] = b"ssl/ssl_lib.c";

#[cfg(test)]
mod tests;
