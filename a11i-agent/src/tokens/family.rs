//! Which tokenizer a model's text goes through, by its name, and what its chat format adds.

use super::Encoding;

/// How to count one family's texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Family {
    pub(super) encoding: Encoding,
    /// Tokens of this family per 1000 tokens of the encoding.
    pub(super) per_mille: u64,
    pub(super) overhead: Overhead,
}

/// Tokens of a chat format beyond its texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Overhead {
    /// Per message of the prompt: delimiters and the role.
    pub(super) message: u64,
    /// Once per prompt.
    pub(super) prompt: u64,
    /// Per tool definition, beyond its text.
    pub(super) tool: u64,
    /// Once, if there is any tool.
    pub(super) tools: u64,
    /// Per tool call of the answer, beyond name and arguments.
    pub(super) tool_call: u64,
}

/// The vocabulary itself: no ratio.
const EXACT: u64 = 1000;
// Ratios measured on recorded answers (text only, at least 20 tokens, reported output against o200k's count), November 2026.
/// Claude 3 to 4.6, 47 answers of nine models: 1.12 over all tokens, 1.16 in the median answer. Unpublished tokenizer.
const CLAUDE: u64 = 1150;
/// Claude Opus 4.7 and later, which brought a new tokenizer: 1.46 in 3 answers.
const CLAUDE_NEW: u64 = 1450;
/// Gemini 2.0 to 3.1, 79 answers.
const GEMINI: u64 = 1060;
/// Mistral's Tekken (NeMo and later), 21 answers.
const TEKKEN: u64 = 1050;
/// 32k SentencePiece vocabularies (Llama 2, early Mistral, Phi-3): about 3.6 characters per token of English, o200k's 4.5. Not measured.
const SMALL_VOCABULARY: u64 = 1250;

/// OpenAI's cookbook: 3 per message and 1 for the role, 3 to prime the reply; tools as measured on gpt-4o.
const OPENAI_CHAT: Overhead = Overhead { message: 4, prompt: 3, tool: 10, tools: 12, tool_call: 8 };
/// The same for gpt-4 and gpt-3.5, whose functions cost three more.
const OPENAI_CHAT_OLD: Overhead = Overhead { tool: 13, ..OPENAI_CHAT };
/// The hidden prompt that comes with tools: Claude 4's with `tool_choice: auto`.
const CLAUDE_CHAT: Overhead = Overhead { message: 4, prompt: 3, tool: 0, tools: 346, tool_call: 8 };
/// Claude 3.5 Sonnet's hidden prompt.
const CLAUDE_3_5_CHAT: Overhead = Overhead { tools: 294, ..CLAUDE_CHAT };
/// Claude 3 Opus's.
const CLAUDE_3_CHAT: Overhead = Overhead { tools: 530, ..CLAUDE_CHAT };
/// Little per message (Google's local tokenizer).
const GEMINI_CHAT: Overhead = Overhead { message: 1, prompt: 0, tool: 0, tools: 0, tool_call: 8 };
/// Special tokens of the Llama 3 and ChatML templates.
const TEMPLATE_CHAT: Overhead = Overhead { message: 5, prompt: 3, tool: 0, tools: 0, tool_call: 8 };

impl Family {
    /// By the model's name, with or without a vendor, a region or a fine-tune around it. Unknown names count as o200k.
    pub(super) fn of(model: &str) -> Self {
        let lower = model.to_ascii_lowercase();
        let name = lower.rsplit_once('/').map_or(lower.as_str(), |(_, name)| name);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let family = |encoding, per_mille, overhead| Self { encoding, per_mille, overhead };
        if let Some(at) = name.find("claude") {
            return claude(name.get(at..).unwrap_or_default());
        }
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if starts(&["gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "chatgpt", "codex", "o1", "o3", "o4"]) {
            family(Encoding::O200k, EXACT, OPENAI_CHAT)
        } else if starts(&["gpt-4", "gpt-3", "text-embedding", "davinci", "babbage", "text-davinci", "code-davinci", "phi-4"]) {
            family(Encoding::Cl100k, EXACT, OPENAI_CHAT_OLD)
        } else if starts(&["gemini", "gemma", "text-embedding-00", "learnlm"]) {
            family(Encoding::O200k, GEMINI, GEMINI_CHAT)
        } else if starts(&["llama-2", "llama2", "mistral-7b", "mixtral", "codellama", "phi-3"]) {
            family(Encoding::O200k, SMALL_VOCABULARY, TEMPLATE_CHAT)
        } else if starts(&["mistral", "ministral", "codestral", "magistral", "devstral", "pixtral", "voxtral", "open-mistral"]) {
            family(Encoding::O200k, TEKKEN, TEMPLATE_CHAT)
        } else {
            // Llama 3 and 4, Qwen, DeepSeek and the rest: 1.00 to 1.03 in 16 answers.
            family(Encoding::O200k, EXACT, TEMPLATE_CHAT)
        }
    }
}

fn claude(name: &str) -> Family {
    let has = |part: &str| name.contains(part);
    let third = has("claude-3-") || has("claude-3.");
    let before_4_7 = third
        || has("claude-2")
        || has("claude-instant")
        || ["-4-0", "-4-1", "-4-5", "-4-6", "-4.1", "-4.5", "-4.6", "-4-2025", "-4@"].iter().any(|v| has(v))
        || name.ends_with("-4");
    let overhead = if third && (has("3-5") || has("3.5") || has("3-7") || has("3.7")) {
        CLAUDE_3_5_CHAT
    } else if third {
        CLAUDE_3_CHAT
    } else {
        CLAUDE_CHAT
    };
    Family { encoding: Encoding::O200k, per_mille: if before_4_7 { CLAUDE } else { CLAUDE_NEW }, overhead }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_their_tokenizers() {
        let cases = [
            ("gpt-4o-2024-08-06", Encoding::O200k, EXACT),
            ("gpt-5.6-luna", Encoding::O200k, EXACT),
            ("ft:gpt-4o-mini-2024-07-18:acme::x", Encoding::O200k, EXACT),
            ("openai/o3", Encoding::O200k, EXACT),
            ("gpt-4-turbo", Encoding::Cl100k, EXACT),
            ("gpt-35-turbo", Encoding::Cl100k, EXACT),
            ("text-embedding-3-small", Encoding::Cl100k, EXACT),
            ("claude-sonnet-4-5-20250929", Encoding::O200k, CLAUDE),
            ("us.anthropic.claude-3-5-haiku-20241022-v1:0", Encoding::O200k, CLAUDE),
            ("claude-sonnet-4-20250514", Encoding::O200k, CLAUDE),
            ("anthropic/claude-opus-4.8", Encoding::O200k, CLAUDE_NEW),
            ("claude-opus-4-7-20260416", Encoding::O200k, CLAUDE_NEW),
            ("claude-sonnet-5", Encoding::O200k, CLAUDE_NEW),
            ("models/gemini-2.5-pro", Encoding::O200k, GEMINI),
            ("mistralai/Mixtral-8x7B-Instruct-v0.1", Encoding::O200k, SMALL_VOCABULARY),
            ("mistral-large-2512", Encoding::O200k, TEKKEN),
            ("Qwen/Qwen3-32B", Encoding::O200k, EXACT),
            ("", Encoding::O200k, EXACT),
        ];
        for (model, encoding, per_mille) in cases {
            let family = Family::of(model);
            assert_eq!((family.encoding, family.per_mille), (encoding, per_mille), "{model}");
        }
    }
}
