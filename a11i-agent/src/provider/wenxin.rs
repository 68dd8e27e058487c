//! The first API of Baidu's Qianfan (<https://cloud.baidu.com/doc/WENXINWORKSHOP/s/clntwmv7t>): the model is in the path, an answer is one
//! text.

use super::{
    Dialect, StreamFrame,
    error_body::read_failure,
    lenient::{Count, Flag, Float, Int, Raw, Shape, Text, Unreadable, lenient_object, parse},
    names,
    openai_chat::request::{messages, stop_sequences},
};
use crate::{
    call::{CallBuilder, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct Wenxin;

/// Before what is asked for and the model.
const ROOT: &str = "/rpc/2.0/ai_custom/v1/wenxinworkshop/";

impl Dialect for Wenxin {
    fn name(&self) -> ProviderName {
        ProviderName::of("baidu_qianfan")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let (task, _) = asked(&head.path).filter(|_| head.method == "POST")?;
        match task {
            "chat" => Some(Operation::Chat),
            "completions" => Some(Operation::TextCompletion),
            "embeddings" => Some(Operation::Embeddings),
            "text2image" | "image2text" => Some(Operation::Other(if task == "text2image" { "image_generation" } else { "ocr" })),
            "reranker" => Some(Operation::Other("rerank")),
            _ => None,
        }
    }

    /// Its path is nobody else's.
    fn resembles(&self, call: &CallBuilder) -> bool {
        call.estimation.input_messages > 0 || !call.estimation.input.is_empty()
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = asked(&head.path).map(|(_, model)| names::in_path(model)).filter(|model| !model.is_empty());
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.stream = request.stream.0.unwrap_or(false);
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.top_k = request.top_k.0;
        facts.max_tokens = request.max_output_tokens.0;
        facts.seed = request.seed.0;
        facts.stop_sequences = stop_sequences(request.stop);
        if let Some(system) = request.system.filled() {
            call.estimation.input.push(system);
            let content = call.clip_input(system);
            call.system_instruction(Part::Text { content });
        }
        messages(request.messages, call);
        for text in [request.prompt.filled(), request.query.filled()].into_iter().flatten() {
            call.prompt(text);
        }
        for texts in [request.input, request.documents] {
            texts.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        answer(&parse(body)?, body, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Answer<'_>>(frame.data) else { return };
        answer(&event, frame.data, call);
        call.usage_is_running = event.is_end.0 != Some(true);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
        }
    }
}

/// What for, and of which model.
fn asked(path: &str) -> Option<(&str, &str)> {
    let rest = path.split_once(ROOT)?.1.trim_end_matches('/');
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

lenient_object! {
    struct Request<'a> {
        "messages" => messages: Raw<'a>,
        "system" => system: Text<'a>,
        "prompt" => prompt: Text<'a>,
        "query" => query: Text<'a>,
        "input" => input: Raw<'a>,
        "documents" => documents: Raw<'a>,
        "stream" => stream: Flag,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "max_output_tokens" => max_output_tokens: Int,
        "seed" => seed: Int,
        "stop" => stop: Raw<'a>,
    }
}

lenient_object! {
    /// An answer, or a sentence of a stream.
    struct Answer<'a> {
        "id" => id: Text<'a>,
        "result" => result: Text<'a>,
        "function_call" => function_call: Function<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "is_end" => is_end: Flag,
        "usage" => usage: TokenUsage<'a>,
        "error_code" => error_code: Text<'a>,
        "error_msg" => error_message: Text<'a>,
    }
}

lenient_object! {
    struct Function<'a> {
        "name" => name: Text<'a>,
        "arguments" => arguments: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "prompt_tokens" => prompt_tokens: Count,
        "completion_tokens" => completion_tokens: Count,
        "total_tokens" => total_tokens: Count,
    }
}

/// There is one answer a call.
const ANSWER: u32 = 0;
const TEXT: PartSlot = PartSlot(0);
const FUNCTION: PartSlot = PartSlot(1);

fn answer(said: &Answer<'_>, body: &[u8], call: &mut CallBuilder) {
    said.id.replace(&mut call.response.id);
    if let Some(code) = said.error_code.filled().filter(|code| *code != "0") {
        return call.fail(Some(code), said.error_message.filled());
    }
    if call.response.has_error_status() {
        return read_failure(body, call);
    }
    if matches!(call.operation(), Operation::Chat | Operation::TextCompletion) {
        call.choice(ANSWER);
        call.append(ANSWER, TEXT, PartKind::Text, said.result.as_str().unwrap_or_default());
        let function = &said.function_call;
        if function.is_object() {
            let arguments = function.arguments.as_str().unwrap_or_default();
            call.tool_call(ANSWER, FUNCTION, PartKind::ToolCall, None, function.name.filled(), arguments);
        }
        // Of a whole answer, and of the last sentence.
        if let Some(reason) = said.finish_reason.filled().filter(|_| said.is_end.0 != Some(false)) {
            call.finish(ANSWER, reason);
        }
        call.has_ended |= said.is_end.0 == Some(true);
    }
    usage(&said.usage, call);
}

/// A sentence counts itself, and the total is the sum so far.
fn usage(said: &TokenUsage<'_>, call: &mut CallBuilder) {
    if !said.is_object() {
        return;
    }
    let (input, total) = (said.prompt_tokens.0, said.total_tokens.0);
    let written = total.zip(input).and_then(|(total, input)| total.checked_sub(input)).or(said.completion_tokens.0);
    let writes = matches!(call.operation(), Operation::Chat | Operation::TextCompletion);
    call.usage = Usage { input_tokens: input.or(total), output_tokens: written.filter(|_| writes), ..Usage::default() };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending, LlmCall};

    fn call(operation: Operation, request: &str, answers: &[&str], gap: bool) -> LlmCall {
        let mut call = CallBuilder::new(ProviderName::of("baidu_qianfan"), operation, true);
        Wenxin.request(operation, request.as_bytes(), &mut call).unwrap();
        call.response.status = Some(200);
        if call.request.stream {
            for answer in answers {
                Wenxin.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
            }
            Wenxin.stream_end(gap, &mut call);
        } else {
            Wenxin.response(answers[0].as_bytes(), &mut call).unwrap();
        }
        call.build(CallFrame::default(), Ending::Seen)
    }

    #[test]
    fn the_path_names_what_for_and_the_model() {
        for (path, want) in [
            ("/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions_pro", Some(("chat", "completions_pro"))),
            ("/rpc/2.0/ai_custom/v1/wenxinworkshop/embeddings/bge_large_zh", Some(("embeddings", "bge_large_zh"))),
            ("/rpc/2.0/ai_custom/v1/wenxinworkshop/chat", Some(("chat", ""))),
            ("/rpc/2.0/nlp/v1/ecnet", None),
        ] {
            assert_eq!(asked(path), want, "{path}");
        }
    }

    #[test]
    fn sentences_of_a_stream_count_together() {
        let one = r#"{"id":"as-9","object":"completion","sentence_id":0,"is_end":false,"result":"China","usage":{"prompt_tokens":5,"completion_tokens":67,"total_tokens":72}}"#;
        let two = r#"{"id":"as-9","object":"completion","sentence_id":1,"is_end":true,"result":".","finish_reason":"normal","usage":{"prompt_tokens":5,"completion_tokens":24,"total_tokens":96}}"#;
        let asked = r#"{"messages":[{"role":"user","content":"where?"}],"system":"s","stream":true,"max_output_tokens":9}"#;
        let told = call(Operation::Chat, asked, &[one, two], true);
        assert_eq!((told.usage.input_tokens, told.usage.output_tokens), (Some(5), Some(91)));
        assert_eq!((told.estimation.output.text(), told.response.finish_reasons.as_slice()), ("China.", &["normal".to_owned()][..]));
        assert_eq!((told.request.max_tokens, told.estimation.input_messages), (Some(9), 1));
        assert!(call(Operation::Chat, asked, &[one], true).usage.is_absent());
    }

    #[test]
    fn an_answer_is_one_text_and_a_failure_one_code() {
        let whole =
            r#"{"id":"as-r","object":"completion","result":"China.","usage":{"prompt_tokens":5,"completion_tokens":92,"total_tokens":97}}"#;
        let told = call(Operation::TextCompletion, r#"{"prompt":"where?"}"#, &[whole], false);
        assert_eq!((told.usage.output_tokens, told.estimation.input.text(), told.estimation.output.text()), (Some(92), "where?", "China."));
        let failed = call(Operation::Chat, "{}", &[r#"{"error_code":110,"error_msg":"Access token invalid"}"#], false);
        assert_eq!((failed.outcome.error_type.as_deref(), failed.usage.is_absent()), (Some("110"), true));
        let embedded =
            call(Operation::Embeddings, r#"{"input":["a","b"]}"#, &[r#"{"data":[],"usage":{"prompt_tokens":4,"total_tokens":4}}"#], false);
        assert_eq!((embedded.usage.input_tokens, embedded.usage.output_tokens), (Some(4), None));
    }
}
