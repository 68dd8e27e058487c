//! The instruments themselves against real clients, without the agent and without root: what fails elsewhere is then the
//! agent's doing.

mod c_client;
mod curl;
mod python;
mod sink;

use a11i_tests::provider_stub::Expected;
use serde_json::{Value, json};

/// A Python client saw exactly what the stand-in says it answered.
#[track_caller]
fn assert_client_saw(answer: &Value, expected: &Expected) {
    let of = |name: &str| answer.get(name).cloned().unwrap_or(Value::Null);
    assert_eq!(of("id"), json!(expected.response_id), "{answer}");
    assert_eq!(of("model"), json!(expected.response_model), "{answer}");
    assert_eq!(of("tools"), json!(expected.tools), "{answer}");
    assert_eq!(of("text").as_str().unwrap_or_default(), expected.text, "{answer}");
    assert_eq!(of("finish"), json!(expected.finish_reasons.first()), "{answer}");
    assert_eq!(of("output_tokens"), json!(expected.usage.map(|usage| usage.output)), "{answer}");
}
