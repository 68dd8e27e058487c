//! The answer, piece by piece or as a whole.

use super::{CallBuilder, MAX_CHOICES, OUTPUT_CONTENT_CAP, admit, clip};
use crate::call::{
    Part, PartKind, PartSlot, TextSample,
    choice::{Choice, PartDraft},
};

impl CallBuilder {
    /// Content arrived since the last question: what makes a first token.
    pub const fn take_new_output(&mut self) -> bool {
        std::mem::replace(&mut self.has_new_output, false)
    }

    /// Content came that is not kept (audio).
    pub const fn output_arrived(&mut self) {
        self.has_new_output = true;
    }

    /// A choice exists, whether or not it says anything.
    pub fn choice(&mut self, index: u32) {
        self.choice_at(index);
    }

    pub fn role(&mut self, index: u32, role: &str) {
        if let Some(choice) = self.choice_at(index)
            && choice.role.is_none()
        {
            choice.role = Some(role.chars().take(64).collect());
        }
    }

    /// The provider's word; a later one replaces it.
    pub fn finish(&mut self, index: u32, reason: &str) {
        let reason = reason.get(..reason.floor_char_boundary(256)).unwrap_or(reason).to_owned();
        if let Some(choice) = self.choice_at(index) {
            choice.finish_reason = Some(reason);
        }
    }

    /// Another piece of a text or of reasoning.
    pub fn append(&mut self, index: u32, slot: PartSlot, kind: PartKind, piece: &str) {
        if piece.is_empty() {
            return;
        }
        self.has_new_output = true;
        self.estimation.output.push(piece);
        self.append_part(index, slot, kind, |_| (), piece);
    }

    /// A tool call, or another piece of one: id and name where this piece has them, and what it adds to the arguments.
    pub fn tool_call(&mut self, index: u32, slot: PartSlot, kind: PartKind, id: Option<&str>, name: Option<&str>, arguments: &str) {
        self.has_new_output = true;
        let mut named = false;
        self.append_part(index, slot, kind, |part| named = part.identify(id, name), arguments);
        if kind == PartKind::ToolCall {
            if named {
                self.estimation.output.push(name.unwrap_or_default());
            }
            self.estimation.output.push(arguments);
        }
    }

    /// The arguments as a whole, which repeat the pieces before.
    pub fn set_arguments(&mut self, index: u32, slot: PartSlot, kind: PartKind, arguments: &str) {
        let sampled = self.choices.get_mut(&index).and_then(|choice| choice.part(slot, kind)).is_some_and(|part| !part.text.is_empty());
        if sampled || !self.keep_content {
            return;
        }
        self.append_part(index, slot, kind, |_| (), arguments);
    }

    /// A part that comes complete (results of server tools, images).
    pub fn whole_part(&mut self, index: u32, slot: PartSlot, bytes: usize, part: impl FnOnce() -> Part) {
        self.has_new_output = true;
        if !self.keep_content || !admit(bytes, &mut self.output_room, &mut self.content.truncated) {
            return;
        }
        if let Some(draft) = self.choice_at(index).and_then(|choice| choice.part(slot, PartKind::Text)) {
            draft.whole = Some(part());
        }
    }

    /// Up to the cap's rest of an answer's text.
    pub fn clip_output(&mut self, text: &str) -> String {
        clip(text, &mut self.output_room, &mut self.content.truncated)
    }

    /// The provider repeats the whole answer: what the pieces gave is replaced, not doubled.
    pub fn restart_output(&mut self) {
        for choice in self.choices.values_mut() {
            choice.clear_parts();
        }
        self.output_room = OUTPUT_CONTENT_CAP;
        self.estimation.output = TextSample::default();
    }

    fn choice_at(&mut self, index: u32) -> Option<&mut Choice> {
        if !self.choices.contains_key(&index) && self.choices.len() >= MAX_CHOICES {
            self.content.truncated = true;
            return None;
        }
        Some(self.choices.entry(index).or_default())
    }

    fn append_part(&mut self, index: u32, slot: PartSlot, kind: PartKind, tell: impl FnOnce(&mut PartDraft), piece: &str) {
        if self.choice_at(index).is_none() {
            return;
        }
        let Some(part) = self.choices.get_mut(&index).and_then(|choice| choice.part(slot, kind)) else {
            self.content.truncated = true;
            return;
        };
        tell(part);
        if self.keep_content {
            let room = piece.floor_char_boundary(self.output_room);
            let fits = piece.get(..room).unwrap_or_default();
            part.text.push_str(fits);
            self.output_room = self.output_room.saturating_sub(fits.len());
            self.content.truncated |= fits.len() < piece.len();
        }
    }

    /// Content was seen and not kept.
    pub const fn mark_content_truncated(&mut self) {
        self.content.truncated = true;
    }

    /// The highest slot in use in a choice: for streams that do not number their tool calls.
    pub fn last_slot(&self, index: u32) -> Option<PartSlot> {
        self.choices.get(&index).and_then(Choice::last_slot)
    }
}
