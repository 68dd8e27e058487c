use super::*;
use crate::call::{CallFrame, Ending, LlmCall, Usage};

fn call(operation: Operation) -> CallBuilder {
    CallBuilder::new(ProviderName::of("openai"), operation, true)
}

fn answered(body: &str) -> LlmCall {
    let mut call = call(GENERATION);
    OpenAiImages.response(body.as_bytes(), &mut call).unwrap();
    call.build(CallFrame::default(), Ending::Seen)
}

#[test]
fn usage_is_split_by_modality() {
    let usage = answered(
        r#"{"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":30,"input_tokens_details":{"image_tokens":20,"text_tokens":10},
        "output_tokens":50,"output_tokens_details":{"image_tokens":40,"text_tokens":10}}}"#,
    )
    .usage;
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(30), Some(50)));
    assert_eq!((usage.input_by_modality.image, usage.output_by_modality.text), (Some(20), Some(10)));
}

#[test]
fn what_is_not_counted_in_tokens_has_none() {
    assert_eq!(
        answered(r#"{"created":1,"data":[{"url":"https://images.example/1.png","revised_prompt":"a cat"}]}"#).usage,
        Usage::default()
    );
    let xai = answered(r#"{"data":[{"url":"u"}],"usage":{"cost_in_usd_ticks":200000000}}"#);
    assert_eq!((xai.usage.is_absent(), xai.response.stated_cost.map(|cost| cost.0)), (true, Some(20_000_000)));
}

#[test]
fn a_stream_of_partial_images_ends_with_the_image_and_its_usage() {
    let mut call = call(EDIT);
    for event in [
        r#"{"type":"image_edit.partial_image","b64_json":"AA","partial_image_index":0}"#,
        r#"{"type":"image_edit.completed","b64_json":"BB","usage":{"input_tokens":3,"output_tokens":4}}"#,
    ] {
        OpenAiImages.chunk(&StreamFrame { event: None, data: event.as_bytes() }, &mut call);
        assert!(call.take_new_output());
    }
    assert!(call.is_finished());
    let call = call.build(CallFrame::default(), Ending::Seen);
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(3), Some(4)));
    let image = Part::Blob { modality: Modality::Image, mime_type: None, content: "BB".into() };
    assert_eq!(call.content.output_messages[0].parts, [image]);
}

#[test]
fn fireworks_names_the_model_in_the_path() {
    for (path, want) in [
        ("/inference/v1/workflows/accounts/fireworks/models/flux/text_to_image", Some("accounts/fireworks/models/flux")),
        ("/inference/v1/image_generation/accounts/fireworks/models/sdxl", Some("accounts/fireworks/models/sdxl")),
        ("/inference/v1/workflows/text_to_image", None),
        ("/v1/images/generations", None),
    ] {
        assert_eq!(fireworks_model(path), want, "{path}");
    }
}

#[test]
fn hostile_bodies_say_nothing() {
    for body in [
        r#"{"data":{"url":1},"usage":{"input_tokens":-1,"output_tokens":1e300,"input_tokens_details":[[[[]]]]}}"#,
        r#"{"data":[1,null,[],{"url":null}],"usage":"7"}"#,
        "[]",
        "7",
    ] {
        assert_eq!(answered(body).usage, Usage::default(), "{body}");
    }
    assert!(OpenAiImages.response(b"{\"data\":", &mut call(GENERATION)).is_err());
}
