//! The arithmetic of a bill: tokens by component times prices, then fees.
//!
//! Every part is summed exactly in nano-dollars times 10^6 and rounded once, half up. The total is the sum of the rounded
//! parts, so that parts always add up; it is off by at most half a nano-dollar per part.

use super::{
    CostParts, PriceMissReason,
    prices::{Component as C, Prices},
    row::{Row, SearchFee, Service},
};
use crate::call::{NanoUsd, Usage};

/// Prices are per million tokens.
const TOKENS_PER_PRICE: u128 = 1_000_000;
/// Search fees are per thousand.
const SEARCHES_PER_PRICE: u128 = 1_000;
/// A cache write of one hour costs twice the input (Anthropic's price page) where the row says nothing of it.
const ONE_HOUR_WRITE_TO_INPUT: u64 = 2;
/// Batch and flex processing cost half where the row has no price for them (the price pages of all that offer them).
const HALF: u64 = 500;

/// Under which terms the provider ran the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Terms {
    pub(super) service: Service,
    /// Flex processing is a discount here (elsewhere it is only a promise of patience at the normal price).
    pub(super) flex_is_cheaper: bool,
    pub(super) geography: Option<Geography>,
    pub(super) fast: bool,
    pub(super) searches: u64,
    /// Days since the epoch, and the day on which the table's own prices were in force.
    pub(super) today: u32,
    pub(super) in_force: u32,
}

/// Processing bound to a region at a surcharge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Geography {
    Us,
    Eu,
}

pub(super) fn total(parts: &CostParts) -> Result<NanoUsd, PriceMissReason> {
    [parts.input, parts.output, parts.cache_read, parts.cache_write, parts.fees]
        .into_iter()
        .try_fold(0_i64, |sum, part| sum.checked_add(part.0))
        .map(NanoUsd)
        .ok_or(PriceMissReason::TooLarge)
}

pub(super) fn bill(row: &Row, usage: &Usage, terms: &Terms) -> Result<CostParts, PriceMissReason> {
    let input_tokens = usage.input_tokens.ok_or(PriceMissReason::IncompleteUsage)?;
    let prices = prices(row, input_tokens, terms)?;
    let input = InputTokens::of(usage, input_tokens);
    let output = OutputTokens::of(usage, prices.get(C::ReasoningOutput).is_some());
    let first = |components: &[C]| components.iter().find_map(|c| prices.get(*c));
    let one_hour = || prices.get(C::CacheWrite).and(prices.get(C::Input)?.checked_mul(ONE_HOUR_WRITE_TO_INPUT));
    Ok(CostParts {
        input: sum(&[
            (input.text, first(&[C::Input])),
            (input.audio, first(&[C::AudioInput, C::Input])),
            (input.image, first(&[C::ImageInput, C::Input])),
        ])?,
        output: sum(&[
            (output.text, first(&[C::Output])),
            (output.audio, first(&[C::AudioOutput, C::Output])),
            (output.image, first(&[C::ImageOutput, C::Output])),
            (output.reasoning, first(&[C::ReasoningOutput, C::Output])),
        ])?,
        cache_read: sum(&[
            (input.cached_text, first(&[C::CacheRead, C::Input])),
            (input.cached_audio, first(&[C::AudioCacheRead, C::CacheRead, C::Input])),
            (input.cached_image, first(&[C::ImageCacheRead, C::CacheRead, C::Input])),
        ])?,
        cache_write: sum(&[
            (input.written, first(&[C::CacheWrite, C::Input])),
            (input.written_1h, prices.get(C::CacheWrite1h).or_else(one_hour).or_else(|| first(&[C::Input]))),
        ])?,
        fees: fees(row, terms.searches)?,
    })
}

/// The row's prices on that day, for that much input, under those terms.
fn prices(row: &Row, input_tokens: u64, terms: &Terms) -> Result<Prices, PriceMissReason> {
    let at = |day| row.dated.iter().rev().find(|(from, _)| *from <= day).or(row.dated.first()).map(|(_, prices)| prices);
    let dated = |prices: &Prices| match (at(terms.in_force), at(terms.today)) {
        (Some(then), Some(now)) => prices.in_proportion(then, now),
        _ => *prices,
    };
    let tier = |service: Service, long: bool| {
        let fits = row.tiers.iter().filter(|tier| tier.service == service && tier.above.is_some() == long);
        fits.filter(|tier| tier.above.is_none_or(|above| input_tokens > above))
            .max_by_key(|tier| tier.above)
            .map(|tier| dated(&tier.prices))
    };
    let base = dated(&row.base);
    let long = tier(Service::Standard, true).map_or(base, |tier| base.under(&tier));
    let priced = match terms.service {
        Service::Standard => long,
        service @ (Service::Priority | Service::Flex | Service::Batch) => match (tier(service, true), tier(service, false)) {
            (Some(both), _) => base.under(&both),
            (None, Some(tier)) => base.under(&tier).in_proportion(&base, &long),
            (None, None) => match service {
                Service::Batch => long.times(HALF),
                Service::Flex if terms.flex_is_cheaper => long.times(HALF),
                Service::Flex | Service::Standard => long,
                Service::Priority => return Err(PriceMissReason::UnknownTier),
            },
        },
    };
    let geography = match terms.geography {
        Some(Geography::Us) => row.multipliers.us,
        Some(Geography::Eu) => row.multipliers.eu,
        None => None,
    };
    let priced = geography.map_or(priced, |factor| priced.times(factor));
    match (terms.fast, row.multipliers.fast) {
        (false, _) => Ok(priced),
        (true, Some(factor)) => Ok(priced.times(factor)),
        (true, None) => Err(PriceMissReason::UnknownTier),
    }
}

/// Total input, cut into disjoint pieces. A provider's subset that is larger than its whole is cut to the whole.
struct InputTokens {
    text: u64,
    audio: u64,
    image: u64,
    cached_text: u64,
    cached_audio: u64,
    cached_image: u64,
    written: u64,
    written_1h: u64,
}

impl InputTokens {
    fn of(usage: &Usage, total: u64) -> Self {
        let mut rest = total;
        let cached = take(&mut rest, usage.cache_read_input_tokens);
        let all_written = take(&mut rest, usage.cache_write_input_tokens);
        let mut cached_text = cached;
        let cached_audio = take(&mut cached_text, usage.cache_read_by_modality.audio);
        let cached_image = take(&mut cached_text, usage.cache_read_by_modality.image);
        let mut written = all_written;
        let written_1h = take(&mut written, usage.cache_write_1h_input_tokens);
        let uncached = |all: Option<u64>, cached: u64| all.map(|all| all.saturating_sub(cached));
        let audio = take(&mut rest, uncached(usage.input_by_modality.audio, cached_audio));
        let image = take(&mut rest, uncached(usage.input_by_modality.image, cached_image));
        Self { text: rest, audio, image, cached_text, cached_audio, cached_image, written, written_1h }
    }
}

struct OutputTokens {
    text: u64,
    audio: u64,
    image: u64,
    reasoning: u64,
}

impl OutputTokens {
    fn of(usage: &Usage, reasoning_has_a_price: bool) -> Self {
        let mut rest = usage.output_tokens.unwrap_or_default();
        let reasoning = take(&mut rest, usage.reasoning_output_tokens.filter(|_| reasoning_has_a_price));
        let audio = take(&mut rest, usage.output_by_modality.audio);
        let image = take(&mut rest, usage.output_by_modality.image);
        Self { text: rest, audio, image, reasoning }
    }
}

/// Moves up to `wanted` out of `rest`.
fn take(rest: &mut u64, wanted: Option<u64>) -> u64 {
    let taken = wanted.unwrap_or_default().min(*rest);
    *rest = rest.saturating_sub(taken);
    taken
}

fn sum(items: &[(u64, Option<u64>)]) -> Result<NanoUsd, PriceMissReason> {
    let mut sum = 0_u128;
    for (tokens, price) in items.iter().filter(|(tokens, _)| *tokens > 0) {
        let price = price.ok_or(PriceMissReason::NoPrice)?;
        let cost = u128::from(*tokens).checked_mul(u128::from(price)).ok_or(PriceMissReason::TooLarge)?;
        sum = sum.checked_add(cost).ok_or(PriceMissReason::TooLarge)?;
    }
    rounded(sum, TOKENS_PER_PRICE)
}

fn fees(row: &Row, searches: u64) -> Result<NanoUsd, PriceMissReason> {
    let (price, times) = match row.search {
        Some(SearchFee::Each(price)) => (price, searches),
        Some(SearchFee::Prompt(price)) => (price, searches.min(1)),
        None => (0, 0),
    };
    let searches = u128::from(price).checked_mul(u128::from(times)).ok_or(PriceMissReason::TooLarge)?;
    let requests = u128::from(row.request_fee).checked_mul(SEARCHES_PER_PRICE).ok_or(PriceMissReason::TooLarge)?;
    rounded(searches.checked_add(requests).ok_or(PriceMissReason::TooLarge)?, SEARCHES_PER_PRICE)
}

fn rounded(amount: u128, per: u128) -> Result<NanoUsd, PriceMissReason> {
    let nanos = amount.checked_add(per / 2).and_then(|amount| amount.checked_div(per)).and_then(|nanos| i64::try_from(nanos).ok());
    nanos.map(NanoUsd).ok_or(PriceMissReason::TooLarge)
}
