//! What one model costs per million tokens, by component.

/// Nano-dollars per million tokens: nine decimal places of the usual unit, without floats.
pub(super) type NanoPerMtok = u64;

/// What a price can be for. The order is that of [`COMPONENTS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Component {
    Input,
    Output,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    AudioInput,
    AudioOutput,
    AudioCacheRead,
    AudioCacheWrite,
    ImageInput,
    ImageOutput,
    ImageCacheRead,
    ReasoningOutput,
}

use Component as C;

/// Component, its key in the table, and whose ratio scales it when a tier does not name it.
const COMPONENTS: [(Component, &str, Component); 13] = [
    (C::Input, "in", C::Input),
    (C::Output, "out", C::Output),
    (C::CacheRead, "cr", C::Input),
    (C::CacheWrite, "cw", C::Input),
    (C::CacheWrite1h, "cw1h", C::Input),
    (C::AudioInput, "audio_in", C::Input),
    (C::AudioOutput, "audio_out", C::Output),
    (C::AudioCacheRead, "audio_cr", C::Input),
    (C::AudioCacheWrite, "audio_cw", C::Input),
    (C::ImageInput, "image_in", C::Input),
    (C::ImageOutput, "image_out", C::Output),
    (C::ImageCacheRead, "image_cr", C::Input),
    (C::ReasoningOutput, "reasoning", C::Output),
];

/// Absent is not free: a component without a price falls back as `bill` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Prices([Option<NanoPerMtok>; COMPONENTS.len()]);

impl Prices {
    /// `in=2.5 out=10`; `None` when a key or a number is not understood.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut prices = Self::default();
        for pair in text.split_ascii_whitespace() {
            let (key, value) = pair.split_once('=')?;
            let component = COMPONENTS.iter().find(|(_, short, _)| *short == key)?.0;
            prices.set(component, Some(parse_nanos(value)?));
        }
        Some(prices)
    }

    pub(super) fn get(&self, component: Component) -> Option<NanoPerMtok> {
        self.0.get(component as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, component: Component, price: Option<NanoPerMtok>) {
        if let Some(slot) = self.0.get_mut(component as usize) {
            *slot = price;
        }
    }

    /// The prices of a tier of this row. What the tier does not name moves as its input or output price does
    /// (a batch at half price halves the cache price too), rounded to the nearest nano-dollar.
    pub(super) fn under(&self, tier: &Self) -> Self {
        Self::each(|component, side| {
            tier.get(component).or_else(|| scale(self.get(component)?, tier.get(side).or_else(|| self.get(side))?, self.get(side)?))
        })
    }

    /// These prices changed in the proportion in which `from` became `to`.
    pub(super) fn in_proportion(&self, from: &Self, to: &Self) -> Self {
        Self::each(|component, side| {
            let own = self.get(component)?;
            let ratio = |c: Component| Some((to.get(c)?, from.get(c)?));
            ratio(component).or_else(|| ratio(side)).map_or(Some(own), |(to, from)| scale(own, to, from))
        })
    }

    /// Every price times `thousandths` / 1000.
    pub(super) fn times(&self, thousandths: u64) -> Self {
        Self::each(|component, _| scale(self.get(component)?, thousandths, 1000))
    }

    fn each(price: impl Fn(Component, Component) -> Option<NanoPerMtok>) -> Self {
        let mut result = Self::default();
        for (component, _, side) in COMPONENTS {
            result.set(component, price(component, side));
        }
        result
    }
}

/// `price * numerator / denominator`, to the nearest; unchanged when there is nothing to divide by.
fn scale(price: NanoPerMtok, numerator: u64, denominator: u64) -> Option<NanoPerMtok> {
    let denominator = u128::from(denominator);
    if denominator == 0 {
        return Some(price);
    }
    let product = u128::from(price).checked_mul(u128::from(numerator))?.checked_add(denominator / 2)?;
    u64::try_from(product.checked_div(denominator)?).ok()
}

/// A decimal number with at most nine places, times 10^9, exactly.
pub(super) fn parse_nanos(text: &str) -> Option<u64> {
    const PLACES: usize = 9;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > PLACES || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos: u64 = format!("{fraction:0<PLACES$}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        assert_eq!(parse_nanos("2.5"), Some(2_500_000_000));
        assert_eq!(parse_nanos("0.083333333"), Some(83_333_333));
        assert_eq!(parse_nanos("15"), Some(15_000_000_000));
        for bad in ["", ".5", "1.0000000001", "-1", "1e3", "1.2.3", "99999999999999999999"] {
            assert_eq!(parse_nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_order_of_components_is_that_of_the_table() {
        for (position, (component, _, _)) in COMPONENTS.iter().enumerate() {
            assert_eq!(*component as usize, position);
        }
    }

    #[test]
    fn a_tier_moves_what_it_does_not_name_with_its_side() {
        let base = Prices::parse("in=3 out=15 cr=0.3 audio_out=30").unwrap();
        let batch = base.under(&Prices::parse("in=1.5 out=7.5").unwrap());
        assert_eq!(batch, Prices::parse("in=1.5 out=7.5 cr=0.15 audio_out=15").unwrap());
        let named = base.under(&Prices::parse("in=6 out=22.5 cr=0.5").unwrap());
        assert_eq!(named, Prices::parse("in=6 out=22.5 cr=0.5 audio_out=45").unwrap());
    }
}
