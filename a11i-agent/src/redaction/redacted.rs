//! [`RedactedCall`]: what exporters accept. Only this folder can make one.

use super::ContentPolicy;
use crate::{
    call::{Completeness, Content, EstimationText, LlmCall},
    cost::{Cost, PricedCall},
};

/// A call that holds only what content policy allows: what policy withholds is no longer in it.
#[derive(Clone, Debug)]
pub struct RedactedCall {
    priced: PricedCall,
}

impl RedactedCall {
    pub const fn call(&self) -> &LlmCall {
        &self.priced.call
    }

    /// Something of it may be missing after all.
    pub fn mark(&mut self, missing: Completeness) {
        let completeness = &mut self.priced.call.completeness;
        *completeness = completeness.join(missing);
    }

    pub const fn cost(&self) -> Option<&Cost> {
        self.priced.cost.as_ref()
    }

    /// What this hop costs of a logical call that is billed at another.
    pub const fn hop_cost(&self) -> Option<&Cost> {
        self.priced.hop_cost.as_ref()
    }

    pub const fn context_window(&self) -> Option<u64> {
        self.priced.context_window
    }
}

/// Removes what the policy withholds, and the estimation texts always: they are prompt and answer too, and have served.
pub fn redact(mut priced: PricedCall, policy: ContentPolicy) -> RedactedCall {
    priced.call.estimation = EstimationText::default();
    match policy {
        ContentPolicy::Full => {}
        ContentPolicy::None => withhold_content(&mut priced.call),
    }
    RedactedCall { priced }
}

/// Everything that user, tool or model said. What remains is numbers, ids, request parameters and the provider's own vocabulary.
fn withhold_content(call: &mut LlmCall) {
    call.content = Content::default();
    call.outcome.error_message = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        call::{Message, NanoUsd, Part, TextSample, ToolDefinition},
        cost::CostSource,
        fixture::call,
    };

    const SECRET: &str = "the launch code is 0000";

    /// The secret is everywhere a program could have said it.
    fn talkative() -> PricedCall {
        let mut call = call("openai", "gpt-4o");
        let sample = || {
            let mut sample = TextSample::default();
            sample.push(SECRET);
            sample
        };
        call.estimation.input = sample();
        call.estimation.output = sample();
        let text = || Part::Text { content: SECRET.to_owned() };
        let tool_call = Part::ToolCall { id: None, name: "lookup".to_owned(), arguments: Some(serde_json::json!({ "code": SECRET })) };
        let reasoning = Part::Reasoning { content: SECRET.to_owned() };
        let message = |parts| Message { role: "user".to_owned(), parts, ..Message::default() };
        call.content.system_instructions = vec![text()];
        call.content.input_messages = vec![message(vec![text()])];
        call.content.output_messages = vec![message(vec![text(), tool_call, reasoning])];
        call.content.tool_definitions = vec![ToolDefinition {
            r#type: "function".to_owned(),
            name: "lookup".to_owned(),
            description: Some(SECRET.to_owned()),
            parameters: None,
        }];
        call.outcome.error_message = Some(SECRET.to_owned());
        call.outcome.error_type = Some("invalid_request_error".to_owned());
        call.request.user_agent = Some("client/1".to_owned());
        call.response.id = Some("resp_1".to_owned());
        call.response.finish_reasons = vec!["stop".to_owned()];
        let cost = Some(Cost { total: NanoUsd(5), parts: None, source: CostSource::Provider });
        PricedCall { call, cost, hop_cost: None, context_window: Some(128_000) }
    }

    #[test]
    fn without_content_nothing_of_the_prompt_remains_anywhere() {
        let before = talkative();
        assert!(format!("{before:?}").contains(SECRET));
        let after = redact(before, ContentPolicy::None);
        let debug = format!("{after:?}");
        assert!(!debug.contains(SECRET) && !debug.contains("lookup"), "{debug}");
        assert_eq!(after.call().content, Content::default());
    }

    #[test]
    fn without_content_the_facts_remain() {
        let after = redact(talkative(), ContentPolicy::None);
        let call = after.call();
        assert_eq!(call.outcome.error_type.as_deref(), Some("invalid_request_error"));
        assert_eq!(call.request.user_agent.as_deref(), Some("client/1"));
        assert_eq!(call.response.id.as_deref(), Some("resp_1"));
        assert_eq!(call.response.finish_reasons, ["stop"]);
        assert_eq!(after.cost().map(|cost| cost.total), Some(NanoUsd(5)));
        assert_eq!(after.context_window(), Some(128_000));
    }

    #[test]
    fn full_content_stays_and_the_estimation_texts_go() {
        let before = talkative();
        let content = before.call.content.clone();
        let after = redact(before, ContentPolicy::Full);
        assert_eq!(after.call().content, content);
        assert_eq!(after.call().outcome.error_message.as_deref(), Some(SECRET));
        assert_eq!(after.call().estimation, EstimationText::default());
    }
}
