//! What of the tables the kernel half can use: ends of paths and whole server names.

use a11i_common::decision::PATH_TAIL_BYTES;

use super::{
    DIALECTS,
    conversation::MESSAGE_DIALECTS,
    hosts::{HOSTS, Traffic},
    route::Routes,
};

/// What stands before the end of a path as a rule: the API's own root, a version, a gateway's or cloud's mount point.
const USUAL_ROOTS: [&str; 10] =
    ["", "/v1", "/openai", "/openai/v1", "/api", "/api/v1", "/api/openai/v1", "/anthropic", "/v1/openai", "/inference/v1"];

impl Routes {
    /// Paths by which the kernel half takes a request for a call before anybody has parsed it. It compares the last [`PATH_TAIL_BYTES`]
    /// bytes, so that an end that is shorter is known only as part of a whole path: the usual ones are listed.
    pub fn presumed_paths(&self) -> Vec<String> {
        let built_in = DIALECTS.iter().flat_map(|(_, dialect)| dialect.path_ends()).map(|(end, _)| *end);
        let mut paths = Vec::new();
        for end in built_in.chain(self.path_suffixes()) {
            if end.len() >= PATH_TAIL_BYTES {
                paths.push(end.to_owned());
            } else {
                paths.extend(USUAL_ROOTS.iter().map(|root| format!("{root}{end}")));
            }
        }
        // Of handshakes, only what is long enough to be no ordinary program's, or is written out.
        paths.extend(MESSAGE_DIALECTS.iter().flat_map(|dialect| dialect.path_ends()).map(|path| (*path).to_owned()));
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Server names that are dedicated to LLM traffic, as far as they are written out: what only a pattern knows is told by a verdict.
    pub fn presumed_server_names(&self) -> Vec<String> {
        let built_in = HOSTS.iter().filter(|rule| rule.traffic == Traffic::Models).map(|rule| rule.pattern);
        let mut names: Vec<_> = built_in.chain(self.host_patterns()).filter(|pattern| !pattern.contains('*')).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use a11i_common::{
        decision::PathTail,
        limits::{LLM_NAMES, LLM_PATHS},
    };

    use super::*;
    use crate::{
        call::ProviderName,
        provider::{PathRule, RouteSettings},
    };

    fn knows(routes: &Routes, path: &str) -> bool {
        routes.presumed_paths().iter().any(|known| PathTail::of(known.as_bytes()) == PathTail::of(path.as_bytes()))
    }

    #[test]
    fn the_paths_that_clients_use_are_known_by_their_last_bytes() {
        let routes = Routes::default();
        for path in [
            "/v1/chat/completions",
            "/openai/deployments/d/chat/completions?api-version=2024-06-01",
            "/v1/messages",
            "/anthropic/v1/messages",
            "/v1/messages/count_tokens",
            "/v1/responses",
            "/openai/v1/responses",
            "/v1/embeddings",
            "/v1/completions",
            "/responses",
            "/v1/realtime?model=gpt-realtime",
            "/openai/realtime",
        ] {
            assert!(knows(&routes, path), "{path}");
        }
        for path in ["/", "/health", "/v1/models", "/v1/traces", "/api/surveys/7/responses", "/realtime"] {
            assert!(!knows(&routes, path), "{path}");
        }
        assert!(routes.presumed_paths().len() < LLM_PATHS as usize / 2 && routes.presumed_server_names().len() < LLM_NAMES as usize / 2);
    }

    #[test]
    fn configuration_adds_paths_and_whole_names() {
        let routes = Routes::new(RouteSettings {
            hosts: vec![("GPU.corp.example".into(), ProviderName::of("vllm")), ("*.corp.example".into(), ProviderName::of("vllm"))],
            gateways: vec!["llm.gateway".into()],
            paths: ["/company/invoke-model", "/ask"]
                .map(|path| PathRule { path: path.into(), dialect: "openai.chat".into(), ..PathRule::default() })
                .into(),
            body_shape: false,
        })
        .unwrap();
        assert!(knows(&routes, "/a/company/invoke-model") && knows(&routes, "/ask") && knows(&routes, "/v1/ask"));
        let names = routes.presumed_server_names();
        for (name, want) in
            [("gpu.corp.example", true), ("llm.gateway", true), ("api.openai.com", true), ("*.corp.example", false), ("chatgpt.com", false)]
        {
            assert_eq!(names.iter().any(|known| known == name), want, "{name}");
        }
        assert!(names.iter().all(|name| routes.is_llm_host(name)));
    }
}
