use super::MistralConversations;
use crate::{
    call::{CallBuilder, CallFrame, Ending, LlmCall, Operation, Part, ProviderName},
    provider::{Dialect, StreamFrame},
};

fn streamed(events: &[&str]) -> LlmCall {
    let mut call = CallBuilder::new(ProviderName::of("mistral_ai"), Operation::Chat, true);
    for event in events {
        MistralConversations.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn pieces_of_an_output_are_texts_or_objects() {
    let call = streamed(&[
        r#"{"type":"message.output.delta","output_index":0,"content_index":0,"content":{"type":"thinking","thinking":[{"type":"text","text":"Hm."}]}}"#,
        r#"{"type":"message.output.delta","output_index":0,"content_index":1,"content":"Hi"}"#,
        r#"{"type":"message.output.delta","output_index":0,"content_index":1,"content":{"type":"text","text":"gh."}}"#,
        r#"{"type":"message.output.delta","output_index":0,"content_index":2,"content":{"type":"tool_reference","tool":"web_search"}}"#,
        r#"{"type":"message.output.delta","output_index":0,"content_index":3,"content":" Now."}"#,
    ]);
    assert_eq!(
        call.content.output_messages[0].parts,
        [Part::Reasoning { content: "Hm.".into() }, Part::Text { content: "High.".into() }, Part::Text { content: " Now.".into() }]
    );
}

#[test]
fn only_the_last_event_counts() {
    let begun = r#"{"type":"message.output.delta","content":"a","usage":{"prompt_tokens":1}}"#;
    assert!(streamed(&[begun]).usage.is_absent());
    let done = r#"{"type":"conversation.response.done","usage":{"prompt_tokens":8,"completion_tokens":3,"connectors":null}}"#;
    let usage = streamed(&[begun, done]).usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.web_search_requests), (Some(8), Some(3), None));
}

#[test]
fn nothing_hostile_panics() {
    for event in [
        "{",
        "[]",
        r#"{"type":"message.output.delta","output_index":18446744073709551615,"content":"a"}"#,
        r#"{"type":"message.output.delta","output_index":281474976710656,"content_index":281474976710656,"content":"a"}"#,
        r#"{"type":"conversation.response.done","usage":{"prompt_tokens":-4,"completion_tokens":"x","connectors":[1]}}"#,
        r#"{"type":"conversation.response.error","code":{},"message":7}"#,
    ] {
        assert!(streamed(&[event]).usage.is_absent(), "{event}");
    }
}
