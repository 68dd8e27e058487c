//! The tokenizers whose vocabularies are in the binary.

/// A published vocabulary.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// GPT-4o and everything of OpenAI's since; the best stand-in for other large vocabularies.
    O200k,
    /// GPT-4, GPT-3.5 and the embedding models.
    Cl100k,
}

/// Counts the tokens of a text. Pure, and slow enough to belong on a worker.
pub trait TokenCounter: Sync {
    fn count(&self, encoding: Encoding, text: &str) -> u64;
}

/// Byte-pair encoding in linear time. A vocabulary's tables are built at its first use and stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BytePairCounter;

impl TokenCounter for BytePairCounter {
    fn count(&self, encoding: Encoding, text: &str) -> u64 {
        let tokenizer = match encoding {
            Encoding::O200k => bpe_openai::o200k_base(),
            Encoding::Cl100k => bpe_openai::cl100k_base(),
        };
        tokenizer.count(text) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_have_their_published_counts() {
        let count = |encoding, text| BytePairCounter.count(encoding, text);
        // From OpenAI's own examples: "tiktoken is great!" is six tokens in both vocabularies.
        assert_eq!(count(Encoding::Cl100k, "tiktoken is great!"), 6);
        assert_eq!(count(Encoding::O200k, "tiktoken is great!"), 6);
        assert_eq!(count(Encoding::Cl100k, "お誕生日おめでとう"), 9);
        assert_eq!(count(Encoding::O200k, "お誕生日おめでとう"), 8);
        assert_eq!(count(Encoding::O200k, ""), 0);
    }
}
