//! Counted calls → priced calls: the provider's own cost, else list prices from a dated book, else nothing.
//!
//! Takes a [`CountedCall`](crate::tokens::CountedCall), gives a [`PricedCall`] and, where a call with usage stays without
//! a price, a [`PriceMiss`] to count. Refuses to guess: no price for an unknown model, host or tier.
//! All money is integers; the only rounding is one per part of a bill (see `bill`).

#![warn(clippy::arithmetic_side_effects)]

mod bill;
mod lookup;
mod model_id;
mod overrides;
mod price_book;
mod prices;
mod row;
mod table;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests;

pub use lookup::Query;
pub use overrides::{Gateway, Overrides, PriceFile, PriceFileError, PriceFileModel, PriceFilePricing, PriceFileProvider};
pub use price_book::PriceBook;

use crate::call::{LlmCall, NanoUsd, ProviderName};

/// A call and what it cost, where that can be told.
#[derive(Clone, Debug)]
pub struct PricedCall {
    pub call: LlmCall,
    pub cost: Option<Cost>,
    /// What this hop of a logical call costs that is billed at another hop.
    pub hop_cost: Option<Cost>,
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

/// Each part is rounded to the nearest nano-dollar; the total is their sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CostParts {
    pub input: NanoUsd,
    pub output: NanoUsd,
    pub cache_read: NanoUsd,
    pub cache_write: NanoUsd,
    /// Per request and per search, whatever the tokens: in the total, in no part of it that an attribute names.
    pub fees: NanoUsd,
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

/// What the configuration says about costs, and the day it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CostSettings {
    /// `A11I_COST_TRACKING_ENABLED`.
    pub enabled: bool,
    pub unknown_hosts: UnknownHosts,
    /// Days since 1970-01-01 UTC: chooses among dated prices.
    pub today: u32,
}

/// `cost.unknown_hosts`: do list prices apply at hosts that are neither the provider's nor a configured gateway?
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UnknownHosts {
    #[default]
    Unpriced,
    /// As if the host were the provider's; the cost says so.
    Assume,
}

/// A call with usage, but without a price: counted, so that it can be seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PriceMiss {
    pub provider: ProviderName,
    /// The id that a price is missing for: the response's, else the request's.
    pub model: Option<String>,
    pub reason: PriceMissReason,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PriceMissReason {
    /// Neither the provider's host nor a configured gateway.
    UnknownHost,
    /// Neither request nor response names a model.
    NoModel,
    /// No row matches the model.
    UnknownModel,
    /// The row has no price for something that was consumed.
    NoPrice,
    /// One side of the usage is missing though it was consumed.
    IncompleteUsage,
    /// Provisioned or committed capacity, or a subscription: tokens have no price.
    NotBilledPerToken,
    /// The service tier has no price in the row, or is not known at all.
    UnknownTier,
    /// The counts are beyond any amount that could be told.
    TooLarge,
}

impl PriceMissReason {
    /// Value of the `reason` attribute of a11i's own counter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::NoModel => "no_model",
            Self::UnknownModel => "unknown_model",
            Self::NoPrice => "no_price",
            Self::IncompleteUsage => "incomplete_usage",
            Self::NotBilledPerToken => "not_billed_per_token",
            Self::UnknownTier => "unknown_tier",
            Self::TooLarge => "too_large",
        }
    }
}
