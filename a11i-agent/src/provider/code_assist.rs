//! Gemini Code Assist, which Google's command-line tools and editors ask with an account instead of a key: Gemini's format in an envelope
//! (<https://github.com/google-gemini/gemini-cli>).

use super::{
    Dialect, StreamFrame, gemini,
    lenient::{Raw, Text, Unreadable, lenient_object, parse},
    posted,
};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct CodeAssist;

impl Dialect for CodeAssist {
    fn name(&self) -> ProviderName {
        ProviderName::of("gcp.gemini")
    }

    fn usual_operation(&self) -> Operation {
        Operation::GenerateContent
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[
            ("/v1internal:generateContent", Operation::GenerateContent),
            ("/v1internal:streamGenerateContent", Operation::GenerateContent),
            ("/v1internal:countTokens", gemini::COUNT_TOKENS),
        ]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, self.path_ends())
    }

    fn request_head(&self, head: &RequestHead, call: &mut CallBuilder) {
        gemini::request_head(head, call);
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let envelope: Asked<'_> = parse(body)?;
        if let Some(request) = envelope.request.json() {
            gemini::request(operation, request.as_bytes(), call)?;
        }
        envelope.model.replace(&mut call.request.model);
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        // Failures come without the envelope.
        let envelope: Answered<'_> = parse(body)?;
        gemini::whole(envelope.response.json().map_or(body, str::as_bytes), call)
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(envelope) = parse::<Answered<'_>>(frame.data) else { return };
        gemini::chunk(envelope.response.json().map_or(frame.data, str::as_bytes), call);
    }

    fn stream_end(&self, gap: bool, call: &mut CallBuilder) {
        gemini::stream_end(gap, call);
    }
}

lenient_object! {
    struct Asked<'a> {
        "model" => model: Text<'a>,
        "request" => request: Raw<'a>,
    }
}

lenient_object! {
    struct Answered<'a> {
        "response" => response: Raw<'a>,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending, LlmCall};

    const ASKED: &[u8] = br#"{"model":"gemini-2.5-pro","project":"p","user_prompt_id":"u","request":{"contents":[{"role":"user","parts":[{"text":"hi"}]}],"generationConfig":{"temperature":0.5}}}"#;
    const ANSWER: &str = r#"{"response":{"candidates":[{"content":{"role":"model","parts":[{"text":"yo"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"totalTokenCount":7},"modelVersion":"gemini-2.5-pro"},"traceId":"t"}"#;

    fn call(answer: &str, whole: bool, status: u16) -> LlmCall {
        let mut call = CallBuilder::new(ProviderName::of("gcp.gemini"), Operation::GenerateContent, true);
        CodeAssist.request(Operation::GenerateContent, ASKED, &mut call).unwrap();
        call.response.status = Some(status);
        if whole {
            CodeAssist.response(answer.as_bytes(), &mut call).unwrap();
        } else {
            CodeAssist.chunk(&StreamFrame { event: None, data: answer.as_bytes() }, &mut call);
        }
        call.build(CallFrame::default(), Ending::Seen)
    }

    #[test]
    fn the_envelope_is_opened_whole_and_streamed() {
        for whole in [true, false] {
            let call = call(ANSWER, whole, 200);
            assert_eq!((call.request.model.as_deref(), call.request.temperature), (Some("gemini-2.5-pro"), Some(0.5)));
            assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(5), Some(2)));
            assert_eq!((call.response.finish_reasons.as_slice(), call.estimation.input.text()), (&["STOP".to_owned()][..], "hi"));
        }
    }

    #[test]
    fn a_failure_has_none() {
        let failed = call(r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"no"}}"#, true, 429);
        assert_eq!(failed.outcome.error_type.as_deref(), Some("RESOURCE_EXHAUSTED"));
        assert!(failed.usage.is_absent());
    }
}
