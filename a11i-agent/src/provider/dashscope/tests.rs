use super::*;
use crate::call::{CallFrame, Ending, LlmCall, Part};

fn built(operation: Operation, request: &str, answers: &[&str], whole: bool, gap: bool) -> LlmCall {
    let mut call = CallBuilder::new(ProviderName::of("dashscope"), operation, true);
    call.request.stream = !whole;
    DashScope.request(operation, request.as_bytes(), &mut call).unwrap();
    call.response.status = Some(200);
    for answer in answers {
        if whole {
            DashScope.response(answer.as_bytes(), &mut call).unwrap();
        } else {
            DashScope.chunk(&StreamFrame { event: Some("result"), data: answer.as_bytes() }, &mut call);
        }
    }
    if !whole {
        DashScope.stream_end(gap, &mut call);
    }
    call.build(CallFrame::default(), Ending::Seen)
}

const ASKED: &str = r#"{"model":"qwen-plus","input":{"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Who are you?"}]},"parameters":{"result_format":"message","temperature":0.7,"top_k":5,"max_tokens":100,"seed":42,"stop":["x"]}}"#;

#[test]
fn a_chat_is_read_as_it_is_documented() {
    let answer = r#"{"output":{"text":null,"finish_reason":null,"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":"I am Qwen.","tool_calls":null,"reasoning_content":"hm"}}]},"usage":{"input_tokens":22,"output_tokens":17,"total_tokens":39,"output_tokens_details":{"reasoning_tokens":5},"prompt_tokens_details":{"cached_tokens":7},"plugins":{"search":{"count":1}}},"request_id":"902fee3b"}"#;
    let call = built(Operation::Chat, ASKED, &[answer], true, false);
    let facts = &call.request;
    assert_eq!(
        (facts.model.as_deref(), facts.temperature, facts.top_k, facts.max_tokens),
        (Some("qwen-plus"), Some(0.7), Some(5), Some(100))
    );
    assert_eq!((facts.seed, facts.stop_sequences.as_slice(), call.estimation.input_messages), (Some(42), &["x".to_owned()][..], 2));
    let usage = &call.usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens), (Some(22), Some(17), Some(7)));
    assert_eq!((usage.reasoning_output_tokens, usage.web_search_requests), (Some(5), Some(1)));
    assert_eq!((call.response.id.as_deref(), call.response.finish_reasons.as_slice()), (Some("902fee3b"), &["stop".to_owned()][..]));
    let [Part::Reasoning { content: thought }, Part::Text { content }] = &call.content.output_messages[0].parts[..] else { panic!() };
    assert_eq!((thought.as_str(), content.as_str()), ("hm", "I am Qwen."));
}

fn event(reasoning: &str, text: &str, reason: &str, output: u64) -> String {
    format!(
        r#"{{"output":{{"choices":[{{"message":{{"content":"{text}","reasoning_content":"{reasoning}","role":"assistant"}},"finish_reason":"{reason}"}}]}},"usage":{{"total_tokens":{},"output_tokens":{output},"input_tokens":9}},"request_id":"r"}}"#,
        output.saturating_add(9)
    )
}

#[test]
fn events_say_what_is_new_or_all_so_far() {
    let all = [event("a", "", "null", 1), event("ab", "", "null", 2), event("ab", "c", "null", 3), event("ab", "cd", "stop", 4)];
    let new = [
        event("a", "", "null", 1),
        event("b", "", "null", 2),
        event("", "c", "null", 3),
        event("", "d", "null", 4),
        event("", "", "stop", 4),
    ];
    let said = r#"{"model":"qwen-plus","input":{"prompt":"x"},"parameters":{"incremental_output":true}}"#;
    let stutter = [event("", "1", "null", 1), event("", "10", "null", 2), event("", "", "stop", 2)];
    for (request, events, want) in
        [(ASKED, &all[..], ["ab", "cd"]), (ASKED, &new, ["ab", "cd"]), (said, &new, ["ab", "cd"]), (said, &stutter, ["", "110"])]
    {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let call = built(Operation::Chat, request, &events, false, true);
        let texts: Vec<_> = call.content.output_messages[0]
            .parts
            .iter()
            .filter_map(|part| if let Part::Reasoning { content } | Part::Text { content } = part { Some(content.as_str()) } else { None })
            .collect();
        let want: Vec<_> = want.into_iter().filter(|text| !text.is_empty()).collect();
        assert_eq!(texts, want);
        assert_eq!(call.estimation.output.text(), want.concat());
        assert_eq!((call.usage.input_tokens, call.response.finish_reasons.as_slice()), (Some(9), &["stop".to_owned()][..]));
    }
}

#[test]
fn tool_calls_are_put_together_however_they_come() {
    let piece = |name: &str, arguments: &str, reason: &str| {
        format!(
            r#"{{"output":{{"choices":[{{"message":{{"content":"","role":"assistant","tool_calls":[{{"index":0,"id":"call_1","type":"function","function":{{"name":"{name}","arguments":"{arguments}"}}}}]}},"finish_reason":"{reason}"}}]}},"usage":{{}}}}"#
        )
    };
    let all = [piece("w", r#"{\"a\""#, "null"), piece("w", r#"{\"a\":1}"#, "tool_calls")];
    let new = [piece("w", "", "null"), piece("", r#"{\"a\""#, "null"), piece("", ":1}", "tool_calls")];
    for events in [&all[..], &new] {
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        let call = built(Operation::Chat, ASKED, &events, false, false);
        let [Part::ToolCall { id, name, arguments }] = &call.content.output_messages[0].parts[..] else { panic!() };
        assert_eq!((id.as_deref(), name.as_str(), arguments.clone()), (Some("call_1"), "w", Some(serde_json::json!({"a": 1}))));
        assert_eq!(call.response.finish_reasons, ["tool_calls"]);
    }
}

#[test]
fn counts_of_a_stream_that_lost_its_end_are_not_told() {
    let begun = event("", "a", "null", 1);
    assert!(built(Operation::Chat, ASKED, &[&begun], false, true).usage.is_absent());
    assert_eq!(built(Operation::Chat, ASKED, &[&begun], false, false).usage.output_tokens, Some(1));
}

#[test]
fn failures_are_told_wherever_they_come() {
    let failure = r#"{"code":"InvalidParameter","message":"no","request_id":"r"}"#;
    for whole in [true, false] {
        let call = built(Operation::Chat, ASKED, &[failure], whole, false);
        assert_eq!((call.outcome.error_type.as_deref(), call.outcome.error_message.as_deref()), (Some("InvalidParameter"), Some("no")));
    }
    let fine = r#"{"status_code":200,"code":"","message":"","output":{"text":"x","finish_reason":"stop"}}"#;
    assert_eq!(built(Operation::Chat, ASKED, &[fine], true, false).outcome.error_type, None);
}

#[test]
fn what_only_reads_counts_as_input() {
    for (operation, request) in [
        (Operation::Embeddings, r#"{"model":"text-embedding-v4","input":{"texts":["wind","sorrow"]},"parameters":{"dimension":1024}}"#),
        (RERANK, r#"{"model":"gte-rerank-v2","input":{"query":"wind","documents":["sorrow"]}}"#),
        (RERANK, r#"{"model":"qwen3-vl-rerank","input":{"query":{"text":"wind"},"documents":[{"text":"sorrow"},{"image":"i"}]}}"#),
    ] {
        let call = built(operation, request, &[r#"{"output":{},"usage":{"total_tokens":27}}"#], true, false);
        assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(27), None), "{request}");
        assert_eq!(call.estimation.input.text(), "windsorrow");
    }
}

#[test]
fn the_model_tells_what_the_shared_path_is_used_for() {
    for (model, want) in [
        ("qwen3-vl-plus", "chat"),
        ("qwen3-tts-flash", "speech"),
        ("qwen3-asr-flash", "transcription"),
        ("qwen-image-plus", "image_generation"),
    ] {
        let request =
            format!(r#"{{"model":"{model}","input":{{"messages":[{{"role":"user","content":[{{"text":"x"}},{{"image":"u"}}]}}]}}}}"#);
        let call = built(Operation::Chat, &request, &[r#"{"output":{},"usage":{"input_tokens":3,"output_tokens":1}}"#], true, false);
        assert_eq!((call.operation.as_str(), call.usage.input_tokens), (want, Some(3)), "{model}");
    }
}

#[test]
fn an_application_counts_for_all_of_its_models() {
    let request = r#"{"input":{"prompt":"who?","session_id":"s"},"parameters":{"incremental_output":true},"debug":{}}"#;
    let one = r#"{"output":{"finish_reason":"stop","session_id":"s","text":"me"},"usage":{"models":[{"output_tokens":3,"model_id":"qwen-max","input_tokens":2}]},"request_id":"r"}"#;
    let two = r#"{"output":{"finish_reason":"stop","text":"me"},"usage":{"models":[{"output_tokens":3,"model_id":"a","input_tokens":2},{"output_tokens":4,"model_id":"b","input_tokens":5}]}}"#;
    let none = r#"{"output":{"finish_reason":"null","text":"me"},"usage":{}}"#;
    for (answer, want, model) in [(one, (Some(2), Some(3)), Some("qwen-max")), (two, (Some(7), Some(7)), None), (none, (None, None), None)]
    {
        let call = built(APPLICATION, request, &[answer], true, false);
        assert_eq!(((call.usage.input_tokens, call.usage.output_tokens), call.response.model.as_deref()), (want, model));
        assert_eq!(call.request.conversation_id.as_deref(), Some("s"));
    }
}

#[test]
fn nothing_hostile_becomes_a_number_or_a_choice() {
    for answer in
        ["null", "7", "[[[[", r#"{"output":[],"usage":{"input_tokens":-1,"output_tokens":1e99}}"#, r#"{"output":{"choices":{"a":1}}}"#]
    {
        let mut call = CallBuilder::new(ProviderName::of("dashscope"), Operation::Chat, true);
        DashScope.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
        assert!(call.usage.is_absent() && !call.is_answered(), "{answer}");
    }
}
