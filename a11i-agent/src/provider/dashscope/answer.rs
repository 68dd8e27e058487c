//! What is answered, whole or as events.

use super::APPLICATION;
use crate::{
    call::{CallBuilder, ModalityTokens, Operation, PartKind, PartSlot, Usage},
    provider::{
        StreamFrame,
        error_body::read_failure,
        lenient::{Count, Few, Raw, Shape, Text, Unreadable, lenient_object, parse},
        openai_chat::ToolCall,
    },
};

lenient_object! {
    struct Answer<'a> {
        "output" => output: Output<'a>,
        "usage" => usage: TokenUsage<'a>,
        "request_id" => request_id: Text<'a>,
        "code" => code: Text<'a>,
    }
}

lenient_object! {
    /// With choices, or with one text alone (`result_format`).
    struct Output<'a> {
        "text" => text: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "choices" => choices: Few<Choice<'a>>,
    }
}

lenient_object! {
    struct Choice<'a> {
        "index" => index: Count,
        "message" => message: Message<'a>,
        "finish_reason" => finish_reason: Text<'a>,
    }
}

lenient_object! {
    struct Message<'a> {
        "role" => role: Text<'a>,
        "content" => content: Raw<'a>,
        "reasoning_content" => reasoning_content: Text<'a>,
        "tool_calls" => tool_calls: Few<ToolCall<'a>>,
    }
}

lenient_object! {
    struct ContentPart<'a> {
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "input_tokens" => input_tokens: Count,
        "output_tokens" => output_tokens: Count,
        "total_tokens" => total_tokens: Count,
        "prompt_tokens_details" => prompt_details: TokenDetails<'a>,
        "input_tokens_details" => input_details: TokenDetails<'a>,
        "output_tokens_details" => output_details: TokenDetails<'a>,
        "plugins" => plugins: Plugins<'a>,
        "models" => models: Few<ModelUsage<'a>>,
    }
}

lenient_object! {
    struct TokenDetails<'a> {
        "cached_tokens" => cached_tokens: Count,
        "cache_creation_input_tokens" => cache_creation_tokens: Count,
        "reasoning_tokens" => reasoning_tokens: Count,
        "text_tokens" => text_tokens: Count,
        "image_tokens" => image_tokens: Count,
        "audio_tokens" => audio_tokens: Count,
    }
}

lenient_object! {
    struct Plugins<'a> {
        "search" => search: Plugin<'a>,
    }
}

lenient_object! {
    struct Plugin<'a> {
        "count" => count: Count,
    }
}

lenient_object! {
    /// Of each model that an application asked.
    struct ModelUsage<'a> {
        "model_id" => model_id: Text<'a>,
        "input_tokens" => input_tokens: Count,
        "output_tokens" => output_tokens: Count,
    }
}

/// The word of an event after which more come.
const UNFINISHED: &str = "null";

const REASONING: PartSlot = PartSlot(0);
const TEXT: PartSlot = PartSlot(1);
const FIRST_TOOL_CALL: u64 = 16;

pub(super) fn whole(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let answer: Answer<'_> = parse(body)?;
    read(&answer, call);
    // Some failures come with a status of success.
    if answer.code.filled().is_some() && !answer.output.is_object() {
        read_failure(body, call);
    }
    Ok(())
}

pub(super) fn event(frame: &StreamFrame<'_>, call: &mut CallBuilder) -> Result<(), Unreadable> {
    let answer: Answer<'_> = parse(frame.data)?;
    if !call.output_is_incremental && repeats(&answer.output, call.estimation.output.text()) {
        call.restart_output();
    }
    read(&answer, call);
    call.usage_is_running = !call.is_finished();
    if frame.event == Some("error") || answer.code.filled().is_some() && !answer.output.is_object() {
        read_failure(frame.data, call);
    }
    Ok(())
}

fn read(answer: &Answer<'_>, call: &mut CallBuilder) {
    answer.request_id.replace(&mut call.response.id);
    let output = &answer.output;
    if matches!(call.operation(), Operation::Chat | APPLICATION) {
        for (index, choice) in (0u32..).zip(&output.choices.0) {
            let index = choice.index.0.and_then(|index| u32::try_from(index).ok()).unwrap_or(index);
            message(index, &choice.message, call);
            finish(index, &choice.finish_reason, call);
        }
        if output.is_object() && output.choices.0.is_empty() {
            call.choice(0);
            call.append(0, TEXT, PartKind::Text, output.text.as_str().unwrap_or_default());
            finish(0, &output.finish_reason, call);
        }
    }
    usage(&answer.usage, call);
}

fn finish(index: u32, reason: &Text<'_>, call: &mut CallBuilder) {
    if let Some(reason) = reason.filled().filter(|reason| *reason != UNFINISHED) {
        call.finish(index, reason);
    }
}

fn message(index: u32, message: &Message<'_>, call: &mut CallBuilder) {
    call.choice(index);
    if let Some(role) = message.role.filled() {
        call.role(index, role);
    }
    call.append(index, REASONING, PartKind::Reasoning, message.reasoning_content.as_str().unwrap_or_default());
    texts(message, |text| call.append(index, TEXT, PartKind::Text, text));
    for (position, tool) in (0u64..).zip(&message.tool_calls.0) {
        let slot = PartSlot(FIRST_TOOL_CALL.saturating_add(tool.index.0.unwrap_or(position)));
        let arguments = tool.function.arguments.text().unwrap_or_default();
        call.tool_call(index, slot, PartKind::ToolCall, tool.id.filled(), tool.function.name.filled(), &arguments);
    }
}

/// A text, or parts with texts and media.
fn texts(message: &Message<'_>, mut act: impl FnMut(&str)) {
    if let Some(text) = message.content.text() {
        return act(&text);
    }
    message.content.for_each(|part: ContentPart<'_>| act(part.text.as_str().unwrap_or_default()));
}

/// Whether an event says once more what was said so far, of which this is the beginning.
fn repeats(output: &Output<'_>, so_far: &str) -> bool {
    let mut left = Some(so_far).filter(|so_far| !so_far.is_empty());
    let mut meet = |piece: &str| {
        left = left.and_then(|rest| {
            // The event goes on where what was said ends.
            if piece.starts_with(rest) { Some("") } else { rest.strip_prefix(piece) }
        });
    };
    if let Some(choice) = output.choices.0.first() {
        let message = &choice.message;
        meet(message.reasoning_content.as_str().unwrap_or_default());
        texts(message, &mut meet);
        for tool in &message.tool_calls.0 {
            meet(tool.function.name.as_str().unwrap_or_default());
            meet(&tool.function.arguments.text().unwrap_or_default());
        }
    } else {
        meet(output.text.as_str().unwrap_or_default());
    }
    left == Some("")
}

fn usage(said: &TokenUsage<'_>, call: &mut CallBuilder) {
    if call.operation() == APPLICATION {
        return application(&said.models.0, call);
    }
    if said.input_tokens.0.is_none() && said.output_tokens.0.is_none() && said.total_tokens.0.is_none() {
        return;
    }
    // Embeddings and rankings only say a total.
    let writes = !matches!(call.operation(), Operation::Embeddings | Operation::Other("rerank"));
    let total = said.total_tokens.0.filter(|_| !writes);
    call.usage = Usage {
        input_tokens: said.input_tokens.0.or(total),
        output_tokens: said.output_tokens.0.filter(|_| writes),
        cache_read_input_tokens: said.prompt_details.cached_tokens.0.or(said.input_details.cached_tokens.0),
        cache_write_input_tokens: said.prompt_details.cache_creation_tokens.0,
        reasoning_output_tokens: said.output_details.reasoning_tokens.0,
        input_by_modality: modalities(&said.input_details),
        output_by_modality: modalities(&said.output_details),
        web_search_requests: said.plugins.search.count.0,
        ..Usage::default()
    };
}

/// The sums over its models; their name where there is one.
fn application(models: &[ModelUsage<'_>], call: &mut CallBuilder) {
    let sum = |count: fn(&ModelUsage<'_>) -> Count| {
        models.iter().map(|model| count(model).0).try_fold(0u64, |sum, count| sum.checked_add(count?)).filter(|_| !models.is_empty())
    };
    let (input, output) = (sum(|model| model.input_tokens), sum(|model| model.output_tokens));
    if input.is_some() || output.is_some() {
        call.usage = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
    }
    if let [model] = models {
        model.model_id.replace(&mut call.response.model);
    }
}

const fn modalities(details: &TokenDetails<'_>) -> ModalityTokens {
    ModalityTokens { text: details.text_tokens.0, image: details.image_tokens.0, audio: details.audio_tokens.0 }
}
