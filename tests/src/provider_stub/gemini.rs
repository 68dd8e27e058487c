//! Gemini's `generateContent` and `streamGenerateContent`, as the service writes them: the model in the path, events without a last one.

use serde_json::{Value, json};

use super::{
    answer::{Answer, Expected, Piece, Question, Usage, event},
    behaviour::Fault,
};

const PROVIDER: &str = "gcp.gemini";

/// What is asked of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    model: String,
    stream: bool,
}

impl Call {
    /// By the path of the request, which names model and method.
    pub(super) fn at(path: &str) -> Option<Self> {
        let models = ["/v1/models/", "/v1beta/models/"].into_iter().find_map(|version| path.strip_prefix(version))?;
        let (model, method) = models.split_once(':')?;
        let stream = match method {
            "generateContent" => false,
            "streamGenerateContent" => true,
            _ => return None,
        };
        Some(Self { model: model.to_owned(), stream })
    }

    pub(super) fn answer(&self, question: &Question<'_>) -> Answer {
        match question.behaviour.fault {
            Some(Fault::Status(status)) => self.refusal(status),
            Some(Fault::ErrorInStream(after)) if self.stream => self.broken(question, after),
            Some(Fault::Cut(after)) => self.good(question).unfinished(after),
            _ => self.good(question),
        }
    }

    fn good(&self, question: &Question<'_>) -> Answer {
        let usage = question.usage();
        let pieces = if self.stream { self.events(question, usage) } else { vec![Piece::frame(self.whole(question, usage).to_string())] };
        let expected = Expected {
            provider: PROVIDER,
            request_model: Some(self.model.clone()),
            response_model: Some(self.model.clone()),
            response_id: Some(question.serial.to_owned()),
            finish_reasons: vec!["STOP".to_owned()],
            stream: self.stream,
            status: 200,
            error_types: Vec::new(),
            usage: Some(usage),
            text: if question.behaviour.tool.is_some() { String::new() } else { question.words().concat() },
            tools: question.behaviour.tool.iter().cloned().collect(),
        };
        Answer { status: 200, headers: Vec::new(), stream: self.stream, pieces, expected }
    }

    /// A stream that turns into an error after so many events with content. Each event has said what was used until then.
    fn broken(&self, question: &Question<'_>, after: usize) -> Answer {
        let mut answer = self.good(question).unfinished(after);
        answer.pieces.truncate(after);
        let body = json!({"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}});
        answer.pieces.push(Piece::frame(event(None, &body)));
        answer.expected.error_types = vec!["UNAVAILABLE".to_owned()];
        answer
    }

    fn refusal(&self, status: u16) -> Answer {
        let kind = match status {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            429 => "RESOURCE_EXHAUSTED",
            400..=499 => "INVALID_ARGUMENT",
            503 => "UNAVAILABLE",
            _ => "INTERNAL",
        };
        let body = json!({"error": {"code": status, "message": format!("The stand-in refuses with {status}."), "status": kind}});
        let expected = Expected {
            provider: PROVIDER,
            request_model: Some(self.model.clone()),
            response_model: None,
            response_id: None,
            finish_reasons: Vec::new(),
            stream: self.stream,
            status,
            error_types: vec![kind.to_owned()],
            usage: None,
            text: String::new(),
            tools: Vec::new(),
        };
        Answer { status, headers: Vec::new(), stream: false, pieces: vec![Piece::frame(body.to_string())], expected }
    }

    fn whole(&self, question: &Question<'_>, usage: Usage) -> Value {
        let part = match &question.behaviour.tool {
            Some(name) => json!({"functionCall": {"name": name, "args": {"city": "Zürich"}}}),
            None => json!({"text": question.words().concat()}),
        };
        self.chunk(question, &part, Some("STOP"), &told(usage, usage.output))
    }

    /// One event for each word; the last has the finish reason and all that was used, the others what was used until then.
    fn events(&self, question: &Question<'_>, usage: Usage) -> Vec<Piece> {
        let parts: Vec<Value> = match &question.behaviour.tool {
            Some(name) => vec![json!({"functionCall": {"name": name, "args": {"city": "Zürich"}}})],
            None => question.words().iter().map(|word| json!({"text": word})).collect(),
        };
        let last = parts.len().saturating_sub(1);
        let event_of = |(index, part): (usize, &Value)| {
            let (finish, output) = if index == last { (Some("STOP"), usage.output) } else { (None, usage.reasoning) };
            Piece::content(event(None, &self.chunk(question, part, finish, &told(usage, output))))
        };
        parts.iter().enumerate().map(event_of).collect()
    }

    fn chunk(&self, question: &Question<'_>, part: &Value, finish: Option<&str>, usage: &Value) -> Value {
        let mut candidate = json!({"content": {"parts": [part], "role": "model"}, "index": 0});
        if let (Some(finish), Some(fields)) = (finish, candidate.as_object_mut()) {
            fields.insert("finishReason".to_owned(), json!(finish));
        }
        json!({"candidates": [candidate], "usageMetadata": usage, "modelVersion": self.model, "responseId": question.serial})
    }
}

/// Thoughts and the cache are left out where there are none; candidates where there are none yet.
fn told(usage: Usage, output: u64) -> Value {
    let mut block = json!({"promptTokenCount": usage.input, "totalTokenCount": usage.input.saturating_add(output)});
    let parts = [
        ("candidatesTokenCount", output.saturating_sub(usage.reasoning)),
        ("thoughtsTokenCount", usage.reasoning),
        ("cachedContentTokenCount", usage.cache_read),
    ];
    if let Some(fields) = block.as_object_mut() {
        fields.extend(parts.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), json!(count))));
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_model_and_method() {
        let call = Call::at("/v1beta/models/gemini-2.5-flash:streamGenerateContent");
        assert_eq!(call, Some(Call { model: "gemini-2.5-flash".to_owned(), stream: true }));
        assert!(Call::at("/v1beta/models").is_none());
        assert!(Call::at("/v1beta/models/gemini-2.5-flash:countTokens").is_none());
    }
}
