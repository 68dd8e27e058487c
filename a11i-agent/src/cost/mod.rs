//! Counted calls → priced calls: the provider's own cost, else list prices from a dated book, else nothing.

use crate::call::{LlmCall, NanoUsd};

/// A call and what it cost, where that can be told.
#[derive(Clone, Debug)]
pub struct PricedCall {
    pub call: LlmCall,
    pub cost: Option<Cost>,
    /// The model's context window in tokens, from the price book.
    pub context_window: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    pub total: NanoUsd,
    /// Parts are absent where only a total was stated. Input is the uncached part.
    pub parts: Option<CostParts>,
    pub source: CostSource,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CostParts {
    pub input: NanoUsd,
    pub output: NanoUsd,
    pub cache_read: NanoUsd,
    pub cache_write: NanoUsd,
}

/// `a11i.cost.source`: who said so, or how the table's row matched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CostSource {
    Provider,
    Override,
    Exact,
    Alias,
    Suffix,
    Prefix,
    OtherProvider,
    /// The host is unknown and the configuration says to assume list prices.
    Assumed,
}

impl CostSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Override => "override",
            Self::Exact => "exact",
            Self::Alias => "alias",
            Self::Suffix => "suffix",
            Self::Prefix => "prefix",
            Self::OtherProvider => "other_provider",
            Self::Assumed => "assumed",
        }
    }
}
