//! [`RedactedCall`]: what exporters accept. Only this folder can make one.

use crate::{
    call::LlmCall,
    cost::{Cost, PricedCall},
};

/// A call that holds only what content policy allows: what policy withholds is no longer in it.
#[derive(Clone, Debug)]
pub struct RedactedCall {
    priced: PricedCall,
}

impl RedactedCall {
    /// A call as it is, whatever it holds.
    #[cfg(test)]
    pub(crate) const fn for_tests(priced: PricedCall) -> Self {
        Self { priced }
    }

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
