//! `a11i replay FILE.jsonl...`: recorded exchanges through the pipeline that `run` uses, without a kernel.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use a11i_common::identity::{BootTime, Pid, ProcessId, TlsSession};
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use super::Common;
use crate::{
    clock::Clock,
    export::{
        json::json_line,
        resource_builder,
        span::{SpanIds, SpanRecord},
    },
    observe::pipeline_settings,
    owner::Owner,
    pipeline::{FinishedCall, Leaving, Output, Pipeline},
    redaction::RedactedMcp,
    replay::{Coding, Framed, Framing, Origin, Plan, Record, Seed, events, frame, frame_as},
    tokens::BytePairCounter,
};

/// A recorded body is 2 MB at most; base64 and JSON escapes make a line longer.
const LINE_BYTES: u64 = 64 * 1024 * 1024;

#[derive(Args)]
pub(super) struct ReplayArgs {
    /// Recorded exchanges, one JSON object per line
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Frame and cut the bytes differently
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What carries an exchange
    #[arg(long, value_enum, default_value_t)]
    framing: FramingChoice,
    /// How answers are coded; as the seed says where it is not named
    #[arg(long, value_enum)]
    coding: Option<CodingChoice>,
}

/// What `--framing` may say.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FramingChoice {
    /// HTTP/1.1, one way or the other, by seed
    #[default]
    Http1,
    /// HTTP/1.1 with `content-length`
    ContentLength,
    /// HTTP/1.1 in chunks
    Chunked,
    /// HTTP/2, alone on its connection
    Http2,
    /// HTTP/2 among seven others
    Http2Interleaved,
    /// Any of them, by seed
    Any,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CodingChoice {
    Identity,
    Gzip,
    Deflate,
}

impl ReplayArgs {
    fn framed(&self, record: &Record, seed: &mut Seed) -> Framed {
        let framing = match self.framing {
            FramingChoice::Http1 if self.coding.is_none() => return frame(record, seed),
            FramingChoice::Http1 => Framing::ALL.get(seed.size(1)),
            FramingChoice::ContentLength => Some(&Framing::ContentLength),
            FramingChoice::Chunked => Some(&Framing::Chunked),
            FramingChoice::Http2 => Some(&Framing::Http2),
            FramingChoice::Http2Interleaved => Some(&Framing::Http2Interleaved),
            FramingChoice::Any => Framing::ALL.get(seed.size(Framing::ALL.len().saturating_sub(1))),
        };
        let coding = match self.coding {
            Some(CodingChoice::Identity) => None,
            Some(CodingChoice::Gzip) => Some(Coding::GZIP),
            Some(CodingChoice::Deflate) => Some(Coding::DEFLATE),
            None => Coding::pick(seed),
        };
        frame_as(record, Plan { framing: framing.copied().unwrap_or(Framing::ContentLength), coding, is_cut: false }, seed)
    }
}

pub(super) fn replay(common: &Common, args: &ReplayArgs) -> Result<ExitCode> {
    let config = common.start()?;
    // The exchanges are the user's own files: what the configuration says of content holds, whoever recorded them.
    let settings = pipeline_settings(&config, config.content)?;
    let (clock, resources) = (Clock::new(), resource_builder(&config));
    let mut out = BufWriter::new(std::io::stdout());
    let mut number = 0u32;
    for path in &args.files {
        let attempt = || format!("cannot replay {}", path.display());
        let mut reader = BufReader::new(File::open(path).with_context(attempt)?);
        for line_number in 1u64.. {
            let mut line = String::new();
            let read = reader.by_ref().take(LINE_BYTES).read_line(&mut line).with_context(attempt)?;
            if read == 0 {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            let record = Record::parse(&line).with_context(|| format!("{}, line {line_number}", path.display()))?;
            number = number.wrapping_add(1);
            let mut seed = Seed::of(&format!("{}{}", record.id, args.seed));
            let framed = args.framed(&record, &mut seed);
            let process = ProcessId { pid: Pid(std::process::id()), start_ticks: number };
            let origin = Origin { process, session: TlsSession(u64::from(number)), start: Clock::boot_now() };
            let owner = Arc::new(Owner { process, executable_name: Some("a11i-replay".to_owned()), ..Owner::default() });

            let mut pipeline = Pipeline::new(settings.clone());
            let mut finished: Vec<FinishedCall> = Vec::new();
            let mut messages: Vec<RedactedMcp> = Vec::new();
            let mut sink = |output: Output| {
                // No kernel half is told anything.
                let Output::Leaving(leaving) = output else { return };
                match leaving {
                    Leaving::Call(call) => finished.push(*call),
                    Leaving::Estimate(call) => finished.push(Pipeline::finish(&settings, *call, Some(&BytePairCounter))),
                    Leaving::Mcp(message) => messages.push(*message),
                }
            };
            pipeline.handle_owner(process, Some(owner), &mut sink);
            for event in events(&framed, &record.request.host, origin, &mut seed) {
                pipeline.handle_event(&event, &mut |_| None, &mut sink);
            }
            pipeline.shutdown(BootTime(u64::MAX), &mut sink);
            for call in &finished {
                let ids = SpanIds::of(call.call.call());
                let span = SpanRecord::new(&call.call, ids, clock.offset(), &resources);
                writeln!(out, "{}", json_line(&span, Some(&record.id)))?;
            }
            for message in &messages {
                let ids = SpanIds::below(message.message().correlation.parent);
                let span = SpanRecord::of_mcp(message, ids, clock.offset(), &resources);
                writeln!(out, "{}", json_line(&span, Some(&record.id)))?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
