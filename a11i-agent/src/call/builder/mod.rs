//! [`CallBuilder`]: a call while it grows. Dialects tell it facts in any order; it keeps the bounds.
//!
//! What was asked is told in `prompt`, what is answered in `answer`.

mod answer;
mod prompt;

use std::{collections::BTreeMap, sync::Arc};

use super::{
    CacheApartUsage, CaptureFacts, Completeness, Content, Correlation, EstimationText, LlmCall, Operation, Outcome, PartKind, ProviderName,
    RequestFacts, ResponseFacts, Role, ServerAddress, SocketPeer, Timing, Usage, choice::Choice,
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
mod tests;
