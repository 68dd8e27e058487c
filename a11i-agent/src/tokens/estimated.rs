//! What is counted here because nobody reported it, and only that.

use super::{
    CountedCall, TokenCounter,
    family::{Family, Overhead},
};
use crate::call::{EstimationText, LlmCall, Operation, TextSample, UsageSource};

/// Does counting this call take a tokenizer?
pub fn needs_estimate(call: &LlmCall) -> bool {
    estimates_input(call) || estimates_output(call)
}

/// The reported numbers stay; what is missing is counted, and says so.
pub fn count(mut call: LlmCall, counter: &dyn TokenCounter) -> CountedCall {
    let (input, output) = (estimates_input(&call), estimates_output(&call));
    if !input && !output {
        return CountedCall(call);
    }
    let model = call.response.model.as_ref().or(call.request.model.as_ref());
    let family = Family::of(model.map_or("", String::as_str));
    let text = &call.estimation;
    let chat = matches!(call.operation, Operation::Chat | Operation::GenerateContent);
    if input {
        let extra = if chat { prompt_overhead(&family.overhead, text) } else { 0 };
        call.usage.input_tokens = Some(tokens(&text.input, family, counter).saturating_add(extra));
        call.usage.input_source = UsageSource::Estimated;
    }
    if output {
        let extra = family.overhead.tool_call.saturating_mul(text.output_tool_calls.into());
        call.usage.output_tokens = Some(tokens(&text.output, family, counter).saturating_add(extra));
        call.usage.output_source = UsageSource::Estimated;
    }
    CountedCall(call)
}

/// Operations whose texts are what is billed.
const fn is_text(operation: Operation) -> bool {
    match operation {
        Operation::Chat | Operation::TextCompletion | Operation::GenerateContent | Operation::Embeddings => true,
        Operation::FetchResponse | Operation::Other(_) => false,
    }
}

/// The provider took the request, or may have: no answer at all says nothing, an error status says no.
fn was_served(call: &LlmCall) -> bool {
    call.response.status.is_none_or(|status| status < 400)
}

fn estimates_input(call: &LlmCall) -> bool {
    // What answers later says then how much it took.
    let deferred = call.response.deferred.is_some();
    is_text(call.operation) && was_served(call) && !deferred && call.usage.input_tokens.is_none() && !call.estimation.input.is_empty()
}

/// Only what was seen being generated: an answer that never began has no tokens, not zero.
fn estimates_output(call: &LlmCall) -> bool {
    let generated = !call.estimation.output.is_empty() || call.estimation.output_tool_calls > 0;
    is_text(call.operation)
        && call.operation != Operation::Embeddings
        && was_served(call)
        && call.response.deferred.is_none()
        && call.usage.output_tokens.is_none()
        && generated
}

fn prompt_overhead(overhead: &Overhead, text: &EstimationText) -> u64 {
    let messages = overhead.message.saturating_mul(text.input_messages.into());
    let tools = match u64::from(text.tool_definitions) {
        0 => 0,
        definitions => overhead.tool.saturating_mul(definitions).saturating_add(overhead.tools),
    };
    messages.saturating_add(tools).saturating_add(overhead.prompt)
}

/// Tokens of the whole text: the sample's, in proportion to the bytes.
fn tokens(sample: &TextSample, family: Family, counter: &dyn TokenCounter) -> u64 {
    let sampled = u128::from(counter.count(family.encoding, sample.text())).saturating_mul(family.per_mille.into());
    let (kept, total) = (sample.text().len() as u128, u128::from(sample.total_bytes()));
    let scaled = sampled.saturating_mul(total).checked_div(kept.saturating_mul(1000)).unwrap_or_default();
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Encoding;

    /// One token per four bytes: what is tested here is not the tokenizer.
    struct FourBytes;

    impl TokenCounter for FourBytes {
        fn count(&self, _: Encoding, text: &str) -> u64 {
            (text.len() / 4) as u64
        }
    }

    fn call(status: Option<u16>, input: &str, output: &str) -> LlmCall {
        let mut estimation = EstimationText { input_messages: 2, ..EstimationText::default() };
        estimation.input.push(input);
        estimation.output.push(output);
        let mut call = crate::fixture::call("openai", "gpt-4o");
        call.estimation = estimation;
        call.response.status = status;
        call
    }

    const NONE: [UsageSource; 2] = [UsageSource::Reported; 2];
    const INPUT: [UsageSource; 2] = [UsageSource::Estimated, UsageSource::Reported];
    const OUTPUT: [UsageSource; 2] = [UsageSource::Reported, UsageSource::Estimated];
    const BOTH: [UsageSource; 2] = [UsageSource::Estimated; 2];

    fn counts(call: LlmCall) -> (Option<u64>, Option<u64>, [UsageSource; 2]) {
        let needed = needs_estimate(&call);
        let usage = count(call, &FourBytes).into_call().usage;
        assert_eq!(needed, usage.is_estimated());
        (usage.input_tokens, usage.output_tokens, [usage.input_source, usage.output_source])
    }

    #[test]
    fn reported_numbers_win() {
        let mut reported = call(Some(200), "a prompt", "an answer");
        (reported.usage.input_tokens, reported.usage.output_tokens) = (Some(7), Some(0));
        assert_eq!(counts(reported), (Some(7), Some(0), NONE));
    }

    #[test]
    fn only_what_is_missing_is_counted() {
        let mut begun = call(Some(200), "a prompt", "an answer of 24 bytes.. ");
        begun.usage.input_tokens = Some(7);
        assert_eq!(counts(begun), (Some(7), Some(6), OUTPUT));
        // 40 bytes, two messages of 4 and 3 for the reply.
        let silent = call(Some(200), &"x".repeat(40), &"y".repeat(8));
        assert_eq!(counts(silent), (Some(10 + 2 * 4 + 3), Some(2), BOTH));
    }

    #[test]
    fn a_failed_request_has_no_usage() {
        assert_eq!(counts(call(Some(429), "a prompt", "")), (None, None, NONE));
        assert_eq!(counts(call(Some(500), "a prompt", "partial")), (None, None, NONE));
    }

    #[test]
    fn an_answer_that_never_began_has_no_output() {
        let (_, output, _) = counts(call(None, "a prompt", ""));
        assert_eq!(output, None);
        let (_, output, _) = counts(call(Some(200), "a prompt", ""));
        assert_eq!(output, None);
    }

    #[test]
    fn tools_and_tool_calls_cost_more_than_their_text() {
        let mut tools = call(Some(200), "", "");
        tools.estimation.input.push(&"x".repeat(40));
        tools.estimation.tool_definitions = 2;
        tools.estimation.output_tool_calls = 1;
        assert_eq!(counts(tools), (Some(10 + 8 + 3 + 2 * 10 + 12), Some(8), BOTH));
    }

    #[test]
    fn embeddings_and_completions_have_no_chat_overhead_and_embeddings_no_output() {
        for operation in [Operation::Embeddings, Operation::TextCompletion] {
            let mut plain = call(Some(200), &"x".repeat(40), "");
            plain.operation = operation;
            assert_eq!(counts(plain), (Some(10), None, INPUT));
        }
    }

    #[test]
    fn other_operations_are_not_counted() {
        for operation in [Operation::FetchResponse, Operation::Other("moderation")] {
            let mut other = call(Some(200), "a prompt", "an answer");
            other.operation = operation;
            assert_eq!(counts(other), (None, None, NONE));
        }
    }

    #[test]
    fn a_text_beyond_the_sample_counts_by_its_bytes() {
        let mut long = call(Some(200), "", "");
        long.operation = Operation::TextCompletion;
        long.estimation.input = TextSample::default();
        for _ in 0..10 {
            long.estimation.input.push(&"x".repeat(TextSample::CAP));
        }
        assert_eq!(counts(long).0, Some(10 * TextSample::CAP as u64 / 4));
    }
}
