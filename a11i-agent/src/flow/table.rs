//! State per flow: bounded, oldest out first, found by process. No operation looks at all flows.

use std::collections::{HashMap, hash_map::Entry};

use a11i_common::identity::{BootTime, ProcessId, TlsSession};

use super::FlowId;

/// Flows followed at once. A node with more live sessions that carry HTTP has outgrown one agent thread.
pub const DEFAULT_FLOWS: usize = 16_384;

/// A flow without bytes for so long is forgotten: longer than any keep-alive or thinking pause in use.
pub const IDLE_NANOS: u64 = 15 * 60 * 1_000_000_000;

/// Flows passed over at most when one has to make room: bounded work, and the next search begins behind them.
const PASSED_OVER: usize = 64;

/// Flow → `S`. Flows lie in slots; two chains run through the slots: all flows by last use, and the flows of one process.
#[derive(Debug)]
pub struct Table<S> {
    slots: Vec<Option<Slot<S>>>,
    free: Vec<usize>,
    /// By process and session object: of all generations there, only one is followed.
    by_address: HashMap<(ProcessId, TlsSession), usize>,
    /// First slot of each process's chain.
    by_process: HashMap<ProcessId, usize>,
    newest: Option<usize>,
    oldest: Option<usize>,
    capacity: usize,
    /// Where [`Self::visit`] goes on.
    cursor: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Slot<S> {
    id: FlowId,
    last_use: BootTime,
    state: S,
    by_use: Links,
    of_process: Links,
}

#[derive(Clone, Copy, Debug, Default)]
struct Links {
    before: Option<usize>,
    after: Option<usize>,
}

impl<S> Table<S> {
    /// Holds at most `capacity` flows (at least one). Memory grows with use.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_address: HashMap::new(),
            by_process: HashMap::new(),
            newest: None,
            oldest: None,
            capacity: capacity.max(1),
            cursor: 0,
            evicted: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Flows that were forgotten because the table was full.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// The flow's state, used now.
    pub fn get_mut(&mut self, id: &FlowId, now: BootTime) -> Option<&mut S> {
        let slot = self.slot_of(id)?;
        self.touch(slot, now);
        self.state_mut(slot)
    }

    pub fn contains(&self, id: &FlowId) -> bool {
        self.slot_of(id).is_some()
    }

    /// The flow that has the place of `id`: the same process and session object in another generation.
    pub fn in_place_of(&self, id: &FlowId) -> Option<(FlowId, &S)> {
        let slot = *self.by_address.get(&address(id))?;
        self.slots.get(slot)?.as_ref().filter(|slot| slot.id != *id).map(|slot| (slot.id, &slot.state))
    }

    /// The flow's state, made if need be. What has its place goes first ([`Self::in_place_of`]), or when the table is full the flow unused for
    /// longest; it is handed to `evict`. Of the flows unused for longest, `PASSED_OVER` that are `busy` are passed over, and count as used.
    pub fn get_or_insert_with(
        &mut self,
        id: FlowId,
        now: BootTime,
        make: impl FnOnce() -> S,
        busy: impl Fn(&S) -> bool,
        evict: impl FnOnce(FlowId, S),
    ) -> Option<&mut S> {
        if let Some(slot) = self.slot_of(&id) {
            self.touch(slot, now);
            return self.state_mut(slot);
        }
        if let Some(&slot) = self.by_address.get(&address(&id)) {
            if let Some((old, state)) = self.take(slot) {
                evict(old, state);
            }
        } else if self.by_address.len() >= self.capacity
            && let Some(oldest) = self.oldest_but(busy)
            && let Some((old, state)) = self.take(oldest)
        {
            self.evicted = self.evicted.saturating_add(1);
            evict(old, state);
        }
        let slot = self.insert(id, now, make());
        self.state_mut(slot)
    }

    /// The flow's state, without using it.
    pub fn find_mut(&mut self, id: &FlowId) -> Option<&mut S> {
        let slot = self.slot_of(id)?;
        self.state_mut(slot)
    }

    pub fn remove(&mut self, id: &FlowId) -> Option<S> {
        let slot = self.slot_of(id)?;
        self.take(slot).map(|(_, state)| state)
    }

    /// Hands out every flow of a process that ended. Work is proportional to its own flows.
    pub fn remove_process(&mut self, process: ProcessId, mut removed: impl FnMut(FlowId, S)) {
        while let Some(&slot) = self.by_process.get(&process) {
            let Some((id, state)) = self.take(slot) else { break };
            removed(id, state);
        }
    }

    /// Hands out flows unused for [`IDLE_NANOS`], oldest first, at most `limit`.
    pub fn expire(&mut self, now: BootTime, limit: usize, mut expired: impl FnMut(FlowId, S)) {
        for _ in 0..limit {
            let Some(oldest) = self.oldest else { return };
            let idle = self.slots.get(oldest).and_then(Option::as_ref).map_or(0, |slot| now.nanos_since(slot.last_use));
            if idle < IDLE_NANOS {
                return;
            }
            let Some((id, state)) = self.take(oldest) else { return };
            expired(id, state);
        }
    }

    /// Visits up to `limit` slots, going on where the last visit stopped, so that every flow gets its turn and no visit is long.
    pub fn visit(&mut self, limit: usize, mut visitor: impl FnMut(FlowId, &mut S)) {
        for _ in 0..limit.min(self.slots.len()) {
            if self.cursor >= self.slots.len() {
                self.cursor = 0;
            }
            if let Some(Some(slot)) = self.slots.get_mut(self.cursor) {
                visitor(slot.id, &mut slot.state);
            }
            self.cursor = self.cursor.saturating_add(1);
        }
    }

    /// Hands out everything: shutdown.
    pub fn drain(&mut self, mut removed: impl FnMut(FlowId, S)) {
        while let Some(oldest) = self.oldest {
            let Some((id, state)) = self.take(oldest) else { break };
            removed(id, state);
        }
    }

    /// The flow unused for longest, those that are busy passed over as far as that goes. They move to the newest end but keep the time of
    /// their last use: at worst, what is before them expires that much before them.
    fn oldest_but(&mut self, busy: impl Fn(&S) -> bool) -> Option<usize> {
        for _ in 0..PASSED_OVER.min(self.len().saturating_sub(1)) {
            let oldest = self.oldest?;
            if !self.slots.get(oldest)?.as_ref().is_some_and(|slot| busy(&slot.state)) {
                break;
            }
            self.unlink_use(oldest);
            self.make_newest(oldest);
        }
        self.oldest
    }

    fn slot_of(&self, id: &FlowId) -> Option<usize> {
        let is_it = |slot: &usize| self.slots.get(*slot).and_then(Option::as_ref).is_some_and(|found| found.id == *id);
        // Records come in runs of one flow.
        self.newest.filter(is_it).or_else(|| self.by_address.get(&address(id)).copied().filter(is_it))
    }

    fn state_mut(&mut self, slot: usize) -> Option<&mut S> {
        self.slots.get_mut(slot)?.as_mut().map(|slot| &mut slot.state)
    }

    fn slot_mut(&mut self, slot: Option<usize>) -> Option<&mut Slot<S>> {
        self.slots.get_mut(slot?)?.as_mut()
    }

    fn insert(&mut self, id: FlowId, now: BootTime, state: S) -> usize {
        let slot = self.free.pop().unwrap_or(self.slots.len());
        let first_of_process = match self.by_process.entry(id.process) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(entry.get_mut(), slot)),
            Entry::Vacant(entry) => {
                entry.insert(slot);
                None
            }
        };
        let of_process = Links { before: None, after: first_of_process };
        let filled = Some(Slot { id, last_use: now, state, by_use: Links::default(), of_process });
        match self.slots.get_mut(slot) {
            Some(place) => *place = filled,
            None => self.slots.push(filled),
        }
        if let Some(next) = self.slot_mut(first_of_process) {
            next.of_process.before = Some(slot);
        }
        self.by_address.insert(address(&id), slot);
        self.make_newest(slot);
        slot
    }

    fn take(&mut self, slot: usize) -> Option<(FlowId, S)> {
        self.unlink_use(slot);
        let taken = self.slots.get_mut(slot)?.take()?;
        let Links { before, after } = taken.of_process;
        if let Some(next) = self.slot_mut(after) {
            next.of_process.before = before;
        }
        match (self.slot_mut(before), after) {
            (Some(previous), after) => previous.of_process.after = after,
            (None, Some(first)) => {
                self.by_process.insert(taken.id.process, first);
            }
            (None, None) => {
                self.by_process.remove(&taken.id.process);
            }
        }
        self.by_address.remove(&address(&taken.id));
        self.free.push(slot);
        Some((taken.id, taken.state))
    }

    fn touch(&mut self, slot: usize, now: BootTime) {
        if let Some(entry) = self.slot_mut(Some(slot)) {
            entry.last_use = now;
        }
        if self.newest != Some(slot) {
            self.unlink_use(slot);
            self.make_newest(slot);
        }
    }

    fn make_newest(&mut self, slot: usize) {
        let previous = self.newest.replace(slot);
        if let Some(entry) = self.slot_mut(Some(slot)) {
            entry.by_use = Links { before: previous, after: None };
        }
        match self.slot_mut(previous) {
            Some(entry) => entry.by_use.after = Some(slot),
            None => self.oldest = Some(slot),
        }
    }

    fn unlink_use(&mut self, slot: usize) {
        let Some(Links { before, after }) = self.slot_mut(Some(slot)).map(|entry| std::mem::take(&mut entry.by_use)) else { return };
        match self.slot_mut(before) {
            Some(entry) => entry.by_use.after = after,
            None => self.oldest = after,
        }
        match self.slot_mut(after) {
            Some(entry) => entry.by_use.before = before,
            None => self.newest = before,
        }
    }
}

const fn address(id: &FlowId) -> (ProcessId, TlsSession) {
    (id.process, id.session.session)
}

#[cfg(test)]
mod tests {
    use a11i_common::{
        decode::SessionId,
        identity::{Pid, TlsSession},
    };

    use super::*;

    fn flow(pid: u32, session: u64) -> FlowId {
        FlowId { process: ProcessId { pid: Pid(pid), start_ticks: 1 }, session: SessionId { session: TlsSession(session), generation: 0 } }
    }

    fn put(table: &mut Table<u64>, id: FlowId, now: u64) -> Option<FlowId> {
        let mut evicted = None;
        table.get_or_insert_with(id, BootTime(now), || id.session.session.0, |state| *state >= BUSY, |old, _| evicted = Some(old)).unwrap();
        evicted
    }

    /// Flows of sessions from here on are busy.
    const BUSY: u64 = 1_000;

    #[test]
    fn busy_flows_are_passed_over_as_far_as_the_bound_goes() {
        let mut table = Table::new(PASSED_OVER * 2);
        let passed = PASSED_OVER as u64;
        for n in 0..passed * 2 {
            put(&mut table, flow(1, if n < passed { BUSY + n } else { n }), n);
        }
        for n in passed..passed * 2 {
            assert_eq!(put(&mut table, flow(1, BUSY + n), 500), Some(flow(1, n)));
        }
        // Nothing but busy ones is left: one of those goes, and no search is longer than its bound.
        let gone = put(&mut table, flow(1, 1), 501).unwrap();
        assert!(gone.session.session.0 >= BUSY, "{gone:?}");
        assert_eq!((table.len(), table.evicted()), (PASSED_OVER * 2, passed + 1));
        let mut one = Table::new(1);
        put(&mut one, flow(1, BUSY), 0);
        assert_eq!(put(&mut one, flow(1, BUSY + 1), 1), Some(flow(1, BUSY)));
    }

    #[test]
    fn the_flow_unused_for_longest_makes_room() {
        let mut table = Table::new(3);
        for n in 0..3 {
            assert_eq!(put(&mut table, flow(1, n), n), None);
        }
        assert_eq!(table.get_mut(&flow(1, 0), BootTime(9)).copied(), Some(0));
        assert_eq!(put(&mut table, flow(1, 3), 10), Some(flow(1, 1)));
        assert_eq!((table.len(), table.evicted()), (3, 1));
        assert_eq!(put(&mut table, flow(1, 4), 11), Some(flow(1, 2)));
        assert_eq!(put(&mut table, flow(1, 5), 12), Some(flow(1, 0)));
    }

    #[test]
    fn another_generation_takes_the_place_of_the_one_before() {
        let mut table = Table::new(2);
        let (first, other) = (flow(1, 1), flow(1, 2));
        let second = FlowId { session: SessionId { generation: 9, ..first.session }, ..first };
        put(&mut table, first, 0);
        put(&mut table, other, 1);
        assert!(table.in_place_of(&first).is_none());
        assert_eq!(table.in_place_of(&second).map(|(id, state)| (id, *state)), Some((first, 1)));
        assert!(table.get_mut(&second, BootTime(2)).is_none() && table.remove(&second).is_none());
        assert_eq!(put(&mut table, second, 3), Some(first));
        assert!(table.get_mut(&first, BootTime(4)).is_none());
        assert_eq!((table.len(), table.evicted()), (2, 0));
    }

    #[test]
    fn a_process_takes_its_own_flows_with_it_and_no_others() {
        let mut table = Table::new(100);
        for n in 0..30 {
            put(&mut table, flow(u32::try_from(n % 3).unwrap(), n), n);
        }
        table.remove(&flow(1, 4));
        table.remove(&flow(1, 28));
        let mut gone = Vec::new();
        table.remove_process(flow(1, 0).process, |id, state| gone.push((id, state)));
        assert_eq!(gone.len(), 8);
        assert!(gone.iter().all(|(id, state)| id.process.pid == Pid(1) && state % 3 == 1));
        assert_eq!(table.len(), 20);
        assert!(table.get_mut(&flow(0, 27), BootTime(50)).is_some());
        table.remove_process(flow(1, 0).process, |_, _| panic!("twice"));
    }

    #[test]
    fn idle_flows_expire_oldest_first_within_the_limit() {
        let mut table = Table::new(100);
        for n in 0..10 {
            put(&mut table, flow(1, n), n);
        }
        table.get_mut(&flow(1, 0), BootTime(100)).unwrap();
        let mut gone = Vec::new();
        table.expire(BootTime(IDLE_NANOS + 5), 3, |id, _| gone.push(id.session.session.0));
        assert_eq!(gone, [1, 2, 3]);
        table.expire(BootTime(IDLE_NANOS + 5), 100, |id, _| gone.push(id.session.session.0));
        assert_eq!(gone, [1, 2, 3, 4, 5]);
        assert_eq!(table.len(), 5);
    }

    #[test]
    fn visits_reach_every_flow_in_turns() {
        let mut table = Table::new(100);
        for n in 0..10 {
            put(&mut table, flow(1, n), n);
        }
        table.remove(&flow(1, 5));
        let mut seen = Vec::new();
        for _ in 0..4 {
            table.visit(3, |id, _| seen.push(id.session.session.0));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
    }

    #[test]
    fn a_table_agrees_with_a_plain_list_over_many_random_steps() {
        let mut table = Table::new(8);
        let mut model: Vec<FlowId> = Vec::new(); // oldest first
        let mut random = 12_345_u64;
        for now in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = flow(u32::try_from(random >> 33).unwrap() % 4, (random >> 40) % 6);
            match (random >> 60) % 8 {
                0 => {
                    table.remove(&id);
                    model.retain(|m| *m != id);
                }
                1 => {
                    table.remove_process(id.process, |_, _| ());
                    model.retain(|m| m.process != id.process);
                }
                _ => {
                    let evicted = put(&mut table, id, now);
                    let known = model.contains(&id);
                    model.retain(|m| *m != id);
                    let expected = (!known && model.len() == 8).then(|| model.remove(0));
                    assert_eq!(evicted, expected);
                    model.push(id);
                }
            }
            assert_eq!(table.len(), model.len());
        }
        let mut drained = Vec::new();
        table.drain(|id, _| drained.push(id));
        assert_eq!(drained, model);
        assert!(table.by_process.is_empty());
    }
}
