//! Bytes of exchanges → calls, compared with what they should be. Needs no root and no kernel.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what went wrong by failing, and prints why it skips"
)]

#[path = "golden/drive.rs"]
mod drive;
#[path = "golden/expect.rs"]
mod expect;

use std::path::PathBuf;

use a11i_agent::replay::Record;
use serde_json::Value;

/// The recorded corpus, which stays outside the project.
fn corpus() -> Option<PathBuf> {
    let path = std::env::var_os("A11I_CORPUS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no recorded corpus at {} (set A11I_CORPUS)", path.display());
    None
}

/// Every record of a file, twice: without and with content, each framed and cut by its own seed.
fn check_file(api: &str) -> (usize, Vec<String>) {
    let Some(corpus) = corpus() else { return (0, Vec::new()) };
    let text = std::fs::read_to_string(corpus.join(format!("{api}.jsonl"))).expect("a file of the corpus");
    let mut wrong = Vec::new();
    let mut records = 0usize;
    for line in text.lines() {
        records += 1;
        let wanted: Value = serde_json::from_str(line).unwrap();
        let record = Record::parse(line).unwrap();
        for keep_content in [false, true] {
            let calls = drive::replay(&record, keep_content);
            let [call] = calls.as_slice() else {
                wrong.push(format!("{}: {} calls", record.id, calls.len()));
                continue;
            };
            wrong.extend(expect::differences(&wanted, call, keep_content).into_iter().map(|what| format!("{}: {what}", record.id)));
        }
    }
    println!("{api}: {records} records, {} differences", wrong.len());
    (records, wrong)
}

fn check_exact(api: &str) {
    let (_, wrong) = check_file(api);
    assert!(wrong.is_empty(), "{api}:\n{}", wrong.join("\n"));
}

#[test]
fn recorded_openai_chat_completions_are_exact() {
    check_exact("openai.chat");
}

#[test]
fn recorded_openai_responses_are_exact() {
    check_exact("openai.responses");
}

#[test]
fn recorded_anthropic_messages_are_exact() {
    check_exact("anthropic.messages");
}

#[test]
#[ignore]
fn zz_other() {
    for api in ["azure_ai.chat","azure_ai.responses","azure_openai.chat","azure_openai.responses","bedrock_mantle.chat","bedrock_mantle.responses","cerebras.chat","crusoe.chat","deepseek.chat","deepseek.responses","gateway.chat","gateway.responses","groq.chat","huggingface.chat","mistral.chat","openai_compat.chat","openrouter.chat","openrouter.responses","perplexity.chat","portkey.chat","snowflake.chat","together.chat","vercel.chat","writer.chat","xai.chat","xai.responses","zai.chat"] {
        let (n, wrong) = check_file(api);
        for w in wrong.iter().take(6) { println!("   {w}"); }
        let _ = n;
    }
}
