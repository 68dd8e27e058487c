//! How a body is coded on the wire (RFC 9110 section 8.4.1).

use std::io::Write as _;

use super::seed::Seed;

/// A content coding and what encodes it. Those whose encoders the agent does not carry, a caller brings along.
#[derive(Clone, Copy, Debug)]
pub struct Coding {
    /// As in `content-encoding`.
    pub name: &'static str,
    /// None: it cannot be encoded.
    pub encode: fn(&[u8]) -> Option<Vec<u8>>,
}

impl Coding {
    pub const GZIP: Self = Self { name: "gzip", encode: gzip };
    pub const DEFLATE: Self = Self { name: "deflate", encode: deflate };

    /// The coded body. An empty body stays as it is.
    pub(super) fn apply(self, body: &[u8]) -> Option<Vec<u8>> {
        if body.is_empty() { None } else { (self.encode)(body) }
    }

    /// Half of the answers are coded.
    pub const fn pick(seed: &mut Seed) -> Option<Self> {
        match seed.below(4) {
            0 => Some(Self::GZIP),
            1 => Some(Self::DEFLATE),
            _ => None,
        }
    }
}

fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).ok()
}

fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).ok()
}
