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
#[derive(Debug, Default)]
pub struct DeferredAnswers {
    counted: HashSet<u64>,
    order: VecDeque<u64>,
}

impl DeferredAnswers {
    /// Where the call states what a deferred answer consumed: the first that does so is the operation itself, and every later one only
    /// fetches what was stored.
    pub fn settle(&mut self, call: &mut LlmCall) {
        let Some(operation) = call.response.deferred else { return };
        let states_something = !call.usage.is_absent() || call.response.stated_cost.is_some();
        if !states_something {
            return;
        }
        // Without an id nobody can tell whether it was counted.
        let is_new = call.response.id.as_ref().is_some_and(|id| {
            let mut hasher = DefaultHasher::new();
            (call.role, &call.provider, id).hash(&mut hasher);
            self.insert(hasher.finish())
        });
        match (call.operation, is_new) {
            (Operation::FetchResponse, true) => call.operation = operation,
            (Operation::FetchResponse, false) => {
                call.usage = Usage::default();
                call.response.stated_cost = None;
            }
            // It is what was asked for itself, to its end.
            (Operation::Chat | Operation::TextCompletion | Operation::GenerateContent | Operation::Embeddings | Operation::Other(_), _) => {
            }
        }
    }

    fn insert(&mut self, answer: u64) -> bool {
        if !self.counted.insert(answer) {
            return false;
        }
        self.order.push_back(answer);
        if self.order.len() > ANSWERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.counted.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallBuilder, CallFrame, Ending, ProviderName};

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
}
