//! Requests in the models' own formats, told apart by their shape: a profile or an imported model hides whose it is, and the shapes of the
//! makers have no field in common that means two things.

use super::{converse_request, parameters::Parameters};
use crate::{
    call::{CallBuilder, Message, Operation, OutputType, Part},
    provider::{
        Dialect as _,
        anthropic::Anthropic,
        lenient::{Count, Few, Flag, Int, Raw, Shape, Text, Unreadable, clip, lenient_object, parse},
        openai_chat::request as openai_chat,
    },
};

lenient_object! {
    struct Request<'a> {
        // Anthropic
        "anthropic_version" => anthropic_version: Text<'a>,
        // chat formats; which, their blocks tell
        "messages" => messages: Raw<'a>,
        "inferenceConfig" => inference_config: Raw<'a>,
        "schemaVersion" => schema_version: Raw<'a>,
        "toolConfig" => tool_config: Raw<'a>,
        // Llama, Mistral, Claude 2, Cohere Command, AI21 Jurassic, DeepSeek-R1
        "prompt" => prompt: Text<'a>,
        "inputPrompt" => input_prompt: Text<'a>,
        // Titan
        "inputText" => input_text: Text<'a>,
        "textGenerationConfig" => text_generation: Parameters<'a>,
        "inputImage" => input_image: Text<'a>,
        "normalize" => normalize: Flag,
        "embeddingTypes" => embedding_types_camel: Few<Text<'a>>,
        "embeddingConfig" => embedding_config: EmbeddingConfig<'a>,
        // Cohere
        "message" => message: Text<'a>,
        "preamble" => preamble: Text<'a>,
        "chat_history" => chat_history: Raw<'a>,
        "tools" => tools: Raw<'a>,
        "texts" => texts: Raw<'a>,
        "images" => images: Raw<'a>,
        "input_type" => input_type: Text<'a>,
        "embedding_types" => embedding_types: Few<Text<'a>>,
        "output_dimension" => output_dimension: Int,
        "dimensions" => dimensions: Int,
        "query" => query: Text<'a>,
        "documents" => documents: Raw<'a>,
        // images
        "taskType" => task_type: Text<'a>,
        "textToImageParams" => text_to_image: Words<'a>,
        "imageGenerationConfig" => image_generation: Parameters<'a>,
        "singleEmbeddingParams" => single_embedding: SingleEmbedding<'a>,
        "text_prompts" => text_prompts: Raw<'a>,
        // Text Generation Inference and what JumpStart serves
        "inputs" => inputs: Raw<'a>,
        "text_inputs" => text_inputs: Raw<'a>,
        "parameters" => parameters: Parameters<'a>,
    }
}

lenient_object! {
    struct EmbeddingConfig<'a> {
        "outputEmbeddingLength" => length: Int,
    }
}

lenient_object! {
    struct SingleEmbedding<'a> {
        "embeddingDimension" => dimension: Int,
        "text" => text: Words<'a>,
    }
}

lenient_object! {
    struct Words<'a> {
        "text" => text: Text<'a>,
        "value" => value: Text<'a>,
    }
}

lenient_object! {
    struct HistoryMessage<'a> {
        "role" => role: Text<'a>,
        "message" => message: Text<'a>,
    }
}

lenient_object! {
    struct CohereTool<'a> {
        "name" => name: Text<'a>,
        "description" => description: Text<'a>,
        "parameter_definitions" => parameters: Raw<'a>,
    }
}

lenient_object! {
    struct ChatMessage<'a> {
        "content" => content: Raw<'a>,
    }
}

lenient_object! {
    struct ChatBlock<'a> {
        "type" => kind: Text<'a>,
        "text" => text: Text<'a>,
        "index" => index: Count,
    }
}

/// Whether it is a request that a language model takes.
pub(in crate::provider) fn read(body: &[u8], call: &mut CallBuilder) -> Result<bool, Unreadable> {
    let request: Request<'_> = parse(body)?;
    if request.messages.0.is_some() {
        chat(&request, body, call)?;
        return Ok(true);
    }
    parse::<Parameters<'_>>(body)?.tell(call);
    request.text_generation.tell(call);
    request.image_generation.tell(call);
    request.parameters.tell(call);
    let prompt = request.prompt.as_str().or_else(|| request.input_prompt.as_str());
    if let Some(text) = request.message.as_str() {
        cohere_chat(&request, text, call);
    } else if let Some(text) = prompt {
        refine(call, Operation::TextCompletion);
        user_says(text, call);
    } else if let Some(text) = request.input_text.as_str().or_else(|| request.input_image.as_str().map(|_| "")) {
        let embeds = request.input_image.0.is_some()
            || request.normalize.0.is_some()
            || request.dimensions.0.is_some()
            || request.embedding_config.is_object()
            || !request.embedding_types_camel.0.is_empty();
        refine(call, if embeds { Operation::Embeddings } else { Operation::TextCompletion });
        user_says(text, call);
    } else if request.texts.0.is_some() || request.images.0.is_some() || request.input_type.0.is_some() {
        refine(call, Operation::Embeddings);
        texts(request.texts, call);
    } else if request.single_embedding.is_object() {
        refine(call, Operation::Embeddings);
        user_says(request.single_embedding.text.value.as_str().unwrap_or_default(), call);
    } else if request.query.0.is_some() && request.documents.0.is_some() {
        refine(call, Operation::Other("rerank"));
    } else if request.task_type.0.is_some() || request.text_prompts.0.is_some() {
        image(&request, call);
    } else if request.text_inputs.0.is_some() {
        refine(call, Operation::Embeddings);
        texts(request.text_inputs, call);
    } else if request.inputs.0.is_some() {
        refine(call, Operation::TextCompletion);
        texts(request.inputs, call);
    } else {
        return Ok(false);
    }
    if call.operation() == Operation::Embeddings {
        embedding_parameters(&request, call);
    }
    Ok(true)
}

/// Where the model's id did not say.
fn refine(call: &mut CallBuilder, operation: Operation) {
    if call.operation() == Operation::Chat {
        call.become_operation(operation);
    }
}

fn chat(request: &Request<'_>, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
    // The path says whether it streams, not the body.
    let stream = call.request.stream;
    let operation = call.operation();
    match chat_format(request, call) {
        ChatFormat::Anthropic => Anthropic.request(operation, body, call)?,
        ChatFormat::Converse => converse_request::read(body, call)?,
        ChatFormat::OpenAi => openai_chat::read(body, call)?,
    }
    call.request.stream |= stream;
    Ok(())
}

enum ChatFormat {
    Anthropic,
    /// Amazon's Nova.
    Converse,
    OpenAi,
}

fn chat_format(request: &Request<'_>, call: &CallBuilder) -> ChatFormat {
    if request.anthropic_version.0.is_some() {
        return ChatFormat::Anthropic;
    }
    let model = call.request.model.as_deref().unwrap_or_default();
    if [request.inference_config, request.schema_version, request.tool_config].iter().any(|field| field.0.is_some())
        || model.contains("amazon.nova")
    {
        return ChatFormat::Converse;
    }
    // Only Converse's blocks have no type.
    let mut untyped = None;
    request.messages.for_each(|message: ChatMessage<'_>| {
        message.content.for_each(|block: ChatBlock<'_>| {
            untyped.get_or_insert(block.kind.0.is_none() && block.text.0.is_some());
        });
    });
    if untyped == Some(true) { ChatFormat::Converse } else { ChatFormat::OpenAi }
}

fn user_says(text: &str, call: &mut CallBuilder) {
    call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
    call.prompt(text);
}

/// One text, or a list of them.
fn texts(input: Raw<'_>, call: &mut CallBuilder) {
    if let Some(text) = input.text() {
        user_says(&text, call);
    }
    input.for_each(|text: Text<'_>| user_says(text.as_str().unwrap_or_default(), call));
}

fn cohere_chat(request: &Request<'_>, text: &str, call: &mut CallBuilder) {
    if let Some(preamble) = request.preamble.filled() {
        call.estimation.input.push(preamble);
        if call.keeps_content() {
            let content = call.clip_input(preamble);
            call.system_instruction(Part::Text { content });
        }
    }
    request.chat_history.for_each(|message: HistoryMessage<'_>| {
        let text = message.message.as_str().unwrap_or_default();
        call.estimation.input.push(text);
        call.estimation.input_messages = call.estimation.input_messages.saturating_add(1);
        if call.keeps_content() {
            let role = if message.role.as_str() == Some("CHATBOT") { "assistant" } else { message.role.filled().unwrap_or("user") };
            let (role, content) = (clip(role, 64).to_ascii_lowercase(), call.clip_input(text));
            call.input_message(Message { role, parts: vec![Part::Text { content }], ..Message::default() });
        }
    });
    user_says(text, call);
    request.tools.for_each(|tool: CohereTool<'_>| {
        let (name, description) = (tool.name.name().unwrap_or_default(), tool.description.as_str().unwrap_or_default());
        call.offer_tool("function", &name, description, tool.parameters.json().unwrap_or_default());
    });
}

fn image(request: &Request<'_>, call: &mut CallBuilder) {
    refine(call, Operation::Other("image_generation"));
    call.request.output_type = Some(OutputType::Image);
    if let Some(text) = request.text_to_image.text.as_str() {
        user_says(text, call);
    }
    request.text_prompts.for_each(|prompt: Words<'_>| user_says(prompt.text.as_str().unwrap_or_default(), call));
}

fn embedding_parameters(request: &Request<'_>, call: &mut CallBuilder) {
    let facts = &mut call.request;
    facts.embedding_dimensions =
        [request.output_dimension, request.dimensions, request.embedding_config.length, request.single_embedding.dimension]
            .into_iter()
            .find_map(|length| length.0);
    facts.encoding_formats = request.embedding_types.0.iter().chain(&request.embedding_types_camel.0).filter_map(Text::name).collect();
}
