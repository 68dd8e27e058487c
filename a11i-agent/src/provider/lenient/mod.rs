//! JSON fields that tolerate what providers really send: null, another type, doubled keys, floats for integers.
//!
//! A field of a wrong type reads as absent and never costs its neighbours. Everything borrows from the body; what nobody
//! asks for is skipped without being built. Only a body that is no JSON at all is an error.

mod mend;
mod number;
mod raw;
mod text;

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de::Visitor};

pub(super) use self::{
    mend::mended,
    number::{Count, Float, Int, count_text},
    raw::{Few, Raw},
    text::{Text, clip},
};

/// The body is not the JSON that the dialect reads: not JSON at all, cut, or not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body is not complete JSON")]
pub struct Unreadable;

/// What some servers and clients write before their JSON all the same (RFC 8259 section 8.1).
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads one JSON document.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unreadable> {
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
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

/// Declares a borrowed object: `"key" => field: Type`, or `"key" | "other key" => …` where one field has two spellings. Unknown keys are
/// skipped, of doubled keys the last counts, and anything but an object gives the default, which is not [`Shape::is_object`].
macro_rules! lenient_object {
    ($(#[$meta:meta])* struct $name:ident<$lt:lifetime> { $($($key:literal)|+ => $field:ident: $ty:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
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
                                $($($key)|+ => out.$field = map.next_value()?,)*
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
            // Of a form, every field is a text.
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Flag(text.parse().ok()))
            }
            default_for!(number);
            default_for!(null);
            default_for!(seq);
            default_for!(map);
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

#[cfg(test)]
mod tests;
