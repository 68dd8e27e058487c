//! OpenAI Responses (<https://platform.openai.com/docs/api-reference/responses>).
//!
//! A stream's terminal event repeats the whole response and counts; the deltas before it are what a cut stream is told from.

mod output;
mod request;

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_refusal},
    lenient::{Count, Flag, Float, Int, Raw, Shape, Text, Unreadable, lenient_object, parse},
    openai_chat::cost_in_ticks,
    posted,
};
use crate::{
    call::{CallBuilder, ModalityTokens, NanoUsd, Operation, PartKind, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct OpenAiResponses;

impl Dialect for OpenAiResponses {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[
            ("/responses", Operation::Chat),
            ("/responses/compact", Operation::Other("compact")),
            ("/responses/input_tokens", Operation::Other("count_tokens")),
        ]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, self.path_ends()).or_else(|| {
            let (_, id) = head.path.trim_end_matches('/').rsplit_once("/responses/")?;
            // Others have a path /responses/ too; every id of this API's inventor begins so.
            let (id, act) = id.split_once('/').map_or((id, None), |(id, act)| (id, Some(act)));
            match (head.method.as_str(), act) {
                _ if !id.starts_with("resp_") => None,
                // To cancel one is answered with the response as far as it came.
                ("GET", None) | ("POST", Some("cancel")) => Some(Operation::FetchResponse),
                _ => None,
            }
        })
    }

    /// A stored prompt names its model itself.
    fn resembles(&self, call: &CallBuilder) -> bool {
        call.request.model.is_some() || call.request.prompt_name.is_some()
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        // A stored stream is played again.
        call.request.stream = head.query.as_deref().is_some_and(|query| query.split('&').any(|field| field == "stream=true"));
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        call.response.api_type = Some("responses");
        if operation == Operation::FetchResponse { Ok(()) } else { request::read(body, call) }
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if !read_refusal(body, call)? {
            whole_response(&parse(body)?, call);
        }
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
        let kind = event.kind.filled().or(frame.event).unwrap_or_default();
        match kind {
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                whole_response(&event.response.read().unwrap_or_default(), call);
            }
            "response.created" | "response.queued" | "response.in_progress" => {
                identity(&event.response.read().unwrap_or_default(), call);
            }
            "error" => {
                if event.error.0.is_some() {
                    read_error(event.error, call);
                } else {
                    call.fail(event.code.filled().or(Some("error")), event.message.filled());
                }
                call.finish(0, "error");
            }
            _ => output::delta(kind, &event, call),
        }
    }
}

lenient_object! {
    struct Event<'a> {
        "type" => kind: Text<'a>,
        // Large, and in few events: read where it is there.
        "response" => response: Raw<'a>,
        "output_index" => output_index: Count,
        "content_index" => content_index: Count,
        "summary_index" => summary_index: Count,
        "delta" => delta: Text<'a>,
        "item" => item: Raw<'a>,
        "arguments" => arguments: Text<'a>,
        "input" => input: Text<'a>,
        "error" => error: Raw<'a>,
        "code" => code: Text<'a>,
        "message" => message: Text<'a>,
    }
}

lenient_object! {
    struct Response<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "status" => status: Text<'a>,
        "incomplete_details" => incomplete_details: IncompleteDetails<'a>,
        "error" => error: Raw<'a>,
        "output" => output: Raw<'a>,
        "usage" => usage: TokenUsage<'a>,
        "service_tier" => service_tier: Text<'a>,
        "conversation" => conversation: Raw<'a>,
        "background" => background: Flag,
    }
}

lenient_object! {
    struct IncompleteDetails<'a> {
        "reason" => reason: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "input_tokens" => input_tokens: Count,
        "output_tokens" => output_tokens: Count,
        "input_tokens_details" => input_details: TokenDetails<'a>,
        "output_tokens_details" => output_details: TokenDetails<'a>,
        "cost" => cost: Float,
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
    struct Identified<'a> {
        "id" => id: Text<'a>,
    }
}

fn identity(response: &Response<'_>, call: &mut CallBuilder) {
    if let Some(id) = response.id.name() {
        call.response.id = Some(id);
    }
    if let Some(model) = response.model.name() {
        call.response.model = Some(model);
    }
    // `auto` only repeats the request; the tier that served comes with the end.
    if let Some(tier) = response.service_tier.name().filter(|tier| tier != "auto") {
        call.response.service_tier = Some(tier);
    }
    if response.background.0 == Some(true) {
        call.response.deferred = Some(Operation::Chat);
    }
    if let Some(conversation) = conversation_id(response.conversation) {
        call.request.conversation_id = Some(conversation);
    }
    // The one answer of this API is expected from here on.
    if response.is_object() && call.operation() == Operation::Chat {
        call.choice(0);
    }
}

/// An id, or an object with one.
fn conversation_id(conversation: Raw<'_>) -> Option<String> {
    conversation.read::<Identified<'_>>().and_then(|object| object.id.name()).or_else(|| conversation.read::<Text<'_>>()?.name())
}

fn whole_response(response: &Response<'_>, call: &mut CallBuilder) {
    identity(response, call);
    // The provider's own word for how it ended: why it is incomplete, else its status.
    let status = response.status.filled();
    let reason = response.incomplete_details.reason.filled().or(status);
    if let Some(reason) = reason {
        call.finish(0, reason);
    }
    if response.error.0.is_some() {
        read_error(response.error, call);
    }
    if status == Some("failed") && !call.has_failed() {
        call.fail(Some("failed"), None);
    }
    let mut items = 0usize;
    response.output.for_each(|item: output::Item<'_>| {
        if items == 0 {
            call.restart_output();
            call.usage.web_search_requests = None;
        }
        output::whole_item(u64::try_from(items).unwrap_or(u64::MAX), &item, call);
        items = items.saturating_add(1);
    });
    if response.usage.is_object() && consumes(call) {
        usage(&response.usage, call);
    }
}

/// A fetched response was consumed and counted when it was made, but for those of which that was never said.
pub(super) fn consumes(call: &CallBuilder) -> bool {
    call.operation() != Operation::FetchResponse || call.response.deferred.is_some()
}

/// An event between the first and the last of an answer, where another API has the same ones. `kind`: its type, by the name it has here.
pub(super) fn answer_event(kind: &str, event: &[u8], call: &mut CallBuilder) {
    if let Ok(event) = parse::<Event<'_>>(event) {
        output::delta(kind, &event, call);
    }
}

/// All items of an answer, which repeat what came before.
pub(super) fn whole_output(items: Raw<'_>, call: &mut CallBuilder) {
    let mut count = 0_u64;
    items.for_each(|item: output::Item<'_>| {
        if count == 0 {
            call.restart_output();
        }
        output::whole_item(count, &item, call);
        count = count.saturating_add(1);
    });
}

fn usage(reported: &TokenUsage<'_>, call: &mut CallBuilder) {
    let modalities = |details: &TokenDetails<'_>| ModalityTokens {
        text: details.text_tokens.0,
        image: details.image_tokens.0,
        audio: details.audio_tokens.0,
    };
    call.usage = Usage {
        input_tokens: reported.input_tokens.0,
        output_tokens: reported.output_tokens.0,
        cache_read_input_tokens: reported.input_details.cached_tokens.0,
        cache_write_input_tokens: reported.input_details.cache_write_tokens.0,
        reasoning_output_tokens: reported.output_details.reasoning_tokens.0,
        input_by_modality: modalities(&reported.input_details),
        output_by_modality: modalities(&reported.output_details),
        web_search_requests: call.usage.web_search_requests,
        ..Usage::default()
    };
    if let Some(cost) = cost_in_ticks(reported.cost_in_usd_ticks, call).or_else(|| reported.cost.0.and_then(NanoUsd::from_usd)) {
        call.response.stated_cost = Some(cost);
    }
}

#[cfg(test)]
mod tests;
