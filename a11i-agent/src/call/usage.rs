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
    /// Where the input's and the output's count are from. Their parts are reported or absent.
    pub input_source: UsageSource,
    pub output_source: UsageSource,
}

impl Usage {
    /// Something of it was counted here.
    pub fn is_estimated(&self) -> bool {
        [self.input_source, self.output_source].contains(&UsageSource::Estimated)
    }

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

/// Counts of a provider whose input count excludes cache reads and writes (Anthropic; Bedrock), and whose parts come at
/// different times of a stream. Each field is overwritten by a later value, never added to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CacheApartUsage {
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_read_input_tokens: Option<u64>,
    pub cache_write_input_tokens: Option<u64>,
    pub cache_write_1h_input_tokens: Option<u64>,
    pub reasoning_output_tokens: Option<u64>,
    pub web_search_requests: Option<u64>,
    /// The usage object that states every part that is not zero was seen: an absent cache count then is none, not unknown.
    pub base_seen: bool,
    /// The input counts seen may be too low: the provider's last word was lost.
    pub input_uncertain: bool,
}

impl CacheApartUsage {
    /// Sums by the conventions' arithmetic into `usage`. A sum with an unknown part is absent.
    pub fn normalise_into(&self, usage: &mut Usage) {
        if self.output_tokens.is_some() {
            usage.output_tokens = self.output_tokens;
            usage.reasoning_output_tokens = self.reasoning_output_tokens;
        }
        if self.web_search_requests.is_some() {
            usage.web_search_requests = self.web_search_requests;
        }
        if self.input_uncertain {
            return;
        }
        let part = |count: Option<u64>| count.or(self.base_seen.then_some(0));
        let parts = (self.input_tokens, part(self.cache_read_input_tokens), part(self.cache_write_input_tokens));
        if let (Some(input), Some(read), Some(write)) = parts {
            usage.input_tokens = input.checked_add(read).and_then(|sum| sum.checked_add(write));
            usage.cache_read_input_tokens = self.cache_read_input_tokens;
            usage.cache_write_input_tokens = self.cache_write_input_tokens;
            usage.cache_write_1h_input_tokens = self.cache_write_1h_input_tokens;
        }
    }
}

/// Who counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UsageSource {
    /// The provider's own numbers (or none at all).
    #[default]
    Reported,
    /// Counted here.
    Estimated,
}

/// 10^-9 US dollars. Integers: sums of prices do not drift. i64 holds nine billion dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// A cost that a provider states in dollars; `None` for what no call costs (negative, not finite, beyond a million dollars).
    pub fn from_usd(usd: f64) -> Option<Self> {
        const LARGEST_USD: f64 = 1e6;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be within 0 to 10^15")]
        (0.0..=LARGEST_USD).contains(&usd).then(|| Self((usd * 1e9).round() as i64))
    }

    /// For attributes and printing only.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 9 million dollars, then rounded to the cent's billionth")]
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}
