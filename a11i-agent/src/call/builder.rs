//! [`CallBuilder`]: a call while it grows. Dialects tell it facts in any order; it keeps the bounds.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CacheApartUsage, CaptureFacts, Completeness, Content, Correlation, EstimationText, LlmCall, Message, Operation, Outcome, Part,
    PartKind, PartSlot, ProviderName, RequestFacts, ResponseFacts, Role, ServerAddress, SocketPeer, Timing, ToolDefinition, Usage,
    choice::Choice,
};
use crate::owner::Owner;

/// Bytes of prompt content kept per call: a book of 200,000 words.
pub const INPUT_CONTENT_CAP: usize = 1024 * 1024;
/// Bytes of answer content kept per call: the longest answers are 128k tokens, some 512 KiB.
pub const OUTPUT_CONTENT_CAP: usize = 1024 * 1024;
/// Input messages and tool definitions kept per call, each: their overhead is not in the byte caps.
pub const MAX_MESSAGES: usize = 4096;
/// Choices per call: OpenAI's `n` ends at 128.
pub const MAX_CHOICES: usize = 128;
/// Longest error text kept: some providers echo the request in it.
pub const ERROR_MESSAGE_CAP: usize = 4096;
/// Longest `error.type`: it is a metric dimension. A longer one, or one with spaces, is a message and not a type.
const ERROR_TYPE_BYTES: usize = 96;

/// Grows into an [`LlmCall`].
#[derive(Debug)]
pub struct CallBuilder {
    pub request: RequestFacts,
    pub response: ResponseFacts,
    /// What the provider reported. Overwritten, never added to.
    pub usage: Usage,
    /// Counts of providers whose input excludes cached tokens; normalised into [`Self::usage`] at the end.
    pub cache_apart: CacheApartUsage,
    /// [`Self::usage`] counts the answer so far: a later event would have said more.
    pub usage_is_running: bool,
    /// The request asks for events that hold what is new: nothing in them repeats what was said.
    pub output_is_incremental: bool,
    /// The provider said that nothing more comes, where choices do not say so themselves.
    pub has_ended: bool,
    pub estimation: EstimationText,
    /// Part of the request was lost: what it does not say, it may have said.
    pub request_is_partial: bool,
    provider: ProviderName,
    operation: Operation,
    keep_content: bool,
    content: Content,
    input_room: usize,
    output_room: usize,
    outcome: Outcome,
    choices: BTreeMap<u32, Choice>,
    has_new_output: bool,
}

/// What an exchange knows of a call besides its content.
#[derive(Clone, Debug, Default)]
pub struct CallFrame {
    pub owner: Arc<Owner>,
    pub role: Role,
    pub server: ServerAddress,
    pub peer: Option<SocketPeer>,
    pub timing: Timing,
    pub completeness: Completeness,
    pub capture: CaptureFacts,
    pub correlation: Correlation,
}

/// Why choices may be without a finish reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// All that was sent was seen: what the provider did not say is absent.
    Seen,
    /// Bytes were lost on the way to us: what is missing is unknown.
    Unknown,
    /// The answer broke off: choices without a reason end with `error`.
    Broken,
}

impl CallBuilder {
    /// `keep_content`: policy may export prompts and answers; without it they are only sampled for estimation.
    pub fn new(provider: ProviderName, operation: Operation, keep_content: bool) -> Self {
        Self {
            request: RequestFacts::default(),
            response: ResponseFacts::default(),
            usage: Usage::default(),
            cache_apart: CacheApartUsage::default(),
            usage_is_running: false,
            output_is_incremental: false,
            has_ended: false,
            estimation: EstimationText::default(),
            request_is_partial: false,
            provider,
            operation,
            keep_content,
            content: Content::default(),
            input_room: INPUT_CONTENT_CAP,
            output_room: OUTPUT_CONTENT_CAP,
            outcome: Outcome::default(),
            choices: BTreeMap::new(),
            has_new_output: false,
        }
    }

    pub const fn provider(&self) -> &ProviderName {
        &self.provider
    }

    /// A format that several servers speak turned out to be this one's: it replaces `fallback`, the name taken where no host told another.
    pub fn turns_out_to_be(&mut self, provider: ProviderName, fallback: &ProviderName) {
        if self.provider == *fallback {
            self.provider = provider;
        }
    }

    pub const fn operation(&self) -> Operation {
        self.operation
    }

    /// The body shows what the call is for, where nothing before it did.
    pub const fn become_operation(&mut self, operation: Operation) {
        self.operation = operation;
    }

    /// Whether building messages is worth the work.
    pub const fn keeps_content(&self) -> bool {
        self.keep_content
    }

    // ---- the prompt

    /// Up to the cap's rest of a prompt text; the whole of it counts against the cap.
    pub fn clip_input(&mut self, text: &str) -> String {
        clip(text, &mut self.input_room, &mut self.content.truncated)
    }

    /// Whether a piece of content that cannot be cut (a file, a tree) fits the cap; it then counts.
    pub const fn admit_input(&mut self, bytes: usize) -> bool {
        admit(bytes, &mut self.input_room, &mut self.content.truncated)
    }

    pub fn input_message(&mut self, message: Message) {
        self.keep(|content| &mut content.input_messages, message);
    }

    /// A prompt that is one text: what the user says, where it is not only embedded.
    pub fn prompt(&mut self, text: &str) {
        self.estimation.input.push(text);
        if self.keep_content && !text.is_empty() && self.operation != Operation::Embeddings {
            let parts = vec![Part::Text { content: self.clip_input(text) }];
            self.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
        }
    }

    /// A tool that the model may ask for. `schema`: JSON, or nothing.
    pub fn offer_tool(&mut self, kind: &str, name: &str, description: &str, schema: &str) {
        self.estimation.tool_definitions = self.estimation.tool_definitions.saturating_add(1);
        for text in [name, description, schema] {
            self.estimation.input.push(text);
        }
        if !self.keep_content {
            return;
        }
        let description = (!description.is_empty()).then(|| self.clip_input(description));
        let admitted = self.admit_input(schema.len());
        self.tool_definition(ToolDefinition {
            r#type: kind.to_owned(),
            name: name.to_owned(),
            description,
            parameters: super::choice::json_tree(schema).filter(|_| admitted),
        });
    }

    pub fn system_instruction(&mut self, part: Part) {
        self.keep(|content| &mut content.system_instructions, part);
    }

    pub fn tool_definition(&mut self, tool: ToolDefinition) {
        self.keep(|content| &mut content.tool_definitions, tool);
    }

    fn keep<T>(&mut self, list: impl FnOnce(&mut Content) -> &mut Vec<T>, item: T) {
        if !self.keep_content {
            return;
        }
        let list = list(&mut self.content);
        if list.len() < MAX_MESSAGES {
            list.push(item);
        } else {
            self.content.truncated = true;
        }
    }

    // ---- the answer

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
        self.estimation.output = super::TextSample::default();
    }

    fn choice_at(&mut self, index: u32) -> Option<&mut Choice> {
        if !self.choices.contains_key(&index) && self.choices.len() >= MAX_CHOICES {
            self.content.truncated = true;
            return None;
        }
        Some(self.choices.entry(index).or_default())
    }

    fn append_part(&mut self, index: u32, slot: PartSlot, kind: PartKind, tell: impl FnOnce(&mut super::choice::PartDraft), piece: &str) {
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

    // ---- failure

    /// The provider said that it failed. The first one counts; a type that is none (too long, with spaces) is left out.
    pub fn fail(&mut self, error_type: Option<&str>, message: Option<&str>) {
        let error_type = error_type.filter(|t| !t.is_empty() && t.len() <= ERROR_TYPE_BYTES && !t.contains(char::is_whitespace));
        if self.outcome.error_type.is_none() {
            self.outcome.error_type = error_type.map(str::to_owned);
        }
        if self.outcome.error_message.is_none() {
            self.outcome.error_message =
                message.map(|text| text.get(..text.floor_char_boundary(ERROR_MESSAGE_CAP)).unwrap_or(text).to_owned());
        }
    }

    /// What was taken for its failure was another's.
    pub fn forgive(&mut self) {
        self.outcome = Outcome::default();
    }

    pub const fn has_failed(&self) -> bool {
        self.outcome.error_type.is_some()
    }

    /// Every choice that was begun has ended.
    pub fn is_finished(&self) -> bool {
        self.has_ended || !self.choices.is_empty() && self.choices.values().all(|choice| choice.finish_reason.is_some())
    }

    /// The answer has said what only models' answers say: how much was read or written, or why writing ended.
    pub fn is_answered(&self) -> bool {
        let CacheApartUsage { input_tokens, output_tokens, .. } = self.cache_apart;
        let is_counted = !self.usage.is_absent() || input_tokens.is_some() || output_tokens.is_some();
        is_counted || self.choices.values().any(|choice| choice.finish_reason.is_some())
    }

    /// A choice ended with this word.
    pub fn has_finished_with(&self, reason: &str) -> bool {
        self.choices.values().any(|choice| choice.finish_reason.as_deref() == Some(reason))
    }

    // ---- the end

    pub fn build(mut self, frame: CallFrame, ending: Ending) -> LlmCall {
        if ending == Ending::Broken {
            let expected = self.request.choice_count.and_then(|n| u32::try_from(n).ok()).unwrap_or(1).clamp(1, 128);
            for index in 0..expected {
                self.choice(index);
            }
            for choice in self.choices.values_mut() {
                choice.finish_reason.get_or_insert_with(|| "error".to_owned());
            }
        }
        let known = self.choices.values().filter_map(|choice| choice.finish_reason.clone());
        self.response.finish_reasons = match ending {
            // With a hole in the list, positions would be wrong.
            Ending::Unknown if self.choices.values().any(|choice| choice.finish_reason.is_none()) => Vec::new(),
            Ending::Seen | Ending::Unknown | Ending::Broken => known.collect(),
        };
        self.cache_apart.normalise_into(&mut self.usage);
        self.estimation.output_tool_calls =
            self.choices.values().map(|choice| choice.count(PartKind::ToolCall)).fold(0, u32::saturating_add);
        if self.keep_content {
            self.content.output_messages = self
                .choices
                .into_values()
                .filter(|choice| choice.has_parts() || choice.finish_reason.is_some())
                .map(Choice::into_message)
                .collect();
        }
        LlmCall {
            owner: frame.owner,
            role: frame.role,
            operation: self.operation,
            provider: self.provider,
            server: frame.server,
            peer: frame.peer,
            request: self.request,
            response: self.response,
            usage: self.usage,
            outcome: self.outcome,
            timing: frame.timing,
            content: self.content,
            estimation: self.estimation,
            completeness: frame.completeness,
            capture: frame.capture,
            correlation: frame.correlation,
        }
    }
}

fn clip(text: &str, room: &mut usize, truncated: &mut bool) -> String {
    let fits = text.get(..text.floor_char_boundary(*room)).unwrap_or_default();
    *room = room.saturating_sub(fits.len());
    *truncated |= fits.len() < text.len();
    fits.to_owned()
}

const fn admit(bytes: usize, room: &mut usize, truncated: &mut bool) -> bool {
    if let Some(rest) = room.checked_sub(bytes) {
        *room = rest;
        true
    } else {
        *truncated = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(keep: bool) -> CallBuilder {
        CallBuilder::new(ProviderName::of("openai"), Operation::Chat, keep)
    }

    #[test]
    fn pieces_of_parallel_tool_calls_find_their_calls() {
        let mut call = builder(true);
        call.tool_call(0, PartSlot(2), PartKind::ToolCall, Some("b"), Some("second"), "{\"x\"");
        call.tool_call(0, PartSlot(1), PartKind::ToolCall, Some("a"), Some("first"), "{}");
        call.tool_call(0, PartSlot(2), PartKind::ToolCall, None, None, ":1}");
        let call = call.build(CallFrame::default(), Ending::Seen);
        let parts = &call.content.output_messages[0].parts;
        assert_eq!(
            parts,
            &[
                Part::ToolCall { id: Some("a".into()), name: "first".into(), arguments: Some(serde_json::json!({})) },
                Part::ToolCall { id: Some("b".into()), name: "second".into(), arguments: Some(serde_json::json!({"x": 1})) },
            ]
        );
        assert_eq!(call.estimation.output_tool_calls, 2);
    }

    #[test]
    fn without_a_policy_for_content_none_is_built_and_estimation_has_its_sample() {
        let mut call = builder(false);
        call.append(0, PartSlot(0), PartKind::Text, "hello");
        call.input_message(Message::default());
        call.finish(0, "stop");
        let call = call.build(CallFrame::default(), Ending::Seen);
        assert_eq!(call.content, Content::default());
        assert_eq!(call.estimation.output.text(), "hello");
        assert_eq!(call.response.finish_reasons, ["stop"]);
    }

    #[test]
    fn a_broken_answer_has_error_in_every_open_position() {
        let mut call = builder(false);
        call.request.choice_count = Some(3);
        call.finish(1, "stop");
        let call = call.build(CallFrame::default(), Ending::Broken);
        assert_eq!(call.response.finish_reasons, ["error", "stop", "error"]);
    }

    #[test]
    fn finish_reasons_that_may_be_lost_are_not_told_by_halves() {
        let mut call = builder(false);
        call.choice(0);
        call.finish(1, "stop");
        assert!(call.build(CallFrame::default(), Ending::Unknown).response.finish_reasons.is_empty());
    }

    #[test]
    fn content_beyond_the_cap_is_cut_at_a_character_and_marked() {
        let mut call = builder(true);
        for _ in 0..3 {
            call.append(0, PartSlot(0), PartKind::Text, &"\u{e9}".repeat(300_001));
        }
        let call = call.build(CallFrame::default(), Ending::Seen);
        let Some(Part::Text { content }) = call.content.output_messages[0].parts.first() else { panic!("no text") };
        assert!(content.len() <= OUTPUT_CONTENT_CAP && content.len() > OUTPUT_CONTENT_CAP - 2);
        assert!(call.content.truncated);
        assert_eq!(call.estimation.output.total_bytes(), 1_800_006);
    }

    #[test]
    fn choices_and_parts_are_bounded() {
        let mut call = builder(true);
        for n in 0..100_000u32 {
            call.append(n, PartSlot(0), PartKind::Text, "x");
            call.append(0, PartSlot(u64::from(n)), PartKind::Text, "x");
        }
        assert_eq!(call.choices.len(), MAX_CHOICES);
        let call = call.build(CallFrame::default(), Ending::Seen);
        assert!(call.content.truncated);
        assert!(call.content.output_messages[0].parts.len() <= 1024);
    }
}
