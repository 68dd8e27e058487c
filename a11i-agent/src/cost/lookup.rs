//! From the model ids of a call to a row of the table.

use super::{
    CostSource,
    model_id::{arn_region, bedrock_variants, fine_tune_base, normalise, safe_prefixes, without_suffixes},
    table::{Entry, Table},
};

const OPENAI: &str = "openai";
const AZURE_OPENAI: &str = "azure.ai.openai";
const AZURE_INFERENCE: &str = "azure.ai.inference";
const ANTHROPIC: &str = "anthropic";
const BEDROCK: &str = "aws.bedrock";
const GEMINI: &str = "gcp.gemini";
const VERTEX: &str = "gcp.vertex_ai";
const OPENROUTER: &str = "openrouter";

/// Where a call went and what it named.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// `gen_ai.provider.name`.
    pub provider: &'a str,
    pub host: Option<&'a str>,
    pub port: Option<u16>,
    pub request_model: Option<&'a str>,
    pub response_model: Option<&'a str>,
}

/// The table's provider of a call's.
pub(super) fn table_provider(name: &str) -> &str {
    match name {
        "gcp.gen_ai" => GEMINI,
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        "together" => "together_ai",
        "fireworks" => "fireworks_ai",
        "moonshot" => "moonshot_ai",
        "vercel" => "vercel_ai_gateway",
        "nvidia" => "nvidia_nim",
        "z_ai" => "zai",
        "novita_ai" => "novita",
        "voyage_ai" => "voyage",
        "snowflake_cortex" => "snowflake",
        "cloudflare_ai_gateway" => "cloudflare",
        other => other,
    }
}

impl Table {
    /// The row that prices the call, and how sure that is: by its own provider's rows, then a prefix of them, then another provider's.
    pub(super) fn find(&self, query: &Query<'_>) -> Option<(Entry, CostSource)> {
        let provider = table_provider(query.provider);
        let region = region(provider, query);
        let ids: Vec<String> = ids(provider, query).into_iter().filter_map(normalise).collect();
        let own = |id: &String| self.known(provider, id, region.as_deref());
        let prefix = |id: &String| {
            let entry = safe_prefixes(id).find_map(|prefix| self.get(provider, prefix, region.as_deref()))?;
            Some((entry, CostSource::Prefix))
        };
        let other = |id: &String| Some((self.elsewhere(provider, id)?, CostSource::OtherProvider));
        ids.iter().find_map(own).or_else(|| ids.iter().find_map(prefix)).or_else(|| ids.iter().find_map(other))
    }

    /// Among the provider's own rows, without guessing.
    fn known(&self, provider: &str, id: &str, region: Option<&str>) -> Option<(Entry, CostSource)> {
        if let Some(entry) = self.get(provider, id, region) {
            return Some((entry, if entry.alias { CostSource::Alias } else { CostSource::Exact }));
        }
        if let Some((named, rest)) = split_provider(id)
            && named == provider
        {
            return self.known(provider, rest, region);
        }
        let variants = if provider == BEDROCK { bedrock_variants(id) } else { vec![id] };
        if let Some(entry) = variants.iter().find_map(|id| self.get(provider, id, region)) {
            return Some((entry, CostSource::Suffix));
        }
        if let Some(base) = fine_tune_base(id) {
            return self.fine_tune(provider, base, region);
        }
        let entry = variants.iter().flat_map(|id| without_suffixes(id)).find_map(|id| self.get(provider, id, region))?;
        Some((entry, CostSource::Suffix))
    }

    /// A fine-tuned model's own price is dearer than its base's, where the provider has one; else the base's is a guess.
    fn fine_tune(&self, provider: &str, base: &str, region: Option<&str>) -> Option<(Entry, CostSource)> {
        let bases = || std::iter::once(base).chain(without_suffixes(base));
        if let Some(entry) = bases().find_map(|base| self.get(provider, &format!("ft:{base}"), region)) {
            return Some((entry, CostSource::Suffix));
        }
        Some((bases().find_map(|base| self.get(provider, base, region))?, CostSource::Prefix))
    }

    /// A gateway without prices of its own: the sibling service, the provider that the id names, the model's maker.
    fn elsewhere(&self, provider: &str, id: &str) -> Option<Entry> {
        let sibling = match provider {
            AZURE_INFERENCE => Some(AZURE_OPENAI),
            AZURE_OPENAI => Some(AZURE_INFERENCE),
            VERTEX => Some(GEMINI),
            GEMINI => Some(VERTEX),
            _ => None,
        };
        let (named, rest) = split_provider(id).map_or((None, id), |(named, rest)| (Some(named), rest));
        let maker = maker(rest.rsplit_once('/').map_or(rest, |(_, model)| model));
        let bare = rest.rsplit_once('/').map_or(rest, |(_, model)| model);
        let attempts = [(sibling, id), (named, rest), (maker, bare)];
        attempts.into_iter().find_map(|(provider, id)| Some(self.known(provider?, id, None)?.0))
    }
}

/// Which id to trust first.
fn ids<'a>(provider: &str, query: &Query<'a>) -> Vec<&'a str> {
    let (request, response) = (query.request_model, query.response_model);
    let order = match provider {
        // The request names a deployment, which its owner called as he liked.
        AZURE_OPENAI => [response, None],
        // The answer lacks the region prefix, which has a price of its own.
        BEDROCK => [request, response],
        // The answer of a free variant names the paid one.
        OPENROUTER if request.is_some_and(|id| id.ends_with(":free")) => [request, None],
        // An alias or a router resolves to what really ran.
        _ => [response, request],
    };
    order.into_iter().flatten().collect()
}

/// The region that has prices of its own, where the wire shows it.
fn region(provider: &str, query: &Query<'_>) -> Option<String> {
    if provider != BEDROCK {
        return None;
    }
    let in_host = || query.host?.split('.').find(|label| is_aws_region(label)).map(str::to_ascii_lowercase);
    query.request_model.and_then(arn_region).filter(|region| is_aws_region(region)).or_else(in_host)
}

/// `us-east-1`, `us-gov-west-1`.
fn is_aws_region(label: &str) -> bool {
    let mut parts = label.split('-');
    let first = parts.next().is_some_and(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_alphabetic()));
    let last = parts.next_back().is_some_and(|part| part.len() == 1 && part.bytes().all(|b| b.is_ascii_digit()));
    first && last && parts.next().is_some_and(|part| part.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// A proxy's prefix (`azure/gpt-4o`, `bedrock/us.anthropic…`), only when it names a provider.
fn split_provider(id: &str) -> Option<(&'static str, &str)> {
    let (prefix, rest) = id.split_once('/')?;
    let provider = match prefix {
        "openai" => OPENAI,
        "azure" => AZURE_OPENAI,
        "azure_ai" => AZURE_INFERENCE,
        "anthropic" => ANTHROPIC,
        "bedrock" => BEDROCK,
        "gemini" | "google" => GEMINI,
        "vertex_ai" => VERTEX,
        "mistral" | "mistralai" => "mistral_ai",
        "cohere" => "cohere",
        "groq" => "groq",
        "deepseek" => "deepseek",
        "xai" | "x-ai" => "x_ai",
        "perplexity" => "perplexity",
        "together_ai" => "together_ai",
        "fireworks_ai" => "fireworks_ai",
        "openrouter" => OPENROUTER,
        "moonshotai" => "moonshot_ai",
        "voyage" => "voyage",
        "cerebras" => "cerebras",
        _ => return None,
    };
    Some((provider, rest)).filter(|(_, rest)| !rest.is_empty())
}

/// Who sells the model first hand, by its name.
fn maker(model: &str) -> Option<&'static str> {
    const MAKERS: [(&str, &str); 32] = [
        ("gpt-oss", ""), // open weights: sold by others only
        ("gpt-", OPENAI),
        ("chatgpt-", OPENAI),
        ("o1", OPENAI),
        ("o3", OPENAI),
        ("o4", OPENAI),
        ("codex-", OPENAI),
        ("computer-use-", OPENAI),
        ("text-embedding-3", OPENAI),
        ("text-embedding-ada", OPENAI),
        ("ft:", OPENAI),
        ("claude-", ANTHROPIC),
        ("gemini-", GEMINI),
        ("mistral-", "mistral_ai"),
        ("ministral-", "mistral_ai"),
        ("codestral", "mistral_ai"),
        ("magistral-", "mistral_ai"),
        ("devstral-", "mistral_ai"),
        ("pixtral-", "mistral_ai"),
        ("command", "cohere"),
        ("embed-", "cohere"),
        ("grok-", "x_ai"),
        ("deepseek-", "deepseek"),
        ("sonar", "perplexity"),
        ("kimi-", "moonshot_ai"),
        ("moonshot-", "moonshot_ai"),
        ("qwen", "dashscope"),
        ("qwq-", "dashscope"),
        ("glm-", "zai"),
        ("minimax-", "minimax"),
        ("voyage-", "voyage"),
        ("jamba-", "ai21"),
    ];
    let (_, provider) = MAKERS.iter().find(|(prefix, _)| model.starts_with(prefix))?;
    (!provider.is_empty()).then_some(*provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(provider: &str, request: &str, response: &str) -> Option<(String, CostSource)> {
        let optional = |id: &'static str| (!id.is_empty()).then_some(id);
        let (request, response): (&'static str, &'static str) = (request.to_owned().leak(), response.to_owned().leak());
        let query = Query { provider, host: None, port: None, request_model: optional(request), response_model: optional(response) };
        let (entry, source) = Table::embedded().find(&query)?;
        Some((format!("{}/{}", entry.provider, entry.id), source))
    }

    #[test]
    fn ids_find_their_rows() {
        use CostSource::{Alias, Exact, OtherProvider, Prefix, Suffix};
        let cases = [
            (OPENAI, "gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06", Exact),
            (OPENAI, "gpt-4o", "", "openai/gpt-4o", Exact),
            (OPENAI, "openai/gpt-4o", "", "openai/gpt-4o", Exact),
            (OPENAI, "gpt-5.6-2026-12-24", "", "openai/gpt-5.6", Suffix),
            (OPENAI, "ft:gpt-4o-mini-2024-07-18:acme:x:AbC", "", "openai/ft:gpt-4o-mini-2024-07-18", Suffix),
            (OPENAI, "ft:gpt-4o-2024-05-13:acme:x:AbC", "", "openai/ft:gpt-4o", Suffix),
            (OPENAI, "gpt-4o-acme", "", "openai/gpt-4o", Prefix),
            (ANTHROPIC, "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929", Alias),
            (ANTHROPIC, "claude-sonnet-4.5", "", "anthropic/claude-sonnet-4-5", Exact),
            (AZURE_OPENAI, "prod-chat", "gpt-4o-2024-11-20", "azure.ai.openai/gpt-4o-2024-11-20", Exact),
            (AZURE_OPENAI, "x", "gpt-5-2025-08-07", "azure.ai.openai/gpt-5-2025-08-07", Alias),
            (AZURE_OPENAI, "x", "gpt-5-2027-01-31", "azure.ai.openai/gpt-5", Suffix),
            (
                BEDROCK,
                "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0",
                "claude-sonnet-4-5-20250929",
                "aws.bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                Exact,
            ),
            (BEDROCK, "ca.amazon.nova-pro-v1:0", "", "aws.bedrock/amazon.nova-pro-v1:0", Suffix),
            (GEMINI, "models/gemini-2.5-pro", "gemini-2.5-pro", "gcp.gemini/gemini-2.5-pro", Exact),
            (VERTEX, "claude-sonnet-4-5@20250929", "", "gcp.vertex_ai/claude-sonnet-4-5@20250929", Alias),
            (OPENROUTER, "anthropic/claude-sonnet-4.5", "", "openrouter/anthropic/claude-sonnet-4.5", Exact),
            (
                "litellm",
                "bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "",
                "aws.bedrock/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
                OtherProvider,
            ),
            ("litellm", "claude-sonnet-4-5", "", "anthropic/claude-sonnet-4-5", OtherProvider),
        ];
        for (provider, request, response, row, source) in cases {
            assert_eq!(find(provider, request, response), Some((row.to_owned(), source)), "{provider} {request} {response}");
        }
    }

    #[test]
    fn every_id_of_the_table_finds_its_own_row() {
        let table = Table::embedded();
        for entry in table.entries() {
            let query =
                Query { provider: entry.provider, host: None, port: None, request_model: Some(entry.id), response_model: Some(entry.id) };
            let found = table.find(&query).map(|(found, _)| found);
            if entry.is_everywhere() {
                assert_eq!(found.as_ref(), Some(entry));
            } else {
                assert_ne!(found.as_ref(), Some(entry));
            }
        }
    }

    #[test]
    fn what_is_not_known_finds_nothing() {
        let cases = [
            (OPENAI, "gpt-9", ""),
            (OPENAI, "gpt-4o-nano", ""),
            (OPENAI, "gpt-5.99", ""),
            (ANTHROPIC, "claude-opus-9-1", ""),
            (AZURE_OPENAI, "gpt-4o", ""),
            (AZURE_OPENAI, "gpt-4o", "my-own-model"),
            (BEDROCK, "arn:aws:bedrock:us-east-1:1:application-inference-profile/abcdef", ""),
            ("ollama", "llama3.2:3b", ""),
            ("litellm", "gpt-oss-20b", ""),
            (OPENAI, "", ""),
        ];
        for (provider, request, response) in cases {
            assert_eq!(find(provider, request, response), None, "{provider} {request} {response}");
        }
    }

    #[test]
    fn a_model_never_takes_the_price_of_a_sibling_of_another_size() {
        for (request, wrong) in [("gpt-4o-mini-acme", "gpt-4o"), ("gpt-5.6-luna-acme", "gpt-5.6"), ("o3-mini-acme", "o3")] {
            let (row, _) = find(OPENAI, request, "").unwrap();
            assert_ne!(row, format!("openai/{wrong}"));
        }
    }

    #[test]
    fn a_region_of_the_host_has_its_own_price() {
        let query = |host| Query {
            port: None,
            provider: BEDROCK,
            host: Some(host),
            request_model: Some("anthropic.claude-sonnet-4-5-20250929-v1:0"),
            response_model: None,
        };
        let price = |host| Table::embedded().find(&query(host)).unwrap().0.row().unwrap().base;
        assert_ne!(price("bedrock-runtime.us-gov-west-1.amazonaws.com"), price("bedrock-runtime.us-east-1.amazonaws.com"));
    }

    #[test]
    fn every_provider_named_here_is_in_the_table() {
        let table = Table::embedded();
        let named =
            ["together_ai", "fireworks_ai", "moonshot_ai", "vercel_ai_gateway", "mistral_ai", "x_ai", BEDROCK, VERTEX, AZURE_INFERENCE];
        for provider in named {
            assert!(table.has_provider(provider), "{provider}");
        }
    }
}
