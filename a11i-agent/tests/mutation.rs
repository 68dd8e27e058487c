//! Records dropped, duplicated, delayed and cut on their way to the pipeline: what comes out is right, or says that it is not whole.
//!
//! Needs no root and no kernel. Everything follows from a seed, which is printed: `A11I_MUTATION_SEED` repeats a round, `A11I_MUTATION_ROUNDS`
//! makes more of them. The recorded corpus is used where it is found.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what went wrong by failing, and prints its seed and why it skips"
)]

#[path = "mutation/harm.rs"]
mod harm;
#[path = "mutation/outcome.rs"]
mod outcome;
#[path = "mutation/traffic.rs"]
mod traffic;

use a11i_agent::replay::Seed;
use harm::Harm;
use outcome::{Outcome, Verdicts};
use traffic::{Exchange, Traffic};

/// Half a minute in a debug build.
const ROUNDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// What is wrong with the calls of one round, one line each.
fn round(number: u64, exchanges: &[Exchange], totals: &mut Verdicts) -> Vec<String> {
    let mut seed = Seed::new(number);
    // One session alone shows best whether a missing call was counted.
    let sessions = if seed.below(2) == 0 { 1 } else { 2 + seed.size(2) };
    let traffic = Traffic::of(exchanges, sessions, &mut seed);
    let truth = Outcome::of(&traffic.records, &traffic, &mut Seed::new(number));
    let mut wrong = truth.differences_from_undisturbed(&traffic);
    let harm = Harm::pick(&mut seed);
    let (records, done) = harm.apply(&traffic, &mut seed);
    let outcome = Outcome::of(&records, &traffic, &mut Seed::new(number));
    wrong.extend(outcome.judge(&truth, &traffic, &records, totals));
    if !wrong.is_empty() {
        wrong.push(format!("  after {harm:?}: {}", done.join("; ")));
    }
    wrong
}

#[test]
fn no_harm_to_the_records_makes_a_number_wrong_that_is_not_marked() {
    let mut exchanges = traffic::own();
    exchanges.extend(traffic::recorded());
    let (first, rounds) = match number("A11I_MUTATION_SEED") {
        Some(seed) => (seed, number("A11I_MUTATION_ROUNDS").unwrap_or(1)),
        None => (0, number("A11I_MUTATION_ROUNDS").unwrap_or(ROUNDS)),
    };
    println!("seeds {first} to {}, {} exchanges", first + rounds - 1, exchanges.len());
    let mut totals = Verdicts::default();
    let mut failed = Vec::new();
    for number in first..first + rounds {
        let wrong = round(number, &exchanges, &mut totals);
        if !wrong.is_empty() {
            failed.push(format!("A11I_MUTATION_SEED={number}:\n{}", wrong.join("\n")));
        }
    }
    println!("{totals:?}");
    assert!(failed.is_empty(), "{} of {rounds} rounds:\n{}", failed.len(), failed.iter().take(8).cloned().collect::<Vec<_>>().join("\n"));
    // A test that harms nothing would find nothing.
    assert!(rounds < 1_000 || (totals.marked > rounds && totals.whole > rounds && totals.missing > 0), "{totals:?}");
}
