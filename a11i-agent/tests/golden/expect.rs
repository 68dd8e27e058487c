//! A call against the expectation of a recorded exchange, by the rules of the corpus.

use a11i_agent::call::{LlmCall, Operation, Part};
use serde_json::Value;

/// What is not as expected, one line each.
pub(crate) fn differences(record: &Value, call: &LlmCall, keep_content: bool) -> Vec<String> {
    let expect = &record["expect"];
    let status = record["response"]["status"].as_u64().unwrap();
    // What is fetched for the first time of an answer in the background is the call itself.
    let fetched = record["request"]["method"] == "GET" && call.response.deferred.is_none();
    let mut out = Vec::new();
    let mut compare = |field: &str, have: Value, want: Value| {
        if have != want {
            out.push(format!("{field}: want {want}, have {have}"));
        }
    };

    // A stored response that is fetched is the conventions' own operation, without usage: it was counted when it was made.
    // What the conventions have no name for has one of ours, and what an invoked model does, only its own format tells.
    if !matches!(call.operation, Operation::Other(_)) && record["api"] != "bedrock.invoke" {
        compare("operation", call.operation.as_str().into(), operation(record, fetched).into());
    }
    let providers: &[&str] = match record["provider"].as_str().unwrap() {
        "openai" => &["openai"],
        "azure_openai" => &["azure.ai.openai"],
        "azure_ai" => &["azure.ai.inference", "azure.ai.openai"],
        "anthropic" => &["anthropic"],
        "bedrock" | "bedrock_mantle" => &["aws.bedrock"],
        "groq" => &["groq"],
        "deepseek" => &["deepseek"],
        "xai" => &["x_ai"],
        "perplexity" => &["perplexity"],
        "openrouter" => &["openrouter"],
        "together" => &["together_ai"],
        "mistral" => &["mistral_ai"],
        "cohere" => &["cohere"],
        "watsonx" => &["ibm.watsonx.ai"],
        "ollama" => &["ollama"],
        "gemini" => &["gcp.gemini"],
        "vertex" => &["gcp.vertex_ai"],
        _ => &[],
    };
    if !providers.is_empty() && !providers.contains(&call.provider.as_str()) {
        compare("provider", call.provider.as_str().into(), providers.into());
    }
    for (field, have) in
        [("request_model", &call.request.model), ("response_model", &call.response.model), ("response_id", &call.response.id)]
    {
        if !expect[field].is_null() {
            compare(field, have.clone().into(), expect[field].clone());
        }
    }
    usage(record, call, fetched, &mut compare);
    finish_reasons(expect, call, status, &mut compare);
    let error = call.outcome.error_type.clone();
    if status >= 400 || !expect["error_type"].is_null() {
        let allowed = [status.to_string(), expect["error_type"].as_str().unwrap_or_default().to_owned()];
        if !error.as_ref().is_some_and(|error| allowed.contains(error)) {
            compare("error", error.into(), allowed[1].clone().into());
        }
    } else {
        compare("no_error", error.into(), Value::Null);
    }
    if let Some(cost) = expect["provider_cost_usd"].as_f64() {
        let have = call.response.stated_cost.map(a11i_agent::call::NanoUsd::as_usd);
        if !have.is_some_and(|have| (have - cost).abs() < 1e-9 + 1e-6 * cost.abs()) {
            compare("provider_cost", have.into(), cost.into());
        }
    }
    if !record["stream_requested"].is_null() {
        compare("stream", call.request.stream.into(), record["stream_requested"].clone());
    }
    if keep_content && status < 400 {
        let want: Vec<(Value, Value)> =
            expect["tool_calls"].as_array().into_iter().flatten().map(|call| (call["name"].clone(), call["id"].clone())).collect();
        let have = tool_calls(call);
        let same = want.len() == have.len() && want.iter().zip(&have).all(|(w, h)| w.0 == h.0 && (w.1.is_null() || w.1 == h.1));
        if !same {
            compare("tool_calls", format!("{have:?}").into(), format!("{want:?}").into());
        }
    }
    if !keep_content {
        compare("no_content", call.content.output_messages.len().into(), 0.into());
    }
    compare("complete", call.completeness.is_whole().into(), true.into());
    out
}

fn operation(record: &Value, fetched: bool) -> &'static str {
    let api = record["api"].as_str().unwrap();
    if fetched {
        "fetch_response"
    } else {
        match api.rsplit('.').next() {
            _ if api == "vertex.predict" => "embeddings",
            Some("embeddings" | "embed") => "embeddings",
            Some("count_tokens") => "count_tokens",
            _ if matches!(api, "gemini.generate" | "vertex.generate" | "gemini.interactions") => "generate_content",
            Some("completions" | "complete" | "generation") => "text_completion",
            Some("generate") if matches!(api, "ollama.generate" | "cohere.generate") => "text_completion",
            _ => "chat",
        }
    }
}

fn tool_calls(call: &LlmCall) -> Vec<(Value, Value)> {
    let parts = call.content.output_messages.iter().flat_map(|message| &message.parts);
    parts
        .filter_map(|part| match part {
            Part::ToolCall { id, name, .. } => Some((name.clone().into(), id.clone().into())),
            _ => None,
        })
        .collect()
}

fn usage(record: &Value, call: &LlmCall, fetched: bool, compare: &mut impl FnMut(&str, Value, Value)) {
    let (expect, raw) = (&record["expect"], &record["expect"]["usage_raw"]);
    let ambiguous: Vec<&str> = expect["ambiguous"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let count = |field: &str| expect[field].as_u64();
    let of = |field: &str| raw[field].as_u64().unwrap_or(0);
    let (mut input, mut output) = (count("input_tokens"), count("output_tokens"));
    let cache_apart = raw.get("cache_read_input_tokens").is_some() || raw.get("cache_creation_input_tokens").is_some();
    let inside = raw.get("prompt_tokens").is_some() || !raw["input_tokens_details"].is_null() || of("total_tokens") > 0;
    if cache_apart && !inside {
        input = input.map(|tokens| tokens + of("cache_read_input_tokens") + of("cache_creation_input_tokens"));
    }
    if record["provider"] == "cohere" {
        // What is billed counts, by the conventions.
        let billed = |field: &str| raw["billed_units"][field].as_u64();
        (input, output) = (billed("input_tokens").or(input), billed("output_tokens").or(output));
    }
    if raw.get("inputTokens").is_some() {
        let part = |names: [&str; 2]| names.iter().find_map(|name| raw[*name].as_u64()).unwrap_or(0);
        let cached =
            part(["cacheReadInputTokens", "cacheReadInputTokenCount"]) + part(["cacheWriteInputTokens", "cacheWriteInputTokenCount"]);
        input = input.map(|tokens| tokens + cached);
    }
    if record["api"] == "xai.chat" {
        output = output.map(|tokens| tokens + count("reasoning_tokens").unwrap_or(0));
    }
    // Gemini: thoughts and what tools put into the prompt stand beside the other counts, and a count of zero is left out.
    let beside = |one: Option<u64>, name: &str| raw[name].as_u64().map_or(one, |more| Some(one.unwrap_or(0) + more));
    for (tool_use, thoughts) in [("toolUsePromptTokenCount", "thoughtsTokenCount"), ("total_tool_use_tokens", "total_thought_tokens")] {
        input = beside(input, tool_use);
        output = beside(output, thoughts);
    }
    let counted = record["api"].as_str().unwrap().ends_with(".count_tokens");
    if fetched || counted {
        (input, output) = (None, None);
    } else if call.operation == Operation::Embeddings {
        output = None;
    }
    assert!(!call.usage.is_estimated(), "nothing is estimated in this stage");
    for (field, have, want) in [("input_tokens", call.usage.input_tokens, input), ("output_tokens", call.usage.output_tokens, output)] {
        if !ambiguous.contains(&field) && (want.is_some() || raw.is_null() || fetched || counted) {
            compare(field, have.into(), want.into());
        }
    }
    if call.operation == Operation::FetchResponse {
        return;
    }
    for (field, have, want) in [
        ("cache_read", call.usage.cache_read_input_tokens, count("cache_read_tokens")),
        ("cache_write", call.usage.cache_write_input_tokens, count("cache_write_tokens")),
        ("reasoning", call.usage.reasoning_output_tokens, count("reasoning_tokens")),
    ] {
        if let Some(want) = want
            && (want > 0 || have.is_some())
        {
            compare(field, have.into(), want.into());
        }
    }
}

fn finish_reasons(expect: &Value, call: &LlmCall, status: u64, compare: &mut impl FnMut(&str, Value, Value)) {
    let want = expect["finish_reasons"].as_array().into_iter().flatten().filter(|reason| !reason.is_null());
    // Some clients of Gemini ask for enums by number.
    let want: Vec<Value> = want.map(|reason| reason.as_u64().map_or_else(|| reason.clone(), |number| number.to_string().into())).collect();
    if want.is_empty() || status >= 400 {
        return;
    }
    let have: Vec<Value> = call.response.finish_reasons.iter().map(|reason| Value::from(reason.as_str())).collect();
    let detail = &expect["finish_detail"];
    if !detail.is_null() && have == [detail.clone()] {
        return;
    }
    compare("finish_reasons", have.into(), want.into());
}
