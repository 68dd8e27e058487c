//! Host and path → format and provider, told apart: many hosts speak OpenAI's format, and OpenAI-compatible servers are everywhere.

use super::{
    DIALECTS, Dialect,
    body_shape::ByBodyShape,
    conversation::{MESSAGE_DIALECTS, MessageRoute},
    hosts::{HOSTS, OLLAMA_PORT, Traffic, matches},
    unrecognised::Unrecognised,
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
    /// Paths that are `POST`ed to, in the order they are looked at, before all others.
    pub paths: Vec<PathRule>,
    /// Whether bodies that look like calls are calls at any host and path. Then every JSON body that is `POST`ed is read.
    pub body_shape: bool,
}

/// A path that configuration names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PathRule {
    /// The end of the path; `*` = one or more characters.
    pub path: String,
    /// By its name ([`dialect_names`]).
    pub dialect: String,
    /// Only at these hosts (`*` as above). List prices apply there.
    pub host: Option<String>,
    /// Instead of what host and format say.
    pub provider: Option<ProviderName>,
}

/// A path names a dialect that does not exist.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no dialect is called {name:?}; there are {known}", known = dialect_names().join(", "))]
pub struct UnknownDialect {
    pub name: String,
}

/// The names that configuration may use.
pub fn dialect_names() -> Vec<&'static str> {
    DIALECTS.iter().map(|(name, _)| *name).collect()
}

/// The tables, once per configuration.
#[derive(Default)]
pub struct Routes {
    hosts: Vec<(String, ProviderName)>,
    gateways: Vec<String>,
    paths: Vec<ConfiguredPath>,
    body_shape: bool,
}

struct ConfiguredPath {
    /// Matches whole paths.
    pattern: String,
    host: Option<String>,
    provider: Option<ProviderName>,
    dialect: &'static dyn Dialect,
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
    /// Not even the path does.
    pub by_shape: bool,
}

/// What is known of a host.
struct HostFacts {
    provider: Option<ProviderName>,
    /// Of the table, or configured.
    known: bool,
    /// What is asked there at a path of models is asked of models.
    vouches: bool,
    /// All that is asked there is asked of models.
    dedicated: bool,
}

impl Routes {
    pub fn new(settings: RouteSettings) -> Result<Self, UnknownDialect> {
        let lower = |(pattern, provider): (String, ProviderName)| (pattern.to_ascii_lowercase(), provider);
        let paths = settings.paths.into_iter().map(|rule| {
            let dialect = DIALECTS.iter().find_map(|(known, dialect)| (*known == rule.dialect).then_some(*dialect));
            let PathRule { path, host, provider, dialect: name } = rule;
            let host = host.map(|host| host.to_ascii_lowercase());
            dialect.map(|dialect| ConfiguredPath { pattern: path, host, provider, dialect }).ok_or(UnknownDialect { name })
        });
        Ok(Self {
            hosts: settings.hosts.into_iter().map(lower).collect(),
            gateways: settings.gateways.into_iter().map(|pattern| pattern.to_ascii_lowercase()).collect(),
            paths: paths.collect::<Result<_, _>>()?,
            body_shape: settings.body_shape,
        })
    }

    /// Where the request goes, if it is a model call. `server_name`: the connection's SNI, for requests without a host.
    pub fn route(&self, head: &RequestHead, server_name: Option<&str>) -> Option<Route> {
        let name = head.host.as_deref().or(server_name).unwrap_or_default();
        let host = self.host(name, &head.path);
        if let Some(route) = self.configured(head, name, &host) {
            return Some(route);
        }
        let claimed = DIALECTS
            .iter()
            .filter(|(_, dialect)| host.vouches || !dialect.only_at_known_hosts())
            .find_map(|(_, dialect)| dialect.claims(head).map(|operation| (*dialect, operation)));
        if let Some((dialect, operation)) = claimed {
            let certain = !dialect.body_decides() && (host.vouches || head.headers.text("anthropic-version").is_some());
            let by_port = || (head.port == Some(OLLAMA_PORT)).then_some(ProviderName::of("ollama"));
            let provider = host.provider.or_else(by_port).unwrap_or_else(|| dialect.name());
            return Some(Route { dialect, operation, provider, known_host: host.known, certain, by_shape: false });
        }
        if head.headers.has_unseen() {
            // What a dialect asks for may have been there.
            return None;
        }
        let last: &'static dyn Dialect = if host.dedicated {
            &Unrecognised
        } else if self.body_shape {
            &ByBodyShape
        } else {
            return None;
        };
        let operation = last.claims(head)?;
        let provider = host.provider.unwrap_or_else(|| last.name());
        Some(Route { dialect: last, operation, provider, known_host: host.known, certain: host.dedicated, by_shape: !host.dedicated })
    }

    /// Where the handshake of a WebSocket goes, if calls may go through it.
    pub(super) fn message_route(&self, head: &RequestHead, server_name: Option<&str>) -> Option<MessageRoute> {
        let dialect = *MESSAGE_DIALECTS.iter().find(|dialect| dialect.claims(head))?;
        let host = self.host(head.host.as_deref().or(server_name).unwrap_or_default(), &head.path);
        let provider = host.provider.unwrap_or_else(|| dialect.name());
        Some(MessageRoute { dialect, provider, known_host: host.known, certain: host.vouches })
    }

    /// Ends of paths that configuration adds, as far as they are written out.
    pub(super) fn path_suffixes(&self) -> impl Iterator<Item = &str> {
        let ends = self.paths.iter().filter_map(|rule| rule.pattern.rsplit('*').next());
        ends.filter(|end| !end.is_empty())
    }

    /// Host patterns that configuration adds, gateways included.
    pub(super) fn host_patterns(&self) -> impl Iterator<Item = &str> {
        self.hosts.iter().map(|(pattern, _)| pattern).chain(&self.gateways).map(String::as_str)
    }

    fn configured(&self, head: &RequestHead, name: &str, host: &HostFacts) -> Option<Route> {
        if head.method != "POST" {
            return None;
        }
        let path = head.path.trim_end_matches('/');
        let is_here = |rule: &&ConfiguredPath| rule.host.as_ref().is_none_or(|pattern| matches(pattern, name)) && rule.ends(path);
        let rule = self.paths.iter().find(is_here)?;
        let provider = rule.provider.clone().or_else(|| host.provider.clone()).unwrap_or_else(|| rule.dialect.name());
        let is_named = rule.host.is_some();
        let (known_host, certain) = (host.known || is_named, host.vouches || is_named);
        let operation = rule.dialect.claims(head).unwrap_or_else(|| rule.dialect.usual_operation());
        Some(Route { dialect: rule.dialect, operation, provider, known_host, certain, by_shape: false })
    }

    fn host(&self, name: &str, path: &str) -> HostFacts {
        if let Some((_, provider)) = self.hosts.iter().find(|(pattern, _)| matches(pattern, name)) {
            return HostFacts { provider: Some(provider.clone()), known: true, vouches: true, dedicated: true };
        }
        let gateway = self.gateways.iter().any(|pattern| matches(pattern, name));
        let rule = HOSTS.iter().find(|rule| path.starts_with(rule.path_prefix) && matches(rule.pattern, name));
        let traffic = rule.map(|rule| rule.traffic);
        HostFacts {
            provider: rule.map(|rule| ProviderName::of(rule.provider)),
            known: gateway || rule.is_some(),
            vouches: gateway || matches!(traffic, Some(Traffic::Models | Traffic::Shared)),
            dedicated: gateway || traffic == Some(Traffic::Models),
        }
    }

    /// Whether a TLS connection to this server name is model traffic, told without its plaintext.
    pub fn is_llm_host(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        HOSTS.iter().any(|rule| rule.traffic == Traffic::Models && matches(rule.pattern, &name))
            || self.hosts.iter().any(|(pattern, _)| matches(pattern, &name))
            || self.gateways.iter().any(|pattern| matches(pattern, &name))
    }
}

impl ConfiguredPath {
    fn ends(&self, path: &str) -> bool {
        if !self.pattern.contains('*') {
            return path.ends_with(&self.pattern);
        }
        // Anywhere in the path, or at its very beginning.
        matches(&self.pattern, path)
            || path.char_indices().any(|(at, c)| c == '/' && path.get(at..).is_some_and(|rest| matches(&self.pattern, rest)))
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("hosts", &self.hosts).field("gateways", &self.gateways).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::{fields, request},
        http::HeaderValue,
    };

    fn head(method: &str, host: &str, path: &str) -> RequestHead {
        request(method, host, path, &[("content-length", "7")])
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
            ("api.openai.com", "/v1/responses/resp_1/cancel", "openai", Operation::FetchResponse),
            ("api.openai.com", "/v1/responses/input_tokens", "openai", Operation::Other("count_tokens")),
            ("api.x.ai", "/v1/images/generations", "x_ai", Operation::Other("image_generation")),
            ("api.groq.com", "/openai/v1/audio/translations", "groq", Operation::Other("translation")),
            ("api.deepinfra.com", "/v1/openai/images/edits", "deepinfra", Operation::Other("image_edit")),
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
            ("POST", "/v1/traces/ingest"),
        ] {
            assert!(routes.route(&head(method, "api.openai.com", path), None).is_none(), "{method} {path}");
        }
        for path in ["/health", "/v1/messages/batches", "/anything"] {
            assert!(routes.route(&head("POST", "shop.example", path), None).is_none(), "{path}");
        }
        for path in ["/v1/files", "/v1/batches", "/v1/threads"] {
            let is_claimed = |host| routes.route(&head("POST", host, path), None).is_some();
            assert!(is_claimed("api.openai.com") && !is_claimed("forum.example"), "{path}");
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
            paths: vec![path_rule("/invoke-model", "openai.chat")],
            body_shape: false,
        };
        let routes = Routes::new(settings).unwrap();
        let route = |host, path| routes.route(&head("POST", host, path), None).unwrap();
        assert!(!route("elsewhere", "/v1/chat/completions").known_host);
        assert_eq!(route("gpu.corp.example", "/v1/chat/completions").provider.as_str(), "vllm");
        assert!(route("llm.gateway", "/v1/messages").known_host);
        assert_eq!(route("elsewhere", "/x/invoke-model").provider.as_str(), "openai");
        assert!(routes.is_llm_host("GPU.corp.example.") && routes.is_llm_host("api.openai.com") && !routes.is_llm_host("chatgpt.com"));
        let wrong = RouteSettings { paths: vec![path_rule("/x", "soap")], ..RouteSettings::default() };
        assert_eq!(Routes::new(wrong).unwrap_err(), UnknownDialect { name: "soap".into() });
    }

    #[test]
    fn a_gateway_for_any_api_vouches_for_no_path() {
        let routes = Routes::default();
        let route = |path| routes.route(&head("POST", "corp.azure-api.net", path), None);
        for path in ["/openai/deployments/d/chat/completions", "/team/v1/messages", "/generate", "/rerank"] {
            let route = route(path).unwrap();
            assert!(route.known_host && !route.certain, "{path}");
        }
        assert_eq!(route("/openai/v1/responses").unwrap().provider.as_str(), "azure.ai.openai");
        for path in ["/v1/files", "/v1/threads", "/orders/7", "/v9/dreams"] {
            assert!(route(path).is_none(), "{path}");
        }
        assert!(!routes.is_llm_host("corp.azure-api.net"));
    }

    #[test]
    fn without_a_host_the_server_name_tells_the_provider() {
        let mut request = head("POST", "", "/v1/chat/completions");
        request.host = None;
        let route = Routes::default().route(&request, Some("api.mistral.ai")).unwrap();
        assert_eq!((route.provider.as_str(), route.known_host), ("mistral_ai", true));
    }

    fn path_rule(path: &str, dialect: &str) -> PathRule {
        PathRule { path: path.to_owned(), dialect: dialect.to_owned(), ..PathRule::default() }
    }

    #[test]
    fn what_no_dialect_knows_is_told_at_hosts_of_models_alone() {
        let settings = RouteSettings { gateways: vec!["llm.gateway".into()], ..RouteSettings::default() };
        let routes = Routes::new(settings).unwrap();
        let operation = |method, host, path| routes.route(&head(method, host, path), None).map(|route| route.operation.as_str());
        for (host, want) in [
            ("api.openai.com", Some("unrecognised")),
            ("llm.gateway", Some("unrecognised")),
            ("openrouter.ai", None),
            ("chatgpt.com", None),
            ("shop.example", None),
        ] {
            assert_eq!(operation("POST", host, "/v9/dreams"), want, "{host}");
        }
        assert_eq!(operation("GET", "api.openai.com", "/v9/dreams"), None);
        for (length, want) in [("content-length", false), ("x-length", true)] {
            let mut upload = head("POST", "api.openai.com", "/v9/dreams");
            upload.headers = fields(&[(length, "999999999"), ("content-type", "application/json")]);
            assert_eq!(routes.route(&upload, None).is_some(), want, "{length}");
        }
        assert_eq!(operation("POST", "api.openai.com", "/v1/chat/completions"), Some("chat"));
    }

    #[test]
    fn bodies_are_looked_at_only_where_that_is_asked_for() {
        let by_shape = |on| Routes::new(RouteSettings { body_shape: on, ..RouteSettings::default() }).unwrap();
        let mut request = head("POST", "shop.example", "/ask");
        assert!(by_shape(true).route(&request, None).is_none());
        request.headers.push("content-type".into(), HeaderValue::Text("application/json; charset=utf-8".into()));
        let route = by_shape(true).route(&request, None).unwrap();
        assert!(route.by_shape && !route.certain && !route.known_host);
        assert!(by_shape(false).route(&request, None).is_none());
        request.host = Some("api.openai.com".into());
        assert!(!by_shape(true).route(&request, None).unwrap().by_shape);
    }

    #[test]
    fn every_dialect_can_be_configured_by_its_name() {
        for (n, (name, dialect)) in DIALECTS.iter().enumerate() {
            assert!(!dialect_names()[..n].contains(name), "{name} is there twice");
            let settings = RouteSettings { paths: vec![path_rule("/company/ask", name)], ..RouteSettings::default() };
            let route = Routes::new(settings).unwrap().route(&head("POST", "elsewhere.example", "/x/company/ask"), None).unwrap();
            assert_eq!(route.operation, dialect.usual_operation(), "{name}");
        }
    }

    #[test]
    fn a_configured_path_may_be_a_pattern_at_some_hosts_of_a_provider() {
        let rule = PathRule {
            path: "/models/*/ask".into(),
            dialect: "openai.chat".into(),
            host: Some("*.Corp.example".into()),
            provider: Some(ProviderName::of("corp")),
        };
        let routes = Routes::new(RouteSettings { paths: vec![rule], ..RouteSettings::default() }).unwrap();
        let route = |host, path| routes.route(&head("POST", host, path), None);
        let found = route("gpu.corp.example", "/v1/models/m-1/ask").unwrap();
        assert_eq!((found.provider.as_str(), found.known_host, found.operation), ("corp", true, Operation::Chat));
        assert!(route("gpu.corp.example", "/models/m-1/ask/").is_some());
        for (host, path) in [("elsewhere", "/models/m-1/ask"), ("gpu.corp.example", "/models//ask"), ("gpu.corp.example", "/models/m/asks")]
        {
            assert!(route(host, path).is_none(), "{host}{path}");
        }
        assert_eq!(routes.path_suffixes().collect::<Vec<_>>(), ["/ask"]);
    }
}
