//! Gemini's Interactions (<https://ai.google.dev/gemini-api/docs/interactions>), in both revisions: outputs with `content.*` events, and
//! steps with `step.*` events.

mod output;
mod request;

use crate::{
    call::{CallBuilder, Operation, ProviderName, Usage},
    http::RequestHead,
    provider::{
        Dialect, StreamFrame,
        error_body::{read_error, read_failure},
        lenient::{Count, Few, Raw, Shape, Text, Unreadable, lenient_object, parse},
    },
};

use super::usage::{Share, modalities};

pub(in crate::provider) struct Interactions;

impl Dialect for Interactions {
    fn name(&self) -> ProviderName {
        ProviderName::of("gcp.gemini")
    }

    fn usual_operation(&self) -> Operation {
        Operation::GenerateContent
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/v1beta/interactions", Operation::GenerateContent)]
    }

    /// Many an application has a path `/interactions`: elsewhere than at Google it is taken only with the API's own version before it.
    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let path = head.path.trim_end_matches('/');
        let is_google = head.host.as_deref().is_some_and(|host| host.ends_with(".googleapis.com"));
        let versioned = |root: &str| ["/v1beta", "/v1alpha", "/v1beta1"].iter().any(|version| root.ends_with(version));
        if let Some(root) = path.strip_suffix("/interactions").filter(|_| head.method == "POST") {
            return (is_google || versioned(root)).then_some(Operation::GenerateContent);
        }
        fetched(&head.method, path, |root| is_google || versioned(root))
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if operation == Operation::FetchResponse { Ok(()) } else { request::read(body, call) }
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let document: Raw<'_> = parse(body)?;
        if call.response.has_error_status() {
            // Google's servers wrap a failure in an array here and there.
            document.for_each(|element: Raw<'_>| read_failure(element.json().unwrap_or_default().as_bytes(), call));
            read_failure(body, call);
            return Ok(());
        }
        let Some(interaction) = document.read::<Interaction<'_>>() else { return Ok(()) };
        state(&interaction, call);
        output::steps(&interaction, call);
        forget_what_is_repeated(call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
        match event.kind.filled().or(frame.event).unwrap_or_default() {
            // What a terminal event repeats of the steps was told by their own events.
            "interaction.created" | "interaction.start" | "interaction.completed" | "interaction.complete" => {
                state(&event.interaction.read().unwrap_or_default(), call);
            }
            "interaction.status_update" => status(&event.status, call),
            "error" => {
                read_error(event.error, call);
                call.fail(Some("error"), None);
            }
            kind => output::event(kind, &event, call),
        }
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap {
            // Searches are counted here, event by event.
            call.usage.web_search_requests = None;
        }
        forget_what_is_repeated(call);
    }
}

/// What is fetched without its usage repeats searches, too.
fn forget_what_is_repeated(call: &mut CallBuilder) {
    if call.operation() == Operation::FetchResponse && call.response.deferred.is_none() {
        call.usage.web_search_requests = None;
    }
}

lenient_object! {
    struct Interaction<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "agent" => agent: Text<'a>,
        "status" => status: Text<'a>,
        "steps" => steps: Raw<'a>,
        "outputs" => outputs: Raw<'a>,
        "usage" => usage: InteractionUsage<'a>,
        "service_tier" | "serviceTier" => service_tier: Text<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Event<'a> {
        "event_type" | "eventType" => kind: Text<'a>,
        // Large, and in few events: read where it is there.
        "interaction" => interaction: Raw<'a>,
        "status" => status: Text<'a>,
        "index" => index: Count,
        "step" => step: Raw<'a>,
        "content" => content: Raw<'a>,
        "delta" => delta: Raw<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct InteractionUsage<'a> {
        "total_input_tokens" | "totalInputTokens" => input: Count,
        "total_tool_use_tokens" | "totalToolUseTokens" => tool_use: Count,
        "total_output_tokens" | "totalOutputTokens" => output: Count,
        "total_thought_tokens" | "totalThoughtTokens" => thoughts: Count,
        "total_reasoning_tokens" | "totalReasoningTokens" => reasoning: Count,
        "total_cached_tokens" | "totalCachedTokens" => cached: Count,
        "input_tokens_by_modality" | "inputTokensByModality" => input_shares: Few<Share<'a>>,
        "tool_use_tokens_by_modality" | "toolUseTokensByModality" => tool_use_shares: Few<Share<'a>>,
        "output_tokens_by_modality" | "outputTokensByModality" => output_shares: Few<Share<'a>>,
        "cached_tokens_by_modality" | "cachedTokensByModality" => cached_shares: Few<Share<'a>>,
    }
}

/// An interaction has one answer.
const ANSWER: u32 = 0;

fn state(interaction: &Interaction<'_>, call: &mut CallBuilder) {
    if !interaction.is_object() {
        return;
    }
    interaction.id.replace(&mut call.response.id);
    interaction.model.replace(&mut call.response.model);
    interaction.service_tier.replace(&mut call.response.service_tier);
    interaction.agent.replace(&mut call.request.agent_id);
    call.choice(ANSWER);
    if interaction.error.0.is_some() {
        read_error(interaction.error, call);
    }
    status(&interaction.status, call);
    // What is counted so far is not what it will be.
    let is_over = !matches!(interaction.status.filled(), Some("in_progress" | "queued"));
    if interaction.usage.is_object() && is_over {
        usage(&interaction.usage, call);
        // One that ran in the background states it where it is fetched, and any that is stored repeats it there: it counts once.
        call.response.deferred = Some(Operation::GenerateContent);
        // Agents run in the background; models do where it was asked for.
        call.response.is_restated = call.operation() == Operation::FetchResponse && call.request.agent_id.is_none();
    }
}

/// To cancel one is answered with the interaction as far as it came.
fn fetched(method: &str, path: &str, is_right: impl FnOnce(&str) -> bool) -> Option<Operation> {
    let (root, id) = path.rsplit_once("/interactions/")?;
    let (id, act) = id.split_once('/').map_or((id, None), |(id, act)| (id, Some(act)));
    let asked = matches!((method, act), ("GET", None) | ("POST", Some("cancel")));
    (asked && !id.is_empty() && is_right(root)).then_some(Operation::FetchResponse)
}

/// The provider's word for how it ended, once it has.
fn status(status: &Text<'_>, call: &mut CallBuilder) {
    let Some(word) = status.filled().filter(|word| !matches!(*word, "in_progress" | "queued")) else { return };
    call.finish(ANSWER, word);
    if word == "failed" {
        call.fail(Some(word), None);
    }
}

/// As `usageMetadata` counts: thoughts and what tools put into the prompt stand beside output and input.
fn usage(reported: &InteractionUsage<'_>, call: &mut CallBuilder) {
    let thoughts = reported.thoughts.0.or(reported.reasoning.0);
    call.usage = Usage {
        input_tokens: reported.input.0.and_then(|input| input.checked_add(reported.tool_use.0.unwrap_or(0))),
        output_tokens: reported.output.0.and_then(|output| output.checked_add(thoughts.unwrap_or(0))),
        cache_read_input_tokens: reported.cached.0,
        reasoning_output_tokens: thoughts,
        input_by_modality: modalities(reported.input_shares.0.iter().chain(&reported.tool_use_shares.0)),
        output_by_modality: modalities(&reported.output_shares.0),
        cache_read_by_modality: modalities(&reported.cached_shares.0),
        web_search_requests: call.usage.web_search_requests,
        ..Usage::default()
    };
}

#[cfg(test)]
mod tests;
