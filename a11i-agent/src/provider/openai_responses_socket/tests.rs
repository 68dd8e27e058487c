use crate::{
    call::LlmCall,
    http::SocketPeer,
    provider::conversation::tests::{LOST, Talk},
};

fn talk() -> Talk {
    Talk::begun("api.openai.com", "/v1/responses", None)
}

fn create(talk: &mut Talk, model: &str) {
    talk.client(&format!(r#"{{"type":"response.create","model":"{model}","store":false,"input":"hi","temperature":0.5}}"#));
}

fn created(talk: &mut Talk, id: &str) {
    talk.server(&format!(
        r#"{{"type":"response.created","response":{{"id":"{id}","model":"gpt-5-mini-2025-08-07","status":"in_progress"}}}}"#
    ));
}

fn delta(talk: &mut Talk) {
    talk.server(r#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"Hel"}"#);
}

fn completed(talk: &mut Talk, id: &str, output_tokens: u64) {
    talk.server(&format!(
        r#"{{"type":"response.completed","response":{{"id":"{id}","model":"gpt-5-mini-2025-08-07","status":"completed","output":[],
            "usage":{{"input_tokens":11,"input_tokens_details":{{"cached_tokens":4}},"output_tokens":{output_tokens}}}}}}}"#
    ));
}

fn ids(calls: &[LlmCall]) -> Vec<Option<&str>> {
    calls.iter().map(|call| call.response.id.as_deref()).collect()
}

#[test]
fn each_response_of_a_connection_is_a_call_with_its_own_times() {
    let mut talk = talk();
    for (id, tokens) in [("resp_1", 7), ("resp_2", 9)] {
        let before = talk.time;
        create(&mut talk, "gpt-5-mini");
        created(&mut talk, id);
        delta(&mut talk);
        completed(&mut talk, id, tokens);
        let call = talk.calls.last().unwrap();
        assert_eq!(call.timing.start.0, before + 5);
        assert_eq!(call.timing.first_chunk.unwrap().0, before + 20);
        assert_eq!(call.timing.first_token.unwrap().0, before + 30);
        assert_eq!(call.timing.end.0, before + 40);
        assert_eq!(
            (call.usage.input_tokens, call.usage.cache_read_input_tokens, call.usage.output_tokens),
            (Some(11), Some(4), Some(tokens))
        );
        assert_eq!((call.request.model.as_deref(), call.request.temperature, call.request.stream), (Some("gpt-5-mini"), Some(0.5), true));
        assert_eq!(call.response.finish_reasons, ["completed"]);
        assert_eq!((call.request.organization.as_deref(), call.response.request_id.as_deref()), (Some("org-1"), Some("req_1")));
        assert!(call.completeness.is_whole() && call.outcome.error_type.is_none());
    }
    assert_eq!(ids(&talk.close()), [Some("resp_1"), Some("resp_2")]);
}

#[test]
fn an_error_ends_what_was_asked_and_the_connection_goes_on() {
    let mut talk = talk();
    create(&mut talk, "gpt-5-mini");
    talk.server(
        r#"{"type":"error","status":400,"error":{"type":"invalid_request_error","code":"previous_response_not_found","message":"no"}}"#,
    );
    create(&mut talk, "gpt-5-mini");
    created(&mut talk, "resp_2");
    completed(&mut talk, "resp_2", 1);
    let calls = talk.close();
    assert_eq!(calls[0].outcome.error_type.as_deref(), Some("invalid_request_error"));
    assert_eq!((calls[1].outcome.error_type.as_deref(), calls.len()), (None, 2));
}

#[test]
fn what_is_open_when_the_connection_ends_was_cancelled() {
    let mut talk = talk();
    create(&mut talk, "gpt-5-mini");
    created(&mut talk, "resp_1");
    delta(&mut talk);
    let calls = talk.close();
    assert_eq!((calls[0].outcome.error_type.as_deref(), calls[0].usage.output_tokens), (Some("cancelled"), None));
    assert_eq!(calls[0].response.finish_reasons, ["error"]);
}

#[test]
fn a_lost_end_leaves_a_marked_call_without_numbers() {
    for cut in [false, true] {
        let mut talk = talk();
        create(&mut talk, "gpt-5-mini");
        created(&mut talk, "resp_1");
        if cut {
            talk.server_cut(r#"{"type":"response.completed","response":{"id":"resp_1","status":"compl"#);
        } else {
            talk.lose(SocketPeer::Server);
        }
        create(&mut talk, "gpt-5-mini");
        created(&mut talk, "resp_2");
        completed(&mut talk, "resp_2", 3);
        let calls = talk.close();
        assert_eq!(ids(&calls), [Some("resp_1"), Some("resp_2")]);
        assert_eq!((calls[0].usage.output_tokens, calls[0].completeness, calls[0].outcome.error_type.as_deref()), (None, LOST, None));
        assert_eq!((calls[1].usage.output_tokens, calls[1].completeness.is_whole()), (Some(3), true));
    }
}

#[test]
fn an_answer_whose_request_was_lost_is_a_marked_call_all_the_same() {
    let mut talk = talk();
    talk.lose(SocketPeer::Client);
    created(&mut talk, "resp_1");
    completed(&mut talk, "resp_1", 3);
    let calls = talk.close();
    assert_eq!((calls[0].usage.output_tokens, calls[0].completeness, calls[0].request.model.as_deref()), (Some(3), LOST, None));
}

#[test]
fn hostile_messages_change_nothing() {
    let mut talk = talk();
    create(&mut talk, "gpt-5-mini");
    created(&mut talk, "resp_1");
    let deep = format!("{{\"type\":\"response.completed\",\"response\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for text in ["", "null", "[]", "{", "\0", "{\"type\":null}", deep.as_str()] {
        talk.server(text).client(text);
    }
    talk.server(r#"{"type":"response.completed","response":{"id":"resp_1","usage":{"input_tokens":-4,"output_tokens":1e99}}}"#);
    let calls = talk.close();
    assert_eq!(ids(&calls), [Some("resp_1")]);
    assert_eq!((calls[0].usage.input_tokens, calls[0].usage.output_tokens), (None, None));
}

#[test]
fn a_failure_that_is_seen_before_what_it_refuses_is_its_failure() {
    let error = r#"{"type":"error","status":429,"error":{"type":"rate_limit_error","message":"slow"}}"#;
    let mut talk = talk();
    talk.server(error);
    create(&mut talk, "gpt-5-mini");
    assert_eq!(talk.calls.len(), 1);
    create(&mut talk, "gpt-5-mini");
    created(&mut talk, "resp_2");
    completed(&mut talk, "resp_2", 1);
    // Nothing asks for this one: it is a call all the same.
    talk.server(error);
    let calls = talk.close();
    let told: Vec<_> = calls.iter().map(|call| (call.outcome.error_type.as_deref(), call.request.model.as_deref())).collect();
    assert_eq!(told, [(Some("rate_limit_error"), Some("gpt-5-mini")), (None, Some("gpt-5-mini")), (Some("rate_limit_error"), None)]);
}

#[test]
fn a_failure_within_an_answer_and_the_answers_end_are_one_call() {
    for ends in [true, false] {
        let mut talk = talk();
        create(&mut talk, "gpt-5-mini");
        created(&mut talk, "resp_1");
        talk.server(r#"{"type":"error","error":{"type":"insufficient_quota","message":"no"}}"#);
        if ends {
            talk.server(r#"{"type":"response.failed","response":{"id":"resp_1","status":"failed","error":{"code":"insufficient_quota"}}}"#);
        }
        create(&mut talk, "gpt-5-mini");
        created(&mut talk, "resp_2");
        completed(&mut talk, "resp_2", 1);
        let calls = talk.close();
        assert_eq!(ids(&calls), [Some("resp_1"), Some("resp_2")]);
        assert_eq!(calls[0].outcome.error_type.as_deref(), Some("insufficient_quota"));
        assert_eq!((calls[1].outcome.error_type.as_deref(), calls[1].usage.output_tokens), (None, Some(1)));
    }
}

#[test]
fn a_connection_that_has_lived_for_as_long_as_it_may_is_no_call_that_failed() {
    let mut talk = talk();
    create(&mut talk, "gpt-5-mini");
    created(&mut talk, "resp_1");
    completed(&mut talk, "resp_1", 1);
    talk.server(r#"{"type":"error","status":400,"error":{"code":"websocket_connection_limit_reached","message":"60 minutes"}}"#);
    assert_eq!(ids(&talk.close()), [Some("resp_1")]);
}

#[test]
fn failures_without_end_at_an_unknown_host_are_followed_no_longer_and_are_no_calls() {
    let mut talk = Talk::begun("feed.example", "/v1/responses", None);
    for _ in 0..100 {
        talk.server(r#"{"type":"error"}"#);
    }
    assert!(talk.exchanges.is_empty());
    assert_eq!(talk.exchanges.counters().unlike, 1);
    assert!(talk.close().is_empty());
}
