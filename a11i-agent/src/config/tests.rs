use std::{fs, path::Path};

use super::{raw::RawConfig, *};

fn from_yaml(text: &str, environment: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let mut raw = RawConfig::default();
    let mut mistakes = Vec::new();
    file::parse(text, Path::new("a11i.yaml"), &mut raw, &mut mistakes);
    env::read(&Variables(environment), &mut raw, &mut mistakes);
    validate::check(&raw, mistakes)
}

struct Variables<'a>(&'a [(&'a str, &'a str)]);

impl Environment for Variables<'_> {
    fn variables(&self, prefixes: &[&str]) -> Vec<(String, String)> {
        self.0.variables(prefixes)
    }
}

fn from_env(environment: &[(&str, &str)]) -> Result<Config, Mistakes> {
    from_yaml("", environment)
}

fn mistakes_of(result: Result<Config, Mistakes>) -> Vec<String> {
    result.err().map(|m| m.0.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn nothing_configured_is_valid_and_safe() {
    let config = from_env(&[]).unwrap();
    assert_eq!((config.content, config.output), (ContentPolicy::None, Output::Auto));
    assert!(!config.exports());
    assert_eq!(config.bind_address.to_string(), "127.0.0.1");
    assert_eq!((config.health_port, config.metrics_port), (9091, 9090));
}

#[test]
fn all_mistakes_come_at_once_with_line_and_remedy() {
    let got = mistakes_of(from_yaml(
        "ouput: json\ncontent: redacted\notlp:\n  endpoint: ftp://x\n  protocl: grpc\ncapture:\n  ring_bytes: 1000000\nbatch: 5\nhealth_port: 70000\n",
        &[("A11I_CONTEN", "full"), ("A11I_PROXY_PORT", "1"), ("A11I_RETRY_MAX", "3")],
    ));
    let expected = [
        "a11i.yaml:1: unknown key `ouput`; did you mean `output`?",
        "a11i.yaml:5: unknown key `otlp.protocl`; did you mean `otlp.protocol`?",
        "a11i.yaml:8: `batch` is a section, but holds a single value; write its keys below it: max_export_batch_size, max_queue_bytes, max_queue_size, schedule_delay",
        "A11I_CONTEN: unknown variable; did you mean `A11I_CONTENT`?",
        "A11I_PROXY_PORT: does not apply to a passive observer, because it neither carries nor changes traffic; unset it",
        "A11I_RETRY_MAX: does not apply to a passive observer, because it neither carries nor changes traffic; unset it",
        "a11i.yaml:2: redacted content is not available yet; use `none`, or `full` to export prompts and answers as they are",
        "a11i.yaml:4: `otlp.endpoint` is not an http:// or https:// URL; write for example http://localhost:4318",
        "a11i.yaml:7: `capture.ring_bytes` is 1000000, but must be a power of two from 1048576; use 1048576",
        "a11i.yaml:9: `health_port` cannot be `70000`; write a port from 1 to 65535, or 0 for none",
    ];
    for line in expected {
        assert!(got.contains(&line.to_owned()), "missing {line:?} in {got:#?}");
    }
}

#[test]
fn a_ring_without_room_for_many_records_is_a_mistake() {
    for (written, ok) in [("64KiB", false), ("512KiB", false), ("1MiB", true), ("3MiB", false), ("4MiB", true)] {
        let got = from_yaml(&format!("capture:\n  ring_bytes: {written}\n"), &[]);
        assert_eq!(got.is_ok(), ok, "{written}");
    }
}

#[test]
fn broken_yaml_names_its_line() {
    let got = mistakes_of(from_yaml("output: json\ncontent: [none\nx: 1\n", &[]));
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].starts_with("a11i.yaml:"), "{got:?}");
}

#[test]
fn a_key_written_twice_is_a_mistake() {
    assert_eq!(mistakes_of(from_yaml("output: json\noutput: none\n", &[])), ["a11i.yaml:2: `output` is written twice; keep one of them"]);
}

#[test]
fn environment_wins_over_the_file_and_flags_over_both() {
    let folder = std::env::temp_dir().join(format!("a11i-config-{}", std::process::id()));
    let drop_ins = folder.join("a11i.yaml.d");
    fs::create_dir_all(&drop_ins).unwrap();
    let path = folder.join("a11i.yaml");
    fs::write(&path, "output: json\nlog_level: warn\nsemconv: latest\nhealth_port: 1\n").unwrap();
    fs::write(drop_ins.join("20-b.yaml"), "log_level: debug\n").unwrap();
    fs::write(drop_ins.join("10-a.yaml"), "log_level: error\nhealth_port: 2\n").unwrap();
    let sources = Sources { file: Some(&path), flags: vec![("output", "none".to_owned())] };
    let config = Config::load(&sources, &[("A11I_OUTPUT", "pretty"), ("A11I_SEMCONV", "1.36")]).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(config.output, Output::None, "flag");
    assert_eq!(config.semconv, Semconv::V1_36, "environment");
    assert_eq!((config.log_level, config.health_port), (LogLevel::Debug, 2), "later drop-ins replace single keys");
}

#[test]
fn a_missing_file_is_a_mistake() {
    let sources = Sources { file: Some(Path::new("/nonexistent/a11i.yaml")), flags: Vec::new() };
    assert!(mistakes_of(Config::load(&sources, &[])).first().is_some_and(|m| m.contains("cannot be read")));
}

#[test]
fn the_general_endpoint_gets_the_signals_path_and_a_signals_own_is_exact() {
    let config = from_env(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://metrics.example/custom"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "2500"),
    ])
    .unwrap();
    let traces = config.otlp.traces.unwrap();
    assert_eq!(traces.url.to_string(), "http://collector:4318/base/v1/traces");
    let metrics = config.otlp.metrics.unwrap();
    assert_eq!(metrics.url.to_string(), "https://metrics.example/custom");
    assert_eq!((traces.timeout, metrics.timeout), (Duration::from_secs(10), Duration::from_millis(2500)));
}

#[test]
fn grpc_endpoints_may_lack_a_scheme_and_insecure_chooses_it() {
    let both = |insecure| {
        let variables =
            [("A11I_OTLP_ENDPOINT", "collector:4317"), ("A11I_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_INSECURE", insecure)];
        from_env(&variables).unwrap().otlp.traces.unwrap().url.to_string()
    };
    assert_eq!(both("true"), "http://collector:4317/");
    assert_eq!(both("false"), "https://collector:4317/");
}

#[test]
fn exporters_can_be_switched_off_and_asked_for() {
    let config = from_env(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"), ("OTEL_TRACES_EXPORTER", "none")]).unwrap();
    assert!(config.otlp.traces.is_none() && config.otlp.metrics.is_some());
    let config = from_env(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap();
    assert_eq!(config.otlp.traces.unwrap().url.to_string(), "http://localhost:4318/v1/traces");
    assert!(config.otlp.metrics.is_none());
}

#[test]
fn secrets_are_sent_but_never_shown() {
    let config = from_env(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:hunter2@c:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20hunter2, x-tenant=hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=core,api.token=hunter2"),
    ])
    .unwrap();
    let endpoint = config.otlp.traces.clone().unwrap();
    assert_eq!(endpoint.headers[0].1.0, "Bearer hunter2");
    let shown =
        format!("{config}{config:?}").replace(&format!("{:?}", config.resource_attributes), "").replace(&format!("{:?}", endpoint.url), "");
    let shown = shown.replace(&format!("{:?}", config.otlp.metrics.unwrap().url), "");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("team"));
}

#[test]
fn the_effective_configuration_reads_back_as_the_same() {
    let config = from_yaml(
        "content: full\nproviders:\n  gateways: [gw.example]\n  body_shape: true\n  paths:\n    - {path: /ask, dialect: openai.chat}\n    - {path: \"/models/*/ask\", dialect: anthropic.messages, host: \"*.LLM.example\", provider: corp}\n  hosts:\n    - {host: LLM.example, provider: openai}\nresource_attributes: {team: core}\nsampler: {type: traceidratio, ratio: 0.25}\n",
        &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/v1/traces")],
    )
    .unwrap();
    assert_eq!(config.provider_hosts, [ProviderHost { host: "llm.example".to_owned(), provider: "openai".to_owned() }]);
    let path = config.provider_paths.last().unwrap();
    assert_eq!((path.host.as_deref(), path.provider.as_deref(), config.body_shape), (Some("*.llm.example"), Some("corp"), true));
    assert_eq!(from_yaml(&config.to_string(), &[]).unwrap(), config);
    let default = from_env(&[]).unwrap();
    assert_eq!(from_yaml(&default.to_string(), &[]).unwrap(), default);
}

#[test]
fn the_documented_example_is_valid_and_says_the_defaults() {
    let text = include_str!("../../../deploy/config.example.yaml");
    assert_eq!(from_yaml(text, &[]).unwrap(), from_env(&[]).unwrap());
    // Every commented line is a real setting too.
    let commented: String =
        text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)).fold(String::new(), |all, line| all + line + "\n");
    from_yaml(&commented, &[]).unwrap();
}

#[test]
fn names_of_tests_builds_and_observed_processes_are_not_unknown() {
    from_env(&[
        ("A11I_BIN", "x"),
        ("A11I_TEST_CACHE", "x"),
        ("A11I_LOG", "x"),
        ("A11I_SERVICE_NAME", "checkout"),
        ("A11I_PII_REDACTION", "none"),
    ])
    .unwrap();
}

#[test]
fn content_variables_of_the_sdks_mean_redacted_which_is_answered() {
    from_env(&[("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "NO_CONTENT")]).unwrap();
    let got = mistakes_of(from_env(&[("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")]));
    assert!(
        got.first().is_some_and(|m| m.contains("redacted content, which is not available yet") && m.contains("A11I_CONTENT=full")),
        "{got:?}"
    );
    assert_eq!(from_env(&[("A11I_CONTENT", "full")]).unwrap().content, ContentPolicy::Full);
}

#[test]
fn sampling_has_its_older_names() {
    let ratio = |variables: &[(&str, &str)]| from_env(variables).unwrap().sampler;
    assert_eq!(
        ratio(&[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")]),
        Sampler { ratio: 0.5, parent_based: true }
    );
    assert_eq!(ratio(&[("A11I_SAMPLE_RATE", "0.1")]), Sampler { ratio: 0.1, parent_based: false });
    assert_eq!(ratio(&[("SAMPLING_RATE", "25")]), Sampler { ratio: 0.25, parent_based: false });
    assert_eq!(ratio(&[("A11I_SAMPLER_TYPE", "always_off")]), Sampler { ratio: 0.0, parent_based: false });
    assert_eq!(
        mistakes_of(from_env(&[("A11I_SAMPLE_RATE", "7")])),
        ["A11I_SAMPLE_RATE: `sampler.ratio` cannot be `7`; write a number from 0 to 1"]
    );
}

#[test]
fn programs_with_instrumentation_of_their_own_are_named_in_a_list_or_a_variable() {
    let config = from_yaml("instrumented: metrics_only\ninstrumented_programs: [checkout, node]\n", &[]).unwrap();
    assert_eq!(config.instrumented.mode, crate::sampling::Instrumented::MetricsOnly);
    let variables = [("A11I_INSTRUMENTED", "suppress"), ("A11I_INSTRUMENTED_PROGRAMS", "checkout, node")];
    let from_variables = from_env(&variables).unwrap();
    assert_eq!(from_variables.instrumented.programs, config.instrumented.programs);
    let printed = from_variables.to_string();
    assert!(printed.contains("instrumented: suppress\ninstrumented_programs: [\"checkout\", \"node\"]\n"), "{printed}");
    assert_eq!(from_yaml(&printed, &[]).unwrap(), from_variables);
    let mistakes = mistakes_of(from_yaml("instrumented: never\n", &[]));
    assert!(mistakes[0].contains("child") && mistakes[0].contains("suppress"), "{mistakes:?}");
}

#[test]
fn paths_of_own_providers_name_a_dialect_and_the_end_of_a_path() {
    let config = from_env(&[("A11I_PROVIDERS_PATHS", "/ask=openai.chat,/see=openai.images")]).unwrap();
    let paths: Vec<_> = config.provider_paths.iter().map(|rule| (rule.path.as_str(), rule.dialect.as_str())).collect();
    assert_eq!(paths, [("/ask", "openai.chat"), ("/see", "openai.images")]);
    let yaml = "providers:\n  paths:\n    - {path: ask, dialect: openai.chat}\n    - {path: /ask, dialect: soap}\n    - {path: /ask}\n    - {path: /ask, dialect: openai.chat, host: a/b, port: 7}\n";
    let got = mistakes_of(from_yaml(yaml, &[]));
    for want in ["the path `ask`", "`soap`, which is no dialect; write one of ", "lacks a path or a dialect", "a host of", "no `port`"] {
        assert!(got.iter().any(|mistake| mistake.contains(want)), "{want}: {got:?}");
    }
    assert_eq!(got.len(), 5, "{got:?}");
}
