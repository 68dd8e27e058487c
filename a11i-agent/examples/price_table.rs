//! Makes `src/cost/prices.tsv` from a price collection in JSON: `price_table FROM.json TO.tsv`.
//!
//! An example rather than a command of `xtask`, which stays free of dependencies; `cargo xtask prices` calls it.
//! Stops at any key it does not know: a new kind of price must be thought about, not dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write as _,
    process::ExitCode,
};

use serde_json::{Map, Value};

type Object = Map<String, Value>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The date on which a row's own price was in force (the collection's note on `dated`).
const IN_FORCE_ON: &str = "2026-11-20";

/// JSON key → the table's short key.
const COMPONENTS: [(&str, &str); 13] = [
    ("input_usd_per_mtok", "in"),
    ("output_usd_per_mtok", "out"),
    ("cache_read_usd_per_mtok", "cr"),
    ("cache_write_usd_per_mtok", "cw"),
    ("cache_write_1h_usd_per_mtok", "cw1h"),
    ("audio_input_usd_per_mtok", "audio_in"),
    ("audio_output_usd_per_mtok", "audio_out"),
    ("audio_cache_read_usd_per_mtok", "audio_cr"),
    ("audio_cache_write_usd_per_mtok", "audio_cw"),
    ("image_input_usd_per_mtok", "image_in"),
    ("image_output_usd_per_mtok", "image_out"),
    ("image_cache_read_usd_per_mtok", "image_cr"),
    ("reasoning_output_usd_per_mtok", "reasoning"),
];

/// Known and left out: not needed for a bill, or counted by nothing that the agent sees (citations, video).
const LEFT_OUT: [&str; 7] = [
    "max_output_tokens",
    "src",
    "deprecated_on",
    "endpoint",
    "video_input_usd_per_mtok",
    "video_output_usd_per_mtok",
    "citation_usd_per_mtok",
];

/// Gemini 2.x bills searches per grounded prompt, not per query; so does the table's price for them (Google's price page).
const GEMINI_PER_PROMPT_USD_PER_1K: &str = "35";

fn main() -> ExitCode {
    let mut paths = std::env::args().skip(1);
    let (Some(from), Some(to)) = (paths.next(), paths.next()) else {
        eprintln!("usage: price_table FROM.json TO.tsv");
        return ExitCode::FAILURE;
    };
    match convert(&from, &to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{from}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes only a whole table.
fn convert(from: &str, to: &str) -> Result<()> {
    let table = table(&std::fs::read_to_string(from)?)?;
    Ok(std::fs::write(to, table)?)
}

fn table(json: &str) -> Result<String> {
    let root: Value = serde_json::from_str(json)?;
    let mut out = header(&root)?;
    let names = provider_names(&root);
    let mut sections: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut rows: Vec<&Object> = root.get("models").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object).collect();
    // Of rows with one key, the one without a special endpoint comes first and stays.
    rows.sort_by_key(|row| row.contains_key("endpoint"));
    for row in rows {
        let key = string(row, "provider")?;
        let provider = names.get(key).copied().unwrap_or(key);
        let model = string(row, "model")?;
        let region = row.get("region").and_then(Value::as_str).unwrap_or("-");
        if !seen.insert((provider, model.to_lowercase(), region)) {
            continue;
        }
        let line = line(row, model, region).map_err(|error| format!("{key} {model}: {error}"))?;
        sections.entry(provider).or_default().push((format!("{}\t{region}", model.to_lowercase()), line));
    }
    for (provider, mut lines) in sections {
        lines.sort();
        writeln!(out, "[{provider}]")?;
        for (_, line) in lines {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out)
}

fn header(root: &Value) -> Result<String> {
    let date = root.get("date").and_then(Value::as_str).ok_or("no date")?;
    let mut out = String::new();
    writeln!(out, "# List prices of models in USD per million tokens. Made by `cargo xtask prices`; do not edit.")?;
    for source in root.get("source").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or("?");
        writeln!(out, "# Facts from {}, snapshot of {}, {}.", text("name"), text("snapshot"), text("licence"))?;
    }
    writeln!(out, "# [provider], then per row: model, region, mode, context window, prices, and tab-separated further facts.")?;
    writeln!(out, "# date {date}")?;
    writeln!(out, "# in-force {IN_FORCE_ON}")?;
    Ok(out)
}

/// The collection's provider key → the conventions' `gen_ai.provider.name`.
fn provider_names(root: &Value) -> BTreeMap<&str, &str> {
    let providers = root.get("providers").and_then(Value::as_object).into_iter().flatten();
    providers.filter_map(|(key, value)| Some((key.as_str(), value.get("otel_provider_name")?.as_str()?))).collect()
}

fn line(row: &Object, model: &str, region: &str) -> Result<String> {
    let mode = string(row, "mode")?;
    let window = row.get("context_window").and_then(Value::as_u64).map_or("-".to_owned(), |n| n.to_string());
    let mut base = row.clone();
    if row.contains_key("dated") {
        // The history has no reasoning price: the row's is that of another date. Reasoning then costs what output costs.
        base.remove("reasoning_output_usd_per_mtok");
    }
    let mut out = format!("{model}\t{region}\t{mode}\t{window}\t{}", prices(&base)?);
    for (key, value) in row {
        match key.as_str() {
            "provider" | "model" | "region" | "mode" | "context_window" => {}
            "aliases" => {
                let aliases: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                write!(out, "\talias {}", aliases.join(" "))?;
            }
            "tiers" => tiers(&mut out, value.as_object().ok_or("tiers")?)?,
            "dated" => {
                for item in value.as_array().into_iter().flatten().filter_map(Value::as_object) {
                    let from = item.get("from").and_then(Value::as_str).unwrap_or("start");
                    let mut item = item.clone();
                    item.remove("from");
                    item.remove("web_search_usd_per_1k");
                    write!(out, "\tfrom {from} {}", only_prices(&item)?)?;
                }
            }
            "web_search_usd_per_1k" => search(&mut out, row, value)?,
            "request_usd" => write!(out, "\trequest {}", decimal(value)?)?,
            "multipliers" => {
                out.push_str("\ttimes");
                for (name, factor) in value.as_object().ok_or("multipliers")? {
                    match name.as_str() {
                        "region_us" => write!(out, " us={}", decimal(factor)?)?,
                        "region_eu" => write!(out, " eu={}", decimal(factor)?)?,
                        "fast" => write!(out, " fast={}", decimal(factor)?)?,
                        other => return Err(format!("unknown multiplier {other}").into()),
                    }
                }
            }
            known if LEFT_OUT.contains(&known) || COMPONENTS.iter().any(|(k, _)| *k == known) => {}
            unknown => return Err(format!("unknown key {unknown}").into()),
        }
    }
    Ok(out)
}

fn search(out: &mut String, row: &Object, value: &Value) -> Result<()> {
    if let Some(sizes) = value.as_object() {
        let size = |name: &str| sizes.get(name).ok_or("search size").map_err(Into::into).and_then(decimal);
        write!(out, "\tsearch low={} medium={} high={}", size("low")?, size("medium")?, size("high")?)?;
        return Ok(());
    }
    let price = decimal(value)?;
    let gemini = matches!(string(row, "provider")?, "gemini" | "vertex_ai");
    if gemini && price == GEMINI_PER_PROMPT_USD_PER_1K {
        write!(out, "\tsearch prompt={price}")?;
    } else {
        write!(out, "\tsearch each={price}")?;
    }
    Ok(())
}

fn tiers(out: &mut String, tiers: &Object) -> Result<()> {
    for (name, value) in tiers {
        if name == "by_input_tokens" {
            for range in value.as_array().into_iter().flatten().filter_map(Value::as_object) {
                let from = range.get("from").and_then(Value::as_u64).ok_or("range without from")?;
                let mut range = range.clone();
                range.remove("from");
                range.remove("to");
                write!(out, "\tabove {from} {}", only_prices(&range)?)?;
            }
            continue;
        }
        let prices = only_prices(value.as_object().ok_or("tier")?)?;
        match name.strip_prefix("above_") {
            Some(rest) => {
                let (thousands, service) = rest.split_once("k_").or(rest.split_once('k')).ok_or("threshold")?;
                let tokens = thousands.parse::<u64>()?.checked_mul(1000).ok_or("threshold")?;
                match service {
                    "" => write!(out, "\tabove {tokens} {prices}")?,
                    "priority" => write!(out, "\tpriority-above {tokens} {prices}")?,
                    other => return Err(format!("unknown tier {other}").into()),
                }
            }
            None if matches!(name.as_str(), "priority" | "flex" | "batch") => write!(out, "\t{name} {prices}")?,
            None => return Err(format!("unknown tier {name}").into()),
        }
    }
    Ok(())
}

fn only_prices(object: &Object) -> Result<String> {
    match object.keys().find(|key| !COMPONENTS.iter().any(|(k, _)| k == key)) {
        Some(key) => Err(format!("unknown key {key} in a tier").into()),
        None => prices(object),
    }
}

fn prices(object: &Object) -> Result<String> {
    let mut parts = Vec::new();
    for (key, short) in COMPONENTS {
        if let Some(value) = object.get(key) {
            parts.push(format!("{short}={}", decimal(value)?));
        }
    }
    Ok(parts.join(" "))
}

/// At most nine places: the agent counts in nano-dollars per million tokens.
fn decimal(value: &Value) -> Result<String> {
    let number = value.as_f64().filter(|n| n.is_finite() && *n >= 0.0).ok_or("not a price")?;
    let text = format!("{number:.9}");
    Ok(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn string<'a>(row: &'a Object, key: &str) -> Result<&'a str> {
    row.get(key).and_then(Value::as_str).ok_or_else(|| format!("no {key}").into())
}
