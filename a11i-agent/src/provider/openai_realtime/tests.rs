use crate::{
    call::{LlmCall, Operation, OutputType, Part},
    http::SocketPeer,
    provider::conversation::tests::{LOST, Talk},
};

const SESSION: &str = r#"{"type":"session.created","event_id":"e1","session":{"type":"realtime","id":"sess_1","model":"gpt-realtime-2025-08-28",
    "output_modalities":["audio"],"instructions":"Be brief.","max_output_tokens":"inf",
    "tools":[{"type":"function","name":"weather","description":"Tells it.","parameters":{"type":"object"}}],
    "audio":{"input":{"transcription":{"model":"gpt-4o-transcribe"},"turn_detection":{"type":"server_vad"}}}}}"#;

const USAGE: &str = r#"{"total_tokens":253,"input_tokens":132,"output_tokens":121,
    "input_token_details":{"text_tokens":119,"audio_tokens":13,"image_tokens":0,"cached_tokens":64,
        "cached_tokens_details":{"text_tokens":60,"audio_tokens":4,"image_tokens":0}},
    "output_token_details":{"text_tokens":30,"audio_tokens":91}}"#;

fn talk() -> Talk {
    let mut talk = Talk::begun("api.openai.com", "/v1/realtime", Some("model=gpt-realtime"));
    talk.server(SESSION);
    talk
}

fn created(talk: &mut Talk, id: &str, conversation: &str) {
    talk.server(&format!(
        r#"{{"type":"response.created","response":{{"object":"realtime.response","id":"{id}","status":"in_progress","conversation_id":{conversation},"output":[],"usage":null}}}}"#
    ));
}

fn done(talk: &mut Talk, id: &str, status: &str, details: &str, output: &str, usage: &str) {
    talk.server(&format!(
        r#"{{"type":"response.done","response":{{"id":"{id}","status":"{status}","status_details":{details},"output":{output},"conversation_id":"conv_1","usage":{usage}}}}}"#
    ));
}

fn ids(calls: &[LlmCall]) -> Vec<Option<&str>> {
    calls.iter().map(|call| call.response.id.as_deref()).collect()
}

#[test]
fn a_response_that_was_asked_for_has_usage_by_modality_and_the_sessions_parameters() {
    let mut talk = talk();
    talk.client(
        r#"{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[{"type":"input_text","text":"hi"}]}}"#,
    );
    let before = talk.time;
    talk.client(r#"{"type":"response.create","event_id":"c1","response":{"max_output_tokens":200}}"#);
    created(&mut talk, "resp_1", "\"conv_1\"");
    talk.server(
        r#"{"type":"response.output_audio.delta","response_id":"resp_1","item_id":"i","output_index":0,"content_index":0,"delta":"AAAA"}"#,
    );
    talk.server(r#"{"type":"response.output_audio_transcript.delta","response_id":"resp_1","item_id":"i","output_index":0,"content_index":0,"delta":"Hel"}"#);
    let output =
        r#"[{"id":"i","type":"message","role":"assistant","status":"completed","content":[{"type":"output_audio","transcript":"Hello"}]}]"#;
    done(&mut talk, "resp_1", "completed", "null", output, USAGE);
    let calls = talk.close();
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    let usage = &call.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens), (Some(132), Some(121), Some(64)));
    assert_eq!(
        (usage.input_by_modality.text, usage.input_by_modality.audio, usage.input_by_modality.image),
        (Some(119), Some(13), Some(0))
    );
    assert_eq!((usage.output_by_modality.text, usage.output_by_modality.audio), (Some(30), Some(91)));
    assert_eq!((usage.cache_read_by_modality.text, usage.cache_read_by_modality.audio), (Some(60), Some(4)));
    assert_eq!((call.request.model.as_deref(), call.response.model.as_deref()), (Some("gpt-realtime"), Some("gpt-realtime-2025-08-28")));
    assert_eq!((call.request.max_tokens, call.request.output_type), (Some(200), Some(OutputType::Speech)));
    assert_eq!((call.request.conversation_id.as_deref(), call.response.api_type), (Some("conv_1"), None));
    assert_eq!(call.response.finish_reasons, ["completed"]);
    assert_eq!((call.timing.start.0, call.timing.first_chunk.unwrap().0), (before + 5, before + 20));
    assert_eq!((call.timing.first_token.unwrap().0, call.timing.end.0), (before + 30, before + 50));
    let texts = |parts: &[Part]| parts.to_vec();
    assert_eq!(texts(&call.content.output_messages[0].parts), [Part::Text { content: "Hello".into() }]);
    assert_eq!(texts(&call.content.input_messages[0].parts), [Part::Text { content: "hi".into() }]);
    assert_eq!(call.content.system_instructions, [Part::Text { content: "Be brief.".into() }]);
    assert_eq!(call.content.tool_definitions[0].name, "weather");
    assert!(call.estimation.input.is_empty() && call.estimation.output.is_empty());
}

#[test]
fn what_the_server_answers_by_itself_began_when_it_had_heard_enough() {
    let mut talk = talk();
    talk.client(r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#);
    talk.server(r#"{"type":"input_audio_buffer.speech_started","item_id":"u1"}"#);
    talk.server(r#"{"type":"input_audio_buffer.committed","item_id":"u1"}"#);
    let committed = talk.time;
    created(&mut talk, "resp_1", "\"conv_1\"");
    talk.server(r#"{"type":"conversation.item.input_audio_transcription.delta","item_id":"u1","content_index":0,"delta":"wea"}"#);
    talk.server(
        r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"u1","content_index":0,"transcript":"weather?",
            "usage":{"type":"tokens","total_tokens":22,"input_tokens":13,"input_token_details":{"text_tokens":0,"audio_tokens":13},"output_tokens":9}}"#,
    );
    let output =
        r#"[{"id":"f","type":"function_call","status":"completed","call_id":"call_1","name":"weather","arguments":"{\"city\":\"Bern\"}"}]"#;
    done(&mut talk, "resp_1", "completed", "null", output, USAGE);
    // The next answer was not made by what was heard before.
    created(&mut talk, "resp_2", "\"conv_1\"");
    let second = talk.time;
    done(&mut talk, "resp_2", "cancelled", r#"{"type":"cancelled","reason":"turn_detected"}"#, "[]", USAGE);
    let calls = talk.close();
    let [transcription, first, last] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!(
        (transcription.operation, transcription.request.model.as_deref()),
        (Operation::Other("transcription"), Some("gpt-4o-transcribe"))
    );
    assert_eq!(
        (transcription.usage.input_tokens, transcription.usage.output_tokens, transcription.timing.start.0),
        (Some(13), Some(9), committed)
    );
    assert_eq!((first.timing.start.0, last.timing.start.0), (committed, second));
    assert_eq!(first.estimation.output_tool_calls, 1);
    assert!(matches!(&first.content.output_messages[0].parts[..], [Part::ToolCall { name, .. }] if name == "weather"));
    assert_eq!((last.response.finish_reasons[0].as_str(), last.outcome.error_type.as_deref()), ("turn_detected", None));
}

#[test]
fn transcripts_that_are_billed_by_the_second_have_no_tokens() {
    let mut talk = talk();
    talk.server(r#"{"type":"conversation.item.input_audio_transcription.completed","item_id":"u1","transcript":"x","usage":{"type":"duration","seconds":3}}"#);
    talk.server(r#"{"type":"conversation.item.input_audio_transcription.failed","item_id":"u2","error":{"type":"transcription_error","code":"audio_unintelligible"}}"#);
    let calls = talk.close();
    assert_eq!((calls[0].usage.input_tokens, calls[0].usage.output_tokens), (None, None));
    assert_eq!(calls[1].outcome.error_type.as_deref(), Some("transcription_error"));
}

#[test]
fn responses_beside_each_other_are_told_apart_by_their_ids() {
    let mut talk = talk();
    talk.client(r#"{"type":"response.create","response":{"conversation":"none"}}"#).client(r#"{"type":"response.create"}"#);
    created(&mut talk, "resp_1", "null");
    created(&mut talk, "resp_2", "\"conv_1\"");
    done(&mut talk, "resp_2", "completed", "null", "[]", USAGE);
    talk.server(r#"{"type":"response.text.delta","response_id":"resp_1","output_index":0,"content_index":0,"delta":"a"}"#);
    done(&mut talk, "resp_1", "incomplete", r#"{"type":"incomplete","reason":"max_output_tokens"}"#, "[]", USAGE);
    let calls = talk.close();
    assert_eq!(ids(&calls), [Some("resp_2"), Some("resp_1")]);
    assert_eq!(calls[1].response.finish_reasons, ["max_output_tokens"]);
    assert_eq!(calls[1].request.conversation_id.as_deref(), Some("conv_1"));
}

#[test]
fn a_failure_is_that_of_the_response_it_names() {
    let mut talk = talk();
    talk.server(r#"{"type":"input_audio_buffer.committed","item_id":"u1"}"#);
    done(&mut talk, "resp_1", "failed", r#"{"type":"failed","error":{"type":"server_error","code":"rate_limit_exceeded"}}"#, "[]", "null");
    talk.client(r#"{"type":"response.create","event_id":"mine"}"#);
    talk.server(r#"{"type":"error","error":{"type":"invalid_request_error","code":"x","event_id":"another"}}"#);
    assert_eq!(talk.calls.len(), 1);
    talk.server(
        r#"{"type":"error","error":{"type":"invalid_request_error","code":"conversation_already_has_active_response","event_id":"mine"}}"#,
    );
    let calls = talk.close();
    assert_eq!(calls[0].outcome.error_type.as_deref(), Some("server_error"));
    assert_eq!((calls[1].outcome.error_type.as_deref(), calls.len()), (Some("invalid_request_error"), 2));
}

#[test]
fn a_failure_that_names_nothing_is_a_calls_only_if_no_answer_comes() {
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_value","event_id":null}}"#;
    let mut talk = talk();
    talk.client(r#"{"type":"response.create"}"#);
    talk.server(error);
    created(&mut talk, "resp_1", "\"conv_1\"");
    done(&mut talk, "resp_1", "completed", "null", "[]", USAGE);
    talk.client(r#"{"type":"response.create"}"#);
    talk.server(error);
    let refused = talk.time;
    let calls = talk.close();
    assert_eq!((calls[0].outcome.error_type.as_deref(), calls[0].usage.output_tokens), (None, Some(121)));
    assert_eq!((calls[1].outcome.error_type.as_deref(), calls[1].timing.end.0), (Some("invalid_request_error"), refused));
}

#[test]
fn losses_mark_calls_and_never_give_a_number_that_was_not_sent() {
    let mut talk = talk();
    created(&mut talk, "resp_1", "\"conv_1\"");
    talk.lose(SocketPeer::Server);
    created(&mut talk, "resp_2", "\"conv_1\"");
    talk.server_cut(r#"{"type":"response.done","event_id":"e","response":{"id":"resp_2","usage":{"input_tokens":13"#);
    created(&mut talk, "resp_3", "\"conv_1\"");
    done(&mut talk, "resp_3", "completed", "null", "[]", USAGE);
    let calls = talk.close();
    assert_eq!(ids(&calls), [Some("resp_1"), Some("resp_2"), Some("resp_3")]);
    for call in &calls[..2] {
        assert_eq!((call.usage.input_tokens, call.completeness, call.outcome.error_type.as_deref()), (None, LOST, None));
    }
    assert_eq!((calls[2].usage.input_tokens, calls[2].completeness.is_whole()), (Some(132), true));
}

#[test]
fn azures_deployment_is_the_model_that_is_asked_for() {
    let query = Some("api-version=2025-04-01-preview&deployment=my-realtime");
    let mut talk = Talk::begun("x.openai.azure.com", "/openai/realtime", query);
    talk.client(r#"{"type":"response.create"}"#);
    created(&mut talk, "resp_1", "\"conv_1\"");
    done(&mut talk, "resp_1", "completed", "null", "[]", USAGE);
    let calls = talk.close();
    assert_eq!((calls[0].provider.as_str(), calls[0].request.model.as_deref()), ("azure.ai.openai", Some("my-realtime")));
}

#[test]
fn hostile_messages_change_nothing() {
    let mut talk = talk();
    created(&mut talk, "resp_1", "\"conv_1\"");
    for text in [
        "",
        "null",
        "{\"type\":7}",
        "{\"type\":\"response.done\"}",
        "{\"type\":\"session.updated\",\"session\":[[]]}",
        "{\"type\":\"error\"}",
    ] {
        talk.server(text).client(text);
    }
    for n in 0..1_000 {
        talk.client(r#"{"type":"response.create"}"#);
        talk.server(&format!(r#"{{"type":"input_audio_buffer.committed","item_id":"{n}"}}"#));
    }
    assert!(talk.exchanges.len() <= 64);
    done(&mut talk, "resp_9", "completed", "null", "[]", r#"{"input_tokens":-1,"output_tokens":99999999999999999999999}"#);
    let call = talk.calls.pop().unwrap();
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (None, None));
}

#[test]
fn an_answer_that_is_seen_before_its_question_waits_for_it() {
    let mut talk = talk();
    for n in 1..=2 {
        created(&mut talk, &format!("resp_{n}"), "\"conv_1\"");
        let began = talk.time;
        done(&mut talk, &format!("resp_{n}"), "completed", "null", "[]", USAGE);
        talk.client(r#"{"type":"response.create","response":{"max_output_tokens":200}}"#);
        let call = talk.calls.last().unwrap();
        assert_eq!((call.request.max_tokens, call.timing.start.0, call.timing.end.0), (Some(200), began, began + 10));
        assert_eq!((talk.calls.len(), call.request.conversation_id.as_deref()), (n, Some("conv_1")));
    }
    assert_eq!(ids(&talk.close()), [Some("resp_1"), Some("resp_2")]);
}

#[test]
fn a_failure_that_is_seen_before_what_it_refuses_is_its_failure() {
    let mut talk = talk();
    talk.server(r#"{"type":"error","error":{"type":"invalid_request_error","event_id":"mine"}}"#);
    talk.client(r#"{"type":"response.create","event_id":"other"}"#);
    talk.client(r#"{"type":"response.create","event_id":"mine","response":{"max_output_tokens":200}}"#);
    assert_eq!(talk.calls.len(), 1);
    let refused = &talk.calls[0];
    assert_eq!((refused.outcome.error_type.as_deref(), refused.request.max_tokens), (Some("invalid_request_error"), Some(200)));
    assert!(refused.timing.start <= refused.timing.end);
    created(&mut talk, "resp_1", "\"conv_1\"");
    done(&mut talk, "resp_1", "completed", "null", "[]", USAGE);
    let calls = talk.close();
    assert_eq!((calls[1].outcome.error_type.as_deref(), calls.len()), (None, 2));
}

#[test]
fn a_failure_without_a_name_is_that_of_what_is_asked_at_the_same_moment_unless_it_is_answered() {
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","event_id":null}}"#;
    for (later, answered, want) in [
        (0, false, "invalid_request_error"),
        (0, true, ""),
        // Long after: something else was refused.
        (2_000_000_000, false, "connection_closed"),
    ] {
        let mut talk = talk();
        talk.server(error);
        talk.time += later;
        let asked = talk.time + 5;
        talk.client(r#"{"type":"response.create"}"#);
        if answered {
            created(&mut talk, "resp_1", "\"conv_1\"");
            done(&mut talk, "resp_1", "completed", "null", "[]", USAGE);
        }
        let calls = talk.close();
        assert_eq!((calls[0].outcome.error_type.as_deref().unwrap_or_default(), calls.len()), (want, 1));
        assert_eq!(calls[0].timing.start.0, asked);
    }
}

#[test]
fn a_session_that_never_worked_is_a_call_that_failed_and_one_that_did_is_none() {
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let mut refused = talk();
    refused.server(error).server(error);
    let calls = refused.close();
    assert_eq!((calls[0].outcome.error_type.as_deref(), calls.len()), (Some("invalid_request_error"), 1));
    let mut worked = talk();
    worked.client(r#"{"type":"response.create"}"#);
    created(&mut worked, "resp_1", "\"conv_1\"");
    done(&mut worked, "resp_1", "completed", "null", "[]", USAGE);
    worked.server(error);
    assert_eq!(worked.close().len(), 1);
}

#[test]
fn a_failure_whose_question_may_have_been_lost_is_a_marked_call() {
    let mut talk = talk();
    talk.client(r#"{"type":"response.create"}"#);
    created(&mut talk, "resp_1", "\"conv_1\"");
    done(&mut talk, "resp_1", "completed", "null", "[]", USAGE);
    talk.lose(SocketPeer::Client);
    talk.server(r#"{"type":"error","error":{"type":"invalid_request_error"}}"#);
    let calls = talk.close();
    assert_eq!((calls[1].outcome.error_type.as_deref(), calls[1].completeness, calls.len()), (Some("invalid_request_error"), LOST, 2));
}
