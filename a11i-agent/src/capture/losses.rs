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

    /// `(name, value)` of every counter; one that cannot be read is absent.
    pub fn read(&self) -> Vec<(&'static str, u64)> {
        Counter::ALL
            .iter()
            .filter_map(|(counter, name)| {
                let values = self.map.get(&(*counter as u32), 0).ok()?;
                Some((*name, values.iter().fold(0u64, |sum, v| sum.wrapping_add(*v))))
            })
            .collect()
    }
}
