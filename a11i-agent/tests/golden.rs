//! Bytes of exchanges → calls, compared with what they should be. Needs no root and no kernel.
//!
//! `tests/corpus` holds synthetic exchanges of this project (`UPDATE_EXPECT=1` rewrites what is expected of them); the recorded
//! corpus stays outside and is used where it is found.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what went wrong by failing, and prints why it skips"
)]

#[path = "golden/drive.rs"]
mod drive;
#[path = "golden/expect.rs"]
mod expect;
#[path = "golden/framings.rs"]
mod framings;
#[path = "golden/scenario.rs"]
mod scenario;
#[path = "golden/truth.rs"]
mod truth;
#[path = "golden/view.rs"]
mod view;

use std::{fs, path::PathBuf};

use a11i_agent::{
    call::{LlmCall, Usage},
    replay::{Record, Seed},
};
use a11i_common::identity::Direction;
use drive::Hole;
use scenario::{Scenario, scenarios};
use serde_json::Value;

/// The recorded corpus, which stays outside the project.
fn recorded_corpus() -> Option<PathBuf> {
    let path = std::env::var_os("A11I_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no recorded corpus at {} (set A11I_CORPUS)", path.display());
    None
}

/// Every record of a file, without and with content, framed, coded and cut by its own seed.
fn check_recorded(api: &str) {
    let Some(corpus) = recorded_corpus() else { return };
    let text = fs::read_to_string(corpus.join(format!("{api}.jsonl"))).unwrap();
    let (mut records, mut exact, mut wrong) = (0u32, 0u32, Vec::new());
    for line in text.lines() {
        records += 1;
        let wanted: Value = serde_json::from_str(line).unwrap();
        let record = Record::parse(line).unwrap();
        let before = wrong.len();
        for keep_content in [false, true] {
            match drive::replay(&record, keep_content).as_slice() {
                [call] => {
                    wrong.extend(expect::differences(&wanted, call, keep_content).iter().map(|what| format!("{}: {what}", record.id)));
                }
                calls => wrong.push(format!("{}: {} calls", record.id, calls.len())),
            }
        }
        exact += u32::from(wrong.len() == before);
    }
    println!("{api}: {exact} of {records} exact");
    assert!(records > 0 && wrong.is_empty(), "{api}:\n{}", wrong.join("\n"));
}

#[test]
fn recorded_openai_chat_completions_are_exact() {
    check_recorded("openai.chat");
}

#[test]
fn recorded_openai_responses_are_exact() {
    check_recorded("openai.responses");
}

#[test]
fn recorded_anthropic_messages_are_exact() {
    check_recorded("anthropic.messages");
}

#[test]
fn recorded_bedrock_calls_are_exact() {
    for api in ["bedrock.converse", "bedrock.invoke", "bedrock.count_tokens"] {
        check_recorded(api);
    }
}

#[test]
fn recorded_services_that_speak_these_formats_are_exact() {
    for service in [
        "azure_ai.chat",
        "azure_ai.responses",
        "azure_openai.chat",
        "azure_openai.responses",
        "bedrock_mantle.chat",
        "bedrock_mantle.responses",
        "cerebras.chat",
        "crusoe.chat",
        "deepseek.chat",
        "deepseek.responses",
        "gateway.chat",
        "gateway.responses",
        "groq.chat",
        "huggingface.chat",
        "mistral.chat",
        "openai_compat.chat",
        "openrouter.responses",
        "perplexity.chat",
        "together.chat",
        "vercel.chat",
        "xai.chat",
        "xai.responses",
        "zai.chat",
        "openai.completions",
        "openai_compat.completions",
        "together.completions",
        "openai.embeddings",
        "azure_ai.embeddings",
        "mistral.embeddings",
        "openrouter.embeddings",
        "ollama.chat",
        "ollama.generate",
        "ollama.embed",
        "cohere.chat_v1",
        "cohere.chat_v2",
        "cohere.generate",
        "cohere.embed",
        "cohere.rerank",
        "mistral.ocr",
        "aleph_alpha.complete",
        "anthropic.complete",
        "portkey.chat",
        "replicate.predictions",
        "snowflake.chat",
        "voyage.embeddings",
        "watsonx.generation",
        "writer.chat",
    ] {
        check_recorded(service);
    }
}

#[test]
fn recorded_calls_of_gemini_and_vertex_are_exact() {
    for api in [
        "gemini.chat",
        "gemini.count_tokens",
        "gemini.embed",
        "gemini.generate",
        "gemini.interactions",
        "vertex.anthropic_messages",
        "vertex.count_tokens",
        "vertex.generate",
        "vertex.predict",
    ] {
        check_recorded(api);
    }
}

fn one_call(scenario: &Scenario, seed: u64, keep_content: bool) -> LlmCall {
    let calls = drive::drive(&scenario.framed, &mut Seed::new(seed), keep_content, None);
    <[LlmCall; 1]>::try_from(calls).unwrap_or_else(|calls| panic!("{}: {} calls", scenario.name(), calls.len()))[0].clone()
}

#[test]
fn every_scenario_gives_the_call_that_is_expected() {
    let mut wrong = Vec::new();
    for scenario in scenarios() {
        let have = view::view(&one_call(&scenario, 1, true));
        let file = scenario.folder.join("expected.json");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&file, format!("{have:#}\n")).unwrap();
        }
        let want: Value = serde_json::from_slice(&fs::read(&file).unwrap_or_default()).unwrap_or_default();
        if have != want {
            wrong.push(format!("{}: want {want:#}\nhave {have:#}", scenario.name()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_call_is_the_same_however_its_bytes_are_cut() {
    for scenario in scenarios() {
        let want = view::view(&one_call(&scenario, 0, true));
        for seed in 1..40 {
            assert_eq!(view::view(&one_call(&scenario, seed, true)), want, "{} with seed {seed}", scenario.name());
        }
    }
}

#[test]
fn no_content_is_kept_where_policy_keeps_none() {
    for scenario in scenarios() {
        let call = one_call(&scenario, 1, false);
        assert_eq!(call.content, a11i_agent::call::Content::default(), "{}", scenario.name());
    }
}

/// Bytes lost at any place: the call says so, and what it still tells is true.
#[test]
fn a_gap_anywhere_marks_the_call_and_never_makes_a_number_wrong() {
    for scenario in scenarios() {
        let framed = &scenario.framed;
        let truth = one_call(&scenario, 1, false);
        let has_reasons = !truth.response.finish_reasons.is_empty() && truth.outcome.error_type.is_none();
        let is_told = truth.server.known_host || !truth.usage.is_absent() || has_reasons;
        let head = framed.request.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        for (direction, length) in [(Direction::Write, framed.request.len()), (Direction::Read, framed.response.len())] {
            for size in [1, 40, 700] {
                for start in (0..length).step_by(3) {
                    let hole = Hole { direction, bytes: start..(start + size).min(length) };
                    let calls = drive::drive(framed, &mut Seed::new(start as u64), false, Some(&hole));
                    let place = format!("{} with {hole:?}", scenario.name());
                    match calls.as_slice() {
                        // What hits the head of the request hides what it was.
                        // So does what hits its body, where neither host nor answer tells.
                        [] => assert!(direction == Direction::Write && (start < head || !is_told), "lost: {place}"),
                        [call] => still_true(call, &truth, &place),
                        _ => panic!("{} calls: {place}", calls.len()),
                    }
                }
            }
        }
    }
}

#[test]
fn damaged_bytes_give_calls_or_none_and_never_a_panic() {
    for scenario in scenarios() {
        let whole = &scenario.framed;
        for number in 0..300 {
            let mut seed = Seed::new(number);
            let mut framed = whole.clone();
            for bytes in [&mut framed.request, &mut framed.response] {
                for _ in 0..seed.below(4) {
                    let at = seed.size(bytes.len() - 1);
                    bytes[at] = seed.next().to_le_bytes()[0];
                }
            }
            let calls = drive::drive(&framed, &mut seed, true, None);
            assert!(calls.len() <= 2, "{} with seed {number}", scenario.name());
        }
    }
}

fn still_true(call: &LlmCall, truth: &LlmCall, place: &str) {
    assert!(!call.completeness.is_whole(), "not marked: {place}");
    let counts = |usage: &Usage| {
        [
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens,
            usage.cache_write_input_tokens,
            usage.cache_write_1h_input_tokens,
            usage.reasoning_output_tokens,
        ]
    };
    for (have, want) in counts(&call.usage).iter().zip(counts(&truth.usage)) {
        assert!(have.is_none() || *have == want, "{have:?} for {want:?}: {place}");
    }
    for (have, want) in [
        (&call.request.model, &truth.request.model),
        (&call.response.model, &truth.response.model),
        (&call.response.id, &truth.response.id),
        (&call.server.address, &truth.server.address),
    ] {
        assert!(have.is_none() || have == want, "{have:?} for {want:?}: {place}");
    }
    assert!(call.request.max_tokens.is_none() || call.request.max_tokens == truth.request.max_tokens, "{place}");
    assert!(call.response.status.is_none() || call.response.status == truth.response.status, "{place}");
    assert!(call.response.stated_cost.is_none() || call.response.stated_cost == truth.response.stated_cost, "{place}");
    assert!(
        call.response.finish_reasons.is_empty()
            || call.response.finish_reasons == truth.response.finish_reasons
            // An answer that broke off; a response whose details of incompleteness were lost and whose status was not.
            || call.response.finish_reasons.iter().all(|reason| reason == "error" || reason == "incomplete"),
        "{:?}: {place}",
        call.response.finish_reasons
    );
}
