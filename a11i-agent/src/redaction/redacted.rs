//! [`RedactedCall`]: what exporters accept. Only this folder can make one.

use super::ContentPolicy;
use crate::{
    call::{Content, EstimationText, LlmCall},
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

    pub const fn cost(&self) -> Option<&Cost> {
        self.priced.cost.as_ref()
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

/// Everything that somebody wrote. What remains is numbers, ids and the provider's own vocabulary.
fn withhold_content(call: &mut LlmCall) {
    call.content = Content::default();
    call.outcome.error_message = None;
    // Free text of the prompt's author, though a parameter by name.
    call.request.stop_sequences = Vec::new();
}
