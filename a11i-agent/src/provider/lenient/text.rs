//! Strings, and how much of one is kept.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, de::Visitor};

use super::default_for;

/// A string. Numbers are taken by their text (codes come as both); anything else is absent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::provider) struct Text<'a>(pub(in crate::provider) Option<Cow<'a, str>>);

impl Text<'_> {
    pub(in crate::provider) fn as_str(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The text unless it is empty: providers write `""` for absent.
    pub(in crate::provider) fn filled(&self) -> Option<&str> {
        self.as_str().filter(|text| !text.is_empty())
    }

    /// [`Self::filled`] as an owned name of at most [`NAME_BYTES`].
    pub(in crate::provider) fn name(&self) -> Option<String> {
        self.filled().map(|text| clip(text, NAME_BYTES).to_owned())
    }

    /// Puts [`Self::name`] in place of another one; an absent name leaves it, and the same is not copied again.
    pub(in crate::provider) fn replace(&self, place: &mut Option<String>) {
        if let Some(text) = self.filled().map(|text| clip(text, NAME_BYTES))
            && place.as_deref() != Some(text)
        {
            *place = Some(text.to_owned());
        }
    }
}

/// Names, ids, tiers and reasons: the longest in use are signed ids of some 500 bytes.
const NAME_BYTES: usize = 1024;

/// The longest prefix of at most `limit` bytes that ends at a character.
pub(in crate::provider) fn clip(text: &str, limit: usize) -> &str {
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
