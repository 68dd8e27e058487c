//! Attribute values and ordered attribute lists, free of any protocol.

use std::{
    borrow::Cow,
    hash::{Hash, Hasher},
};

use serde::{Serialize, Serializer, ser::SerializeMap};

/// Longest string of an attribute that is not content, in bytes. Model names, ids and finish reasons come from foreign JSON: the
/// longest real ones have a few hundred bytes, and a hostile one may not fill a batch.
pub const VALUE_BYTES: usize = 4096;

/// Most elements of a list attribute (stop sequences, finish reasons): request `n` is bounded far lower by the providers.
const LIST_ITEMS: usize = 128;

/// What OTLP's `AnyValue` can hold and a11i writes.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Value {
    Text(Cow<'static, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Texts(Vec<String>),
}

impl Value {
    /// A foreign string, cut to [`VALUE_BYTES`] at a character.
    pub fn foreign(text: &str) -> Self {
        Self::Text(Cow::Owned(cut(text, VALUE_BYTES).to_owned()))
    }

    /// Foreign strings, cut in length and number.
    pub fn foreign_list(texts: &[String]) -> Self {
        Self::Texts(texts.iter().take(LIST_ITEMS).map(|t| cut(t, VALUE_BYTES).to_owned()).collect())
    }

    /// A count. What exceeds OTLP's signed integer is its maximum.
    pub fn count(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// Nanoseconds as seconds.
    #[expect(clippy::cast_precision_loss, reason = "exact up to 104 days, then to the microsecond")]
    pub fn seconds(nanos: u64) -> Self {
        Self::Double(nanos as f64 / 1e9)
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(_) | Self::Int(_) | Self::Double(_) | Self::Texts(_) => None,
        }
    }
}

/// The longest prefix of whole characters within `bytes`.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

// By bits, so that a value can be part of a series' key.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Double(a), Self::Double(b)) => a.to_bits() == b.to_bits(),
            (Self::Texts(a), Self::Texts(b)) => a == b,
            (Self::Text(_) | Self::Bool(_) | Self::Int(_) | Self::Double(_) | Self::Texts(_), _) => false,
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Text(text) => text.hash(state),
            Self::Bool(value) => value.hash(state),
            Self::Int(value) => value.hash(state),
            Self::Double(value) => value.to_bits().hash(state),
            Self::Texts(texts) => texts.hash(state),
        }
    }
}

/// Names and values in the order they were added. Names are unique by construction of the callers, or by [`Attributes::set`].
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Attributes(Vec<(Cow<'static, str>, Value)>);

impl Attributes {
    pub fn push(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((Cow::Borrowed(name), value.into()));
    }

    pub fn push_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.push(name, value);
        }
    }

    /// Replaces the value of a name that is there already.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// Removes what `keep` refuses; says how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|(name, _)| keep(name));
        before.saturating_sub(self.0.len())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(n, v)| (n.as_ref(), v))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_string_is_cut_at_a_character() {
        let long = "é".repeat(VALUE_BYTES);
        assert_eq!(Value::foreign(&long).as_str().map(str::len), Some(VALUE_BYTES));
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("ab", 9), "ab");
    }

    #[test]
    fn setting_a_name_twice_keeps_the_later_value_in_the_earlier_place() {
        let mut attributes = Attributes::default();
        attributes.set("a", "1");
        attributes.set("b", "2");
        attributes.set("a", "3");
        assert_eq!(serde_json::to_string(&attributes).unwrap(), r#"{"a":"3","b":"2"}"#);
    }
}
