//! Model ids as they are on the wire: what to strip, and what must never be stripped.

/// Longer ids are nobody's; they would only cost time.
const LONGEST: usize = 256;

/// Words that make another model with another price: no match may jump across one.
const PRICE_WORDS: [&str; 55] = [
    // sizes and grades
    "nano",
    "micro",
    "tiny",
    "mini",
    "lite",
    "light",
    "flash",
    "fast",
    "small",
    "medium",
    "large",
    "xlarge",
    "xl",
    "plus",
    "pro",
    "max",
    "ultra",
    "premier",
    "turbo",
    "haiku",
    "sonnet",
    "opus",
    "fable",
    "sol",
    "luna",
    "terra",
    "spark",
    "high",
    "low",
    "cloud",
    "free",
    // kinds that are billed otherwise
    "audio",
    "realtime",
    "live",
    "image",
    "vision",
    "video",
    "tts",
    "transcribe",
    "whisper",
    "search",
    "research",
    "codex",
    "coder",
    "embed",
    "embedding",
    "rerank",
    "guard",
    "thinking",
    "reasoning",
    "distill",
    "multi",
    "agent",
    "computer",
    "safeguard",
];

/// The id in lower case without escapes and the wrappers that name no model. `None`: empty or too long.
pub(super) fn normalise(raw: &str) -> Option<String> {
    if raw.len() > LONGEST {
        return None;
    }
    let decoded = percent_decode(raw);
    let id = decoded.trim().to_lowercase();
    let id = if id.starts_with("arn:") { after_last(&id, '/') } else { &id };
    let id = if id.starts_with("projects/") || id.starts_with("publishers/") {
        id.split_once("/models/").map_or(id, |(_, model)| model)
    } else {
        id.strip_prefix("models/").unwrap_or(id)
    };
    (!id.is_empty()).then(|| id.to_owned())
}

/// The region in a Bedrock ARN: `arn:aws:bedrock:REGION:ACCOUNT:…`.
pub(super) fn arn_region(raw: &str) -> Option<String> {
    let decoded = percent_decode(raw.get(..LONGEST.min(raw.len()))?);
    let mut fields = decoded.trim().strip_prefix("arn:")?.split(':');
    let region = fields.nth(2)?;
    (!region.is_empty()).then(|| region.to_ascii_lowercase())
}

/// Bedrock: the id with its region prefix, without it, without `:M`, without `-vN:M`. A regional prefix has its own price, so it goes last.
pub(super) fn bedrock_variants(id: &str) -> Vec<&str> {
    const REGION_PREFIXES: [&str; 9] = ["us-gov.", "global.", "apac.", "us.", "eu.", "ap.", "jp.", "au.", "ca."];
    let bare = REGION_PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
    let mut variants = vec![id, bare];
    let unnumbered = bare.rsplit_once(':').map_or(bare, |(rest, _)| rest);
    // `…-v1:0:200k` has two.
    let unnumbered = unnumbered.rsplit_once(':').map_or(unnumbered, |(rest, _)| rest);
    variants.push(unnumbered);
    if let Some((rest, version)) = unnumbered.rsplit_once("-v")
        && is_number(version)
    {
        variants.push(rest);
    }
    variants.dedup();
    variants
}

/// A fine-tune's base: `ft:BASE:ORG:NAME:ID`, the old `BASE:ft-ORG-DATE`, Azure's `BASE.ft-ID`.
pub(super) fn fine_tune_base(id: &str) -> Option<&str> {
    let base = match id.strip_prefix("ft:") {
        Some(rest) => rest.split(':').next(),
        None => id.split_once(":ft-").or_else(|| id.split_once(".ft-")).map(|(base, _)| base),
    };
    base.filter(|base| !base.is_empty())
}

/// The ids left when dated or version suffixes go, one after the other.
pub(super) fn without_suffixes(id: &str) -> impl Iterator<Item = &str> {
    /// `-preview-MM-DD` on top of a tag is the most that was seen.
    const ROUNDS: usize = 3;
    std::iter::successors(Some(id), |id| strip_suffix(id)).skip(1).take(ROUNDS)
}

fn strip_suffix(id: &str) -> Option<&str> {
    // Longest first. Y, M, D and N stand for a digit each.
    const DATES: [&str; 10] =
        ["-preview-NN-NNNN", "-YYYY-MM-DD", "-preview-MM-DD", "-MM-YYYY", "-YYYYMMDD", "@YYYYMMDD", "-NNNN", "-NNN", "@NNN", "-preview"];
    const WORDS: [&str; 3] = ["-latest", "@default", ":latest"];
    for pattern in DATES {
        if let Some(rest) = strip_pattern(id, pattern) {
            return Some(rest);
        }
    }
    if let Some(rest) = WORDS.iter().find_map(|word| id.strip_suffix(word)) {
        return non_empty(rest);
    }
    let (rest, tag) = id.rsplit_once(':')?;
    (!changes_price(tag)).then_some(rest).and_then(non_empty)
}

fn strip_pattern<'a>(id: &'a str, pattern: &str) -> Option<&'a str> {
    let (rest, tail) = id.split_at_checked(id.len().checked_sub(pattern.len())?)?;
    let fits = tail.bytes().zip(pattern.bytes()).all(|(byte, expected)| match expected {
        b'Y' | b'M' | b'D' | b'N' => byte.is_ascii_digit(),
        literal => byte == literal,
    });
    if fits { non_empty(rest) } else { None }
}

/// Prefixes of the id that end at a boundary (`-`, `@`, `:`, or `.` before a non-digit), longest first, as long as what is cut off
/// says nothing about the price.
pub(super) fn safe_prefixes(id: &str) -> impl Iterator<Item = &str> {
    let boundaries = id.char_indices().rev().filter(|(at, c)| match c {
        '-' | '@' | ':' => true,
        '.' => !id.as_bytes().get(at.saturating_add(1)).is_some_and(u8::is_ascii_digit),
        _ => false,
    });
    boundaries
        .filter_map(|(at, _)| id.split_at_checked(at))
        .filter(|(prefix, _)| !prefix.is_empty())
        .take_while(|(_, cut)| !changes_price(cut))
        .map(|(prefix, _)| prefix)
}

/// What would be cut off names a size, a kind, a version, a parameter count or a context length.
fn changes_price(cut: &str) -> bool {
    let mut words = cut.split(['-', '@', ':', '.', '_', '/']).filter(|word| !word.is_empty());
    // A short number right after the name is a version: `-4-9` is not `-4`.
    let version = cut.starts_with(['-', '.']) && words.clone().next().is_some_and(|word| word.len() <= 2 && is_number(word));
    cut.contains('/') || version || words.any(|word| PRICE_WORDS.contains(&word) || is_quantity(word))
}

/// `8b`, `8x7b`, `a22b`, `1m`, `32k`, `v2`.
fn is_quantity(word: &str) -> bool {
    let digits = word.strip_prefix(['a', 'e', 'v']).unwrap_or(word);
    let number = digits.strip_suffix(['b', 'm', 'k']).unwrap_or(digits);
    digits != word && is_number(number) || digits != number && number.bytes().all(|b| b.is_ascii_digit() || b == b'x') && !number.is_empty()
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn after_last(text: &str, separator: char) -> &str {
    text.rsplit_once(separator).map_or(text, |(_, rest)| rest)
}

fn percent_decode(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.split_first_chunk::<2>()).flatten();
        let value =
            escaped.and_then(|(hex, after): (&[u8; 2], &[u8])| Some((u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok()?, after)));
        let (value, after) = value.unwrap_or((byte, tail));
        bytes.push(value);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(id: &str) -> Vec<&str> {
        safe_prefixes(id).collect()
    }

    #[test]
    fn wrappers_and_escapes_go_and_the_rest_is_lower_case() {
        let cases = [
            ("models/Gemini-2.5-Flash", "gemini-2.5-flash"),
            ("publishers/anthropic/models/claude-opus-4-1@20250805", "claude-opus-4-1@20250805"),
            ("projects/p/locations/l/publishers/google/models/gemini-2.0-flash-001", "gemini-2.0-flash-001"),
            ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-pro-v1%3A0", "amazon.nova-pro-v1:0"),
            ("arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.amazon.nova-pro-v1%3A0", "us.amazon.nova-pro-v1:0"),
            (" gpt-4o ", "gpt-4o"),
            ("100%-wild%zz", "100%-wild%zz"),
        ];
        for (raw, id) in cases {
            assert_eq!(normalise(raw).as_deref(), Some(id));
        }
        assert_eq!(normalise(""), None);
        assert_eq!(normalise(&"x".repeat(LONGEST + 1)), None);
        assert_eq!(arn_region("arn:aws:bedrock:eu-west-1::foundation-model/x").as_deref(), Some("eu-west-1"));
        assert_eq!(arn_region("gpt-4o"), None);
    }

    #[test]
    fn bedrock_ids_lose_region_version_and_revision_in_that_order() {
        assert_eq!(
            bedrock_variants("us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            [
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "anthropic.claude-sonnet-4-5-20250929-v1:0",
                "anthropic.claude-sonnet-4-5-20250929-v1",
                "anthropic.claude-sonnet-4-5-20250929",
            ]
        );
        assert_eq!(bedrock_variants("us-gov.a.b-v1:0:200k").last(), Some(&"a.b"));
        assert_eq!(bedrock_variants("deepseek.v3"), ["deepseek.v3"]);
    }

    #[test]
    fn fine_tunes_name_their_base() {
        assert_eq!(fine_tune_base("ft:gpt-4o-mini-2024-07-18:acme:support:AbC"), Some("gpt-4o-mini-2024-07-18"));
        assert_eq!(fine_tune_base("davinci:ft-acme-2023-01-01"), Some("davinci"));
        assert_eq!(fine_tune_base("gpt-4o-2024-08-06.ft-0123"), Some("gpt-4o-2024-08-06"));
        assert_eq!(fine_tune_base("gpt-4o"), None);
        assert_eq!(fine_tune_base("ft:"), None);
    }

    #[test]
    fn dates_and_tags_are_suffixes_and_prices_are_not() {
        let first = |id| without_suffixes(id).next();
        assert_eq!(first("gpt-4o-2024-08-06"), Some("gpt-4o"));
        assert_eq!(first("claude-sonnet-4-5@20250929"), Some("claude-sonnet-4-5"));
        assert_eq!(first("gemini-2.5-pro-preview-06-05"), Some("gemini-2.5-pro"));
        assert_eq!(first("gemini-2.5-flash-preview-09-2025"), Some("gemini-2.5-flash"));
        assert_eq!(first("command-r-08-2024"), Some("command-r"));
        assert_eq!(first("grok-4-0709"), Some("grok-4"));
        assert_eq!(first("qwen/qwen3-32b:groq"), Some("qwen/qwen3-32b"));
        assert_eq!(first("meta-llama/llama-3.3-70b-instruct:free"), None);
        assert_eq!(first("llama3.2:3b"), None);
        assert_eq!(first("gpt-4o-mini"), None);
        assert_eq!(first("-2024-08-06"), None);
    }

    #[test]
    fn a_prefix_ends_at_a_boundary_and_never_jumps_across_a_price() {
        assert_eq!(prefixes("gpt-4o-acme-build"), ["gpt-4o-acme", "gpt-4o", "gpt"]);
        for id in
            ["gpt-4o-mini", "gpt-5.6", "claude-opus-4-9", "llama-3-70b", "mixtral-8x7b", "gpt-4-32k", "gpt-4o-audio", "qwen3-235b-a22b"]
        {
            let stem = id.rsplit_once(['-', '.']).map(|(stem, _)| stem).unwrap();
            assert!(!prefixes(id).contains(&stem), "{id} falls to {stem}");
        }
        assert!(!prefixes("gpt-4o-mini-acme").contains(&"gpt-4o"));
        assert!(prefixes("gpt-4o-mini-acme").contains(&"gpt-4o-mini"));
    }
}
