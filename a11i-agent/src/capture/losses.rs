//! The kernel half's own counters, read back.

use a11i_common::event::Counter;
use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};

use super::loader::LoadError;

/// Reads [`Counter`]s summed over CPUs.
pub struct KernelCounters {
    map: PerCpuArray<MapData, u64>,
}

impl KernelCounters {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        const NAME: &str = "COUNTERS";
        let map = ebpf.take_map(NAME).ok_or(LoadError::Missing(NAME))?;
        Ok(Self { map: PerCpuArray::try_from(map).map_err(|source| LoadError::Map { name: NAME, source })? })
    }

    /// Every counter that can be read, with its value. One that cannot keeps the value it had for whoever asks.
    pub fn read(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.iter().filter_map(|(counter, name)| match self.map.get(&(*counter as u32), 0) {
            Ok(values) => Some((*counter, values.iter().fold(0u64, |sum, v| sum.wrapping_add(*v)))),
            Err(error) => {
                tracing::debug!(%error, counter = name, "a counter of the kernel half cannot be read");
                None
            }
        })
    }
}
