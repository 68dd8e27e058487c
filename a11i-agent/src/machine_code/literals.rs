//! Text in data that no one writes.

use memchr::memmem;

use super::Image;
use crate::discovery::elf::Segment;

/// A string that holds what was searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Literal {
    /// Where the string begins: after the zero byte before it.
    pub start: u64,
    /// Where the needle begins.
    pub at: u64,
}

/// Where `needle` stands in segments that are not written, in ascending order. The beginning of the string is looked for within
/// [`MAX_BEFORE`] bytes; at most [`MAX_LITERALS`].
pub fn literals(image: &Image<'_>, needle: &[u8]) -> Vec<Literal> {
    let finder = memmem::Finder::new(needle);
    let mut found: Vec<Literal> = Vec::new();
    let overlap = MAX_BEFORE.saturating_add(needle.len() as u64);
    // Linkers put text beside the code only where they make no segment that is neither written nor executed.
    let is_text = |segment: &&Segment| !segment.writable && !segment.executable && segment.file_size > HEADERS;
    let beside_code = !image.segments().iter().any(|segment| is_text(&segment));
    for segment in image.segments().iter().filter(|segment| !segment.writable && (beside_code || is_text(segment))) {
        image.windows(segment, overlap, |base, bytes| {
            for hit in finder.find_iter(bytes) {
                let before = bytes.get(hit.saturating_sub(usize::try_from(MAX_BEFORE).unwrap_or(0))..hit).unwrap_or_default();
                let text = before.iter().rev().take_while(|byte| **byte != 0).count() as u64;
                let at = base.wrapping_add(hit as u64);
                // Windows overlap: the later one sees more of what stands before.
                match found.iter_mut().find(|other| other.at == at) {
                    Some(same) => same.start = same.start.min(at.wrapping_sub(text)),
                    None => found.push(Literal { start: at.wrapping_sub(text), at }),
                }
            }
            found.len() < MAX_LITERALS
        });
    }
    found.truncate(MAX_LITERALS);
    found.sort_unstable_by_key(|literal| literal.at);
    found
}

/// A segment this small holds the headers of the file and no text.
const HEADERS: u64 = 4_096;
/// Source paths of build systems are some hundred bytes.
const MAX_BEFORE: u64 = 512;
/// A string is in a program once, or once per merged copy of the library.
const MAX_LITERALS: usize = 256;
