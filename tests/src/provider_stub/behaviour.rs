//! How a client asks the stand-in to behave: `x-stub-*` request headers, so that every real client can ask for anything.

use std::{str::FromStr, time::Duration};

use hyper::HeaderMap;

use super::content_coding::Coding;

/// What the answer to one request shall be like. The default is a plain, quick, complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Behaviour {
    /// `x-stub-chunks`: content events of a stream, and words of an answer.
    pub chunks: usize,
    /// `x-stub-pace-ms`: pause before each content event; 0 = none at all. Without the header, the shortest that the timer has.
    pub pace: Option<Duration>,
    /// `x-stub-delay-ms`: pause before the response head.
    pub delay: Duration,
    /// `x-stub-read-pause-ms`: pause before the request body is read, so that a large write blocks.
    pub read_pause: Duration,
    /// `x-stub-usage: none`: no usage block, even where the provider would send one.
    pub usage: bool,
    /// `x-stub-input-tokens`: else [`crate::provider_stub::prompt::tokens`] of the request.
    pub input_tokens: Option<u64>,
    /// `x-stub-output-tokens`: else one for each chunk.
    pub output_tokens: Option<u64>,
    /// `x-stub-cache-read`: the part of the input tokens that came from the cache.
    pub cache_read: u64,
    /// `x-stub-cache-write`: the part of the input tokens that was written to the cache (Anthropic).
    pub cache_write: u64,
    /// `x-stub-reasoning`: the part of the output tokens that was reasoning (OpenAI).
    pub reasoning: u64,
    /// `x-stub-tool: NAME`: the answer calls this tool.
    pub tool: Option<String>,
    /// `x-stub-encoding: gzip|deflate|br|zstd`: content coding, whatever the client accepts.
    pub coding: Coding,
    /// `x-stub-framing: chunked`: an answer that is not a stream is chunked as well, in pieces of 100 bytes.
    pub chunked: bool,
    /// `x-stub-sums: yes`: the head of the answer has `x-stub-request-sum` and `x-stub-answer-sum`, FNV-1a (64 bits, hexadecimal) of the
    /// request's body as it arrived and of the answer's before its coding.
    pub sums: bool,
    /// `x-stub-fault`.
    pub fault: Option<Fault>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `status=429`: an error answer in the provider's own form.
    Status(u16),
    /// `error-in-stream=K`: status 200, `K` content events, then the provider's error event.
    ErrorInStream(usize),
    /// `cut=K`: the connection is dropped after `K` content events, or in the middle of a whole body.
    Cut(usize),
    /// `hang`: the request is read and never answered.
    Hang,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            chunks: 5,
            pace: Some(Duration::ZERO),
            delay: Duration::ZERO,
            read_pause: Duration::ZERO,
            usage: true,
            input_tokens: None,
            output_tokens: None,
            cache_read: 0,
            cache_write: 0,
            reasoning: 0,
            tool: None,
            coding: Coding::Identity,
            chunked: false,
            sums: false,
            fault: None,
        }
    }
}

impl Behaviour {
    /// Reads the `x-stub-*` headers.
    ///
    /// # Errors
    /// A sentence that names the header: a test with a mistake in it must not pass.
    pub fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut behaviour = Self::default();
        for (name, value) in headers {
            let Some(key) = name.as_str().strip_prefix("x-stub-") else { continue };
            let value = value.to_str().map_err(|_| format!("x-stub-{key} is not text"))?;
            match key {
                "chunks" => behaviour.chunks = number(key, value)?,
                "pace-ms" => behaviour.pace = Some(Duration::from_millis(number(key, value)?)).filter(|pace| !pace.is_zero()),
                "delay-ms" => behaviour.delay = Duration::from_millis(number(key, value)?),
                "read-pause-ms" => behaviour.read_pause = Duration::from_millis(number(key, value)?),
                "usage" if value == "none" => behaviour.usage = false,
                "input-tokens" => behaviour.input_tokens = Some(number(key, value)?),
                "output-tokens" => behaviour.output_tokens = Some(number(key, value)?),
                "cache-read" => behaviour.cache_read = number(key, value)?,
                "cache-write" => behaviour.cache_write = number(key, value)?,
                "reasoning" => behaviour.reasoning = number(key, value)?,
                "tool" => behaviour.tool = Some(value.to_owned()),
                "encoding" => behaviour.coding = value.parse()?,
                "framing" if value == "chunked" => behaviour.chunked = true,
                "sums" if value == "yes" => behaviour.sums = true,
                "fault" => behaviour.fault = Some(value.parse()?),
                _ => return Err(format!("x-stub-{key}: {value} is not known to the stand-in")),
            }
        }
        Ok(behaviour)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, argument) = text.split_once('=').unwrap_or((text, ""));
        match kind {
            "status" => Ok(Self::Status(number("fault", argument)?)),
            "error-in-stream" => Ok(Self::ErrorInStream(number("fault", argument)?)),
            "cut" => Ok(Self::Cut(number("fault", argument)?)),
            "hang" if argument.is_empty() => Ok(Self::Hang),
            _ => Err(format!("x-stub-fault: {text} is none of status=N, error-in-stream=N, cut=N, hang")),
        }
    }
}

fn number<N: FromStr>(key: &str, value: &str) -> Result<N, String> {
    value.parse().map_err(|_| format!("x-stub-{key}: {value} is not a number in range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn no_header_asks_for_nothing_special() {
        assert_eq!(Behaviour::of(&headers(&[("accept", "*/*")])), Ok(Behaviour::default()));
    }

    #[test]
    fn headers_set_what_they_name() {
        let asked = headers(&[("x-stub-chunks", "7"), ("x-stub-fault", "cut=3"), ("x-stub-usage", "none")]);
        let expected = Behaviour { chunks: 7, fault: Some(Fault::Cut(3)), usage: false, ..Behaviour::default() };
        assert_eq!(Behaviour::of(&asked), Ok(expected));
    }

    #[test]
    fn a_misspelt_header_is_an_error_and_not_ignored() {
        assert!(Behaviour::of(&headers(&[("x-stub-chunk", "7")])).unwrap_err().contains("x-stub-chunk"));
        assert!(Behaviour::of(&headers(&[("x-stub-fault", "explode")])).is_err());
    }
}
