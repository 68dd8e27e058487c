//! What a call with a loss may still say: what was sent, or nothing.

use a11i_agent::call::LlmCall;
use serde_json::Value;

use super::view::view;

/// What `call` says and `truth` does not, one line each; nothing is expected of what it leaves out. A call that is not marked has to be the
/// truth as a whole.
pub(crate) fn lies(call: &LlmCall, truth: &Value) -> Vec<String> {
    let have = view(call);
    let mut out = Vec::new();
    if call.completeness.is_whole() {
        if have != *truth {
            out.push("it is not marked".to_owned());
        }
        return out;
    }
    let status = truth.pointer("/response/status").map(ToString::to_string).unwrap_or_default();
    walk("", &have, truth, &status, &mut out);
    out
}

fn walk(place: &str, have: &Value, want: &Value, status: &str, out: &mut Vec<String>) {
    if let (Value::Object(have), Value::Object(want)) = (have, want) {
        // Without its host, the provider is told by the format, and nobody vouches for it.
        let host_seen = place != "/server" || have.get("address").is_some_and(|address| !address.is_null());
        for (name, value) in have.iter().filter(|(name, _)| host_seen || *name != "known_host") {
            walk(&format!("{place}/{name}"), value, want.get(name).unwrap_or(&Value::Null), status, out);
        }
        return;
    }
    let at_most = || have.as_u64().zip(want.as_u64()).is_some_and(|(have, want)| have <= want);
    let is_true = match place {
        // Absent, or a switch that is off because nobody saw it switched on.
        _ if have.is_null() || *have == Value::Bool(false) => true,
        // Not said of the wire; told by the path or the host, and presumed where those were not seen.
        "/content_truncated" | "/provider" | "/operation" | "/response/api_type" => true,
        // What was seen of it.
        "/response/stream_chunks" => at_most(),
        // What estimates go by, which dialects choose for themselves; an id that another dialect does not take for one.
        _ if place.starts_with("/estimation/") => true,
        "/response/id" if want.is_null() => true,
        // The status, where the failure's own name was not seen.
        "/outcome/error_type" => have == want || have.as_str() == Some(status) || have == "_OTHER",
        // An answer that broke off; a response whose details of incompleteness were lost and whose status was not.
        "/response/finish_reasons" if have != want => {
            have.as_array().is_some_and(|reasons| reasons.iter().all(|reason| reason == "error" || reason == "incomplete"))
        }
        _ => have == want,
    };
    if !is_true {
        out.push(format!("{place}: {have}, where {want} was sent"));
    }
}

/// Where two views differ, one line each.
pub(crate) fn differences(have: &Value, want: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let (Value::Object(have), Value::Object(want)) = (have, want) else {
        return if have == want { out } else { vec![format!(": {have}, where {want} was sent")] };
    };
    let names: std::collections::BTreeSet<_> = have.keys().chain(want.keys()).collect();
    for name in names {
        let of = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or_default();
        out.extend(differences(&of(have), &of(want)).into_iter().map(|difference| format!("/{name}{difference}")));
    }
    out
}
