//! One answer: what goes out, and what a correct observer must report about it.

use serde_json::Value;

use super::{behaviour::Behaviour, prompt};

/// The APIs the stand-in speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    OpenAiChat,
    /// By WebSocket only, and responses as well.
    OpenAiRealtime,
    OpenAiResponses,
    AnthropicMessages,
}

impl Api {
    /// By the path of the request.
    pub fn at(path: &str) -> Option<Self> {
        match path {
            "/v1/chat/completions" => Some(Self::OpenAiChat),
            "/v1/responses" => Some(Self::OpenAiResponses),
            "/v1/messages" => Some(Self::AnthropicMessages),
            _ => None,
        }
    }

    /// `gen_ai.provider.name`.
    pub fn provider(self) -> &'static str {
        match self {
            Self::OpenAiChat | Self::OpenAiRealtime | Self::OpenAiResponses => "openai",
            Self::AnthropicMessages => "anthropic",
        }
    }
}

/// An answer in pieces as they are written: one for a whole body, one per event for a stream.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Beyond `content-type`, `content-encoding` and framing.
    pub headers: Vec<(&'static str, String)>,
    /// `text/event-stream` instead of `application/json`.
    pub stream: bool,
    pub pieces: Vec<Piece>,
    pub expected: Expected,
}

impl Answer {
    /// What remains to be reported of a stream that stops after so many content events.
    pub(super) fn unfinished(mut self, after: usize) -> Self {
        self.expected.finish_reasons = vec!["error".to_owned()];
        self.expected.usage = None;
        self.expected.text = self.expected.text.split_inclusive(' ').take(after).collect();
        self
    }
}

/// One write of the answer's body.
#[derive(Clone, Debug)]
pub struct Piece {
    pub text: String,
    /// A content event: paced, and counted by the faults that come after `K` content events.
    pub content: bool,
}

impl Piece {
    pub fn content(text: String) -> Self {
        Self { text, content: true }
    }

    pub fn frame(text: String) -> Self {
        Self { text, content: false }
    }
}

/// What a correct observer of the whole exchange reports, in the words of the GenAI conventions.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub provider: &'static str,
    pub request_model: Option<String>,
    pub response_model: Option<String>,
    pub response_id: Option<String>,
    pub finish_reasons: Vec<String>,
    pub stream: bool,
    pub status: u16,
    /// Acceptable values of `error.type`: the provider's code or the HTTP status as text. Empty: no error.
    pub error_types: Vec<String>,
    /// None where the provider reports none: then an observer may estimate, and must say so.
    pub usage: Option<Usage>,
    /// The text of the answer, and the names of the tools it calls.
    pub text: String,
    pub tools: Vec<String>,
}

/// Token counts as the conventions define them (input includes what was read from and written to the cache).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub reasoning: u64,
}

/// What the dialects need to write an answer.
pub(super) struct Question<'a> {
    pub request: &'a Value,
    pub behaviour: &'a Behaviour,
    /// Unique among all answers of all stand-ins on this machine: response ids are made of it.
    pub serial: &'a str,
}

impl Question<'_> {
    /// The words of the answer, one for each content event; some are not ASCII.
    pub(super) fn words(&self) -> Vec<String> {
        (0..self.behaviour.chunks).map(|n| if n % 3 == 2 { format!("größe{n} ") } else { format!("word{n} ") }).collect()
    }

    pub(super) fn model(&self) -> Option<String> {
        self.request.get("model").and_then(Value::as_str).map(str::to_owned)
    }

    /// The dated name that providers answer with when an alias was asked for.
    pub(super) fn response_model(&self) -> String {
        let asked = self.model().unwrap_or_else(|| "unnamed".to_owned());
        let dated = match asked.as_str() {
            "gpt-4o-mini" => "gpt-4o-mini-2024-07-18",
            "gpt-4.1" => "gpt-4.1-2025-04-14",
            "gpt-5-mini" => "gpt-5-mini-2025-08-07",
            "claude-haiku-4-5" => "claude-haiku-4-5-20251001",
            "claude-sonnet-4-5" => "claude-sonnet-4-5-20250929",
            other => other,
        };
        dated.to_owned()
    }

    pub(super) fn streams(&self) -> bool {
        self.request.get("stream").and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn usage(&self) -> Usage {
        let behaviour = self.behaviour;
        let chunks = u64::try_from(behaviour.chunks).unwrap_or(u64::MAX);
        Usage {
            input: behaviour.input_tokens.unwrap_or_else(|| prompt::tokens(self.request)),
            output: behaviour.output_tokens.unwrap_or_else(|| chunks.saturating_add(behaviour.reasoning)),
            cache_read: behaviour.cache_read,
            cache_write: behaviour.cache_write,
            reasoning: behaviour.reasoning,
        }
    }

    /// What holds for every good answer; the dialect adds id and finish reason.
    pub(super) fn expected(&self, api: Api, response_id: String, finish: &str, usage: Option<Usage>) -> Expected {
        Expected {
            provider: api.provider(),
            request_model: self.model(),
            response_model: Some(self.response_model()),
            response_id: Some(response_id),
            finish_reasons: vec![finish.to_owned()],
            stream: self.streams(),
            status: 200,
            error_types: Vec::new(),
            usage,
            text: if self.behaviour.tool.is_some() { String::new() } else { self.words().concat() },
            tools: self.behaviour.tool.iter().cloned().collect(),
        }
    }

    /// What holds for every refused request.
    pub(super) fn refused(&self, api: Api, status: u16, error_types: &[&str]) -> Expected {
        Expected {
            provider: api.provider(),
            request_model: self.model(),
            response_model: None,
            response_id: None,
            finish_reasons: Vec::new(),
            stream: self.streams(),
            status,
            error_types: error_types.iter().map(|&name| name.to_owned()).chain([status.to_string()]).collect(),
            usage: None,
            text: String::new(),
            tools: Vec::new(),
        }
    }
}

/// `data: JSON` and, where the provider sends one, `event: NAME` before it.
pub(super) fn event(name: Option<&str>, data: &Value) -> String {
    match name {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}
