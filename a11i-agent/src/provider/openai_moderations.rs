//! OpenAI moderations (<https://platform.openai.com/docs/api-reference/moderations>): nothing is generated and nothing billed.

use super::{Dialect, StreamFrame, lenient::Unreadable, names};
use crate::{
    call::{CallBuilder, Operation, ProviderName},
    http::RequestHead,
};

pub(super) struct OpenAiModerations;

const MODERATION: Operation = Operation::Other("moderation");

impl Dialect for OpenAiModerations {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn usual_operation(&self) -> Operation {
        MODERATION
    }

    /// With the version: forums have moderations too. Mistral's second one moderates a chat.
    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/v1/moderations", MODERATION), ("/v1/chat/moderations", MODERATION), ("/openai/moderations", MODERATION)]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        super::posted(head, self.path_ends())
    }

    fn request(&self, _operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        names::request(body, call)
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        names::response(body, call)
    }

    /// Moderations are not streamed.
    fn chunk(&self, _frame: &StreamFrame<'_>, _call: &mut CallBuilder) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallFrame, Ending};

    #[test]
    fn a_moderation_names_its_models_and_counts_nothing() {
        let mut call = CallBuilder::new(ProviderName::of("openai"), MODERATION, true);
        OpenAiModerations.request(MODERATION, br#"{"model":"omni","input":"x"}"#, &mut call).unwrap();
        OpenAiModerations.response(br#"{"id":"modr-1","model":"omni-2","results":[{"flagged":false}]}"#, &mut call).unwrap();
        let call = call.build(CallFrame::default(), Ending::Seen);
        assert_eq!((call.request.model.as_deref(), call.response.model.as_deref()), (Some("omni"), Some("omni-2")));
        assert!(call.usage.is_absent() && call.response.id.as_deref() == Some("modr-1"));
    }
}
