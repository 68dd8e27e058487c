//! Bedrock's requests that are no inference of one model: counting, guardrails, agents, retrieval. They are seen, and no usage is made up:
//! what an agent's models consumed is their calls', not the agent's.

use super::{PROVIDER, failed, failure_of_head, path};
use crate::{
    call::{CallBuilder, Message, Operation, Part, PartKind, PartSlot, ProviderName},
    http::{RequestHead, ResponseHead, base64},
    provider::{
        Dialect, Framing, StreamFrame,
        lenient::{Text, Unreadable, lenient_object, parse},
    },
};

pub(in crate::provider) struct BedrockAside;

const INVOKE_AGENT: Operation = Operation::Other("invoke_agent");
const RETRIEVE_AND_GENERATE: Operation = Operation::Other("retrieve_and_generate");

impl Dialect for BedrockAside {
    fn name(&self) -> ProviderName {
        PROVIDER
    }

    fn usual_operation(&self) -> Operation {
        INVOKE_AGENT
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        if let Some((_, api)) = path::model(head) {
            return (api == "count-tokens").then_some(Operation::Other("count_tokens"));
        }
        if head.method != "POST" || !path::is_host_of(head, PROVIDER.as_str()) {
            return None;
        }
        let segments: Vec<&str> = head.path.trim_matches('/').split('/').take(MOST_SEGMENTS).collect();
        match segments.as_slice() {
            ["guardrail", _, "version", _, "apply"] => Some(Operation::Other("apply_guardrail")),
            ["async-invoke"] => Some(Operation::Other("async_invoke")),
            ["agents", _, "agentAliases", _, "sessions", _, "text"] | ["agents", _, "sessions", _] => Some(INVOKE_AGENT),
            ["flows", _, "aliases", _] => Some(Operation::Other("invoke_flow")),
            ["knowledgebases", _, "retrieve"] => Some(Operation::Other("retrieval")),
            ["retrieveAndGenerate" | "retrieveAndGenerateStream"] => Some(RETRIEVE_AND_GENERATE),
            ["rerank"] => Some(Operation::Other("rerank")),
            ["optimize-prompt"] => Some(Operation::Other("optimize_prompt")),
            _ => None,
        }
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        call.request.model = path::model(head).map(|(id, _)| id);
        let guardrail = head.path.strip_prefix("/guardrail/").and_then(|rest| rest.split('/').next());
        call.request.guardrail_id = guardrail.and_then(path::decoded);
        let session = head.path.split_once("/sessions/").and_then(|(_, rest)| rest.split('/').next());
        call.request.conversation_id = session.filter(|session| !session.is_empty()).and_then(path::decoded);
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name().or_else(|| facts.model.take());
        facts.conversation_id = request.session.name().or_else(|| facts.conversation_id.take());
        let text = request.input_text.as_str().or_else(|| request.input.text.as_str());
        if let Some(text) = text
            && call.keeps_content()
        {
            let parts = vec![Part::Text { content: call.clip_input(text) }];
            call.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
        }
        Ok(())
    }

    fn response_head(&self, head: &ResponseHead, call: &mut CallBuilder) {
        failure_of_head(head, call);
    }

    fn stream_framing(&self) -> Framing {
        Framing::AwsEventStream
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        if failed(body, call)? {
            return Ok(());
        }
        let answer: Answer<'_> = parse(body)?;
        if call.operation() == RETRIEVE_AND_GENERATE {
            call.append(0, PartSlot(0), PartKind::Text, answer.output.text.as_str().unwrap_or_default());
        }
        answer.session.replace(&mut call.request.conversation_id);
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
        match frame.event.unwrap_or_default() {
            "chunk" => {
                call.request.stream = true;
                let text = event.bytes.as_str().and_then(base64::decode).and_then(|bytes| String::from_utf8(bytes).ok());
                call.append(0, PartSlot(0), PartKind::Text, text.as_deref().unwrap_or_default());
            }
            "output" => {
                call.request.stream = true;
                call.append(0, PartSlot(0), PartKind::Text, event.text.as_str().unwrap_or_default());
            }
            _ => event.session.replace(&mut call.request.conversation_id),
        }
    }
}

/// More than any of the paths has.
const MOST_SEGMENTS: usize = 8;

lenient_object! {
    struct Request<'a> {
        "modelId" => model: Text<'a>,
        "inputText" => input_text: Text<'a>,
        "input" => input: Words<'a>,
        "sessionId" => session: Text<'a>,
    }
}

lenient_object! {
    struct Answer<'a> {
        "output" => output: Words<'a>,
        "sessionId" => session: Text<'a>,
    }
}

lenient_object! {
    struct Words<'a> {
        "text" => text: Text<'a>,
    }
}

lenient_object! {
    struct Event<'a> {
        "bytes" => bytes: Text<'a>,
        "text" => text: Text<'a>,
        "sessionId" => session: Text<'a>,
    }
}
