//! Where to put which kernel program: data, executed elsewhere.

use std::io;

use serde::{Serialize, Serializer};

use super::Binary;
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::{
        elf::{FunctionSymbol, Refusal, RefusedSymbol},
        file::{ByteSource, FileId},
    },
};

/// The programs of the kernel object that probes run. Entry programs share the C calling convention in their name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ProgramName {
    /// `int (session, buf, int len)`: bytes written.
    TlsWrite,
    /// `int (session, buf, int len)`: bytes read.
    TlsRead,
    /// `int (session, buf, size_t len, size_t *written)`: 1 on success.
    TlsWriteEx,
    /// `int (session, buf, size_t len, size_t *readbytes)`: 1 on success.
    TlsReadEx,
    /// `int (session, buf, size_t len, uint64_t flags, size_t *written)`: 1 on success.
    TlsWriteEx2,
    /// As [`Self::TlsWriteEx`], for early data.
    TlsWriteEarlyData,
    /// `int (session, buf, size_t len, size_t *readbytes)`: 0 error, 1 success, 2 finish.
    TlsReadEarlyData,
    /// At the return of all of the above.
    TlsReturn,
    /// `void (session)`.
    SessionFree,
    /// `int (session)`.
    SessionClear,
    /// `int (session)`.
    SessionShutdown,
    /// `long (session, int cmd, long, void *)`: cmd 55 sets the server name.
    SslCtrl,
    /// `int (session, const char *name)`.
    SetHostName,
    /// Go: `(*Conn) ([]byte) (int, error)`, bytes written.
    GoWrite,
    /// Go: `(*Conn) ([]byte) (int, error)`, bytes read.
    GoRead,
    /// At the returns of [`Self::GoWrite`].
    GoWriteReturn,
    /// At the returns of [`Self::GoRead`].
    GoReadReturn,
    /// The same, of a function that keeps its arguments above the return address: a call that was under way before there were probes is
    /// understood too.
    GoReadReturnKept,
    /// Go: `(*Conn) () error`.
    GoClose,
    /// Go: `(*Conn) () error`: nothing more is written.
    GoCloseWrite,
    /// Go: `(*Conn) (…) error`: a connection begins.
    GoHandshake,
    /// As [`Self::GoWrite`], on a type that has the connection as its first member.
    GoOuterWrite,
    /// As [`Self::GoHandshake`], on such a type.
    GoOuterHandshake,
    /// As [`Self::GoRead`], on such a type.
    GoOuterRead,
    /// As [`Self::GoClose`], on such a type.
    GoOuterClose,
    /// `ssize_t (session, buf, size_t len)`: bytes written, or a negative error.
    GnuTlsSend,
    /// As [`Self::GnuTlsSend`], which may jump to it.
    GnuTlsSend2,
    /// `ssize_t (session, buf, size_t len)`: bytes read, or a negative error.
    GnuTlsRecv,
    /// `ssize_t (session, buf, size_t len)`: 0 when all was taken.
    GnuTlsSendEarlyData,
    /// `int (session, unsigned flags)`: sends what was taken before.
    GnuTlsUncork,
    /// `ssize_t (session, packet *)`: bytes in the packet.
    GnuTlsRecvPacket,
    /// `int (session, type, name, size_t len)`.
    GnuTlsServerName,
    /// rustls: `(result, self, message, sequence)`, a record to encrypt.
    RustlsEncrypt,
    /// rustls: `(result, self, message, sequence)`, a record to decrypt.
    RustlsDecrypt,
    /// At the return instruction of [`Self::RustlsDecrypt`].
    RustlsDecryptExit,
    /// rustls: `void (self)`, of a key.
    RustlsDrop,
}

impl ProgramName {
    pub const ALL: [Self; 36] = [
        Self::TlsWrite,
        Self::TlsRead,
        Self::TlsWriteEx,
        Self::TlsReadEx,
        Self::TlsWriteEx2,
        Self::TlsWriteEarlyData,
        Self::TlsReadEarlyData,
        Self::TlsReturn,
        Self::SessionFree,
        Self::SessionClear,
        Self::SessionShutdown,
        Self::SslCtrl,
        Self::SetHostName,
        Self::GoWrite,
        Self::GoRead,
        Self::GoWriteReturn,
        Self::GoReadReturn,
        Self::GoReadReturnKept,
        Self::GoClose,
        Self::GoCloseWrite,
        Self::GoHandshake,
        Self::GoOuterWrite,
        Self::GoOuterHandshake,
        Self::GoOuterRead,
        Self::GoOuterClose,
        Self::GnuTlsSend,
        Self::GnuTlsSend2,
        Self::GnuTlsRecv,
        Self::GnuTlsSendEarlyData,
        Self::GnuTlsUncork,
        Self::GnuTlsRecvPacket,
        Self::GnuTlsServerName,
        Self::RustlsEncrypt,
        Self::RustlsDecrypt,
        Self::RustlsDecryptExit,
        Self::RustlsDrop,
    ];

    /// Name of the function in the kernel object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TlsWrite => "tls_write",
            Self::TlsRead => "tls_read",
            Self::TlsWriteEx => "tls_write_ex",
            Self::TlsReadEx => "tls_read_ex",
            Self::TlsWriteEx2 => "tls_write_ex2",
            Self::TlsWriteEarlyData => "tls_write_early_data",
            Self::TlsReadEarlyData => "tls_read_early_data",
            Self::TlsReturn => "tls_return",
            Self::SessionFree => "session_free",
            Self::SessionClear => "session_clear",
            Self::SessionShutdown => "session_shutdown",
            Self::SslCtrl => "ssl_ctrl",
            Self::SetHostName => "set_host_name",
            Self::GoWrite => "go_write",
            Self::GoRead => "go_read",
            Self::GoWriteReturn => "go_write_return",
            Self::GoReadReturn => "go_read_return",
            Self::GoReadReturnKept => "go_read_return_kept",
            Self::GoClose => "go_close",
            Self::GoCloseWrite => "go_close_write",
            Self::GoHandshake => "go_handshake",
            Self::GoOuterWrite => "go_outer_write",
            Self::GoOuterHandshake => "go_outer_handshake",
            Self::GoOuterRead => "go_outer_read",
            Self::GoOuterClose => "go_outer_close",
            Self::GnuTlsSend => "gnutls_send",
            Self::GnuTlsSend2 => "gnutls_send2",
            Self::GnuTlsRecv => "gnutls_recv",
            Self::GnuTlsSendEarlyData => "gnutls_send_early_data",
            Self::GnuTlsUncork => "gnutls_uncork",
            Self::GnuTlsRecvPacket => "gnutls_recv_packet",
            Self::GnuTlsServerName => "gnutls_server_name",
            Self::RustlsEncrypt => "rustls_encrypt",
            Self::RustlsDecrypt => "rustls_decrypt",
            Self::RustlsDecryptExit => "rustls_decrypt_exit",
            Self::RustlsDrop => "rustls_drop",
        }
    }

    /// What a call did is known at its end only, so [`Self::TlsReturn`] belongs to its function too.
    pub const fn has_return(self) -> bool {
        match self {
            Self::TlsWrite
            | Self::TlsRead
            | Self::TlsWriteEx
            | Self::TlsReadEx
            | Self::TlsWriteEx2
            | Self::TlsWriteEarlyData
            | Self::TlsReadEarlyData
            | Self::GnuTlsSend
            | Self::GnuTlsSend2
            | Self::GnuTlsRecv
            | Self::GnuTlsSendEarlyData
            | Self::GnuTlsUncork
            | Self::GnuTlsRecvPacket => true,
            Self::TlsReturn
            | Self::SessionFree
            | Self::SessionClear
            | Self::SessionShutdown
            | Self::SslCtrl
            | Self::SetHostName
            | Self::GnuTlsServerName
            // The returns of Go's functions are probed where they are.
            | Self::GoWrite
            | Self::GoRead
            | Self::GoWriteReturn
            | Self::GoReadReturn
            | Self::GoReadReturnKept
            | Self::GoClose
            | Self::GoCloseWrite
            | Self::GoHandshake
            | Self::GoOuterWrite
            | Self::GoOuterHandshake
            | Self::GoOuterRead
            | Self::GoOuterClose
            | Self::RustlsEncrypt
            | Self::RustlsDecrypt
            | Self::RustlsDecryptExit
            | Self::RustlsDrop => false,
        }
    }
}

impl Serialize for ProgramName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    Entry,
    /// The kernel replaces the return address.
    Return,
    /// A uprobe at a return instruction of the function.
    Exit,
}

/// One probe.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Probe {
    pub program: ProgramName,
    pub kind: ProbeKind,
    /// The function, for messages.
    pub symbol: String,
    /// In the file. Proven: a function's start, or an instruction that a complete decode from there reaches; in an executable segment, with
    /// bytes behind it.
    pub offset: u64,
}

/// All probes of one library in one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbePlan {
    pub file: FileId,
    pub library: CaptureLibrary,
    pub method: CaptureMethod,
    /// In ascending order of offset, entry before return; at most one of each kind at an offset.
    pub probes: Vec<Probe>,
    /// At each of them, in their order: as the analysis read it. Empty where that failed.
    pub code: Vec<CodeBytes>,
}

/// What stands where a probe goes. Less than this only at the end of a file, which zeros fill up.
pub(super) type CodeBytes = [u8; CODE_BYTES];

/// More than the longest instruction.
pub(super) const CODE_BYTES: usize = 16;

impl ProbePlan {
    pub(super) fn of(binary: &Binary<'_>, library: CaptureLibrary, method: CaptureMethod, probes: Vec<Probe>) -> Self {
        let source = binary.elf.source();
        let code = probes.iter().map(|probe| code_at(source, probe.offset)).collect::<io::Result<_>>().unwrap_or_default();
        Self { file: binary.file, library, method, probes, code }
    }

    /// The code at all of its probes was read. Without it nobody could tell later whether it is still the same.
    pub(super) const fn has_code(&self) -> bool {
        self.code.len() == self.probes.len()
    }

    /// The same functions at the same places with the same code, in whichever file.
    pub fn is_same_code(&self, other: &Self) -> bool {
        (self.library, self.method, &self.probes, &self.code) == (other.library, other.method, &other.probes, &other.code)
    }
}

/// The code at `offset`.
pub(super) fn code_at(source: &dyn ByteSource, offset: u64) -> io::Result<CodeBytes> {
    let mut bytes = CodeBytes::default();
    let left = source.len().saturating_sub(offset).min(CODE_BYTES as u64);
    let into = usize::try_from(left).ok().and_then(|left| bytes.get_mut(..left)).filter(|into| !into.is_empty());
    let into = into.ok_or(io::ErrorKind::UnexpectedEof)?;
    source.read_exact_at(offset, into)?;
    Ok(bytes)
}

/// Whether the probes transfer plaintext in both directions: otherwise a plan is no use.
pub(super) fn reads_and_writes(probes: &[Probe]) -> bool {
    let has = |programs: &[ProgramName]| probes.iter().any(|probe| programs.contains(&probe.program));
    has(&[ProgramName::TlsRead, ProgramName::TlsReadEx, ProgramName::GnuTlsRecv])
        && has(&[ProgramName::TlsWrite, ProgramName::TlsWriteEx, ProgramName::TlsWriteEx2, ProgramName::GnuTlsSend])
}

/// Turns functions into probes: an address under several names gets one probe; an address whose names ask for different
/// programs gets none, because one of them would read wrong arguments.
pub(super) fn probes<'a>(functions: impl IntoIterator<Item = (&'a FunctionSymbol, ProgramName)>) -> (Vec<Probe>, Vec<RefusedSymbol>) {
    let mut wanted: Vec<_> = functions.into_iter().collect();
    wanted.sort_by_key(|(function, _)| function.offset);
    let mut probes = Vec::new();
    let mut refused = Vec::new();
    for same in wanted.chunk_by(|(a, _), (b, _)| a.offset == b.offset) {
        let Some((function, program)) = same.first() else { continue };
        if same.iter().any(|(_, other)| other != program) {
            refused.extend(same.iter().map(|(f, _)| RefusedSymbol { name: f.name, vaddr: f.vaddr, why: Refusal::SharedAddress }));
            continue;
        }
        let probe = |program, kind| Probe { program, kind, symbol: function.name.to_owned(), offset: function.offset };
        probes.push(probe(*program, ProbeKind::Entry));
        if program.has_return() {
            probes.push(probe(ProgramName::TlsReturn, ProbeKind::Return));
        }
    }
    (probes, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &'static str, offset: u64) -> FunctionSymbol {
        FunctionSymbol { name, vaddr: offset + 0x1000, offset, size: 32 }
    }

    #[test]
    fn aliases_are_probed_once() {
        let (one, two) = (at("SSL_read", 64), at("ssl_read_alias", 64));
        let (probes, refused) = probes([(&one, ProgramName::TlsRead), (&two, ProgramName::TlsRead)]);
        let shown: Vec<_> = probes.iter().map(|p| (p.program.as_str(), p.kind, p.offset)).collect();
        assert_eq!(shown, [("tls_read", ProbeKind::Entry, 64), ("tls_return", ProbeKind::Return, 64)]);
        assert_eq!(refused, []);
    }

    #[test]
    fn folded_functions_with_different_arguments_are_refused() {
        let (read, free, write) = (at("SSL_read", 64), at("SSL_free", 64), at("SSL_write", 128));
        let (probes, refused) = probes([(&read, ProgramName::TlsRead), (&free, ProgramName::SessionFree), (&write, ProgramName::TlsWrite)]);
        assert!(probes.iter().all(|p| p.offset == 128) && probes.len() == 2);
        assert_eq!(refused.iter().map(|r| r.name).collect::<Vec<_>>(), ["SSL_read", "SSL_free"]);
    }

    #[test]
    fn program_names_are_distinct() {
        let names: std::collections::BTreeSet<_> = ProgramName::ALL.iter().map(|p| p.as_str()).collect();
        assert_eq!(names.len(), ProgramName::ALL.len());
    }
}
