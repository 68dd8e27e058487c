//! The one message of a unary gRPC request, as it comes: a batch of spans is looked at while it is on its way.

use super::NoExport;
use crate::http::{
    content_coding::{ContentDecoder, DecodeLimits},
    grpc::{COMPRESSED, GrpcFrames, GrpcPiece, PLAIN},
};

#[derive(Debug)]
pub(super) struct GrpcMessage {
    frames: GrpcFrames,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// No byte of it but the prefix.
    Awaited {
        /// `grpc-encoding`.
        coding: String,
        limits: DecodeLimits,
    },
    Plain,
    Compressed(Box<ContentDecoder>),
}

impl GrpcMessage {
    /// `bytes`: decoded at most.
    pub(super) fn new(coding: &str, bytes: u64) -> Self {
        let limits = DecodeLimits { bytes, ..DecodeLimits::default() };
        Self { frames: GrpcFrames::default(), body: Body::Awaited { coding: coding.to_owned(), limits } }
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), NoExport> {
        let Self { frames, body } = self;
        let mut read = Ok(());
        frames.push(bytes, |piece| read = read.and_then(|()| body.take(piece, sink)));
        read
    }
}

impl Body {
    fn take(&mut self, piece: GrpcPiece<'_>, sink: &mut dyn FnMut(&[u8])) -> Result<(), NoExport> {
        match (piece, &mut *self) {
            (GrpcPiece::Begin { flag: PLAIN, .. }, Self::Awaited { .. }) => *self = Self::Plain,
            (GrpcPiece::Begin { flag: COMPRESSED, .. }, Self::Awaited { coding, limits }) => {
                *self = Self::Compressed(ContentDecoder::new(coding, *limits).ok().flatten().ok_or(NoExport)?.into());
            }
            (GrpcPiece::Bytes { bytes, .. }, Self::Plain) => sink(bytes),
            (GrpcPiece::Bytes { bytes, .. }, Self::Compressed(decoder)) => decoder.decode(bytes, sink).map_err(|_| NoExport)?,
            // A second message, or none.
            (GrpcPiece::Begin { .. } | GrpcPiece::Bytes { .. }, _) => return Err(NoExport),
        }
        Ok(())
    }
}
