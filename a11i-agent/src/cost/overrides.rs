//! The user's price file: own prices for own gateways, deployments and tuned models.

use serde::Deserialize;

use super::{
    lookup::Query,
    prices::{Component, Prices},
    row::Row,
};

/// The file as written: `{providers: [{name, base_url, models: [{name, pricing}]}]}`, prices in US dollars per token.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFile {
    pub providers: Vec<PriceFileProvider>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFileProvider {
    /// `gen_ai.provider.name`; `*` and `?` are wildcards.
    pub name: String,
    /// Makes this host a gateway: the prices hold there, whatever provider the traffic looks like.
    #[serde(default)]
    pub base_url: Option<String>,
    pub models: Vec<PriceFileModel>,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFileModel {
    /// Model id, Azure deployment, Bedrock profile ARN or tuned endpoint; `*` and `?` are wildcards.
    pub name: String,
    pub pricing: PriceFilePricing,
}

/// US dollars per token, but `request`: per request.
#[derive(Clone, Copy, PartialEq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFilePricing {
    pub prompt_tokens: f64,
    /// Absent: the model has no output (embeddings).
    #[serde(default)]
    pub completion_tokens: Option<f64>,
    #[serde(default)]
    pub cache_read_tokens: Option<f64>,
    #[serde(default)]
    pub cache_write_tokens: Option<f64>,
    #[serde(default)]
    pub cache_write_1h_tokens: Option<f64>,
    #[serde(default)]
    pub request: Option<f64>,
}

/// One mistake in a price file. All are reported at once.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum PriceFileError {
    #[error("provider {provider}, model {model}: {key} must be between 0 and {limit} US dollars, not {value}")]
    Price { provider: String, model: String, key: &'static str, value: f64, limit: f64 },
    #[error("provider {provider}: base_url `{url}` has no host; write https://HOST[:PORT][/PATH]")]
    BaseUrl { provider: String, url: String },
    #[error("a provider or model without a name")]
    NoName,
}

/// Host and port of a `base_url`, in lower case. Its path is not compared: one host has one price list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gateway {
    pub host: String,
    pub port: Option<u16>,
}

/// Checked overrides, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Vec<Override>);

#[derive(Clone, Debug)]
struct Override {
    provider: String,
    gateway: Option<Gateway>,
    model: String,
    row: Row,
}

/// A thousand times the dearest list prices: above it, somebody wrote a price per million.
const DEAREST_TOKEN_USD: f64 = 1.0;
const DEAREST_REQUEST_USD: f64 = 1_000.0;

impl TryFrom<PriceFile> for Overrides {
    type Error = Vec<PriceFileError>;

    fn try_from(file: PriceFile) -> Result<Self, Self::Error> {
        let (mut overrides, mut errors) = (Vec::new(), Vec::new());
        for provider in file.providers {
            let gateway = provider.base_url.as_deref().map(|url| {
                Gateway::parse(url).ok_or_else(|| PriceFileError::BaseUrl { provider: provider.name.clone(), url: url.to_owned() })
            });
            let gateway = gateway.transpose().unwrap_or_else(|error| {
                errors.push(error);
                None
            });
            for model in provider.models {
                if model.name.trim().is_empty() || provider.name.trim().is_empty() {
                    errors.push(PriceFileError::NoName);
                    continue;
                }
                let row = row(&provider.name, &model, &mut errors);
                let (provider, model) = (provider.name.trim().to_lowercase(), model.name.trim().to_lowercase());
                overrides.push(Override { provider, gateway: gateway.clone(), model, row });
            }
        }
        if errors.is_empty() { Ok(Self(overrides)) } else { Err(errors) }
    }
}

impl Overrides {
    /// The hosts that are gateways by configuration.
    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        self.0.iter().filter_map(|entry| entry.gateway.as_ref())
    }

    /// The prices for a call: a name written out before a pattern, the requested id (deployment, profile) before the answered one.
    /// Without a `base_url` an entry holds only where list prices would (`list_prices_apply`).
    pub(super) fn find(&self, query: &Query<'_>, list_prices_apply: bool) -> Option<&Row> {
        let ids: Vec<String> =
            [query.request_model, query.response_model].into_iter().flatten().map(|id| id.trim().to_lowercase()).collect();
        let here = || {
            self.0.iter().filter(|entry| match &entry.gateway {
                Some(gateway) => gateway.serves(query),
                None => list_prices_apply && glob(&entry.provider, query.provider),
            })
        };
        let exact = ids.iter().find_map(|id| here().find(|entry| entry.model == *id));
        let found = exact.or_else(|| ids.iter().find_map(|id| here().find(|entry| glob(&entry.model, id))));
        found.map(|entry| &entry.row)
    }
}

impl Gateway {
    fn parse(url: &str) -> Option<Self> {
        let lower = url.trim().to_lowercase();
        let (scheme, rest) = lower.split_once("://").unwrap_or(("https", &lower));
        let authority = rest.split(['/', '?', '#']).next()?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        let default = match scheme {
            "https" => 443,
            "http" => 80,
            _ => return None,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port: port.or(Some(default)) })
    }

    fn serves(&self, query: &Query<'_>) -> bool {
        let host = query.host.map(|address| address.trim_start_matches('[').trim_end_matches(']'));
        let same_port = query.port.is_none() || self.port == query.port;
        host.is_some_and(|host| host.eq_ignore_ascii_case(&self.host)) && same_port
    }
}

fn row(provider: &str, model: &PriceFileModel, errors: &mut Vec<PriceFileError>) -> Row {
    let pricing = &model.pricing;
    let mut check = |key, usd: Option<f64>, limit: f64, nanos_per_usd: f64| {
        let value = usd?;
        let nanos = nanos(value, limit, nanos_per_usd);
        if nanos.is_none() {
            errors.push(PriceFileError::Price { provider: provider.to_owned(), model: model.name.clone(), key, value, limit });
        }
        nanos
    };
    let per_token = [
        (Component::Input, "prompt_tokens", Some(pricing.prompt_tokens)),
        (Component::Output, "completion_tokens", pricing.completion_tokens),
        (Component::CacheRead, "cache_read_tokens", pricing.cache_read_tokens),
        (Component::CacheWrite, "cache_write_tokens", pricing.cache_write_tokens),
        (Component::CacheWrite1h, "cache_write_1h_tokens", pricing.cache_write_1h_tokens),
    ];
    let mut base = Prices::default();
    for (component, key, usd) in per_token {
        // Dollars per token are 10^15 nano-dollars per million tokens.
        base.set(component, check(key, usd, DEAREST_TOKEN_USD, 1e15));
    }
    let request_fee = check("request", pricing.request, DEAREST_REQUEST_USD, 1e9).unwrap_or_default();
    Row { base, request_fee, ..Row::default() }
}

/// To the nearest integer: a decimal of up to 15 digits comes out exactly as it was written.
fn nanos(usd: f64, limit: f64, nanos_per_usd: f64) -> Option<u64> {
    if !(0.0..=limit).contains(&usd) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 10^15 by the check above")]
    let nanos = (usd * nanos_per_usd).round() as u64;
    Some(nanos)
}

/// `*` is any text, `?` any character. Both sides are in lower case. Linear with one star, at worst their product.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // What follows the last star, and the text it was last tried on.
    let mut retry = None;
    loop {
        let before = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                text = before;
                retry = Some((pattern.clone(), text.clone()));
            }
            (Some(expected), Some(found)) if expected == '?' || expected == found => {}
            (Some(_), None) => return false,
            (_, Some(_)) => {
                // The star takes one character more.
                let Some((after_star, mut rest)) = retry.take() else { return false };
                rest.next();
                (pattern, text) = (after_star.clone(), rest.clone());
                retry = Some((after_star, rest));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, text) in
            [("gpt-*", "gpt-4o"), ("*", ""), ("a*b*c", "axxbxbc"), ("claude-?", "claude-4"), ("*-mini", "o3-mini-mini"), ("x", "x")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("gpt-*", "ogpt-4"), ("", "a"), ("a*b", "axc"), ("?", ""), ("*-mini", "mini"), ("x", "xy")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_base_url_is_a_host_and_a_port() {
        let gateway = |url| Gateway::parse(url).map(|g| (g.host, g.port));
        assert_eq!(gateway("https://LLM.example.internal/v1"), Some(("llm.example.internal".to_owned(), Some(443))));
        assert_eq!(gateway("http://10.0.0.1:8000/v1"), Some(("10.0.0.1".to_owned(), Some(8000))));
        assert_eq!(gateway("http://[::1]:8000"), Some(("::1".to_owned(), Some(8000))));
        assert_eq!(gateway("gateway"), Some(("gateway".to_owned(), Some(443))));
        for bad in ["https://", "ftp://host", "https://host:port"] {
            assert_eq!(gateway(bad), None, "{bad}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let json = r#"{"providers": [{"name": "openai", "base_url": "https://", "models": [
            {"name": "a", "pricing": {"prompt_tokens": 2.5, "completion_tokens": -1}},
            {"name": " ", "pricing": {"prompt_tokens": 0}}]}]}"#;
        let errors = Overrides::try_from(serde_json::from_str::<PriceFile>(json).unwrap()).unwrap_err();
        assert_eq!(errors.len(), 4, "{errors:?}");
    }

    #[test]
    fn dollars_per_token_are_read_to_the_nano_dollar() {
        assert_eq!(nanos(0.000_01, DEAREST_TOKEN_USD, 1e15), Some(10_000_000_000));
        assert_eq!(nanos(0.000_002_5, DEAREST_TOKEN_USD, 1e15), Some(2_500_000_000));
        assert_eq!(nanos(f64::NAN, DEAREST_TOKEN_USD, 1e15), None);
    }
}
