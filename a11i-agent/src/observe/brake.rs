//! The emergency brake, shared by the event loop and the connections of the admin socket: it works whatever the event loop is busy with.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::capture::{loader::LoadError, switch::CaptureSwitch};

/// Clones are the same brake.
#[derive(Clone)]
pub struct Brake(Arc<Mutex<State>>);

struct State {
    switch: CaptureSwitch,
    pulled: bool,
    /// How often it was pulled.
    epoch: u64,
}

impl Brake {
    pub(super) fn new(switch: CaptureSwitch) -> Self {
        Self(Arc::new(Mutex::new(State { switch, pulled: false, epoch: 0 })))
    }

    /// From now on not one byte is copied.
    ///
    /// # Errors
    /// The kernel's. The brake counts as pulled all the same, and the probes go.
    pub fn pull(&self) -> Result<(), LoadError> {
        let mut state = self.state();
        state.epoch = state.epoch.wrapping_add(1);
        state.pulled = true;
        state.switch.set(false)
    }

    /// Lets copying go on; false when it was pulled again after `epoch`: then it stays.
    pub(super) fn release(&self, epoch: u64) -> Result<bool, LoadError> {
        let mut state = self.state();
        if state.epoch != epoch {
            return Ok(false);
        }
        state.switch.set(true)?;
        state.pulled = false;
        Ok(true)
    }

    pub(super) fn is_pulled(&self) -> bool {
        self.state().pulled
    }

    pub(super) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole between any two of its operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
