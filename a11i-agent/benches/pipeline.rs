//! The pure pipeline against `serde_json` on the JSON of the same stream: `cargo bench --no-default-features --bench pipeline`.
//!
//! Both sides take turns. The ratio is the median of the turns' own ratios, since a busy machine slows both sides of a turn
//! alike; beside it stands the ratio of the quickest turns, which nobody interrupted. `-- pipeline 20` or `-- values 20` runs
//! one side that often and nothing else, to count its instructions under a profiler.

#![expect(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::panic,
    reason = "a bench measures time and prints it"
)]

#[path = "traffic/mod.rs"]
mod traffic;

use std::{hint::black_box, time::Instant};

use a11i_agent::{
    pipeline::{Leaving, Output},
    redaction::ContentPolicy,
};
use traffic::Exchange;

/// Turns of each side. Odd, so that there is a median.
const TURNS: usize = 101;
/// Deltas of the stream: a long answer.
const CHUNKS: usize = 2_000;
/// A prompt with some context.
const PROMPT_BYTES: usize = 2_000;
/// Largest plaintext of one TLS record (RFC 8446 section 5.1).
const TLS_RECORD: usize = 16_384;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let cases = [
        ("one record per event", Exchange::streamed(CHUNKS, PROMPT_BYTES), ContentPolicy::None),
        ("16 KiB records", Exchange::streamed(CHUNKS, PROMPT_BYTES).cut_into(TLS_RECORD), ContentPolicy::None),
        ("one record per event, HTTP/2", Exchange::streamed_over_http2(CHUNKS, PROMPT_BYTES), ContentPolicy::None),
        ("one record per event, content kept", Exchange::streamed(CHUNKS, PROMPT_BYTES), ContentPolicy::Full),
    ];
    if let [side, times, ..] = arguments.as_slice()
        && let Ok(times) = times.parse::<usize>()
    {
        let [(_, exchange, content), ..] = &cases;
        let mut through = Through::new(exchange, *content);
        (0..times).for_each(|_| if side == "values" { parse_values(exchange) } else { through.once() });
        return;
    }
    println!(
        "{:<38}{:>12}{:>15}{:>12}{:>9}{:>16}",
        "SSE chat stream", "JSON bytes", "pipeline MB/s", "Value MB/s", "ratio", "quickest turns"
    );
    for (name, exchange, content) in &cases {
        let mut through = Through::new(exchange, *content);
        let (mut pipeline, mut values) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            pipeline.push(time(|| through.once()));
            values.push(time(|| parse_values(exchange)));
        }
        let rate = |time: f64| exchange.json_bytes() as f64 / time / 1e6;
        let ratios = values.iter().zip(&pipeline).map(|(value, pipeline)| value / pipeline).collect();
        println!(
            "{name:<38}{:>12}{:>15.0}{:>12.0}{:>8.2}x{:>15.2}x",
            exchange.json_bytes(),
            rate(lowest(&pipeline)),
            rate(lowest(&values)),
            median(ratios),
            lowest(&values) / lowest(&pipeline)
        );
    }
    println!("ratio: time of serde_json::from_slice::<Value> / time of the pipeline; the budget is 1.00x or more");
}

struct Through<'e> {
    exchange: &'e Exchange,
    pipeline: a11i_agent::pipeline::Pipeline,
    number: u64,
}

impl<'e> Through<'e> {
    fn new(exchange: &'e Exchange, content: ContentPolicy) -> Self {
        Self { exchange, pipeline: traffic::pipeline(content), number: 0 }
    }

    fn once(&mut self) {
        self.number += 1;
        let mut calls = 0;
        traffic::run(self.exchange, self.number, &mut self.pipeline, &mut |output| {
            if let Output::Leaving(Leaving::Call(call)) = output {
                assert_eq!(call.call.call().usage.output_tokens, Some(400), "the pipeline read another number than was sent");
                calls += 1;
            }
        });
        assert_eq!(calls, 1, "the stream is one call");
    }
}

fn parse_values(exchange: &Exchange) {
    for text in &exchange.json {
        match serde_json::from_slice::<serde_json::Value>(black_box(text.as_bytes())) {
            Ok(value) => drop(black_box(value)),
            Err(error) => panic!("the stream carries no JSON: {error}"),
        }
    }
}

/// Seconds.
fn time(run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    run();
    begun.elapsed().as_secs_f64()
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}

fn lowest(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}
