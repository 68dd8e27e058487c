//! Host and path → format and provider, told apart: many hosts speak OpenAI's format, and OpenAI-compatible servers are everywhere.

use super::{
    DIALECT_NAMES, DIALECTS, Dialect,
    conversation::{MESSAGE_DIALECTS, MessageRoute},
    hosts::{HOSTS, HostRule, OLLAMA_PORT, matches},
};
use crate::{
    call::{Operation, ProviderName},
    http::RequestHead,
};

/// What configuration adds to the tables.
#[derive(Clone, Debug, Default)]
pub struct RouteSettings {
    /// Host pattern (`*` = one or more characters) → provider name. List prices apply there.
    pub hosts: Vec<(String, ProviderName)>,
    /// Host patterns of own gateways: list prices apply; the provider is told by the format.
    pub gateways: Vec<String>,
    /// Path suffix → dialect (`openai.chat`, `openai.responses` …), at any host.
    pub paths: Vec<(String, String)>,
}

/// A path names a dialect that does not exist.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no dialect is called {name:?}; there are {known}", known = DIALECT_NAMES.join(", "))]
pub struct UnknownDialect {
    pub name: String,
}

/// The tables, once per configuration.
#[derive(Default)]
pub struct Routes {
    hosts: Vec<(String, ProviderName)>,
    gateways: Vec<String>,
    paths: Vec<(String, &'static dyn Dialect)>,
}

/// Where a request goes.
#[derive(Clone)]
pub struct Route {
    pub dialect: &'static dyn Dialect,
    pub operation: Operation,
    pub provider: ProviderName,
    /// The host is in the table or configured.
    pub known_host: bool,
    /// Host or headers vouch for it. Otherwise only the path does, and the body has to look like it.
    pub certain: bool,
}

impl Routes {
    pub fn new(settings: RouteSettings) -> Result<Self, UnknownDialect> {
        let lower = |(pattern, provider): (String, ProviderName)| (pattern.to_ascii_lowercase(), provider);
        let paths = settings.paths.into_iter().map(|(suffix, name)| {
            let dialect = DIALECT_NAMES.iter().zip(DIALECTS).find_map(|(known, dialect)| (*known == name).then_some(dialect));
            dialect.map(|dialect| (suffix, dialect)).ok_or(UnknownDialect { name })
        });
        Ok(Self {
            hosts: settings.hosts.into_iter().map(lower).collect(),
            gateways: settings.gateways.into_iter().map(|pattern| pattern.to_ascii_lowercase()).collect(),
            paths: paths.collect::<Result<_, _>>()?,
        })
    }

    /// Where the request goes, if it is a model call. `server_name`: the connection's SNI, for requests without a host.
    pub fn route(&self, head: &RequestHead, server_name: Option<&str>) -> Option<Route> {
        let (dialect, operation) = self.format(head)?;
        let host = head.host.as_deref().or(server_name).unwrap_or_default();
        let known = self.provider(host, &head.path);
        let known_host = known.is_some() || self.gateways.iter().any(|pattern| matches(pattern, host));
        let provider =
            known.or_else(|| (head.port == Some(OLLAMA_PORT)).then_some(ProviderName::of("ollama"))).unwrap_or_else(|| dialect.name());
        let certain = known_host || head.headers.text("anthropic-version").is_some();
        Some(Route { dialect, operation, provider, known_host, certain })
    }

    /// Where the handshake of a WebSocket goes, if calls may go through it.
    pub(super) fn message_route(&self, head: &RequestHead, server_name: Option<&str>) -> Option<MessageRoute> {
        let dialect = *MESSAGE_DIALECTS.iter().find(|dialect| dialect.claims(head))?;
        let host = head.host.as_deref().or(server_name).unwrap_or_default();
        let known = self.provider(host, &head.path);
        let known_host = known.is_some() || self.gateways.iter().any(|pattern| matches(pattern, host));
        Some(MessageRoute { dialect, provider: known.unwrap_or_else(|| dialect.name()), known_host })
    }

    /// Ends of paths that configuration adds.
    pub(super) fn path_suffixes(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|(suffix, _)| suffix.as_str())
    }

    /// Host patterns that configuration adds, gateways included.
    pub(super) fn host_patterns(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|(pattern, _)| pattern).chain(&self.gateways).map(String::as_str)
    }

    fn format(&self, head: &RequestHead) -> Option<(&'static dyn Dialect, Operation)> {
        if head.method == "POST"
            && let Some((_, dialect)) = self.paths.iter().find(|(suffix, _)| head.path.trim_end_matches('/').ends_with(suffix.as_str()))
        {
            return Some((*dialect, dialect.usual_operation()));
        }
        DIALECTS.iter().find_map(|dialect| dialect.claims(head).map(|operation| (*dialect, operation)))
    }

    fn provider(&self, host: &str, path: &str) -> Option<ProviderName> {
        let configured = self.hosts.iter().find(|(pattern, _)| matches(pattern, host)).map(|(_, provider)| provider.clone());
        configured.or_else(|| {
            let rule = HOSTS.iter().find(|rule| path.starts_with(rule.path_prefix) && matches(rule.pattern, host));
            rule.map(|HostRule { provider, .. }| ProviderName::of(provider))
        })
    }

    /// Whether a TLS connection to this server name is model traffic, told without its plaintext.
    pub fn is_llm_host(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        HOSTS.iter().any(|rule| rule.dedicated && matches(rule.pattern, &name))
            || self.hosts.iter().any(|(pattern, _)| matches(pattern, &name))
            || self.gateways.iter().any(|pattern| matches(pattern, &name))
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("hosts", &self.hosts).field("gateways", &self.gateways).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use a11i_common::identity::BootTime;

    use super::*;
    use crate::{
        call::Role,
        http::{Headers, HttpVersion},
    };

    fn head(method: &str, host: &str, path: &str) -> RequestHead {
        RequestHead {
            role: Role::Client,
            version: HttpVersion::Http11,
            method: method.to_owned(),
            path: path.to_owned(),
            query: None,
            host: Some(host.to_owned()),
            port: None,
            headers: Headers::default(),
            first_byte: BootTime(0),
        }
    }

    #[test]
    fn the_format_comes_from_the_path_and_the_provider_from_the_host() {
        let routes = Routes::default();
        for (host, path, provider, operation) in [
            ("api.openai.com", "/v1/chat/completions", "openai", Operation::Chat),
            ("api.groq.com", "/openai/v1/chat/completions", "groq", Operation::Chat),
            ("api.deepseek.com", "/anthropic/v1/messages", "deepseek", Operation::Chat),
            ("x.openai.azure.com", "/openai/deployments/d/chat/completions", "azure.ai.openai", Operation::Chat),
            ("x.services.ai.azure.com", "/models/chat/completions", "azure.ai.inference", Operation::Chat),
            ("x.services.ai.azure.com", "/openai/v1/responses", "azure.ai.openai", Operation::Chat),
            ("openrouter.ai", "/api/v1/chat/completions", "openrouter", Operation::Chat),
            ("api.perplexity.ai", "/chat/completions", "perplexity", Operation::Chat),
            ("chatgpt.com", "/backend-api/codex/responses", "openai", Operation::Chat),
            ("api.anthropic.com", "/v1/messages/count_tokens", "anthropic", Operation::Other("count_tokens")),
            ("vllm.default.svc", "/v1/chat/completions", "openai", Operation::Chat),
            ("proxy.internal", "/llm/v1/messages", "anthropic", Operation::Chat),
        ] {
            let route = routes.route(&head("POST", host, path), None).unwrap_or_else(|| panic!("{host}{path} is not claimed"));
            assert_eq!((route.provider.as_str(), route.operation), (provider, operation), "{host}{path}");
        }
    }

    #[test]
    fn what_is_no_model_call_is_not_claimed() {
        let routes = Routes::default();
        for (method, path) in [
            ("GET", "/v1/models"),
            ("GET", "/v1/chat/completions"),
            ("GET", "/v1/responses/other"),
            ("GET", "/v1/responses/resp_1/input_items"),
            ("DELETE", "/v1/responses/resp_1"),
            ("POST", "/v1/files"),
            ("POST", "/health"),
            ("POST", "/v1/messages/batches"),
        ] {
            assert!(routes.route(&head(method, "api.openai.com", path), None).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn a_fetched_response_is_no_chat() {
        let route = Routes::default().route(&head("GET", "api.openai.com", "/v1/responses/resp_1"), None).unwrap();
        assert_eq!(route.operation, Operation::FetchResponse);
    }

    #[test]
    fn only_the_host_table_and_configuration_vouch_for_a_host() {
        let settings = RouteSettings {
            hosts: vec![("*.Corp.example".into(), ProviderName::of("vllm"))],
            gateways: vec!["llm.gateway".into()],
            paths: vec![("/invoke-model".into(), "openai.chat".into())],
        };
        let routes = Routes::new(settings).unwrap();
        let route = |host, path| routes.route(&head("POST", host, path), None).unwrap();
        assert!(!route("elsewhere", "/v1/chat/completions").known_host);
        assert_eq!(route("gpu.corp.example", "/v1/chat/completions").provider.as_str(), "vllm");
        assert!(route("llm.gateway", "/v1/messages").known_host);
        assert_eq!(route("elsewhere", "/x/invoke-model").provider.as_str(), "openai");
        assert!(routes.is_llm_host("GPU.corp.example.") && routes.is_llm_host("api.openai.com") && !routes.is_llm_host("chatgpt.com"));
        let wrong = RouteSettings { paths: vec![("/x".into(), "soap".into())], ..RouteSettings::default() };
        assert_eq!(Routes::new(wrong).unwrap_err(), UnknownDialect { name: "soap".into() });
    }

    #[test]
    fn without_a_host_the_server_name_tells_the_provider() {
        let mut request = head("POST", "", "/v1/chat/completions");
        request.host = None;
        let route = Routes::default().route(&request, Some("api.mistral.ai")).unwrap();
        assert_eq!((route.provider.as_str(), route.known_host), ("mistral_ai", true));
    }
}
