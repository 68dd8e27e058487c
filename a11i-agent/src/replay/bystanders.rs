//! What else goes over a connection: exchanges that are no calls, with numbers in them that are nobody's.

use super::{
    record::{Message, Record, Request, Response},
    seed::Seed,
};

const HOST: &str = "app.example";

/// Looks like the end of an answer to a call.
const USAGE: &str = r#"{"id":"none","model":"none","choices":[{"index":0,"message":{"content":"none"},"finish_reason":"none"}],
    "usage":{"prompt_tokens":666,"completion_tokens":666,"input_tokens":666,"output_tokens":666}}"#;

/// Seven of them, of any length.
pub(super) fn seven(seed: &mut Seed) -> [Record; 7] {
    let stream = format!("data: {}\n\n", USAGE.replace('\n', " ")).repeat(1_usize.saturating_add(seed.size(30)));
    let long = USAGE.repeat(1_usize.saturating_add(seed.size(200)));
    [
        exchange("GET", "/health", "", 200, "text/plain", "ok"),
        exchange("GET", "/static/app.js", "", 304, "text/javascript", ""),
        exchange("POST", "/graphql", USAGE, 200, "application/json", USAGE),
        exchange("GET", "/events", "", 200, "text/event-stream", &stream),
        exchange("POST", "/upload", &long, 404, "application/json", r#"{"error":"none"}"#),
        exchange("GET", "/report", "", 200, "application/json", &long),
        exchange("HEAD", "/health", "", 204, "text/plain", ""),
    ]
}

fn exchange(method: &str, path: &str, asked: &str, status: u16, content_type: &str, answered: &str) -> Record {
    let message = |content_type: &str, body: &str| Message {
        headers: vec![("Content-Type".to_owned(), content_type.to_owned()), ("x-request-id".to_owned(), "nobodys".to_owned())],
        body: body.as_bytes().to_vec(),
    };
    Record {
        id: String::new(),
        request: Request {
            method: method.to_owned(),
            host: HOST.to_owned(),
            path: path.to_owned(),
            message: message("application/json", asked),
        },
        response: Response { status, message: message(content_type, answered) },
    }
}
