//! The finders on programs in many builds: `cargo xtask fixtures` calls it.
//!
//! `fixtures [WORD...]` makes every row of the matrix whose name contains one of the words (all, when there is none), has the agent look at it
//! and prints a table. Ends with 1 when anything was missed or wrong; what could not be built is said, and is no failure, nor is what a
//! development release has and the finder does not know yet.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{process::ExitCode, time::Instant};

use a11i_tests::{
    agent,
    fixtures::{Judged, Planned, judge},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let agent = match agent::binary() {
        Ok(agent) => agent,
        Err(unmet) => {
            eprintln!("fixtures: {}; {}", unmet.what, unmet.remedy);
            return ExitCode::FAILURE;
        }
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (mut well, mut failed, mut skipped) = (0_usize, 0_usize, 0_usize);
    println!("| program | functions | returns | missed | wrong | built, s | looked at, s | read as |\n|---|--:|--:|--:|--:|--:|--:|---|");
    for planned in Planned::all() {
        let name = planned.to_string();
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let made = planned.made().await;
        let built = begun.elapsed();
        let judged = match made {
            Ok(fixture) => judge(&agent, &fixture).await,
            Err(unmet) => Err(unmet),
        };
        match judged {
            Ok(judged) => {
                println!("| {name} | {} | {:.0} | {} |", counts(&judged), built.as_secs_f64(), read(&judged));
                for line in judged.missing.iter().map(|what| ("missed", what)).chain(judged.wrong.iter().map(|what| ("wrong", what))) {
                    eprintln!("{name}: {}: {}", line.0, line.1);
                }
                let is_failure = !judged.wrong.is_empty() || (planned.is_released() && !judged.is_whole());
                *(if is_failure { &mut failed } else { &mut well }) += 1;
            }
            Err(unmet) => {
                eprintln!("{name}: not built: {}; {}", unmet.what, unmet.remedy);
                skipped += 1;
            }
        }
    }
    println!("\n{well} well, {failed} not, {skipped} not built");
    if failed == 0 && well > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn counts(judged: &Judged) -> String {
    format!("{} | {} | {} | {}", judged.functions, judged.returns, judged.missing.len(), judged.wrong.len())
}

fn read(judged: &Judged) -> String {
    format!("{:.2} | {}", judged.took.as_secs_f64(), judged.version.as_deref().unwrap_or("-"))
}
