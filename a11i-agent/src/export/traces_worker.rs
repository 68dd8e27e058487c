//! Sends spans in batches, one `ResourceSpans` per observed process.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use tokio::sync::watch;

use super::{
    delivery::{Delivery, GivenUp},
    exporter::Shared,
    otlp::{Client, Payload, encode},
    queue::QueuedSpan,
    value::Attributes,
};
use crate::telemetry::DropReason;

#[derive(Debug)]
pub(super) struct TracesWorker {
    delivery: Delivery,
    shared: Arc<Shared>,
    draining: watch::Receiver<bool>,
    delay: Duration,
    schema_url: &'static str,
}

impl TracesWorker {
    pub(super) const fn new(
        client: Client,
        shared: Arc<Shared>,
        draining: watch::Receiver<bool>,
        delay: Duration,
        schema_url: &'static str,
    ) -> Self {
        Self { delivery: Delivery::new(client, "traces"), shared, draining, delay, schema_url }
    }

    /// Until draining was asked for and nothing waits any more.
    pub(super) async fn run(mut self) {
        loop {
            let draining = self.wait().await;
            loop {
                let batch = self.shared.queue.take_batch();
                if batch.is_empty() {
                    break;
                }
                self.send(batch).await;
                // What came meanwhile and makes no full batch waits for its time.
                if !draining && !self.shared.queue.has_full_batch() {
                    break;
                }
            }
            if draining {
                return;
            }
        }
    }

    /// For a full batch, or the delay. True when draining, also when nobody is left who could ask for it.
    async fn wait(&mut self) -> bool {
        if *self.draining.borrow_and_update() {
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(self.delay) => false,
            () = self.shared.queue.batch_is_full() => false,
            changed = self.draining.changed() => changed.is_err() || *self.draining.borrow(),
        }
    }

    async fn send(&mut self, batch: Vec<QueuedSpan>) {
        let spans = batch.len();
        self.shared.in_flight.store(spans, Ordering::Relaxed);
        self.shared.show_levels();
        let payload = Payload::Traces(request(batch, self.schema_url));
        let instruments = Arc::clone(&self.shared.instruments);
        let result = self.delivery.deliver(&payload, None, &mut self.draining, &instruments).await;
        self.shared.in_flight.store(0, Ordering::Relaxed);
        let spans = spans as u64;
        match result {
            Ok(taken) => {
                let rejected = taken.rejected.min(spans);
                instruments.spans_exported.add(spans.saturating_sub(rejected));
                instruments.dropped(DropReason::SpanRejected, rejected);
            }
            Err(GivenUp::Refused) => instruments.dropped(DropReason::SpanRefused, spans),
            Err(GivenUp::RetriesExhausted) => instruments.dropped(DropReason::SpanRetriesExhausted, spans),
        }
    }
}

fn request(batch: Vec<QueuedSpan>, schema_url: &str) -> ExportTraceServiceRequest {
    // In the order of each process's first span.
    let mut groups: Vec<(Arc<Attributes>, Vec<Span>)> = Vec::new();
    let mut known: HashMap<Arc<Attributes>, usize> = HashMap::new();
    for QueuedSpan { resource, span, .. } in batch {
        let index = *known.entry(Arc::clone(&resource)).or_insert(groups.len());
        match groups.get_mut(index) {
            Some((_, spans)) => spans.push(span),
            None => groups.push((resource, vec![span])),
        }
    }
    let resource_spans = groups
        .into_iter()
        .map(|(resource, spans)| ResourceSpans {
            resource: Some(encode::resource(&resource)),
            scope_spans: vec![ScopeSpans { scope: Some(encode::scope()), spans, schema_url: schema_url.to_owned() }],
            schema_url: String::new(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}
