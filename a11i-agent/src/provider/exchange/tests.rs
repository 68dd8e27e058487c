//! Hand-made HTTP events → calls.

use a11i_common::identity::BootTime;

use super::*;
use crate::{
    call::{CaptureLibrary, CaptureMethod, LossCauses, NanoUsd},
    fixture::request,
    http::{HeaderValue, Headers, HttpVersion, ResponseHead},
    provider::RouteSettings,
};

const FINISHED: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Finished };
const CUT: BodyEnd = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Cut };

struct Peer {
    exchanges: Exchanges,
    context: ConnectionContext,
    time: u64,
}

impl Peer {
    fn new() -> Self {
        Self {
            exchanges: Exchanges::new(Arc::new(Routes::default()), ExchangeLimits { keep_content: true, exchanges: 3 }),
            context: ConnectionContext {
                owner: Arc::new(Owner::default()),
                capture: CaptureFacts::default(),
                server_name: None,
                socket: None,
            },
            time: 0,
        }
    }

    fn tell(&mut self, id: u64, kind: HttpEventKind<'_>) -> Option<LlmCall> {
        self.time = self.time.saturating_add(10);
        self.exchanges.handle(HttpEvent { exchange: ExchangeId(id), time: BootTime(self.time), kind }, &self.context)
    }

    fn request(&mut self, id: u64, host: Option<&str>, path: &str, body: &[&[u8]]) {
        let mut head = request("POST", host.unwrap_or_default(), path, &[]);
        head.host = host.map(str::to_owned);
        head.first_byte = BootTime(self.time);
        self.tell(id, HttpEventKind::Request(Box::new(head)));
        for piece in body {
            self.tell(id, HttpEventKind::RequestBody(piece));
        }
    }

    fn respond(&mut self, id: u64, status: u16, content_type: &str, body: &[&[u8]], end: BodyEnd) -> Option<LlmCall> {
        let mut headers = Headers::default();
        if !content_type.is_empty() {
            headers.push("content-type".into(), HeaderValue::Text(content_type.into()));
        }
        let head = ResponseHead { version: HttpVersion::Http11, status, headers, first_byte: BootTime(self.time) };
        self.tell(id, HttpEventKind::Response(Box::new(head)));
        for piece in body {
            self.tell(id, HttpEventKind::ResponseBody(piece));
        }
        self.tell(id, HttpEventKind::ResponseEnd(end))
    }

    /// One chat call to OpenAI.
    fn chat(request: &[&[u8]], status: u16, content_type: &str, response: &[&[u8]], end: BodyEnd) -> LlmCall {
        let mut peer = Self::new();
        peer.request(1, Some("api.openai.com"), "/v1/chat/completions", request);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let call = peer.respond(1, status, content_type, response, end).unwrap();
        assert!(peer.exchanges.is_empty());
        call
    }
}

const REQUEST: &[u8] = br#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
const ANSWER: &[u8] = br#"{"id":"1","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"yo"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}"#;
const EVENTS: &[u8] = b"data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"yo\"},\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";

#[test]
fn a_text_that_is_cut_within_a_character_costs_no_number() {
    for cut in [&b"\\ud83d"[..], b"\xe2\x82"] {
        let with = |body: &[u8]| {
            let at = body.windows(2).position(|two| two == b"yo" || two == b"hi").unwrap();
            let (before, after) = body.split_at(at);
            [before, cut, after].concat()
        };
        for (label, answer) in [("application/json", ANSWER), ("text/event-stream", EVENTS)] {
            let call = Peer::chat(&[&with(REQUEST)], 200, label, &[&with(answer)], FINISHED);
            assert_eq!((call.request.model.as_deref(), call.usage.input_tokens), (Some("m"), Some(5)), "{label}");
            assert_eq!(call.estimation.output.text(), "\u{fffd}yo", "{label}");
            assert_eq!(call.response.finish_reasons, ["stop"], "{label}");
        }
    }
}

#[test]
fn a_mark_before_a_body_is_no_part_of_it() {
    let marked = |body: &[u8]| [&b"\xef\xbb\xbf"[..], body].concat();
    let (request, answer) = (marked(REQUEST), marked(ANSWER));
    for label in ["application/json", "text/event-stream", ""] {
        for cut in [0, 1, 2, 3, 4] {
            let (head, tail) = answer.split_at(cut);
            let pieces: Vec<&[u8]> = [head, tail].into_iter().filter(|piece| !piece.is_empty()).collect();
            let call = Peer::chat(&[&request], 200, label, &pieces, FINISHED);
            assert_eq!((call.request.model.as_deref(), call.usage.input_tokens), (Some("m"), Some(5)), "{label} cut at {cut}");
        }
    }
}

#[test]
fn the_body_knows_better_than_its_label() {
    for (label, body) in [
        ("application/json", ANSWER),
        ("text/event-stream", ANSWER),
        ("", ANSWER),
        ("text/plain", ANSWER),
        ("text/event-stream; charset=utf-8", EVENTS),
        ("TEXT/EVENT-STREAM", EVENTS),
        ("", EVENTS),
        ("application/octet-stream", EVENTS),
    ] {
        let padded = [b"\r\n \n".as_slice(), body].concat();
        for cut in [0, 1, 5, 9, padded.len()] {
            let (first, rest) = padded.split_at(cut);
            let pieces: Vec<&[u8]> = [first, rest].into_iter().filter(|piece| !piece.is_empty()).collect();
            let call = Peer::chat(&[REQUEST], 200, label, &pieces, FINISHED);
            assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(5), Some(2)), "{label} cut at {cut}");
            assert_eq!(call.response.finish_reasons, ["stop"]);
            assert_eq!(call.outcome.error_type, None);
        }
    }
}

#[test]
fn a_client_that_hangs_up_after_the_last_event_has_what_it_wanted() {
    let call = Peer::chat(&[REQUEST], 200, "text/event-stream", &[EVENTS], CUT);
    assert_eq!((call.outcome.error_type, call.usage.output_tokens), (None, Some(2)));
}

#[test]
fn an_answer_that_breaks_off_ends_with_error() {
    for (body, label, error) in
        [(EVENTS.split_at(60).0, "text/event-stream", "cancelled"), (ANSWER.split_at(60).0, "application/json", "connection_closed")]
    {
        let call = Peer::chat(&[REQUEST], 200, label, &[body], CUT);
        assert_eq!(call.outcome.error_type.as_deref(), Some(error));
        assert_eq!(call.response.finish_reasons, ["error"]);
        assert!(call.usage.is_absent() && call.completeness.is_whole());
    }
}

#[test]
fn no_response_is_a_closed_connection() {
    let mut peer = Peer::new();
    peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
    let call = peer.tell(1, HttpEventKind::ResponseEnd(CUT)).unwrap();
    assert_eq!(call.outcome.error_type.as_deref(), Some("connection_closed"));
    assert_eq!((call.response.status, call.response.finish_reasons), (None, vec!["error".to_owned()]));
}

#[test]
fn a_request_answered_before_its_end_keeps_what_was_seen_of_it() {
    let mut peer = Peer::new();
    peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[br#"{"model":"m","temperature":0.5,"messages":[{"ro"#]);
    let call = peer.respond(1, 413, "text/html", &[b"<html>"], FINISHED).unwrap();
    assert_eq!((call.request.model.as_deref(), call.request.temperature), (Some("m"), Some(0.5)));
    assert_eq!(call.outcome.error_type.as_deref(), Some("413"));
}

#[test]
fn parameters_on_both_sides_of_a_gap_are_recovered() {
    let mut peer = Peer::new();
    peer.request(
        1,
        Some("api.openai.com"),
        "/v1/chat/completions",
        &[br#"{"model":"m","messages":[{"content":"aa"#, b"", br#"a"}],"stream":true}"#],
    );
    let gap = Completeness::Gap { lost: Some(9), causes: LossCauses(1) };
    peer.tell(1, HttpEventKind::RequestEnd(BodyEnd { completeness: gap, framing: FramingEnd::Finished }));
    let call = peer.respond(1, 200, "text/event-stream", &[EVENTS], FINISHED).unwrap();
    assert_eq!((call.request.model.as_deref(), call.request.stream, call.completeness), (Some("m"), true, gap));
    assert_eq!(call.usage.input_tokens, Some(5));
}

#[test]
fn a_body_beyond_the_cap_keeps_its_parameters() {
    let piece = vec![b'x'; 1024 * 1024];
    let mut body: Vec<&[u8]> = vec![br#"{"model":"m","messages":[{"role":"user","content":""#];
    body.extend(std::iter::repeat_n(piece.as_slice(), 9));
    body.push(br#""}],"stream":true,"seed":4}"#);
    let call = Peer::chat(&body, 200, "text/event-stream", &[EVENTS], FINISHED);
    assert_eq!((call.request.model.as_deref(), call.request.stream, call.request.seed), (Some("m"), true, Some(4)));
    assert!(call.content.truncated && call.completeness.is_whole());
}

#[test]
fn a_prompt_of_four_megabytes_is_read_whole() {
    let text = "z".repeat(4 * 1024 * 1024);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}],"model":"m"}}"#);
    let call = Peer::chat(&[body.as_bytes()], 200, "application/json", &[ANSWER], FINISHED);
    assert_eq!(call.request.model.as_deref(), Some("m"));
    assert_eq!(call.estimation.input.total_bytes(), 4 * 1024 * 1024);
    assert!(call.content.truncated, "more than the cap for content");
}

#[test]
fn at_an_unknown_host_the_body_has_to_look_like_a_model_call() {
    let mut peer = Peer::new();
    peer.request(1, Some("chat.example"), "/v1/messages", &[br#"{"text":"hello","channel":7}"#]);
    peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
    assert!(peer.exchanges.is_empty());
    assert_eq!(peer.exchanges.counters().unlike, 1);
    peer.request(2, Some("llm.example"), "/v1/messages", &[br#"{"model":"c","max_tokens":1,"messages":[]}"#]);
    peer.tell(2, HttpEventKind::RequestEnd(FINISHED));
    let call = peer.respond(2, 200, "application/json", &[br#"{"usage":{"input_tokens":3,"output_tokens":1}}"#], FINISHED).unwrap();
    assert_eq!((call.provider.as_str(), call.server.known_host, call.usage.input_tokens), ("anthropic", false, Some(3)));
}

#[test]
fn what_is_missing_of_a_body_at_an_unknown_host_makes_no_call_of_it() {
    // A path that others have too, what is asked of a model there, and what is asked of somebody else.
    const PATHS: [(&str, &str, &str); 8] = [
        ("/generate", r#"{"inputs":"why?","parameters":{}"#, r#"{"report":"sales","format":"pdf"#),
        ("/predict", r#"{"inputs":"why?","truncate":true"#, r#"{"features":[1,2,3],"rows":7"#),
        ("/embed", r#"{"inputs":"why?","truncate":true"#, r#"{"url":"https://video.example/1","width":7"#),
        ("/completion", r#"{"prompt":"why?","n_predict":3"#, r#"{"order":7,"state":"done""#),
        ("/embedding", r#"{"content":"why?","x":3"#, r#"{"url":"https://video.example/1","width":7"#),
        ("/infill", r#"{"input_prefix":"fn","input_suffix":"}""#, r#"{"region":"north","method":"idw""#),
        ("/rerank", r#"{"query":"q","documents":["a"],"top_n":1"#, r#"{"list":7,"order":[3,1]"#),
        ("/v1/messages", r#"{"model":"c","max_tokens":1,"messages":[]"#, r#"{"text":"hello","channel":7"#),
    ];
    let cut: fn(&mut Peer) = |peer| assert!(peer.tell(1, HttpEventKind::RequestEnd(CUT)).is_none());
    let gap: fn(&mut Peer) = |peer| {
        peer.tell(1, HttpEventKind::RequestBody(b""));
        let completeness = Completeness::Gap { lost: None, causes: LossCauses(1) };
        peer.tell(1, HttpEventKind::RequestEnd(BodyEnd { completeness, framing: FramingEnd::Finished }));
    };
    let no_end: fn(&mut Peer) = |_| ();
    for (path, asked, other) in PATHS {
        for (nth, end) in [cut, gap, no_end].into_iter().enumerate() {
            let run = |body: &str, answer: &[u8]| {
                let mut peer = Peer::new();
                peer.request(1, Some("shop.example"), path, &[body.as_bytes(), b","]);
                end(&mut peer);
                let call = peer.respond(1, 200, "application/json", &[answer], FINISHED);
                assert!(peer.exchanges.is_empty());
                (call.is_some(), peer.exchanges.counters().unlike)
            };
            assert_eq!(run(other, br#"{"status":"ok","model":"Golf","text":"x"}"#), (false, 1), "{path} {nth}");
            assert_eq!(run(asked, b"{}"), (true, 0), "{path} {nth}");
        }
    }
}

#[test]
fn where_the_telling_part_of_a_request_was_lost_the_answer_tells() {
    let run = |host: &str, answer: &[u8], refused: bool| {
        let mut peer = Peer::new();
        peer.request(1, Some(host), "/v1/chat/completions", &[b"", br#""x"}],"stream":false}"#]);
        let completeness = Completeness::Gap { lost: None, causes: LossCauses(1) };
        peer.tell(1, HttpEventKind::RequestEnd(BodyEnd { completeness, framing: FramingEnd::Finished }));
        let doubtful = peer.exchanges.is_open(ExchangeId(1)) && peer.exchanges.open_call(ExchangeId(1), &peer.context).is_none();
        let call = peer.respond(1, if refused { 400 } else { 200 }, "application/json", &[answer], FINISHED);
        (doubtful, call.map(|call| (call.usage.input_tokens, call.completeness.is_whole())))
    };
    assert_eq!(run("llm.example", ANSWER, false), (true, Some((Some(5), false))));
    assert_eq!(run("llm.example", br#"{"choices":["red","blue"]}"#, false), (true, None));
    assert_eq!(run("llm.example", br#"{"error":{"message":"no"}}"#, true), (true, None));
    assert_eq!(run("api.openai.com", b"{}", false), (false, Some((None, false))));
}

#[test]
fn what_is_not_json_keeps_the_call_and_says_nothing_false() {
    for body in [&b"not json"[..], b"\xff\xfe\x00", b"[[[[", b"{\"model\": \"m\", \xff", b"\x1f\x8b\x08"] {
        let call = Peer::chat(&[body], 200, "application/json", &[body], FINISHED);
        assert!(call.usage.is_absent() && call.response.finish_reasons.is_empty(), "{body:?}");
        assert_eq!((call.outcome.error_type, call.completeness), (None, Completeness::Whole));
    }
}

#[test]
fn a_body_that_does_not_decode_is_missing_all_the_same() {
    let end = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Malformed(MalformedReason::ContentCoding) };
    let call = Peer::chat(&[REQUEST], 200, "application/json", &[], end);
    assert!(!call.completeness.is_whole() && call.outcome.error_type.is_none());
}

#[test]
fn exchanges_on_one_connection_do_not_mix_and_are_bounded() {
    let mut peer = Peer::new();
    for id in 1..=5 {
        peer.request(id, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
        peer.tell(id, HttpEventKind::RequestEnd(FINISHED));
    }
    assert_eq!((peer.exchanges.len(), peer.exchanges.counters().too_many), (3, 2));
    peer.request(9, Some("api.openai.com"), "/health", &[b"x"]);
    for id in [2, 3, 1] {
        let answer = String::from_utf8(ANSWER.to_vec()).unwrap().replace("\"id\":\"1\"", &format!("\"id\":\"{id}\""));
        let call = peer.respond(id, 200, "application/json", &[answer.as_bytes()], FINISHED).unwrap();
        assert_eq!(call.response.id, Some(id.to_string()));
    }
    assert!(peer.respond(4, 200, "application/json", &[ANSWER], FINISHED).is_none());
}

#[test]
fn the_times_are_those_of_the_first_event_and_the_first_content() {
    let role: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let call = Peer::chat(&[REQUEST], 200, "text/event-stream", &[b": keep-alive\n\n", role, EVENTS, b"data: [DONE]\n\n"], FINISHED);
    // Request 10, 20, 30; response head 40, comment 50, role 60, content 70, [DONE] 80, end 90.
    let timing = call.timing;
    assert_eq!(
        (timing.start.0, timing.first_chunk, timing.first_token, timing.last_token, timing.end.0),
        (0, Some(BootTime(60)), Some(BootTime(70)), Some(BootTime(70)), 90)
    );
}

#[test]
fn the_server_is_the_host_or_the_name_of_the_handshake_and_the_port_the_schemes() {
    let mut peer = Peer::new();
    peer.context.server_name = Some("api.groq.com".into());
    peer.request(1, None, "/openai/v1/chat/completions", &[REQUEST]);
    let call = peer.respond(1, 200, "application/json", &[ANSWER], FINISHED).unwrap();
    assert_eq!((call.provider.as_str(), call.server.address.as_deref(), call.server.port), ("groq", Some("api.groq.com"), Some(443)));
    peer.context.capture = CaptureFacts { library: Some(CaptureLibrary::Plaintext), method: Some(CaptureMethod::Socket) };
    peer.request(2, Some("vllm"), "/v1/chat/completions", &[REQUEST]);
    let call = peer.respond(2, 200, "application/json", &[ANSWER], FINISHED).unwrap();
    assert_eq!((call.server.port, call.operation), (Some(80), Operation::Chat));
}

#[test]
fn a_million_empty_objects_cost_no_memory_to_speak_of() {
    let body = format!(r#"{{"model":"m","messages":[{}{{}}],"tools":[{}{{}}]}}"#, "{},".repeat(300_000), "{},".repeat(300_000));
    let call = Peer::chat(&[body.as_bytes()], 200, "application/json", &[ANSWER], FINISHED);
    assert_eq!((call.estimation.input_messages, call.estimation.tool_definitions), (300_001, 300_001));
    assert!(call.content.input_messages.len() <= crate::call::MAX_MESSAGES && call.content.truncated);
}

#[test]
fn wrong_types_cost_only_their_own_field() {
    let request = br#"{"model":7,"messages":"x","stream":"yes","temperature":"0.5","max_tokens":12.0,"n":null,"stop":{"a":1},"tools":{},"seed":"x","top_p":0.1}"#;
    let response = br#"{"id":["x"],"model":"m-1","choices":{"0":1},"usage":{"prompt_tokens":-5,"completion_tokens":"2","prompt_tokens_details":7,"completion_tokens_details":{"reasoning_tokens":1e99}}}"#;
    let call = Peer::chat(&[request], 200, "application/json", &[response], FINISHED);
    assert_eq!((call.request.model.as_deref(), call.request.stream, call.request.temperature), (Some("7"), false, Some(0.5)));
    assert_eq!((call.request.max_tokens, call.request.top_p, call.request.seed), (Some(12), Some(0.1), None));
    assert_eq!((call.response.id, call.response.model.as_deref()), (None, Some("m-1")));
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens, call.usage.reasoning_output_tokens), (None, Some(2), None));
}

fn begin(peer: &mut Peer, host: &str, path: &str, content_type: &str) {
    let mut head = request("POST", host, path, &[("content-type", content_type)]);
    head.first_byte = BootTime(peer.time);
    peer.tell(1, HttpEventKind::Request(Box::new(head)));
}

#[test]
fn a_form_tells_what_is_asked_for_and_its_media_is_passed_over() {
    const FORM: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n\xff\x00\r\n--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n--x--";
    for cut in 0..=FORM.len() {
        let mut peer = Peer::new();
        begin(&mut peer, "speech.local", "/v1/audio/transcriptions", "multipart/form-data; boundary=x");
        let (first, rest) = FORM.split_at(cut);
        for piece in [first, rest].into_iter().filter(|piece| !piece.is_empty()) {
            peer.tell(1, HttpEventKind::RequestBody(piece));
        }
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let call = peer.respond(1, 200, "text/plain", &[b"hello"], FINISHED).unwrap();
        assert_eq!((call.request.model.as_deref(), call.operation.as_str()), (Some("whisper"), "transcription"), "cut at {cut}");
        assert_eq!(call.outcome.error_type, None);
    }
}

#[test]
fn a_word_of_a_path_makes_no_model_call_of_a_body_that_asks_for_nothing() {
    let mut peer = Peer::new();
    peer.request(1, Some("factory.example"), "/v1/engines/7/completions", &[br#"{"state":"running","rpm":900}"#]);
    peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
    assert!(peer.exchanges.is_empty());
    assert_eq!(peer.exchanges.counters().unlike, 1);
}

#[test]
fn a_path_may_name_the_model_that_its_body_does_not() {
    for (path, want) in [("/v1/engines/gpt-41-copilot/completions", "gpt-41-copilot"), ("/openai/deployments/d-1/completions", "d-1")] {
        let mut peer = Peer::new();
        peer.request(1, Some("llm.example"), path, &[br#"{"prompt":"fn","max_tokens":3}"#]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let call = peer.respond(1, 200, "application/json", &[br#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#], FINISHED).unwrap();
        assert_eq!((call.request.model.as_deref(), call.operation), (Some(want), Operation::TextCompletion));
    }
}

#[test]
fn what_no_dialect_knows_gives_what_is_known_of_it() {
    let mut peer = Peer::new();
    begin(&mut peer, "api.openai.com", "/v9/dreams/dr_1/render", "application/json");
    peer.tell(1, HttpEventKind::RequestBody(br#"{"model":"dream","wish":7}"#));
    peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
    let call = peer.respond(1, 404, "application/json", &[br#"{"error":{"type":"not_found"}}"#], FINISHED).unwrap();
    assert_eq!((call.operation.as_str(), call.request.model.as_deref()), ("unrecognised", Some("dream")));
    assert_eq!((call.response.status, call.outcome.error_type.as_deref()), (Some(404), Some("not_found")));
    assert_eq!(call.request.path_pattern.as_deref(), Some("/v9/{}/{}/{}"));
}

#[test]
fn a_body_that_looks_like_a_call_is_one_where_that_is_asked_for() {
    let ask = |body_shape, body: &[u8], gap: bool| {
        let mut peer = Peer::new();
        let routes = Routes::new(RouteSettings { body_shape, ..RouteSettings::default() }).unwrap();
        peer.exchanges = Exchanges::new(Arc::new(routes), ExchangeLimits::default());
        begin(&mut peer, "shop.example", "/ask", "application/json");
        peer.tell(1, HttpEventKind::RequestBody(body));
        if gap {
            peer.tell(1, HttpEventKind::RequestBody(b""));
        }
        let completeness = if gap { Completeness::JoinedLate } else { Completeness::Whole };
        peer.tell(1, HttpEventKind::RequestEnd(BodyEnd { completeness, framing: FramingEnd::Finished }));
        let unlike = peer.exchanges.counters().unlike;
        (peer.respond(1, 200, "text/event-stream", &[EVENTS], FINISHED).map(|call| call.usage.input_tokens), unlike)
    };
    assert_eq!(ask(true, REQUEST, false), (Some(Some(5)), 0));
    assert_eq!(ask(false, REQUEST, false), (None, 0));
    assert_eq!(ask(true, br#"{"model":"Golf","colour":"red"}"#, false), (None, 1));
    assert_eq!(ask(true, br#"{"model":"Golf","#, true), (None, 1));
}

#[test]
fn gaps_between_events_are_those_of_the_stream_and_not_of_our_losses() {
    let content = |text: &str| format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let run = |lossy: bool| {
        let mut peer = Peer::new();
        peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let mut headers = Headers::default();
        for (name, value) in [("content-type", "text/event-stream"), ("x-ratelimit-remaining-requests", "7")] {
            headers.push(name.into(), HeaderValue::Text(value.into()));
        }
        let head = ResponseHead { version: HttpVersion::Http11, status: 200, headers, first_byte: BootTime(peer.time) };
        peer.tell(1, HttpEventKind::Response(Box::new(head)));
        peer.tell(1, HttpEventKind::ResponseBody(content("a").as_bytes()));
        peer.time = peer.time.saturating_add(3_000_000_000);
        if lossy {
            peer.tell(1, HttpEventKind::ResponseBody(b""));
            peer.tell(1, HttpEventKind::ResponseBody(b"\n\n"));
        }
        peer.tell(1, HttpEventKind::ResponseBody(content("b").as_bytes()));
        peer.tell(1, HttpEventKind::ResponseBody(content("c").as_bytes()));
        let call = peer.tell(1, HttpEventKind::ResponseEnd(FINISHED)).unwrap();
        assert_eq!(call.response.rate_limit.remaining_requests, Some(7));
        (call.timing.gaps.longest_nanos(), call.timing.gaps.stalls())
    };
    assert_eq!(run(false), (Some(3_000_000_010), Some(1)));
    assert_eq!(run(true), (Some(10), Some(0)));
}

#[test]
fn a_grpc_status_behind_the_body_or_instead_of_it_fails_the_call() {
    let fields = |status: &str| {
        let mut headers = Headers::default();
        headers.push("content-type".into(), HeaderValue::Text("application/grpc".into()));
        headers.push("grpc-status".into(), HeaderValue::Text(status.into()));
        headers.push("grpc-message".into(), HeaderValue::Text("too%20late".into()));
        headers
    };
    let head = |headers| ResponseHead { version: HttpVersion::Http2, status: 200, headers, first_byte: BootTime(1) };
    // `candidates { content { parts { text: "yo" } } }`
    let message: &[u8] = &[0, 0, 0, 0, 10, 0x0a, 8, 0x0a, 6, 0x0a, 4, 0x0a, 2, b'y', b'o'];
    for (in_trailers, status, want) in
        [(true, "4", Some("DEADLINE_EXCEEDED")), (true, "0", None), (false, "14", Some("UNAVAILABLE")), (true, "777", Some("777"))]
    {
        let mut peer = Peer::new();
        let path = "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent";
        peer.request(1, Some("generativelanguage.googleapis.com"), path, &[&[0, 0, 0, 0, 0]]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        if in_trailers {
            peer.tell(1, HttpEventKind::Response(Box::new(head(Headers::default()))));
            peer.tell(1, HttpEventKind::ResponseBody(message));
            peer.tell(1, HttpEventKind::ResponseTrailers(Box::new(fields(status))));
        } else {
            peer.tell(1, HttpEventKind::Response(Box::new(head(fields(status)))));
        }
        let call = peer.tell(1, HttpEventKind::ResponseEnd(FINISHED)).unwrap();
        assert_eq!(call.outcome.error_type.as_deref(), want, "{status}");
        assert_eq!(call.outcome.error_message.as_deref(), want.map(|_| "too late"));
        assert_eq!(call.response.finish_reasons.first().map(String::as_str), want.map(|_| "error"));
    }
}

#[test]
fn a_body_that_does_not_decode_is_counted_and_what_is_nobodys_is_not_wanted() {
    let end = BodyEnd { completeness: Completeness::Whole, framing: FramingEnd::Malformed(MalformedReason::ContentTooLarge) };
    let mut peer = Peer::new();
    peer.request(1, Some("api.openai.com"), "/v1/chat/completions", &[REQUEST]);
    peer.request(2, Some("example.com"), "/", &[]);
    assert!(peer.exchanges.wants(ExchangeId(1)) && !peer.exchanges.wants(ExchangeId(2)));
    peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
    let call = peer.respond(1, 200, "", &[ANSWER], end).unwrap();
    assert!(!call.completeness.is_whole());
    assert_eq!(peer.exchanges.counters().undecoded, 1);
    assert!(!peer.exchanges.wants(ExchangeId(1)));
}

#[test]
fn slashes_side_by_side_are_one() {
    for (host, path) in [("api.anthropic.com", "//v1/messages"), ("llm.internal", "/team//v1//chat/completions")] {
        let mut peer = Peer::new();
        peer.request(1, Some(host), path, &[REQUEST]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        assert!(peer.exchanges.is_certain(ExchangeId(1)), "{path}");
    }
}

#[test]
fn at_an_unknown_host_a_chat_need_not_name_its_model() {
    let mut peer = Peer::new();
    peer.request(1, Some("localhost"), "/v1/chat/completions", &[br#"{"messages":[{"role":"user","content":"hi"}]}"#]);
    peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
    let call = peer.respond(1, 200, "application/json", &[ANSWER], FINISHED).unwrap();
    assert_eq!((call.request.model, call.response.model.as_deref(), call.usage.input_tokens), (None, Some("m-1"), Some(5)));
    peer.request(2, Some("localhost"), "/v1/chat/completions", &[br#"{"room":7}"#]);
    peer.tell(2, HttpEventKind::RequestEnd(FINISHED));
    assert!(peer.exchanges.is_empty());
}

#[test]
fn at_an_unknown_host_the_answer_tells_whether_a_response_was_fetched() {
    let fetched = |answer: &[u8]| {
        let mut peer = Peer::new();
        let mut head = request("GET", "llm.internal", "/proxy/v1/responses/resp_1", &[]);
        head.first_byte = BootTime(1);
        peer.tell(1, HttpEventKind::Request(Box::new(head)));
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        assert!(!peer.exchanges.is_certain(ExchangeId(1)));
        peer.respond(1, 200, "application/json", &[answer], FINISHED)
    };
    let told = fetched(br#"{"id":"resp_1","object":"response","status":"completed","model":"m","output":[]}"#).unwrap();
    assert_eq!((told.operation, told.response.id.as_deref()), (Operation::FetchResponse, Some("resp_1")));
    assert!(fetched(br#"{"answers":[1,2]}"#).is_none());
}

#[test]
fn what_a_gateway_has_charged_stands_in_its_head() {
    let cost = |status: u16, stated: &str| {
        let mut peer = Peer::new();
        peer.request(1, Some("litellm.internal"), "/v1/chat/completions", &[REQUEST]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        let mut headers = Headers::default();
        headers.push("x-litellm-response-cost".into(), HeaderValue::Text(stated.into()));
        let head = ResponseHead { version: HttpVersion::Http11, status, headers, first_byte: BootTime(peer.time) };
        peer.tell(1, HttpEventKind::Response(Box::new(head)));
        peer.tell(1, HttpEventKind::ResponseBody(ANSWER));
        peer.tell(1, HttpEventKind::ResponseEnd(FINISHED)).unwrap().response.stated_cost
    };
    assert_eq!(cost(200, "2.3e-05"), Some(NanoUsd(23_000)));
    // Not known yet, or no price; no number; nothing was answered.
    for (status, stated) in [(200, "0.0"), (200, "None"), (200, ""), (200, "-1"), (200, "1e300"), (429, "0.1")] {
        assert_eq!(cost(status, stated), None, "{stated:?} with {status}");
    }
}
