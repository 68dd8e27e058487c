//! Which response answers which request, and whether that is certain.
//!
//! The n-th response answers the n-th request (RFC 9112 section 9.3.2), so that both are counted. After a loss that may have taken messages
//! with it, a count is no longer known; whether clients pipeline is not known either. Two facts hold all the same: a response that was seen
//! is at least one more than those before it, and a response cannot be older than the request it answers. Where both bounds meet, the count
//! is known again. Everywhere else a pair may be a wrong one, and is told as such: nothing is concluded from what clients usually do.
//!
//! Of requests there is no upper bound: once some of them may be missing, every later pair of the connection is uncertain.

use a11i_common::identity::BootTime;

use crate::call::{Completeness, LossCauses};

#[derive(Debug)]
pub(super) struct Pairing {
    /// Requests that have begun.
    requests: u64,
    /// All of them were seen.
    requests_known: bool,
    /// Number of the latest final response that has begun: at least this.
    responses: u64,
    /// It is exactly this.
    exact: bool,
    /// No response can have begun unseen since then.
    unbroken: bool,
    /// No later than this did it begin.
    begun: BootTime,
    /// The request it was paired with.
    paired: Option<u64>,
    /// Time of the latest bytes of responses, unless a gap has followed them.
    last_bytes: Option<BootTime>,
    /// The next bytes of responses, if they begin one, begin this one.
    expected: Option<u64>,
    /// A gap where a response should begin may have taken an interim one.
    interim: bool,
    /// Of the losses so far.
    causes: LossCauses,
}

/// A response that is to begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Next {
    /// Its number is at least this.
    pub(super) number: u64,
    pub(super) exact: bool,
}

impl Pairing {
    /// `late`: responses began in the middle of one. Then what was asked before is taken for answered when the first request is seen: of a
    /// connection that is only joined nothing was lost.
    pub(super) const fn new(late: bool) -> Self {
        Self {
            requests: 0,
            requests_known: true,
            responses: 0,
            exact: true,
            unbroken: !late,
            begun: BootTime(0),
            paired: None,
            last_bytes: if late { Some(BootTime(0)) } else { None },
            expected: None,
            interim: false,
            causes: LossCauses(0),
        }
    }

    /// Every pair is certain, and the next one will be.
    pub(super) const fn is_certain(&self) -> bool {
        self.requests_known && self.are_responses_certain()
    }

    /// No response has begun unseen.
    pub(super) const fn are_responses_certain(&self) -> bool {
        self.exact && self.unbroken
    }

    pub(super) const fn are_requests_certain(&self) -> bool {
        self.requests_known
    }

    /// What a message says whose pair is uncertain.
    pub(super) const fn mark(&self) -> Completeness {
        Completeness::Gap { lost: None, causes: self.causes }
    }

    /// Every response up to this number has begun.
    pub(super) const fn answered(&self) -> u64 {
        self.responses
    }

    /// A response has begun after this time.
    pub(super) fn is_older_than_response(&self, time: BootTime) -> bool {
        self.responses > 0 && time < self.begun
    }

    /// A request begins. Gives its number where that is certain.
    pub(super) fn request_begins(&mut self, first_byte: BootTime) -> Option<u64> {
        if !self.requests_known {
            return None;
        }
        let older = self.begun < first_byte;
        if self.requests == 0 && self.responses > 0 && older {
            // What was answered before was asked before the observation began.
            self.requests = self.responses;
        }
        // Every request before this one is known, so that a response older than this one answers one of those.
        if self.responses == self.requests && older && !self.exact {
            self.exact = true;
            self.unbroken &= self.paired == Some(self.responses);
        }
        let all_answered = self.exact && self.responses == self.requests;
        self.requests = self.requests.saturating_add(1);
        // All bytes of responses so far are older too: they belong to the responses counted.
        let seen = self.last_bytes.is_some_and(|last| last < first_byte);
        self.expected = (all_answered && seen && !self.unbroken).then_some(self.requests);
        Some(self.requests)
    }

    /// Requests may have begun unseen.
    pub(super) const fn requests_lost(&mut self, causes: LossCauses) {
        self.requests_known = false;
        self.causes = self.causes.with(causes);
    }

    /// The response whose head comes next.
    pub(super) fn next(&self) -> Next {
        match self.expected {
            Some(number) if !self.unbroken => Next { number, exact: true },
            _ => Next { number: self.responses.saturating_add(1), exact: self.are_responses_certain() },
        }
    }

    /// The response of [`Self::next`] has begun, and is paired with this request.
    pub(super) fn response_begins(&mut self, first_byte: BootTime, request: Option<u64>) {
        let Next { number, exact } = self.next();
        (self.responses, self.exact, self.unbroken) = (number, exact, true);
        (self.begun, self.paired, self.expected) = (first_byte, request, None);
    }

    /// The head of a response was lost, or cannot be read, where one must begin. `until`: it began no later.
    pub(super) fn response_head_lost(&mut self, until: BootTime) {
        if self.unbroken && !self.interim {
            self.response_begins(until, None);
        }
        self.responses_lost();
    }

    /// An interim response may come, or has come.
    pub(super) const fn interim_expected(&mut self) {
        self.interim = true;
    }

    /// Where the response under way ends is no longer known.
    pub(super) const fn responses_lost(&mut self) {
        self.unbroken = false;
        self.expected = None;
    }

    /// Bytes of responses came, at the end of what was seen.
    pub(super) const fn response_bytes(&mut self, time: BootTime) {
        self.last_bytes = Some(time);
    }

    /// Bytes of responses are missing behind what was seen.
    pub(super) const fn response_gap(&mut self, causes: LossCauses) {
        self.last_bytes = None;
        self.expected = None;
        self.causes = self.causes.with(causes);
    }

    /// Bytes were passed over without knowing what they are.
    pub(super) const fn passed_over(&mut self) {
        self.expected = None;
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests count small numbers")]
mod tests {
    use super::*;

    /// Requests at 10, 30, …, responses 10 later.
    fn exchanges(pairing: &mut Pairing, from: u64, many: u64) -> Vec<bool> {
        (from..from + many)
            .map(|n| {
                let asked = pairing.request_begins(BootTime(n * 20));
                let next = pairing.next();
                pairing.response_bytes(BootTime(n * 20 + 10));
                pairing.response_begins(BootTime(n * 20 + 10), asked);
                next.exact && asked == Some(next.number)
            })
            .collect()
    }

    #[test]
    fn without_losses_every_pair_is_certain_also_pipelined() {
        let mut pairing = Pairing::new(false);
        assert_eq!(exchanges(&mut pairing, 1, 3), [true; 3]);
        assert_eq!((pairing.request_begins(BootTime(100)), pairing.request_begins(BootTime(101))), (Some(4), Some(5)));
        assert_eq!(pairing.next(), Next { number: 4, exact: true });
        pairing.response_begins(BootTime(102), Some(4));
        assert_eq!(pairing.next(), Next { number: 5, exact: true });
    }

    #[test]
    fn a_lost_end_of_a_response_makes_the_next_pair_uncertain_and_a_later_request_proves_it() {
        let mut pairing = Pairing::new(false);
        exchanges(&mut pairing, 1, 1);
        pairing.response_gap(LossCauses(1));
        pairing.responses_lost();
        assert_eq!(exchanges(&mut pairing, 2, 3), [false, true, true]);
        assert_eq!(pairing.mark(), Completeness::Gap { lost: None, causes: LossCauses(1) });
    }

    #[test]
    fn bytes_behind_a_loss_that_are_older_than_the_next_request_prove_that_nothing_else_was_lost() {
        let mut pairing = Pairing::new(false);
        exchanges(&mut pairing, 1, 1);
        pairing.response_gap(LossCauses(1));
        pairing.responses_lost();
        pairing.response_bytes(BootTime(35));
        assert_eq!(pairing.request_begins(BootTime(40)), Some(2));
        assert_eq!(pairing.next(), Next { number: 2, exact: true });
        // Unless some that nobody knows come in between.
        pairing.passed_over();
        assert_eq!(pairing.next(), Next { number: 2, exact: false });
    }

    #[test]
    fn one_response_lost_from_its_head_is_counted_and_two_in_one_gap_are_never_taken_for_one() {
        let mut pairing = Pairing::new(false);
        exchanges(&mut pairing, 1, 1);
        pairing.request_begins(BootTime(40));
        pairing.response_gap(LossCauses(1));
        pairing.response_head_lost(BootTime(45));
        assert_eq!(exchanges(&mut pairing, 3, 3), [false, true, true]);

        pairing.request_begins(BootTime(120));
        pairing.request_begins(BootTime(140));
        pairing.response_gap(LossCauses(1));
        pairing.response_head_lost(BootTime(145));
        assert_eq!(exchanges(&mut pairing, 8, 20), [false; 20]);
    }

    #[test]
    fn a_gap_that_may_hold_an_interim_response_counts_none() {
        let mut pairing = Pairing::new(false);
        pairing.interim_expected();
        pairing.request_begins(BootTime(20));
        pairing.response_gap(LossCauses(1));
        pairing.response_head_lost(BootTime(25));
        assert_eq!((pairing.answered(), pairing.next()), (0, Next { number: 1, exact: false }));
    }

    #[test]
    fn lost_requests_make_all_later_pairs_uncertain() {
        let mut pairing = Pairing::new(false);
        assert_eq!(pairing.request_begins(BootTime(20)), Some(1));
        pairing.requests_lost(LossCauses(2));
        // Of the one that was seen before, nothing is uncertain.
        assert_eq!(pairing.next(), Next { number: 1, exact: true });
        pairing.response_begins(BootTime(30), Some(1));
        assert_eq!(exchanges(&mut pairing, 2, 20), [false; 20]);
    }

    #[test]
    fn a_connection_that_is_joined_counts_from_its_first_request() {
        let mut pairing = Pairing::new(true);
        pairing.response_bytes(BootTime(5));
        assert_eq!(exchanges(&mut pairing, 1, 2), [true; 2]);

        let mut pairing = Pairing::new(false);
        pairing.response_begins(BootTime(5), None);
        pairing.response_bytes(BootTime(6));
        pairing.responses_lost();
        assert_eq!(exchanges(&mut pairing, 1, 2), [true; 2]);
    }

    #[test]
    fn a_response_that_comes_before_its_request_answers_that_one() {
        let mut pairing = Pairing::new(false);
        exchanges(&mut pairing, 1, 1);
        assert_eq!(pairing.next(), Next { number: 2, exact: true });
        pairing.response_begins(BootTime(50), None);
        pairing.response_bytes(BootTime(50));
        pairing.responses_lost();
        assert_eq!((pairing.request_begins(BootTime(40)), pairing.answered()), (Some(2), 2));
        assert_eq!(exchanges(&mut pairing, 3, 1), [true]);
    }
}
