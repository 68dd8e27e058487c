//! OpenAI audio (<https://platform.openai.com/docs/api-reference/audio>): speech made of text, and text of speech, in its language or in
//! English; also Groq's, `OpenRouter`'s, Mistral's, Cohere's and those of local servers.

use super::{
    Dialect, StreamFrame,
    error_body::{read_error, read_failure},
    lenient::{Flag, Float, Raw, Shape, Text, Unreadable, lenient_object, parse},
    openai_media_usage::{self, MediaUsage},
    posted,
};
use crate::{
    call::{CallBuilder, Operation, OutputType, Part, PartKind, PartSlot, ProviderName},
    http::RequestHead,
};

pub(super) struct OpenAiAudio;

const SPEECH: Operation = Operation::Other("speech");
const TRANSCRIPTION: Operation = Operation::Other("transcription");

impl Dialect for OpenAiAudio {
    fn name(&self) -> ProviderName {
        ProviderName::of("openai")
    }

    fn usual_operation(&self) -> Operation {
        TRANSCRIPTION
    }

    fn path_ends(&self) -> &'static [(&'static str, Operation)] {
        &[("/audio/speech", SPEECH), ("/audio/transcriptions", TRANSCRIPTION), ("/audio/translations", Operation::Other("translation"))]
    }

    fn claims(&self, head: &RequestHead) -> Option<Operation> {
        posted(head, self.path_ends())
    }

    fn request(&self, operation: Operation, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let request: Request<'_> = parse(body)?;
        let facts = &mut call.request;
        facts.model = request.model.name().or_else(|| facts.model.take());
        facts.temperature = request.temperature.0;
        // Speech is told by its format, the others by a flag.
        facts.stream = request.stream.0.unwrap_or(false) || request.stream_format.as_str() == Some("sse");
        facts.output_type = Some(if operation == SPEECH { OutputType::Speech } else { OutputType::Text });
        for text in [request.instructions.filled(), request.prompt.filled(), request.input.filled()].into_iter().flatten() {
            call.prompt(text);
        }
        Ok(())
    }

    fn response(&self, body: &[u8], call: &mut CallBuilder) -> Result<(), Unreadable> {
        let failed = call.response.has_error_status();
        if call.operation() == SPEECH && !failed && !is_object(body) {
            // Sound under a label of no kind.
            return Ok(());
        }
        if !failed && !is_object(body) {
            // `response_format`: text, srt, vtt.
            let text = std::str::from_utf8(body).map_err(|_| Unreadable)?;
            call.append(0, TEXT, PartKind::Text, text);
            return Ok(());
        }
        let response: Response<'_> = parse(body)?;
        if failed {
            read_failure(body, call);
            return Ok(());
        }
        if response.error.0.is_some() {
            read_error(response.error, call);
        }
        call.response.id = response.id.name().or_else(|| response.x_groq.id.name());
        call.response.model = response.model.name();
        if let Some(reason) = response.finish_reason.filled() {
            call.finish(0, reason);
        }
        call.append(0, TEXT, PartKind::Text, response.text.as_str().unwrap_or_default());
        if response.usage.is_object() {
            openai_media_usage::read(&response.usage, call);
        }
        Ok(())
    }

    fn chunk(&self, frame: &StreamFrame<'_>, call: &mut CallBuilder) {
        let Ok(event) = parse::<Event<'_>>(frame.data) else { return };
        let kind = event.kind.filled().or(frame.event).unwrap_or_default();
        if event.error.0.is_some() {
            return read_error(event.error, call);
        }
        event.model.replace(&mut call.response.model);
        match kind {
            "error" => call.fail(event.code.filled().or(Some("error")), event.message.filled()),
            // Mistral's names follow OpenAI's.
            "transcript.text.delta" | "transcription.text.delta" => {
                let piece = event.delta.as_str().or_else(|| event.text.as_str());
                call.append(0, TEXT, PartKind::Text, piece.unwrap_or_default());
            }
            "speech.audio.delta" => {
                call.whole_part(0, SOUND, 0, || Part::Generic { generic_type: "audio".to_owned() });
            }
            "transcript.text.done" | "transcription.done" | "speech.audio.done" => {
                if let Some(text) = event.text.filled() {
                    call.restart_output();
                    call.append(0, TEXT, PartKind::Text, text);
                }
                if event.usage.is_object() {
                    openai_media_usage::read(&event.usage, call);
                }
                call.has_ended = true;
            }
            _ => {}
        }
    }
}

lenient_object! {
    /// In JSON or as a form.
    struct Request<'a> {
        "model" => model: Text<'a>,
        "input" => input: Text<'a>,
        "prompt" => prompt: Text<'a>,
        "instructions" => instructions: Text<'a>,
        "temperature" => temperature: Float,
        "stream" => stream: Flag,
        "stream_format" => stream_format: Text<'a>,
    }
}

lenient_object! {
    struct Response<'a> {
        "id" => id: Text<'a>,
        "model" => model: Text<'a>,
        "text" => text: Text<'a>,
        "finish_reason" => finish_reason: Text<'a>,
        "usage" => usage: MediaUsage<'a>,
        "x_groq" => x_groq: GroqExtra<'a>,
        "error" => error: Raw<'a>,
    }
}

lenient_object! {
    struct GroqExtra<'a> {
        "id" => id: Text<'a>,
    }
}

lenient_object! {
    struct Event<'a> {
        "type" => kind: Text<'a>,
        "model" => model: Text<'a>,
        "delta" => delta: Text<'a>,
        "text" => text: Text<'a>,
        "usage" => usage: MediaUsage<'a>,
        "error" => error: Raw<'a>,
        "code" => code: Text<'a>,
        "message" => message: Text<'a>,
    }
}

const TEXT: PartSlot = PartSlot(0);
const SOUND: PartSlot = PartSlot(1);

fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

#[cfg(test)]
#[path = "openai_audio_tests.rs"]
mod tests;
