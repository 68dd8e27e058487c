//! Signs of TLS libraries that this version does not cover: told only where there is proof in the file.

use memchr::memmem;
use serde::Serialize;

use super::{
    elf::{Elf, Functions},
    file::ByteSource,
};

/// What was found, and so why calls of the process may be missing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// `crypto/tls` in a Go program, whose functions are not probed.
    GoCryptoTls(GoRefusal),
    MbedTls,
    WolfSsl,
    S2n,
    /// Mozilla's.
    Nss,
    /// A Java virtual machine: its own TLS (JSSE) is compiled at run time.
    Jvm,
    /// Erlang's virtual machine: its own TLS (the application `ssl`) is compiled at run time.
    Beam,
    /// Source paths or names of rustls, without symbols.
    Rustls,
    /// The method tables of rustls, but no proof of where its functions return.
    RustlsUnproven,
    /// Source paths of BoringSSL, without symbols.
    BoringSslWithoutSymbols,
    /// Source paths of OpenSSL, without symbols.
    OpenSslWithoutSymbols,
    /// What every implementation of TLS 1.3 says, and nothing that tells which it is.
    UnknownTls,
    /// 32-bit or big-endian.
    OtherClass,
    OtherMachine,
    /// The functions are named, but no address is proven.
    SymbolsRefused,
    /// Its code was looked through in part: what else it holds is not known.
    SearchUnfinished,
}

impl Evidence {
    /// Why it is not covered.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::GoCryptoTls(refusal) => refusal.reason(),
            Self::MbedTls => "mbedTLS: not supported",
            Self::WolfSsl => "wolfSSL: not supported",
            Self::S2n => "s2n-tls: not supported",
            Self::Nss => "NSS: not supported",
            Self::Jvm => "Java virtual machine: its own TLS (JSSE) cannot be probed",
            Self::Beam => "Erlang virtual machine: its own TLS (the application `ssl`) cannot be probed",
            Self::Rustls => "rustls: a build whose functions were not found",
            Self::RustlsUnproven => "rustls: its functions were found, but not proven whole",
            Self::BoringSslWithoutSymbols => "BoringSSL without symbols: its functions could not be told apart in this build",
            Self::OpenSslWithoutSymbols => {
                "OpenSSL linked in without symbols: its functions could not be found in this build (only OpenSSL 1.1.1 and later name them)"
            }
            Self::UnknownTls => "a TLS library linked in that this version does not know",
            Self::OtherClass => "32-bit program: not supported",
            Self::OtherMachine => "program for another machine: not supported",
            Self::SymbolsRefused => "TLS functions are named, but their addresses are not proven to be code",
            Self::SearchUnfinished => "its code was not searched to the end: it is too large, or would take too long",
        }
    }

    /// What the user can do.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::GoCryptoTls(refusal) => refusal.remedy(),
            Self::RustlsUnproven => "please report the program's name and version",
            Self::Rustls => "a later version will cover it; until then instrument the program with OpenTelemetry",
            Self::BoringSslWithoutSymbols | Self::OpenSslWithoutSymbols => "keep the symbols (do not strip), or link the shared library",
            Self::MbedTls | Self::WolfSsl | Self::S2n | Self::Nss | Self::Jvm | Self::Beam => "instrument the program with OpenTelemetry",
            Self::UnknownTls => "please report the program's name and version; until then instrument the program with OpenTelemetry",
            Self::OtherClass | Self::OtherMachine => "use a 64-bit build for this machine",
            Self::SymbolsRefused => "please report the file's `readelf -lsW`",
            Self::SearchUnfinished => {
                "if it has TLS linked in: keep the symbols (do not strip), or instrument the program with OpenTelemetry"
            }
        }
    }
}

/// Why the functions of a Go program are not probed: an address that is not proven could crash it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GoRefusal {
    /// Before Go 1.17 (on arm64, 1.18), or with that experiment.
    StackAbi,
    VersionUnknown,
    /// Another magic number than those that are known.
    UnknownTable,
    /// What it says contradicts itself or the file.
    Table,
    /// It is nowhere said where code begins.
    TextStart,
    /// Not all bytes of a function are instructions.
    Decode,
    /// A function jumps out of itself: its returns are not all there are.
    Leaves,
    /// The check of the stack's size is not as it is known.
    Prologue,
}

impl GoRefusal {
    const fn reason(self) -> &'static str {
        match self {
            Self::StackAbi => "Go crypto/tls: made by a Go that passes arguments on the stack (before 1.17; on arm64, before 1.18)",
            Self::VersionUnknown => {
                "Go crypto/tls: it cannot be told whether arguments are in registers (the Go version is not in the file)"
            }
            Self::UnknownTable => "Go crypto/tls: the function table has a form that this version does not know",
            Self::Table => "Go crypto/tls: the function table contradicts itself",
            Self::TextStart => "Go crypto/tls: where the program's code begins is not proven",
            Self::Decode => "Go crypto/tls: a function could not be decoded whole",
            Self::Leaves => "Go crypto/tls: a function has ends that were not found",
            Self::Prologue => "Go crypto/tls: a function begins in a way that this version does not know",
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::StackAbi => "build the program with a newer Go",
            Self::VersionUnknown => "build the program with Go 1.18 or newer",
            Self::UnknownTable | Self::Table | Self::TextStart | Self::Decode | Self::Leaves | Self::Prologue => {
                "update a11i, or instrument the program with OpenTelemetry"
            }
        }
    }
}

/// Labels of RFC 8446 section 7.1, from which each side's keys for application data are derived: text of every implementation of TLS 1.3.
pub(crate) const TLS13_LABELS: [&[u8]; 2] = [b"c ap traffic", b"s ap traffic"];

/// Functions whose definition proves a library.
pub const SYMBOLS: &[&str] = &["mbedtls_ssl_write", "wolfSSL_write", "s2n_send", "SSL_ImportFD", "JNI_CreateJavaVM", "enif_priv_data"];

/// Cheap signs: defined symbols.
pub fn in_file(elf: &Elf<'_>, functions: &Functions) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    let signs = [
        ("mbedtls_ssl_write", Evidence::MbedTls),
        ("wolfSSL_write", Evidence::WolfSsl),
        ("s2n_send", Evidence::S2n),
        ("SSL_ImportFD", Evidence::Nss),
        // What Erlang's virtual machine offers to its native functions.
        ("enif_priv_data", Evidence::Beam),
    ];
    for (name, sign) in signs {
        if functions.has(name) {
            evidence.push(sign);
        }
    }
    if functions.has("JNI_CreateJavaVM") && elf.soname().is_none_or(|soname| soname.starts_with("libjvm")) {
        evidence.push(Evidence::Jvm);
    }
    evidence
}

/// Signs that need a pass over the whole file: for `inspect`, where a person waits for the answer.
pub fn by_strings(elf: &Elf<'_>) -> Vec<Evidence> {
    let signs: [(&[u8], Evidence); 2] =
        [(b"ssl/record/rec_layer_s3.c", Evidence::OpenSslWithoutSymbols), (b"/rustls-0.", Evidence::Rustls)];
    let needles: Vec<&[u8]> = signs.iter().map(|(needle, _)| *needle).collect();
    let source = elf.source();
    let hits = contains(source, 0, source.len(), &needles);
    signs.iter().zip(hits).filter(|(_, hit)| *hit).map(|((_, sign), _)| *sign).collect()
}

/// Which of `needles` occur in `size` bytes from `offset`. What cannot be read does not occur.
pub(crate) fn contains(source: &dyn ByteSource, offset: u64, size: u64, needles: &[&[u8]]) -> Vec<bool> {
    let mut found = vec![false; needles.len()];
    let finders: Vec<_> = needles.iter().map(memmem::Finder::new).collect();
    let overlap = needles.iter().map(|needle| needle.len()).max().unwrap_or(0) as u64;
    let size = size.min(MAX_SEARCHED).min(source.len().saturating_sub(offset));
    let mut window = Vec::new();
    let mut at = 0;
    while at < size {
        let length = (size - at).min(WINDOW + overlap);
        window.resize(usize::try_from(length).unwrap_or(0), 0);
        if source.read_exact_at(offset.saturating_add(at), &mut window).is_err() {
            break;
        }
        for (finder, found) in finders.iter().zip(found.iter_mut()) {
            *found = *found || finder.find(&window).is_some();
        }
        if found.iter().all(|found| *found) {
            break;
        }
        at = at.saturating_add(WINDOW);
    }
    found
}

/// A pass over this takes some 0.1 s.
const MAX_SEARCHED: u64 = 512 * 1024 * 1024;
const WINDOW: u64 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDLE: &[u8] = b"crypto/tls.(*Conn).Write";

    #[test]
    fn a_needle_across_two_windows_is_found() {
        let mut bytes = vec![b'.'; usize::try_from(WINDOW).unwrap() * 2];
        let at = usize::try_from(WINDOW).unwrap() - 5;
        bytes[at..at + NEEDLE.len()].copy_from_slice(NEEDLE);
        let size = bytes.len() as u64;
        assert_eq!(contains(&bytes, 0, size, &[NEEDLE, b"absent"]), [true, false]);
        assert_eq!(contains(&bytes, size, u64::MAX, &[NEEDLE]), [false]);
    }
}
