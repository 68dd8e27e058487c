//! Which layout the argument of `encrypt` has, found in samples of it.
//!
//! The Rust compiler decides in which order the members of a structure lie, and may decide otherwise in its next release; rustls may name them
//! in another way. What it cannot change is what they are: one slice or an array of them, a content type, a version, and a plaintext that begins
//! as TLS or HTTP say. So all orders are tried, and one is taken when it is the only one that explains every sample.

use a11i_common::{
    limits::TLS_RECORD_BYTES,
    rustls::{ABSENT, RustlsLayout, RustlsSample, SAMPLE_WORDS},
};

/// The layout of all samples; None while they do not tell, and when no layout explains them.
pub fn infer(samples: &[RustlsSample]) -> Option<RustlsLayout> {
    let fits = |layout: &RustlsLayout| {
        let fits = samples.iter().map(|sample| fit(sample, *layout));
        fits.min().is_some_and(|worst| worst > Fit::No) && samples.iter().any(|sample| fit(sample, *layout) == Fit::Certain)
    };
    let (alone, mut found): (Vec<_>, Vec<_>) = candidates().into_iter().filter(fits).partition(|layout| layout.slices == ABSENT);
    // Where an array may be told, the records that have one will say whether it is: a slice alone is what explains the rest.
    if found.is_empty() {
        found = alone;
    }
    let mut found = found.into_iter();
    let first = found.next()?;
    // What lies unused between the members may look like a version all the time. Nothing is read by it.
    found.all(|other| RustlsLayout { version: first.version, ..other } == first).then_some(first)
}

/// How a sample looks through a layout.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fit {
    No,
    Possible,
    /// The plaintext is what its content type says.
    Certain,
}

/// How one version of rustls declares its message: sizes of the members that are not the payload.
struct Declaration {
    content_type: u8,
    version: u8,
}

/// Enumerations with a member for unknown values (0.22, 0.23), and the wire's numbers (0.24).
const DECLARATIONS: [Declaration; 2] = [Declaration { content_type: 2, version: 4 }, Declaration { content_type: 1, version: 2 }];

/// Orders of the payload's own members: its size, and where in it are the array, the one slice and the bounds. The pointer of the array says by
/// being 0 that there is one slice, which lies where there is room beside it. The last is a slice alone (0.22).
const PAYLOADS: [(u8, u8, u8, [u8; 2]); 4] = [(32, 0, 8, [16, 24]), (32, 8, 16, [0, 24]), (32, 16, 0, [0, 8]), (16, ABSENT, 0, [0, 0])];

/// Orders of payload, content type and version.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Every layout that a compiler may choose.
fn candidates() -> Vec<RustlsLayout> {
    let mut found = Vec::new();
    for (size, slices, slice, bounds) in PAYLOADS {
        for Declaration { content_type, version } in &DECLARATIONS {
            for order in ORDERS {
                // Size and alignment of payload, content type and version; then where they begin.
                let members = [(size, 8), (*content_type, 1), (*version, 2)];
                let mut begin = [0u8; 3];
                let mut end = 0u8;
                for member in order {
                    let Some((size, align)) = members.get(member) else { continue };
                    end = end.next_multiple_of(*align);
                    if let Some(begin) = begin.get_mut(member) {
                        *begin = end;
                    }
                    end = end.saturating_add(*size);
                }
                let [payload, content_type, version] = begin;
                let slices = if slices == ABSENT { ABSENT } else { payload.saturating_add(slices) };
                let bounds = bounds.map(|bound| payload.saturating_add(bound));
                let slice = payload.saturating_add(slice);
                let layout = RustlsLayout { slices, slice, bounds, content_type, version, is_final: 0, reserved: 0 };
                // Of another declaration, with the same gaps.
                if !found.contains(&layout) {
                    found.push(layout);
                }
            }
        }
    }
    found
}

/// The numbers of content types and versions (RFC 8446 section 4.1.2 and 5.1): the wire's, or counted by rustls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Content {
    Alert,
    Handshake,
    Data,
}

impl Content {
    fn of(content_type: u8, version: u16) -> Option<Self> {
        match (content_type, version) {
            (1, 3..=5) | (21, 0x301..=0x304) => Some(Self::Alert),
            (2, 3..=5) | (22, 0x301..=0x304) => Some(Self::Handshake),
            (3, 3..=5) | (23, 0x301..=0x304) => Some(Self::Data),
            _ => None,
        }
    }
}

fn fit(sample: &RustlsSample, layout: RustlsLayout) -> Fit {
    let Some(content) = byte(sample, layout.content_type).zip(short(sample, layout.version)).and_then(|(t, v)| Content::of(t, v)) else {
        return Fit::No;
    };
    let array = if layout.slices == ABSENT { Some(0) } else { word(sample, layout.slices) };
    let plain = match array {
        None => None,
        Some(0) => one_slice(sample, layout),
        Some(_) => several_slices(sample, layout),
    };
    plain.map_or(Fit::No, |plain| plain.is(content, sample.sequence))
}

/// A plaintext, as far as it was sampled.
struct Plain {
    length: u64,
    begin: Vec<u8>,
}

fn one_slice(sample: &RustlsSample, layout: RustlsLayout) -> Option<Plain> {
    let (pointer, length) = (word(sample, layout.slice)?, word(sample, layout.slice.checked_add(8)?)?);
    let behind = sample.behind.get(usize::from(layout.slice / 8))?;
    plausible(pointer, length)?;
    Some(Plain { length, begin: behind.iter().flat_map(|word| word.to_le_bytes()).take(usize::try_from(length).ok()?).collect() })
}

fn several_slices(sample: &RustlsSample, layout: RustlsLayout) -> Option<Plain> {
    let (array, count) = (word(sample, layout.slices)?, word(sample, layout.slices.checked_add(8)?)?);
    let [one, other] = layout.bounds.map(|bound| word(sample, bound));
    let (one, other) = (one?, other?);
    let (start, end) = (one.min(other), one.max(other));
    let index = usize::from(layout.slices / 8);
    let [first, first_length] = *sample.behind.get(index)?;
    plausible(array, end.checked_sub(start)?)?;
    if !(2..=MOST_SLICES).contains(&count) || !(LOWEST..=HIGHEST).contains(&first) || first_length > MOST_WRITTEN || end > MOST_WRITTEN {
        return None;
    }
    let room = if start == 0 { usize::try_from(first_length).ok()? } else { 0 };
    let begin = sample.further.get(index)?.to_le_bytes().into_iter().take(room).collect();
    Some(Plain { length: end.checked_sub(start)?, begin })
}

impl Plain {
    fn is(&self, content: Content, sequence: u64) -> Fit {
        let message = self.message();
        match content {
            Content::Alert if self.length == ALERT_BYTES => Fit::Possible,
            Content::Alert => Fit::No,
            // What every key begins with is known.
            Content::Handshake => match message {
                Some(length) if length == self.length => Fit::Certain,
                Some(length) if sequence > 0 || length <= MOST_MESSAGE => Fit::Possible,
                Some(_) | None => Fit::No,
            },
            Content::Data if STARTS.iter().any(|start| self.begin.starts_with(start)) => Fit::Certain,
            Content::Data if sequence == 0 && self.begin.first() == Some(&FINISHED) && message == Some(self.length) => Fit::No,
            Content::Data => Fit::Possible,
        }
    }

    /// Bytes of the handshake message that it begins with, if it may be one.
    fn message(&self) -> Option<u64> {
        let [kind, a, b, c, ..] = *self.begin.as_slice() else { return None };
        (kind < HANDSHAKE_TYPES).then(|| u64::from(u32::from_be_bytes([0, a, b, c])).saturating_add(HANDSHAKE_HEADER))
    }
}

fn plausible(pointer: u64, length: u64) -> Option<()> {
    ((LOWEST..=HIGHEST).contains(&pointer) && (1..=TLS_RECORD_BYTES).contains(&length)).then_some(())
}

/// The word at a multiple of 8.
fn word(sample: &RustlsSample, offset: u8) -> Option<u64> {
    sample.words.get(usize::from(offset / 8)).copied()
}

fn byte(sample: &RustlsSample, offset: u8) -> Option<u8> {
    word(sample, offset)?.to_le_bytes().get(usize::from(offset % 8)).copied()
}

fn short(sample: &RustlsSample, offset: u8) -> Option<u16> {
    Some(u16::from_le_bytes([byte(sample, offset)?, byte(sample, offset.checked_add(1)?)?]))
}

/// The longest layout.
const _: () = assert!(8 * SAMPLE_WORDS >= 48);

/// No pointer is lower, and none of user space higher.
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = 1 << 56;
/// As in the kernel half: `IOV_MAX`.
const MOST_SLICES: u64 = 1024;
/// Handed over in one piece; more than any program does.
const MOST_WRITTEN: u64 = 1 << 40;
const ALERT_BYTES: u64 = 2;
const HANDSHAKE_HEADER: u64 = 4;
/// Handshake messages have a type below (RFC 8446 section 4).
const HANDSHAKE_TYPES: u8 = 26;
const FINISHED: u8 = 20;
/// A chain of certificates.
const MOST_MESSAGE: u64 = 0x1_ffff;
/// What HTTP begins with, in either direction: as many bytes as are sampled of a slice at least.
const STARTS: [&[u8]; 10] =
    [b"GET /", b"POST /", b"PUT /", b"HEAD /", b"DELETE /", b"PATCH /", b"OPTIONS ", b"CONNECT ", b"PRI * HT", b"HTTP/1."];

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies where nothing was written.
    const GARBAGE: [u64; 4] = [0, 0x7ffe_1234_5678, 0x0303_0303_0303_0303, 0x0000_0005_0002_0003];

    struct Message<'a> {
        /// Alert, handshake, data.
        content: usize,
        /// By the wire's numbers, or by rustls's own.
        is_wire: bool,
        plain: &'a [u8],
        /// Of an array of slices: its bounds.
        bounds: Option<(u64, u64)>,
        sequence: u64,
    }

    fn finished() -> Vec<u8> {
        [&[20, 0, 0, 32][..], &[0xa5; 32]].concat()
    }

    /// The memory of a message with this layout, as the kernel half samples it.
    fn sampled(layout: RustlsLayout, message: &Message<'_>, garbage: u64) -> RustlsSample {
        let mut bytes: Vec<u8> = std::iter::repeat_n(garbage.to_le_bytes(), SAMPLE_WORDS).flatten().collect();
        let mut put = |offset: u8, value: &[u8]| bytes[usize::from(offset)..][..value.len()].copy_from_slice(value);
        let (content_type, version) = if message.is_wire { ([21, 22, 23], 0x0303u16) } else { ([1, 2, 3], 5) };
        put(layout.content_type, &[content_type[message.content]]);
        put(layout.version, &version.to_le_bytes());
        let (pointer, length) = (0x5555_0000_1000u64, message.plain.len() as u64);
        let mut begin = message.plain.to_vec();
        begin.resize(16, 0);
        let plain = [0, 8].map(|at| u64::from_le_bytes(*begin[at..].first_chunk().unwrap()));
        let (mut behind, mut further) = ([[0; 2]; SAMPLE_WORDS], [0; SAMPLE_WORDS]);
        match message.bounds {
            None => {
                if layout.slices != ABSENT {
                    put(layout.slices, &0u64.to_le_bytes());
                }
                put(layout.slice, &pointer.to_le_bytes());
                put(layout.slice + 8, &length.to_le_bytes());
                behind[usize::from(layout.slice / 8)] = plain;
            }
            Some((start, end)) => {
                put(layout.slices, &0x7ffe_0000_2000u64.to_le_bytes());
                put(layout.slices + 8, &2u64.to_le_bytes());
                put(layout.bounds[0], &start.to_le_bytes());
                put(layout.bounds[1], &end.to_le_bytes());
                behind[usize::from(layout.slices / 8)] = [pointer, length];
                further[usize::from(layout.slices / 8)] = plain[0];
            }
        }
        let words = std::array::from_fn(|i| u64::from_le_bytes(*bytes[8 * i..].first_chunk().unwrap()));
        RustlsSample { words, behind, further, sequence: message.sequence }
    }

    #[test]
    fn the_usual_layout_is_among_those_that_are_tried() {
        assert!(candidates().contains(&RustlsLayout::USUAL));
        assert_eq!(candidates().len(), 32);
    }

    /// From the first records of one connection: the end of the handshake, and a request.
    #[test]
    fn every_layout_is_found_in_what_a_connection_begins_with() {
        for layout in candidates() {
            for (garbage, is_wire) in GARBAGE.into_iter().flat_map(|garbage| [(garbage, false), (garbage, true)]) {
                let finished = finished();
                let end = Message { content: 1, is_wire, plain: &finished, bounds: None, sequence: 0 };
                let request = Message { content: 2, is_wire, plain: b"POST /v1/chat/completions", bounds: None, sequence: 0 };
                let mut samples = vec![sampled(layout, &end, garbage), sampled(layout, &request, garbage)];
                if layout.slices != ABSENT {
                    let sliced = Message { content: 2, is_wire, plain: b"POST /v1", bounds: Some((0, 300)), sequence: 1 };
                    samples.push(sampled(layout, &sliced, garbage));
                }
                let found = infer(&samples).map(|found| RustlsLayout { version: layout.version, ..found });
                // Zeros behind a slice alone may mean that there is no array this time.
                let is_alone = layout.slices == ABSENT && garbage == 0;
                let found =
                    found.map(|found| if is_alone { RustlsLayout { slices: ABSENT, bounds: layout.bounds, ..found } } else { found });
                assert_eq!(found, Some(layout), "with {garbage:#x} between");
            }
        }
    }

    #[test]
    fn what_proves_nothing_gives_no_layout() {
        assert_eq!(infer(&[]), None);
        let layout = candidates()[7];
        let other = Message { content: 2, is_wire: false, plain: b"\0\0\0\x08\x04\xd2\x16\x2f", bounds: None, sequence: 0 };
        assert_eq!(infer(&[sampled(layout, &other, 7)]), None, "a database's first message");
        for word in GARBAGE {
            let sample =
                RustlsSample { words: [word; SAMPLE_WORDS], behind: [[word; 2]; SAMPLE_WORDS], further: [word; SAMPLE_WORDS], sequence: 0 };
            assert_eq!(infer(&[sample]), None);
        }
    }

    #[test]
    fn samples_of_two_layouts_give_none() {
        let finished = finished();
        let message = Message { content: 1, is_wire: false, plain: &finished, bounds: None, sequence: 0 };
        let both = [0, 20].map(|at| sampled(candidates()[at], &message, 0));
        assert_eq!(infer(&both), None);
    }
}
