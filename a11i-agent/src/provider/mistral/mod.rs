//! Mistral's paths beside OpenAI's format (<https://docs.mistral.ai/api>): conversations, OCR, classifications.

mod conversations;
mod documents;

pub(super) use conversations::MistralConversations;
pub(super) use documents::MistralDocuments;

#[cfg(test)]
mod tests;
