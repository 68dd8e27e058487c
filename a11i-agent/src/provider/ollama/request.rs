//! Request bodies of all four paths.

use crate::{
    call::{CallBuilder, Message, Modality, Operation, OutputType, Part},
    provider::{
        lenient::{Float, Int, Raw, Text, Unreadable, lenient_object, parse},
        openai_chat::request::{messages, stop_sequences, tools},
    },
};

lenient_object! {
    struct Request<'a> {
        "model" => model: Text<'a>,
        "name" => name: Text<'a>,
        "stream" => stream: Raw<'a>,
        "messages" => messages: Raw<'a>,
        "tools" => tools: Raw<'a>,
        "prompt" => prompt: Text<'a>,
        "suffix" => suffix: Text<'a>,
        "system" => system: Text<'a>,
        "images" => images: Raw<'a>,
        "input" => input: Raw<'a>,
        "format" => format: Raw<'a>,
        "think" => think: Raw<'a>,
        "dimensions" => dimensions: Int,
        "options" => options: Options<'a>,
    }
}

lenient_object! {
    struct Options<'a> {
        "temperature" => temperature: Float,
        "top_p" => top_p: Float,
        "top_k" => top_k: Int,
        "num_predict" => num_predict: Int,
        "seed" => seed: Int,
        "stop" => stop: Raw<'a>,
        "presence_penalty" => presence_penalty: Float,
        "frequency_penalty" => frequency_penalty: Float,
    }
}

pub(super) fn read(operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    let request: Request<'_> = parse(body)?;
    let is_partial = call.request_is_partial;
    let facts = &mut call.request;
    // `name` is what the first versions called it.
    facts.model = request.model.name().or_else(|| request.name.name());
    if operation == Operation::Embeddings {
        facts.embedding_dimensions = request.dimensions.0;
        for text in [request.input.text().as_deref(), request.prompt.as_str()].into_iter().flatten() {
            call.estimation.input.push(text);
        }
        request.input.for_each(|text: Text<'_>| call.estimation.input.push(text.as_str().unwrap_or_default()));
        return Ok(());
    }
    // Of a request of which a part is missing, nobody knows whether it said no.
    facts.stream = request.stream.json().map_or(!is_partial, |said| said != "false");
    facts.reasoning_level = request.think.text().filter(|level| !level.is_empty()).map(std::borrow::Cow::into_owned);
    facts.output_type = output_type(request.format);
    let options = &request.options;
    facts.temperature = options.temperature.0;
    facts.top_p = options.top_p.0;
    facts.top_k = options.top_k.0;
    // Negative: without end, or as much as fits.
    facts.max_tokens = options.num_predict.0.filter(|most| *most >= 0);
    facts.seed = options.seed.0;
    facts.stop_sequences = stop_sequences(options.stop);
    facts.presence_penalty = options.presence_penalty.0;
    facts.frequency_penalty = options.frequency_penalty.0;
    messages(request.messages, call);
    tools(request.tools, call);
    if let Some(system) = request.system.filled() {
        call.estimation.input.push(system);
        let content = call.clip_input(system);
        call.system_instruction(Part::Text { content });
    }
    prompt(&request, call);
    Ok(())
}

/// `json`, or a schema; an empty text is none.
fn output_type(format: Raw<'_>) -> Option<OutputType> {
    let json = format.json()?;
    (json.starts_with('{') || json == "\"json\"").then_some(OutputType::Json)
}

fn prompt(request: &Request<'_>, call: &mut CallBuilder) {
    let mut parts = Vec::new();
    for text in [&request.prompt, &request.suffix].into_iter().filter_map(Text::filled) {
        call.estimation.input.push(text);
        if call.keeps_content() {
            parts.push(Part::Text { content: call.clip_input(text) });
        }
    }
    request.images.for_each(|image: Text<'_>| {
        if let Some(data) = image.filled().filter(|data| call.keeps_content() && call.admit_input(data.len())) {
            parts.push(Part::Blob { modality: Modality::Image, mime_type: None, content: data.to_owned() });
        }
    });
    if !parts.is_empty() {
        call.input_message(Message { role: "user".to_owned(), parts, ..Message::default() });
    }
}
