//! One recorded exchange.

use serde::Deserialize;

use crate::http::base64;

/// A request and its response, decoded from transfer and content coding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    pub id: String,
    pub request: Request,
    pub response: Response,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub method: String,
    pub host: String,
    /// With its query.
    pub path: String,
    pub message: Message,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    pub message: Message,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// In order, without those that framing sets.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("not a record: {0}")]
    Json(#[from] serde_json::Error),
    #[error("body_b64 of the {0} is not base64")]
    Base64(&'static str),
}

#[derive(Deserialize)]
struct RawRecord {
    id: String,
    request: RawRequest,
    response: RawResponse,
}

#[derive(Deserialize)]
struct RawRequest {
    method: String,
    host: String,
    path: String,
    #[serde(flatten)]
    message: RawMessage,
}

#[derive(Deserialize)]
struct RawResponse {
    status: u16,
    #[serde(flatten)]
    message: RawMessage,
}

#[derive(Deserialize)]
struct RawMessage {
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    body_b64: Option<String>,
}

impl Record {
    /// One line of a `.jsonl` file. Fields that replay does not need (expectations, sources) are ignored.
    pub fn parse(line: &str) -> Result<Self, RecordError> {
        let RawRecord { id, request, response } = serde_json::from_str(line)?;
        Ok(Self {
            id,
            request: Request {
                method: request.method,
                host: request.host,
                path: request.path,
                message: request.message.decoded("request")?,
            },
            response: Response { status: response.status, message: response.message.decoded("response")? },
        })
    }
}

impl RawMessage {
    fn decoded(self, of: &'static str) -> Result<Message, RecordError> {
        let body = match (self.body, self.body_b64) {
            (_, Some(text)) => base64::decode(&text).ok_or(RecordError::Base64(of))?,
            (Some(text), None) => text.into_bytes(),
            (None, None) => Vec::new(),
        };
        Ok(Message { headers: self.headers, body })
    }
}
