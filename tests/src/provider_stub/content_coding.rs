//! Content codings of answers, flushed after every piece as providers and their edge proxies do with streams.

use std::{io::Write as _, mem, str::FromStr};

use bytes::Bytes;

/// A content coding by its HTTP name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    /// The `content-encoding` token; none for the identity.
    pub fn token(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Deflate => Some("deflate"),
            Self::Brotli => Some("br"),
            Self::Zstd => Some("zstd"),
        }
    }

    /// A fresh encoder for one body.
    pub fn encoder(self) -> Encoder {
        match self {
            Self::Identity => Encoder::Identity,
            Self::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Self::Deflate => Encoder::Deflate(flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default())),
            Self::Brotli => Encoder::Brotli(Box::new(brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22))),
            Self::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 3).expect("a zstd encoder")),
        }
    }
}

impl FromStr for Coding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Gzip, Self::Deflate, Self::Brotli, Self::Zstd]
            .into_iter()
            .find(|coding| coding.token() == Some(text))
            .ok_or_else(|| format!("x-stub-encoding: {text} is none of gzip, deflate, br, zstd"))
    }
}

/// The state of one encoded body.
pub enum Encoder {
    Identity,
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Deflate(flate2::write::ZlibEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// Encodes one piece and flushes, so that the receiver can decode all of it at once.
    pub fn push(&mut self, piece: &[u8]) -> Bytes {
        let encoded = match self {
            Self::Identity => return Bytes::copy_from_slice(piece),
            Self::Gzip(encoder) => encoder.write_all(piece).and_then(|()| encoder.flush()).map(|()| mem::take(encoder.get_mut())),
            Self::Deflate(encoder) => encoder.write_all(piece).and_then(|()| encoder.flush()).map(|()| mem::take(encoder.get_mut())),
            Self::Brotli(encoder) => encoder.write_all(piece).and_then(|()| encoder.flush()).map(|()| mem::take(encoder.get_mut())),
            Self::Zstd(encoder) => encoder.write_all(piece).and_then(|()| encoder.flush()).map(|()| mem::take(encoder.get_mut())),
        };
        encoded.expect("writing to memory").into()
    }

    /// The last bytes of the body.
    pub fn finish(self) -> Bytes {
        let encoded = match self {
            Self::Identity => Ok(Vec::new()),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        };
        encoded.expect("writing to memory").into()
    }
}
