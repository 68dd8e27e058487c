//! What the finders of stripped libraries say of programs, and how long they take: `finders PATH…`, folders with all that is in them.
//!
//! A line for each file in which a library was found otherwise than by symbols, or with evidence of one; at the end the counts. For looking
//! for false acceptances over a whole system, and for times (build it with `--profile fast`).
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a tool that prints times")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use a11i_agent::{attach, call::CaptureMethod, discovery::file::OpenedFile};

#[derive(Default)]
struct Counts {
    files: usize,
    bytes: u64,
    plans: BTreeMap<(&'static str, &'static str), usize>,
    slowest: Duration,
}

fn main() {
    let mut counts = Counts::default();
    let mut seen = BTreeSet::new();
    let begun = Instant::now();
    for path in std::env::args_os().skip(1) {
        look(Path::new(&path), &mut counts, &mut seen);
    }
    println!(
        "{} ELF files, {} MB, {:.2} s, slowest {:.2} s",
        counts.files,
        counts.bytes >> 20,
        seconds(begun.elapsed()),
        seconds(counts.slowest)
    );
    for ((library, method), count) in &counts.plans {
        println!("{count:6} {library} by {method}");
    }
}

fn look(path: &Path, counts: &mut Counts, seen: &mut BTreeSet<(u64, u64)>) {
    let Ok(metadata) = path.symlink_metadata() else { return };
    if metadata.is_dir() {
        let mut inside: Vec<PathBuf> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        inside.sort();
        for path in &inside {
            look(path, counts, seen);
        }
        return;
    }
    let Some(file) = metadata.is_file().then(|| OpenedFile::open(path).ok()).flatten() else { return };
    if !seen.insert((file.id().dev, file.id().ino)) {
        return;
    }
    let begun = Instant::now();
    let Ok(analysis) = attach::analyse(&file, file.id()) else { return };
    let took = begun.elapsed();
    counts.files += 1;
    counts.bytes += file.id().size;
    counts.slowest = counts.slowest.max(took);
    for planned in &analysis.plans {
        *counts.plans.entry((planned.plan.library.as_str(), planned.plan.method.as_str())).or_default() += 1;
    }
    let found = analysis.plans.iter().filter(|planned| planned.plan.method != CaptureMethod::Symbol);
    let found: Vec<String> = found
        .map(|planned| {
            let functions: BTreeSet<_> = planned.plan.probes.iter().map(|probe| format!("{}@{:#x}", probe.symbol, probe.offset)).collect();
            format!("{} by {}: {}", planned.plan.library.as_str(), planned.plan.method.as_str(), Vec::from_iter(functions).join(" "))
        })
        .chain(analysis.evidence.iter().map(|evidence| evidence.reason().to_owned()))
        .collect();
    if !found.is_empty() {
        println!("{:.2} s {:4} MB {}\n         {}", seconds(took), file.id().size >> 20, path.display(), found.join("\n         "));
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
