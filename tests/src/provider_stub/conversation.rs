//! A WebSocket's life at the stand-in: OpenAI Realtime, and Responses over WebSocket.

use std::io;

use hyper::{HeaderMap, Request, Response, StatusCode, body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::{
    answer::{Answer, Api, Question},
    behaviour::{Behaviour, Fault},
    exchange::{End, Exchange},
    openai_realtime,
    server::{Body, Service, compose, plain},
    websocket::{Socket, accept_key, deflates},
};

/// Which conversation this path is for.
pub(super) fn api_at(path: &str) -> Option<Api> {
    match path {
        "/v1/realtime" => Some(Api::OpenAiRealtime),
        "/v1/responses" => Some(Api::OpenAiResponses),
        _ => None,
    }
}

/// One connection, from its handshake on.
pub(super) struct Conversation {
    pub(super) service: Service,
    pub(super) connection: u64,
    pub(super) api: Api,
    pub(super) path: String,
    pub(super) behaviour: Behaviour,
    /// As the handshake's query names it.
    model: Option<String>,
    /// Words that the client has added and no answer has taken.
    said: Vec<Value>,
}

impl Conversation {
    pub(super) fn new(service: Service, connection: u64, api: Api, request: &Request<Incoming>, behaviour: Behaviour) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let model = query.split('&').find_map(|pair| pair.strip_prefix("model=")).map(str::to_owned);
        Self { service, connection, api, path: request.uri().path().to_owned(), behaviour, model, said: Vec::new() }
    }

    /// Answers the handshake; what follows runs by itself.
    pub(super) fn begin(self, mut request: Request<Incoming>) -> Response<Body> {
        if let Some(Fault::Status(_)) = self.behaviour.fault {
            let asked = json!({"model": self.model});
            let (answer, index) = self.answer(&asked, 0);
            self.service.exchanges().ended(index, End::Written);
            let text = answer.pieces.into_iter().map(|piece| piece.text).collect();
            return plain(StatusCode::from_u16(answer.status).unwrap_or_default(), text);
        }
        let headers: &HeaderMap = request.headers();
        let key = headers.get("sec-websocket-key").map(|key| accept_key(key.as_bytes())).unwrap_or_default();
        let deflates = deflates(headers);
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrade.await {
                // An error is a client that went away, or a connection that is cut on purpose.
                self.run(Socket::new(TokioIo::new(upgraded), deflates)).await.ok();
            }
        });
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("upgrade", "websocket")
            .header("connection", "Upgrade")
            .header("sec-websocket-accept", key);
        if deflates {
            response = response.header("sec-websocket-extensions", "permessage-deflate");
        }
        response.body(Body::Left(bytes::Bytes::new().into())).expect("headers of the stand-in are valid")
    }

    async fn run(mut self, mut socket: Socket<TokioIo<Upgraded>>) -> io::Result<()> {
        if self.api == Api::OpenAiRealtime {
            socket.send(&openai_realtime::session("session.created", &Value::Null)).await?;
        }
        while let Some(text) = socket.receive().await? {
            let event = serde_json::from_str::<Value>(&text).unwrap_or_default();
            match event.get("type").and_then(Value::as_str).unwrap_or_default() {
                "response.create" => {
                    let question = self.question(&event);
                    if !self.respond(&question, text.len(), &mut socket).await? {
                        return Ok(());
                    }
                }
                "conversation.item.create" => self.said.extend(event.get("item").cloned()),
                "session.update" => {
                    let update = event.get("session").cloned().unwrap_or_default();
                    socket.send(&openai_realtime::session("session.updated", &update)).await?;
                }
                // Whoever speaks has been heard: the stand-in detects no voices, and answers every piece.
                "input_audio_buffer.append" => {
                    for kind in ["speech_started", "speech_stopped", "committed"] {
                        socket.send(&json!({"type": format!("input_audio_buffer.{kind}"), "item_id": "item_heard"}).to_string()).await?;
                    }
                    let question = self.question(&Value::Null);
                    if !self.respond(&question, text.len(), &mut socket).await? {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is asked for, in the form of a request.
    fn question(&mut self, event: &Value) -> Value {
        let said = std::mem::take(&mut self.said);
        match self.api {
            Api::OpenAiRealtime => json!({"model": self.model, "input": said, "stream": true}),
            Api::OpenAiChat | Api::OpenAiResponses | Api::AnthropicMessages => {
                let mut question = event.clone();
                if let Some(fields) = question.as_object_mut() {
                    fields.insert("stream".to_owned(), json!(true));
                }
                question
            }
        }
    }

    fn answer(&self, question: &Value, request_bytes: usize) -> (Answer, usize) {
        let serial = self.service.next_serial();
        let mut answer = compose(self.api, &Question { request: question, behaviour: &self.behaviour, serial: &serial });
        answer.expected.stream = true;
        let exchange = Exchange {
            connection: self.connection,
            method: "GET".to_owned(),
            path: self.path.clone(),
            request_bytes,
            expected: Some(answer.expected.clone()),
            end: End::Open,
        };
        let index = self.service.exchanges().add(exchange);
        (answer, index)
    }

    /// False: the connection is cut on purpose.
    async fn respond(&self, question: &Value, request_bytes: usize, socket: &mut Socket<TokioIo<Upgraded>>) -> io::Result<bool> {
        let (answer, index) = self.answer(question, request_bytes);
        let cut = if let Some(Fault::Cut(after)) = self.behaviour.fault { Some(after) } else { None };
        let mut content_events = 0_usize;
        for piece in answer.pieces {
            if piece.content {
                if cut == Some(content_events) {
                    self.service.exchanges().ended(index, End::Cut);
                    return Ok(false);
                }
                if let Some(pace) = self.behaviour.pace {
                    tokio::time::sleep(pace).await;
                }
                content_events = content_events.saturating_add(1);
            }
            socket.send(message(&piece.text)).await?;
        }
        self.service.exchanges().ended(index, End::Written);
        Ok(true)
    }
}

/// An event without the framing that it has in a stream of server-sent events.
fn message(text: &str) -> &str {
    text.split_once("data: ").map_or(text, |(_, data)| data).trim_end()
}
