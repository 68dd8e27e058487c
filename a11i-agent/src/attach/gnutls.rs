//! GnuTLS by symbol name: in its shared library, and in programs that have it linked in and keep its symbols.
//!
//! Its layer for programs of OpenSSL (`libgnutls-openssl`) calls these functions too. What `gnutls_record_recv_packet` reads lies in an
//! object of the library's own: it is counted and told as a gap. `gnutls_record_send_file` sends through `gnutls_record_send`, but not
//! where the kernel does the encryption (kTLS, which has to be switched on by the machine's administrator).

use std::sync::Arc;

use super::{
    Binary, Found, Planned, ProbePlan, ProgramName, TlsLibrary,
    plan::{self, reads_and_writes},
};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::evidence::Evidence,
};

/// See the module.
pub struct GnuTls;

impl TlsLibrary for GnuTls {
    fn symbols(&self) -> &'static [&'static str] {
        SYMBOLS
    }

    fn soname_prefixes(&self) -> &'static [&'static str] {
        &["libgnutls.so"]
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        let has = |name: &str| binary.functions.has(name);
        if !has("gnutls_record_send") || !has("gnutls_record_recv") {
            return Found::default();
        }
        let functions = binary.functions.found.iter().filter_map(|function| Some((function, program(function.name)?)));
        let (probes, mut refused) = plan::probes(functions);
        refused.extend(binary.functions.refused.iter().filter(|refused| program(refused.name).is_some()));
        if !reads_and_writes(&probes) {
            return Found { evidence: vec![Evidence::SymbolsRefused], ..Found::default() };
        }
        let is_shared = binary.elf.soname().is_some_and(|soname| soname.starts_with("libgnutls"));
        let version = version(&has, is_shared).map(str::to_owned);
        let plan = ProbePlan::of(binary, CaptureLibrary::GnuTls, CaptureMethod::Symbol, probes);
        Found { plans: vec![Planned { plan: Arc::new(plan), version, refused }], ..Found::default() }
    }
}

fn program(symbol: &str) -> Option<ProgramName> {
    PROGRAMS.iter().find(|(name, _)| *name == symbol).map(|(_, program)| *program)
}

/// The range that functions prove, by the versions of their symbols. Of a static library the linker keeps what is used, so there an
/// absent function proves nothing.
fn version(has: &impl Fn(&str) -> bool, is_shared: bool) -> Option<&'static str> {
    let (exact, at_least) = if has("gnutls_record_send_file") {
        ("3.7.4 or later", "3.7.4 or later")
    } else if has("gnutls_record_send_early_data") {
        ("3.6.5 to 3.7.3", "3.6.5 or later")
    } else if has("gnutls_record_send2") {
        ("3.6.3 to 3.6.4", "3.6.3 or later")
    } else {
        return is_shared.then_some("3.6.2 or earlier");
    };
    Some(if is_shared { exact } else { at_least })
}

const PROGRAMS: &[(&str, ProgramName)] = &[
    ("gnutls_record_send", ProgramName::GnuTlsSend),
    ("gnutls_record_send2", ProgramName::GnuTlsSend2),
    ("gnutls_record_send_range", ProgramName::GnuTlsSend),
    ("gnutls_record_send_early_data", ProgramName::GnuTlsSendEarlyData),
    ("gnutls_record_uncork", ProgramName::GnuTlsUncork),
    ("gnutls_record_recv", ProgramName::GnuTlsRecv),
    ("gnutls_record_recv_seq", ProgramName::GnuTlsRecv),
    ("gnutls_record_recv_early_data", ProgramName::GnuTlsRecv),
    ("gnutls_record_recv_packet", ProgramName::GnuTlsRecvPacket),
    ("gnutls_server_name_set", ProgramName::GnuTlsServerName),
    ("gnutls_bye", ProgramName::SessionShutdown),
    ("gnutls_deinit", ProgramName::SessionFree),
];

/// [`PROGRAMS`] and what tells versions apart.
const SYMBOLS: &[&str] = &[
    "gnutls_record_send",
    "gnutls_record_send2",
    "gnutls_record_send_range",
    "gnutls_record_send_early_data",
    "gnutls_record_uncork",
    "gnutls_record_recv",
    "gnutls_record_recv_seq",
    "gnutls_record_recv_early_data",
    "gnutls_record_recv_packet",
    "gnutls_server_name_set",
    "gnutls_bye",
    "gnutls_deinit",
    "gnutls_record_send_file",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attach::{Analysis, ProbeKind, analyse},
        discovery::{
            file::OpenedFile,
            testing::{TempDir, compile},
        },
    };

    fn analyse_file(path: &std::path::Path) -> Analysis {
        let opened = OpenedFile::open(path).unwrap();
        analyse(&opened, opened.id()).unwrap()
    }

    fn look_alike(dir: &TempDir, functions: &[&str]) -> Analysis {
        let source: Vec<_> = functions.iter().map(|name| format!("long {name}(void*s,void*b,long n){{return (long)b+n;}}\n")).collect();
        analyse_file(&compile(dir, "libgnutls.so.30", &source.concat(), &["-shared", "-fPIC", "-Wl,-soname,libgnutls.so.30"]))
    }

    #[test]
    fn every_probed_function_is_asked_for() {
        assert!(PROGRAMS.iter().all(|(name, _)| SYMBOLS.contains(name)));
    }

    #[test]
    fn a_library_that_sends_and_receives_is_planned_and_one_that_only_sends_is_not() {
        let dir = TempDir::new("gnutls");
        let analysis = look_alike(&dir, &["gnutls_record_send", "gnutls_record_recv", "gnutls_bye"]);
        let [planned] = analysis.plans.as_slice() else { panic!("{analysis:?}") };
        assert_eq!((planned.plan.library, planned.version.as_deref()), (CaptureLibrary::GnuTls, Some("3.6.2 or earlier")));
        let shown: Vec<_> = planned.plan.probes.iter().map(|p| (p.symbol.as_str(), p.program, p.kind)).collect();
        assert_eq!(
            shown,
            [
                ("gnutls_record_send", ProgramName::GnuTlsSend, ProbeKind::Entry),
                ("gnutls_record_send", ProgramName::TlsReturn, ProbeKind::Return),
                ("gnutls_record_recv", ProgramName::GnuTlsRecv, ProbeKind::Entry),
                ("gnutls_record_recv", ProgramName::TlsReturn, ProbeKind::Return),
                ("gnutls_bye", ProgramName::SessionShutdown, ProbeKind::Entry),
            ]
        );
        assert!(look_alike(&dir, &["gnutls_record_send"]).is_empty());
    }

    #[test]
    fn the_system_library_is_planned_whole() {
        let paths =
            ["/usr/lib/x86_64-linux-gnu/libgnutls.so.30", "/usr/lib/aarch64-linux-gnu/libgnutls.so.30", "/usr/lib64/libgnutls.so.30"];
        for path in paths.iter().map(std::path::Path::new).filter(|path| path.exists()) {
            let analysis = analyse_file(path);
            let [planned] = analysis.plans.as_slice() else { panic!("{analysis:?}") };
            assert_eq!(planned.plan.library, CaptureLibrary::GnuTls);
            let entries = planned.plan.probes.iter().filter(|p| p.kind == ProbeKind::Entry).count();
            assert!(entries >= 9 && planned.refused.is_empty(), "{planned:?}");
        }
    }

    #[test]
    fn versions_are_told_by_the_functions_they_brought() {
        let of = |functions: &[&str], is_shared| version(&|name: &str| functions.contains(&name), is_shared);
        assert_eq!(of(&["gnutls_record_send2", "gnutls_record_send_early_data"], true), Some("3.6.5 to 3.7.3"));
        assert_eq!(of(&["gnutls_record_send_file", "gnutls_record_send2"], true), Some("3.7.4 or later"));
        assert_eq!(of(&["gnutls_record_send2"], false), Some("3.6.3 or later"));
        assert_eq!(of(&[], false), None);
    }
}
