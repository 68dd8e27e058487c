//! Scripts: the program that the kernel will really run (execve(2)).

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use super::file::{ByteSource, OpenedFile};

/// Starts with `#!`.
pub(super) fn is_script(file: &OpenedFile) -> bool {
    let mut mark = [0; 2];
    file.read_exact_at(0, &mut mark).is_ok() && mark == *b"#!"
}

/// Path after `#!` (execve(2)).
pub(super) fn interpreter(file: &OpenedFile) -> Option<PathBuf> {
    let length = file.len().min(MAX_SCRIPT_LINE);
    let mut line = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(0, &mut line).ok()?;
    let line = line.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| *byte == b' ' || *byte == b'\t').filter(|word| !word.is_empty());
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
    if interpreter.file_name() == Some("env".as_ref()) {
        // `#!/usr/bin/env [-S] python3`: the program that env will find.
        let name = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))?;
        let name = OsStr::from_bytes(name);
        return std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file());
    }
    Some(interpreter)
}

/// `BINPRM_BUF_SIZE`.
const MAX_SCRIPT_LINE: u64 = 256;
