//! Calls → counted calls: the provider's numbers, else a tokenizer's, marked.

use crate::call::LlmCall;

/// A call whose token counts are final: reported, estimated and marked so, or absent for good.
#[derive(Clone, Debug)]
pub struct CountedCall(LlmCall);

impl CountedCall {
    pub const fn call(&self) -> &LlmCall {
        &self.0
    }

    pub fn into_call(self) -> LlmCall {
        self.0
    }
}
