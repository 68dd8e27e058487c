//! Which calls become spans. Metrics count every call.
//!
//! Takes a call's trace id and what its caller decided, gives yes or no. The decision is the trace id's, so that all nodes decide alike for one trace.

mod instrumented;

pub use instrumented::{Instrumented, InstrumentedPolicy};

/// `OTEL_TRACES_SAMPLER` and its argument.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sampler {
    /// Share of traces kept, 0 to 1.
    pub ratio: f64,
    /// The program's own decision wins where it sent a trace context.
    pub parent_based: bool,
}

impl Default for Sampler {
    fn default() -> Self {
        Self { ratio: 1.0, parent_based: false }
    }
}

impl Sampler {
    /// `parent_sampled`: the flag of the trace context in the request, if there was one.
    pub fn keeps(&self, trace_id: [u8; 16], parent_sampled: Option<bool>) -> bool {
        match parent_sampled.filter(|_| self.parent_based) {
            Some(sampled) => sampled,
            None => self.keeps_trace(trace_id),
        }
    }

    /// The last seven bytes are random by W3C Trace Context level 2; they are compared with the ratio of their range.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a threshold of 56 bits, ratio checked"
    )]
    fn keeps_trace(&self, trace_id: [u8; 16]) -> bool {
        if self.ratio >= 1.0 {
            return true;
        }
        let random = u128::from_be_bytes(trace_id) as u64 & RANDOM_MASK;
        random < (self.ratio * RANDOM_MASK as f64) as u64
    }

    /// The standard's name.
    pub fn standard_name(&self) -> &'static str {
        match (self.parent_based, self.ratio) {
            (false, 1.0) => "always_on",
            (false, 0.0) => "always_off",
            (false, _) => "traceidratio",
            (true, 1.0) => "parentbased_always_on",
            (true, 0.0) => "parentbased_always_off",
            (true, _) => "parentbased_traceidratio",
        }
    }
}

const RANDOM_MASK: u64 = (1 << 56) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(last: u64) -> [u8; 16] {
        u128::from(last).to_be_bytes()
    }

    #[test]
    fn the_ratio_decides_by_the_trace_id() {
        let half = Sampler { ratio: 0.5, parent_based: false };
        assert!(half.keeps(id(0), None) && !half.keeps(id(RANDOM_MASK), None));
        assert!(Sampler::default().keeps(id(RANDOM_MASK), None));
        assert!(!Sampler { ratio: 0.0, parent_based: false }.keeps(id(0), None));
    }

    #[test]
    fn a_parents_decision_wins_only_where_asked_for() {
        let off = Sampler { ratio: 0.0, parent_based: true };
        assert!(off.keeps(id(5), Some(true)));
        assert!(!Sampler { parent_based: false, ..off }.keeps(id(5), Some(true)));
        assert!(!Sampler { ratio: 1.0, parent_based: true }.keeps(id(5), Some(false)));
    }
}
