//! Which requests are model calls, where host and path do not say it beyond doubt.

use super::*;

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
fn slashes_side_by_side_are_one() {
    for (host, path) in [("api.anthropic.com", "//v1/messages"), ("llm.internal", "/team//v1//chat/completions")] {
        let mut peer = Peer::new();
        peer.request(1, Some(host), path, &[REQUEST]);
        peer.tell(1, HttpEventKind::RequestEnd(FINISHED));
        assert!(peer.exchanges.is_certain(ExchangeId(1)), "{path}");
    }
}

#[test]
fn what_no_dialect_knows_gives_what_is_known_of_it() {
    let mut peer = Peer::new();
    peer.begin("api.openai.com", "/v9/dreams/dr_1/render", "application/json");
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
        peer.begin("shop.example", "/ask", "application/json");
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
