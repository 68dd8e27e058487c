//! The emergency brake: one word in the kernel that stops all copying.

use aya::{
    Ebpf,
    maps::{Array, MapData},
};

use super::loader::LoadError;

const NAME: &str = "SWITCHED_OFF";

/// The map `SWITCHED_OFF`. Takes effect with the next call of every process; lengths are still counted, so offsets stay right.
pub struct CaptureSwitch {
    map: Array<MapData, u32>,
}

impl CaptureSwitch {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        let map = ebpf.take_map(NAME).ok_or(LoadError::Missing(NAME))?;
        Ok(Self { map: Array::try_from(map).map_err(|source| LoadError::Map { name: NAME, source })? })
    }

    /// `copying` = false: not one byte of anybody's plaintext is copied from now on.
    pub fn set(&mut self, copying: bool) -> Result<(), LoadError> {
        self.map.set(0, &u32::from(!copying), 0).map_err(|source| LoadError::Map { name: NAME, source })
    }
}
