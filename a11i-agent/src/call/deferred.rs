//! Answers that are fetched later than they were asked for, and perhaps many times: what they consumed counts once.
//!
//! A response that runs in the background, a run of an assistant: the request that starts it is acknowledged at once, without numbers. They
//! stand in whatever fetches it after its end, as often as somebody asks.

use std::{
    collections::{HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{LlmCall, Operation, Usage};

/// Answers remembered: clients poll every second or so for minutes, and hosts with thousands of them at once do not wait that way.
const ANSWERS: usize = 4096;

/// Which deferred answers have been counted. Remembers hashes, the oldest of which go first.
///
/// What one process says of an id must not take from another's calls. An answer is known again by whoever was told of it before: by the same
/// process, or, since others may ask on its behalf or after its end, by the holder of the same credential. Anybody else is told what it
/// consumed, and does not pay for it.
#[derive(Debug, Default)]
pub struct DeferredAnswers {
    /// By who was told.
    counted: HashSet<u64>,
    /// Whoever was told, or asked for it.
    seen: HashSet<u64>,
    order: VecDeque<Remembered>,
}

#[derive(Debug)]
struct Remembered {
    /// As the answer's process knows it, and as the holder of its credential does.
    counted: [Option<u64>; 2],
    seen: Option<u64>,
}

/// Who has been told what an answer consumed, before it is told now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Nobody,
    Others,
    /// Whoever asks now.
    Same,
}

impl DeferredAnswers {
    /// Where the call states what a deferred answer consumed: the first that does so is the operation itself, and every later one only
    /// fetches what was stored.
    pub fn settle(&mut self, call: &mut LlmCall) {
        let Some(operation) = call.response.deferred else { return };
        let id = call.response.id.as_deref();
        let is_fetched = call.operation == Operation::FetchResponse;
        let states_something = !call.usage.is_absent() || call.response.stated_cost.is_some();
        if !states_something {
            if let Some(id) = id.filter(|_| !is_fetched) {
                self.remember([None, None], witness(call, id, "begun"));
            }
            return;
        }
        let was_begun = id.is_some_and(|id| self.seen.contains(&witness(call, id, "begun")));
        // Without an id nobody can tell whether it was counted.
        let told = id.map_or(Told::Same, |id| self.tell(call, id));
        match told {
            // It is what was asked for itself, to its end.
            _ if !is_fetched => {}
            Told::Same => {
                call.usage = Usage::default();
                call.response.stated_cost = None;
            }
            Told::Nobody | Told::Others => {
                call.operation = operation;
                // It was billed when it was told first: to somebody else, or, where nobody was seen to ask for it, before anybody looked.
                call.correlation.is_hop |= told == Told::Others || call.response.is_restated && !was_begun;
            }
        }
    }

    fn tell(&mut self, call: &LlmCall, id: &str) -> Told {
        let credential = call.request.credential_fingerprint.as_deref().filter(|print| !print.is_empty());
        let holders = [Some(witness(call, id, call.owner.process)), credential.map(|print| witness(call, id, print))];
        let anybody = witness(call, id, "told");
        let told = if holders.iter().flatten().any(|holder| self.counted.contains(holder)) {
            Told::Same
        } else if self.seen.contains(&anybody) {
            Told::Others
        } else {
            Told::Nobody
        };
        // Whoever fetches a known answer is known as its holder from now on.
        self.remember(holders, anybody);
        told
    }

    fn remember(&mut self, holders: [Option<u64>; 2], seen: u64) {
        let counted = holders.map(|holder| holder.filter(|holder| self.counted.insert(*holder)));
        let seen = Some(seen).filter(|seen| self.seen.insert(*seen));
        if counted == [None, None] && seen.is_none() {
            return;
        }
        self.order.push_back(Remembered { counted, seen });
        if self.order.len() > ANSWERS
            && let Some(oldest) = self.order.pop_front()
        {
            for holder in oldest.counted.iter().flatten() {
                self.counted.remove(holder);
            }
            if let Some(seen) = oldest.seen {
                self.seen.remove(&seen);
            }
        }
    }
}

/// An answer, as `whoever` knows it.
fn witness(call: &LlmCall, id: &str, whoever: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (call.role, &call.provider, &call.server.address, call.server.port, id, whoever).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use a11i_common::identity::{Pid, ProcessId};

    use super::*;
    use crate::{
        call::{CallBuilder, CallFrame, Ending, ProviderName},
        owner::Owner,
    };

    fn fetched(id: Option<&str>, input: Option<u64>) -> LlmCall {
        let mut call = CallBuilder::new(ProviderName::of("openai"), Operation::FetchResponse, false);
        call.response.deferred = Some(Operation::Chat);
        call.response.id = id.map(str::to_owned);
        call.usage.input_tokens = input;
        call.build(CallFrame::default(), Ending::Seen)
    }

    #[test]
    fn what_a_deferred_answer_consumed_counts_where_it_is_stated_first() {
        let mut answers = DeferredAnswers::default();
        let mut told = Vec::new();
        for input in [None, Some(14), Some(14)] {
            let mut call = fetched(Some("resp_1"), input);
            answers.settle(&mut call);
            told.push((call.operation, call.usage.input_tokens));
        }
        assert_eq!(told, [(Operation::FetchResponse, None), (Operation::Chat, Some(14)), (Operation::FetchResponse, None)]);
    }

    #[test]
    fn an_answer_without_an_id_is_never_counted() {
        let mut call = fetched(None, Some(14));
        DeferredAnswers::default().settle(&mut call);
        assert_eq!((call.operation, call.usage.input_tokens), (Operation::FetchResponse, None));
    }

    #[test]
    fn what_was_followed_to_its_end_is_not_counted_again_when_it_is_fetched() {
        let mut answers = DeferredAnswers::default();
        let mut streamed = fetched(Some("resp_1"), Some(14));
        streamed.operation = Operation::Chat;
        answers.settle(&mut streamed);
        let mut later = fetched(Some("resp_1"), Some(14));
        answers.settle(&mut later);
        assert_eq!((streamed.usage.input_tokens, later.usage.input_tokens), (Some(14), None));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let mut answers = DeferredAnswers::default();
        for n in 0..ANSWERS + 10 {
            answers.settle(&mut fetched(Some(&n.to_string()), Some(1)));
        }
        assert_eq!((answers.counted.len(), answers.order.len()), (ANSWERS, ANSWERS));
    }

    #[test]
    fn what_another_process_says_of_an_id_takes_nothing_from_a_call() {
        let told = |pids: [u32; 2], credentials: [Option<&str>; 2]| {
            let mut answers = DeferredAnswers::default();
            pids.into_iter()
                .zip(credentials)
                .map(|(pid, credential)| {
                    let mut call = fetched(Some("resp_1"), Some(14));
                    call.owner = Arc::new(Owner { process: ProcessId { pid: Pid(pid), ..ProcessId::default() }, ..Owner::default() });
                    call.request.credential_fingerprint = credential.map(str::to_owned);
                    answers.settle(&mut call);
                    call.usage.input_tokens
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(told([1, 2], [None, None]), [Some(14), Some(14)]);
        assert_eq!(told([1, 2], [Some("a"), Some("b")]), [Some(14), Some(14)]);
        // A loop of short programs with one key; one program that signs each request anew.
        assert_eq!(told([1, 2], [Some("a"), Some("a")]), [Some(14), None]);
        assert_eq!(told([1, 1], [Some("a"), Some("b")]), [Some(14), None]);
    }

    #[test]
    fn who_fetches_a_known_answer_is_known_as_its_holder() {
        let mut answers = DeferredAnswers::default();
        // The second has the first one's key, and then another.
        let told = [(1, "a"), (2, "a"), (2, "b")].map(|(pid, key)| {
            let mut call = fetched(Some("resp_1"), Some(14));
            let process = ProcessId { pid: Pid(pid), start_ticks: 1 };
            call.owner = Arc::new(Owner { process, ..Owner::default() });
            call.request.credential_fingerprint = Some(key.to_owned());
            answers.settle(&mut call);
            call.usage.input_tokens
        });
        assert_eq!(told, [Some(14), None, None]);
    }

    #[test]
    fn two_servers_may_give_the_same_id() {
        let mut answers = DeferredAnswers::default();
        let told = ["one.example", "two.example", "one.example"].map(|host| {
            let mut call = fetched(Some("resp_1"), Some(14));
            call.server.address = Some(host.to_owned());
            answers.settle(&mut call);
            call.usage.input_tokens
        });
        assert_eq!(told, [Some(14), Some(14), None]);
    }

    #[test]
    fn what_another_was_told_first_is_told_and_not_billed_again() {
        let mut answers = DeferredAnswers::default();
        let told = [(1, "a"), (2, "b"), (2, "b")].map(|(pid, key)| {
            let mut call = fetched(Some("resp_1"), Some(14));
            call.owner = Arc::new(Owner { process: ProcessId { pid: Pid(pid), start_ticks: 1 }, ..Owner::default() });
            call.request.credential_fingerprint = Some(key.to_owned());
            answers.settle(&mut call);
            (call.usage.input_tokens, call.correlation.is_hop)
        });
        assert_eq!(told, [(Some(14), false), (Some(14), true), (None, false)]);
    }

    #[test]
    fn what_was_stated_when_it_was_asked_for_is_billed_where_it_is_fetched_only_if_it_ran_in_the_background() {
        let told = |answers: &mut DeferredAnswers| {
            let mut call = fetched(Some("v1_x"), Some(14));
            call.response.is_restated = true;
            answers.settle(&mut call);
            (call.operation, call.usage.input_tokens, call.correlation.is_hop)
        };
        // Nobody was seen to ask for it.
        assert_eq!(told(&mut DeferredAnswers::default()), (Operation::Chat, Some(14), true));
        let mut answers = DeferredAnswers::default();
        let mut asked = fetched(Some("v1_x"), None);
        asked.operation = Operation::Chat;
        answers.settle(&mut asked);
        assert_eq!(told(&mut answers), (Operation::Chat, Some(14), false));
        assert_eq!(told(&mut answers), (Operation::FetchResponse, None, false));
    }
}
