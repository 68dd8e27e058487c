//! Calls → counted calls: the provider's numbers, else a tokenizer's, marked.
//!
//! Takes an [`LlmCall`], gives a [`CountedCall`]. Refuses to count what was never generated: a failed request has no output.
//! Counting is work for a worker: [`needs_estimate`] tells beforehand, [`count`] without need only moves the call.

#![warn(clippy::arithmetic_side_effects)]

mod estimated;
mod family;
mod tokenizer;

pub use estimated::{count, needs_estimate};
pub use tokenizer::{BytePairCounter, Encoding, TokenCounter};

use crate::call::LlmCall;

/// A call whose token counts are final: reported, estimated and marked so, or absent for good.
#[derive(Clone, Debug)]
pub struct CountedCall(LlmCall);

impl CountedCall {
    /// The call as it is, without any estimate: where none is needed, or where the workers have no room (counted by the caller).
    pub const fn as_reported(call: LlmCall) -> Self {
        Self(call)
    }

    pub const fn call(&self) -> &LlmCall {
        &self.0
    }

    pub fn into_call(self) -> LlmCall {
        self.0
    }
}
