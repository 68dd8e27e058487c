//! Gemini's `GenerateContent` and `StreamGenerateContent` over gRPC (`google.ai.generativelanguage.v1beta`), as the service writes them.

use bytes::Bytes;
use http_body_util::channel::Channel;
use hyper::{HeaderMap, Response, header};

use super::{
    answer::{Expected, Question, Usage},
    behaviour::Fault,
    exchange::{End, Exchanges},
    server::Body,
};

const PROVIDER: &str = "gcp.gemini";
const SERVICE: &str = "/google.ai.generativelanguage.v1beta.GenerativeService/";

/// What is asked of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    stream: bool,
}

/// An answer before it is written: its messages, and how the call ended.
pub(super) struct Answer {
    messages: Vec<Bytes>,
    /// `grpc-status` (<https://grpc.io/docs/guides/status-codes/>).
    status: u8,
    pub(super) expected: Expected,
}

impl Call {
    /// By the path of the request, which names the method.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path.strip_prefix(SERVICE)? {
            "GenerateContent" => Some(Self { stream: false }),
            "StreamGenerateContent" => Some(Self { stream: true }),
            _ => None,
        }
    }

    /// `body`: the request's message, framed.
    pub(super) fn answer(self, question: &Question<'_>, body: &[u8]) -> Answer {
        let model = body.get(PREFIX..).and_then(|message| field(message, 1)).map(|name| String::from_utf8_lossy(name).into_owned());
        let model = model.map(|name| name.strip_prefix("models/").unwrap_or(&name).to_owned()).unwrap_or_default();
        let usage = question.usage();
        let mut expected = Expected {
            provider: PROVIDER,
            request_model: Some(model.clone()),
            response_model: Some(model.clone()),
            response_id: Some(question.serial.to_owned()),
            finish_reasons: vec!["STOP".to_owned()],
            stream: self.stream,
            status: 200,
            error_types: Vec::new(),
            usage: Some(usage),
            text: question.words().concat(),
            tools: Vec::new(),
        };
        if let Some(Fault::Status(_)) = question.behaviour.fault {
            expected = Expected { error_types: vec!["RESOURCE_EXHAUSTED".to_owned()], usage: None, text: String::new(), ..expected };
            (expected.response_model, expected.response_id) = (None, None);
            expected.finish_reasons.clear();
            return Answer { messages: Vec::new(), status: RESOURCE_EXHAUSTED, expected };
        }
        let words = if self.stream { question.words() } else { vec![question.words().concat()] };
        let last = words.len().saturating_sub(1);
        let message = |(index, word): (usize, &String)| {
            let output = if index == last { usage.output } else { usage.reasoning };
            framed(&response(word, index == last, &model, question.serial, Usage { output, ..usage }))
        };
        Answer { messages: words.iter().enumerate().map(message).collect(), status: 0, expected }
    }
}

impl Answer {
    /// Head at once, the messages one by one, the status behind them.
    pub(super) fn respond(self, pace: Option<std::time::Duration>, exchanges: &Exchanges, index: usize) -> Response<Body> {
        let (mut sender, body) = Channel::new(1);
        let exchanges = exchanges.clone();
        tokio::spawn(async move {
            for (sent, message) in self.messages.into_iter().enumerate() {
                if let Some(pace) = pace {
                    tokio::time::sleep(pace).await;
                }
                if sender.send_data(message).await.is_err() {
                    return exchanges.ended(index, End::Abandoned { content_events: sent });
                }
            }
            let trailers = HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), u16::from(self.status).into())]);
            let is_written = sender.send_trailers(trailers).await.is_ok();
            exchanges.ended(index, if is_written { End::Written } else { End::Cut });
        });
        let head = Response::builder().header(header::CONTENT_TYPE, "application/grpc");
        head.body(Body::Right(body)).expect("headers of the stand-in are valid")
    }
}

/// `GenerateContentResponse`.
fn response(text: &str, is_last: bool, model: &str, id: &str, usage: Usage) -> Vec<u8> {
    let content = [bytes(1, &bytes(2, text.as_bytes())), bytes(2, b"model")].concat();
    let finish = if is_last { number(2, STOP) } else { Vec::new() };
    let candidate = [bytes(1, &content), finish].concat();
    let counts = [(1, usage.input), (2, usage.output.saturating_sub(usage.reasoning)), (4, usage.cache_read), (10, usage.reasoning)];
    let told: Vec<u8> = counts.into_iter().filter(|(_, count)| *count > 0).flat_map(|(field, count)| number(field, count)).collect();
    [bytes(1, &candidate), bytes(3, &told), bytes(4, model.as_bytes()), bytes(5, id.as_bytes())].concat()
}

/// A message as gRPC frames it, not compressed.
fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a small message").to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

fn number(field: u32, value: u64) -> Vec<u8> {
    [varint(u64::from(field) << 3), varint(value)].concat()
}

fn bytes(field: u32, value: &[u8]) -> Vec<u8> {
    [varint(u64::from(field) << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
    out
}

/// The first field of this number, of a message whose fields before it are bytes as well.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    loop {
        let (key, rest) = read_varint(message)?;
        let (length, rest) = read_varint(rest).filter(|_| key & 7 == 2)?;
        let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if key >> 3 == wanted {
            return Some(value);
        }
        message = rest;
    }
}

fn read_varint(message: &[u8]) -> Option<(u64, &[u8])> {
    let length = message.iter().take(9).position(|byte| byte & 0x80 == 0)?.checked_add(1)?;
    let (number, rest) = message.split_at_checked(length)?;
    Some((number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)), rest))
}

/// Of the framing: whether it is compressed, and the length.
const PREFIX: usize = 5;
/// `FinishReason`.
const STOP: u64 = 1;
/// `grpc-status`.
const RESOURCE_EXHAUSTED: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = [bytes(2, &[7; 300]), bytes(1, b"models/gemini-2.5-flash")].concat();
        assert_eq!(field(&message, 1), Some(&b"models/gemini-2.5-flash"[..]));
        assert_eq!(read_varint(&varint(1_234_567)), Some((1_234_567, &[][..])));
        assert_eq!(field(&number(3, 1), 1), None);
        assert_eq!(framed(b"ab"), &[0, 0, 0, 0, 2, b'a', b'b'][..]);
    }

    #[test]
    fn paths_tell_the_method() {
        let at = |method: &str| Call::at(&format!("{SERVICE}{method}"));
        assert_eq!((at("GenerateContent"), at("StreamGenerateContent")), (Some(Call { stream: false }), Some(Call { stream: true })));
        assert!(at("CountTokens").is_none());
    }
}
