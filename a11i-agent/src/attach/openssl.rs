//! OpenSSL and its descendants by symbol name: BoringSSL, AWS-LC, LibreSSL. In shared libraries and in programs alike.

use std::sync::Arc;

use super::{
    Binary, Found, Planned, ProbePlan, ProgramName, TlsLibrary,
    plan::{self, reads_and_writes},
    ssl_bio,
};
use crate::{
    call::{CaptureLibrary, CaptureMethod},
    discovery::evidence::Evidence,
};

/// See the module.
pub struct OpenSslFamily;

impl TlsLibrary for OpenSslFamily {
    fn symbols(&self) -> &'static [&'static str] {
        SYMBOLS
    }

    fn soname_prefixes(&self) -> &'static [&'static str] {
        &["libssl.so"]
    }

    fn find(&self, binary: &Binary<'_>) -> Found {
        let Some((library, version)) = recognise(binary) else { return Found::default() };
        let functions = binary.functions.found.iter().filter_map(|function| Some((function, program(function.name)?)));
        let methods = if library == CaptureLibrary::OpenSsl { ssl_bio::methods(binary) } else { Vec::new() };
        let methods = methods.iter().map(|(function, program)| (function, *program));
        let (probes, mut refused) = plan::probes(functions.chain(methods));
        refused.extend(binary.functions.refused.iter().filter(|refused| program(refused.name).is_some()));
        if !reads_and_writes(&probes) {
            return Found { evidence: vec![Evidence::SymbolsRefused], ..Found::default() };
        }
        let plan = ProbePlan::of(binary, library, CaptureMethod::Symbol, probes);
        Found { plans: vec![Planned { plan: Arc::new(plan), version, refused }], ..Found::default() }
    }
}

fn program(symbol: &str) -> Option<ProgramName> {
    PROGRAMS.iter().find(|(name, _)| *name == symbol).map(|(_, program)| *program)
}

/// Whether the file defines it, and which member and version of the family.
fn recognise(binary: &Binary<'_>) -> Option<(CaptureLibrary, Option<String>)> {
    let has = |name: &str| binary.functions.has(name);
    let reads = has("SSL_read") || has("SSL_read_ex");
    let writes = has("SSL_write") || has("SSL_write_ex");
    if !reads || !writes {
        return None;
    }
    let soname = binary.elf.soname();
    // GnuTLS's compatibility layer has the names; its bytes are GnuTLS's to tell.
    if soname.is_some_and(|soname| soname.starts_with("libgnutls-openssl")) {
        return None;
    }
    let library = library(&has, soname);
    let is_shared = soname.is_some_and(|soname| soname.starts_with("libssl"));
    let version = (library == CaptureLibrary::OpenSsl).then(|| openssl_version(&has, is_shared).map(str::to_owned)).flatten();
    Some((library, version))
}

/// Told by functions that only one family defines.
fn library(has: &impl Fn(&str) -> bool, soname: Option<&str>) -> CaptureLibrary {
    // In OpenSSL and LibreSSL the server name is set by a macro over SSL_ctrl; BoringSSL made it a function.
    if has("SSL_set_tlsext_host_name") {
        // AWS-LC, BoringSSL's descendant, brought the _ex functions back.
        return if has("SSL_read_ex") || has("awslc_version_string") { CaptureLibrary::AwsLc } else { CaptureLibrary::BoringSsl };
    }
    // Some programs bring a replacement of the function for OpenSSL: one of OpenSSL 3 beside it speaks against LibreSSL.
    if soname.is_some_and(is_libressl_soname) || (has("SSL_CTX_load_verify_mem") && !has("SSL_get1_peer_certificate")) {
        return CaptureLibrary::LibreSsl;
    }
    CaptureLibrary::OpenSsl
}

/// LibreSSL counts its library versions like OpenBSD: from libssl.so.26 (2.0, 2014) to above 50 today. OpenSSL's are
/// 1.0.0, 1.1, 3, 4; Red Hat's of OpenSSL 0.9.8 to 1.0.2 are 6 to 10.
fn is_libressl_soname(soname: &str) -> bool {
    soname
        .strip_prefix("libssl.so.")
        .and_then(|number| number.split('.').next()?.parse().ok())
        .is_some_and(|n: u32| (20..1000).contains(&n))
}

/// The range that functions prove. A shared library has them all; of a static one the linker keeps what is used, so
/// there an absent function proves nothing.
fn openssl_version(has: &impl Fn(&str) -> bool, shared: bool) -> Option<&'static str> {
    let (exact, at_least) = if has("SSL_write_ex2") {
        ("3.3 or later", "3.3 or later")
    } else if has("SSL_get1_peer_certificate") {
        ("3.0 to 3.2", "3.0 or later")
    } else if has("SSL_read_ex") {
        ("1.1.1", "1.1.1 or later")
    } else if has("OPENSSL_init_ssl") {
        ("1.1.0", "1.1.0 or later")
    } else {
        return shared.then_some("1.0.2 or earlier");
    };
    Some(if shared { exact } else { at_least })
}

const PROGRAMS: &[(&str, ProgramName)] = &[
    ("SSL_read", ProgramName::TlsRead),
    ("SSL_write", ProgramName::TlsWrite),
    ("SSL_read_ex", ProgramName::TlsReadEx),
    ("SSL_write_ex", ProgramName::TlsWriteEx),
    ("SSL_write_ex2", ProgramName::TlsWriteEx2),
    ("SSL_read_early_data", ProgramName::TlsReadEarlyData),
    ("SSL_write_early_data", ProgramName::TlsWriteEarlyData),
    ("SSL_clear", ProgramName::SessionClear),
    ("SSL_free", ProgramName::SessionFree),
    ("SSL_shutdown", ProgramName::SessionShutdown),
    ("SSL_ctrl", ProgramName::SslCtrl),
    ("SSL_set_tlsext_host_name", ProgramName::SetHostName),
];

/// [`PROGRAMS`] and what tells families and versions apart.
const SYMBOLS: &[&str] = &[
    "SSL_read",
    "SSL_write",
    "SSL_read_ex",
    "SSL_write_ex",
    "SSL_write_ex2",
    "SSL_read_early_data",
    "SSL_write_early_data",
    "SSL_clear",
    "SSL_free",
    "SSL_shutdown",
    "SSL_ctrl",
    "SSL_set_tlsext_host_name",
    "SSL_CTX_load_verify_mem",
    "SSL_get1_peer_certificate",
    "OPENSSL_init_ssl",
    "awslc_version_string",
    ssl_bio::TABLE_FUNCTION,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn family(symbols: &[&str], soname: &str) -> (CaptureLibrary, Option<&'static str>) {
        let has = |name: &str| symbols.contains(&name);
        (library(&has, Some(soname)), openssl_version(&has, !soname.is_empty()))
    }

    #[test]
    fn families_are_told_apart_by_what_only_they_define() {
        assert_eq!(family(&["SSL_read", "SSL_ctrl"], "libssl.so.1.0.0"), (CaptureLibrary::OpenSsl, Some("1.0.2 or earlier")));
        assert_eq!(family(&["SSL_read", "OPENSSL_init_ssl"], "libssl.so.1.1"), (CaptureLibrary::OpenSsl, Some("1.1.0")));
        assert_eq!(family(&["SSL_read_ex", "OPENSSL_init_ssl"], "libssl.so.1.1").1, Some("1.1.1"));
        assert_eq!(family(&["SSL_read_ex", "SSL_get1_peer_certificate"], "libssl.so.3").1, Some("3.0 to 3.2"));
        assert_eq!(family(&["SSL_write_ex2", "SSL_get1_peer_certificate"], "libssl.so.3").1, Some("3.3 or later"));
        assert_eq!(family(&["SSL_read", "SSL_set_tlsext_host_name"], "libssl.so").0, CaptureLibrary::BoringSsl);
        assert_eq!(family(&["SSL_read_ex", "SSL_set_tlsext_host_name"], "libssl.so").0, CaptureLibrary::AwsLc);
        assert_eq!(family(&["SSL_read_ex", "SSL_CTX_load_verify_mem"], "").0, CaptureLibrary::LibreSsl);
        assert_eq!(family(&["SSL_read"], "libssl.so.56").0, CaptureLibrary::LibreSsl);
        for soname in ["libssl.so.10", "libssl.so.3", "libssl.so.1.1", "libssl.so", "libssl.so.0.9.8"] {
            assert_eq!(family(&["SSL_read"], soname).0, CaptureLibrary::OpenSsl, "{soname}");
        }
    }

    #[test]
    fn of_a_static_library_only_the_lower_bound_is_proven() {
        assert_eq!(family(&["SSL_read", "SSL_read_ex"], ""), (CaptureLibrary::OpenSsl, Some("1.1.1 or later")));
        assert_eq!(family(&["SSL_read", "SSL_get1_peer_certificate"], "").1, Some("3.0 or later"));
        assert_eq!(family(&["SSL_read"], "").1, None);
        let replaced = ["SSL_read", "SSL_CTX_load_verify_mem", "SSL_get1_peer_certificate"];
        assert_eq!(family(&replaced, "").0, CaptureLibrary::OpenSsl);
    }

    #[test]
    fn every_probed_function_is_asked_for() {
        assert!(PROGRAMS.iter().all(|(name, _)| SYMBOLS.contains(name)));
    }
}
