use super::*;
use crate::call::{CallFrame, Ending, LlmCall};

fn stream(events: &[&str], gap: bool) -> LlmCall {
    let mut call = CallBuilder::new(Anthropic.name(), Operation::Chat, true);
    for event in events {
        Anthropic.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    Anthropic.stream_end(gap, &mut call);
    call.build(CallFrame::default(), Ending::Seen)
}

const START: &str = r#"{"type":"message_start","message":{"id":"m","model":"c","usage":{"input_tokens":10,"cache_read_input_tokens":5,"cache_creation_input_tokens":2,"output_tokens":1}}}"#;

#[test]
fn later_counts_replace_earlier_ones_and_are_never_added() {
    let deltas = [
        START,
        r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":7}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":30,"cache_read_input_tokens":null,"output_tokens":9}}"#,
    ];
    let usage = stream(&deltas, false).usage;
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.cache_read_input_tokens), (Some(37), Some(9), Some(5)));
}

#[test]
fn the_start_value_of_the_output_count_is_not_the_count() {
    let usage = stream(&[START], false).usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(17), None));
}

#[test]
fn after_a_gap_input_counts_need_the_last_word() {
    assert_eq!(stream(&[START], true).usage.input_tokens, None);
    let only_end = [r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#];
    let usage = stream(&only_end, true).usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (None, Some(9)));
    let full_end = [
        r#"{"type":"message_delta","delta":{},"usage":{"input_tokens":1,"cache_read_input_tokens":2,"cache_creation_input_tokens":3,"output_tokens":9}}"#,
    ];
    assert_eq!(stream(&full_end, true).usage.input_tokens, Some(6));
}

#[test]
fn counts_that_do_not_fit_are_absent() {
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":-1,"cache_read_input_tokens":18446744073709551615}}}"#;
    assert_eq!(stream(&[start], false).usage.input_tokens, None);
}

#[test]
fn unknown_events_blocks_and_deltas_are_skipped() {
    let call = stream(
        &[
            START,
            "not json",
            "[]",
            r#"{"type":"brand_new","index":3}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"hologram","data":1}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"hologram_delta","x":1}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"late"}}"#,
        ],
        false,
    );
    let parts = &call.content.output_messages.first().unwrap().parts;
    assert_eq!(parts, &[Part::Generic { generic_type: "hologram".into() }, Part::Text { content: "late".into() }]);
}
