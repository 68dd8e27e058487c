//! What is answered: by the server that answers, whatever was taken for it.

use crate::{
    call::{CallBuilder, PartKind, PartSlot, Usage},
    provider::{
        error_body::{read_error, read_failure},
        lenient::{Count, Few, Raw, Shape, Text, Unreadable, lenient_object, parse},
    },
};

lenient_object! {
    /// An answer, or an event of a stream: of text-generation-inference with a token, of SGLang with all of the text so far.
    struct Answer<'a> {
        "generated_text" => generated_text: Text<'a>,
        "details" => details: Details<'a>,
        "token" => token: Token<'a>,
        "text" => text: Raw<'a>,
        "meta_info" => meta_info: MetaInfo<'a>,
        "index" => index: Count,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct Details<'a> {
        "finish_reason" => finish_reason: Text<'a>,
        "generated_tokens" => generated_tokens: Count,
        "input_length" => input_length: Count,
        "prefill" => prefill: Raw<'a>,
    }
}

lenient_object! {
    struct Token<'a> {
        "text" => text: Text<'a>,
        "special" => special: Raw<'a>,
    }
}

lenient_object! {
    struct MetaInfo<'a> {
        "id" => id: Text<'a>,
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
        "cached_tokens" => cached_tokens: Count,
        "finish_reason" => finish_reason: Raw<'a>,
    }
}

lenient_object! {
    struct FinishReason<'a> {
        "type" => kind: Text<'a>,
        "message" => message: Text<'a>,
    }
}

const TEXT: PartSlot = PartSlot(0);

pub(super) fn whole(body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    // One object, or a list with one for each prompt and choice.
    if !body.trim_ascii_start().starts_with(b"[") {
        one(0, &parse(body)?, call);
        return Ok(());
    }
    let answers: Raw<'_> = parse(body)?;
    let mut counts = Counts::default();
    answers.for_each(|answer: Answer<'_>| {
        one(counts.answers, &answer, call);
        counts.add(&answer);
    });
    counts.tell(call);
    Ok(())
}

pub(super) fn event(data: &[u8], call: &mut CallBuilder) {
    // `[DONE]` says nothing of the call.
    let Ok(answer) = parse::<Answer<'_>>(data) else { return };
    if answer.error.0.is_some() {
        return read_failure(data, call);
    }
    if answer.meta_info.is_object() {
        // All of it so far: it replaces what was before.
        call.restart_output();
        return one(answer.index.0.and_then(|index| u32::try_from(index).ok()).unwrap_or(0), &answer, call);
    }
    call.choice(0);
    if answer.token.is_object() {
        if answer.token.special.json() != Some("true") {
            call.append(0, TEXT, PartKind::Text, answer.token.text.as_str().unwrap_or_default());
        }
        details(0, &answer.details, call);
    } else {
        one(0, &answer, call);
    }
}

fn one(index: u32, answer: &Answer<'_>, call: &mut CallBuilder) {
    call.choice(index);
    if answer.error.0.is_some() {
        read_error(answer.error, call);
    }
    let text = answer.text.text();
    let generated = answer.generated_text.as_str().or(text.as_deref());
    call.append(index, TEXT, PartKind::Text, generated.unwrap_or_default());
    // The first vLLM's: a list, one for each choice.
    for (index, text) in (0u32..).zip(&answer.text.read::<Few<Text<'_>>>().unwrap_or_default().0) {
        call.append(index, TEXT, PartKind::Text, text.as_str().unwrap_or_default());
    }
    details(index, &answer.details, call);
    meta_info(index, &answer.meta_info, call);
}

fn details(index: u32, details: &Details<'_>, call: &mut CallBuilder) {
    if let Some(reason) = details.finish_reason.filled() {
        call.finish(index, reason);
    }
    if details.generated_tokens.0.is_some() {
        call.usage.output_tokens = details.generated_tokens.0;
    }
    // Streams of later versions say the prompt's length; whole answers list its tokens where that was asked for.
    let mut listed = 0u64;
    details.prefill.for_each(|_: Raw<'_>| listed = listed.saturating_add(1));
    if let Some(input) = details.input_length.0.or((listed > 0).then_some(listed)) {
        call.usage.input_tokens = Some(input);
    }
}

fn meta_info(index: u32, said: &MetaInfo<'_>, call: &mut CallBuilder) {
    if !said.is_object() {
        return;
    }
    said.id.replace(&mut call.response.id);
    call.usage = Usage {
        input_tokens: said.prompt_tokens.0,
        output_tokens: said.completion_tokens.0,
        cache_read_input_tokens: said.cached_tokens.0,
        ..Usage::default()
    };
    let object = said.finish_reason.read::<FinishReason<'_>>().filter(Shape::is_object);
    let text = said.finish_reason.text();
    let reason = object.as_ref().and_then(|reason| reason.kind.filled()).or(text.as_deref());
    call.usage_is_running = reason.is_none();
    if let Some(reason) = reason {
        call.finish(index, reason);
        if reason == "abort" {
            call.fail(Some("abort"), object.as_ref().and_then(|reason| reason.message.filled()));
        }
    }
}

/// Of several answers: their counts together, or none where one is missing.
#[derive(Default)]
struct Counts {
    answers: u32,
    input: Sum,
    output: Sum,
    cached: Sum,
}

struct Sum(Option<u64>);

impl Default for Sum {
    fn default() -> Self {
        Self(Some(0))
    }
}

impl Sum {
    fn add(&mut self, count: Option<u64>) {
        self.0 = self.0.zip(count).and_then(|(sum, count)| sum.checked_add(count));
    }
}

impl Counts {
    fn add(&mut self, answer: &Answer<'_>) {
        self.answers = self.answers.saturating_add(1);
        self.input.add(answer.meta_info.prompt_tokens.0.or(answer.details.input_length.0));
        self.output.add(answer.meta_info.completion_tokens.0.or(answer.details.generated_tokens.0));
        self.cached.add(answer.meta_info.cached_tokens.0);
    }

    /// Over what the last answer alone said. Of several choices each repeats the prompt's count.
    fn tell(&self, call: &mut CallBuilder) {
        if self.answers <= 1 {
            return;
        }
        let choices = call.request.choice_count.and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
        let each = |sum: Option<u64>| sum.filter(|sum| sum.checked_rem(choices) == Some(0)).and_then(|sum| sum.checked_div(choices));
        call.usage = Usage {
            input_tokens: each(self.input.0),
            output_tokens: self.output.0,
            cache_read_input_tokens: each(self.cached.0),
            ..Usage::default()
        };
    }
}
