//! AWS Bedrock's runtime, as the service writes it: Converse, and InvokeModel with Claude inside, whole and as AWS event streams.

use bytes::Bytes;
use flate2::Crc;
use http_body_util::channel::Channel;
use hyper::{Response, header};
use serde_json::{Value, json};

use super::{
    answer::{Expected, Question, Usage},
    behaviour::Fault,
    exchange::{End, Exchanges},
    server::Body,
};

const PROVIDER: &str = "aws.bedrock";

/// What is asked of a model.
#[derive(Clone, Debug)]
pub(super) struct Call {
    model: String,
    converse: bool,
    stream: bool,
}

/// An answer before it is written: its body, or the messages of its event stream.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<Bytes>,
    stream: bool,
    pub(super) expected: Expected,
}

impl Call {
    /// By the path of the request; the model's id is percent-encoded in it.
    pub(super) fn at(path: &str) -> Option<Self> {
        let (model, api) = path.strip_prefix("/model/")?.split_once('/')?;
        let model = model.replace("%3A", ":").replace("%2F", "/");
        let (converse, stream) = match api {
            "converse" => (true, false),
            "converse-stream" => (true, true),
            "invoke" => (false, false),
            "invoke-with-response-stream" => (false, true),
            _ => return None,
        };
        Some(Self { model, converse, stream })
    }

    pub(super) fn answer(&self, question: &Question<'_>) -> Answer {
        match question.behaviour.fault {
            Some(Fault::Status(status)) => self.refusal(status),
            Some(Fault::ErrorInStream(after)) if self.stream => self.broken(question, after),
            _ => self.good(question),
        }
    }

    fn good(&self, question: &Question<'_>) -> Answer {
        let usage = Self::usage(question);
        let mut headers = Vec::new();
        if !self.stream && !self.converse {
            headers.push(("x-amzn-bedrock-input-token-count", plain_input(usage).to_string()));
            headers.push(("x-amzn-bedrock-output-token-count", usage.output.to_string()));
        }
        let body = match (self.stream, self.converse) {
            (true, true) => converse_events(question, usage),
            (true, false) => Self::claude_events(question, usage),
            (false, true) => vec![converse_answer(question, usage).to_string().into()],
            (false, false) => vec![Self::claude_answer(question, usage).to_string().into()],
        };
        Answer { status: 200, headers, body, stream: self.stream, expected: self.expected(question, usage) }
    }

    /// A stream that turns into an exception after so many events with content.
    fn broken(&self, question: &Question<'_>, after: usize) -> Answer {
        let mut answer = self.good(question);
        // One message comes before the content in each format, and Claude's block begins with one of its own.
        answer.body.truncate(after.saturating_add(if self.converse { 1 } else { 2 }));
        let headers =
            [(":exception-type", "modelStreamErrorException"), (":content-type", "application/json"), (":message-type", "exception")];
        answer.body.push(message(&headers, &json!({"message": "The model broke off.", "originalStatusCode": 500})));
        answer.expected.finish_reasons = vec!["error".to_owned()];
        answer.expected.error_types = vec!["modelStreamErrorException".to_owned()];
        answer.expected.usage = None;
        answer
    }

    fn refusal(&self, status: u16) -> Answer {
        let kind = match status {
            403 => "AccessDeniedException",
            429 => "ThrottlingException",
            400..=499 => "ValidationException",
            _ => "InternalServerException",
        };
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
        let headers = vec![("x-amzn-errortype", format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"))];
        let body = vec![json!({"message": format!("The stand-in refuses with {status}.")}).to_string().into()];
        Answer { status, headers, body, stream: false, expected }
    }

    /// The conventions' input includes the cache; Bedrock reports the parts apart.
    fn usage(question: &Question<'_>) -> Usage {
        let counted = question.usage();
        Usage { input: counted.input.max(counted.cache_read.saturating_add(counted.cache_write)), reasoning: 0, ..counted }
    }

    fn expected(&self, question: &Question<'_>, usage: Usage) -> Expected {
        Expected {
            provider: PROVIDER,
            request_model: Some(self.model.clone()),
            response_model: (!self.converse).then(|| CLAUDE.to_owned()),
            response_id: (!self.converse).then(|| id(question)),
            finish_reasons: vec![finish(question).to_owned()],
            stream: self.stream,
            status: 200,
            error_types: Vec::new(),
            usage: Some(usage),
            text: if question.behaviour.tool.is_some() { String::new() } else { question.words().concat() },
            tools: question.behaviour.tool.iter().cloned().collect(),
        }
    }

    fn claude_answer(question: &Question<'_>, usage: Usage) -> Value {
        json!({
            "model": CLAUDE, "id": id(question), "type": "message", "role": "assistant",
            "content": [{"type": "text", "text": question.words().concat()}],
            "stop_reason": finish(question), "stop_sequence": null, "usage": claude_usage(usage, usage.output),
        })
    }

    fn claude_events(question: &Question<'_>, usage: Usage) -> Vec<Bytes> {
        let mut events = vec![
            json!({"type": "message_start", "message": {"model": CLAUDE, "id": id(question), "type": "message", "role": "assistant",
                "content": [], "stop_reason": null, "usage": claude_usage(usage, 1)}}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ];
        for word in question.words() {
            events.push(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}));
        }
        events.push(json!({"type": "content_block_stop", "index": 0}));
        events.push(json!({"type": "message_delta", "delta": {"stop_reason": finish(question)}, "usage": {"output_tokens": usage.output}}));
        events.push(json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": plain_input(usage), "outputTokenCount": usage.output, "invocationLatency": 500, "firstByteLatency": 100,
            "cacheReadInputTokenCount": usage.cache_read, "cacheWriteInputTokenCount": usage.cache_write}}));
        let chunk = |event: &Value| json!({"bytes": base64(event.to_string().as_bytes()), "p": "abcdefghij"});
        events.iter().map(|body| event("chunk", &chunk(body))).collect()
    }
}

/// What Claude calls itself behind Bedrock.
const CLAUDE: &str = "claude-haiku-4-5-20251001";

fn id(question: &Question<'_>) -> String {
    format!("msg_bdrk_{}", question.serial)
}

fn finish(question: &Question<'_>) -> &'static str {
    if question.behaviour.tool.is_some() { "tool_use" } else { "end_turn" }
}

fn plain_input(usage: Usage) -> u64 {
    usage.input.saturating_sub(usage.cache_read).saturating_sub(usage.cache_write)
}

fn claude_usage(usage: Usage, output: u64) -> Value {
    json!({"input_tokens": plain_input(usage), "output_tokens": output, "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write})
}

fn converse_usage(usage: Usage) -> Value {
    json!({"inputTokens": plain_input(usage), "outputTokens": usage.output, "totalTokens": usage.input.saturating_add(usage.output),
        "cacheReadInputTokens": usage.cache_read, "cacheWriteInputTokens": usage.cache_write})
}

fn tool_id(question: &Question<'_>) -> String {
    format!("tooluse_{}", question.serial)
}

fn converse_answer(question: &Question<'_>, usage: Usage) -> Value {
    let block = match &question.behaviour.tool {
        Some(name) => json!({"toolUse": {"toolUseId": tool_id(question), "name": name, "input": {"city": "Zürich"}}}),
        None => json!({"text": question.words().concat()}),
    };
    json!({"output": {"message": {"role": "assistant", "content": [block]}}, "stopReason": finish(question),
        "usage": converse_usage(usage), "metrics": {"latencyMs": 500}})
}

fn converse_events(question: &Question<'_>, usage: Usage) -> Vec<Bytes> {
    let mut events = vec![event("messageStart", &json!({"p": "abcd", "role": "assistant"}))];
    let delta = |delta: Value| event("contentBlockDelta", &json!({"contentBlockIndex": 0, "delta": delta, "p": "abcdefgh"}));
    match &question.behaviour.tool {
        Some(name) => {
            let start = json!({"toolUse": {"toolUseId": tool_id(question), "name": name}});
            events.push(event("contentBlockStart", &json!({"contentBlockIndex": 0, "start": start, "p": "ab"})));
            events.extend(["{\"city\": \"Zü", "rich\"}"].map(|part| delta(json!({"toolUse": {"input": part}}))));
        }
        None => events.extend(question.words().iter().map(|word| delta(json!({"text": word})))),
    }
    events.push(event("contentBlockStop", &json!({"contentBlockIndex": 0, "p": "abc"})));
    events.push(event("messageStop", &json!({"stopReason": finish(question), "p": "abc"})));
    events.push(event("metadata", &json!({"usage": converse_usage(usage), "metrics": {"latencyMs": 500}, "p": "abcde"})));
    events
}

impl Answer {
    /// Head at once; the messages of a stream one by one.
    pub(super) fn respond(self, exchanges: &Exchanges, index: usize) -> Response<Body> {
        let mut head = Response::builder().status(self.status).header("x-amzn-requestid", format!("req-{index}"));
        head = head.header(header::CONTENT_TYPE, if self.stream { "application/vnd.amazon.eventstream" } else { "application/json" });
        for (name, value) in &self.headers {
            head = head.header(*name, value);
        }
        if !self.stream {
            exchanges.ended(index, End::Written);
            return head.body(Body::Left(Bytes::from(self.body.concat()).into())).expect("headers of the stand-in are valid");
        }
        let (mut sender, body) = Channel::new(1);
        let exchanges = exchanges.clone();
        tokio::spawn(async move {
            for (sent, piece) in self.body.into_iter().enumerate() {
                if sender.send_data(piece).await.is_err() {
                    return exchanges.ended(index, End::Abandoned { content_events: sent });
                }
            }
            exchanges.ended(index, End::Written);
        });
        head.body(Body::Right(body)).expect("headers of the stand-in are valid")
    }
}

fn event(name: &str, body: &Value) -> Bytes {
    message(&[(":event-type", name), (":content-type", "application/json"), (":message-type", "event")], body)
}

/// One message of an AWS event stream, with string headers.
fn message(headers: &[(&str, &str)], body: &Value) -> Bytes {
    let mut raw = Vec::new();
    for (name, value) in headers {
        raw.push(u8::try_from(name.len()).expect("a short name"));
        raw.extend_from_slice(name.as_bytes());
        raw.push(7);
        raw.extend_from_slice(&u16::try_from(value.len()).expect("a short value").to_be_bytes());
        raw.extend_from_slice(value.as_bytes());
    }
    let payload = body.to_string();
    let total = raw.len().saturating_add(payload.len()).saturating_add(16);
    let mut out = Vec::with_capacity(total);
    out.extend_from_slice(&u32::try_from(total).expect("a small message").to_be_bytes());
    out.extend_from_slice(&u32::try_from(raw.len()).expect("few headers").to_be_bytes());
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out.extend_from_slice(&raw);
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(&checksum(&out).to_be_bytes());
    out.into()
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | group.get(at).copied().map_or(0, u32::from));
        for place in 0..4_u32 {
            let code = usize::try_from(bits >> (18 - 6 * place) & 63).unwrap_or(0);
            let is_padding = usize::try_from(place).is_ok_and(|place| place > group.len());
            out.push(if is_padding { '=' } else { ALPHABET.get(code).copied().map_or('A', char::from) });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_encode() {
        for (bytes, want) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), want);
        }
    }

    #[test]
    fn paths_tell_model_and_api() {
        let call = Call::at("/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke-with-response-stream").expect("a call");
        assert_eq!((call.model.as_str(), call.converse, call.stream), ("us.anthropic.claude-haiku-4-5-20251001-v1:0", false, true));
        assert!(Call::at("/v1/messages").is_none());
    }
}
