//! `content-encoding` undone piece by piece, under caps.
//!
//! Every decoder gives what its input allows at once, so that a flushed event is not late. All are pure
//! Rust: the bytes are foreign.

mod brotli;
mod deflate;
mod gzip;
mod zstd;

pub(super) use self::deflate::Inflate;

/// What decoders may hold at once: of one message, and of all messages of a connection that carries several side by side. The largest window of
/// HTTP is brotli's of 16 MiB, beside the half as large one that it grows out of; a hundred answers side by side hold a few hundred KiB each
/// as a rule.
const DECODERS_BYTES: usize = 32 * 1024 * 1024;

/// Codings on top of each other that are followed: more is an attack, two was seen (`gzip` twice by mistake).
const STACKED_CODINGS: usize = 4;

/// Output that may be arbitrarily well compressed before the ratio counts: a short text repeated is no bomb.
pub(super) const RATIO_GRACE_BYTES: u64 = 4 * 1024 * 1024;

/// Decoders write here, on the stack: no idle connection pays for it.
const SCRATCH_BYTES: usize = 8 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeLimits {
    /// Decoded bytes of one message.
    pub bytes: u64,
    /// Decoded bytes per coded byte, once 4 MiB were decoded.
    pub ratio: u64,
    /// Bytes that decoders may hold at once: of one message, and of all messages of a connection that carries several side by side.
    pub memory: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        // Images in JSON reach tens of MiB; text compresses 5 to 50 times, deflate's best is 1032.
        Self { bytes: 256 * 1024 * 1024, ratio: 500, memory: DECODERS_BYTES }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodingError {
    /// A coding without a decoder.
    Unknown,
    /// The bytes are not of this coding.
    Invalid,
    /// More than [`DecodeLimits`] allow: decoded, or held to decode.
    TooLarge,
}

/// Gives decoded bytes away. An error goes through to the caller of the decoder.
type Out<'o> = dyn FnMut(&[u8]) -> Result<(), CodingError> + 'o;

/// Decoder of one message's body.
#[derive(Debug)]
pub struct ContentDecoder {
    /// Outermost coding, the one applied last, first.
    stages: Vec<Stage>,
    limits: DecodeLimits,
    taken: u64,
    given: u64,
}

#[derive(Debug)]
enum Stage {
    Gzip(Box<gzip::Gzip>),
    Deflate(Box<deflate::Deflate>),
    Brotli(Box<brotli::Brotli>),
    Zstd(Box<zstd::Zstd>),
}

impl ContentDecoder {
    /// `codings`: a field value as in `content-encoding`, in the order of application. `None`: nothing to undo.
    pub fn new(codings: &str, limits: DecodeLimits) -> Result<Option<Self>, CodingError> {
        let mut stages = Vec::new();
        for coding in codings.split(',') {
            let stage = match coding.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Stage::Gzip(Box::default()),
                "deflate" => Stage::Deflate(Box::default()),
                "br" => Stage::Brotli(Box::default()),
                "zstd" => Stage::Zstd(Box::default()),
                _ => return Err(CodingError::Unknown),
            };
            if stages.len() >= STACKED_CODINGS {
                return Err(CodingError::Unknown);
            }
            stages.push(stage);
        }
        stages.reverse();
        Ok((!stages.is_empty()).then_some(Self { stages, limits, taken: 0, given: 0 }))
    }

    /// Decodes the next piece. After an error the decoder gives nothing more that could be trusted: drop it.
    pub fn decode(&mut self, input: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        self.decode_within(input, usize::MAX, sink)
    }

    /// The same, while it may hold no more than `memory`: what others hold is taken off.
    pub(super) fn decode_within(&mut self, input: &[u8], memory: usize, sink: &mut dyn FnMut(&[u8])) -> Result<(), CodingError> {
        let Self { stages, limits, taken, given } = self;
        let memory = memory.min(limits.memory).checked_div(stages.len()).unwrap_or(0);
        *taken = taken.saturating_add(u64::try_from(input.len()).unwrap_or(u64::MAX));
        let mut out = |bytes: &[u8]| {
            sink(bytes);
            Ok(())
        };
        run(stages, input, &mut Allowance { limits: *limits, taken: *taken, given, memory }, &mut out)
    }

    /// Bytes that it holds: windows, tables, and units that are not whole.
    pub(super) fn held(&self) -> usize {
        self.stages.iter().map(Stage::held).fold(0, usize::saturating_add)
    }

    /// The body is over: whether its codings are, too. A body without any byte is.
    pub fn finish(&self) -> Result<(), CodingError> {
        if self.taken == 0 || self.stages.iter().all(Stage::is_finished) { Ok(()) } else { Err(CodingError::Invalid) }
    }
}

/// Adds a coding that was applied after those in `codings`: one field value for all.
pub(super) fn push_coding(codings: &mut String, coding: &str) {
    if !codings.is_empty() {
        codings.push(',');
    }
    codings.push_str(coding);
}

/// Counts the output of every stage, so that an inner bomb is no way around the cap.
struct Allowance<'a> {
    limits: DecodeLimits,
    taken: u64,
    given: &'a mut u64,
    /// What each stage may hold.
    memory: usize,
}

impl Allowance<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), CodingError> {
        *self.given = self.given.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        let by_ratio = self.taken.saturating_mul(self.limits.ratio).max(RATIO_GRACE_BYTES);
        if *self.given > self.limits.bytes.min(by_ratio) { Err(CodingError::TooLarge) } else { Ok(()) }
    }
}

fn run(stages: &mut [Stage], input: &[u8], allowance: &mut Allowance<'_>, out: &mut Out<'_>) -> Result<(), CodingError> {
    let Some((stage, inner)) = stages.split_first_mut() else { return out(input) };
    stage.decode(input, allowance.memory, &mut |bytes| {
        allowance.spend(bytes.len())?;
        run(inner, bytes, allowance, out)
    })
}

impl Stage {
    /// `memory`: bytes that it may hold. Windows are looked at before they grow.
    fn decode(&mut self, input: &[u8], memory: usize, out: &mut Out<'_>) -> Result<(), CodingError> {
        match self {
            Self::Gzip(_) | Self::Deflate(_) if memory < deflate::INFLATE_BYTES => Err(CodingError::TooLarge),
            Self::Gzip(gzip) => gzip.decode(input, out),
            Self::Deflate(deflate) => deflate.decode(input, out),
            Self::Brotli(brotli) => brotli.decode(input, memory, out),
            Self::Zstd(zstd) => zstd.decode(input, memory, out),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Gzip(gzip) => gzip.held(),
            Self::Deflate(deflate) => deflate.held(),
            Self::Brotli(brotli) => brotli.held(),
            Self::Zstd(zstd) => zstd.held(),
        }
    }

    fn is_finished(&self) -> bool {
        match self {
            Self::Gzip(gzip) => gzip.is_finished(),
            Self::Deflate(deflate) => deflate.is_finished(),
            Self::Brotli(brotli) => brotli.is_finished(),
            Self::Zstd(zstd) => zstd.is_finished(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
