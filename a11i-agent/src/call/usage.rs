//! Token counts and money.

/// What a call consumed, normalised by the conventions' arithmetic (GenAI semantic conventions, token usage
/// attributes): input includes cache reads and writes, output includes reasoning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// Subset of input.
    pub cache_read_input_tokens: Option<u64>,
    /// Subset of input, all lifetimes.
    pub cache_write_input_tokens: Option<u64>,
    /// Subset of `cache_write_input_tokens` with the one-hour lifetime (Anthropic, Bedrock), billed dearer.
    pub cache_write_1h_input_tokens: Option<u64>,
    /// Subset of output.
    pub reasoning_output_tokens: Option<u64>,
    /// Subset of input by modality.
    pub input_by_modality: ModalityTokens,
    /// Subset of output by modality.
    pub output_by_modality: ModalityTokens,
    /// Subset of cache reads by modality.
    pub cache_read_by_modality: ModalityTokens,
    /// Searches the provider ran and bills per call.
    pub web_search_requests: Option<u64>,
    pub source: UsageSource,
}

impl Usage {
    /// Nothing was said about tokens.
    pub const fn is_absent(&self) -> bool {
        self.input_tokens.is_none() && self.output_tokens.is_none()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModalityTokens {
    pub text: Option<u64>,
    pub image: Option<u64>,
    pub audio: Option<u64>,
}

/// `a11i.usage.source`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UsageSource {
    /// The provider's own numbers (or none at all).
    #[default]
    Reported,
    /// At least one of input and output was counted here.
    Estimated,
}

/// 10^-9 US dollars. Integers: sums of prices do not drift. i64 holds nine billion dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// For attributes and printing only.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 9 million dollars, then rounded to the cent's billionth")]
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}
