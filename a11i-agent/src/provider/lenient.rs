//! JSON fields that tolerate what providers really send: null, another type, doubled keys, floats for integers.
//!
//! A field of a wrong type reads as absent and never costs its neighbours. Everything borrows from the body; what nobody
//! asks for is skipped without being built. Only a body that is no JSON at all is an error.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The body is not the JSON that the dialect reads: not JSON at all, cut, or not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body is not complete JSON")]
pub struct Unreadable;

/// Reads one JSON document.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unreadable> {
    // Checking the whole at once is faster than each string by itself. What is not UTF-8 may still be in strings that nobody reads.
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    }
    .map_err(|_| Unreadable)
}

/// The methods of a visitor that answer kinds of JSON with the default instead of an error.
macro_rules! default_for {
    (bool) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (number) => {
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (str) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (null) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
        fn visit_none<E>(self) -> Result<Self::Value, E> {
            Ok(Default::default())
        }
    };
    (seq) => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
    (map) => {
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
}
pub(super) use default_for;

/// What a lenient object was in the document.
pub(super) trait Shape {
    /// It was an object, not absent, null or something else.
    fn is_object(&self) -> bool;
}

/// Declares a borrowed object: `"key" => field: Type`. Unknown keys are skipped, of doubled keys the last counts, and
/// anything but an object gives the default, which is not [`Shape::is_object`].
macro_rules! lenient_object {
    ($(#[$meta:meta])* struct $name:ident<$lt:lifetime> { $($key:literal => $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        #[allow(clippy::struct_field_names, reason = "fields have the names of the wire")]
        pub(super) struct $name<$lt> {
            present: bool,
            $(pub(super) $field: $ty,)*
            pub(super) borrowed: std::marker::PhantomData<&$lt ()>,
        }

        impl $crate::provider::lenient::Shape for $name<'_> {
            fn is_object(&self) -> bool {
                self.present
            }
        }

        impl<'de: $lt, $lt> serde::Deserialize<'de> for $name<$lt> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields<$lt>(std::marker::PhantomData<&$lt ()>);
                impl<'de: $lt, $lt> serde::de::Visitor<'de> for Fields<$lt> {
                    type Value = $name<$lt>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("any JSON")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut out = $name { present: true, ..$name::default() };
                        while let Some(key) = map.next_key::<$crate::provider::lenient::Key<'de>>()? {
                            match key.as_str() {
                                $($key => out.$field = map.next_value()?,)*
                                _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                            }
                        }
                        Ok(out)
                    }

                    $crate::provider::lenient::default_for!(bool);
                    $crate::provider::lenient::default_for!(number);
                    $crate::provider::lenient::default_for!(str);
                    $crate::provider::lenient::default_for!(null);
                    $crate::provider::lenient::default_for!(seq);
                }
                deserializer.deserialize_any(Fields(std::marker::PhantomData))
            }
        }
    };
}
pub(super) use lenient_object;

/// An object's key, borrowed unless it is written with escapes.
pub(super) struct Key<'a>(Cow<'a, str>);

impl Key<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// A string. Numbers are taken by their text (codes come as both); anything else is absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Text<'a>(pub(super) Option<Cow<'a, str>>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The text unless it is empty: providers write `""` for absent.
    pub(super) fn filled(&self) -> Option<&str> {
        self.as_str().filter(|text| !text.is_empty())
    }

    /// [`Self::filled`] as an owned name of at most [`NAME_BYTES`].
    pub(super) fn name(&self) -> Option<String> {
        self.filled().map(|text| clip(text, NAME_BYTES).to_owned())
    }

    /// Puts [`Self::name`] in place of another one; an absent name leaves it, and the same is not copied again.
    pub(super) fn replace(&self, place: &mut Option<String>) {
        if let Some(text) = self.filled().map(|text| clip(text, NAME_BYTES))
            && place.as_deref() != Some(text)
        {
            *place = Some(text.to_owned());
        }
    }
}

/// Names, ids, tiers and reasons: the longest in use are signed ids of some 500 bytes.
pub(super) const NAME_BYTES: usize = 1024;

/// The longest prefix of at most `limit` bytes that ends at a character.
pub(super) fn clip(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Borrowed(text))))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(text.to_owned()))))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Text(Some(Cow::Owned(number.to_string()))))
            }
            default_for!(bool);
            default_for!(null);
            default_for!(seq);
            default_for!(map);
        }
        deserializer.deserialize_any(TextVisitor(PhantomData))
    }
}

/// Declares a newtype over `Option` of a number, read from a number of any kind or from a numeric string.
macro_rules! lenient_number {
    ($(#[$meta:meta])* $name:ident($of:ty), u64: $from_u64:expr, i64: $from_i64:expr, f64: $from_f64:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Debug, Default)]
        pub(super) struct $name(pub(super) Option<$of>);

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

/// `true` or `false`; anything else is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flag(pub(super) Option<bool>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl<'de> Visitor<'de> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Flag(Some(flag)))
            }
            default_for!(number);
            default_for!(str);
            default_for!(null);
            default_for!(seq);
            default_for!(map);
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

/// A value of any shape, kept as its bytes. Null is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Raw<'a>(pub(super) Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self((raw.get() != "null").then_some(raw)))
    }
}

impl<'a> Raw<'a> {
    pub(super) fn json(self) -> Option<&'a str> {
        self.0.map(RawValue::get)
    }

    /// The value where it has this shape.
    pub(super) fn read<T: Deserialize<'a>>(self) -> Option<T> {
        self.json().and_then(|json| serde_json::from_str(json).ok())
    }

    /// The text if it is a string.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        self.json().filter(|json| json.starts_with('"')).and_then(|_| self.read::<Text<'a>>()).and_then(|text| text.0)
    }

    /// Each element of an array in order, one in memory at a time: an array of a million empty objects costs time, not memory.
    pub(super) fn for_each<T: Deserialize<'a>>(self, mut act: impl FnMut(T)) {
        let Some(json) = self.json().filter(|json| json.starts_with('[')) else { return };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        // The text was checked when it was cut out as a raw value: it cannot fail here but by depth, where the rest is skipped.
        let _depth_exceeded = ForEach(&mut act, PhantomData::<T>).deserialize(&mut deserializer).is_err();
    }

    /// Any JSON as a tree, for content that policy keeps. `limit` bounds the bytes that are worth a tree.
    pub(super) fn value(self, limit: usize) -> Option<serde_json::Value> {
        let json = self.json()?;
        if json.len() > limit {
            return Some(serde_json::Value::String(clip(json, limit).to_owned()));
        }
        serde_json::from_str(json).ok()
    }
}

struct ForEach<'f, F, T>(&'f mut F, PhantomData<T>);

impl<'de, F: FnMut(T), T: Deserialize<'de>> DeserializeSeed<'de> for ForEach<'_, F, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(T), T: Deserialize<'de>> Visitor<'de> for ForEach<'_, F, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<T>()? {
            (self.0)(item);
        }
        Ok(())
    }
}

/// The first [`FEW`] elements of an array; the rest is skipped. Anything but an array is empty.
#[derive(Clone, Debug)]
pub(super) struct Few<T>(pub(super) Vec<T>);

/// OpenAI allows 128 choices and 128 tools.
pub(super) const FEW: usize = 128;

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FewVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FewVisitor<T> {
            type Value = Few<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::new();
                while out.len() < FEW {
                    match seq.next_element()? {
                        Some(item) => {
                            // One is what most arrays have here, and elements are large: room for more is made when there are more.
                            if out.is_empty() {
                                out.reserve_exact(1);
                            }
                            out.push(item);
                        }
                        None => return Ok(Few(out)),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Few(out))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Few::default())
            }
            default_for!(bool);
            default_for!(number);
            default_for!(str);
            default_for!(null);
        }
        deserializer.deserialize_any(FewVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    lenient_object! {
        struct Sample<'a> {
            "name" => name: Text<'a>,
            "count" => count: Count,
            "int" => int: Int,
            "float" => float: Float,
            "flag" => flag: Flag,
            "raw" => raw: Raw<'a>,
            "few" => few: Few<Text<'a>>,
        }
    }

    fn sample(json: &str) -> Sample<'_> {
        parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_field_of_a_wrong_type_is_absent_and_its_neighbours_stay() {
        for wrong in ["null", "true", "[1,[2]]", r#"{"a":{"b":1}}"#, "-1.5", r#""x""#] {
            for field in ["name", "count", "int", "float", "flag", "raw", "few"] {
                let json = format!(r#"{{"before":{wrong},"{field}":{wrong},"name":"n","count":7}}"#);
                let read = sample(&json);
                assert_eq!((read.name.as_str(), read.count.0), (Some("n"), Some(7)), "{json}");
            }
        }
    }

    #[test]
    fn counts_are_whole_and_in_range_or_absent() {
        for (json, want) in [
            ("12", Some(12)),
            ("12.0", Some(12)),
            ("1.2e1", Some(12)),
            ("\"12\"", Some(12)),
            ("0", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("18446744073709551615", None),
            ("1e300", None),
            ("\"-3\"", None),
            ("\"many\"", None),
            ("null", None),
        ] {
            assert_eq!(sample(&format!(r#"{{"count":{json}}}"#)).count.0, want, "{json}");
        }
    }

    #[test]
    fn of_doubled_keys_the_last_counts() {
        assert_eq!(sample(r#"{"count":1,"count":2}"#).count.0, Some(2));
    }

    #[test]
    fn keys_with_escapes_are_recognised() {
        assert_eq!(sample(r#"{"\u0063ount":3}"#).count.0, Some(3));
    }

    #[test]
    fn a_document_that_is_no_object_is_not_present() {
        for json in ["[]", "1", "\"x\"", "null", "true"] {
            assert!(!sample(json).is_object(), "{json}");
        }
        assert_eq!(parse::<Sample<'_>>(b"{\"count\":1").err(), Some(Unreadable));
    }

    #[test]
    fn depth_is_bounded_and_unasked_depth_is_skipped() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(sample(&format!(r#"{{"other":{deep},"raw":{deep},"count":1}}"#)).count.0, Some(1));
        assert!(parse::<Sample<'_>>(deep.as_bytes()).is_ok() || parse::<Sample<'_>>(deep.as_bytes()).is_err());
    }

    #[test]
    fn only_a_few_elements_are_kept() {
        let json = format!(r#"{{"few":[{}"z"],"count":1}}"#, "\"y\",".repeat(1000));
        let read = sample(&json);
        assert_eq!((read.few.0.len(), read.count.0), (FEW, Some(1)));
    }
}
