//! `a11i control`.

use std::time::Duration;

use a11i_tests::{
    agent::{AgentOptions, signal},
    otlp_sink::OtlpSink,
    provider_stub::Options,
    workload::curl::{chat, chat_stream},
};
use rustix::process::Signal;
use serde_json::json;

use super::{a11i, asked, counter, kernel, status, status_when};
use crate::scene::{OPENAI_CHAT, Scene, assert_whole, words};

#[tokio::test]
async fn detach_under_load_stops_copying_and_attach_brings_calls_back() {
    let Some(scene) = Scene::set().await else { return };
    let Some(curl) = scene.curl() else { return };
    // Streams that go on long after the brake was pulled; of one of them there is always something on its way.
    let mut streams = Vec::new();
    for (chunks, pace) in [("1500", "4"), ("1500", "4"), ("100000", "0")] {
        let Some(curl) = scene.curl() else { return };
        let curl = curl.header("x-stub-chunks", chunks).header("x-stub-pace-ms", pace);
        streams.push(curl.post(OPENAI_CHAT, &chat_stream("gpt-4o-mini", "under load")).start().await);
    }
    let pids: Vec<u32> = streams.iter().filter_map(tokio::process::Child::id).collect();
    // Each of them is being copied.
    let before = kernel("copied_bytes").await;
    status_when(|status| counter(status, "copied_bytes") >= before + 20_000).await;
    // The switch comes first, the links are closed one after the other behind it: nobody waits for their end here.
    let detaching = tokio::spawn(async { a11i(&["control", "detach"]).await });
    status_when(|status| status.get("switched_off") == Some(&json!(true))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopped = counter(&status().await, "copied_bytes");
    while !detaching.is_finished() {
        let status = status().await;
        assert_eq!(counter(&status, "copied_bytes"), stopped, "copied after the brake was pulled: {status:#}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let output = detaching.await.expect("asking does not panic");
    assert!(output.status.success(), "{}", words(&output));
    assert_eq!(kernel("copied_bytes").await, stopped, "copied after the brake was pulled");
    // The probes were still hit: it was the switch that stopped the copying, and not the end of the links.
    assert!(kernel("switched_off_bytes").await > 0, "nothing was left out by the switch");
    let status = asked().await;
    assert_eq!(status.pointer("/status/switched_off"), Some(&json!(true)), "{status:#}");
    assert_eq!(status.pointer("/status/phase"), Some(&json!("detached")), "{status:#}");
    scene.agent.wait_for_phase("detached").await;
    assert_eq!((scene.agent.health("/ready").await, scene.agent.health("/health").await), (Some(503), Some(200)));

    // What was under way is told, and why it is not whole.
    for pid in &pids {
        let calls = scene.agent.calls_of(*pid, 1).await;
        assert_eq!(calls[0].attribute("a11i.capture.complete"), Some(&json!(false)), "{:#?}", calls[0]);
        assert!(
            calls[0].attribute("a11i.capture.loss_causes").is_some_and(|causes| causes.to_string().contains("switched_off")),
            "{:#?}",
            calls[0]
        );
    }
    // The programs know nothing of it.
    for stream in streams {
        let output = stream.wait_with_output().await.expect("curl can be waited for");
        assert!(output.status.success(), "{}", words(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("[DONE]"), "{}", words(&output));
    }
    assert_eq!(kernel("copied_bytes").await, stopped);
    let unseen = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "not to be seen")).run().await;
    assert!(unseen.output.status.success());

    let output = a11i(&["control", "attach"]).await;
    assert!(output.status.success(), "{}", words(&output));
    scene.agent.wait_for_phase("ready").await;
    let Some(curl) = scene.curl() else { return };
    let seen = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "to be seen")).run().await;
    let calls = scene.agent.calls_of(seen.pid, 1).await;
    scene.stub.expected().last().expect("it was answered").assert_reported_as(&calls[0]);
    assert_whole(&calls[0]);
    let finished = scene.agent.stop().await;
    assert!(!finished.calls.iter().any(|call| call.pid() == Some(unseen.pid)), "{:#?}", finished.calls);
}

#[tokio::test]
async fn detach_and_attach_in_a_circle_end_as_they_were_told_last() {
    let Some(scene) = Scene::set().await else { return };
    for action in ["detach", "detach", "attach", "attach", "detach", "attach"] {
        let output = a11i(&["control", action]).await;
        assert!(output.status.success(), "{action}: {}", words(&output));
        let off = asked().await.pointer("/status/switched_off").cloned();
        assert_eq!(off, Some(json!(action == "detach")), "{action}");
    }
    let Some(curl) = scene.curl() else { return };
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "after all that")).run().await;
    scene.calls_are_reported(done.pid).await;
}

#[tokio::test]
async fn sampling_leaves_out_spans_and_counts_every_call() {
    let sink = OtlpSink::start();
    let Some(scene) = Scene::set_with(Options::default(), AgentOptions::default().export_to(&sink, "http/protobuf")).await else { return };
    for (arguments, code) in [(["control", "sampling", "1.5"], 1), (["control", "sampling", "0"], 0)] {
        let output = a11i(&arguments).await;
        assert_eq!(output.status.code(), Some(code), "{}", words(&output));
    }
    let Some(curl) = scene.curl() else { return };
    let left_out = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "not in the traces")).run().await;
    scene.agent.calls_of(left_out.pid, 1).await;
    assert!(a11i(&["control", "sampling", "1"]).await.status.success());
    let Some(curl) = scene.curl() else { return };
    let kept = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "in the traces")).run().await;
    scene.agent.calls_of(kept.pid, 1).await;
    scene.agent.stop().await;
    let pids: Vec<Option<u32>> = sink.spans().iter().map(a11i_tests::observed::ObservedCall::pid).collect();
    assert!(pids.contains(&Some(kept.pid)) && !pids.contains(&Some(left_out.pid)), "{pids:?}");
}

#[tokio::test]
async fn reload_takes_over_what_it_can_and_a_mistake_changes_nothing() {
    let file = std::env::temp_dir().join(format!("a11i-reload-{}.yaml", std::process::id()));
    std::fs::write(&file, "content: none\n").expect("the temporary folder is writable");
    let path = file.display().to_string();
    let options = AgentOptions::default().argument("--config").argument(&path);
    let Some(scene) = Scene::set_with(Options::default(), options).await else { return };

    std::fs::write(&file, "content: everything\n").expect("it can be written");
    let output = a11i(&["control", "reload"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains(":1:") && words(&output).contains("nothing was changed"), "{}", words(&output));

    std::fs::write(&file, "content: full\nsemconv: latest\n").expect("it can be written");
    let output = a11i(&["control", "reload"]).await;
    assert!(output.status.success(), "{}", words(&output));
    assert!(words(&output).contains("changed: content") && words(&output).contains("needs a restart: semconv"), "{}", words(&output));
    // A service manager's way to the same.
    signal(scene.agent.pid(), Signal::HUP);
    scene.agent.wait_for_log(&["SIGHUP", "configuration"]).await;
    let Some(curl) = scene.curl() else { return };
    let done = curl.post(OPENAI_CHAT, &chat("gpt-4o-mini", "a prompt that may be seen now")).run().await;
    let calls = scene.agent.calls_of(done.pid, 1).await;
    assert!(calls[0].text("gen_ai.input.messages").is_some_and(|said| said.contains("may be seen now")), "{:#?}", calls[0]);
    scene.agent.stop().await;
    std::fs::remove_file(file).expect("it was written above");
}
