//! The message under way: its content codings, and what is known of its losses.

use crate::{
    call::Completeness,
    http::{
        BodyEnd, FramingEnd, MalformedReason,
        content_coding::{CodingError, ContentDecoder, DecodeLimits},
    },
};

#[derive(Debug, Default)]
pub(super) struct Message {
    content: Content,
    completeness: Completeness,
    has_body: bool,
}

#[derive(Debug, Default)]
enum Content {
    #[default]
    Identity,
    Coded(Box<ContentDecoder>),
    /// A loss in a coded body: the rest cannot be decoded.
    Broken,
    Failed(MalformedReason),
    /// Nobody wants it.
    Declined,
}

impl Message {
    pub(super) fn new(codings: &str, limits: DecodeLimits, completeness: Completeness) -> Self {
        let content = match ContentDecoder::new(codings, limits) {
            Ok(None) => Content::Identity,
            Ok(Some(decoder)) => Content::Coded(Box::new(decoder)),
            Err(error) => Content::Failed(reason(error)),
        };
        Self { content, completeness, has_body: false }
    }

    /// Whether any byte of the body was seen or missed.
    pub(super) const fn has_body(&self) -> bool {
        self.has_body
    }

    pub(super) fn body(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(&[u8])) {
        self.body_within(bytes, usize::MAX, deliver);
    }

    /// `memory`: what its decoder may hold, where others have to be thought of.
    pub(super) fn body_within(&mut self, bytes: &[u8], memory: usize, deliver: &mut dyn FnMut(&[u8])) {
        self.has_body |= !bytes.is_empty();
        match &mut self.content {
            Content::Identity if bytes.is_empty() => {}
            Content::Identity => deliver(bytes),
            Content::Coded(decoder) => {
                if let Err(error) = decoder.decode_within(bytes, memory, deliver) {
                    self.content = Content::Failed(reason(error));
                }
            }
            Content::Broken | Content::Failed(_) | Content::Declined => {}
        }
    }

    /// Bytes that its decoder holds.
    pub(super) fn held(&self) -> usize {
        if let Content::Coded(decoder) = &self.content { decoder.held() } else { 0 }
    }

    /// Nobody wants its body: nothing more of it is decoded.
    pub(super) fn decline(&mut self) {
        self.content = Content::Declined;
    }

    pub(super) fn gap(&mut self, missing: Completeness) {
        self.has_body = true;
        self.completeness = self.completeness.join(missing);
        if matches!(self.content, Content::Coded(_)) {
            self.content = Content::Broken;
        }
    }

    pub(super) fn fail(&mut self, reason: MalformedReason) {
        self.content = Content::Failed(reason);
    }

    /// Ends the message and gives its memory back.
    pub(super) fn end(&mut self, framing: FramingEnd) -> BodyEnd {
        let Self { content, completeness, has_body: _ } = std::mem::take(self);
        let framing = match (content, framing) {
            (Content::Failed(reason), _) => FramingEnd::Malformed(reason),
            (Content::Coded(decoder), FramingEnd::Finished) if decoder.finish().is_err() => {
                FramingEnd::Malformed(MalformedReason::ContentCoding)
            }
            (_, framing) => framing,
        };
        BodyEnd { completeness, framing }
    }
}

const fn reason(error: CodingError) -> MalformedReason {
    match error {
        CodingError::Unknown | CodingError::Invalid => MalformedReason::ContentCoding,
        CodingError::TooLarge => MalformedReason::ContentTooLarge,
    }
}
