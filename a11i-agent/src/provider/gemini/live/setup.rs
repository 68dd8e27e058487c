//! What holds for every answer of a session, and how a request is told from it.

use crate::{
    call::{CallBuilder, EstimationText, Operation},
    provider::{
        conversation::append_field,
        gemini,
        lenient::{Raw, Shape, lenient_object},
    },
};

/// Bytes kept of the setup's fields, each, and of what was said since the last answer.
const KEPT_BYTES: usize = 256 * 1024;

lenient_object! {
    /// A request's fields, but for what is asked.
    struct SetupObject<'a> {
        "model" => model: Raw<'a>,
        "generationConfig" | "generation_config" => config: Raw<'a>,
        "systemInstruction" | "system_instruction" => instruction: Raw<'a>,
        "tools" => tools: Raw<'a>,
    }
}

const FIELDS: [&str; 4] = ["model", "generationConfig", "systemInstruction", "tools"];

/// Of these, how many are kept where content is not.
const PARAMETERS: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Setup {
    /// As JSON, in the order of [`FIELDS`].
    fields: [Option<String>; FIELDS.len()],
    keeps_content: bool,
    /// Contents since the last answer was asked for, as JSON.
    contents: Vec<String>,
    contents_bytes: usize,
}

impl Setup {
    pub(super) fn read(&mut self, setup: Raw<'_>, keeps_content: bool) {
        let Some(setup) = setup.read::<SetupObject<'_>>().filter(Shape::is_object) else { return };
        self.keeps_content = keeps_content;
        let wanted = if keeps_content { FIELDS.len() } else { PARAMETERS };
        let said = [setup.model, setup.config, setup.instruction, setup.tools];
        for (place, (known, said)) in self.fields.iter_mut().zip(said).enumerate() {
            *known = said.json().filter(|json| place < wanted && json.len() <= KEPT_BYTES).map(str::to_owned);
        }
    }

    /// Turns of the conversation.
    pub(super) fn add(&mut self, turns: Raw<'_>) {
        turns.for_each(|turn: Raw<'_>| self.keep(turn.json().unwrap_or_default().to_owned()));
    }

    /// What functions gave.
    pub(super) fn add_results(&mut self, results: Raw<'_>) {
        results.for_each(|result: Raw<'_>| {
            self.keep(format!("{{\"parts\":[{{\"functionResponse\":{}}}]}}", result.json().unwrap_or("null")));
        });
    }

    /// A text that is said in between.
    pub(super) fn add_text(&mut self, text: Raw<'_>) {
        if let Some(json) = text.json() {
            self.keep(format!("{{\"parts\":[{{\"text\":{json}}}]}}"));
        }
    }

    fn keep(&mut self, content: String) {
        if self.keeps_content && !content.is_empty() && self.contents_bytes.saturating_add(content.len()) <= KEPT_BYTES {
            self.contents_bytes = self.contents_bytes.saturating_add(content.len());
            self.contents.push(content);
        }
    }

    /// The request that an answer stands for.
    pub(super) fn fill(&mut self, call: &mut CallBuilder) {
        let mut request = String::from("{");
        for (name, value) in FIELDS.iter().zip(&self.fields) {
            if let Some(json) = value {
                append_field(&mut request, name, json);
            }
        }
        append_field(&mut request, "contents", &format!("[{}]", self.contents.join(",")));
        request.push('}');
        self.contents.clear();
        self.contents_bytes = 0;
        // It was put together from whole values.
        let _unreadable = gemini::request(Operation::GenerateContent, request.as_bytes(), call).is_err();
        call.estimation = EstimationText::default();
    }
}
