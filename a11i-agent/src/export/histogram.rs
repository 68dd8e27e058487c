//! Cumulative histograms with explicit bounds, and the conventions' bounds.

/// Seconds of client operations.
pub(crate) const SECONDS: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Seconds of MCP operations.
pub(crate) const MCP_SECONDS: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Tokens.
pub(crate) const TOKENS: &[f64] =
    &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0, 67_108_864.0];
/// Seconds to a server's first token.
pub(crate) const SERVER_FIRST_TOKEN: &[f64] = &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Seconds of a server per token.
pub(crate) const SERVER_PER_TOKEN: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// Counts of measurements up to each bound, and above the last.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Histogram {
    pub bounds: &'static [f64],
    /// One more than there are bounds.
    pub counts: Vec<u64>,
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len().saturating_add(1)], count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }

    /// A bound belongs to the bucket below it (OTLP: bounds are inclusive upper ones).
    pub(crate) fn record(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.count = self.count.saturating_add(1);
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_below_it() {
        let mut histogram = Histogram::new(TOKENS);
        for value in [0.0, 1.0, 1.5, 4.0, 1e12] {
            histogram.record(value);
        }
        assert_eq!(histogram.counts[..3], [2, 2, 0]);
        assert_eq!(histogram.counts.last(), Some(&1));
        assert_eq!((histogram.count, histogram.min, histogram.max), (5, 0.0, 1e12));
    }
}
