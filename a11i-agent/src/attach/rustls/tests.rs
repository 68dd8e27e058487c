use super::*;
use crate::discovery::{elf::Elf, file::OpenedFile};
#[test]
fn debug() {
    let Some(path) = std::env::var_os("DBG") else { return };
    let opened = OpenedFile::open(std::path::Path::new(&path)).unwrap();
    let elf = Elf::parse(&opened).unwrap();
    let image = Image::of(&elf);
    let functions = Functions::of(&image);
    let encrypters = method_table::encrypters(&image, functions.pointers());
    println!("{encrypters:x?}");
    let pairs = constructor::pairs(&image, &functions, &encrypters);
    for pair in &pairs {
        println!("{pair:x?}");
        let s = [pair.encrypter.table.method, pair.decrypter.method];
        println!("  proven {:x?}", functions.proven(&s));
        for m in s {
        if let Some(w) = functions.walk(m) {
            println!("  end {:x?} complete {:?} balanced {} tails {:x?} returns {:x?}", functions.end_of(m), w.incomplete, w.is_balanced, w.tail_jumps, w.returns);
        } else { println!("  no walk {m:x}") }
        }
    }
}
