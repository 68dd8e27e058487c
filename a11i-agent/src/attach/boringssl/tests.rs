use super::*;
use crate::discovery::{elf::Elf, file::OpenedFile};

#[test]
#[ignore = "debug"]
fn debug_roles() {
    let path = std::env::var("P").unwrap();
    let file = OpenedFile::open(std::path::Path::new(&path)).unwrap();
    let elf = Elf::parse(&file).unwrap();
    let image = Image::of(&elf);
    let functions = Functions::of(&image);
    for file in error_reports::files(literals(&image, SOURCE_FILE)) {
        let refs = crate::machine_code::references(&image, &file);
        let reporting = error_reports::functions(&functions, &image, &file);
        eprintln!("unwindable {} refs {} functions {}", functions.unwindable(), refs.len(), reporting.len());
        for r in &refs {
            if !reporting.values().any(|f| f.walk.at(r.at).is_some()) {
                eprintln!(
                    "  unowned {:x} start {:x?} {:x?}",
                    r.at,
                    functions.start_of(r.at),
                    functions.walk(functions.start_of(r.at).unwrap_or(0)).map(|w| (w.incomplete, w.is_balanced))
                );
            }
        }
        for (start, f) in &reporting {
            eprintln!(
                "{start:x} {:?} balanced {} {:?} insns {}",
                f.reasons,
                f.walk.is_balanced,
                f.walk.incomplete,
                f.walk.instructions.len()
            );
        }
        let roles = roles::tell(&functions, &image, &reporting);
        let starts: Vec<u64> = roles.iter().map(|r| r.1).collect();
        eprintln!("{roles:x?} proven {:x?}", functions.proven(&starts));
    }
}
