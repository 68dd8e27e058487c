//! Accepting, reading requests, writing answers piece by piece.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, channel::Channel};
use hyper::{Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{
    answer::{Answer, Api, Expected, Piece, Question},
    anthropic_messages, bedrock,
    behaviour::{Behaviour, Fault},
    content_coding::Encoder,
    conversation::{self, Conversation},
    exchange::{End, Exchange, Exchanges},
    gemini, gemini_grpc, openai_chat, openai_realtime, openai_responses, other, websocket,
};

/// Pieces between the writer of an answer and the connection: small, so that a client that went away is noticed.
const PIECES_IN_FLIGHT: usize = 1;
/// Size of the pieces of a whole body that was asked to be chunked.
const CHUNK: usize = 100;

/// What all connections share.
#[derive(Clone)]
pub(super) struct Service {
    name: Arc<str>,
    serial: Arc<AtomicU64>,
    exchanges: Exchanges,
}

impl Service {
    /// `name` is unique among the stand-ins that run on this machine.
    pub(super) fn new(name: &str, exchanges: Exchanges) -> Self {
        // The time makes ids unique over runs, too: an agent may have seen the run before.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
        Self { name: format!("{name}-{now:x}").into(), serial: Arc::default(), exchanges }
    }
}

/// Serves until it is dropped.
pub(super) async fn accept(listener: std::net::TcpListener, tls: Arc<ServerConfig>, service: Service) {
    let listener = TcpListener::from_std(listener).expect("a non-blocking listener");
    let tls = TlsAcceptor::from(tls);
    for connection in 0_u64.. {
        let Ok((socket, _)) = listener.accept().await else { return };
        // Without it, small events wait for acknowledgements and a stream's pace is not the one asked for.
        socket.set_nodelay(true).ok(); // fails only when the peer has gone
        let (tls, service) = (tls.clone(), service.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(socket).await else { return };
            serve(stream, connection, service).await;
        });
    }
}

/// One connection to its end.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, connection: u64, service: Service) {
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { service.answer(connection, request).await }
    });
    // An error here is a client that went away or an answer that was cut on purpose: the exchange says which.
    auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(TokioIo::new(stream), answer).await.ok();
}

/// The stand-in breaks the connection on purpose.
#[derive(Debug)]
pub(super) struct CutOnPurpose;

impl std::fmt::Display for CutOnPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut on purpose")
    }
}

impl std::error::Error for CutOnPurpose {}

pub(super) type Body = http_body_util::Either<http_body_util::Full<Bytes>, Channel<Bytes, CutOnPurpose>>;

impl Service {
    /// Unique among all answers of all stand-ins.
    pub(super) fn next_serial(&self) -> String {
        format!("{}-{}", self.name, self.serial.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) const fn exchanges(&self) -> &Exchanges {
        &self.exchanges
    }

    async fn answer(&self, connection: u64, request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
        let behaviour = match Behaviour::of(request.headers()) {
            Ok(behaviour) => behaviour,
            Err(mistake) => return Ok(plain(StatusCode::NOT_IMPLEMENTED, mistake)),
        };
        if let Some(api) = conversation::api_at(request.uri().path()).filter(|_| websocket::is_asked(request.headers())) {
            return Ok(Conversation::new(self.clone(), connection, api, &request, behaviour).begin(request));
        }
        let (head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        tokio::time::sleep(behaviour.read_pause).await;
        let mut exchange = Exchange { connection, method: head.method.to_string(), path, request_bytes: 0, expected: None, end: End::Open };
        let Some(asked) = Asked::at(&exchange.path) else {
            exchange.request_bytes = other::drain(body).await?;
            let index = self.exchanges.add(exchange.clone());
            return Ok(other::answer(&exchange.path, exchange.request_bytes, self.exchanges.clone(), index));
        };
        let bytes = body.collect().await?.to_bytes();
        exchange.request_bytes = bytes.len();
        let serial = self.next_serial();
        let json = serde_json::from_slice::<Value>(&bytes).unwrap_or(Value::Null);
        let question = Question { request: &json, behaviour: &behaviour, serial: &serial };
        let add = |expected: &Expected| self.exchanges.add(Exchange { expected: Some(expected.clone()), ..exchange });
        let answer = match asked {
            Asked::Api(api) => compose(api, &question),
            Asked::Gemini(call) => call.answer(&question),
            Asked::GeminiGrpc(call) => {
                let answer = call.answer(&question, &bytes);
                let index = add(&answer.expected);
                return Ok(answer.respond(behaviour.pace, &self.exchanges, index));
            }
            Asked::Bedrock(call) => {
                let answer = call.answer(&question);
                let index = add(&answer.expected);
                return Ok(answer.respond(&self.exchanges, index));
            }
        };
        let index = add(&answer.expected);
        if behaviour.fault == Some(Fault::Hang) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(behaviour.delay).await;
        let mut answer = answer;
        if behaviour.sums {
            answer.headers.push(("x-stub-request-sum", format!("{:x}", sum(bytes.iter()))));
            answer.headers.push(("x-stub-answer-sum", format!("{:x}", sum(answer.pieces.iter().flat_map(|piece| piece.text.as_bytes())))));
        }
        Ok(self.respond(index, answer, &behaviour))
    }

    /// Head at once, body by a task that keeps the pace.
    fn respond(&self, index: usize, answer: Answer, behaviour: &Behaviour) -> Response<Body> {
        let mut head = Response::builder().status(answer.status).header("x-request-id", format!("req-{index}"));
        head = head.header(header::CONTENT_TYPE, if answer.stream { "text/event-stream; charset=utf-8" } else { "application/json" });
        for (name, value) in &answer.headers {
            head = head.header(*name, value);
        }
        if let Some(token) = behaviour.coding.token() {
            head = head.header(header::CONTENT_ENCODING, token);
        }
        let mut encoder = behaviour.coding.encoder();
        let cut = if let Some(Fault::Cut(after)) = behaviour.fault { Some(after) } else { None };
        if !answer.stream && !behaviour.chunked && cut.is_none() {
            let text: String = answer.pieces.into_iter().map(|piece| piece.text).collect();
            let mut body = encoder.push(text.as_bytes()).to_vec();
            body.extend_from_slice(&encoder.finish());
            self.exchanges.ended(index, End::Written);
            return head.body(Body::Left(Bytes::from(body).into())).expect("headers of the stand-in are valid");
        }
        let pieces = if answer.stream { answer.pieces } else { small(&answer.pieces) };
        if !answer.stream && !behaviour.chunked {
            // A body that will be cut still promises its length.
            let length: usize = pieces.iter().map(|piece| piece.text.len()).sum();
            head = head.header(header::CONTENT_LENGTH, length);
        }
        let (sender, body) = Channel::new(PIECES_IN_FLIGHT);
        let writer = Writer { pace: behaviour.pace, cut, end: self.exchanges.clone(), index };
        tokio::spawn(writer.write(pieces, encoder, sender));
        head.body(Body::Right(body)).expect("headers of the stand-in are valid")
    }
}

/// Writes one paced body.
struct Writer {
    pace: Option<Duration>,
    cut: Option<usize>,
    end: Exchanges,
    index: usize,
}

impl Writer {
    async fn write(self, pieces: Vec<Piece>, mut encoder: Encoder, mut to: http_body_util::channel::Sender<Bytes, CutOnPurpose>) {
        let mut content_events = 0_usize;
        for piece in pieces {
            if piece.content {
                if self.cut == Some(content_events) {
                    self.end.ended(self.index, End::Cut);
                    // What was written before must leave before the connection is dropped.
                    tokio::time::sleep(SETTLE).await;
                    to.abort(CutOnPurpose);
                    return;
                }
                if let Some(pace) = self.pace {
                    tokio::time::sleep(pace).await;
                }
            }
            if to.send_data(encoder.push(piece.text.as_bytes())).await.is_err() {
                self.end.ended(self.index, End::Abandoned { content_events });
                return;
            }
            content_events = content_events.saturating_add(usize::from(piece.content));
        }
        let last = encoder.finish();
        let written = last.is_empty() || to.send_data(last).await.is_ok();
        self.end.ended(self.index, if written { End::Written } else { End::Abandoned { content_events } });
    }
}

/// Pause before a cut, for the pieces before it to reach the client.
const SETTLE: Duration = Duration::from_millis(50);

/// Which dialect a path asks for.
enum Asked {
    Api(Api),
    Gemini(gemini::Call),
    GeminiGrpc(gemini_grpc::Call),
    Bedrock(bedrock::Call),
}

impl Asked {
    fn at(path: &str) -> Option<Self> {
        let gemini = || gemini::Call::at(path).map(Self::Gemini).or_else(|| gemini_grpc::Call::at(path).map(Self::GeminiGrpc));
        Api::at(path).map(Self::Api).or_else(gemini).or_else(|| bedrock::Call::at(path).map(Self::Bedrock))
    }
}

pub(super) fn compose(api: Api, question: &Question<'_>) -> Answer {
    match question.behaviour.fault {
        Some(Fault::Status(status)) => match api {
            Api::OpenAiChat => openai_chat::refusal(question, status),
            Api::OpenAiRealtime => openai_realtime::refusal(question, status),
            Api::OpenAiResponses => openai_responses::refusal(question, status),
            Api::AnthropicMessages => anthropic_messages::refusal(question, status),
        },
        Some(Fault::ErrorInStream(after)) => broken(api, question, after),
        Some(Fault::Cut(after)) => good(api, question).unfinished(after),
        Some(Fault::Hang) | None => good(api, question),
    }
}

fn good(api: Api, question: &Question<'_>) -> Answer {
    match api {
        Api::OpenAiChat => openai_chat::answer(question),
        Api::OpenAiRealtime => openai_realtime::answer(question),
        Api::OpenAiResponses => openai_responses::answer(question),
        Api::AnthropicMessages => anthropic_messages::answer(question),
    }
}

/// A stream that turns into the provider's error event after so many content events.
fn broken(api: Api, question: &Question<'_>, after: usize) -> Answer {
    let (event, error_types) = match api {
        Api::OpenAiChat => openai_chat::stream_error(),
        Api::OpenAiRealtime => openai_realtime::failure(question),
        Api::OpenAiResponses => openai_responses::stream_error(),
        Api::AnthropicMessages => anthropic_messages::stream_error(),
    };
    let mut answer = good(api, question).unfinished(after);
    let end = content_end(&answer.pieces, after);
    answer.pieces.truncate(end);
    answer.pieces.push(event);
    answer.expected.error_types = error_types;
    answer
}

/// Index of the piece after the `count`th content event.
fn content_end(pieces: &[Piece], count: usize) -> usize {
    pieces.iter().enumerate().filter(|(_, piece)| piece.content).nth(count).map_or(pieces.len(), |(index, _)| index)
}

/// A whole body in pieces of [`CHUNK`] bytes, each counted as content, so that it is paced and can be cut.
fn small(pieces: &[Piece]) -> Vec<Piece> {
    let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(CHUNK).map(|part| Piece::content(part.iter().collect())).collect()
}

/// FNV-1a, as `clients/c/steady.c` computes it.
fn sum<'a>(bytes: impl Iterator<Item = &'a u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

pub(super) fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Body::Left(Bytes::from(text).into()));
    *response.status_mut() = status;
    response
}
