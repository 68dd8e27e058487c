//! OpenAI chat completions, and the many services that speak them (<https://platform.openai.com/docs/api-reference/chat>).

pub(super) mod request;

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_failure},
    hosts::is_for,
    lenient::{Count, Few, Float, Int, Raw, Shape, Text, Unreadable, lenient_object, parse},
    posted,
};
use crate::{
    call::{CallBuilder, ModalityTokens, NanoUsd, Operation, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/chat/completions", Operation::Chat)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        // xAI answers later where it is asked to.
        let is_fetched = || head.method == "GET" && head.path.contains("/chat/deferred-completion/") && is_for(head, "x_ai");
        posted(head, self.path_ends()).or_else(|| is_fetched().then_some(Operation::FetchResponse))
    }

    /// A server of one model need not be told which.
    fn resembles(&self, call: &CallBuilder) -> bool {
        call.request.model.is_some() || call.estimation.input_messages > 0
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        call.response.api_type = Some("chat_completions");
        if operation == Operation::FetchResponse { Ok(()) } else { request::read(body, call) }
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let answer: Completion<'_> = parse(body)?;
        completion(&answer, call);
        // Snowflake's word for every reason is an empty one. In a whole answer it is the last; a stream says it of pieces that do not end it.
        for (position, choice) in answer.choices.0.iter().enumerate().filter(|(_, choice)| choice.finish_reason.as_str() == Some("")) {
            call.finish(index_of(choice, position), "");
        }
        if call.response.has_error_status() {
            read_failure(body, call);
        } else if call.operation() == Operation::FetchResponse {
            call.response.deferred = Some(Operation::Chat);
        }
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        if frame.data.trim_ascii() == b"[DONE]" {
            return;
        }
        // What is not JSON (a keep-alive, a proxy's remark) says nothing of the call.
        let Ok(chunk) = parse::<Completion<'_>>(frame.data) else { return };
        completion(&chunk, call);
        // Mistral and older vLLM do not wrap it.
        if chunk.object.as_str() == Some("error") && !call.has_failed() {
            read_failure(frame.data, call);
            call.fail(Some("_OTHER"), None);
        }
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
            call.response.stated_cost = None;
        }
    }
}

lenient_object! {
    /// `chat.completion` and `chat.completion.chunk` alike.
    struct Completion<'a> {
        "id" => id: Text<'a>,
        "object" => object: Text<'a>,
        "model" => model: Text<'a>,
        "choices" => choices: Few<Choice<'a>>,
        // Large, and absent or null in nearly every chunk: read where they are there.
        "usage" => usage: Raw<'a>,
        "x_groq" => x_groq: Raw<'a>,
        "service_tier" => service_tier: Text<'a>,
        "system_fingerprint" => system_fingerprint: Text<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Choice<'a> {
        "index" => index: Count,
        "message" => message: Answer<'a>,
        "delta" => delta: Answer<'a>,
        "text" => text: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "refusal" => refusal: Text<'a>,
        "reasoning_content" => reasoning_content: Text<'a>,
        "reasoning" => reasoning: Text<'a>,
        "audio" => audio: Audio<'a>,
        "tool_calls" => tool_calls: Few<ToolCall<'a>>,
        "function_call" => function_call: Function<'a>,
    }
}

lenient_object! {
    /// A spoken answer: its content is empty, and what is said stands here.
    struct Audio<'a> {
        "data" => data: Raw<'a>,
        "transcript" => transcript: Text<'a>,
    }
}

lenient_object! {
    struct ToolCall<'a> {
        "index" => index: Count,
        "id" => id: Text<'a>,
        "function" => function: Function<'a>,
        "custom" => custom: Function<'a>,
    }
}

lenient_object! {
    struct Function<'a> {
        "name" => name: Text<'a>,
        "arguments" => arguments: Raw<'a>,
        "input" => input: Text<'a>,
    }
}

lenient_object! {
    struct ContentPart<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "thinking" => thinking: Raw<'a>,
    }
}

lenient_object! {
    struct GroqExtra<'a> {
        "id" => id: Text<'a>,
        "usage" => usage: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
        "total_tokens" => total_tokens: Count,
        "prompt_tokens_details" => prompt_details: TokenDetails<'a>,
        "completion_tokens_details" => completion_details: TokenDetails<'a>,
        "prompt_cache_hit_tokens" => prompt_cache_hit_tokens: Count,
        "cached_tokens" => cached_tokens: Count,
        "num_cached_tokens" => num_cached_tokens: Count,
        "cache_read_input_tokens" => cache_read_input_tokens: Count,
        "cache_creation_input_tokens" => cache_creation_input_tokens: Count,
        "reasoning_tokens" => reasoning_tokens: Count,
        "num_search_queries" => num_search_queries: Count,
        "cost" => cost: Raw<'a>,
        "cost_in_usd_ticks" => cost_in_usd_ticks: Int,
    }
}

lenient_object! {
    struct TokenDetails<'a> {
        "cached_tokens" => cached_tokens: Count,
        "cache_write_tokens" => cache_write_tokens: Count,
        "reasoning_tokens" => reasoning_tokens: Count,
        "text_tokens" => text_tokens: Count,
        "image_tokens" => image_tokens: Count,
        "audio_tokens" => audio_tokens: Count,
    }
}

lenient_object! {
    struct StatedCost<'a> {
        "total_cost" => total_cost: Float,
    }
}

impl TokenUsage<'_> {
    /// Some servers write an empty object where they have nothing to say.
    const fn says_something(&self) -> bool {
        let counted = self.prompt_tokens.0.is_some() || self.completion_tokens.0.is_some() || self.total_tokens.0.is_some();
        counted || self.cost.0.is_some() || self.cost_in_usd_ticks.0.is_some()
    }
}

impl Function<'_> {
    /// Some servers write out every field they know, empty.
    fn says_something(&self) -> bool {
        self.name.filled().is_some() || !arguments(self).is_empty()
    }
}

impl<'a> ToolCall<'a> {
    fn called(&self) -> &Function<'a> {
        if self.custom.says_something() { &self.custom } else { &self.function }
    }
}

/// Slots of a choice's parts, in the order in which models produce them.
const REASONING: PartSlot = PartSlot(0);
const TEXT: PartSlot = PartSlot(1);
const REFUSAL: PartSlot = PartSlot(2);
const FUNCTION_CALL: PartSlot = PartSlot(3);
const FIRST_TOOL_CALL: u64 = 16;

fn completion(chunk: &Completion<'_>, call: &mut CallBuilder) {
    // What follows the end of every choice only says how it came to it: OpenRouter's "Token limit reached" after `length`.
    let was_finished = call.is_finished() && !call.has_finished_with("error");
    // Azure's first chunk has empty id and model. Every chunk repeats all of these: a copy is made only where it says something new.
    let response = &mut call.response;
    if response.id.is_none() {
        response.id = chunk.id.name();
    }
    if response.model.is_none() {
        response.model = chunk.model.name();
    }
    chunk.service_tier.replace(&mut response.service_tier);
    chunk.system_fingerprint.replace(&mut response.system_fingerprint);
    for (position, choice) in chunk.choices.0.iter().enumerate() {
        let index = index_of(choice, position);
        call.choice(index);
        // A chunk may carry both: Perplexity repeats the message so far beside the delta.
        answer(index, if choice.delta.is_object() { &choice.delta } else { &choice.message }, call);
        call.append(index, TEXT, PartKind::Text, choice.text.as_str().unwrap_or_default());
        if let Some(reason) = choice.finish_reason.filled() {
            call.finish(index, reason);
        }
    }
    // The last usage that is not null counts; some servers send a running one with every piece.
    let groq: GroqExtra<'_> = chunk.x_groq.read().unwrap_or_default();
    if let Some(reported) = [chunk.usage, groq.usage].into_iter().filter_map(Raw::read).find(TokenUsage::says_something) {
        call.usage_is_running = !chunk.choices.0.is_empty() && !call.is_finished();
        usage(&reported, call);
    }
    if was_finished {
        return;
    }
    if chunk.error.0.is_some() {
        read_error(chunk.error, call);
    } else if groq.error.0.is_some() {
        read_error(groq.error, call);
    }
}

fn index_of(choice: &Choice<'_>, position: usize) -> u32 {
    choice.index.0.and_then(|index| u32::try_from(index).ok()).or_else(|| u32::try_from(position).ok()).unwrap_or(0)
}

fn answer(index: u32, message: &Answer<'_>, call: &mut CallBuilder) {
    if let Some(role) = message.role.filled() {
        call.role(index, role);
    }
    let reasoning = message.reasoning_content.filled().or_else(|| message.reasoning.filled());
    call.append(index, REASONING, PartKind::Reasoning, reasoning.unwrap_or_default());
    if let Some(text) = message.content.text() {
        call.append(index, TEXT, PartKind::Text, &text);
    } else {
        message.content.for_each(|part: ContentPart<'_>| {
            if let Some(text) = part.text.as_str() {
                call.append(index, TEXT, PartKind::Text, text);
            }
            part.thinking.for_each(|thought: ContentPart<'_>| {
                call.append(index, REASONING, PartKind::Reasoning, thought.text.as_str().unwrap_or_default());
            });
        });
    }
    if message.audio.data.0.is_some() {
        // The sound itself: large, and not kept.
        call.output_arrived();
    }
    call.append(index, TEXT, PartKind::Text, message.audio.transcript.as_str().unwrap_or_default());
    call.append(index, REFUSAL, PartKind::Text, message.refusal.as_str().unwrap_or_default());
    let function = &message.function_call;
    if function.says_something() {
        call.tool_call(index, FUNCTION_CALL, PartKind::ToolCall, None, function.name.filled(), &arguments(function));
    }
    for (position, tool) in message.tool_calls.0.iter().enumerate() {
        let function = tool.called();
        let slot = tool_slot(index, tool, position, call);
        call.tool_call(index, slot, PartKind::ToolCall, tool.id.filled(), function.name.filled(), &arguments(function));
    }
}

/// By its index; without one (some servers leave it out) an id or a name begins the next call and a fragment continues the last.
fn tool_slot(choice: u32, tool: &ToolCall<'_>, position: usize, call: &CallBuilder) -> PartSlot {
    let begins = tool.id.filled().is_some() || tool.called().name.filled().is_some();
    let number = tool.index.0.unwrap_or_else(|| {
        let known = call.last_slot(choice).map_or(0, |slot| slot.0.saturating_add(1).saturating_sub(FIRST_TOOL_CALL));
        if begins { known } else { known.saturating_sub(1).max(u64::try_from(position).unwrap_or(0)) }
    });
    PartSlot(FIRST_TOOL_CALL.saturating_add(number))
}

/// JSON text in a string; some servers send the object itself.
fn arguments<'a>(function: &'a Function<'_>) -> std::borrow::Cow<'a, str> {
    if let Some(text) = function.input.as_str() {
        return text.into();
    }
    function.arguments.text().unwrap_or_else(|| function.arguments.json().unwrap_or_default().into())
}

fn usage(reported: &TokenUsage<'_>, call: &mut CallBuilder) {
    let prompt = &reported.prompt_details;
    let completion = &reported.completion_details;
    let reasoning = completion.reasoning_tokens.0.or(reported.reasoning_tokens.0);
    let prompt_tokens = reported.prompt_tokens.0;
    // The standard's place, then DeepSeek's, Moonshot's, Mistral's, that of gateways to Claude.
    let elsewhere =
        [reported.prompt_cache_hit_tokens, reported.cached_tokens, reported.num_cached_tokens, reported.cache_read_input_tokens];
    let cached = prompt.cached_tokens.0.or_else(|| elsewhere.into_iter().find_map(|count| count.0));
    let mut output = reported.completion_tokens.0;
    let reasoning_apart = [prompt_tokens, reported.completion_tokens.0, reasoning.filter(|tokens| *tokens > 0)]
        .into_iter()
        .try_fold(0u64, |sum, part| sum.checked_add(part?))
        .is_some_and(|sum| Some(sum) == reported.total_tokens.0);
    if reasoning_apart || call.provider().as_str() == "x_ai" {
        // xAI's completion_tokens excludes reasoning in this API alone; behind another host the total shows it.
        output = output.map(|tokens| tokens.saturating_add(reasoning.unwrap_or(0)));
    }
    call.usage = Usage {
        input_tokens: prompt_tokens,
        output_tokens: output,
        cache_read_input_tokens: cached,
        cache_write_input_tokens: prompt.cache_write_tokens.0.or(reported.cache_creation_input_tokens.0),
        reasoning_output_tokens: reasoning,
        input_by_modality: modalities(prompt),
        output_by_modality: modalities(completion),
        web_search_requests: reported.num_search_queries.0,
        ..Usage::default()
    };
    if let Some(cost) = cost_in_ticks(reported.cost_in_usd_ticks, call).or_else(|| stated_cost(reported)) {
        call.response.stated_cost = Some(cost);
    }
}

/// What xAI bills, in ticks, 10^10 to the dollar. Where others serve its models, none says nothing of what they charge.
pub(super) fn cost_in_ticks(ticks: Int, call: &CallBuilder) -> Option<NanoUsd> {
    const TICKS_PER_NANO_USD: i64 = 10;
    let is_billed_by_xai = call.provider().as_str() == "x_ai";
    let ticks = ticks.0.filter(|ticks| *ticks > 0 || *ticks == 0 && is_billed_by_xai)?;
    ticks.checked_add(TICKS_PER_NANO_USD / 2)?.checked_div(TICKS_PER_NANO_USD).map(NanoUsd)
}

const fn modalities(details: &TokenDetails<'_>) -> ModalityTokens {
    ModalityTokens { text: details.text_tokens.0, image: details.image_tokens.0, audio: details.audio_tokens.0 }
}

/// OpenRouter `usage.cost` (credits are US dollars), Perplexity `usage.cost.total_cost`.
fn stated_cost(reported: &TokenUsage<'_>) -> Option<NanoUsd> {
    let total = reported.cost.read::<Float>().and_then(|cost| cost.0);
    total.or_else(|| reported.cost.read::<StatedCost<'_>>().and_then(|cost| cost.total_cost.0)).and_then(NanoUsd::from_usd)
}

#[cfg(test)]
mod tests;
