//! Why probes are not in, and what can be done about it.

use std::{error::Error, io};

use aya::programs::ProgramError;
use thiserror::Error;

use super::links::{MAX_FILES, MAX_SCOPED};

#[derive(Debug, Error)]
pub enum AttachError {
    #[error("the file changed after it was analysed")]
    Changed,
    #[error("the file cannot be read now: its disk or its server does not answer")]
    Unanswered,
    #[error("there are more files with TLS than the {MAX_FILES} that can be attached")]
    TooManyFiles,
    #[error("{MAX_SCOPED} processes have probes of their own already")]
    TooManyProcesses,
    #[error("this kernel cannot attach a file for single processes without CAP_SYS_ADMIN")]
    NoProcessScope,
    #[error("the kernel object lacks the program `{0}`")]
    NoProgram(&'static str),
    #[error("the kernel refused `{program}` on {count} functions: {source}{}", cause(.source))]
    Kernel { program: &'static str, count: usize, source: ProgramError },
}

impl AttachError {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Changed => "none needed: the new version is attached when a process maps it",
            Self::Unanswered => "see to the file system it lies on; it is tried again",
            Self::TooManyFiles | Self::TooManyProcesses => "please report how many libraries and processes this host has",
            Self::NoProcessScope => "give the agent CAP_SYS_ADMIN, or use Linux 6.10 or newer",
            Self::NoProgram(_) => "build agent and kernel object from one tree: cargo xtask build",
            Self::Kernel { source, .. } => match errno(source) {
                Some(libc::EPERM | libc::EACCES) => {
                    "give the agent CAP_BPF and CAP_PERFMON (without uprobe-multi links also CAP_SYS_ADMIN)"
                }
                Some(libc::EMFILE | libc::ENFILE) => "raise the agent's limit of open files (LimitNOFILE=)",
                Some(libc::ENOMEM) => "raise the agent's memory limit",
                Some(libc::ENOSPC | libc::EUSERS) => "another tool holds too many probes or perf events: stop it",
                Some(libc::ENOENT | libc::ENODEV | libc::EOPNOTSUPP) => {
                    "use a kernel with CONFIG_UPROBE_EVENTS (`a11i doctor` shows what it has)"
                }
                // The kernel cannot emulate or move the instruction there, or another tool's probe has changed it.
                Some(libc::EINVAL | ENOTSUPP | libc::ENOEXEC | libc::EILSEQ | libc::EIO) => {
                    "please report the library's name and version: an instruction there cannot be probed"
                }
                Some(_) | None => "`a11i doctor` shows what this host offers",
            },
        }
    }

    /// Trying again gives the same: the kernel looked at the instruction and cannot probe it, or the agent is built wrong. Everything else
    /// (descriptors, memory, other tools' probes, signals) may pass.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Kernel { source, .. } => self.is_of_an_instruction() || errno(source) == Some(libc::EOPNOTSUPP),
            Self::NoProgram(_) | Self::NoProcessScope => true,
            Self::Changed | Self::Unanswered | Self::TooManyFiles | Self::TooManyProcesses => false,
        }
    }

    /// The kernel will not probe an instruction there, whoever asks: it cannot emulate it or move it (x86: `ENOTSUPP`, or `ENOEXEC` where it is
    /// none that it knows; arm64: `EINVAL`). Other instructions of the file may do.
    pub fn is_of_an_instruction(&self) -> bool {
        match self {
            Self::Kernel { source, .. } => {
                matches!(errno(source), Some(libc::EINVAL | ENOTSUPP | libc::ENOEXEC | libc::EILSEQ))
            }
            Self::Changed | Self::Unanswered | Self::TooManyFiles | Self::TooManyProcesses | Self::NoProcessScope | Self::NoProgram(_) => {
                false
            }
        }
    }

    /// The process to attach for is no more.
    pub fn is_ended_process(&self) -> bool {
        match self {
            Self::Kernel { source, .. } => errno(source) == Some(libc::ESRCH),
            Self::Changed | Self::Unanswered | Self::TooManyFiles | Self::TooManyProcesses | Self::NoProcessScope | Self::NoProgram(_) => {
                false
            }
        }
    }
}

/// The kernel's own "not supported", which never should reach user space and does.
const ENOTSUPP: i32 = 524;

/// The system's answer, deep inside aya's errors.
fn errno(error: &ProgramError) -> Option<i32> {
    // Transparent: it hides that it is one.
    if let ProgramError::IOError(io) = error {
        return io.raw_os_error();
    }
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        next = error.source();
    }
    None
}

/// Named where aya's own words leave it out.
fn cause(error: &ProgramError) -> String {
    match errno(error) {
        None => String::new(),
        // No error number of user space, so nobody has words for it.
        Some(ENOTSUPP) => " (it cannot probe an instruction there)".to_owned(),
        Some(number) => format!(" ({})", io::Error::from_raw_os_error(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_cause_and_what_to_do() {
        let refused = |number| {
            let source = ProgramError::IOError(io::Error::from_raw_os_error(number));
            AttachError::Kernel { program: "tls_enter_multi", count: 7, source }
        };
        assert!(refused(libc::EPERM).remedy().contains("CAP_PERFMON"));
        assert!(refused(libc::EMFILE).remedy().contains("LimitNOFILE"));
        assert!(refused(libc::EMFILE).to_string().contains("Too many open files"));
        assert!(refused(ENOTSUPP).to_string().contains("cannot probe an instruction"));
        for passing in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EINTR, libc::EPERM] {
            assert!(!refused(passing).is_final(), "{passing}");
        }
        for of_instructions in [libc::EINVAL, ENOTSUPP, libc::ENOEXEC, libc::EILSEQ] {
            assert!(refused(of_instructions).is_final() && refused(of_instructions).is_of_an_instruction(), "{of_instructions}");
        }
        assert!(refused(libc::EOPNOTSUPP).is_final() && !refused(libc::EOPNOTSUPP).is_of_an_instruction());
        assert!(refused(libc::ESRCH).is_ended_process() && !refused(libc::EPERM).is_ended_process());
    }
}
