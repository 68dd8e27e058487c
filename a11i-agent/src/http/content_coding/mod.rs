//! `content-encoding` undone piece by piece, under caps.
//!
//! Every decoder gives what its input allows at once, so that a flushed event is not late. All are pure
//! Rust: the bytes are foreign.

mod brotli;
mod deflate;
mod gzip;
mod zstd;

pub(super) use self::deflate::Inflate;

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
}

impl Default for DecodeLimits {
    fn default() -> Self {
        // Images in JSON reach tens of MiB; text compresses 5 to 50 times, deflate's best is 1032.
        Self { bytes: 256 * 1024 * 1024, ratio: 500 }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CodingError {
    /// A coding without a decoder.
    Unknown,
    /// The bytes are not of this coding.
    Invalid,
    /// More than [`DecodeLimits`] allow.
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
                "br" => Stage::Brotli(Box::new(brotli::Brotli::new())),
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
        let Self { stages, limits, taken, given } = self;
        *taken = taken.saturating_add(u64::try_from(input.len()).unwrap_or(u64::MAX));
        let mut out = |bytes: &[u8]| {
            sink(bytes);
            Ok(())
        };
        run(stages, input, &mut Allowance { limits: *limits, taken: *taken, given }, &mut out)
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
    stage.decode(input, &mut |bytes| {
        allowance.spend(bytes.len())?;
        run(inner, bytes, allowance, out)
    })
}

impl Stage {
    fn decode(&mut self, input: &[u8], out: &mut Out<'_>) -> Result<(), CodingError> {
        match self {
            Self::Gzip(gzip) => gzip.decode(input, out),
            Self::Deflate(deflate) => deflate.decode(input, out),
            Self::Brotli(brotli) => brotli.decode(input, out),
            Self::Zstd(zstd) => zstd.decode(input, out),
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
mod tests;
