//! Libraries of a program installed under a prefix of its own (conda, pyenv, Nix-like trees): `PREFIX/bin/program` loads
//! from `PREFIX/lib`, which no ld.so.cache names.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};

/// `PREFIX/lib` for `PREFIX/bin/program`; `None` for the system's own prefixes, whose libraries are in the ld.so.cache.
pub(super) fn library_dir(executable: &Path) -> Option<PathBuf> {
    let bin = executable.parent().filter(|dir| dir.file_name() == Some(OsStr::new("bin")))?;
    let prefix = bin.parent()?;
    (!SYSTEM.iter().any(|system| prefix == Path::new(system))).then(|| prefix.join("lib"))
}

/// Files in `dir` (below `root`) whose names start with one of `prefixes`, sorted.
pub(super) fn libraries(root: &Path, dir: &Path, prefixes: &[&str]) -> Vec<PathBuf> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = || {
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Dir::read_from(rustix::fs::openat2(&root, dir, flags, Mode::empty(), resolve)?)
    };
    let Ok(entries) = open() else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .take(MAX_ENTRIES)
        .filter_map(Result::ok)
        .map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned())
        .filter(|name| prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())))
        .take(MAX_FOUND)
        .map(|name| dir.join(name))
        .collect();
    found.sort_unstable();
    found
}

const SYSTEM: &[&str] = &["/", "/usr"];
/// Prefixes with everything in one folder have a few thousand.
const MAX_ENTRIES: usize = 16_384;
/// One library under three names, perhaps in two versions.
const MAX_FOUND: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::testing::TempDir;

    #[test]
    fn only_programs_in_a_bin_of_their_own_have_a_library_folder() {
        let dir = |path: &str| library_dir(Path::new(path)).map(|dir| dir.display().to_string());
        assert_eq!(dir("/opt/conda/bin/python3.11").as_deref(), Some("/opt/conda/lib"));
        assert_eq!(dir("/usr/bin/curl"), None);
        assert_eq!(dir("/bin/sh"), None);
        assert_eq!(dir("/srv/app/server"), None);
        assert_eq!(dir(""), None);
    }

    #[test]
    fn libraries_are_listed_below_the_root() {
        let root = TempDir::new("prefix");
        let lib = root.path().join("opt/lib");
        std::fs::create_dir_all(&lib).unwrap();
        for name in ["libssl.so.3", "libssl.so", "libz.so", "xlibssl.so"] {
            std::fs::write(lib.join(name), b"").unwrap();
        }
        let names = libraries(root.path(), Path::new("/opt/lib"), &["libssl.so"]);
        assert_eq!(names, [Path::new("/opt/lib/libssl.so"), Path::new("/opt/lib/libssl.so.3")]);
        assert_eq!(libraries(root.path(), Path::new("/none"), &["lib"]), Vec::<PathBuf>::new());
    }
}
