//! Protobuf messages → JSON, by tables of the fields that somebody asks for: the readers of JSON then read both.
//!
//! All else is skipped unread. Of a field that is sent twice the last counts. What is not well-formed gives nothing at all.

use std::io::Write;

/// The fields of a message that are asked for.
#[derive(Debug)]
pub(in crate::provider) struct Schema {
    pub(in crate::provider) fields: &'static [Field],
}

/// `number` becomes `name`.
#[derive(Debug)]
pub(in crate::provider) struct Field {
    number: u64,
    name: &'static str,
    kind: Kind,
    repeated: bool,
}

/// How a field's value is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider) enum Kind {
    Text,
    /// Base64, as protobuf's JSON has it.
    Bytes,
    /// int32, int64 or an enum whose names nobody asks for.
    Integer,
    Flag,
    /// Four bytes.
    Float,
    /// By name; a number that has none stays one.
    Enum(&'static [(u64, &'static str)]),
    Message(&'static Schema),
    /// A map of texts to messages.
    Map(&'static Schema),
    /// `google.protobuf.Struct`.
    Struct,
    /// `google.protobuf.Value`.
    Value,
}

pub(in crate::provider) const fn one(number: u64, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

pub(in crate::provider) const fn many(number: u64, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

/// Messages in messages that are followed. JSON's reader follows twice as many.
const MAX_DEPTH: u32 = 64;

/// JSON of one message: media in base64 is a third longer than the message, and a message has 16 MiB at most.
const JSON_BYTES: usize = 32 * 1024 * 1024;

/// The message as a JSON object of the fields that `schema` names; `None` when it is none.
pub(in crate::provider) fn to_json(message: &[u8], schema: &Schema) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    object(message, schema, MAX_DEPTH, &mut out)?;
    Some(out)
}

fn object(message: &[u8], schema: &Schema, depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    well_formed(message)?;
    out.push(b'{');
    let mut any = false;
    for field in schema.fields {
        let values = || Fields { rest: message }.filter(|(number, _)| *number == field.number).map(|(_, value)| value);
        if values().next().is_none() {
            continue;
        }
        separate(&mut any, out);
        text(field.name, out);
        out.push(b':');
        if let Kind::Map(of) = field.kind {
            map(values(), depth, out, |value, depth, out| object(value, of, depth, out))?;
        } else if field.repeated {
            out.push(b'[');
            let mut any = false;
            for value in values() {
                each(value, field.kind, depth, &mut any, out)?;
            }
            out.push(b']');
        } else {
            scalar(values().last()?, field.kind, depth, out)?;
        }
    }
    out.push(b'}');
    (out.len() <= JSON_BYTES).then_some(())
}

/// An element, or, packed, some.
fn each(value: Wire<'_>, kind: Kind, depth: u32, any: &mut bool, out: &mut Vec<u8>) -> Option<()> {
    if let (Wire::Bytes(mut packed), Kind::Integer | Kind::Flag | Kind::Enum(_)) = (value, kind) {
        while !packed.is_empty() {
            let (number, rest) = varint(packed)?;
            packed = rest;
            separate(any, out);
            scalar(Wire::Varint(number), kind, depth, out)?;
        }
        return Some(());
    }
    separate(any, out);
    scalar(value, kind, depth, out)
}

fn scalar(value: Wire<'_>, kind: Kind, depth: u32, out: &mut Vec<u8>) -> Option<()> {
    match (kind, value) {
        (Kind::Text, Wire::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(string) => text(string, out),
            Err(_) => out.extend_from_slice(b"null"),
        },
        (Kind::Bytes, Wire::Bytes(bytes)) => base64(bytes, out),
        (Kind::Integer, Wire::Varint(number)) => put(out, i64::from_ne_bytes(number.to_ne_bytes())),
        (Kind::Flag, Wire::Varint(number)) => put(out, number != 0),
        (Kind::Enum(names), Wire::Varint(number)) => match names.iter().find(|(known, _)| *known == number) {
            Some((_, name)) => text(name, out),
            None => put(out, number),
        },
        (Kind::Float, Wire::Fixed32(bytes)) => {
            let number = f32::from_le_bytes(bytes);
            if number.is_finite() { put(out, number) } else { put(out, "null") }
        }
        (Kind::Message(schema), Wire::Bytes(bytes)) => object(bytes, schema, depth, out)?,
        (Kind::Struct, Wire::Bytes(bytes)) => structure(bytes, depth, out)?,
        (Kind::Value, Wire::Bytes(bytes)) => dynamic(bytes, depth, out)?,
        // Another type than the table's.
        _ => out.extend_from_slice(b"null"),
    }
    (out.len() <= JSON_BYTES).then_some(())
}

fn double(bytes: [u8; 8], out: &mut Vec<u8>) {
    let number = f64::from_le_bytes(bytes);
    if number.is_finite() { put(out, number) } else { put(out, "null") }
}

/// Entries are messages of a key (1) and a value (2).
fn map<'m>(
    entries: impl Iterator<Item = Wire<'m>>,
    depth: u32,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&[u8], u32, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    out.push(b'{');
    let mut any = false;
    for entry in entries {
        let Wire::Bytes(entry) = entry else { return None };
        well_formed(entry)?;
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        for field in (Fields { rest: entry }) {
            match field {
                (1, Wire::Bytes(bytes)) => key = bytes,
                (2, Wire::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        separate(&mut any, out);
        text(&String::from_utf8_lossy(key), out);
        out.push(b':');
        write(value, depth, out)?;
    }
    out.push(b'}');
    (out.len() <= JSON_BYTES).then_some(())
}

fn structure(message: &[u8], depth: u32, out: &mut Vec<u8>) -> Option<()> {
    well_formed(message)?;
    let entries = Fields { rest: message }.filter(|(number, _)| *number == 1).map(|(_, value)| value);
    map(entries, depth, out, dynamic)
}

/// null 1, number 2, text 3, flag 4, struct 5, list 6.
fn dynamic(message: &[u8], depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    well_formed(message)?;
    match (Fields { rest: message }).last() {
        Some((2, Wire::Fixed64(bytes))) => double(bytes, out),
        Some((3, value)) => scalar(value, Kind::Text, depth, out)?,
        Some((4, value)) => scalar(value, Kind::Flag, depth, out)?,
        Some((5, Wire::Bytes(bytes))) => structure(bytes, depth, out)?,
        Some((6, Wire::Bytes(bytes))) => {
            well_formed(bytes)?;
            out.push(b'[');
            let mut any = false;
            for (_, value) in (Fields { rest: bytes }).filter(|(number, _)| *number == 1) {
                separate(&mut any, out);
                scalar(value, Kind::Value, depth, out)?;
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(b"null"),
    }
    (out.len() <= JSON_BYTES).then_some(())
}

fn separate(any: &mut bool, out: &mut Vec<u8>) {
    if std::mem::replace(any, true) {
        out.push(b',');
    }
}

fn text(string: &str, out: &mut Vec<u8>) {
    if serde_json::to_writer(&mut *out, string).is_err() {
        out.extend_from_slice(b"\"\""); // a vector takes all that is written
    }
}

/// Whole numbers are written without a point: JSON tells them apart no more than protobuf's `Value` does.
fn put(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    let _a_vector_takes_all = write!(out, "{value}").is_err();
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.push(b'"');
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (place, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from(bits >> shift & 0x3f).ok().and_then(|at| ALPHABET.get(at)).copied();
            out.push(digit.filter(|_| place <= group.len()).unwrap_or(b'='));
        }
    }
    out.push(b'"');
}

/// A field's value as it stands in the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wire<'m> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'m [u8]),
    Fixed32([u8; 4]),
}

/// The fields of a message, up to the first that is none.
struct Fields<'m> {
    rest: &'m [u8],
}

impl<'m> Iterator for Fields<'m> {
    type Item = (u64, Wire<'m>);

    fn next(&mut self) -> Option<Self::Item> {
        let (field, rest) = field(self.rest)?;
        self.rest = rest;
        Some(field)
    }
}

fn well_formed(message: &[u8]) -> Option<()> {
    let mut fields = Fields { rest: message };
    while fields.next().is_some() {}
    fields.rest.is_empty().then_some(())
}

type FieldAndRest<'m> = ((u64, Wire<'m>), &'m [u8]);

fn field(message: &[u8]) -> Option<FieldAndRest<'_>> {
    let (tag, rest) = varint(message)?;
    let (value, rest) = match tag & 7 {
        0 => varint(rest).map(|(number, rest)| (Wire::Varint(number), rest))?,
        1 => rest.split_first_chunk::<8>().map(|(bytes, rest)| (Wire::Fixed64(*bytes), rest))?,
        2 => {
            let (length, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Wire::Bytes(bytes), rest)
        }
        5 => rest.split_first_chunk::<4>().map(|(bytes, rest)| (Wire::Fixed32(*bytes), rest))?,
        // Groups are not used by these services.
        _ => return None,
    };
    Some(((tag >> 3, value), rest))
}

/// Seven bits a byte, the lowest first; ten bytes at most.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    let mut rest = bytes;
    for shift in (0..70).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        rest = tail;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

#[cfg(test)]
#[path = "protobuf_tests.rs"]
mod tests;
