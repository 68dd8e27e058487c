//! What came out of the pipeline, against what comes out of the same records unharmed.

use std::{collections::HashMap, sync::Arc};

use a11i_agent::{
    call::{LlmCall, LossCauses},
    cost::{Cost, CostSettings, Overrides, PriceBook, UnknownHosts},
    flow::FlowId,
    http::HttpSettings,
    owner::Owner,
    pipeline::{FinalOffsets, FinishedCall, Leaving, Output, Pipeline, PipelineCounters, PipelineSettings},
    provider::Routes,
    redaction::ContentPolicy,
    replay::Seed,
};
use a11i_common::identity::BootTime;

use crate::traffic::{Kind, Place, Sent, Traffic};

pub(crate) struct Outcome {
    calls: Vec<(LlmCall, Option<Cost>)>,
    counters: PipelineCounters,
    notices: u64,
}

/// How many calls came to which end.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    pub(crate) whole: u64,
    pub(crate) marked: u64,
    /// Marked, and a number that is there all the same is another.
    pub(crate) marked_and_different: u64,
    pub(crate) missing: u64,
    /// Marked calls that no request of the traffic began.
    pub(crate) ghosts: u64,
}

impl Outcome {
    /// `seed` decides when time passes: for the same records at the same places.
    pub(crate) fn of(records: &[Sent], traffic: &Traffic, seed: &mut Seed) -> Self {
        let settings = PipelineSettings {
            http: Arc::new(HttpSettings::new(&[1; 32])),
            routes: Arc::new(Routes::default()),
            price_book: Arc::new(PriceBook::embedded(Overrides::default())),
            cost: CostSettings { enabled: true, unknown_hosts: UnknownHosts::default(), today: 20_000 },
            content: ContentPolicy::None,
            trace_correlation: true,
            instrumented: a11i_agent::sampling::InstrumentedPolicy::default(),
            flows: 64,
        };
        let mut finished: Vec<FinishedCall> = Vec::new();
        let (mut notices, mut now) = (0, BootTime(0));
        let kept = settings.clone();
        let mut sink = |output: Output| {
            notices += u64::from(matches!(output, Output::Notice(_)));
            let Output::Leaving(leaving) = output else { return };
            match leaving {
                Leaving::Call(call) => finished.push(*call),
                Leaving::Estimate(call) => finished.push(Pipeline::finish(&kept, *call, None)),
                Leaving::Mcp(_) => {}
            }
        };
        // The kernel's table, where an end was not told.
        let mut ends = |flow: &FlowId| {
            let (_, [write, read]) = traffic.ends.iter().find(|(known, _)| known == flow)?;
            Some(FinalOffsets { write: *write, read: *read, causes: [LossCauses::default(); 2] })
        };
        let mut pipeline = Pipeline::new(settings);
        for record in &traffic.records {
            pipeline.handle_owner(record.process, Some(Arc::new(Owner::unknown(record.process))), &mut sink);
        }
        for record in records {
            now = now.max(record.time);
            pipeline.handle_event(&record.event(), &mut ends, &mut sink);
            if seed.below(6) == 0 {
                pipeline.handle_timeout(now, &mut ends, &mut sink);
            }
        }
        pipeline.handle_timeout(now.plus_nanos(10_000_000_000), &mut ends, &mut sink);
        pipeline.shutdown(now.plus_nanos(10_000_000_000), &mut sink);
        pipeline.release_calls(&mut sink);
        let calls = finished.into_iter().map(|call| (call.call.call().clone(), call.call.cost().copied())).collect();
        Self { calls, counters: pipeline.counters(), notices }
    }

    /// Of records that nobody harmed, every call comes, once, and none is marked.
    pub(crate) fn differences_from_undisturbed(&self, traffic: &Traffic) -> Vec<String> {
        let mut wrong = Vec::new();
        for place in &traffic.calls {
            match self.at(place).as_slice() {
                [(call, _)] if call.completeness.is_whole() => {}
                other => {
                    wrong.push(format!("undisturbed, {place:?} gave {} calls, {:?}", other.len(), other.first().map(|c| c.0.completeness)));
                }
            }
        }
        if self.calls.len() != traffic.calls.len() {
            wrong.push(format!("undisturbed, {} calls of {}", self.calls.len(), traffic.calls.len()));
        }
        wrong
    }

    /// Which of several fetches of one answer tells what it consumed depends on which of them were seen: the first. What it says is what the
    /// first one says, and it is told, and billed, no more often than undisturbed.
    fn tells_as_often(&self, truth: &Self, call: &(LlmCall, Option<Cost>)) -> bool {
        let is_same = |other: &&(LlmCall, Option<Cost>)| {
            other.0.response.deferred.is_some() && other.0.response.id.is_some() && other.0.response.id == call.0.response.id
        };
        let told = |outcome: &Self| {
            let all = outcome.calls.iter().filter(is_same);
            all.fold((0, 0), |(told, billed), (call, cost)| (told + u64::from(!call.usage.is_absent()), billed + u64::from(cost.is_some())))
        };
        let ((told_now, billed_now), (told_then, billed_then)) = (told(self), told(truth));
        let is_said = truth.calls.iter().filter(is_same).any(|other| numbers(other) == numbers(call));
        is_said && told_now <= told_then && billed_now <= billed_then
    }

    /// What is wrong, one line each.
    pub(crate) fn judge(&self, truth: &Self, traffic: &Traffic, records: &[Sent], verdicts: &mut Verdicts) -> Vec<String> {
        let mut wrong = Vec::new();
        let seen = Seen::of(records);
        let mut missing = Vec::new();
        for place in &traffic.calls {
            let Some(want) = truth.at(place).first().map(|want| numbers(want)) else { continue };
            let have = self.at(place);
            if have.is_empty() {
                verdicts.missing += 1;
                missing.push(place);
            }
            let whole = have.iter().filter(|(call, _)| call.completeness.is_whole()).count();
            if whole > 1 {
                wrong.push(format!("{place:?} came {whole} times, each as if it were whole"));
            }
            for call in have {
                let different = numbers(call) != want;
                if !call.0.completeness.is_whole() {
                    verdicts.marked += 1;
                    verdicts.marked_and_different += u64::from(different);
                    continue;
                }
                verdicts.whole += 1;
                if different && !self.tells_as_often(truth, call) {
                    wrong.push(format!("{place:?}, not marked: {}", difference(&numbers(call), &want)));
                }
                if !seen.all(place) {
                    wrong.push(format!("{place:?}: bytes never came, and the call is not marked"));
                }
            }
        }
        for (call, _) in &self.calls {
            if !traffic.calls.iter().any(|place| is_of(call, place)) {
                verdicts.ghosts += 1;
                if call.completeness.is_whole() {
                    wrong.push(format!("a call that no request began, at {:?} of {:?}, not marked", call.timing.start, call.owner.process));
                }
            }
        }
        // Of a session of which no record came, nor of its end behind its last one, nobody can know; the kernel half counts what it could not tell.
        if let Some(place) = missing.iter().find(|place| seen.any_since(place))
            && self.accounted() == 0
        {
            wrong.push(format!("{place:?} is missing, and nothing was counted: {:?}", self.counters));
        }
        wrong
    }

    /// Everything that says that something is missing.
    const fn accounted(&self) -> u64 {
        let c = &self.counters;
        c.lost_bytes + c.unknown_gaps + c.discarded_bytes + c.unseen_sessions + c.late_attachments + c.exchanges.unlike + self.notices
    }

    fn at(&self, place: &Place) -> Vec<&(LlmCall, Option<Cost>)> {
        self.calls.iter().filter(|(call, _)| is_of(call, place)).collect()
    }
}

fn is_of(call: &LlmCall, place: &Place) -> bool {
    call.owner.process == place.flow.process && call.timing.start == place.start
}

/// Every number and name that goes out, as text that can be compared and read.
fn numbers((call, cost): &(LlmCall, Option<Cost>)) -> String {
    format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{:#?}\n{cost:#?}",
        call.operation, call.provider, call.server, call.request, call.response, call.usage, call.outcome
    )
}

/// The lines of both that differ.
fn difference(have: &str, want: &str) -> String {
    let only = |these: &str, others: &str| {
        let lines = these.lines().filter(|line| !others.lines().any(|other| other == *line)).map(str::trim);
        lines.collect::<Vec<_>>().join(" ")
    };
    format!("have {} want {}", only(have, want), only(want, have))
}

/// Which bytes of which stream came at all.
struct Seen {
    bytes: HashMap<(FlowId, usize), Vec<bool>>,
    /// Time of the latest record.
    flows: HashMap<FlowId, BootTime>,
}

impl Seen {
    fn of(records: &[Sent]) -> Self {
        let mut seen = Self { bytes: HashMap::new(), flows: HashMap::new() };
        for record in records {
            // The end of a process is no record of a session, and a name says nothing of what was transferred.
            if !matches!(record.kind, Kind::Exit | Kind::Name(_)) {
                let latest = seen.flows.entry(record.flow()).or_insert(record.time);
                *latest = record.time.max(*latest);
            }
            if let Kind::Data { direction, offset, payload, .. } = &record.kind {
                let start = usize::try_from(*offset).unwrap();
                let stream = seen.bytes.entry((record.flow(), *direction as usize)).or_default();
                let end = start + payload.len();
                stream.resize(stream.len().max(end), false);
                stream[start..end].fill(true);
            }
        }
        seen
    }

    fn any_since(&self, place: &Place) -> bool {
        self.flows.get(&place.flow).is_some_and(|latest| place.start <= *latest)
    }

    fn all(&self, place: &Place) -> bool {
        place.bytes.iter().enumerate().all(|(direction, range)| {
            let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            start == end
                || self
                    .bytes
                    .get(&(place.flow, direction))
                    .and_then(|stream| stream.get(start..end))
                    .is_some_and(|part| part.iter().all(|s| *s))
        })
    }
}
