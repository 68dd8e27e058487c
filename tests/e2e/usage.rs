//! Numbers that the provider does not give.

use a11i_tests::workload::curl::{chat, message};
use serde_json::json;

use crate::scene::{ANTHROPIC_MESSAGES, OPENAI_CHAT, Scene};

#[tokio::test]
async fn a_stream_without_usage_is_marked_as_estimated() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let body = json!({"model": "gpt-4o-mini", "stream": true, "messages": [{"role": "user", "content": "one two three four five"}]});
    let done = curl.header("x-stub-chunks", "40").post(OPENAI_CHAT, &body).run().await;
    let (calls, _) = scene.calls_are_reported(done.pid).await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!(call.text("a11i.usage.source"), Some("estimated"), "{call:#?}");
    // The answer has 40 short words: an estimate is of that size, or it is none.
    assert!(call.int("gen_ai.usage.output_tokens").is_some_and(|tokens| (40..=400).contains(&tokens)), "{call:#?}");
    assert!(call.int("gen_ai.usage.input_tokens").is_some_and(|tokens| (5..=50).contains(&tokens)), "{call:#?}");
    assert_eq!(call.attribute("gen_ai.usage.reasoning.output_tokens"), None, "absent is never zero: {call:#?}");
    assert_eq!(call.attribute("gen_ai.usage.cache_read.input_tokens"), None, "absent is never zero: {call:#?}");
}

#[tokio::test]
async fn an_answer_without_usage_is_marked_as_estimated() {
    let Some(scene) = Scene::set().await else { return };
    let mut pids = Vec::new();
    for (url, body) in
        [(OPENAI_CHAT, chat("gpt-4o-mini", "hello there")), (ANTHROPIC_MESSAGES, message("claude-haiku-4-5", "hello there", false))]
    {
        let Some(curl) = scene.curl() else { return };
        pids.push(curl.header("x-stub-usage", "none").header("x-stub-chunks", "40").post(url, &body).run().await.pid);
    }
    for pid in pids {
        let calls = scene.agent.calls_of(pid, 1).await;
        let [call] = &calls[..] else { panic!("{calls:#?}") };
        assert_eq!(call.text("a11i.usage.source"), Some("estimated"), "{call:#?}");
        assert!(call.int("gen_ai.usage.output_tokens").is_some_and(|tokens| (40..=400).contains(&tokens)), "{call:#?}");
    }
    scene.agent.stop().await;
}

#[tokio::test]
async fn a_model_without_a_price_has_no_cost() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    let done = curl.post(OPENAI_CHAT, &chat("model-that-nobody-sells", "hi")).run().await;
    let (calls, _) = scene.calls_are_reported(done.pid).await;
    assert!(calls.iter().all(|call| call.attribute("a11i.cost.usd").is_none()), "{calls:#?}");
}
