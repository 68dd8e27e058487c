//! Spans waiting to be sent: bounded in number and bytes. Never blocks who brings them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::sync::Notify;

use super::value::Attributes;
use crate::telemetry::DropReason;

/// Largest request in bytes before compression: gRPC servers refuse messages above 4 MiB unless told otherwise, and resources and framing
/// need some room.
pub(crate) const BATCH_BYTES: usize = 3 * 1024 * 1024;

/// A span in its encoded shape, so that its size is exact.
#[derive(Clone, Debug)]
pub(crate) struct QueuedSpan {
    pub resource: Arc<Attributes>,
    pub span: Span,
    bytes: usize,
}

impl QueuedSpan {
    /// `resource_bytes`: the span may be the first of its resource in a batch, so each is counted with it.
    pub(crate) fn new(resource: Arc<Attributes>, resource_bytes: usize, span: Span) -> Self {
        let bytes = span.encoded_len().saturating_add(resource_bytes);
        Self { resource, span, bytes }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub items: usize,
    pub bytes: usize,
    pub batch_items: usize,
}

#[derive(Debug)]
pub(crate) struct Queue {
    limits: QueueLimits,
    inner: Mutex<Inner>,
    full_batch: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    spans: VecDeque<QueuedSpan>,
    bytes: usize,
}

impl Queue {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { limits, inner: Mutex::default(), full_batch: Notify::new() }
    }

    /// The newest span is the one that does not fit: what waits has waited longer.
    pub(crate) fn push(&self, span: QueuedSpan) -> Result<(), DropReason> {
        if span.bytes > BATCH_BYTES {
            return Err(DropReason::SpanTooLarge);
        }
        let mut inner = self.lock();
        let bytes = inner.bytes.saturating_add(span.bytes);
        if inner.spans.len() >= self.limits.items {
            return Err(DropReason::SpanQueueFull);
        }
        if bytes > self.limits.bytes {
            return Err(DropReason::SpanQueueBytes);
        }
        inner.bytes = bytes;
        inner.spans.push_back(span);
        if inner.spans.len() >= self.limits.batch_items || bytes >= BATCH_BYTES {
            self.full_batch.notify_one();
        }
        Ok(())
    }

    /// The oldest spans, as many as one request may hold; empty when nothing waits.
    pub(crate) fn take_batch(&self) -> Vec<QueuedSpan> {
        let mut inner = self.lock();
        let mut batch = Vec::new();
        let mut bytes: usize = 0;
        while batch.len() < self.limits.batch_items {
            let fits = inner.spans.front().is_some_and(|span| bytes.saturating_add(span.bytes) <= BATCH_BYTES);
            let Some(span) = (if fits { inner.spans.pop_front() } else { None }) else { break };
            bytes = bytes.saturating_add(span.bytes);
            batch.push(span);
        }
        inner.bytes = inner.bytes.saturating_sub(bytes);
        batch
    }

    /// Returns when a whole batch waits.
    pub(crate) async fn batch_is_full(&self) {
        self.full_batch.notified().await;
    }

    /// Whether a whole batch waits.
    pub(crate) fn has_full_batch(&self) -> bool {
        let inner = self.lock();
        inner.spans.len() >= self.limits.batch_items || inner.bytes >= BATCH_BYTES
    }

    /// Spans and bytes waiting.
    pub(crate) fn level(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.spans.len(), inner.bytes)
    }

    /// Empties the queue and says how many spans there were.
    pub(crate) fn abandon(&self) -> usize {
        let mut inner = self.lock();
        let count = inner.spans.len();
        *inner = Inner::default();
        count
    }

    /// Held for a few moves only. A panic elsewhere leaves the queue whole: each change is complete before the next can panic.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name_bytes: usize) -> QueuedSpan {
        QueuedSpan::new(Arc::default(), 0, Span { name: "x".repeat(name_bytes), ..Span::default() })
    }

    fn queue(items: usize, bytes: usize, batch_items: usize) -> Queue {
        Queue::new(QueueLimits { items, bytes, batch_items })
    }

    #[test]
    fn the_queue_is_bounded_in_number_and_bytes() {
        let queue = queue(2, 10_000, 10);
        assert_eq!(queue.push(span(9_000)), Ok(()));
        assert_eq!(queue.push(span(2_000)), Err(DropReason::SpanQueueBytes));
        assert_eq!(queue.push(span(100)), Ok(()));
        assert_eq!(queue.push(span(1)), Err(DropReason::SpanQueueFull));
        assert_eq!(queue.push(span(BATCH_BYTES)), Err(DropReason::SpanTooLarge));
        assert!(queue.level().1 <= 10_000);
    }

    #[test]
    fn batches_are_bounded_in_number_and_bytes_and_keep_the_order() {
        let queue = queue(100, 100 * BATCH_BYTES, 3);
        for size in [1, 2, 3, 4] {
            queue.push(span(size)).unwrap();
        }
        let names: Vec<usize> = queue.take_batch().iter().map(|s| s.span.name.len()).collect();
        assert_eq!(names, [1, 2, 3]);
        for _ in 0..2 {
            queue.push(span(BATCH_BYTES / 2 + 1)).unwrap();
        }
        let sizes: Vec<usize> = std::iter::from_fn(|| Some(queue.take_batch()).filter(|b| !b.is_empty())).map(|b| b.len()).collect();
        assert_eq!(sizes, [2, 1], "two halves do not fit one request");
        assert_eq!(queue.level(), (0, 0));
    }
}
