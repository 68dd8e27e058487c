//! Calls against hand-computed bills: prices per million tokens are written out beside each.

use proptest::prelude::*;

use super::*;
use crate::{
    call::{Operation, Usage},
    fixture::call,
    tokens::CountedCall,
};

const SETTINGS: CostSettings = CostSettings { enabled: true, unknown_hosts: UnknownHosts::Unpriced, today: 20_777 };

fn usage(input: u64, output: u64) -> Usage {
    Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() }
}

fn cached(input: u64, output: u64, read: u64, write: u64, write_1h: u64) -> Usage {
    Usage {
        cache_read_input_tokens: Some(read),
        cache_write_input_tokens: Some(write),
        cache_write_1h_input_tokens: Some(write_1h),
        ..usage(input, output)
    }
}

fn book() -> PriceBook {
    PriceBook::embedded(Overrides::default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as `price` takes it")]
fn price_at(book: &PriceBook, call: LlmCall, settings: &CostSettings) -> Result<Option<Cost>, PriceMissReason> {
    let (priced, miss) = book.price(CountedCall::as_reported(call), settings);
    if let Some(parts) = priced.cost.and_then(|cost| cost.parts) {
        let sum = parts.input.0 + parts.output.0 + parts.cache_read.0 + parts.cache_write.0 + parts.fees.0;
        assert_eq!(priced.cost.map(|cost| cost.total.0), Some(sum));
    }
    match miss {
        Some(miss) => Err(miss.reason),
        None => Ok(priced.cost),
    }
}

fn price(call: LlmCall) -> Result<Option<Cost>, PriceMissReason> {
    price_at(&book(), call, &SETTINGS)
}

fn used(provider: &'static str, model: &str, usage: Usage) -> LlmCall {
    LlmCall { usage, ..call(provider, model) }
}

/// The total in nano-dollars.
#[track_caller]
fn nanos(call: LlmCall) -> i64 {
    price(call).unwrap().unwrap().total.0
}

#[test]
fn list_prices_of_real_models() {
    // 1,000 x 2.50 + 500 x 10 per million = 0.0025 + 0.005 USD
    assert_eq!(nanos(used("openai", "gpt-4o", usage(1_000, 500))), 7_500_000);
    // 600 x 2.50 + 400 x 1.25 + 100 x 10
    assert_eq!(nanos(used("openai", "gpt-4o", cached(1_000, 100, 400, 0, 0))), 3_000_000);
    // 1,000 x 0.15 + 1,000 x 0.60
    assert_eq!(nanos(used("openai", "gpt-4o-mini", usage(1_000, 1_000))), 750_000);
    // gpt-5.6: 1,000 x 5 + 1,000 x 30, and 200 cache writes at 6.25 instead of 5
    assert_eq!(nanos(used("openai", "gpt-5.6", cached(1_000, 1_000, 0, 200, 0))), 800 * 5_000 + 200 * 6_250 + 1_000 * 30_000);
    // claude-sonnet-4-5: 1,000 in of which 300 read at 0.30, 500 written (200 for an hour at 6, 300 at 3.75); 100 out at 15
    let sonnet = used("anthropic", "claude-sonnet-4-5-20250929", cached(1_000, 100, 300, 500, 200));
    assert_eq!(nanos(sonnet), 200 * 3_000 + 300 * 300 + 300 * 3_750 + 200 * 6_000 + 100 * 15_000);
    // one token of gpt-4o-mini's cache: 0.075 per million = 75 nano-dollars
    assert_eq!(nanos(used("openai", "gpt-4o-mini", cached(1, 0, 1, 0, 0))), 75);
}

#[test]
fn parts_are_those_of_the_bill() {
    let cost = price(used("anthropic", "claude-sonnet-4-5", cached(1_000, 100, 300, 500, 200))).unwrap().unwrap();
    let parts = cost.parts.unwrap();
    assert_eq!(parts.input.0, 600_000);
    assert_eq!(parts.cache_read.0, 90_000);
    assert_eq!(parts.cache_write.0, 2_325_000);
    assert_eq!(parts.output.0, 1_500_000);
    assert_eq!(parts.fees.0, 0);
    assert_eq!(cost.source, CostSource::Exact);
}

#[test]
fn beyond_the_threshold_every_token_is_dearer() {
    let at = |input| nanos(used("anthropic", "claude-sonnet-4-5", usage(input, 1_000)));
    assert_eq!(at(200_000), 200_000 * 3_000 + 1_000 * 15_000);
    assert_eq!(at(200_001), 200_001 * 6_000 + 1_000 * 22_500);
    // The threshold counts cached input too.
    let cached = used("anthropic", "claude-sonnet-4-5", cached(300_000, 0, 300_000, 0, 0));
    assert_eq!(nanos(cached), 300_000 * 600);
    // gpt-5.6: 272k, 10 and 45
    assert_eq!(nanos(used("openai", "gpt-5.6", usage(272_001, 10))), 272_001 * 10_000 + 10 * 45_000);
}

#[test]
fn prices_by_range_of_input() {
    // qwen3-coder-flash: up to 32k 0.30 and 1.50, up to 128k 0.50 and 2.50
    let at = |input| nanos(used("dashscope", "qwen3-coder-flash", usage(input, 100)));
    assert_eq!(at(32_000), 32_000 * 300 + 100 * 1_500);
    assert_eq!(at(32_001), 32_001 * 500 + 100 * 2_500);
    assert_eq!(at(2_000_000), 2_000_000 * 1_600 + 100 * 9_600);
}

#[test]
fn the_tier_of_the_response_decides() {
    let at = |model, tier: &str, input| {
        let mut call = used("openai", model, usage(input, 100));
        call.request.service_tier = Some("priority".to_owned());
        call.response.service_tier = Some(tier.to_owned());
        price(call).map(|cost| cost.unwrap().total.0)
    };
    assert_eq!(at("gpt-4o", "default", 1_000), Ok(1_000 * 2_500 + 100 * 10_000));
    assert_eq!(at("gpt-4o", "priority", 1_000), Ok(1_000 * 4_250 + 100 * 17_000));
    assert_eq!(at("gpt-5.6", "flex", 1_000), Ok(1_000 * 2_500 + 100 * 15_000));
    assert_eq!(at("gpt-5.6", "batch", 1_000), Ok(1_000 * 2_500 + 100 * 15_000));
    // Flex and long context: half of 10 and 45.
    assert_eq!(at("gpt-5.6", "flex", 300_000), Ok(300_000 * 5_000 + 100 * 22_500));
    assert_eq!(at("gpt-4o", "scale", 1_000), Err(PriceMissReason::NotBilledPerToken));
    assert_eq!(at("gpt-4o", "platinum", 1_000), Err(PriceMissReason::UnknownTier));
}

#[test]
fn a_tier_without_a_price_is_half_or_unknown() {
    let at = |provider, model, tier: &str| {
        let mut call = used(provider, model, usage(1_000, 0));
        call.response.service_tier = Some(tier.to_owned());
        price(call).map(|cost| cost.unwrap().total.0)
    };
    assert_eq!(at("anthropic", "claude-sonnet-4-5", "standard"), Ok(3_000_000));
    assert_eq!(at("anthropic", "claude-sonnet-4-5", "batch"), Ok(1_500_000));
    assert_eq!(at("anthropic", "claude-sonnet-4-5", "priority"), Err(PriceMissReason::NotBilledPerToken));
    assert_eq!(at("gcp.gemini", "gemini-2.5-pro", "PROVISIONED_THROUGHPUT"), Err(PriceMissReason::NotBilledPerToken));
    // Groq's flex is no discount: 0.59 per million.
    assert_eq!(at("groq", "llama-3.3-70b-versatile", "flex"), Ok(590_000));
}

#[test]
fn surcharges_for_regions_and_speed() {
    let mut regional = used("anthropic", "claude-opus-4-6", usage(1_000, 100));
    regional.response.inference_geo = Some("us".to_owned());
    // 5 and 25, times 1.1
    assert_eq!(nanos(regional.clone()), 1_000 * 5_500 + 100 * 27_500);
    regional.response.speed = Some("fast".to_owned());
    // and times 6
    assert_eq!(nanos(regional), 1_000 * 33_000 + 100 * 165_000);
    let mut host = used("openai", "gpt-5.6", usage(1_000, 0));
    host.server.address = Some("eu.api.openai.com".to_owned());
    assert_eq!(nanos(host), 1_000 * 5_500);
    let mut slow = used("anthropic", "claude-sonnet-4-5", usage(1_000, 0));
    slow.response.speed = Some("fast".to_owned());
    assert_eq!(price(slow), Err(PriceMissReason::UnknownTier));
}

#[test]
fn searches_and_requests_have_fees_of_their_own() {
    let searching = |provider, model, searches| {
        let usage = Usage { web_search_requests: Some(searches), ..usage(0, 0) };
        price(used(provider, model, usage)).unwrap().unwrap().parts.unwrap().fees.0
    };
    assert_eq!(searching("anthropic", "claude-sonnet-4-5", 3), 30_000_000); // 10 per 1,000
    assert_eq!(searching("gcp.gemini", "gemini-2.5-pro", 3), 35_000_000); // 35 per 1,000 prompts
    assert_eq!(searching("perplexity", "pplx-7b-online", 0), 5_000_000); // 0.005 per request
    // A search model searches with every answered request, and only then: medium context, 35 per 1,000.
    let silent = used("openai", "gpt-4o-search-preview", usage(0, 0));
    assert_eq!(nanos(silent.clone()), 35_000_000);
    let mut failed = silent;
    failed.response.status = Some(500);
    assert_eq!(nanos(failed), 0);
}

#[test]
fn audio_and_images_are_taken_out_of_the_text() {
    let mut heard = usage(1_000, 500);
    heard.input_by_modality.audio = Some(400);
    heard.output_by_modality.audio = Some(300);
    // gpt-4o-audio-preview: text 2.50 and 10
    let row = price(used("openai", "gpt-4o-audio-preview", heard.clone())).unwrap().unwrap().parts.unwrap();
    let plain = price(used("openai", "gpt-4o-audio-preview", usage(600, 200))).unwrap().unwrap().parts.unwrap();
    assert_eq!(plain.input.0, 600 * 2_500);
    assert_eq!(plain.output.0, 200 * 10_000);
    assert!(row.input.0 > plain.input.0 + 400 * 2_500, "{row:?}");
    assert!(row.output.0 > plain.output.0 + 300 * 10_000, "{row:?}");
}

#[test]
fn dated_prices_follow_the_day() {
    let on = |model, day: &str| {
        let settings = CostSettings { today: row::parse_day(day).unwrap(), ..SETTINGS };
        let provider = if model == "claude-sonnet-5" { "anthropic" } else { "gcp.gemini" };
        price_at(&book(), used(provider, model, usage(1_000, 1_000)), &settings).unwrap().unwrap().total.0
    };
    assert_eq!(on("claude-sonnet-5", "2026-08-31"), 1_000 * 2_000 + 1_000 * 10_000);
    assert_eq!(on("claude-sonnet-5", "2026-09-01"), 1_000 * 3_000 + 1_000 * 15_000);
    // Announced for 2027: 0.75 and 3.75 become 1.50 and 7.50.
    assert_eq!(on("gemini-3.6-flash", "2026-12-31"), 1_000 * 750 + 1_000 * 3_750);
    assert_eq!(on("gemini-3.6-flash", "2027-01-01"), 1_000 * 1_500 + 1_000 * 7_500);
}

#[test]
fn reasoning_is_billed_as_output_unless_it_has_a_price() {
    let thinking = |provider, model| {
        let usage = Usage { reasoning_output_tokens: Some(400), ..usage(0, 1_000) };
        nanos(used(provider, model, usage))
    };
    assert_eq!(thinking("openai", "gpt-5.6"), 1_000 * 30_000);
    // sonar-deep-research: 8, reasoning 3
    assert_eq!(thinking("perplexity", "sonar-deep-research"), 600 * 8_000 + 400 * 3_000);
}

#[test]
fn azure_is_priced_by_the_answer_and_bedrock_by_the_request() {
    let mut azure = used("azure.ai.openai", "prod-chat", usage(1_000, 0));
    assert_eq!(price(azure.clone()), Err(PriceMissReason::UnknownModel));
    azure.response.model = Some("gpt-4o-2024-08-06".to_owned());
    assert_eq!(nanos(azure), 2_500_000);
    let mut bedrock = used("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", usage(1_000, 0));
    bedrock.response.model = Some("claude-sonnet-4-5-20250929".to_owned());
    assert_eq!(nanos(bedrock), 3_300_000);
}

#[test]
fn a_stated_cost_wins_everywhere() {
    let mut stated = used("openrouter", "anthropic/claude-sonnet-4.5", usage(1_000, 0));
    stated.server.known_host = false;
    stated.response.stated_cost = Some(NanoUsd(42));
    let cost = price(stated).unwrap().unwrap();
    assert_eq!((cost.total, cost.parts, cost.source), (NanoUsd(42), None, CostSource::Provider));
}

#[test]
fn what_is_not_billed_has_no_cost_and_no_miss() {
    assert_eq!(price(call("openai", "gpt-4o")), Ok(None));
    for operation in [Operation::FetchResponse, Operation::Other("count_tokens")] {
        let free = LlmCall { operation, ..used("openai", "gpt-4o", usage(1_000, 0)) };
        assert_eq!(price(free), Ok(None));
    }
    assert_eq!(price(used("ollama", "gpt-oss:20b", usage(1_000, 10))), Ok(None));
    let off = CostSettings { enabled: false, ..SETTINGS };
    assert_eq!(price_at(&book(), used("openai", "gpt-4o", usage(1, 1)), &off), Ok(None));
}

#[test]
fn list_prices_hold_at_known_hosts_only() {
    let mut elsewhere = used("openai", "gpt-4o", usage(1_000, 0));
    elsewhere.server.known_host = false;
    assert_eq!(price(elsewhere.clone()), Err(PriceMissReason::UnknownHost));
    let assume = CostSettings { unknown_hosts: UnknownHosts::Assume, ..SETTINGS };
    let cost = price_at(&book(), elsewhere, &assume).unwrap().unwrap();
    assert_eq!((cost.total.0, cost.source), (2_500_000, CostSource::Assumed));
    let mut subscription = used("openai", "gpt-5.6", usage(1_000, 0));
    subscription.server.address = Some("chatgpt.com".to_owned());
    assert_eq!(price(subscription), Err(PriceMissReason::NotBilledPerToken));
}

#[test]
fn a_miss_names_what_is_missing() {
    let (priced, miss) = book().price(CountedCall::as_reported(used("openai", "gpt-9", usage(1, 1))), &SETTINGS);
    assert_eq!(priced.cost, None);
    let expected =
        PriceMiss { provider: ProviderName::of("openai"), model: Some("gpt-9".to_owned()), reason: PriceMissReason::UnknownModel };
    assert_eq!(miss, Some(expected));
    let mut unnamed = used("openai", "", usage(1, 1));
    unnamed.request.model = None;
    assert_eq!(price(unnamed), Err(PriceMissReason::NoModel));
}

#[test]
fn half_a_usage_is_no_bill() {
    let mut cut = used("openai", "gpt-4o", Usage { output_tokens: Some(5), ..Usage::default() });
    assert_eq!(price(cut.clone()), Err(PriceMissReason::IncompleteUsage));
    // The prompt was taken, nothing was generated: the prompt is billed.
    cut.usage = Usage { input_tokens: Some(1_000), ..Usage::default() };
    assert_eq!(nanos(cut.clone()), 2_500_000);
    cut.response.finish_reasons = vec!["stop".to_owned()];
    assert_eq!(price(cut), Err(PriceMissReason::IncompleteUsage));
    let embedded = LlmCall {
        operation: Operation::Embeddings,
        ..used("openai", "text-embedding-3-small", Usage { input_tokens: Some(1_000), ..Usage::default() })
    };
    assert_eq!(nanos(embedded), 20_000); // 0.02
}

#[test]
fn the_context_window_comes_with_the_row() {
    let (priced, _) = book().price(CountedCall::as_reported(call("openai", "gpt-4o")), &SETTINGS);
    assert_eq!(priced.context_window, Some(128_000));
    let (priced, _) = book().price(CountedCall::as_reported(call("openai", "gpt-9")), &SETTINGS);
    assert_eq!(priced.context_window, None);
}

#[test]
fn a_price_file_overrides_the_table_where_it_says() {
    let json = r#"{"providers": [
        {"name": "openai", "models": [{"name": "gpt-4o*", "pricing": {"prompt_tokens": 0.000001, "completion_tokens": 0.000002}},
                                      {"name": "gpt-4o-mini", "pricing": {"prompt_tokens": 0.000003, "completion_tokens": 0}}]},
        {"name": "vllm", "base_url": "http://llm.internal:8000/v1",
         "models": [{"name": "*", "pricing": {"prompt_tokens": 0.00001, "completion_tokens": 0.00003, "request": 0.5}}]}]}"#;
    let overrides = Overrides::try_from(serde_json::from_str::<PriceFile>(json).unwrap()).unwrap();
    assert_eq!(overrides.gateways().map(|g| (g.host.as_str(), g.port)).next(), Some(("llm.internal", Some(8000))));
    let book = PriceBook::embedded(overrides);
    let price = |call| price_at(&book, call, &SETTINGS).map(|cost| cost.map(|cost| (cost.total.0, cost.source)));
    let chat = |model| used("openai", model, usage(1_000, 1_000));
    assert_eq!(price(chat("gpt-4o")), Ok(Some((3_000_000, CostSource::Override))));
    // A name written out wins over a pattern that comes first.
    assert_eq!(price(chat("gpt-4o-mini")), Ok(Some((3_000_000, CostSource::Override))));
    assert_eq!(price(chat("gpt-5.6")), Ok(Some((35_000_000, CostSource::Exact))));
    let mut own = chat("my-llama");
    own.server.known_host = false;
    assert_eq!(price(own.clone()), Err(PriceMissReason::UnknownHost));
    (own.server.address, own.server.port) = (Some("LLM.internal".to_owned()), Some(8000));
    assert_eq!(price(own.clone()), Ok(Some((540_000_000, CostSource::Override))));
    own.server.port = Some(9000);
    assert_eq!(price(own), Err(PriceMissReason::UnknownHost));
}

#[test]
fn subsets_larger_than_their_whole_are_cut() {
    // As seen from a provider: more cached than prompt tokens.
    assert_eq!(nanos(used("openai", "gpt-4o", cached(1_000, 0, 5_000, 5_000, 9_000))), 1_000 * 1_250);
}

const MODELS: [(&str, &str); 8] = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.6"),
    ("openai", "gpt-4o-audio-preview"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-6"),
    ("gcp.gemini", "gemini-2.5-pro"),
    ("dashscope", "qwen3-coder-flash"),
    ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
];

fn any_count() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0..1_000_000_u64).prop_map(Some), any::<u64>().prop_map(Some)]
}

fn any_usage() -> impl Strategy<Value = Usage> {
    (any_count(), any_count(), any_count(), any_count(), any_count(), any_count(), any_count(), any_count()).prop_map(
        |(input, output, read, write, write_1h, reasoning, audio, searches)| {
            let mut usage = Usage {
                input_tokens: input,
                output_tokens: output,
                cache_read_input_tokens: read,
                cache_write_input_tokens: write,
                cache_write_1h_input_tokens: write_1h,
                reasoning_output_tokens: reasoning,
                web_search_requests: searches,
                ..Usage::default()
            };
            usage.input_by_modality.audio = audio;
            usage.output_by_modality.audio = audio;
            usage.cache_read_by_modality.audio = audio;
            usage
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_usage_makes_a_negative_cost_or_a_panic(usage in any_usage(), (provider, model) in prop::sample::select(&MODELS[..])) {
        thread_local!(static BOOK: PriceBook = book());
        // `price_at` checks that parts sum to the total.
        let cost = BOOK.with(|book| price_at(book, used(provider, model, usage), &SETTINGS));
        if let Ok(Some(cost)) = cost {
            prop_assert!(cost.total.0 >= 0);
        }
    }

    #[test]
    fn more_tokens_never_cost_less(
        input in 0..3_000_000_u64, output in 0..300_000_u64, more in 0..1_000_000_u64, share in 0..100_u64,
        (provider, model) in prop::sample::select(&MODELS[..]),
    ) {
        thread_local!(static BOOK: PriceBook = book());
        let total = |usage| BOOK.with(|book| price_at(book, used(provider, model, usage), &SETTINGS)).unwrap().unwrap().total.0;
        let read = input * share / 100;
        let before = total(cached(input, output, read, 0, 0));
        prop_assert!(total(cached(input + more, output, read, 0, 0)) >= before);
        prop_assert!(total(cached(input, output + more, read, 0, 0)) >= before);
    }

    #[test]
    fn no_model_id_makes_a_panic(model in "\\PC{0,40}", provider in prop::sample::select(vec!["openai", "aws.bedrock", "azure.ai.openai", "x"])) {
        thread_local!(static BOOK: PriceBook = book());
        let mut call = used(provider, &model, usage(10, 10));
        call.response.model = Some(model);
        let cost = BOOK.with(|book| price_at(book, call, &SETTINGS));
        prop_assert!(cost.is_err() || cost.is_ok_and(|cost| cost.is_none_or(|cost| cost.total.0 >= 0)));
    }
}
