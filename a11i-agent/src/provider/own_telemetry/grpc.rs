//! The one message of a unary gRPC request (gRPC over HTTP/2, *Length-Prefixed-Message*).

use super::NoExport;
use crate::http::content_coding::{ContentDecoder, DecodeLimits};

/// Compressed-Flag and Message-Length.
const PREFIX_BYTES: usize = 5;

#[derive(Debug)]
pub(super) struct GrpcMessage {
    /// `grpc-encoding`.
    coding: String,
    limits: DecodeLimits,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Prefix(Vec<u8>),
    Message { left: u64, decoder: Option<Box<ContentDecoder>> },
}

impl GrpcMessage {
    /// `bytes`: decoded at most.
    pub(super) fn new(coding: &str, bytes: u64) -> Self {
        let limits = DecodeLimits { bytes, ..DecodeLimits::default() };
        Self { coding: coding.to_owned(), limits, step: Step::Prefix(Vec::with_capacity(PREFIX_BYTES)) }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<(), NoExport> {
        while !bytes.is_empty() {
            match &mut self.step {
                Step::Prefix(prefix) => {
                    let wanted = PREFIX_BYTES.saturating_sub(prefix.len()).min(bytes.len());
                    let (part, rest) = bytes.split_at_checked(wanted).ok_or(NoExport)?;
                    prefix.extend_from_slice(part);
                    bytes = rest;
                    if let [flag, length @ ..] = prefix.as_slice()
                        && let Ok(length) = <[u8; 4]>::try_from(length)
                    {
                        let decoder = match *flag {
                            0 => None,
                            1 => Some(ContentDecoder::new(&self.coding, self.limits).ok().flatten().ok_or(NoExport)?.into()),
                            _ => return Err(NoExport),
                        };
                        self.step = Step::Message { left: u32::from_be_bytes(length).into(), decoder };
                    }
                }
                Step::Message { left, decoder } => {
                    *left = left.checked_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)).ok_or(NoExport)?;
                    match decoder {
                        Some(decoder) => decoder.decode(bytes, sink).map_err(|_| NoExport)?,
                        None => sink(bytes),
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
