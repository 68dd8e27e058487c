//! README's table of kernels, from what `a11i doctor --json` found on each and how many tests of the reduced list passed there.
//!
//! Every fact that doctor reports is a row, also one that is added later: nothing is written by hand.

use std::fmt::Write as _;

use serde_json::Value;

/// Lines between which the table stands in README.
pub const BEGIN: &str = "<!-- generated: kernels -->";
pub const END: &str = "<!-- end -->";

/// One kernel.
#[derive(Clone, Debug)]
pub struct Column {
    /// `doctor --json`.
    pub doctor: Value,
    /// Tests of the reduced list: passed, and all that were run.
    pub passed: u64,
    pub tests: u64,
    /// This is the machine that made the table, and no guest.
    pub host: bool,
}

/// Facts of one run and not of a kernel: who ran it, and why something is missing.
const NOT_OF_THE_KERNEL: [&str; 3] = ["kernel_release", "capabilities", "initial_pid_namespace"];
const REASON: &str = "_problem";
/// Names that a reader knows better.
const LABELS: [(&str, &str); 6] = [
    ("ring_buffer", "BPF ring buffer"),
    ("btf", "kernel BTF"),
    ("uprobe_multi", "uprobe-multi links"),
    ("uprobe_multi_process", "uprobe-multi links for single processes"),
    ("attach_cookie", "attach cookies"),
    ("raw_tracepoint", "raw tracepoints"),
];

/// The table as Markdown: a column per kernel, a row per fact, by name.
pub fn table(columns: &[Column]) -> String {
    let facts: Vec<Vec<(String, String)>> = columns.iter().map(Column::facts).collect();
    let mut rows: Vec<&str> = Vec::new();
    for (name, _) in facts.iter().flatten() {
        if !rows.contains(&name.as_str()) {
            rows.push(name);
        }
    }
    let mut table = line(" ", columns.iter().map(Column::name));
    table += &line("---", columns.iter().map(|_| "---".to_owned()));
    for row in rows {
        let cells =
            facts.iter().map(|facts| facts.iter().find(|(name, _)| name == row).map_or_else(|| "?".to_owned(), |(_, cell)| cell.clone()));
        table += &line(row, cells);
    }
    table
}

/// README with another table between its marks.
///
/// # Errors
/// When a mark is missing.
pub fn rewritten(readme: &str, table: &str) -> Result<String, String> {
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(|| format!("no line `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| format!("no line `{END}` behind `{BEGIN}`"))?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

impl Column {
    fn name(&self) -> String {
        let release = self.doctor.pointer("/features/kernel_release").and_then(Value::as_str).unwrap_or("?");
        // `6.12.117+deb13-amd64` → `6.12.117`: what follows says who built it.
        let number: String = release.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        if self.host { format!("{number} (host)") } else { number }
    }

    fn facts(&self) -> Vec<(String, String)> {
        let text = |path: &str| self.doctor.pointer(path).map_or_else(|| "?".to_owned(), cell);
        let mut facts = vec![("works".to_owned(), text("/works")), ("attached by".to_owned(), text("/attach_mode"))];
        if let Some(features) = self.doctor.get("features") {
            flatten("", features, &mut facts);
        }
        facts.push(("instructions walked by the verifier, largest program".to_owned(), self.verified()));
        facts.push(("reduced list of tests passed".to_owned(), format!("{} of {}", self.passed, self.tests)));
        facts
    }

    fn verified(&self) -> String {
        let programs = self.doctor.get("programs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let costs =
            programs.iter().filter_map(|program| Some((program.get("verified_instructions")?.as_u64()?, program.get("name")?.as_str()?)));
        costs.max().map_or_else(|| "not told before 5.16".to_owned(), |(most, name)| format!("{} ({name})", thousands(most)))
    }
}

fn flatten(path: &str, value: &Value, facts: &mut Vec<(String, String)>) {
    let Some(fields) = value.as_object() else {
        facts.push((path.to_owned(), cell(value)));
        return;
    };
    for (name, value) in fields {
        if NOT_OF_THE_KERNEL.contains(&name.as_str()) || name.ends_with(REASON) {
            continue;
        }
        let label = LABELS.iter().find(|(key, _)| key == name).map_or_else(|| name.replace('_', " "), |(_, label)| (*label).to_owned());
        let path = if path.is_empty() { label } else { format!("{path}: {label}") };
        flatten(&path, value, facts);
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "not known".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), thousands),
        Value::String(text) => text.replace('_', " ").replace('|', "\\|"),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(_) => String::new(), // `flatten` has taken it apart
    }
}

/// 1234567 → `1,234,567`
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn line(first: &str, cells: impl Iterator<Item = String>) -> String {
    let mut line = format!("| {first} |");
    for cell in cells {
        write!(line, " {cell} |").expect("writing to a text");
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn column(release: &str, cookies: bool, cost: Option<u64>) -> Column {
        let features =
            json!({"kernel_release": release, "attach_cookie": cookies, "btf_problem": null, "hazards": {"return_call": "left_out"}});
        let doctor = json!({"works": true, "attach_mode": "multi", "features": features, "programs": [{"name": "a", "verified_instructions": cost}]});
        Column { doctor, passed: 7, tests: 8, host: !cookies }
    }

    #[test]
    fn each_fact_is_a_row_and_each_kernel_a_column() {
        let table = table(&[column("5.10.0-46-amd64", false, None), column("7.2.12+deb13-amd64", true, Some(277_059))]);
        let expected = "\
            |   | 5.10.0 (host) | 7.2.12 |\n\
            | --- | --- | --- |\n\
            | works | yes | yes |\n\
            | attached by | multi | multi |\n\
            | attach cookies | no | yes |\n\
            | hazards: return call | left out | left out |\n\
            | instructions walked by the verifier, largest program | not told before 5.16 | 277,059 (a) |\n\
            | reduced list of tests passed | 7 of 8 | 7 of 8 |\n";
        assert_eq!(table, expected);
    }

    #[test]
    fn only_what_stands_between_the_marks_is_rewritten() {
        let readme = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        assert_eq!(rewritten(&readme, "| new |\n").unwrap(), format!("before\n{BEGIN}\n| new |\n{END}\nafter\n"));
        assert!(rewritten("without marks", "").is_err());
        assert!(rewritten(BEGIN, "").unwrap_err().contains(END));
    }

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
