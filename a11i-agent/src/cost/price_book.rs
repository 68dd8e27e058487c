//! [`PriceBook`]: the embedded table and the user's overrides, applied to calls.

use super::{
    Cost, CostSettings, CostSource, PriceMiss, PriceMissReason, PricedCall, UnknownHosts,
    bill::{Geography, Terms, bill, total},
    lookup::{Query, table_provider},
    overrides::Overrides,
    row::{Row, Service},
    table::{Entry, Table},
};
use crate::{
    call::{LlmCall, Operation},
    tokens::CountedCall,
};

/// Dated list prices. Made once; a call costs a few binary searches and one line to parse.
#[derive(Clone, Debug)]
pub struct PriceBook {
    table: Table,
    overrides: Overrides,
}

impl PriceBook {
    pub fn embedded(overrides: Overrides) -> Self {
        Self { table: Table::embedded(), overrides }
    }

    /// The table's date, `YYYY-MM-DD`.
    pub const fn date(&self) -> &'static str {
        self.table.date
    }

    pub const fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// The call with its cost, or without and the reason where there was something to bill.
    pub fn price(&self, counted: CountedCall, settings: &CostSettings) -> (PricedCall, Option<PriceMiss>) {
        let call = counted.into_call();
        let applies = call.server.known_host || settings.unknown_hosts == UnknownHosts::Assume;
        let found = if applies && !is_local(&call) { self.table.find(&query(&call)) } else { None };
        let row = found.and_then(|(entry, source)| Some((entry, entry.row()?, source)));
        let context_window = row.as_ref().and_then(|(_, row, _)| row.context_window);
        let outcome = if settings.enabled { self.cost(&call, row.as_ref(), applies, settings.today) } else { Ok(None) };
        let (cost, miss) = match outcome {
            Ok(cost) => (cost, None),
            Err(reason) => (None, Some(miss(&call, reason))),
        };
        let (cost, hop_cost, miss) = if call.correlation.is_hop { (None, cost, None) } else { (cost, None, miss) };
        (PricedCall { call, cost, hop_cost, context_window }, miss)
    }

    /// Whether a call to this place would have a price, if it reports its usage.
    pub fn would_price(&self, query: &Query<'_>, operation: Operation, known_host: bool, settings: &CostSettings) -> bool {
        let applies = known_host || settings.unknown_hosts == UnknownHosts::Assume;
        let in_table =
            || applies && !LOCAL.contains(&query.provider) && self.table.find(query).is_some_and(|(entry, _)| entry.row().is_some());
        settings.enabled && states_usage(operation) && (self.overrides.find(query, applies).is_some() || in_table())
    }

    fn cost(
        &self,
        call: &LlmCall,
        row: Option<&(Entry, Row, CostSource)>,
        applies: bool,
        today: u32,
    ) -> Result<Option<Cost>, PriceMissReason> {
        if !is_billed(call.operation) {
            return Ok(None);
        }
        if let Some(stated) = call.response.stated_cost.filter(|stated| stated.0 >= 0) {
            return Ok(Some(Cost { total: stated, parts: None, source: CostSource::Provider }));
        }
        if call.usage.is_absent() {
            return Ok(None);
        }
        if let Some(row) = self.overrides.find(&query(call), applies) {
            return priced(row, call, &Terms::default(), CostSource::Override).map(Some);
        }
        if is_local(call) {
            return Ok(None);
        }
        if !applies {
            return Err(PriceMissReason::UnknownHost);
        }
        if is_subscription(call) {
            return Err(PriceMissReason::NotBilledPerToken);
        }
        let Some((entry, row, source)) = row else {
            let unnamed = call.request.model.is_none() && call.response.model.is_none();
            return Err(if unnamed { PriceMissReason::NoModel } else { PriceMissReason::UnknownModel });
        };
        let terms = terms(call, entry, self.table.in_force, today)?;
        let source = if call.server.known_host { *source } else { CostSource::Assumed };
        priced(row, call, &terms, source).map(Some)
    }
}

fn priced(row: &Row, call: &LlmCall, terms: &Terms, source: CostSource) -> Result<Cost, PriceMissReason> {
    let output_is_missing = call.usage.output_tokens.is_none() && !call.response.finish_reasons.is_empty();
    if output_is_missing && call.operation != Operation::Embeddings && row.base.get(super::prices::Component::Output).is_some_and(|p| p > 0)
    {
        return Err(PriceMissReason::IncompleteUsage);
    }
    let parts = bill(row, &call.usage, terms)?;
    Ok(Cost { total: total(&parts)?, parts: Some(parts), source })
}

/// Fetching a stored response, counting and moderating are free.
/// Its own exchange says, or lets estimate, how much it took.
const fn states_usage(operation: Operation) -> bool {
    matches!(operation, Operation::Chat | Operation::TextCompletion | Operation::GenerateContent | Operation::Embeddings)
}

const fn is_billed(operation: Operation) -> bool {
    match operation {
        Operation::Chat | Operation::TextCompletion | Operation::GenerateContent | Operation::Embeddings => true,
        Operation::FetchResponse => false,
        Operation::Other(name) => !matches!(name.as_bytes(), b"count_tokens" | b"moderation"),
    }
}

fn query(call: &LlmCall) -> Query<'_> {
    Query {
        provider: call.provider.as_str(),
        host: call.server.address.as_deref(),
        port: call.server.port,
        request_model: call.request.model.as_deref(),
        response_model: call.response.model.as_deref(),
    }
}

const LOCAL: [&str; 8] = ["ollama", "local", "vllm", "sglang", "llama_cpp", "lm_studio", "tgi", "localai"];

/// Own hardware: no charge unless the user sets one.
fn is_local(call: &LlmCall) -> bool {
    LOCAL.contains(&call.provider.as_str())
}

/// Paid by the month, not by the token.
fn is_subscription(call: &LlmCall) -> bool {
    call.server.address.as_deref().is_some_and(|host| host.eq_ignore_ascii_case("chatgpt.com"))
}

fn terms(call: &LlmCall, entry: &Entry, in_force: u32, today: u32) -> Result<Terms, PriceMissReason> {
    let provider = table_provider(call.provider.as_str());
    let asks_for_a_search = entry.id.contains("-search-") && call.response.status.is_some_and(|status| status < 400);
    Ok(Terms {
        service: service(provider, call.response.service_tier.as_deref())?,
        flex_is_cheaper: matches!(provider, "openai" | "azure.ai.openai" | "gcp.gemini" | "gcp.vertex_ai" | "aws.bedrock"),
        geography: geography(call),
        fast: call.response.speed.as_deref() == Some("fast"),
        // Search models of chat completions search once per request and report nothing of it.
        searches: call.usage.web_search_requests.unwrap_or_else(|| u64::from(asks_for_a_search)),
        in_force,
        today,
    })
}

/// The tier that the response names: what was asked for may be served, and billed, as another.
fn service(provider: &str, word: Option<&str>) -> Result<Service, PriceMissReason> {
    let Some(word) = word else { return Ok(Service::Standard) };
    match word.trim().to_ascii_lowercase().as_str() {
        // `1` is Gemini's ON_DEMAND when enums are encoded as integers.
        "" | "default" | "standard" | "standard_only" | "auto" | "on_demand" | "1" => Ok(Service::Standard),
        // Anthropic's is capacity paid beforehand.
        "priority" if provider == "anthropic" => Err(PriceMissReason::NotBilledPerToken),
        "priority" | "fast" | "on_demand_priority" => Ok(Service::Priority),
        "flex" | "on_demand_flex" => Ok(Service::Flex),
        "batch" => Ok(Service::Batch),
        "scale" | "provisioned" | "provisioned_throughput" | "reserved" => Err(PriceMissReason::NotBilledPerToken),
        _ => Err(PriceMissReason::UnknownTier),
    }
}

/// Regional processing: the response's word (Anthropic), or the host (OpenAI).
fn geography(call: &LlmCall) -> Option<Geography> {
    let host = call.server.address.as_deref().unwrap_or_default().to_ascii_lowercase();
    match (call.response.inference_geo.as_deref(), host.as_str()) {
        (Some("us"), _) | (None, "us.api.openai.com") => Some(Geography::Us),
        (Some("eu"), _) | (None, "eu.api.openai.com") => Some(Geography::Eu),
        _ => None,
    }
}

fn miss(call: &LlmCall, reason: PriceMissReason) -> PriceMiss {
    let model = call.response.model.as_ref().or(call.request.model.as_ref()).cloned();
    PriceMiss { provider: call.provider.clone(), model, reason }
}
