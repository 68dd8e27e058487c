//! OpenSSL's TLS as a filter of input and output, as `BIO_new_ssl_connect` makes one and Tcl uses it.
//!
//! From OpenSSL 1.1.1 on such a filter does not call `SSL_read` and `SSL_write`, but what these call, which has no exported name. Its own
//! methods stand in the table that `BIO_f_ssl` returns. They have the arguments of `SSL_read_ex` and `SSL_write_ex`, with the filter for the
//! session: it is one as long as it lives. In BoringSSL, LibreSSL and before, where the table is shorter, they call `SSL_read` and `SSL_write`.

use super::{Binary, ProgramName};
use crate::{
    discovery::elf::FunctionSymbol,
    machine_code::{Functions, Image, Register, constants::Constants},
};

/// The methods that carry plaintext and the one that ends the filter; none where not all is proven.
pub(super) fn methods(binary: &Binary<'_>) -> Vec<(FunctionSymbol, ProgramName)> {
    let named = binary.functions.found.iter().filter(|function| function.name == TABLE_FUNCTION);
    let mut addresses: Vec<u64> = named.map(|function| function.vaddr).collect();
    addresses.dedup();
    // Two of them are two libraries.
    let [address] = *addresses.as_slice() else { return Vec::new() };
    if binary.elf.source().len() > MAX_FILE {
        return Vec::new();
    }
    of_table(binary, address).unwrap_or_default()
}

fn of_table(binary: &Binary<'_>, table_function: u64) -> Option<Vec<(FunctionSymbol, ProgramName)>> {
    let functions = binary.code();
    let image = functions.image();
    let table = table(functions, image, table_function)?;
    let slot = |n: u64| table.checked_add(n.checked_mul(8)?);
    let is_null = |n: u64| slot(n).is_some_and(|at| functions.pointers().value_at(at).is_none() && image.word(at) == Some(0));
    if !OLD_METHODS.into_iter().all(is_null) {
        return None;
    }
    let method = |(n, name, program)| {
        let vaddr = functions.pointers().value_at(slot(n)?)?;
        Some((FunctionSymbol { name, vaddr, offset: image.file_offset(vaddr).ok()?, size: 0 }, program))
    };
    let methods: Vec<(FunctionSymbol, ProgramName)> = METHODS.into_iter().map(method).collect::<Option<_>>()?;
    let starts: Vec<u64> = methods.iter().map(|(function, _)| function.vaddr).collect();
    (functions.proven(&starts).len() == METHODS.len()).then_some(methods)
}

/// What the function returns, where that is the table of methods of the type `ssl`.
fn table(functions: &Functions<'_>, image: &Image<'_>, function: u64) -> Option<u64> {
    let walk = functions.walk(function).filter(|walk| walk.is_complete() && walk.instructions.len() <= LOOKED_AT)?;
    let [end] = *walk.returns.as_slice() else { return None };
    let returned = Constants::of(image.machine(), &walk).before(end)?.of(Register::result(image.machine()));
    let [table] = *returned.constants() else { return None };
    let kind = image.bytes(table, 4)?;
    let name = functions.pointers().value_at(table.checked_add(8)?)?;
    let is_ssl = kind == BIO_TYPE_SSL.to_le_bytes() && image.bytes(name, NAME.len() as u64)? == NAME;
    is_ssl.then_some(table)
}

pub(super) const TABLE_FUNCTION: &str = "BIO_f_ssl";
/// `BIO_TYPE_SSL` of `openssl/bio.h`.
const BIO_TYPE_SSL: u32 = 0x0207;
const NAME: &[u8] = b"ssl\0";
/// Words of the table (`struct bio_method_st`): type, name, writing, writing in the older way, reading, reading in the older way, `puts`,
/// `gets`, `ctrl`, `create`, `destroy`, and what comes after.
const METHODS: [(u64, &str, ProgramName); 3] = [
    (2, "ssl_write of BIO_f_ssl", ProgramName::TlsWriteEx),
    (4, "ssl_read of BIO_f_ssl", ProgramName::TlsReadEx),
    (10, "ssl_free of BIO_f_ssl", ProgramName::SessionFree),
];
const OLD_METHODS: [u64; 2] = [3, 5];
/// Names are looked up while somebody waits: tables of the code of a library, or of a small program, are made within milliseconds.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// It loads an address and returns.
const LOOKED_AT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attach::{Depth, ProbeKind, analyse_to},
        discovery::{
            file::OpenedFile,
            testing::{TempDir, compile},
        },
    };

    /// The table as OpenSSL 1.1.1 and later have it.
    const LIBRARY: &str = r#"
typedef unsigned long size;
int SSL_read(void *s, void *b, int n) { return n + 1; }
int SSL_write(void *s, void *b, int n) { return n + 2; }
typedef struct { int type; const char *name; void *write, *write_old, *read, *read_old, *puts, *gets, *ctrl, *create, *destroy, *more; } METHOD;
#define OUT __attribute__((noinline, noclone))
OUT int inner(void *s) { __asm__ volatile("" ::: "memory"); return s != 0; }
OUT static int ssl_write(void *b, const char *p, size n, size *done) { int r = inner(b); inner((void *)p); *done = n; return r; }
OUT static int ssl_read(void *b, char *p, size n, size *done) { int r = inner(b); inner(p); *done = n + 1; return r; }
OUT static int ssl_puts(void *b, const char *p) { return inner(b) + 1; }
OUT static int ssl_free(void *b) { inner(b); return inner(b) + 2; }
static const METHOD methods = { TYPE, NAME, ssl_write, OLD, ssl_read, OLD, ssl_puts, 0, ssl_puts, ssl_free, ssl_free, 0 };
const METHOD *BIO_f_ssl(void) { return &methods; }
"#;
    const WHOLE: [(&str, &str); 3] = [("TYPE", "0x207"), ("NAME", "\"ssl\""), ("OLD", "0")];

    fn found(dir: &TempDir, changed: (&str, &str), arguments: &[&str]) -> Vec<(String, ProgramName)> {
        let (from, to) = changed;
        let source = LIBRARY.replace(from, to);
        let source = WHOLE.iter().fold(source, |source, (from, to)| source.replace(from, to));
        let arguments: Vec<&str> = arguments.iter().copied().chain(["-fno-ipa-ra", "-fno-ipa-stack-alignment"]).collect();
        let file = OpenedFile::open(&compile(dir, "library.so", &source, &arguments)).unwrap();
        let analysis = analyse_to(&file, file.id(), Depth::Names).unwrap();
        let [planned] = analysis.plans.as_slice() else { panic!("{analysis:?}") };
        let entries = planned.plan.probes.iter().filter(|probe| probe.kind == ProbeKind::Entry && probe.symbol.contains(TABLE_FUNCTION));
        let mut entries: Vec<_> = entries.map(|probe| (probe.symbol.clone(), probe.program)).collect();
        entries.sort();
        entries
    }

    #[test]
    fn the_methods_of_the_table_are_probed() {
        let dir = TempDir::new("ssl-bio");
        for arguments in
            [&["-O2", "-shared", "-fPIC", "-s"][..], &["-O0", "-shared", "-fPIC"], &["-Os", "-shared", "-fPIC", "-fcf-protection"]]
        {
            let wanted = [
                ("ssl_free of BIO_f_ssl".to_owned(), ProgramName::SessionFree),
                ("ssl_read of BIO_f_ssl".to_owned(), ProgramName::TlsReadEx),
                ("ssl_write of BIO_f_ssl".to_owned(), ProgramName::TlsWriteEx),
            ];
            assert_eq!(found(&dir, ("", ""), arguments), wanted, "{arguments:?}");
        }
    }

    #[test]
    fn a_table_that_is_another_is_refused() {
        let dir = TempDir::new("ssl-bio-other");
        for changed in [("TYPE", "0x208"), ("NAME", "\"ssL\""), ("OLD", "ssl_puts"), ("return &methods", "return &methods + inner(0)")] {
            assert_eq!(found(&dir, changed, &["-O2", "-shared", "-fPIC", "-s"]), [], "{changed:?}");
        }
    }

    #[test]
    fn the_system_library_has_it() {
        let paths = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/aarch64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3"];
        for path in paths.iter().map(std::path::Path::new).filter(|path| path.exists()) {
            let file = OpenedFile::open(path).unwrap();
            let analysis = analyse_to(&file, file.id(), Depth::Names).unwrap();
            let probes = analysis.plans.iter().flat_map(|planned| &planned.plan.probes);
            let entries = probes.filter(|probe| probe.kind == ProbeKind::Entry && probe.symbol.contains(TABLE_FUNCTION)).count();
            assert_eq!(entries, METHODS.len(), "{}", path.display());
        }
    }
}
