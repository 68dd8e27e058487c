//! Numbers: of any kind, or written as a string; out of range they are absent.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Visitor};

use super::default_for;

/// Declares a newtype over `Option` of a number, read from a number of any kind or from a numeric string.
macro_rules! lenient_number {
    ($(#[$meta:meta])* $name:ident($of:ty), u64: $from_u64:expr, i64: $from_i64:expr, f64: $from_f64:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Debug, Default)]
        pub(in crate::provider) struct $name(pub(in crate::provider) Option<$of>);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct NumberVisitor;
                impl<'de> Visitor<'de> for NumberVisitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("any JSON")
                    }
                    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                        Ok($name($from_u64(number)))
                    }
                    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                        Ok($name($from_i64(number)))
                    }
                    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                        Ok($name($from_f64(number)))
                    }
                    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                        let exact = text.parse::<u64>().ok().and_then($from_u64).or_else(|| text.parse::<i64>().ok().and_then($from_i64));
                        Ok($name(exact.or_else(|| text.parse::<f64>().ok().and_then($from_f64))))
                    }
                    default_for!(bool);
                    default_for!(null);
                    default_for!(seq);
                    default_for!(map);
                }
                deserializer.deserialize_any(NumberVisitor)
            }
        }
    };
}

/// No call consumed more than this; a larger count is a mistake or an attack, and sums of the rest cannot overflow.
const LARGEST_COUNT: u64 = 1 << 48;

lenient_number! {
    /// A count: a whole number from 0 to [`LARGEST_COUNT`]. Anything else is absent, never wrapped or rounded.
    Count(u64),
    u64: |n: u64| (n <= LARGEST_COUNT).then_some(n),
    i64: |n: i64| u64::try_from(n).ok().filter(|n| *n <= LARGEST_COUNT),
    f64: whole
}

/// A count in a header field, under the rules of [`Count`].
pub(in crate::provider) fn count_text(text: Option<&str>) -> Option<u64> {
    text?.trim().parse::<u64>().ok().filter(|count| *count <= LARGEST_COUNT)
}

lenient_number! {
    /// A whole number.
    Int(i64),
    u64: |n: u64| i64::try_from(n).ok(),
    i64: Some,
    f64: |n: f64| if n < 0.0 { whole(-n).and_then(|n| i64::try_from(n).ok()).map(i64::wrapping_neg) } else { whole(n).and_then(|n| i64::try_from(n).ok()) }
}

lenient_number! {
    /// A finite number.
    Float(f64),
    u64: |n: u64| Some(as_float(n)),
    i64: |n: i64| Some(if n < 0 { -as_float(n.unsigned_abs()) } else { as_float(n.unsigned_abs()) }),
    f64: |n: f64| n.is_finite().then_some(n)
}

#[expect(clippy::cast_precision_loss, reason = "parameters such as a temperature; beyond 2^53 nobody asks for the last digit")]
const fn as_float(number: u64) -> f64 {
    number as f64
}

/// A float that is a count: not negative, whole, in range.
fn whole(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole and within 0 to 2^48")]
    (number >= 0.0 && number <= as_float(LARGEST_COUNT) && number.fract() == 0.0).then_some(number as u64)
}
