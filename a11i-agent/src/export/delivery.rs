//! One payload to one endpoint: sent again as long as that makes sense.

use tokio::sync::watch;

use super::otlp::{Client, Payload, Refused, Taken, retry::Backoff};
use crate::telemetry::Instruments;

/// Why a payload was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum GivenUp {
    /// The endpoint said no for good.
    Refused,
    /// It did not say yes for as long as is waited.
    RetriesExhausted,
}

/// Sends with back-off. Says once that an endpoint is down and once that it is back.
#[derive(Debug)]
pub(super) struct Delivery {
    client: Client,
    signal: &'static str,
    down: bool,
}

impl Delivery {
    pub(super) const fn new(client: Client, signal: &'static str) -> Self {
        Self { client, signal, down: false }
    }

    /// `attempts`: most tries, `None` for as long as back-off lasts. When draining begins, a wait ends at once.
    pub(super) async fn deliver(
        &mut self,
        payload: &Payload,
        attempts: Option<u32>,
        draining: &mut watch::Receiver<bool>,
        instruments: &Instruments,
    ) -> Result<Taken, GivenUp> {
        let mut backoff = Backoff::default();
        let mut tried: u32 = 0;
        loop {
            let refused = match self.client.send(payload).await {
                Ok(taken) => {
                    instruments.export_requests_ok.add(1);
                    self.is_up(&taken);
                    return Ok(taken);
                }
                Err(refused) => refused,
            };
            tried = tried.saturating_add(1);
            self.is_down(&refused);
            if !refused.retryable {
                instruments.export_requests_failed.add(1);
                return Err(GivenUp::Refused);
            }
            let wait = backoff.wait(refused.wait, fastrand::f64()).filter(|_| attempts.is_none_or(|most| tried < most));
            let Some(wait) = wait else {
                instruments.export_requests_failed.add(1);
                return Err(GivenUp::RetriesExhausted);
            };
            instruments.export_requests_retried.add(1);
            if *draining.borrow_and_update() {
                tokio::time::sleep(wait).await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = draining.changed() => backoff = Backoff::default(),
                }
            }
        }
    }

    fn is_up(&mut self, taken: &Taken) {
        if self.down {
            tracing::info!(signal = self.signal, "the endpoint takes telemetry again");
            self.down = false;
        }
        if taken.rejected > 0 {
            tracing::warn!(signal = self.signal, rejected = taken.rejected, message = %taken.message.escape_debug(), "the endpoint rejected a part");
        }
    }

    fn is_down(&mut self, refused: &Refused) {
        if !self.down {
            let reason = refused.reason.escape_debug();
            tracing::warn!(signal = self.signal, %reason, retried = refused.retryable, "the endpoint does not take telemetry; what waits is bounded");
            self.down = true;
        }
    }
}
