//! A made-up but exact tokenizer: the same request always has the same number of tokens, and a longer prompt has more.

use serde_json::Value;

/// Tokens every request has, as chat templates add some.
const TEMPLATE_TOKENS: u64 = 10;

/// Input tokens of a request: [`TEMPLATE_TOKENS`] and one for each word of its messages.
pub(super) fn tokens(request: &Value) -> u64 {
    let words: usize = ["messages", "contents", "input", "system", "systemInstruction", "instructions"]
        .iter()
        .filter_map(|key| request.get(key))
        .map(words)
        .sum();
    TEMPLATE_TOKENS.saturating_add(u64::try_from(words).unwrap_or(u64::MAX))
}

fn words(value: &Value) -> usize {
    match value {
        Value::String(text) => text.split_whitespace().count(),
        Value::Array(parts) => parts.iter().map(words).sum(),
        Value::Object(fields) => ["content", "parts", "text"].iter().filter_map(|key| fields.get(*key)).map(words).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_of_all_messages_are_counted_once() {
        let request = json!({"model": "not counted", "messages": [{"role": "user", "content": "one two"}, {"role": "user", "content": [{"type": "text", "text": "three"}]}]});
        assert_eq!(tokens(&request), 13);
    }
}
