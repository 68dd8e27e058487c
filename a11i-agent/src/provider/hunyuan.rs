//! Tencent Cloud's own API for Hunyuan (<https://cloud.tencent.com/document/api/1729/105701>): OpenAI's format in capitals, the action in a
//! field, whole answers in an envelope.

use super::{
    Dialect, StreamFrame,
    hosts::is_for,
    lenient::{Count, Few, Flag, Float, Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
    openai_chat::request::stop_sequences,
};
use crate::{
    call::{CallBuilder, Message, Operation, Part, PartKind, PartSlot, ProviderName, Usage},
    http::RequestHead,
};

pub(super) struct Hunyuan;

const ACTIONS: [(&str, Operation); 3] =
    [("ChatCompletions", Operation::Chat), ("GetEmbedding", Operation::Embeddings), ("GetTokenCount", Operation::Other("count_tokens"))];

impl Dialect for Hunyuan {
    fn name(&self) -> ProviderName {
        ProviderName::of("tencent")
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        let action = head.headers.text("x-tc-action").filter(|_| head.method == "POST")?;
        // Other services of the cloud have actions of these names too.
        ACTIONS.iter().find(|(name, _)| *name == action).map(|(_, operation)| *operation).filter(|_| is_for(head, "tencent"))
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name();
        facts.stream = request.stream.0.unwrap_or(false);
        facts.temperature = request.temperature.0;
        facts.top_p = request.top_p.0;
        facts.seed = request.seed.0;
        facts.stop_sequences = stop_sequences(request.stop);
        request.messages.for_each(|message: PastMessage<'_>| {
            call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
            past_message(&message, call);
        });
        request.tools.for_each(|tool: Tool<'_>| tool_definition(&tool.function, call));
        for texts in [request.input, request.inputs, request.prompt] {
            if let Some(text) = texts.text() {
                call.estimation.input.push(&text);
            }
            texts.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let envelope: Envelope<'_> = parse(body)?;
        answer(&envelope.response, call);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Answer<'_>>(frame.data) else { return };
        answer(&event, call);
        call.usage_is_running = !call.is_finished();
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        if gap && call.usage_is_running {
            call.usage = Usage::default();
        }
    }
}

lenient_object! {
    struct Request<'a> {
        "Model" => model: Text<'a>,
        "Messages" => messages: Raw<'a>,
        "Stream" => stream: Flag,
        "Temperature" => temperature: Float,
        "TopP" => top_p: Float,
        "Seed" => seed: Int,
        "Stop" => stop: Raw<'a>,
        "Tools" => tools: Raw<'a>,
        "Input" => input: Raw<'a>,
        "InputList" => inputs: Raw<'a>,
        "Prompt" => prompt: Raw<'a>,
    }
}

lenient_object! {
    struct PastMessage<'a> {
        "Role" => role: Text<'a>,
        "Content" => content: Text<'a>,
        "Contents" => contents: Raw<'a>,
        "ToolCallId" => tool_call_id: Text<'a>,
    }
}

lenient_object! {
    struct Content<'a> {
        "Text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Tool<'a> {
        "Function" => function: ToolSpec<'a>,
    }
}

lenient_object! {
    struct ToolSpec<'a> {
        "Name" => name: Text<'a>,
        "Description" => description: Text<'a>,
        "Parameters" => parameters: Raw<'a>,
    }
}

lenient_object! {
    struct Envelope<'a> {
        "Response" => response: Answer<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "Id" => id: Text<'a>,
        "Choices" => choices: Few<Choice<'a>>,
        "Usage" => usage: TokenUsage<'a>,
        "Error" => error: Failure<'a>,
        "ErrorMsg" => error_message: Failure<'a>,
    }
}

lenient_object! {
    struct Choice<'a> {
        "Message" => message: Said<'a>,
        "Delta" => delta: Said<'a>,
        "FinishReason" => finish_reason: Text<'a>,
    }
}

lenient_object! {
    struct Said<'a> {
        "Role" => role: Text<'a>,
        "Content" => content: Text<'a>,
        "ReasoningContent" => reasoning: Text<'a>,
        "ToolCalls" => tool_calls: Few<ToolCall<'a>>,
    }
}

lenient_object! {
    struct ToolCall<'a> {
        "Index" => index: Count,
        "Id" => id: Text<'a>,
        "Function" => function: Function<'a>,
    }
}

lenient_object! {
    struct Function<'a> {
        "Name" => name: Text<'a>,
        "Arguments" => arguments: Text<'a>,
    }
}

lenient_object! {
    struct TokenUsage<'a> {
        "PromptTokens" => prompt: Count,
        "CompletionTokens" => completion: Count,
        "TotalTokens" => total: Count,
    }
}

lenient_object! {
    struct Failure<'a> {
        "Code" => code: Text<'a>,
        "Message" | "Msg" => message: Text<'a>,
    }
}

const REASONING: PartSlot = PartSlot(0);
const TEXT: PartSlot = PartSlot(1);
const FIRST_TOOL_CALL: u64 = 16;

fn answer(said: &Answer<'_>, call: &mut CallBuilder) {
    said.id.replace(&mut call.response.id);
    for (index, choice) in (0u32..).zip(&said.choices.0) {
        call.choice(index);
        message(index, if choice.delta.is_object() { &choice.delta } else { &choice.message }, call);
        if let Some(reason) = choice.finish_reason.filled() {
            call.finish(index, reason);
        }
    }
    // A count of tokens is no consumption.
    if said.usage.is_object() && call.operation() != Operation::Other("count_tokens") {
        let output = said.usage.completion.0.filter(|_| call.operation() == Operation::Chat);
        let total = said.usage.total.0.filter(|_| call.operation() == Operation::Embeddings);
        call.usage = Usage { input_tokens: said.usage.prompt.0.or(total), output_tokens: output, ..Usage::default() };
    }
    for failure in [&said.error, &said.error_message].into_iter().filter(|failure| failure.is_object()) {
        call.fail(failure.code.filled().or(Some("_OTHER")), failure.message.filled());
    }
}

fn message(index: u32, said: &Said<'_>, call: &mut CallBuilder) {
    if let Some(role) = said.role.filled() {
        call.role(index, role);
    }
    call.append(index, REASONING, PartKind::Reasoning, said.reasoning.as_str().unwrap_or_default());
    call.append(index, TEXT, PartKind::Text, said.content.as_str().unwrap_or_default());
    for (position, tool) in (0u64..).zip(&said.tool_calls.0) {
        let slot = PartSlot(FIRST_TOOL_CALL.saturating_add(tool.index.0.unwrap_or(position)));
        let arguments = tool.function.arguments.as_str().unwrap_or_default();
        call.tool_call(index, slot, PartKind::ToolCall, tool.id.filled(), tool.function.name.filled(), arguments);
    }
}

fn past_message(message: &PastMessage<'_>, call: &mut CallBuilder) {
    let mut parts = Vec::new();
    let is_result = message.tool_call_id.filled().is_some();
    let mut say = |text: &str, call: &mut CallBuilder| {
        call.estimation.input.push(text);
        if call.keeps_content() && !text.is_empty() {
            let content = call.clip_input(text);
            parts.push(if is_result {
                Part::ToolCallResponse { id: message.tool_call_id.name(), response: content.into() }
            } else {
                Part::Text { content }
            });
        }
    };
    say(message.content.as_str().unwrap_or_default(), call);
    message.contents.for_each(|part: Content<'_>| say(part.text.as_str().unwrap_or_default(), call));
    if call.keeps_content() {
        let role = clip(message.role.filled().unwrap_or("user"), 64).to_owned();
        call.input_message(Message { role, parts, ..Message::default() });
    }
}

fn tool_definition(tool: &ToolSpec<'_>, call: &mut CallBuilder) {
    // A schema comes as a text with JSON in it.
    let schema = tool.parameters.text();
    let schema = schema.as_deref().or_else(|| tool.parameters.json()).unwrap_or_default();
    call.offer_tool("function", &tool.name.name().unwrap_or_default(), tool.description.as_str().unwrap_or_default(), schema);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending, LlmCall};

    fn call(operation: Operation, request: &str, answers: &[&str], whole: bool, gap: bool) -> LlmCall {
        let mut call = CallBuilder::new(ProviderName::of("tencent"), operation, true);
        Hunyuan.request(operation, request.as_bytes(), &mut call).unwrap();
        call.response.status = Some(200);
        for answer in answers {
            if whole {
                Hunyuan.response(answer.as_bytes(), &mut call).unwrap();
            } else {
                Hunyuan.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
            }
        }
        if !whole {
            Hunyuan.stream_end(gap, &mut call);
        }
        call.build(CallFrame::default(), Ending::Seen)
    }

    const ASKED: &str = r#"{"Model":"hunyuan-pro","Messages":[{"Role":"system","Content":"be brief"},{"Role":"user","Contents":[{"Type":"text","Text":"hi"}]}],"Stream":true,"TopP":0.5,"Tools":[{"Type":"function","Function":{"Name":"w","Parameters":"{\"type\":\"object\"}"}}]}"#;

    #[test]
    fn a_chat_is_read_whole_and_streamed() {
        let whole = r#"{"Response":{"RequestId":"x","Created":1,"Usage":{"PromptTokens":12,"CompletionTokens":5,"TotalTokens":17},"Note":"n","Id":"id","Choices":[{"FinishReason":"stop","Message":{"Role":"assistant","Content":"yo"}}]}}"#;
        let events = [
            r#"{"Id":"id","Choices":[{"Delta":{"Role":"assistant","Content":"y"},"FinishReason":""}],"Usage":{"PromptTokens":12,"CompletionTokens":1,"TotalTokens":13}}"#,
            r#"{"Id":"id","Choices":[{"Delta":{"Role":"assistant","Content":"o"},"FinishReason":""}],"Usage":{"PromptTokens":12,"CompletionTokens":4,"TotalTokens":16}}"#,
            r#"{"Id":"id","Choices":[{"Delta":{"Role":"assistant","Content":""},"FinishReason":"stop"}],"Usage":{"PromptTokens":12,"CompletionTokens":5,"TotalTokens":17}}"#,
        ];
        for told in [call(Operation::Chat, ASKED, &[whole], true, false), call(Operation::Chat, ASKED, &events, false, true)] {
            assert_eq!((told.usage.input_tokens, told.usage.output_tokens), (Some(12), Some(5)));
            assert_eq!((told.response.id.as_deref(), told.response.finish_reasons.as_slice()), (Some("id"), &["stop".to_owned()][..]));
            assert_eq!((told.request.model.as_deref(), told.request.top_p, told.request.stream), (Some("hunyuan-pro"), Some(0.5), true));
            assert_eq!((told.estimation.input_messages, told.estimation.output.text()), (2, "yo"));
            assert_eq!(told.content.tool_definitions[0].parameters, Some(serde_json::json!({"type": "object"})));
        }
        assert!(call(Operation::Chat, ASKED, &events[..2], false, true).usage.is_absent());
    }

    #[test]
    fn a_failure_has_a_status_of_success() {
        let whole = r#"{"Response":{"Error":{"Code":"AuthFailure.SignatureFailure","Message":"no"},"RequestId":"x"}}"#;
        assert_eq!(call(Operation::Chat, ASKED, &[whole], true, false).outcome.error_type.as_deref(), Some("AuthFailure.SignatureFailure"));
        let event = r#"{"ErrorMsg":{"Msg":"busy","Code":4001},"Id":"id"}"#;
        let told = call(Operation::Chat, ASKED, &[event], false, false);
        assert_eq!((told.outcome.error_type.as_deref(), told.outcome.error_message.as_deref()), (Some("4001"), Some("busy")));
    }

    #[test]
    fn an_embedding_reads_and_a_count_consumes_nothing() {
        let embedded = r#"{"Response":{"Data":[],"Usage":{"PromptTokens":4,"TotalTokens":4}}}"#;
        let told = call(Operation::Embeddings, r#"{"InputList":["a","b"]}"#, &[embedded], true, false);
        assert_eq!((told.usage.input_tokens, told.usage.output_tokens, told.estimation.input.text()), (Some(4), None, "ab"));
        let counted = call(Operation::Other("count_tokens"), r#"{"Prompt":"a"}"#, &[embedded], true, false);
        assert!(counted.usage.is_absent());
    }
}
