//! One readable line per call for a terminal.
//!
//! ```text
//! 23:44:34  python3[4242]        chat        openai/gpt-4o                         100→20 (64 cached)      $0.00037    2.00s  ttft 0.75s  stop
//! ```
//! Marks: `~` before counts that were estimated, `!` at the end of a call that was not seen whole.

use super::{span::ClockOffset, timestamp::civil};
use crate::{
    call::{LlmCall, NanoUsd, Role, UsageSource},
    owner::Owner,
    redaction::{RedactedCall, RedactedMcp},
};

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PrettyStyle {
    pub colour: bool,
}

impl PrettyStyle {
    /// Colours only where somebody looks, and not against their will (no-color.org: any non-empty `NO_COLOR`).
    pub fn detect(is_terminal: bool, no_color: Option<&str>) -> Self {
        Self { colour: is_terminal && no_color.is_none_or(str::is_empty) }
    }
}

/// Column widths in characters: a line fits 150 columns unless a name is longer, in which case it moves the rest.
const PROCESS: usize = 20;
const OPERATION: usize = 11;
const MODEL: usize = 36;
const TOKENS: usize = 22;
const COST: usize = 11;
const LATENCY: usize = 8;
/// Longest foreign text in a column.
const TEXT: usize = 60;

/// The line without its line end.
pub fn pretty_line(redacted: &RedactedCall, clock: ClockOffset, style: PrettyStyle) -> String {
    let call = redacted.call();
    let mut line = Line { text: String::with_capacity(200), colour: style.colour };
    let time = civil(clock.unix_nanos(call.timing.start));
    line.column(&format!("{:02}:{:02}:{:02}", time.hour, time.minute, time.second), 8, Some(DIM));
    line.column(&process(&call.owner), PROCESS, None);
    line.column(call.operation.as_str(), OPERATION, None);
    line.column(&model(call), MODEL, Some(CYAN));
    line.column(&tokens(call), TOKENS, None);
    line.column(&redacted.cost().map(|c| usd(c.total)).unwrap_or_default(), COST, Some(GREEN));
    line.right(&seconds(call.timing.end.nanos_since(call.timing.start)), LATENCY);
    if call.role == Role::Server {
        line.word("server", Some(DIM));
    }
    if call.request.stream {
        match call.timing.first_token.or(call.timing.first_chunk) {
            Some(first) => line.word(&format!("ttft {}", seconds(first.nanos_since(call.timing.start))), Some(DIM)),
            None => line.word("stream", Some(DIM)),
        }
    }
    match &call.outcome.error_type {
        Some(error) => {
            let status = call.response.status.filter(|s| *s >= 400).map(|s| s.to_string());
            line.word(&escape(error, TEXT), Some(RED));
            if let Some(status) = status.filter(|s| s != error) {
                line.word(&status, Some(RED));
            }
        }
        None => line.word(&escape(&call.response.finish_reasons.join(","), TEXT), None),
    }
    if !call.completeness.is_whole() {
        line.word("!", Some(RED));
    }
    line.text
}

/// The line of an MCP message.
pub fn pretty_mcp(redacted: &RedactedMcp, clock: ClockOffset, style: PrettyStyle) -> String {
    let message = redacted.message();
    let mut line = Line { text: String::with_capacity(200), colour: style.colour };
    let time = civil(clock.unix_nanos(message.timing.start));
    line.column(&format!("{:02}:{:02}:{:02}", time.hour, time.minute, time.second), 8, Some(DIM));
    line.column(&process(&message.owner), PROCESS, None);
    line.column("mcp", OPERATION, None);
    line.column(&escape(&message.method, TEXT), MODEL, Some(CYAN));
    line.column(&escape(message.target().or(message.resource_uri.as_deref()).unwrap_or_default(), TEXT), TOKENS, None);
    line.column("", COST, None);
    line.right(&seconds(message.timing.end.nanos_since(message.timing.start)), LATENCY);
    if message.role == Role::Server {
        line.word("server", Some(DIM));
    }
    if let Some(error) = &message.outcome.error_type {
        line.word(&escape(error, TEXT), Some(RED));
    }
    if !message.completeness.is_whole() {
        line.word("!", Some(RED));
    }
    line.text
}

const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const CYAN: &str = "\x1b[36m";
const RESET: &str = "\x1b[0m";

struct Line {
    text: String,
    colour: bool,
}

impl Line {
    fn column(&mut self, text: &str, width: usize, colour: Option<&str>) {
        self.painted(text, colour);
        self.pad(width.saturating_sub(text.chars().count()).saturating_add(2));
    }

    fn right(&mut self, text: &str, width: usize) {
        self.pad(width.saturating_sub(text.chars().count()));
        self.text.push_str(text);
    }

    fn word(&mut self, text: &str, colour: Option<&str>) {
        if !text.is_empty() {
            self.pad(2);
            self.painted(text, colour);
        }
    }

    fn painted(&mut self, text: &str, colour: Option<&str>) {
        match colour.filter(|_| self.colour && !text.is_empty()) {
            Some(code) => self.text.extend([code, text, RESET]),
            None => self.text.push_str(text),
        }
    }

    fn pad(&mut self, spaces: usize) {
        self.text.extend(std::iter::repeat_n(' ', spaces));
    }
}

fn process(owner: &Owner) -> String {
    let name = owner.stated.service_name.as_deref().filter(|n| !n.is_empty()).or(owner.executable_name.as_deref());
    format!("{}[{}]", escape(name.unwrap_or("?"), TEXT), owner.process.pid.0)
}

fn model(call: &LlmCall) -> String {
    let model = call.request.model.as_deref().or(call.response.model.as_deref()).unwrap_or("-");
    format!("{}/{}", escape(call.provider.as_str(), TEXT), escape(model, TEXT))
}

/// `100→~20 (64 cached)`: the output is an estimate; an unknown side is `?`, and a call that reports none has an empty column.
fn tokens(call: &LlmCall) -> String {
    let usage = &call.usage;
    if usage.is_absent() {
        return String::new();
    }
    let side = |count: Option<u64>, source| {
        let mark = if source == UsageSource::Estimated { "~" } else { "" };
        count.map_or_else(|| "?".to_owned(), |n| format!("{mark}{n}"))
    };
    let input = side(usage.input_tokens, usage.input_source);
    let mut out = match usage.output_tokens {
        // Embeddings have no output.
        None if call.operation == crate::call::Operation::Embeddings => input,
        output => format!("{input}→{}", side(output, usage.output_source)),
    };
    if let Some(cached) = usage.cache_read_input_tokens.filter(|n| *n > 0) {
        out.extend([" (", &cached.to_string(), " cached)"]);
    }
    out
}

/// Two significant digits of small amounts: most calls cost less than a cent.
fn usd(amount: NanoUsd) -> String {
    let dollars = amount.as_usd();
    let decimals = match amount.0.unsigned_abs() {
        0 => 2,
        1..10_000 => 8,
        10_000..100_000 => 6,
        100_000..10_000_000 => 5,
        _ => 4,
    };
    format!("${dollars:.decimals$}")
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn seconds(nanos: u64) -> String {
    if nanos < 1_000_000_000 { format!("{}ms", nanos / 1_000_000) } else { format!("{:.2}s", nanos as f64 / 1e9) }
}

/// Foreign text for a terminal: cut, and without characters that could move the cursor or hide text.
fn escape(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for (count, character) in text.chars().enumerate() {
        if count >= limit {
            out.push('…');
            break;
        }
        if character.is_control() || is_invisible(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Marks that reorder or hide what a terminal shows (Unicode TR 36).
const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Completeness, Operation},
        export::samples,
    };

    fn line(priced: &crate::cost::PricedCall) -> String {
        pretty_line(&samples::redacted(priced), ClockOffset(0), PrettyStyle::default())
    }

    #[test]
    fn a_streamed_call_shows_all_its_numbers_in_one_line() {
        let expected = "00:00:00  python3[42]           chat         openai/gpt-4o                         100→20 (64 cached)      $0.00037        2.00s  ttft 750ms  stop";
        assert_eq!(line(&samples::chat()), expected);
    }

    #[test]
    fn estimates_losses_and_errors_are_marked() {
        let mut priced = samples::chat();
        priced.call.usage.input_source = UsageSource::Estimated;
        assert!(line(&priced).contains("~100→20 "));
        priced.call.usage.output_source = UsageSource::Estimated;
        priced.call.completeness = Completeness::JoinedLate;
        priced.call.outcome.error_type = Some("rate_limit_exceeded".to_owned());
        priced.call.response.status = Some(429);
        let text = line(&priced);
        assert!(text.contains("~100→~20 "), "{text}");
        assert!(text.ends_with("rate_limit_exceeded  429  !"), "{text}");
    }

    #[test]
    fn absent_numbers_show_as_nothing_and_not_as_zero() {
        let mut priced = samples::chat();
        priced.call.usage = crate::call::Usage::default();
        priced.cost = None;
        let text = line(&priced);
        assert!(!text.contains('→') && !text.contains('$'), "{text}");
        priced.call.usage.input_tokens = Some(7);
        assert!(line(&priced).contains("7→?"));
        priced.call.operation = Operation::Embeddings;
        assert!(!line(&priced).contains('→'));
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        let mut priced = samples::chat();
        priced.call.request.model = Some("\x1b[2Jgpt\n\u{202e}".to_owned());
        let text = line(&priced);
        assert!(!text.contains('\x1b') && !text.contains('\n') && !text.contains('\u{202e}'), "{text:?}");
        assert!(text.contains(r"\u{1b}[2Jgpt\u{a}\u{202e}"), "{text}");
    }

    #[test]
    fn colours_are_for_terminals_and_no_color_is_honoured() {
        assert!(PrettyStyle::detect(true, None).colour);
        assert!(PrettyStyle::detect(true, Some("")).colour);
        assert!(!PrettyStyle::detect(true, Some("1")).colour);
        assert!(!PrettyStyle::detect(false, None).colour);
        let coloured = pretty_line(&samples::redacted(&samples::chat()), ClockOffset(0), PrettyStyle { colour: true });
        assert!(coloured.contains("\x1b[36mopenai/gpt-4o\x1b[0m"));
    }

    #[test]
    fn amounts_keep_the_digits_that_matter() {
        let shown = [0, 5_000, 370_000, 12_345_678, 1_500_000_000].map(|n| usd(NanoUsd(n)));
        assert_eq!(shown, ["$0.00", "$0.00000500", "$0.00037", "$0.0123", "$1.5000"]);
    }
}
