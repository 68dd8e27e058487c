//! Which host is whose: the table behind provider names, SNI reports and list prices.

/// A host or a family of hosts.
pub(super) struct HostRule {
    /// Lower case; each `*` stands for one or more characters.
    pub(super) pattern: &'static str,
    /// Only at paths that begin so. Empty: at all.
    pub(super) path_prefix: &'static str,
    pub(super) provider: &'static str,
    /// Traffic to it is model traffic for the most part, so that an SNI alone says something. Not so of a site where people browse.
    pub(super) dedicated: bool,
}

const fn host(pattern: &'static str, provider: &'static str) -> HostRule {
    HostRule { pattern, path_prefix: "", provider, dedicated: true }
}

/// A host that serves other things too.
const fn shared(pattern: &'static str, path_prefix: &'static str, provider: &'static str) -> HostRule {
    HostRule { pattern, path_prefix, provider, dedicated: false }
}

/// First match counts.
pub(super) static HOSTS: &[HostRule] = &[
    host("api.openai.com", "openai"),
    host("*.api.openai.com", "openai"), // us., eu.
    shared("chatgpt.com", "/backend-api/codex/", "openai"),
    host("api.anthropic.com", "anthropic"),
    // Azure: the classic and the newer hosts serve OpenAI's models under /openai/, all others beside it.
    host("*.openai.azure.com", "azure.ai.openai"),
    HostRule { pattern: "*.services.ai.azure.com", path_prefix: "/openai/", provider: "azure.ai.openai", dedicated: true },
    host("*.services.ai.azure.com", "azure.ai.inference"),
    shared("*.cognitiveservices.azure.com", "/openai/", "azure.ai.openai"),
    shared("*.azure-api.net", "", "azure.ai.openai"),
    host("*.models.ai.azure.com", "azure.ai.inference"),
    host("*.inference.ai.azure.com", "azure.ai.inference"),
    host("models.github.ai", "azure.ai.inference"),
    host("generativelanguage.googleapis.com", "gcp.gemini"),
    host("aiplatform.googleapis.com", "gcp.vertex_ai"),
    host("*-aiplatform.googleapis.com", "gcp.vertex_ai"),
    host("aiplatform.*.rep.googleapis.com", "gcp.vertex_ai"),
    host("bedrock-runtime.*.amazonaws.com", "aws.bedrock"),
    host("bedrock-runtime.*.amazonaws.com.cn", "aws.bedrock"),
    host("bedrock-runtime.*.api.aws", "aws.bedrock"),
    host("bedrock-runtime-fips.*.amazonaws.com", "aws.bedrock"),
    host("bedrock-runtime-fips.*.api.aws", "aws.bedrock"),
    host("*.bedrock-runtime.*.vpce.amazonaws.com", "aws.bedrock"),
    host("bedrock-mantle.*.api.aws", "aws.bedrock"),
    host("bedrock-agent-runtime.*.amazonaws.com", "aws.bedrock"),
    // Models of every kind: of a request there, only its body says whether it is a call.
    shared("runtime.sagemaker.*.amazonaws.com", "/endpoints/", "aws.sagemaker"),
    shared("runtime.sagemaker.*.amazonaws.com.cn", "/endpoints/", "aws.sagemaker"),
    host("api.cohere.com", "cohere"),
    host("api.cohere.ai", "cohere"),
    host("api.mistral.ai", "mistral_ai"),
    host("codestral.mistral.ai", "mistral_ai"),
    host("api.groq.com", "groq"),
    host("api.deepseek.com", "deepseek"),
    host("api.x.ai", "x_ai"),
    host("*.api.x.ai", "x_ai"), // us-east-1., eu-west-1.
    shared("openrouter.ai", "/api/", "openrouter"),
    host("api.together.xyz", "together_ai"),
    host("api.together.ai", "together_ai"),
    host("api.fireworks.ai", "fireworks_ai"),
    host("api.perplexity.ai", "perplexity"),
    host("api.moonshot.ai", "moonshot_ai"),
    host("api.moonshot.cn", "moonshot_ai"),
    host("api.z.ai", "z_ai"),
    host("open.bigmodel.cn", "z_ai"),
    host("dashscope.aliyuncs.com", "dashscope"),
    host("dashscope-*.aliyuncs.com", "dashscope"),
    host("api.minimax.io", "minimax"),
    host("api.minimaxi.com", "minimax"),
    host("api.cerebras.ai", "cerebras"),
    host("api.sambanova.ai", "sambanova"),
    host("api.deepinfra.com", "deepinfra"),
    host("integrate.api.nvidia.com", "nvidia_nim"),
    host("router.huggingface.co", "huggingface"),
    host("api-inference.huggingface.co", "huggingface"),
    host("*.endpoints.huggingface.cloud", "huggingface"),
    host("api.novita.ai", "novita_ai"),
    host("api.hyperbolic.xyz", "hyperbolic"),
    host("*.ml.cloud.ibm.com", "ibm.watsonx.ai"),
    host("ai-gateway.vercel.sh", "vercel_ai_gateway"),
    host("gateway.ai.cloudflare.com", "cloudflare_ai_gateway"),
    host("api.portkey.ai", "portkey"),
    host("api.voyageai.com", "voyage_ai"),
    host("api.writer.com", "writer"),
    host("api.ai21.com", "ai21"),
    host("api.studio.nebius.ai", "nebius"),
    host("api.studio.nebius.com", "nebius"),
    host("managed-inference-api-proxy.crusoecloud.com", "crusoe"),
    host("api.githubcopilot.com", "github_copilot"),
    host("api.*.githubcopilot.com", "github_copilot"),
    shared("*.snowflakecomputing.com", "/api/v2/cortex/", "snowflake_cortex"),
    shared("*.databricks.com", "/serving-endpoints/", "databricks"),
    shared("*.azuredatabricks.net", "/serving-endpoints/", "databricks"),
];

/// Ollama's port on any host; it is registered to nobody else in practice. Other local servers share theirs with everything (8000, 8080).
pub(super) const OLLAMA_PORT: u16 = 11434;

/// Whether `name` (lower case) matches `pattern`, in which each `*` stands for one or more characters.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else { return rest.is_empty() };
    for piece in middle {
        // One character at least belongs to the star before.
        let Some((_, after)) = skip_one(rest).and_then(|rest| rest.split_once(piece)) else { return false };
        rest = after;
    }
    skip_one(rest).is_some_and(|rest| rest.ends_with(last))
}

fn skip_one(text: &str) -> Option<&str> {
    let mut characters = text.chars();
    characters.next().map(|_| characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_character_or_more() {
        for (pattern, name, want) in [
            ("api.openai.com", "api.openai.com", true),
            ("api.openai.com", "api.openai.com.evil.example", false),
            ("api.openai.com", "xapi.openai.com", false),
            ("*.openai.azure.com", "me.openai.azure.com", true),
            ("*.openai.azure.com", ".openai.azure.com", false),
            ("*.openai.azure.com", "openai.azure.com", false),
            ("*-aiplatform.googleapis.com", "europe-west1-aiplatform.googleapis.com", true),
            ("aiplatform.*.rep.googleapis.com", "aiplatform.eu.rep.googleapis.com", true),
            ("*.bedrock-runtime.*.vpce.amazonaws.com", "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", true),
            ("bedrock-runtime.*", "bedrock-runtime.us-east-1.amazonaws.com", true),
            ("bedrock-runtime.*", "bedrock-runtime.", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_are_lower_case() {
        for rule in HOSTS {
            assert_eq!(rule.pattern, rule.pattern.to_lowercase());
        }
    }
}
