//! Compares what the stand-in answered with what the agent reports: every number exactly, all differences at once.

use serde_json::{Value, json};

use crate::{
    observed::ObservedCall,
    provider_stub::{Expected, Usage},
};

impl Expected {
    /// Everything in which `call` differs, one line each; empty when the report is right.
    pub fn differences(&self, call: &ObservedCall) -> Vec<String> {
        let mut found = Differences::default();
        let operation = if self.provider == "gcp.gemini" { "generate_content" } else { "chat" };
        found.text(call, "gen_ai.operation.name", Some(operation));
        found.text(call, "gen_ai.provider.name", Some(self.provider));
        found.text(call, "gen_ai.request.model", self.request_model.as_deref());
        found.text(call, "gen_ai.response.model", self.response_model.as_deref());
        found.text(call, "gen_ai.response.id", self.response_id.as_deref());
        let name = self.request_model.as_ref().map_or_else(|| operation.to_owned(), |model| format!("{operation} {model}"));
        found.same("span name", &json!(name), &json!(call.span_name));
        found.same("kind", &json!("client"), &json!(call.kind));
        found.same("gen_ai.request.stream", &json!(self.stream), call.attribute("gen_ai.request.stream").unwrap_or(&Value::Bool(false)));
        if !self.finish_reasons.is_empty() {
            found.same(
                "gen_ai.response.finish_reasons",
                &json!(self.finish_reasons),
                call.attribute("gen_ai.response.finish_reasons").unwrap_or(&Value::Null),
            );
        }
        if self.error_types.is_empty() {
            found.same("error.type", &Value::Null, call.attribute("error.type").unwrap_or(&Value::Null));
        } else {
            found.one_of(call, "error.type", &self.error_types);
            found.same("status", &json!("error"), &json!(call.status));
        }
        if let Some(usage) = self.usage {
            found.usage(call, usage);
        }
        if call.start_time_unix_nano == 0 || call.end_time_unix_nano < call.start_time_unix_nano {
            found.0.push(format!("times: {} to {}", call.start_time_unix_nano, call.end_time_unix_nano));
        }
        found.0
    }

    /// # Panics
    /// With every difference, the expectation and the report, when they differ.
    #[track_caller]
    pub fn assert_reported_as(&self, call: &ObservedCall) {
        let differences = self.differences(call);
        assert!(
            differences.is_empty(),
            "the report differs from what the provider answered:\n  {}\nexpected {self:#?}\nreported {call:#?}",
            differences.join("\n  ")
        );
    }
}

#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn same(&mut self, name: &str, expected: &Value, found: &Value) {
        if expected != found {
            self.0.push(format!("{name}: expected {expected}, found {found}"));
        }
    }

    /// An attribute with this text; None means that it is absent.
    fn text(&mut self, call: &ObservedCall, name: &str, expected: Option<&str>) {
        self.same(name, &json!(expected), call.attribute(name).unwrap_or(&Value::Null));
    }

    fn one_of(&mut self, call: &ObservedCall, name: &str, expected: &[String]) {
        let found = call.text(name);
        if !found.is_some_and(|found| expected.iter().any(|expected| expected == found)) {
            self.0.push(format!("{name}: expected one of {expected:?}, found {found:?}"));
        }
    }

    fn usage(&mut self, call: &ObservedCall, usage: Usage) {
        self.text(call, "a11i.usage.source", Some("reported"));
        self.same("gen_ai.usage.input_tokens", &json!(usage.input), &json!(call.int("gen_ai.usage.input_tokens")));
        self.same("gen_ai.usage.output_tokens", &json!(usage.output), &json!(call.int("gen_ai.usage.output_tokens")));
        self.part(call, "gen_ai.usage.cache_read.input_tokens", usage.cache_read);
        self.part(call, "gen_ai.usage.cache_creation.input_tokens", usage.cache_write);
        self.part(call, "gen_ai.usage.reasoning.output_tokens", usage.reasoning);
    }

    /// A part that the provider reported as zero, or did not report at all, may be absent; it is never another number.
    fn part(&mut self, call: &ObservedCall, name: &str, expected: u64) {
        let found = call.attribute(name);
        if !(expected == 0 && found.is_none()) {
            self.same(name, &json!(expected), found.unwrap_or(&Value::Null));
        }
    }
}
