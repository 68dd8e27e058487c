//! Runs that the kernel's programs missed: where one would have recursed, the kernel leaves it out and counts that (5.12+).

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{Ebpf, programs::ProgramFd};

use super::loader::program_names;

/// A program's own counter, read from what `/proc` says of its file descriptor: no system call of our own, and nothing on kernels without.
pub struct MissedRuns {
    programs: Vec<Watched>,
}

struct Watched {
    name: &'static str,
    program: ProgramFd,
    missed: u64,
}

impl MissedRuns {
    /// Of every program that is loaded now.
    pub fn of(ebpf: &Ebpf) -> Self {
        let mut programs = Vec::new();
        for name in program_names() {
            // One that is not loaded on this kernel has none.
            let Some(Ok(fd)) = ebpf.program(name).map(|program| program.fd()) else { continue };
            match fd.try_clone() {
                Ok(program) => programs.push(Watched { name, program, missed: 0 }),
                Err(error) => tracing::warn!(name, %error, "missed runs of this program are not counted"),
            }
        }
        Self { programs }
    }

    /// Reads every counter. Gives each program with its missed runs since it was loaded, and whether any has grown since the last reading.
    pub fn read(&mut self) -> (Vec<(&'static str, u64)>, bool) {
        let mut grown = false;
        for watched in &mut self.programs {
            match missed_runs(&watched.program) {
                Ok(missed) => {
                    grown |= missed > watched.missed;
                    watched.missed = missed;
                }
                Err(error) => tracing::debug!(name = watched.name, %error, "missed runs cannot be read"),
            }
        }
        (self.programs.iter().map(|watched| (watched.name, watched.missed)).collect(), grown)
    }
}

fn missed_runs(program: &ProgramFd) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_fd().as_raw_fd()))?;
    // Kernels before 5.12 have no such line.
    Ok(parse(&text).unwrap_or_default())
}

fn parse(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("recursion_misses:")).and_then(|value| value.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_among_what_the_kernel_says_of_a_program() {
        let text = "pos:\t0\nflags:\t02000002\nprog_type:\t2\nprog_id:\t36\nrun_time_ns:\t0\nrun_cnt:\t0\nrecursion_misses:\t41\nverified_insns:\t9\n";
        assert_eq!(parse(text), Some(41));
        for without in ["", "pos:\t0\n", "recursion_misses:\n", "recursion_misses:\t-1\n"] {
            assert_eq!(parse(without), None, "{without:?}");
        }
    }
}
