use crate::{
    call::{LlmCall, Operation, OutputType, Part},
    http::SocketPeer,
    provider::conversation::tests::{LOST, Talk},
};

const PATH: &str = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";

const SETUP: &str = r#"{"setup":{"model":"models/gemini-live-2.5-flash","generationConfig":{"responseModalities":["AUDIO"],"temperature":0.5,
    "maxOutputTokens":300},"systemInstruction":{"parts":[{"text":"Be brief."}]},"tools":[{"functionDeclarations":[{"name":"weather"}]}],
    "outputAudioTranscription":{}}}"#;

fn talk() -> Talk {
    let mut talk = Talk::begun("generativelanguage.googleapis.com", PATH, Some("alt=ws"));
    talk.client(SETUP).server(r#"{"setupComplete":{}}"#);
    talk
}

fn say(talk: &mut Talk, text: &str) {
    talk.client(&format!(r#"{{"clientContent":{{"turns":[{{"role":"user","parts":[{{"text":"{text}"}}]}}],"turnComplete":true}}}}"#));
}

fn text(talk: &mut Talk, text: &str) {
    talk.server(&format!(r#"{{"serverContent":{{"modelTurn":{{"parts":[{{"text":"{text}"}}]}}}}}}"#));
}

fn sound(talk: &mut Talk) {
    talk.server(r#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":"AAAA"}}]}}}"#);
}

fn complete(talk: &mut Talk, input: u64) {
    talk.server(&format!(r#"{{"serverContent":{{"turnComplete":true}},{}}}"#, usage(input)));
}

fn usage(input: u64) -> String {
    format!(
        r#""usageMetadata":{{"promptTokenCount":{input},"responseTokenCount":19,"totalTokenCount":{},
        "promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}],
        "responseTokensDetails":[{{"modality":"AUDIO","tokenCount":19}}]}}"#,
        input + 19
    )
}

fn inputs(calls: &[LlmCall]) -> Vec<Option<u64>> {
    calls.iter().map(|call| call.usage.input_tokens).collect()
}

#[test]
fn each_answer_is_a_call_with_its_own_usage_and_the_setups_parameters() {
    let mut talk = talk();
    for (n, input) in [(1, 143), (2, 181)] {
        let asked = talk.time + 5;
        say(&mut talk, "hi");
        sound(&mut talk);
        talk.server(r#"{"serverContent":{"outputTranscription":{"text":"Hel"}}}"#);
        talk.server(r#"{"serverContent":{"outputTranscription":{"text":"lo"}}}"#);
        talk.server(r#"{"serverContent":{"generationComplete":true}}"#);
        complete(&mut talk, input);
        assert_eq!(talk.calls.len(), n);
        let call = talk.calls.last().unwrap();
        assert_eq!((call.operation, call.provider.as_str()), (Operation::GenerateContent, "gcp.gemini"));
        assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(input), Some(19)));
        assert_eq!((call.usage.input_by_modality.text, call.usage.output_by_modality.audio), (Some(input), Some(19)));
        assert_eq!((call.request.model.as_deref(), call.request.temperature), (Some("gemini-live-2.5-flash"), Some(0.5)));
        assert_eq!((call.request.max_tokens, call.request.output_type, call.request.stream), (Some(300), Some(OutputType::Speech), true));
        assert_eq!((call.timing.start.0, call.timing.first_token.unwrap().0), (asked, asked + 15));
        assert_eq!(call.timing.end.0, talk.time);
        assert_eq!(call.response.finish_reasons, ["turnComplete"]);
        assert!(call.completeness.is_whole() && call.outcome.error_type.is_none());
        let content = &call.content;
        assert_eq!((content.input_messages.len(), content.system_instructions.len(), content.tool_definitions.len()), (1, 1, 1));
        assert!(content.output_messages[0].parts.contains(&Part::Text { content: "Hello".into() }));
    }
    assert_eq!(talk.close().len(), 2);
}

#[test]
fn usage_may_come_in_a_message_of_its_own_behind_the_end() {
    let mut talk = talk();
    for input in [1, 2] {
        say(&mut talk, "hi");
        text(&mut talk, "a");
        talk.server(r#"{"serverContent":{"turnComplete":true}}"#);
        let end = talk.time;
        talk.server(r#"{"sessionResumptionUpdate":{"newHandle":"h"}}"#);
        assert_eq!(end + 10, talk.time);
        talk.server(&format!("{{{}}}", usage(input)));
    }
    // Of the last one it never comes.
    say(&mut talk, "hi");
    text(&mut talk, "a");
    talk.server(r#"{"serverContent":{"turnComplete":true}}"#);
    let calls = talk.close();
    assert_eq!(inputs(&calls), [Some(1), Some(2), None]);
    assert!(calls.iter().all(|call| call.response.finish_reasons == ["turnComplete"] && call.outcome.error_type.is_none()));
}

#[test]
fn an_answer_that_calls_functions_ends_and_their_results_ask_for_the_next() {
    let mut talk = talk();
    say(&mut talk, "weather?");
    talk.server(&format!(
        r#"{{"toolCall":{{"functionCalls":[{{"id":"f1","name":"weather","args":{{"city":"Rome"}}}},{{"id":"f2","name":"weather","args":{{}}}}]}},{}}}"#,
        usage(10)
    ));
    assert_eq!(talk.calls.len(), 1);
    talk.client(r#"{"toolResponse":{"functionResponses":[{"id":"f1","name":"weather","response":{"c":30}}]}}"#);
    // Late, and of the answer before.
    talk.server(r#"{"serverContent":{"turnComplete":true}}"#);
    talk.client(r#"{"toolResponse":{"functionResponses":[{"id":"f2","name":"weather","response":{"c":31}}]}}"#);
    text(&mut talk, "Hot.");
    complete(&mut talk, 20);
    let calls = talk.close();
    assert_eq!(inputs(&calls), [Some(10), Some(20)]);
    assert_eq!((calls[0].response.finish_reasons[0].as_str(), calls[1].response.finish_reasons[0].as_str()), ("toolCall", "turnComplete"));
    let [Part::ToolCall { id, name, arguments }, _] = &calls[0].content.output_messages[0].parts[..] else {
        panic!("{:?}", calls[0].content)
    };
    assert_eq!((id.as_deref(), name.as_str(), arguments.as_ref().unwrap()["city"].as_str()), (Some("f1"), "weather", Some("Rome")));
    assert!(matches!(&calls[1].content.input_messages[0].parts[..], [Part::ToolCallResponse { id, .. }] if id.as_deref() == Some("f1")));
}

#[test]
fn what_the_server_answers_by_itself_began_when_it_had_heard_enough() {
    let mut talk = talk();
    talk.client(r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm","data":"AAAA"}}}"#);
    talk.client(r#"{"realtimeInput":{"activityEnd":{}}}"#);
    let heard = talk.time;
    talk.server(r#"{"serverContent":{"inputTranscription":{"text":"hello"}}}"#);
    sound(&mut talk);
    talk.server(r#"{"serverContent":{"interrupted":true}}"#);
    complete(&mut talk, 7);
    // Transcripts are in no order with what they are of.
    talk.server(r#"{"serverContent":{"outputTranscription":{"text":"late"}}}"#);
    let calls = talk.close();
    assert_eq!((inputs(&calls), calls[0].timing.start.0), (vec![Some(7)], heard));
    assert_eq!((calls[0].response.finish_reasons[0].as_str(), calls[0].request.temperature), ("interrupted", Some(0.5)));
}

#[test]
fn an_answer_that_is_seen_before_its_question_waits_for_it() {
    let mut talk = talk();
    for input in [1, 2] {
        text(&mut talk, "a");
        complete(&mut talk, input);
        say(&mut talk, "hi");
    }
    let calls = talk.close();
    assert_eq!(inputs(&calls), [Some(1), Some(2)]);
    assert!(calls.iter().all(|call| call.content.input_messages.len() == 1));
}

#[test]
fn losses_mark_calls_and_what_ends_without_an_answer_has_failed() {
    let mut talk = talk();
    say(&mut talk, "hi");
    text(&mut talk, "a");
    talk.lose(SocketPeer::Server);
    say(&mut talk, "hi");
    text(&mut talk, "b");
    complete(&mut talk, 5);
    say(&mut talk, "hi");
    let calls = talk.close();
    assert_eq!(inputs(&calls), [None, Some(5), None]);
    assert_eq!((calls[0].completeness, calls[1].completeness.is_whole()), (LOST, true));
    assert_eq!(calls[2].outcome.error_type.as_deref(), Some("connection_closed"));
}

#[test]
fn vertex_ai_has_a_path_of_its_own() {
    let mut talk =
        Talk::begun("us-central1-aiplatform.googleapis.com", "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent", None);
    talk.client(r#"{"setup":{"model":"projects/p/locations/us-central1/publishers/google/models/gemini-live"}}"#);
    say(&mut talk, "hi");
    text(&mut talk, "a");
    talk.server(r#"{"serverContent":{"turnComplete":true,"turnCompleteReason":"NEED_MORE_INPUT"},"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"thoughtsTokenCount":4,"trafficType":"ON_DEMAND"}}"#);
    let calls = talk.close();
    assert_eq!((calls[0].provider.as_str(), calls[0].request.model.as_deref()), ("gcp.vertex_ai", Some("gemini-live")));
    assert_eq!((calls[0].usage.output_tokens, calls[0].usage.reasoning_output_tokens), (Some(6), Some(4)));
    assert_eq!((calls[0].response.finish_reasons[0].as_str(), calls.len()), ("NEED_MORE_INPUT", 1));
}

#[test]
fn hostile_messages_change_nothing() {
    let mut talk = talk();
    say(&mut talk, "hi");
    text(&mut talk, "a");
    let deep = format!("{{\"serverContent\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for text in ["", "null", "[]", "{", "{\"setup\":7}", "{\"serverContent\":[]}", "{\"toolCall\":{\"functionCalls\":7}}", deep.as_str()] {
        talk.server(text).client(text);
    }
    for _ in 0..1_000 {
        talk.client(r#"{"clientContent":{"turnComplete":true}}"#);
        talk.client(r#"{"realtimeInput":{"text":"x"}}"#);
    }
    assert!(talk.exchanges.len() <= 64);
    talk.server(r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":-4,"responseTokenCount":1e99}}"#);
    let calls = talk.close();
    assert!(calls.iter().all(|call| call.usage.is_absent()));
}

#[test]
fn at_an_unknown_host_its_words_vouch_for_it() {
    let mut talk = Talk::begun("proxy.example", PATH, None);
    talk.client(r#"{"op":"hello"}"#);
    assert!(!talk.exchanges.has_conversation());
    let mut talk = Talk::begun("proxy.example", PATH, None);
    talk.client(SETUP);
    say(&mut talk, "hi");
    text(&mut talk, "a");
    complete(&mut talk, 3);
    assert_eq!(inputs(&talk.close()), [Some(3)]);
}
