//! One answer of a call while it grows out of pieces.

use serde_json::Value;

use super::{Message, Part};

/// Parts of one choice. Real answers have some tens (tool calls, searches and their results).
pub(super) const MAX_PARTS: usize = 1024;

/// Longest name or id of a tool call kept.
const TOOL_NAME_BYTES: usize = 1024;

/// Larger arguments stay a string: a tree of them costs many times their size.
const ARGUMENT_TREE_BYTES: usize = 64 * 1024;

/// Place of a part in its choice, chosen by the dialect so that pieces find their part and parts their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartSlot(pub u64);

/// What kind of part a slot holds; decided by the first piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartKind {
    Text,
    Reasoning,
    /// The client is to run it.
    ToolCall,
    /// The provider runs it.
    ServerToolCall,
}

#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) role: Option<String>,
    pub(super) finish_reason: Option<String>,
    /// Sorted by slot.
    parts: Vec<(PartSlot, PartDraft)>,
}

#[derive(Debug)]
pub(super) struct PartDraft {
    pub(super) kind: PartKind,
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// Text, or a tool's arguments as JSON text.
    pub(super) text: String,
    /// A part that came complete.
    pub(super) whole: Option<Part>,
}

impl Choice {
    /// The part at `slot`, new if there is none; `None` when the choice has too many.
    pub(super) fn part(&mut self, slot: PartSlot, kind: PartKind) -> Option<&mut PartDraft> {
        let at = match self.parts.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) => at,
            Err(_) if self.parts.len() >= MAX_PARTS => return None,
            Err(at) => {
                let draft = PartDraft { kind, id: None, name: String::new(), text: String::new(), whole: None };
                self.parts.insert(at, (slot, draft));
                at
            }
        };
        self.parts.get_mut(at).map(|(_, part)| part)
    }

    pub(super) fn count(&self, kind: PartKind) -> u32 {
        u32::try_from(self.parts.iter().filter(|(_, part)| part.whole.is_none() && part.kind == kind).count()).unwrap_or(u32::MAX)
    }

    pub(super) fn last_slot(&self) -> Option<PartSlot> {
        self.parts.last().map(|(slot, _)| *slot)
    }

    pub(super) fn clear_parts(&mut self) {
        self.parts.clear();
    }

    pub(super) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    pub(super) fn into_message(self) -> Message {
        Message {
            role: self.role.unwrap_or_else(|| "assistant".to_owned()),
            parts: self.parts.into_iter().filter_map(|(_, part)| part.into_part()).collect(),
            name: None,
            finish_reason: self.finish_reason,
        }
    }
}

impl PartDraft {
    /// Ids and names come once, or once more as `null`, empty or the same. Whether this is where the name came.
    pub(super) fn identify(&mut self, id: Option<&str>, name: Option<&str>) -> bool {
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            self.id.get_or_insert_with(|| clip(id));
        }
        let name = name.filter(|name| !name.is_empty() && self.name.is_empty());
        if let Some(name) = name {
            self.name = clip(name);
        }
        name.is_some()
    }

    fn into_part(self) -> Option<Part> {
        if let Some(part) = self.whole {
            return Some(part);
        }
        Some(match self.kind {
            PartKind::Text | PartKind::Reasoning if self.text.is_empty() => return None,
            PartKind::Text => Part::Text { content: self.text },
            PartKind::Reasoning => Part::Reasoning { content: self.text },
            PartKind::ToolCall => Part::ToolCall { id: self.id, name: self.name, arguments: json_tree(&self.text) },
            PartKind::ServerToolCall => {
                let mut call = serde_json::Map::new();
                call.insert("type".to_owned(), Value::String(self.name.clone()));
                if let Some(arguments) = json_tree(&self.text) {
                    call.insert("arguments".to_owned(), arguments);
                }
                Part::ServerToolCall { id: self.id, name: self.name, server_tool_call: Value::Object(call) }
            }
        })
    }
}

/// The provider's JSON, parsed when it parses.
pub(super) fn json_tree(text: &str) -> Option<Value> {
    if text.is_empty() {
        return None;
    }
    let parsed = (text.len() <= ARGUMENT_TREE_BYTES).then(|| serde_json::from_str(text).ok()).flatten();
    Some(parsed.unwrap_or_else(|| Value::String(text.to_owned())))
}

fn clip(name: &str) -> String {
    name.get(..name.floor_char_boundary(TOOL_NAME_BYTES)).unwrap_or(name).to_owned()
}
