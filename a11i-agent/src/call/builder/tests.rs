use super::*;
use crate::call::{Message, Part, PartSlot};

fn builder(keep: bool) -> CallBuilder {
    CallBuilder::new(ProviderName::of("openai"), Operation::Chat, keep)
}

#[test]
fn pieces_of_parallel_tool_calls_find_their_calls() {
    let mut call = builder(true);
    call.tool_call(0, PartSlot(2), PartKind::ToolCall, Some("b"), Some("second"), "{\"x\"");
    call.tool_call(0, PartSlot(1), PartKind::ToolCall, Some("a"), Some("first"), "{}");
    call.tool_call(0, PartSlot(2), PartKind::ToolCall, None, None, ":1}");
    let call = call.build(CallFrame::default(), Ending::Seen);
    let parts = &call.content.output_messages[0].parts;
    assert_eq!(
        parts,
        &[
            Part::ToolCall { id: Some("a".into()), name: "first".into(), arguments: Some(serde_json::json!({})) },
            Part::ToolCall { id: Some("b".into()), name: "second".into(), arguments: Some(serde_json::json!({"x": 1})) },
        ]
    );
    assert_eq!(call.estimation.output_tool_calls, 2);
}

#[test]
fn without_a_policy_for_content_none_is_built_and_estimation_has_its_sample() {
    let mut call = builder(false);
    call.append(0, PartSlot(0), PartKind::Text, "hello");
    call.input_message(Message::default());
    call.finish(0, "stop");
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert_eq!(call.content, Content::default());
    assert_eq!(call.estimation.output.text(), "hello");
    assert_eq!(call.response.finish_reasons, ["stop"]);
}

#[test]
fn a_broken_answer_has_error_in_every_open_position() {
    let mut call = builder(false);
    call.request.choice_count = Some(3);
    call.finish(1, "stop");
    let call = call.build(CallFrame::default(), Ending::Broken);
    assert_eq!(call.response.finish_reasons, ["error", "stop", "error"]);
}

#[test]
fn finish_reasons_that_may_be_lost_are_not_told_by_halves() {
    let mut call = builder(false);
    call.choice(0);
    call.finish(1, "stop");
    assert!(call.build(CallFrame::default(), Ending::Unknown).response.finish_reasons.is_empty());
}

#[test]
fn content_beyond_the_cap_is_cut_at_a_character_and_marked() {
    let mut call = builder(true);
    for _ in 0..3 {
        call.append(0, PartSlot(0), PartKind::Text, &"\u{e9}".repeat(300_001));
    }
    let call = call.build(CallFrame::default(), Ending::Seen);
    let Some(Part::Text { content }) = call.content.output_messages[0].parts.first() else { panic!("no text") };
    assert!(content.len() <= OUTPUT_CONTENT_CAP && content.len() > OUTPUT_CONTENT_CAP - 2);
    assert!(call.content.truncated);
    assert_eq!(call.estimation.output.total_bytes(), 1_800_006);
}

#[test]
fn choices_and_parts_are_bounded() {
    let mut call = builder(true);
    for n in 0..100_000u32 {
        call.append(n, PartSlot(0), PartKind::Text, "x");
        call.append(0, PartSlot(u64::from(n)), PartKind::Text, "x");
    }
    assert_eq!(call.choices.len(), MAX_CHOICES);
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert!(call.content.truncated);
    assert!(call.content.output_messages[0].parts.len() <= 1024);
}
