//! The kernel half's own counters, read back.

use std::os::fd::AsFd as _;

use a11i_common::event::Counter;
use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray},
};

use super::loader::LoadError;

const NAME: &str = "COUNTERS";

/// Reads [`Counter`]s summed over CPUs.
pub struct KernelCounters {
    map: PerCpuArray<MapData, u64>,
}

impl KernelCounters {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let map = ebpf.take_map(NAME).ok_or(LoadError::Missing(NAME))?;
        Ok(Self { map: PerCpuArray::try_from(map).map_err(|source| LoadError::Map { name: NAME, source })? })
    }

    /// The same counters for another thread. To be asked before [`Self::take`].
    pub fn share(ebpf: &Ebpf) -> Result<Self, LoadError> {
        let Some(Map::PerCpuArray(map)) = ebpf.map(NAME) else { return Err(LoadError::Missing(NAME)) };
        let failed = |source| LoadError::Map { name: NAME, source };
        let fd = map.fd().as_fd().try_clone_to_owned().map_err(|error| failed(error.into()))?;
        let map = MapData::from_fd(fd).map_err(failed)?;
        Ok(Self { map: PerCpuArray::try_from(Map::PerCpuArray(map)).map_err(failed)? })
    }

    /// One of them; None when it cannot be read.
    pub fn read_one(&self, counter: Counter) -> Option<u64> {
        let values = self.map.get(&(counter as u32), 0).ok()?;
        Some(values.iter().fold(0, |sum, value| sum.wrapping_add(*value)))
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
