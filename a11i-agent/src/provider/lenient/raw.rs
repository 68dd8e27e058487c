//! Values of any shape, kept as their bytes, and arrays: one element at a time, or the first few.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Text, clip, default_for};

/// A value of any shape, kept as its bytes. Null is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::provider) struct Raw<'a>(pub(in crate::provider) Option<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self((raw.get() != "null").then_some(raw)))
    }
}

impl<'a> Raw<'a> {
    pub(in crate::provider) fn json(self) -> Option<&'a str> {
        self.0.map(RawValue::get)
    }

    /// The value where it has this shape.
    pub(in crate::provider) fn read<T: Deserialize<'a>>(self) -> Option<T> {
        self.json().and_then(|json| serde_json::from_str(json).ok())
    }

    /// The text if it is a string.
    pub(in crate::provider) fn text(self) -> Option<Cow<'a, str>> {
        self.json().filter(|json| json.starts_with('"')).and_then(|_| self.read::<Text<'a>>()).and_then(|text| text.0)
    }

    /// Each element of an array in order, one in memory at a time: an array of a million empty objects costs time, not memory.
    pub(in crate::provider) fn for_each<T: Deserialize<'a>>(self, mut act: impl FnMut(T)) {
        let Some(json) = self.json().filter(|json| json.starts_with('[')) else { return };
        let mut deserializer = serde_json::Deserializer::from_str(json);
        // The text was checked when it was cut out as a raw value: it cannot fail here but by depth, where the rest is skipped.
        let _depth_exceeded = ForEach(&mut act, PhantomData::<T>).deserialize(&mut deserializer).is_err();
    }

    /// Any JSON as a tree, for content that policy keeps. `limit` bounds the bytes that are worth a tree.
    pub(in crate::provider) fn value(self, limit: usize) -> Option<serde_json::Value> {
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
pub(in crate::provider) struct Few<T>(pub(in crate::provider) Vec<T>);

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
