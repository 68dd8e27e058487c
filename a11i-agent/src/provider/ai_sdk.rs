//! The AI SDK's own language between it and its gateway (<https://vercel.com/docs/ai-gateway>, <https://ai-sdk.dev>), versions 2 to 4 of its
//! specification: the model is in a header, content comes as parts, and counts are objects of counts since version 3.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_failure},
    lenient::{Count, Float, Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
    openai_chat::request::{output_type, stop_sequences, tree_or_text},
    posted,
};
use crate::{
    call::{CacheApartUsage, CallBuilder, Message, NanoUsd, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct AiSdk;

const PATHS: [(&str, Operation); 6] = [
    ("/language-model", Operation::Chat),
    ("/embedding-model", Operation::Embeddings),
    ("/image-model", Operation::Other("image_generation")),
    ("/reranking-model", Operation::Other("rerank")),
    ("/speech-model", Operation::Other("speech")),
    ("/transcription-model", Operation::Other("transcription")),
];

/// Fields that name the model. No other client sends them.
const MODEL_FIELDS: [&str; 4] = ["ai-language-model-id", "ai-model-id", "ai-embedding-model-id", "ai-image-model-id"];
/// A model's name in a field is kept to this length.
const MODEL_BYTES: usize = 256;

impl Dialect for AiSdk {
    fn name(&self) -> ProviderName {
        ProviderName::of("vercel_ai_gateway")
    }

    /// The fields say enough.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, &PATHS).filter(|_| model(head).is_some())
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = model(head).map(|model| clip(model, MODEL_BYTES).to_owned());
        call.request.stream = head.headers.text("ai-language-model-streaming") == Some("true");
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.max_tokens = request.max_output_tokens.0;
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        facts.seed = request.seed.0;
        facts.presence_penalty = request.presence_penalty.0;
        facts.frequency_penalty = request.frequency_penalty.0;
        facts.stop_sequences = stop_sequences(request.stop_sequences);
        facts.output_type = output_type(request.response_format.kind.as_str());
        request.prompt.for_each(|message: PastMessage<'_>| {
            call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
            past_message(&message, call);
        });
        request.tools.for_each(|tool: Tool<'_>| tool_definition(&tool, call));
        // Of the other models: texts, or one.
        for texts in [request.input, request.values] {
            if let Some(text) = texts.text() {
                call.estimation.input.push(&text);
            }
            texts.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let answer: Answer<'_> = parse(body)?;
        if call.response.status.is_some_and(|status| status >= 400) {
            read_failure(body, call);
            return Ok(());
        }
        metadata(&answer.response, call);
        if call.operation() == Operation::Chat {
            call.choice(ANSWER);
            let mut at = 0u64;
            answer.content.for_each(|part: Said<'_>| {
                said(PartSlot(at), &part, call);
                at = at.saturating_add(1);
            });
        }
        finish(&answer, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Said<'_>>(frame.data) else { return };
        let delta = event.delta.as_str().unwrap_or_default();
        match event.kind.filled().unwrap_or_default() {
            "response-metadata" => {
                event.id.replace(&mut call.response.id);
                event.model_id.replace(&mut call.response.model);
            }
            "text-delta" => call.append(ANSWER, TEXT, PartKind::Text, delta),
            "reasoning-delta" => call.append(ANSWER, REASONING, PartKind::Reasoning, delta),
            "stream-start" => call.choice(ANSWER),
            "tool-call" => said(next_tool(call), &event, call),
            "finish" => {
                if let Ok(answer) = parse::<Answer<'_>>(frame.data) {
                    call.choice(ANSWER);
                    finish(&answer, call);
                }
            }
            "error" => {
                read_error(event.error, call);
                if !call.has_failed() {
                    call.fail(Some("error"), None);
                }
            }
            _ => {}
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "prompt" => prompt: Raw<'a>,
        "maxOutputTokens" => max_output_tokens: Int,
        "temperature" => temperature: Float,
        "topP" => top_p: Float,
        "topK" => top_k: Int,
        "seed" => seed: Int,
        "presencePenalty" => presence_penalty: Float,
        "frequencyPenalty" => frequency_penalty: Float,
        "stopSequences" => stop_sequences: Raw<'a>,
        "responseFormat" => response_format: Format<'a>,
        "tools" => tools: Raw<'a>,
        "input" => input: Raw<'a>,
        "values" => values: Raw<'a>,
    }
}

lenient_object! {
    struct Format<'a> {
        "type" => kind: Text<'a>,
    }
}

lenient_object! {
    struct PastMessage<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "type" => kind: Text<'a>,
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "inputSchema" => schema: Raw<'a>,
    }
}

lenient_object! {
    /// A part of a message, of an answer, or an event of a stream.
    struct Said<'a> {
        "type" => kind: Text<'a>,
        "id" => id: Text<'a>,
        "modelId" => model_id: Text<'a>,
        "text" => text: Text<'a>,
        "delta" => delta: Text<'a>,
        "toolCallId" => tool_call_id: Text<'a>,
        "toolName" => tool_name: Text<'a>,
        "input" => input: Raw<'a>,
        "output" => output: Raw<'a>,
        "providerExecuted" => provider_executed: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    /// An answer as a whole, or the last event.
    struct Answer<'a> {
        "content" => content: Raw<'a>,
        "finishReason" => finish_reason: Raw<'a>,
        "usage" => usage: TokenUsage<'a>,
        "response" => response: Metadata<'a>,
        "providerMetadata" => provider: ProviderMetadata<'a>,
    }
}

lenient_object! {
    struct Metadata<'a> {
        "id" => id: Text<'a>,
        "modelId" => model_id: Text<'a>,
    }
}

lenient_object! {
    struct FinishReason<'a> {
        "unified" => unified: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "inputTokens" => input: Raw<'a>,
        "outputTokens" => output: Raw<'a>,
        "totalTokens" => all: Count,
        "cachedInputTokens" => cached: Count,
        "reasoningTokens" => reasoning: Count,
        "tokens" => tokens: Count,
    }
}

lenient_object! {
    struct TokenCounts<'a> {
        "total" => total: Count,
        "cacheRead" => cache_read: Count,
        "cacheWrite" => cache_write: Count,
        "reasoning" => reasoning: Count,
    }
}

lenient_object! {
    struct ProviderMetadata<'a> {
        "gateway" => gateway: Gateway<'a>,
        "anthropic" => anthropic: ServedBy<'a>,
        "vertex" => vertex: ServedBy<'a>,
        "bedrock" => bedrock: ServedBy<'a>,
    }
}

lenient_object! {
    /// What the SDK's provider adds of its own: the counts as they came.
    struct ServedBy<'a> {
        "usage" => usage: OwnCounts<'a>,
    }
}

lenient_object! {
    /// Anthropic's own object; of Bedrock's, what the SDK has no other place for.
    struct OwnCounts<'a> {
        "input_tokens" => input: Count,
        "cache_read_input_tokens" => cache_read: Count,
        "cache_creation_input_tokens" | "cacheWriteInputTokens" => cache_write: Count,
    }
}

lenient_object! {
    /// What it has cost, as a decimal in a text.
    struct Gateway<'a> {
        "cost" => cost: Text<'a>,
    }
}

/// There is one answer a call.
const ANSWER: u32 = 0;
/// Slots of a stream; of a whole answer, its parts have their places.
const REASONING: PartSlot = PartSlot(0);
const TEXT: PartSlot = PartSlot(1);
const FIRST_TOOL_CALL: PartSlot = PartSlot(2);

fn model(head: &RequestHead) -> Option<&str> {
    MODEL_FIELDS.iter().find_map(|name| head.headers.text(name)).filter(|model| !model.is_empty())
}

/// Tool calls come whole, one after the other.
fn next_tool(call: &CallBuilder) -> PartSlot {
    call.last_slot(ANSWER).map_or(FIRST_TOOL_CALL, |last| PartSlot(last.0.saturating_add(1)).max(FIRST_TOOL_CALL))
}

/// Part of an answer.
fn said(slot: PartSlot, part: &Said<'_>, call: &mut CallBuilder) {
    let text = part.text.as_str().unwrap_or_default();
    match part.kind.filled().unwrap_or_default() {
        "text" => call.append(ANSWER, slot, PartKind::Text, text),
        "reasoning" => call.append(ANSWER, slot, PartKind::Reasoning, text),
        "tool-call" => {
            let kind = if part.provider_executed.json() == Some("true") { PartKind::ServerToolCall } else { PartKind::ToolCall };
            let input = part.input.text();
            let arguments = input.as_deref().or_else(|| part.input.json()).unwrap_or_default();
            call.tool_call(ANSWER, slot, kind, part.tool_call_id.filled(), part.tool_name.filled(), arguments);
        }
        _ => {}
    }
}

fn metadata(said: &Metadata<'_>, call: &mut CallBuilder) {
    said.id.replace(&mut call.response.id);
    said.model_id.replace(&mut call.response.model);
}

fn finish(answer: &Answer<'_>, call: &mut CallBuilder) {
    let word = answer.finish_reason.text();
    let object = answer.finish_reason.read::<FinishReason<'_>>().unwrap_or_default();
    if let Some(reason) = word.as_deref().or_else(|| object.unified.filled()) {
        call.finish(ANSWER, reason);
    }
    usage(&answer.usage, &answer.provider, call);
    if let Some(cost) = answer.provider.gateway.cost.as_str().and_then(|cost| cost.parse().ok()).and_then(NanoUsd::from_usd) {
        call.response.stated_cost = Some(cost);
    }
}

fn usage(said: &TokenUsage<'_>, provider: &ProviderMetadata<'_>, call: &mut CallBuilder) {
    if !said.is_object() {
        return;
    }
    let total = |raw: Raw<'_>| raw.read::<Count>().and_then(|count| count.0);
    let inputs = said.input.read::<TokenCounts<'_>>().unwrap_or_default();
    let outputs = said.output.read::<TokenCounts<'_>>().unwrap_or_default();
    let mut usage = Usage {
        // Embeddings say one number.
        input_tokens: inputs.total.0.or(said.tokens.0),
        output_tokens: outputs.total.0,
        cache_read_input_tokens: said.cached.0.or(inputs.cache_read.0),
        cache_write_input_tokens: inputs.cache_write.0,
        reasoning_output_tokens: said.reasoning.0.or(outputs.reasoning.0),
        ..Usage::default()
    };
    if let Some(input) = total(said.input) {
        plain_input(input, said, provider, &mut usage, call.request.model.as_deref());
    }
    if let Some(output) = total(said.output) {
        usage.output_tokens = plain_output(output, said, total(said.input));
    }
    call.usage = usage;
}

/// The plain counts of version 2 are those of whoever served the call, unchanged: where that is Anthropic or Bedrock, what was read from the
/// cache and written to it stands beside the input. Version 3 made one meaning of them.
fn plain_input(input: u64, said: &TokenUsage<'_>, provider: &ProviderMetadata<'_>, usage: &mut Usage, model: Option<&str>) {
    let own = [&provider.anthropic.usage, &provider.vertex.usage].into_iter().find(|own| own.input.0.is_some());
    let cached = said.cached.0.unwrap_or(0);
    if let Some(own) = own {
        cache_apart(own.input, own.cache_read, own.cache_write).normalise_into(usage);
    } else if provider.bedrock.usage.is_object() {
        cache_apart(Count(Some(input)), said.cached, provider.bedrock.usage.cache_write).normalise_into(usage);
    } else if cached == 0 || cached <= input && !model.is_some_and(|model| model.starts_with("anthropic/")) {
        usage.input_tokens = Some(input);
    }
    // Else the cache stands beside it, and how much was written nobody says: the sum is unknown.
}

fn cache_apart(input: Count, read: Count, written: Count) -> CacheApartUsage {
    CacheApartUsage {
        input_tokens: input.0,
        cache_read_input_tokens: read.0,
        cache_write_input_tokens: written.0,
        base_seen: true,
        ..CacheApartUsage::default()
    }
}

/// Where the sum says so, reasoning stands beside the output (Google, xAI).
fn plain_output(output: u64, said: &TokenUsage<'_>, input: Option<u64>) -> Option<u64> {
    let Some(reasoning) = said.reasoning.0.filter(|reasoning| *reasoning > 0) else { return Some(output) };
    let with_reasoning = output.checked_add(reasoning)?;
    let is_apart = input.and_then(|input| input.checked_add(with_reasoning)).is_some_and(|sum| Some(sum) == said.all.0);
    Some(if is_apart { with_reasoning } else { output })
}

fn past_message(message: &PastMessage<'_>, call: &mut CallBuilder) {
    let mut parts = Vec::new();
    if let Some(text) = message.content.text() {
        past_text(&text, &mut parts, call, |content| Part::Text { content });
    }
    message.content.for_each(|part: Said<'_>| past_part(&part, &mut parts, call));
    if call.keeps_content() {
        let role = message.role.filled().unwrap_or("user");
        call.input_message(Message { role: clip(role, 64).to_owned(), parts, ..Message::default() });
    }
}

fn past_part(part: &Said<'_>, parts: &mut Vec<Part>, call: &mut CallBuilder) {
    let text = part.text.as_str().unwrap_or_default();
    match part.kind.filled().unwrap_or_default() {
        "text" => past_text(text, parts, call, |content| Part::Text { content }),
        "reasoning" => past_text(text, parts, call, |content| Part::Reasoning { content }),
        "tool-call" => {
            let arguments = part.input.json().unwrap_or_default();
            call.estimation.input.push(part.tool_name.as_str().unwrap_or_default());
            call.estimation.input.push(arguments);
            if call.keeps_content() && call.admit_input(arguments.len()) {
                let arguments = (!arguments.is_empty()).then(|| tree_or_text(arguments));
                parts.push(Part::ToolCall { id: part.tool_call_id.name(), name: part.tool_name.name().unwrap_or_default(), arguments });
            }
        }
        "tool-result" => {
            let result = part.output.json().unwrap_or_default();
            call.estimation.input.push(result);
            if call.keeps_content() && call.admit_input(result.len()) {
                parts.push(Part::ToolCallResponse { id: part.tool_call_id.name(), response: tree_or_text(result) });
            }
        }
        _ => {}
    }
}

fn past_text(text: &str, parts: &mut Vec<Part>, call: &mut CallBuilder, part: impl FnOnce(String) -> Part) {
    call.estimation.input.push(text);
    if call.keeps_content() && !text.is_empty() {
        parts.push(part(call.clip_input(text)));
    }
}

fn tool_definition(tool: &Tool<'_>, call: &mut CallBuilder) {
    let (kind, name) = (clip(tool.kind.filled().unwrap_or("function"), 64), tool.name.name().unwrap_or_default());
    call.offer_tool(kind, &name, tool.description.as_str().unwrap_or_default(), tool.schema.json().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending, LlmCall};

    const ASKED: &str = r#"{"prompt":[{"role":"system","content":"be brief"},{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"tool-call","toolCallId":"c1","toolName":"w","input":{"a":1}}]},{"role":"tool","content":[{"type":"tool-result","toolCallId":"c1","toolName":"w","output":{"type":"text","value":"40 C"}}]}],"maxOutputTokens":9,"temperature":0.5,"stopSequences":["x"],"tools":[{"type":"function","name":"w","description":"weather","inputSchema":{"type":"object"}}]}"#;

    fn call(operation: Operation, request: &str, answers: &[&str], whole: bool) -> LlmCall {
        let mut call = CallBuilder::new(ProviderName::of("vercel_ai_gateway"), operation, true);
        AiSdk.request(operation, request.as_bytes(), &mut call).unwrap();
        call.response.status = Some(200);
        for answer in answers {
            if whole {
                AiSdk.response(answer.as_bytes(), &mut call).unwrap();
            } else {
                AiSdk.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
            }
        }
        call.build(CallFrame::default(), Ending::Seen)
    }

    #[test]
    fn an_answer_is_read_in_every_version() {
        let second = r#"{"content":[{"type":"reasoning","text":"hm"},{"type":"text","text":"yo"},{"type":"tool-call","toolCallId":"c","toolName":"w","input":"{\"a\":2}"}],"finishReason":"tool-calls","usage":{"inputTokens":10,"outputTokens":4,"totalTokens":14,"reasoningTokens":2,"cachedInputTokens":3},"response":{"id":"r","modelId":"m-1"},"providerMetadata":{"gateway":{"cost":"0.0045405"}}}"#;
        let third = r#"{"content":[{"type":"reasoning","text":"hm"},{"type":"text","text":"yo"},{"type":"tool-call","toolCallId":"c","toolName":"w","input":"{\"a\":2}"}],"finishReason":{"unified":"tool-calls","raw":"tool_use"},"usage":{"inputTokens":{"total":10,"noCache":7,"cacheRead":3,"cacheWrite":0},"outputTokens":{"total":4,"text":2,"reasoning":2}},"response":{"id":"r","modelId":"m-1"},"providerMetadata":{"gateway":{"cost":"0.0045405"}}}"#;
        for answer in [second, third] {
            let call = call(Operation::Chat, ASKED, &[answer], true);
            let usage = &call.usage;
            assert_eq!((usage.input_tokens, usage.output_tokens), (Some(10), Some(4)));
            assert_eq!((usage.cache_read_input_tokens, usage.reasoning_output_tokens), (Some(3), Some(2)));
            assert_eq!(
                (call.response.finish_reasons.as_slice(), call.response.stated_cost),
                (&["tool-calls".to_owned()][..], Some(NanoUsd(4_540_500)))
            );
            assert_eq!((call.response.id.as_deref(), call.response.model.as_deref()), (Some("r"), Some("m-1")));
            let [Part::Reasoning { .. }, Part::Text { .. }, Part::ToolCall { arguments, .. }] = &call.content.output_messages[0].parts[..]
            else {
                panic!()
            };
            assert_eq!(*arguments, Some(serde_json::json!({"a": 2})));
            assert_eq!((call.estimation.input_messages, call.estimation.tool_definitions, call.request.max_tokens), (4, 1, Some(9)));
            assert_eq!(call.content.input_messages.len(), 4);
        }
    }

    #[test]
    fn a_stream_tells_the_same() {
        let events = [
            r#"{"type":"stream-start","warnings":[]}"#,
            r#"{"type":"response-metadata","id":"r","modelId":"m-1","timestamp":"2025-01-01T00:00:00Z"}"#,
            r#"{"type":"reasoning-delta","id":"0","delta":"hm"}"#,
            r#"{"type":"text-start","id":"1"}"#,
            r#"{"type":"text-delta","id":"1","delta":"y"}"#,
            r#"{"type":"text-delta","id":"1","delta":"o"}"#,
            r#"{"type":"tool-input-delta","id":"c","delta":"{"}"#,
            r#"{"type":"tool-call","toolCallId":"c","toolName":"w","input":"{}"}"#,
            r#"{"type":"finish","finishReason":{"unified":"stop","raw":"stop"},"usage":{"inputTokens":{"total":10},"outputTokens":{"total":4}},"providerMetadata":{"gateway":{"cost":"0.001"}}}"#,
        ];
        let told = call(Operation::Chat, ASKED, &events, false);
        assert_eq!((told.usage.input_tokens, told.usage.output_tokens), (Some(10), Some(4)));
        assert_eq!((told.response.model.as_deref(), told.response.stated_cost), (Some("m-1"), Some(NanoUsd(1_000_000))));
        assert_eq!((told.estimation.output.text(), told.estimation.output_tool_calls), ("hmyow{}", 1));
        let failed = call(Operation::Chat, ASKED, &[r#"{"type":"error","error":{"message":"no","type":"rate_limit_exceeded"}}"#], false);
        assert_eq!(failed.outcome.error_type.as_deref(), Some("rate_limit_exceeded"));
    }

    #[test]
    fn plain_counts_mean_what_they_mean_to_whoever_served_the_call() {
        let told = |model: &str, usage: &str, provider: &str| {
            let mut call = CallBuilder::new(ProviderName::of("vercel_ai_gateway"), Operation::Chat, false);
            call.request.model = Some(model.to_owned());
            let answer = format!(r#"{{"content":[],"finishReason":"stop","usage":{usage},"providerMetadata":{provider}}}"#);
            AiSdk.response(answer.as_bytes(), &mut call).unwrap();
            let usage = call.build(CallFrame::default(), Ending::Seen).usage;
            (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_write_input_tokens, usage.output_tokens)
        };
        let cached = r#"{"inputTokens":10,"outputTokens":4,"totalTokens":14,"cachedInputTokens":3}"#;
        let own =
            r#"{"anthropic":{"usage":{"input_tokens":10,"cache_read_input_tokens":3,"cache_creation_input_tokens":5,"output_tokens":4}}}"#;
        assert_eq!(told("openai/gpt-5", cached, "{}"), (Some(10), Some(3), None, Some(4)));
        assert_eq!(told("anthropic/claude-sonnet-4", cached, own), (Some(18), Some(3), Some(5), Some(4)));
        assert_eq!(told("anthropic/claude-sonnet-4", cached, r#"{"bedrock":{"usage":{"cacheWriteInputTokens":2}}}"#).0, Some(15));
        // Nobody says how much was written.
        assert_eq!(told("anthropic/claude-sonnet-4", cached, "{}"), (None, Some(3), None, Some(4)));
        let more = r#"{"inputTokens":3,"outputTokens":4,"cachedInputTokens":10}"#;
        assert_eq!(told("other/claude", more, "{}").0, None);
        let beside = r#"{"inputTokens":10,"outputTokens":4,"totalTokens":20,"reasoningTokens":6}"#;
        assert_eq!(told("google/gemini-2.5-pro", beside, "{}").3, Some(10));
        let within = r#"{"inputTokens":10,"outputTokens":8,"totalTokens":18,"reasoningTokens":6}"#;
        assert_eq!(told("openai/gpt-5", within, "{}").3, Some(8));
    }

    #[test]
    fn an_embedding_says_one_number() {
        let told = call(Operation::Embeddings, r#"{"values":["a","b"]}"#, &[r#"{"embeddings":[[1]],"usage":{"tokens":7}}"#], true);
        assert_eq!((told.usage.input_tokens, told.usage.output_tokens, told.estimation.input.text()), (Some(7), None, "ab"));
    }

    #[test]
    fn nothing_hostile_becomes_a_number() {
        for event in ["null", "[[[[", r#"{"type":"finish","usage":{"inputTokens":[-1],"outputTokens":{"total":"x"}},"finishReason":7}"#] {
            let told = call(Operation::Chat, "{}", &[event], false);
            assert!(told.usage.is_absent() && told.response.stated_cost.is_none(), "{event}");
        }
    }
}
