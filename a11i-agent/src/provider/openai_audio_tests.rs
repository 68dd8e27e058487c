use super::*;
use crate::call::{CallFrame, Ending, LlmCall};

fn call(operation: Operation) -> CallBuilder {
    CallBuilder::new(ProviderName::of("openai"), operation, true)
}

fn text(call: &LlmCall) -> String {
    let parts = call.content.output_messages.iter().flat_map(|message| &message.parts);
    parts.map(|part| if let Part::Text { content } = part { content.as_str() } else { "" }).collect()
}

#[test]
fn a_transcription_is_json_or_the_text_itself() {
    for (body, want, input) in [
        (
            r#"{"text":"hello","usage":{"type":"tokens","input_tokens":9,"input_token_details":{"audio_tokens":9},"output_tokens":2}}"#,
            "hello",
            Some(9),
        ),
        (r#"{"text":"hello","usage":{"type":"duration","seconds":3}}"#, "hello", None),
        ("1\n00:00:00,000 --> 00:00:01,000\nhello\n", "1\n00:00:00,000 --> 00:00:01,000\nhello\n", None),
    ] {
        let mut call = call(TRANSCRIPTION);
        OpenAiAudio.response(body.as_bytes(), &mut call).unwrap();
        let call = call.build(CallFrame::default(), Ending::Seen);
        assert_eq!((text(&call).as_str(), call.usage.input_tokens), (want, input), "{body}");
    }
    assert!(OpenAiAudio.response(br#"{"text":"hel"#, &mut call(TRANSCRIPTION)).is_err());
}

#[test]
fn the_last_event_of_a_transcription_repeats_it_whole() {
    let mut call = call(TRANSCRIPTION);
    for event in [
        r#"{"type":"transcript.text.delta","delta":"hel"}"#,
        r#"{"type":"transcript.text.delta","delta":"lo"}"#,
        r#"{"type":"transcript.text.done","text":"hello","usage":{"type":"tokens","input_tokens":9,"output_tokens":2}}"#,
        "[DONE]",
    ] {
        OpenAiAudio.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
    }
    assert!(call.is_finished());
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert_eq!((text(&call).as_str(), call.usage.output_tokens), ("hello", Some(2)));
}

#[test]
fn audio_that_is_counted_beside_the_prompt_is_input() {
    let mut call = call(TRANSCRIPTION);
    let body = br#"{"text":"a","usage":{"prompt_tokens":3,"completion_tokens":11,"total_tokens":389,"prompt_tokens_details":{"audio_tokens":375}}}"#;
    OpenAiAudio.response(body, &mut call).unwrap();
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(378), Some(11)));
}

#[test]
fn speech_comes_as_sound_or_as_events() {
    let mut whole = call(SPEECH);
    OpenAiAudio.request(SPEECH, br#"{"model":"tts","input":"hello","voice":"alloy","stream_format":"sse"}"#, &mut whole).unwrap();
    assert!(whole.request.stream && OpenAiAudio.response(b"ID3\x04\xff\xfb", &mut whole).is_ok());
    let mut events = call(SPEECH);
    for event in
        [r#"{"type":"speech.audio.delta","audio":"AA"}"#, r#"{"type":"speech.audio.done","usage":{"input_tokens":4,"output_tokens":70}}"#]
    {
        OpenAiAudio.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut events);
    }
    assert!(events.take_new_output() && events.is_finished());
    assert_eq!(events.usage.output_tokens, Some(70));
}

#[test]
fn a_form_and_json_ask_for_the_same() {
    for body in [
        &br#"{"model":"w","stream":true,"temperature":0.5}"#[..],
        br#"{"model":"w","stream":"true","temperature":"0.5","file":{"bytes":3}}"#,
    ] {
        let mut call = call(TRANSCRIPTION);
        OpenAiAudio.request(TRANSCRIPTION, body, &mut call).unwrap();
        assert_eq!((call.request.model.as_deref(), call.request.stream, call.request.temperature), (Some("w"), true, Some(0.5)));
    }
}
