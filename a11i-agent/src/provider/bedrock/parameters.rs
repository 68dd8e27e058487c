//! Sampling parameters under all the names that model makers have for them.

use crate::{
    call::CallBuilder,
    provider::{
        lenient::{Float, Int, Raw, lenient_object},
        openai_chat::request::stop_sequences,
    },
};

lenient_object! {
    /// Of a request itself or of an object within it. No maker uses two names for one thing.
    struct Parameters<'a> {
        "max_tokens" => max_tokens: Int,
        "maxTokens" => max_tokens_camel: Int,
        "max_gen_len" => max_gen_len: Int,
        "max_tokens_to_sample" => max_tokens_to_sample: Int,
        "max_new_tokens" => max_new_tokens: Int,
        "maxTokenCount" => max_token_count: Int,
        "maxOutputTokens" => max_output_tokens: Int,
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "topP" => top_p_camel: Float,
        "p" => p: Float,
        "top_k" => top_k: Int,
        "topK" => top_k_camel: Int,
        "k" => k: Int,
        "stop" => stop: Raw<'a>,
        "stop_sequences" => stop_sequences: Raw<'a>,
        "stopSequences" => stop_sequences_camel: Raw<'a>,
        "num_generations" => num_generations: Int,
        "numResults" => num_results: Int,
        "numberOfImages" => number_of_images: Int,
        "num_return_sequences" => num_return_sequences: Int,
        "seed" => seed: Int,
        "frequency_penalty" => frequency_penalty: Float,
        "presence_penalty" => presence_penalty: Float,
    }
}

impl Parameters<'_> {
    /// Overwrites what is said here.
    pub(in crate::provider) fn tell(&self, call: &mut CallBuilder) {
        let int = |names: &[Int]| names.iter().find_map(|name| name.0);
        let float = |names: &[Float]| names.iter().find_map(|name| name.0);
        let facts = &mut call.request;
        let max_tokens = [
            self.max_tokens,
            self.max_tokens_camel,
            self.max_gen_len,
            self.max_tokens_to_sample,
            self.max_new_tokens,
            self.max_token_count,
            self.max_output_tokens,
        ];
        let choices = [self.num_generations, self.num_results, self.number_of_images, self.num_return_sequences];
        facts.max_tokens = int(&max_tokens).or(facts.max_tokens);
        facts.temperature = self.temperature.0.or(facts.temperature);
        facts.top_p = float(&[self.top_p, self.top_p_camel, self.p]).or(facts.top_p);
        facts.top_k = int(&[self.top_k, self.top_k_camel, self.k]).or(facts.top_k);
        facts.choice_count = int(&choices).filter(|n| *n != 1).or(facts.choice_count);
        facts.seed = self.seed.0.or(facts.seed);
        facts.frequency_penalty = self.frequency_penalty.0.or(facts.frequency_penalty);
        facts.presence_penalty = self.presence_penalty.0.or(facts.presence_penalty);
        let stops = [self.stop, self.stop_sequences, self.stop_sequences_camel].into_iter().find(|stop| stop.0.is_some());
        if let Some(stops) = stops {
            facts.stop_sequences = stop_sequences(stops);
        }
    }
}
