//! Hand-built calls for the tests of this folder.

use std::sync::Arc;

use a11i_common::identity::{BootTime, Pid, ProcessId};

use super::{
    resource::ResourceBuilder,
    span::{ClockOffset, SpanIds, SpanRecord},
};
use crate::{
    call::{
        CaptureFacts, CaptureLibrary, CaptureMethod, Completeness, Content, ContentGaps, Correlation, EstimationText, LlmCall, NanoUsd,
        Operation, Outcome, ProviderName, RequestFacts, ResponseFacts, Role, ServerAddress, SocketPeer, Timing, Usage,
    },
    cost::{Cost, CostParts, CostSource, PricedCall},
    owner::Owner,
    redaction::{ContentPolicy, RedactedCall, redact},
};

/// A streamed OpenAI chat that went well.
pub(crate) fn chat() -> PricedCall {
    PricedCall {
        hop_cost: None,
        call: LlmCall {
            owner: Arc::new(Owner {
                process: ProcessId { pid: Pid(42), start_ticks: 7 },
                executable_name: Some("python3".to_owned()),
                ..Owner::default()
            }),
            role: Role::Client,
            operation: Operation::Chat,
            provider: ProviderName::of("openai"),
            peer: Some(SocketPeer::Internet(([203, 0, 113, 7], 443).into())),
            server: ServerAddress { address: Some("api.openai.com".to_owned()), port: Some(443), known_host: true },
            request: RequestFacts {
                model: Some("gpt-4o".to_owned()),
                stream: true,
                top_k: Some(5),
                choice_count: Some(1),
                service_tier: Some("auto".to_owned()),
                retry_count: Some(0),
                ..RequestFacts::default()
            },
            response: ResponseFacts {
                status: Some(200),
                id: Some("chatcmpl-1".to_owned()),
                model: Some("gpt-4o-2024-08-06".to_owned()),
                finish_reasons: vec!["stop".to_owned()],
                service_tier: Some("default".to_owned()),
                api_type: Some("chat_completions"),
                stream_chunks: 12,
                ..ResponseFacts::default()
            },
            usage: Usage {
                input_tokens: Some(100),
                output_tokens: Some(20),
                cache_read_input_tokens: Some(64),
                cache_write_input_tokens: Some(8),
                ..Usage::default()
            },
            outcome: Outcome::default(),
            timing: Timing {
                gaps: ContentGaps::default(),
                start: BootTime(1_000),
                first_chunk: Some(BootTime(500_001_000)),
                first_token: Some(BootTime(750_001_000)),
                last_token: Some(BootTime(1_900_001_000)),
                end: BootTime(2_000_001_000),
            },
            content: Content::default(),
            estimation: EstimationText::default(),
            completeness: Completeness::Whole,
            capture: CaptureFacts { library: Some(CaptureLibrary::OpenSsl), method: Some(CaptureMethod::Symbol) },
            correlation: Correlation::default(),
        },
        cost: Some(Cost {
            total: NanoUsd(370_000),
            parts: Some(CostParts {
                input: NanoUsd(90_000),
                output: NanoUsd(200_000),
                cache_read: NanoUsd(80_000),
                cache_write: NanoUsd(0),
                fees: NanoUsd(0),
            }),
            source: CostSource::Exact,
        }),
        context_window: Some(128_000),
    }
}

pub(crate) fn redacted(priced: &PricedCall) -> RedactedCall {
    redact(priced.clone(), ContentPolicy::Full)
}

pub(crate) fn ids() -> SpanIds {
    SpanIds::new(None, [1; 16], [2; 8])
}

pub(crate) fn span(priced: &PricedCall, clock: ClockOffset) -> SpanRecord {
    SpanRecord::new(&redacted(priced), ids(), clock, &ResourceBuilder::default())
}
