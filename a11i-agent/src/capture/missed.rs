//! Runs that the kernel's programs missed: where one would have recursed, the kernel leaves it out and counts that (5.12+).

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
};

use aya::{Ebpf, programs::ProgramFd};

use super::{
    loader::{PROCESS_EXEC, PROCESS_EXIT, PROCESS_FORK, program_names},
    sockets,
};
use crate::call::{CaptureFacts, CaptureMethod};

/// What the kernel says of a program takes about 300 bytes.
const STATEMENT_BYTES: usize = 1024;

/// A program's own counter, read from what `/proc` says of its file descriptor: no system call of our own, and nothing on kernels without.
pub struct MissedRuns {
    programs: Vec<Watched>,
}

struct Watched {
    name: &'static str,
    /// Of which program the statement is: it lives as long as this.
    _program: ProgramFd,
    statement: File,
    missed: u64,
}

/// Whose missed runs have grown since the last reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Grown {
    /// Programs on functions of TLS libraries: they copy bytes or follow sessions.
    pub probes: bool,
    /// Programs on sockets: they copy what is sent without TLS, and tell the peers of sessions.
    pub sockets: bool,
    /// Ends of programs, by exit or exec.
    pub ends: bool,
    /// New programs or processes.
    pub begins: bool,
}

impl Grown {
    /// Bytes of what is captured like this may be missing. Those of a TLS session come from its library alone: a missed run on a socket
    /// costs it the peer at most.
    pub fn touches(self, capture: CaptureFacts) -> bool {
        if capture.method == Some(CaptureMethod::Socket) { self.sockets } else { self.probes }
    }

    fn note(&mut self, name: &str) {
        match name {
            PROCESS_EXIT => self.ends = true,
            PROCESS_EXEC => (self.ends, self.begins) = (true, true),
            PROCESS_FORK => self.begins = true,
            name if sockets::program_names().any(|socket| socket == name) => self.sockets = true,
            _ => self.probes = true,
        }
    }
}

impl MissedRuns {
    /// Of every program that is loaded now.
    pub fn of(ebpf: &Ebpf) -> Self {
        let mut programs = Vec::new();
        for name in program_names() {
            // One that is not loaded on this kernel has none.
            let Some(Ok(fd)) = ebpf.program(name).map(|program| program.fd()) else { continue };
            match watch(name, fd) {
                Ok(watched) => programs.push(watched),
                Err(error) => tracing::warn!(name, %error, "missed runs of this program are not counted"),
            }
        }
        Self { programs }
    }

    /// Reads the counters of the programs that calls depend on: one system call each.
    pub fn read_data_programs(&mut self) -> Grown {
        self.read_some(|name| !is_of_process_life(name))
    }

    /// Reads every counter.
    pub fn read(&mut self) -> Grown {
        self.read_some(|_| true)
    }

    /// Each program with its missed runs since it was loaded, as last read.
    pub fn runs(&self) -> Vec<(&'static str, u64)> {
        self.programs.iter().map(|watched| (watched.name, watched.missed)).collect()
    }

    fn read_some(&mut self, which: impl Fn(&str) -> bool) -> Grown {
        let mut grown = Grown::default();
        for watched in self.programs.iter_mut().filter(|watched| which(watched.name)) {
            match missed_runs(&watched.statement) {
                Ok(missed) => {
                    if missed > watched.missed {
                        grown.note(watched.name);
                    }
                    watched.missed = missed;
                }
                Err(error) => tracing::debug!(name = watched.name, %error, "missed runs cannot be read"),
            }
        }
        grown
    }
}

fn watch(name: &'static str, program: &ProgramFd) -> io::Result<Watched> {
    let program = program.try_clone()?;
    let statement = File::open(format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd()))?;
    Ok(Watched { name, _program: program, statement, missed: 0 })
}

fn is_of_process_life(name: &str) -> bool {
    [PROCESS_EXEC, PROCESS_FORK, PROCESS_EXIT].contains(&name)
}

/// Written anew by the kernel for every reading from its beginning.
fn missed_runs(statement: &File) -> io::Result<u64> {
    let mut bytes = [0; STATEMENT_BYTES];
    let length = statement.read_at(&mut bytes, 0)?;
    let text = String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
    // Kernels before 5.12 have no such line.
    Ok(parse(&text).unwrap_or_default())
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("recursion_misses:")).and_then(|value| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom};

    use super::*;

    #[test]
    fn the_counter_is_found_among_what_the_kernel_says_of_a_program() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t2\nprog_id:\t36\nrun_time_ns:\t0\nrun_cnt:\t0\nrecursion_misses:\t41\nverified_insns:\t9\n";
        assert_eq!(parse(text), Some(41));
        for without in ["", "pos:\t0\n", "recursion_misses:\n", "recursion_misses:\t-1\n"] {
            assert_eq!(parse(without), None, "{without:?}");
        }
    }

    #[test]
    fn what_a_missed_run_means_depends_on_the_program() {
        for name in program_names() {
            let mut grown = Grown::default();
            grown.note(name);
            let is_data = grown.probes || grown.sockets;
            assert_eq!(is_data, !is_of_process_life(name), "{name}");
            assert_eq!((grown.ends, grown.begins) == (false, false), is_data, "{name}");
            assert_eq!(grown.sockets, name.starts_with("socket_"), "{name}");
        }
    }

    #[test]
    fn a_missed_run_on_a_socket_touches_no_session_of_a_library() {
        let of = |method| CaptureFacts { library: None, method };
        let (probes, sockets) = (Grown { probes: true, ..Grown::default() }, Grown { sockets: true, ..Grown::default() });
        // Without attach cookies nobody knows how a session was found.
        for session in [None, Some(CaptureMethod::Symbol), Some(CaptureMethod::Structure)] {
            assert!(probes.touches(of(session)) && !sockets.touches(of(session)), "{session:?}");
        }
        let plaintext = of(Some(CaptureMethod::Socket));
        assert!(sockets.touches(plaintext) && !probes.touches(plaintext));
        let of_processes = Grown { ends: true, begins: true, ..Grown::default() };
        assert!(!of_processes.touches(plaintext) && !of_processes.touches(of(None)));
    }

    #[test]
    fn a_statement_is_written_anew_for_every_reading() {
        let mut file = File::open("/proc/self/exe").unwrap();
        let statement = File::open(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).unwrap();
        for position in [0, 5, 41] {
            file.seek(SeekFrom::Start(position)).unwrap();
            let mut bytes = [0; STATEMENT_BYTES];
            let length = statement.read_at(&mut bytes, 0).unwrap();
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            assert!(text.starts_with(&format!("pos:\t{position}\n")), "{text}");
        }
    }
}
