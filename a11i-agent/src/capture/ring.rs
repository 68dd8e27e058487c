//! Reads records from the ring buffer.

use std::io;

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::loader::LoadError;

/// The reading end. Records are consumed when the sink returns.
pub struct RingReader {
    fd: AsyncFd<RingBuf<MapData>>,
}

impl RingReader {
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        const NAME: &str = "RING";
        let map = ebpf.take_map(NAME).ok_or(LoadError::Missing(NAME))?;
        let ring = RingBuf::try_from(map).map_err(|source| LoadError::Map { name: NAME, source })?;
        #[expect(unsafe_code, reason = "tokio cannot check that the descriptor stays the same")]
        // SAFETY: the ring owns its map's descriptor and gives the same one for as long as it lives; nothing here replaces it.
        let fd = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        let fd = fd.map_err(|error| LoadError::Map { name: NAME, source: io::Error::from(error).into() })?;
        Ok(Self { fd })
    }

    /// Waits until the kernel says that enough records wait. Records that did not wake anybody are found by [`Self::drain`] alone.
    pub async fn readable(&self) -> io::Result<()> {
        let mut guard = self.fd.readable().await?;
        guard.clear_ready();
        Ok(())
    }

    /// Hands every waiting record to `sink`, at most `limit`; how many there were.
    pub fn drain(&mut self, limit: usize, mut sink: impl FnMut(&[u8])) -> usize {
        let ring = self.fd.get_mut();
        let mut count = 0;
        while count < limit {
            let Some(record) = ring.next() else { break };
            sink(&record);
            count += 1;
        }
        count
    }
}
