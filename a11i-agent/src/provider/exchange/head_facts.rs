//! What heads say of a call, whatever its dialect.

use crate::{
    call::{CallBuilder, NanoUsd},
    http::{RequestHead, ResponseHead},
    provider::names,
};

/// Best first: the provider's own, the gateways' before it.
const REQUEST_ID_FIELDS: [&str; 7] =
    ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "x-debug-trace-id", "mistral-correlation-id", "cf-ray"];

pub(in crate::provider) fn request_id(head: &ResponseHead) -> Option<String> {
    // Where a field may have been missed, a lesser one does not stand in for it.
    let asked = if head.headers.has_unseen() { REQUEST_ID_FIELDS.get(..1) } else { None };
    asked.unwrap_or(&REQUEST_ID_FIELDS).iter().find_map(|name| head.headers.text(name).map(names::in_field))
}

/// What LiteLLM's proxy has charged. Of a stream it is not known yet, and of a model without a price it is nothing.
pub(super) fn stated_cost(head: &ResponseHead) -> Option<NanoUsd> {
    let cost = head.headers.text("x-litellm-response-cost")?.trim().parse().ok().and_then(NanoUsd::from_usd);
    cost.filter(|cost| cost.0 > 0 && head.status < 400)
}

pub(in crate::provider) fn request_facts(head: &RequestHead, call: &mut CallBuilder) {
    let text = |name| head.headers.text(name).filter(|value| !value.is_empty()).map(names::in_field);
    let facts = &mut call.request;
    facts.retry_count = text("x-stainless-retry-count").and_then(|count| count.parse().ok());
    facts.user_agent = head.headers.text("user-agent").map(names::in_field);
    facts.organization = text("openai-organization");
    facts.project = text("openai-project");
    facts.credential_fingerprint = head.headers.credential().map(str::to_owned);
    // Azure's classic paths name the deployment, the first ones of all an engine, and the body then need not name a model.
    let named = ["/deployments/", "/engines/"].into_iter().find_map(|mark| head.path.split_once(mark)?.1.split('/').next());
    // Azure AI Inference takes the model in a field, too.
    facts.model = named.map(names::in_path).or_else(|| text("x-ms-model-mesh-model-name"));
}
