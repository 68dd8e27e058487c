//! Reads a price file (`cost.pricing_file`): USD per token, by provider and model.

use std::{fs, path::Path};

use serde_json::{Map, Value};

use super::{
    file::tree,
    raw::{Node, NodeKind},
};
use crate::cost::{Overrides, PriceFile};

/// Price files are small tables written by hand.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Keys whose values are texts, also where they look like numbers.
const TEXTS: [&str; 2] = ["name", "base_url"];

/// Reads and checks the file.
///
/// # Errors
/// What is wrong with it, all mistakes of one kind at once, without the path.
pub fn read(path: &Path) -> Result<Overrides, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES {
        return Err(format!("{size} bytes are more than a price file has ({MAX_BYTES} at most)"));
    }
    parse(&fs::read_to_string(path).map_err(|error| error.to_string())?)
}

fn parse(text: &str) -> Result<Overrides, String> {
    let node = tree(text).map_err(|(line, what)| format!("line {line}: {what}"))?;
    let value = node.map_or(Value::Null, |node| value(&node, false));
    let file: PriceFile = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Overrides::try_from(file).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn value(node: &Node, text: bool) -> Value {
    match &node.kind {
        NodeKind::Null => Value::Null,
        NodeKind::Scalar(scalar) => match scalar.parse::<f64>().ok().filter(|_| !text).and_then(serde_json::Number::from_f64) {
            Some(number) => Value::Number(number),
            None => Value::String(scalar.clone()),
        },
        NodeKind::List(items) => Value::Array(items.iter().map(|item| value(item, text)).collect()),
        NodeKind::Map(members) => {
            let member = |(name, _, node): &(String, usize, Node)| (name.clone(), value(node, TEXTS.contains(&name.as_str())));
            Value::Object(members.iter().map(member).collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_form_is_read() {
        let text = "providers:\n  - name: openai\n    base_url: https://llm.example.internal/v1\n    models:\n      - name: gpt-4-turbo\n        \
                    pricing: {prompt_tokens: 0.00001, completion_tokens: 3e-5}\n";
        let overrides = parse(text).unwrap();
        assert_eq!(overrides.gateways().map(|g| g.host.as_str()).collect::<Vec<_>>(), ["llm.example.internal"]);
    }

    #[test]
    fn mistakes_are_told() {
        assert!(parse("providers:\n  - name: [a\n").unwrap_err().starts_with("line "));
        assert!(parse("supplier: []").unwrap_err().contains("supplier"));
        let dear = "providers:\n  - name: a\n    models:\n      - name: m\n        pricing: {prompt_tokens: 10}\n";
        assert!(parse(dear).unwrap_err().contains("model m"));
    }
}
