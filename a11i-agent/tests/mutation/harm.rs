//! What can happen to records between the kernel half and the pipeline.

use a11i_agent::replay::Seed;
use a11i_common::{event::cause, identity::Direction};

use crate::traffic::{Kind, Sent, Traffic};

/// Farthest that a record is moved, in records.
const FARTHEST: usize = 40;

/// How often each kind of harm is done: once in so many records, 0 = never.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Harm {
    /// Lost without a word.
    vanish: u64,
    /// Lost as the kernel half loses: the next record of the direction says why.
    drop: u64,
    duplicate: u64,
    delay: u64,
    /// Cut as the kernel half cuts.
    cut: u64,
    /// Cut, and nobody says so.
    shorten: u64,
    /// All of a session's generation is lost without a word.
    forget: u64,
    /// A copy comes when everything is over.
    haunt: u64,
    /// The end of a session, or of its process, is lost.
    unended: u64,
    /// Causes are told not by the next record, but by one of those after it.
    hesitate: u64,
}

impl Harm {
    pub(crate) fn pick(seed: &mut Seed) -> Self {
        let mut rate = || match seed.below(4) {
            0 => 4 + seed.below(60),
            _ => 0,
        };
        let mut harm = Self {
            vanish: rate(),
            drop: rate(),
            duplicate: rate(),
            delay: rate(),
            cut: rate(),
            shorten: rate(),
            forget: 0,
            haunt: rate(),
            unended: 0,
            hesitate: 0,
        };
        if harm.is_none() {
            let one = 3 + seed.below(30);
            *[&mut harm.vanish, &mut harm.drop, &mut harm.duplicate, &mut harm.delay, &mut harm.cut, &mut harm.shorten][seed.size(5)] = one;
        }
        let mut few = |often: u64| if seed.below(often) == 0 { 2 + seed.below(3) } else { 0 };
        (harm.forget, harm.unended, harm.hesitate) = (few(8), few(3), few(3));
        harm
    }

    const fn is_none(self) -> bool {
        self.vanish + self.drop + self.duplicate + self.delay + self.cut + self.shorten + self.haunt == 0
    }

    /// The harmed records, and what was done.
    pub(crate) fn apply(self, traffic: &Traffic, seed: &mut Seed) -> (Vec<Sent>, Vec<String>) {
        let mut done = Vec::new();
        let mut told = Causes::default();
        // Position in the stream as it arrives, and order of arrival among those of one position.
        let mut arriving: Vec<(usize, Sent)> = Vec::new();
        let forgotten: Vec<_> =
            traffic.ends.iter().map(|(flow, _)| *flow).filter(|_| self.forget > 0 && seed.below(self.forget) == 0).collect();
        for (place, record) in traffic.records.iter().enumerate() {
            let mut record = record.clone();
            if !matches!(record.kind, Kind::Exit) && forgotten.contains(&record.flow()) {
                done.push(format!("forgot {} of {}/{}", brief(&record.kind), record.process.pid.0, record.session.generation));
                continue;
            }
            let mut hit = |rate: u64| rate > 0 && seed.below(rate) == 0;
            let (vanish, drop, duplicate, delay, cut, shorten) =
                (hit(self.vanish), hit(self.drop), hit(self.duplicate), hit(self.delay), hit(self.cut), hit(self.shorten));
            let (haunt, unended, hesitate) = (hit(self.haunt), hit(self.unended), hit(self.hesitate));
            let name = format!("{} of {}/{} at {}", brief(&record.kind), record.process.pid.0, record.session.generation, record.time.0);
            let is_end = matches!(record.kind, Kind::End { .. } | Kind::WriteShutdown { .. } | Kind::Exit);
            if vanish || is_end && unended {
                done.push(format!("vanished {name}"));
                continue;
            }
            if drop {
                // Ends and names are lost without a place to say so.
                if let Kind::Data { direction, .. } = record.kind {
                    told.add(&record, direction, cause::RING_FULL);
                }
                done.push(format!("dropped {name}"));
                continue;
            }
            if let Kind::Data { payload, skipped, causes, .. } = &mut record.kind
                && payload.len() > 1
                && (cut || shorten)
            {
                let kept = seed.size(payload.len() - 1);
                if cut {
                    *skipped += u32::try_from(payload.len() - kept).unwrap();
                    *causes |= cause::CALL_LIMIT;
                }
                payload.truncate(kept);
                done.push(format!("{} to {kept} {name}", if cut { "cut" } else { "shortened" }));
            }
            if hesitate && !is_end {
                done.push(format!("said nothing at {name}"));
            } else {
                told.tell(&mut record);
            }
            if haunt {
                done.push(format!("came again when everything was over: {name}"));
                arriving.push((traffic.records.len() + FARTHEST, record.clone()));
            }
            if duplicate {
                let later = if seed.below(2) == 0 { place } else { place + 1 + seed.size(FARTHEST) };
                done.push(format!("duplicated {} later {name}", later - place));
                arriving.push((later, record.clone()));
            }
            let later = if delay { place + 1 + seed.size(FARTHEST) } else { place };
            if delay {
                done.push(format!("delayed by {} {name}", later - place));
            }
            arriving.push((later, record));
        }
        arriving.sort_by_key(|(place, _)| *place);
        (arriving.into_iter().map(|(_, record)| record).collect(), done)
    }
}

fn brief(kind: &Kind) -> String {
    match kind {
        Kind::Name(_) => "Name".to_owned(),
        Kind::Data { direction, offset, payload, .. } => format!("{direction:?} {offset}+{}", payload.len()),
        Kind::WriteShutdown { .. } => "WriteShutdown".to_owned(),
        Kind::End { .. } => "End".to_owned(),
        Kind::Exit => "Exit".to_owned(),
    }
}

/// Losses that the next record of a session's direction tells.
#[derive(Default)]
struct Causes {
    waiting: std::collections::HashMap<(a11i_agent::flow::FlowId, usize), u8>,
}

impl Causes {
    fn add(&mut self, record: &Sent, direction: Direction, cause: u8) {
        *self.waiting.entry((record.flow(), direction as usize)).or_default() |= cause;
    }

    fn tell(&mut self, record: &mut Sent) {
        let flow = record.flow();
        let mut take = |direction: usize| self.waiting.remove(&(flow, direction)).unwrap_or_default();
        match &mut record.kind {
            Kind::Data { direction, causes, .. } => *causes |= take(*direction as usize),
            Kind::End { causes, .. } => {
                causes[0] |= take(0);
                causes[1] |= take(1);
            }
            Kind::WriteShutdown { causes, .. } => causes[0] |= take(0),
            Kind::Name(_) | Kind::Exit => {}
        }
    }
}
