//! Which host is whose: the table behind provider names, SNI reports and list prices.

use crate::http::RequestHead;

/// A host or a family of hosts.
pub(super) struct HostRule {
    /// Lower case; each `*` stands for one or more characters.
    pub(super) pattern: &'static str,
    /// Only at paths that begin so. Empty: at all.
    pub(super) path_prefix: &'static str,
    pub(super) provider: &'static str,
    pub(super) traffic: Traffic,
}

/// What goes to a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Traffic {
    /// Model traffic for the most part, so that an SNI alone says something.
    Models,
    /// Other things too, at other paths: a site where people browse.
    Shared,
    /// Anybody's API, at any path: a call there is this provider's, and its path alone is not enough to tell that it is one.
    Anything,
}

const fn host(pattern: &'static str, provider: &'static str) -> HostRule {
    HostRule { pattern, path_prefix: "", provider, traffic: Traffic::Models }
}

/// A host that serves other things too.
const fn shared(pattern: &'static str, path_prefix: &'static str, provider: &'static str) -> HostRule {
    HostRule { pattern, path_prefix, provider, traffic: Traffic::Shared }
}

/// A host in front of any API.
const fn gateway(pattern: &'static str, provider: &'static str) -> HostRule {
    HostRule { pattern, path_prefix: "", provider, traffic: Traffic::Anything }
}

/// First match counts.
pub(super) static HOSTS: &[HostRule] = &[
    host("api.openai.com", "openai"),
    host("*.api.openai.com", "openai"), // us., eu.
    shared("chatgpt.com", "/backend-api/codex/", "openai"),
    host("api.anthropic.com", "anthropic"),
    // Azure: the classic and the newer hosts serve OpenAI's models under /openai/, all others beside it.
    host("*.openai.azure.com", "azure.ai.openai"),
    host("*.openai.azure.us", "azure.ai.openai"),
    HostRule { pattern: "*.services.ai.azure.com", path_prefix: "/openai/", provider: "azure.ai.openai", traffic: Traffic::Models },
    host("*.services.ai.azure.com", "azure.ai.inference"),
    shared("*.cognitiveservices.azure.com", "/openai/", "azure.ai.openai"),
    gateway("*.azure-api.net", "azure.ai.openai"), // API Management
    host("*.models.ai.azure.com", "azure.ai.inference"),
    host("*.inference.ai.azure.com", "azure.ai.inference"),
    host("models.github.ai", "azure.ai.inference"),
    host("generativelanguage.googleapis.com", "gcp.gemini"),
    shared("cloudcode-pa.googleapis.com", "/v1internal:", "gcp.gemini"),
    shared("*-cloudcode-pa.googleapis.com", "/v1internal:", "gcp.gemini"),
    shared("*-cloudcode-pa.sandbox.googleapis.com", "/v1internal:", "gcp.gemini"),
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
    shared("runtime-fips.sagemaker.*.amazonaws.com", "/endpoints/", "aws.sagemaker"),
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
    shared("*.openrouter.ai", "/api/", "openrouter"), // eu.
    host("api.together.xyz", "together_ai"),
    host("api.together.ai", "together_ai"),
    host("api.fireworks.ai", "fireworks_ai"),
    host("*.direct.fireworks.ai", "fireworks_ai"),
    host("api.perplexity.ai", "perplexity"),
    host("api.moonshot.ai", "moonshot_ai"),
    host("api.moonshot.cn", "moonshot_ai"),
    host("api.kimi.com", "moonshot_ai"),
    host("api.z.ai", "z_ai"),
    host("open.bigmodel.cn", "zhipuai"),
    host("dashscope.aliyuncs.com", "dashscope"),
    host("dashscope-*.aliyuncs.com", "dashscope"),
    host("*.dashscope.aliyuncs.com", "dashscope"),
    host("*.maas.aliyuncs.com", "dashscope"),
    shared("*.aliyuncs.com", "/compatible-mode/v1/", "dashscope"), // cn-hongkong.
    host("api.minimax.io", "minimax"),
    host("api-uw.minimax.io", "minimax"),
    host("api.minimaxi.com", "minimax"),
    host("api.minimaxi.chat", "minimax"),
    host("api.minimax.chat", "minimax"),
    host("ark.*.volces.com", "volcengine"),
    host("ark.*.bytepluses.com", "volcengine"),
    host("qianfan.baidubce.com", "baidu_qianfan"),
    shared("aip.baidubce.com", "/rpc/2.0/ai_custom/", "baidu_qianfan"),
    host("api.hunyuan.cloud.tencent.com", "tencent"),
    host("api.lkeap.cloud.tencent.com", "tencent"),
    host("hunyuan.tencentcloudapi.com", "tencent"),
    host("hunyuan.*.tencentcloudapi.com", "tencent"),
    host("*.tencentcloudmaas.com", "tencent"),
    host("spark-api-open.xf-yun.com", "iflytek_spark"),
    host("maas-api.*.xf-yun.com", "iflytek_spark"),
    host("api.modelarts-maas.com", "huawei_modelarts"),
    host("api.stepfun.com", "stepfun"),
    host("api.stepfun.ai", "stepfun"),
    host("api.baichuan-ai.com", "baichuan"),
    host("api.lingyiwanwu.com", "yi"),
    host("api.siliconflow.cn", "siliconflow"),
    host("api.siliconflow.com", "siliconflow"),
    shared("api-inference.modelscope.cn", "/v1/", "modelscope"),
    host("api.cerebras.ai", "cerebras"),
    host("api.sambanova.ai", "sambanova"),
    host("api.deepinfra.com", "deepinfra"),
    host("integrate.api.nvidia.com", "nvidia_nim"),
    host("ai.api.nvidia.com", "nvidia_nim"),
    host("router.huggingface.co", "huggingface"),
    host("api-inference.huggingface.co", "huggingface"),
    host("*.endpoints.huggingface.cloud", "huggingface"),
    host("api.novita.ai", "novita_ai"),
    host("api.hyperbolic.xyz", "hyperbolic"),
    host("api.lambda.ai", "lambda"),
    host("api.lambdalabs.com", "lambda"),
    host("inference.baseten.co", "baseten"),
    host("model-*.api.baseten.co", "baseten"),
    host("chain-*.api.baseten.co", "baseten"),
    host("inference.do-ai.run", "digitalocean"),
    host("*.agents.do-ai.run", "digitalocean"),
    host("api.friendli.ai", "friendliai"),
    host("api.gmi-serving.com", "gmi"),
    host("api.inceptionlabs.ai", "inception"),
    host("api.morphllm.com", "morph"),
    host("inference.api.nscale.com", "nscale"),
    host("*.endpoints.kepler.ai.cloud.ovh.net", "ovhcloud"),
    host("api.scaleway.ai", "scaleway"),
    host("*.ifr.fr-par.scaleway.com", "scaleway"),
    host("api.v0.dev", "v0"),
    host("api.inference.wandb.ai", "wandb"),
    host("inference.generativeai.*.oci.oraclecloud.com", "oci"),
    host("api.endpoints.anyscale.com", "anyscale"),
    host("api.featherless.ai", "featherless"),
    host("llm.chutes.ai", "chutes"),
    host("api.parasail.io", "parasail"),
    host("api.inference.net", "inference_net"),
    host("api.kluster.ai", "kluster"),
    host("api.targon.com", "targon"),
    host("api.venice.ai", "venice"),
    host("api.xiaomimimo.com", "xiaomi_mimo"),
    host("api.synthetic.new", "synthetic"),
    shared("aihubmix.com", "/v1/", "aihubmix"),
    host("llm-gateway.assemblyai.com", "assemblyai"),
    host("api.302.ai", "302_ai"),
    host("api.ppinfra.com", "ppinfra"),
    host("api.qnaigc.com", "qiniu"),
    host("api.intelligence.io.solutions", "io_net"),
    shared("api.clarifai.com", "/v2/ext/openai/", "clarifai"),
    gateway("api.runpod.ai", "runpod"),
    host("api.cortecs.ai", "cortecs"),
    host("api.regolo.ai", "regolo"),
    host("*.model-serving.*.onstackit.cloud", "stackit"),
    host("openai.inference.*.ionos.com", "ionos"),
    host("api.atlascloud.ai", "atlas_cloud"),
    host("cloud-api.near.ai", "near_ai"),
    host("inference.tinfoil.sh", "tinfoil"),
    host("inference-api.nousresearch.com", "nous_research"),
    host("api.inflection.ai", "inflection"),
    shared("opencode.ai", "/zen/", "opencode"),
    shared("api.ai.*.ml.hana.ondemand.com", "/v2/inference/", "sap_ai_core"),
    shared("nano-gpt.com", "/api/", "nanogpt"),
    host("api.poe.com", "poe"),
    host("api.reka.ai", "reka"),
    host("api.upstage.ai", "upstage"),
    host("api.sarvam.ai", "sarvam"),
    host("api.arcee.ai", "arcee"),
    host("models.arcee.ai", "arcee"),
    host("api.llama.com", "meta_llama"),
    host("api.nova.amazon.com", "amazon_nova"),
    host("gigachat.devices.sberbank.ru", "gigachat"),
    host("llm.api.cloud.yandex.net", "yandex_gpt"),
    host("api.publicai.co", "publicai"),
    host("api.galadriel.com", "galadriel"),
    shared("ollama.com", "", "ollama"),
    host("*.ml.cloud.ibm.com", "ibm.watsonx.ai"),
    host("*.aws.wxai.ibm.com", "ibm.watsonx.ai"),
    host("ai-gateway.vercel.sh", "vercel_ai_gateway"),
    host("gateway.ai.cloudflare.com", "cloudflare_ai_gateway"),
    shared("api.cloudflare.com", "/client/v4/accounts/", "cloudflare"),
    host("api.portkey.ai", "portkey"),
    host("gateway.pydantic.dev", "pydantic_ai_gateway"),
    host("gateway-*.pydantic.dev", "pydantic_ai_gateway"),
    host("api.aimlapi.com", "aimlapi"),
    host("oai.helicone.ai", "helicone"),
    host("ai-gateway.helicone.ai", "helicone"),
    host("anthropic.helicone.ai", "helicone"),
    host("gateway.helicone.ai", "helicone"),
    gateway("*.helicone.ai", "helicone"), // one for each provider, and its own API
    host("router.requesty.ai", "requesty"),
    host("llm.requesty.ai", "requesty"),
    host("api.cometapi.com", "cometapi"),
    host("api.unify.ai", "unify"),
    host("router.eu.requesty.ai", "requesty"),
    shared("glama.ai", "/api/gateway/", "glama"),
    host("api.voyageai.com", "voyage_ai"),
    host("ai.mongodb.com", "voyage_ai"),
    host("api.jina.ai", "jina"),
    host("deepsearch.jina.ai", "jina"),
    host("api.mixedbread.com", "mixedbread"),
    host("api-atlas.nomic.ai", "nomic"),
    host("api.writer.com", "writer"),
    host("api.ai21.com", "ai21"),
    host("api.aleph-alpha.com", "aleph_alpha"),
    host("api.replicate.com", "replicate"),
    host("stream.replicate.com", "replicate"),
    host("stream-*.replicate.com", "replicate"),
    host("streaming-api.*.replicate.net", "replicate"),
    host("api.studio.nebius.ai", "nebius"),
    host("api.studio.nebius.com", "nebius"),
    host("api.tokenfactory.nebius.com", "nebius"),
    host("api.tokenfactory.*.nebius.com", "nebius"),
    host("managed-inference-api-proxy.crusoecloud.com", "crusoe"),
    host("api.inference.crusoecloud.com", "crusoe"),
    host("api.githubcopilot.com", "github_copilot"),
    host("api.*.githubcopilot.com", "github_copilot"),
    host("proxy.*.githubcopilot.com", "github_copilot"), // individual., business., enterprise.
    host("copilot-api.*.ghe.com", "github_copilot"),
    host("copilot-proxy.githubusercontent.com", "github_copilot"),
    shared("*.snowflakecomputing.com", "/api/v2/cortex/", "snowflake_cortex"),
    shared("*.snowflake.com", "/api/v2/cortex/", "snowflake_cortex"),
    shared("*.databricks.com", "/serving-endpoints/", "databricks"),
    shared("*.databricks.com", "/ai-gateway/", "databricks"),
    host("*.ai-gateway.*.databricks.com", "databricks"),
    shared("*.azuredatabricks.net", "/serving-endpoints/", "databricks"),
    shared("*.azuredatabricks.net", "/ai-gateway/", "databricks"),
    host("*.ai-gateway.azuredatabricks.net", "databricks"),
];

/// Whose host it is, by the table alone. `host` in lower case.
pub(super) fn provider_of(host: &str, path: &str) -> Option<&'static str> {
    HOSTS.iter().find(|rule| path.starts_with(rule.path_prefix) && matches(rule.pattern, host)).map(|rule| rule.provider)
}

/// Whether a request goes to this provider, by the table: for formats whose path alone says too little.
pub(super) fn is_for(head: &RequestHead, provider: &str) -> bool {
    head.host.as_deref().and_then(|host| provider_of(host, &head.path)) == Some(provider)
}

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
    use crate::{fixture::request, provider::Routes};

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

    /// Who is taken for the provider of a request, and by which format it is read.
    fn route(host: &str, path: &str, header: Option<(&str, &str)>) -> Option<(String, &'static str)> {
        let head = request("POST", host, path, header.as_slice());
        let route = Routes::default().route(&head, None)?;
        Some((route.provider.as_str().to_owned(), route.operation.as_str()))
    }

    #[test]
    fn a_path_that_says_too_little_is_known_by_its_host_or_its_client() {
        for (host, path, provider, operation) in [
            ("api.cohere.com", "/v1/chat", "cohere", "chat"),
            ("gateway.ai.cloudflare.com", "/v1/acct/gw/cohere/v1/chat", "cloudflare_ai_gateway", "chat"),
            ("api.writer.com", "/v1/chat", "writer", "chat"),
            ("api.mistral.ai", "/v1/conversations", "mistral_ai", "chat"),
            ("api.mistral.ai", "/v1/conversations/conv_1/restart", "mistral_ai", "chat"),
            ("x.endpoints.huggingface.cloud", "/", "huggingface", "text_completion"),
            ("router.huggingface.co", "/hf-inference/models/BAAI/bge-m3/pipeline/feature-extraction", "huggingface", "embeddings"),
            ("adb-1.azuredatabricks.net", "/serving-endpoints/e/invocations", "databricks", "chat"),
            ("api.cloudflare.com", "/client/v4/accounts/a/ai/run/@cf/baai/bge-m3", "cloudflare", "embeddings"),
            ("api.aleph-alpha.com", "/complete", "aleph_alpha", "text_completion"),
            ("dashscope-intl.aliyuncs.com", "/api/v1/services/aigc/text-generation/generation", "dashscope", "chat"),
            ("ws.ap-southeast-1.maas.aliyuncs.com", "/api/v1/services/aigc/multimodal-generation/generation", "dashscope", "chat"),
            ("dashscope.aliyuncs.com", "/api/v1/services/embeddings/text-embedding/text-embedding", "dashscope", "embeddings"),
            ("dashscope.aliyuncs.com", "/api/v1/services/rerank/text-rerank/text-rerank", "dashscope", "rerank"),
            ("dashscope.aliyuncs.com", "/api/v1/services/aigc/text2image/image-synthesis", "dashscope", "image_generation"),
            ("dashscope.aliyuncs.com", "/api/v1/apps/a1b2/completion", "dashscope", "invoke_agent"),
            ("api.minimax.io", "/v1/text/chatcompletion_v2", "minimax", "chat"),
            ("api.minimax.io", "/v1/chat/completions", "minimax", "chat"),
            ("aip.baidubce.com", "/rpc/2.0/ai_custom/v1/wenxinworkshop/chat/completions_pro", "baidu_qianfan", "chat"),
            ("aip.baidubce.com", "/rpc/2.0/ai_custom/v1/wenxinworkshop/embeddings/embedding-v1", "baidu_qianfan", "embeddings"),
            ("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent", "gcp.gemini", "generate_content"),
            ("ws.databricks.com", "/ai-gateway/mlflow/v1/chat/completions", "databricks", "chat"),
            ("7.ai-gateway.cloud.databricks.com", "/anthropic/v1/messages", "databricks", "chat"),
            ("api.perplexity.ai", "/v1/agent", "perplexity", "chat"),
            ("api.perplexity.ai", "/v1/sonar", "perplexity", "chat"),
            ("ark.cn-beijing.volces.com", "/api/v3/embeddings/multimodal", "volcengine", "embeddings"),
            ("x.snowflakecomputing.com", "/api/v2/cortex/inference:embed", "snowflake_cortex", "embeddings"),
            ("x.snowflakecomputing.com", "/api/v2/cortex/inference/complete", "snowflake_cortex", "chat"),
            ("eu.openrouter.ai", "/api/v1/chat/completions", "openrouter", "chat"),
            ("proxy.business.githubcopilot.com", "/v1/engines/gpt-41-copilot/completions", "github_copilot", "text_completion"),
            ("cn-hongkong.aliyuncs.com", "/compatible-mode/v1/chat/completions", "dashscope", "chat"),
            ("api.ai.prod.eu-central-1.aws.ml.hana.ondemand.com", "/v2/inference/deployments/d1/chat/completions", "sap_ai_core", "chat"),
            ("groq.helicone.ai", "/openai/v1/chat/completions", "helicone", "chat"),
            ("qwen.corp.example", "/proxy/api/v1/services/aigc/text-generation/generation", "dashscope", "chat"),
            ("api.replicate.com", "/v1/predictions", "replicate", "prediction"),
            ("api.anthropic.com", "/v1/complete", "anthropic", "text_completion"),
            ("api.deepseek.com", "/beta/completions", "deepseek", "text_completion"),
            ("api.perplexity.ai", "/async/chat/completions", "perplexity", "chat"),
            ("api.deepinfra.com", "/v1/inference/acme/m", "deepinfra", "text_completion"),
            ("api.reka.ai", "/v1/chat", "reka", "chat"),
            ("llm.corp.example", "/v2/chat", "cohere", "chat"),
            ("watsonx.corp.example", "/ml/v1/text/chat", "ibm.watsonx.ai", "chat"),
            ("tgi.models.svc", "/generate", "tgi", "text_completion"),
            ("open-webui.corp.example", "/ollama/api/chat", "ollama", "chat"),
        ] {
            assert_eq!(route(host, path, None), Some((provider.to_owned(), operation)), "{host}{path}");
        }
        for path in [
            "/v1/chat",
            "/",
            "/reports/generate",
            "/v1/conversations",
            "/v1/complete",
            "/complete",
            "/v1/predictions",
            "/embeds/embed",
            "/serving-endpoints/e/invocations",
            "/v1/prompts/p/completions",
            "/orders/predict",
            "/api/v1/apps/a1b2/completion",
            "/api/v1/services/printing/a/b",
            "/v1/agent",
            "/v1/sonar",
            "/v1/ai/language-model",
        ] {
            assert_eq!(route("shop.example", path, None), None, "{path}");
        }
        let told = |path, header| route("shop.example", path, Some(header)).map(|(provider, _)| provider);
        assert_eq!(told("/v1/chat", ("x-fern-sdk-name", "cohere")).as_deref(), Some("cohere"));
        assert_eq!(told("/v1/complete", ("anthropic-version", "2023-06-01")).as_deref(), Some("anthropic"));
        assert_eq!(
            route("hunyuan.tencentcloudapi.com", "/", Some(("x-tc-action", "ChatCompletions"))),
            Some(("tencent".to_owned(), "chat"))
        );
        assert_eq!(told("/", ("x-tc-action", "ChatCompletions")), None);
        assert_eq!(told("/v1/ai/language-model", ("ai-language-model-id", "openai/gpt-5")).as_deref(), Some("vercel_ai_gateway"));
        assert_eq!(told("/", ("user-agent", "unknown/None; hf_hub/0.30; python/3.12")).as_deref(), Some("tgi"));
    }

    #[test]
    fn no_rule_is_hidden_behind_one_before_it() {
        for (at, rule) in HOSTS.iter().enumerate() {
            let name = rule.pattern.replace('*', "x");
            let hidden = HOSTS.iter().take(at).find(|before| before.path_prefix.is_empty() && matches(before.pattern, &name));
            assert!(hidden.is_none(), "{} by {}", rule.pattern, hidden.map_or("", |rule| rule.pattern));
        }
    }
}
