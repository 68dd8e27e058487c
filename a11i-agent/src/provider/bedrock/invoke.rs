//! Answers in the models' own formats, whole or event by event, told apart by their shape.

use super::{completions, converse};
use crate::{
    call::{CallBuilder, Operation, PartKind, PartSlot},
    provider::{
        Dialect as _, StreamFrame,
        anthropic::Anthropic,
        lenient::{Count, Raw, Shape, Text, Unreadable, lenient_object, parse},
        openai_chat::OpenAiChat,
    },
};

lenient_object! {
    struct Shapes<'a> {
        "type" => kind: Text<'a>,
        "content" => content: Raw<'a>,
        "output" => output: Raw<'a>,
        "messageStart" => message_start: Raw<'a>,
        "contentBlockStart" => block_start: Raw<'a>,
        "contentBlockDelta" => block_delta: Raw<'a>,
        "messageStop" => message_stop: Raw<'a>,
        "metadata" => metadata: Raw<'a>,
        "object" => object: Text<'a>,
        "choices" => choices: Raw<'a>,
        "event" => event: Raw<'a>,
        "amazon-bedrock-invocationMetrics" => metrics: Raw<'a>,
    }
}

lenient_object! {
    /// Mistral's and DeepSeek's chat formats on Bedrock name the reason so; a number is a token.
    struct Choice<'a> {
        "index" => index: Count,
        "finish_reason" => finish_reason: Text<'a>,
        "stop_reason" => stop_reason: Raw<'a>,
    }
}

lenient_object! {
    /// Nova Sonic.
    struct SpeechEvent<'a> {
        "usageEvent" => usage: SpeechUsage<'a>,
        "textOutput" => text: SpeechText<'a>,
    }
}

lenient_object! {
    struct SpeechText<'a> {
        "content" => content: Text<'a>,
        "role" => role: Text<'a>,
    }
}

lenient_object! {
    struct SpeechUsage<'a> {
        "totalInputTokens" => input: Count,
        "totalOutputTokens" => output: Count,
        "details" => details: SpeechDetails<'a>,
    }
}

lenient_object! {
    struct SpeechDetails<'a> {
        "total" => total: SpeechTotals<'a>,
    }
}

lenient_object! {
    struct SpeechTotals<'a> {
        "input" => input: SpeechTokens<'a>,
        "output" => output: SpeechTokens<'a>,
    }
}

lenient_object! {
    struct SpeechTokens<'a> {
        "speechTokens" => speech: Count,
        "textTokens" => text: Count,
    }
}

lenient_object! {
    /// What Bedrock itself counted; its input excludes the cache.
    struct Metrics<'a> {
        "inputTokenCount" => input: Count,
        "outputTokenCount" => output: Count,
        "cacheReadInputTokenCount" => cache_read: Count,
        "cacheWriteInputTokenCount" => cache_write: Count,
    }
}

/// A body answered whole.
pub(in crate::provider) fn answer(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let shapes: Shapes<'_> = parse(body)?;
    let told_by_head = call.cache_apart.base_seen;
    if shapes.kind.as_str() == Some("message") || shapes.kind.as_str() == Some("error") {
        Anthropic.response(body, call)?;
        call.cache_apart.base_seen |= told_by_head;
    } else if shapes.output.0.is_some() {
        converse::answer(body, call)?;
    } else if shapes.are_openais() {
        OpenAiChat.response(body, call)?;
        stop_reasons(&shapes, call);
    } else {
        completions::read(body, call);
    }
    if !call.usage.is_absent() {
        // The body's own word is more than the head's: it has the parts.
        call.cache_apart = crate::call::CacheApartUsage::default();
    }
    if call.operation() == Operation::Embeddings {
        call.cache_apart.output_tokens = None;
    }
    Ok(())
}

/// A model's own event.
pub(in crate::provider) fn event(body: &[u8], call: &mut CallBuilder) {
    let Ok(shapes) = parse::<Shapes<'_>>(body) else { return };
    let nova = [
        ("messageStart", shapes.message_start),
        ("contentBlockStart", shapes.block_start),
        ("contentBlockDelta", shapes.block_delta),
        ("messageStop", shapes.message_stop),
        ("metadata", shapes.metadata),
    ];
    if let Some((name, inside)) = nova.into_iter().find_map(|(name, event)| event.json().map(|json| (name, json))) {
        converse::event(name, inside.as_bytes(), call);
    } else if shapes.are_openais() {
        OpenAiChat.chunk(&StreamFrame { event: None, data: body }, call);
        stop_reasons(&shapes, call);
    } else if let Some(event) = shapes.event.read::<SpeechEvent<'_>>().filter(Shape::is_object) {
        speech(&event, call);
    } else if shapes.kind.filled().is_some_and(|kind| kind != "completion") {
        Anthropic.chunk(&StreamFrame { event: None, data: body }, call);
    } else {
        completions::read(body, call);
    }
    if let Some(counted) = shapes.metrics.read::<Metrics<'_>>().filter(Shape::is_object) {
        metrics(&counted, call);
    }
}

/// Events of the stream were lost, or it is over.
pub(in crate::provider) fn end(gap: bool, call: &mut CallBuilder) {
    Anthropic.stream_end(gap, call);
    OpenAiChat.stream_end(gap, call);
}

fn stop_reasons(shapes: &Shapes<'_>, call: &mut CallBuilder) {
    let mut position = 0_u32;
    shapes.choices.for_each(|choice: Choice<'_>| {
        let index = choice.index.0.and_then(|index| u32::try_from(index).ok()).unwrap_or(position);
        position = position.saturating_add(1);
        if choice.finish_reason.filled().is_none()
            && let Some(reason) = choice.stop_reason.text().filter(|reason| !reason.is_empty())
        {
            call.finish(index, &reason);
        }
    });
}

impl Shapes<'_> {
    /// The event with the usage has no choices.
    fn are_openais(&self) -> bool {
        self.choices.0.is_some() || self.object.as_str().is_some_and(|object| object.starts_with("chat.completion"))
    }
}

/// Counts only where the model's events have none: theirs have the parts, and of old models the two differ.
fn metrics(counted: &Metrics<'_>, call: &mut CallBuilder) {
    if call.usage_is_running {
        call.usage_is_running = false;
        call.usage = crate::call::Usage::default();
    }
    if !call.usage.is_absent() {
        let usage = &mut call.usage;
        usage.input_tokens = usage.input_tokens.or(counted.input.0);
        usage.output_tokens = usage.output_tokens.or(counted.output.0);
        return;
    }
    let counts = &mut call.cache_apart;
    if counts.input_tokens.is_none() || counts.input_uncertain {
        counts.input_tokens = counted.input.0.or(counts.input_tokens);
        counts.cache_read_input_tokens = counted.cache_read.0.or(counts.cache_read_input_tokens);
        counts.cache_write_input_tokens = counted.cache_write.0.or(counts.cache_write_input_tokens);
        counts.base_seen = true;
        counts.input_uncertain = false;
    }
    if counts.output_tokens.is_none() {
        counts.output_tokens = counted.output.0;
    }
}

/// Each such event has the session's sums so far.
fn speech(event: &SpeechEvent<'_>, call: &mut CallBuilder) {
    const ANSWER: u32 = 0;
    if event.usage.is_object() {
        let (counted, usage) = (&event.usage, &mut call.usage);
        usage.input_tokens = counted.input.0;
        usage.output_tokens = counted.output.0;
        usage.input_by_modality.audio = counted.details.total.input.speech.0;
        usage.input_by_modality.text = counted.details.total.input.text.0;
        usage.output_by_modality.audio = counted.details.total.output.speech.0;
        usage.output_by_modality.text = counted.details.total.output.text.0;
    }
    if event.text.role.as_str() == Some("ASSISTANT") {
        call.append(ANSWER, PartSlot(0), PartKind::Text, event.text.content.as_str().unwrap_or_default());
    }
}
