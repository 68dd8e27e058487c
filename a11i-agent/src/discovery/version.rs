//! Versions that libraries state as text in their files: what their own functions for it would answer.
//!
//! For people, never for a decision: symbols and structure say what is probed. What is stated in two ways is not told.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use memchr::memmem;

use super::file::ByteSource;
use crate::call::CaptureLibrary;

/// A search through a file, in slices: whoever waits for one waits for milliseconds.
#[derive(Debug)]
pub(crate) struct Search {
    text: &'static Text,
    at: u64,
    found: BTreeSet<String>,
}

/// How a library states it.
#[derive(Debug)]
struct Text {
    library: CaptureLibrary,
    /// Strings end with a zero, and the next one begins behind it.
    prefix: &'static [u8],
    /// Begins the number, where the prefix is a part of it.
    number: &'static str,
    /// A date follows.
    dated: bool,
}

/// BoringSSL has no versions. Go's and rustls's are told by whoever finds them.
static TEXTS: [Text; 4] = [
    // `OpenSSL 3.0.17 1 Jul 2025`, Red Hat's `OpenSSL 1.1.1k  FIPS 25 Mar 2021`.
    Text { library: CaptureLibrary::OpenSsl, prefix: b"\0OpenSSL ", number: "", dated: true },
    Text { library: CaptureLibrary::LibreSsl, prefix: b"\0LibreSSL ", number: "", dated: false },
    Text { library: CaptureLibrary::AwsLc, prefix: b"\0AWS-LC ", number: "", dated: false },
    // The number alone.
    Text { library: CaptureLibrary::GnuTls, prefix: b"\x003.", number: "3.", dated: false },
];

/// In one step.
const SLICE_BYTES: u64 = 4 * 1024 * 1024;
/// A version, its date and what distributors add.
const TEXT_BYTES: usize = 64;
/// Programs with a library linked in have a few hundred megabytes.
const MAX_SEARCHED: u64 = 512 * 1024 * 1024;
/// Files made to state thousands are not worth a set of them: two are as good as none.
const ENOUGH: usize = 2;

/// Where a shared library that leaves the version to another one finds it: OpenSSL's `libssl` beside its `libcrypto`.
pub(crate) fn beside(path: &Path, library: CaptureLibrary) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_prefix("libssl")?;
    matches!(library, CaptureLibrary::OpenSsl | CaptureLibrary::LibreSsl | CaptureLibrary::AwsLc)
        .then(|| path.with_file_name(format!("{CRYPTO}{name}")))
}

/// Beginning of the other one's name.
pub(crate) const CRYPTO: &str = "libcrypto";

impl Search {
    /// None: the library does not state it so. `is_own`: the file is the library's own and no program's.
    pub(crate) fn of(library: CaptureLibrary, is_own: bool) -> Option<Self> {
        // A bare number in a program is anybody's.
        let text = TEXTS.iter().find(|text| text.library == library && (is_own || text.number.is_empty()))?;
        Some(Self { text, at: 0, found: BTreeSet::new() })
    }

    /// Looks through the next slice. `false`: that was all.
    pub(crate) fn step(&mut self, source: &dyn ByteSource) -> bool {
        let end = source.len().min(MAX_SEARCHED);
        let size = end.saturating_sub(self.at).min(SLICE_BYTES + TEXT_BYTES as u64);
        let mut window = vec![0; usize::try_from(size).unwrap_or(0)];
        if size == 0 || source.read_exact_at(self.at, &mut window).is_err() {
            return false;
        }
        for at in memmem::find_iter(&window, self.text.prefix) {
            let rest = window.get(at.saturating_add(self.text.prefix.len())..).unwrap_or_default();
            self.found.extend(self.text.version(rest));
            if self.found.len() >= ENOUGH {
                return false;
            }
        }
        self.at = self.at.saturating_add(SLICE_BYTES);
        self.at < end
    }

    /// The one version that is stated.
    pub(crate) fn version(self) -> Option<String> {
        let mut found = self.found.into_iter();
        found.next().filter(|_| found.next().is_none())
    }
}

/// The whole search at once, for a person who waits.
pub(crate) fn stated(source: &dyn ByteSource, library: CaptureLibrary, is_own: bool) -> Option<String> {
    let mut search = Search::of(library, is_own)?;
    while search.step(source) {}
    search.version()
}

impl Text {
    /// Of what follows the prefix.
    fn version(&self, rest: &[u8]) -> Option<String> {
        let text = rest.get(..memchr::memchr(0, rest.get(..TEXT_BYTES).unwrap_or(rest))?)?;
        let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '))?;
        let (number, after) = text.split_once(' ').unwrap_or((text, ""));
        let number = format!("{}{number}", self.number);
        let mut parts = number.split('.');
        // Three numbers, the last with letters behind it.
        let plain = |part: &str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor, patch) = (parts.next()?, parts.next()?, parts.next()?);
        let is_patch = patch.starts_with(|first: char| first.is_ascii_digit()) && patch.len() <= 24;
        let is_dated = after.rsplit(' ').next().is_some_and(|year| year.len() == 4 && plain(year));
        (plain(major) && plain(minor) && is_patch && parts.next().is_none() && self.dated == is_dated && (self.dated || after.is_empty()))
            .then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(library: CaptureLibrary, bytes: &[u8]) -> Option<String> {
        stated(&bytes.to_vec(), library, true)
    }

    #[test]
    fn versions_are_told_as_libraries_state_them() {
        let told = |library, text: &str| of(library, format!("x\0{text}\0y").as_bytes());
        for (library, text, version) in [
            (CaptureLibrary::OpenSsl, "OpenSSL 3.0.17 1 Jul 2025", "3.0.17"),
            (CaptureLibrary::OpenSsl, "OpenSSL 1.1.1k  FIPS 25 Mar 2021", "1.1.1k"),
            (CaptureLibrary::OpenSsl, "OpenSSL 3.5.0-beta1 25 Mar 2025", "3.5.0-beta1"),
            (CaptureLibrary::LibreSsl, "LibreSSL 3.8.2", "3.8.2"),
            (CaptureLibrary::AwsLc, "AWS-LC 1.30.1", "1.30.1"),
            (CaptureLibrary::GnuTls, "3.7.9", "3.7.9"),
        ] {
            assert_eq!(told(library, text).as_deref(), Some(version), "{text}");
        }
        for (library, text) in [
            (CaptureLibrary::OpenSsl, "OpenSSL 3.0.17 is needed"),
            (CaptureLibrary::OpenSsl, "OpenSSL 3.0"),
            (CaptureLibrary::OpenSsl, "built with OpenSSL 3.0.17 1 Jul 2025"),
            (CaptureLibrary::GnuTls, "3.7.9.1"),
            (CaptureLibrary::GnuTls, "3.7.x"),
            (CaptureLibrary::BoringSsl, "BoringSSL"),
            (CaptureLibrary::Go, "go1.27"),
        ] {
            assert_eq!(told(library, text), None, "{text}");
        }
        let program = b"\x003.7.9\0".to_vec();
        assert_eq!(stated(&program, CaptureLibrary::GnuTls, false), None, "a number in a program is anybody's");
    }

    #[test]
    fn what_is_stated_in_two_ways_is_not_told() {
        let text = |version| format!("\0OpenSSL {version} 1 Jul 2025\0");
        let twice = [text("3.0.17"), text("3.0.17")].concat();
        assert_eq!(of(CaptureLibrary::OpenSsl, twice.as_bytes()).as_deref(), Some("3.0.17"));
        assert_eq!(of(CaptureLibrary::OpenSsl, [text("3.0.17"), text("1.1.1")].concat().as_bytes()), None);
    }

    #[test]
    fn a_version_across_two_slices_is_found_and_a_cut_one_is_not() {
        let text = b"\0OpenSSL 3.0.17 1 Jul 2025\0";
        let slice = usize::try_from(SLICE_BYTES).unwrap();
        for before in [0, 1, 10, text.len() - 1] {
            let mut bytes = vec![b'.'; 2 * slice];
            bytes[slice - before..][..text.len()].copy_from_slice(text);
            assert_eq!(of(CaptureLibrary::OpenSsl, &bytes).as_deref(), Some("3.0.17"), "{before}");
        }
        for cut in 1..text.len() {
            assert_eq!(of(CaptureLibrary::OpenSsl, &text[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn openssl_states_it_in_the_library_beside() {
        let of = |path| beside(Path::new(path), CaptureLibrary::OpenSsl);
        assert_eq!(of("/lib/libssl.so.3"), Some(PathBuf::from("/lib/libcrypto.so.3")));
        assert_eq!(of("/usr/bin/node"), None);
        assert_eq!(beside(Path::new("/lib/libssl.so"), CaptureLibrary::GnuTls), None);
    }
}
