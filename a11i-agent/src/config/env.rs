//! Environment variables → raw values. `OTEL_*` first, the aliases next, the keys' own `A11I_` variables last: the nearest name wins.

use super::{
    keys::{ALIASES, ANSWERED, KEYS, NOT_YET, OF_OBSERVED_PROCESSES, RESERVED, is_listed, nearest, variable_of},
    raw::{Mistake, Origin, RawConfig},
};

/// Where variables come from.
pub trait Environment {
    /// All variables whose name begins with one of `prefixes`, in any order.
    fn variables(&self, prefixes: &[&str]) -> Vec<(String, String)>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variables(&self, prefixes: &[&str]) -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .collect()
    }
}

impl Environment for [(&str, &str)] {
    fn variables(&self, prefixes: &[&str]) -> Vec<(String, String)> {
        self.iter()
            .filter(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }
}

impl<const N: usize> Environment for [(&str, &str); N] {
    fn variables(&self, prefixes: &[&str]) -> Vec<(String, String)> {
        self.as_slice().variables(prefixes)
    }
}

pub(super) fn read(environment: &dyn Environment, raw: &mut RawConfig, mistakes: &mut Vec<Mistake>) {
    // The specification says that an empty variable is one that is not set.
    let mut variables = environment.variables(&["A11I_", "OTEL_", "SAMPLING_RATE"]);
    variables.retain(|(_, value)| !value.trim().is_empty());
    variables.sort();
    let lookup = |name: &str| variables.iter().find_map(|(n, v)| (n == name).then_some(v.trim()));
    for (variable, key) in ALIASES {
        if let Some(value) = lookup(variable) {
            raw.set_text(key, value, Origin::Variable((*variable).to_owned()));
        }
    }
    for key in KEYS {
        let variable = variable_of(key);
        if let Some(value) = lookup(&variable) {
            raw.set_text(key, value, Origin::Variable(variable));
        }
    }
    for (name, value) in &variables {
        special(name, value.trim(), &lookup, raw, mistakes);
    }
}

/// Variables whose value has to be translated, answered or refused.
fn special<'a>(name: &str, value: &str, lookup: &dyn Fn(&str) -> Option<&'a str>, raw: &mut RawConfig, mistakes: &mut Vec<Mistake>) {
    let origin = || Origin::Variable(name.to_owned());
    let mut mistake = |what: String, remedy: &str| mistakes.push(Mistake { origin: origin(), what, remedy: remedy.to_owned() });
    match name {
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT" => {
            // Its meaning is always *redacted* content.
            if !["no_content", "false", "0"].contains(&value.to_lowercase().as_str()) {
                mistake(
                    format!("`{value}` asks for redacted content, which is not available yet"),
                    "set NO_CONTENT, or A11I_CONTENT=full for content as it is",
                );
            }
        }
        "OTEL_SEMCONV_STABILITY_OPT_IN" => {
            if lookup("A11I_SEMCONV").is_none() && value.split(',').any(|v| v.trim() == "gen_ai_latest_experimental") {
                raw.set_text("semconv", "1.41", origin());
            }
        }
        "OTEL_PROPAGATORS" | "A11I_TRACE_PROPAGATORS" | "A11I_TRACE_PROPAGATION" => {
            for word in value.split(',').map(str::trim) {
                if !["tracecontext", "baggage", "w3c", "none"].contains(&word) {
                    mistake(format!("`{word}` is not read by this version"), "use tracecontext");
                }
            }
        }
        "OTEL_SERVICE_NAME" => append_attribute(raw, "service.name", value, origin()),
        "A11I_DEPLOYMENT_ENVIRONMENT" => append_attribute(raw, "deployment.environment.name", value, origin()),
        "A11I_TRACE_CORRELATION" => {}
        "A11I_SAMPLER_TYPE" => {
            let standard = if value == "probabilistic" { "traceidratio" } else { value };
            raw.set_text("sampler.type", standard, origin());
        }
        "A11I_SAMPLE_RATE" => {
            if lookup("A11I_SAMPLER_TYPE").is_none() {
                raw.set_text("sampler.type", "traceidratio", origin());
            }
        }
        "SAMPLING_RATE" => match value.trim_end_matches('%').parse::<f64>() {
            Ok(percent) if lookup("A11I_SAMPLE_RATE").is_none() && lookup("A11I_SAMPLER_RATIO").is_none() => {
                raw.set_text("sampler.type", "traceidratio", origin());
                raw.set_text("sampler.ratio", &(percent / 100.0).to_string(), origin());
            }
            Ok(_) => {}
            Err(_) => mistake(format!("`{value}` is not a percentage"), "write a number from 0 to 100"),
        },
        _ => listed_or_unknown(name, value, mistakes),
    }
}

fn listed_or_unknown(name: &str, value: &str, mistakes: &mut Vec<Mistake>) {
    let origin = Origin::Variable(name.to_owned());
    if let Some((_, inert, feature)) = NOT_YET.iter().find(|(n, ..)| *n == name) {
        if !inert.contains(&value.to_lowercase().as_str()) {
            let remedy = match inert.first() {
                Some(word) => format!("unset it or set it to `{word}`"),
                None => "unset it".to_owned(),
            };
            mistakes.push(Mistake { origin, what: format!("{feature} is not available yet"), remedy });
        }
        return;
    }
    if let Some((_, reason)) = ANSWERED.iter().find(|(pattern, _)| is_listed(name, pattern)) {
        let what = format!("does not apply to a passive observer, because {reason}");
        mistakes.push(Mistake { origin, what, remedy: "unset it".to_owned() });
        return;
    }
    let known = !name.starts_with("A11I_")
        || RESERVED.iter().any(|pattern| is_listed(name, pattern))
        || OF_OBSERVED_PROCESSES.contains(&name)
        || ALIASES.iter().any(|(alias, _)| *alias == name);
    let variables: Vec<String> = KEYS.iter().map(|key| variable_of(key)).collect();
    if known || variables.iter().any(|v| v == name) {
        return;
    }
    let aliases = ALIASES.iter().map(|(alias, _)| *alias).filter(|alias| alias.starts_with("A11I_"));
    let near = nearest(name, variables.iter().map(String::as_str).chain(aliases));
    let remedy = near.map_or_else(|| "unset it".to_owned(), |near| format!("did you mean `{near}`?"));
    mistakes.push(Mistake { origin, what: "unknown variable".to_owned(), remedy });
}

/// Adds to the resource attributes without replacing those of `OTEL_RESOURCE_ATTRIBUTES` or of the file.
fn append_attribute(raw: &mut RawConfig, name: &str, value: &str, origin: Origin) {
    let key = if name == "service.name" { SERVICE_NAME } else { DEPLOYMENT_ENVIRONMENT };
    raw.set_text(key, value, origin);
}

/// Internal keys: set by variables only.
pub(super) const SERVICE_NAME: &str = "(service name)";
pub(super) const DEPLOYMENT_ENVIRONMENT: &str = "(deployment environment)";
