//! Test results as cargo's test programs and nextest print them.

use crate::test::report::Counts;

/// Adds up every `test result: ok. 3 passed; 0 failed; 1 ignored; ...` line.
pub(super) fn of_libtest(output: &str) -> Counts {
    let results = output.lines().filter_map(|line| line.trim().strip_prefix("test result: "));
    results.fold(Counts::default(), |sum, line| Counts {
        passed: sum.passed.saturating_add(before(line, "passed")),
        failed: sum.failed.saturating_add(before(line, "failed")),
        skipped: sum.skipped.saturating_add(before(line, "ignored")),
    })
}

/// Reads `Summary [ 0.5s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 3 skipped`. What a filter left out is named
/// there as skipped, so it counts only when nothing was filtered.
pub(super) fn of_nextest(output: &str, filtered: bool) -> Counts {
    let Some(line) = output.lines().rev().find(|line| line.trim_start().starts_with("Summary [")) else { return Counts::default() };
    Counts {
        passed: before(line, "passed"),
        failed: before(line, "failed").saturating_add(before(line, "timed")),
        skipped: if filtered { 0 } else { before(line, "skipped") },
    }
}

/// The number that stands before `word`; 0 without one.
fn before(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ';', ',', '.']).filter(|part| !part.is_empty()).collect();
    words
        .windows(2)
        .find_map(|pair| {
            if let [number, next] = pair
                && *next == word
            {
                number.parse().ok()
            } else {
                None
            }
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Counts, of_libtest, of_nextest};

    #[test]
    fn the_results_of_several_test_programs_are_added() {
        let output = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                      test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.01s\n";
        assert_eq!(of_libtest(output), Counts { passed: 7, failed: 2, skipped: 1 });
        assert_eq!(of_libtest("error: could not compile"), Counts::default());
    }

    #[test]
    fn nextest_says_it_in_one_line() {
        let output = "     Summary [   0.512s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 3 skipped\n";
        assert_eq!(of_nextest(output, false), Counts { passed: 10, failed: 2, skipped: 3 });
        assert_eq!(of_nextest(output, true), Counts { passed: 10, failed: 2, skipped: 0 });
    }
}
